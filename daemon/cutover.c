/* SPDX-License-Identifier: Apache-2.0 */
/* Cutover: a round while the machine runs, the source off, the last round, the launch.
 *
 * Invariant 4: the source is powered off only in state cutover and after a fresh precheck;
 * if the last round or the launch fails, the undo of step "shut-down" powers it on again unless
 * the policy says otherwise.  What was known of the source's power is stored before it is touched.
 * Never two running machines: somebody else (an admin, autostart, high availability) may have
 * started the source meanwhile, so its power is asked once more right before the launch is started;
 * and while a launched machine could not be removed, the source stays off.
 * A source that was asked and was not seen off may go off after the failure: late_shutdown.h.
 *
 * With a point given there are no rounds: the launch is made from that point, and a source that
 * cannot be reached or is gone does not stop it (that is what the point is for).
 */
#include <assert.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/target.h"
#include "daemon/check.h"
#include "daemon/context.h"
#include "daemon/cutover.h"
#include "daemon/ladder.h"
#include "daemon/late_shutdown.h"
#include "daemon/launch.h"
#include "daemon/launch_boot.h"
#include "daemon/replication.h"
#include "daemon/round.h"
#include "daemon/service_private.h"

#define CHECK_FRESH_US ((int64_t)10 * 60 * 1000000)

static bool from_point(struct bf_job *job)
{
    return bf_context_u64(bf_job_params(job), "point") != 0;
}

/* The errors that mean "the source is not there", which a cutover from a point outlives. */
static bool source_lost(const struct bf_error *err)
{
    return err->code == BF_E_PLATFORM_UNREACHABLE || err->code == BF_E_MACHINE_GONE ||
           err->code == BF_E_NO_SUCH_MACHINE || err->code == BF_E_DEADLINE;
}

/* --- precheck --- */

/* The name must be free: making the machine would fail, with the source off already. */
static int check_name_free(struct bf_job *job, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    const char *name =
        inputs->mapping.machine_name ? inputs->mapping.machine_name : inputs->machine->name;
    bf_auto_machine *taken = NULL;
    bf_auto_error absent = BF_ERROR_INIT;
    struct bf_platform *target;

    if (bf_job_target(job, &target, err) != 0)
        return -1;
    if (bf_platform_machine(target, name, &taken, &absent) == 0)
        return bf_fail(err, BF_E_EXISTS, 0,
                       "the target has a machine \"%s\" already; give another machine_name in the "
                       "mapping",
                       name);
    if (absent.code == BF_E_NO_SUCH_MACHINE)
        return 0;
    bf_error_move(err, &absent);
    return -1;
}

int bf_cutover_precheck(struct bf_job *job, struct bf_error *err)
{
    struct json_object *context = bf_job_context(job);
    bf_auto_free struct bf_launch_nic *nics = NULL;

    if (!bf_job_inputs(job)->machine)
        return bf_fail(err, BF_E_INTERNAL, 0, "the machine was never described");
    /* What would fail after the shutdown is better found before it. */
    if (bf_launch_map_networks(job, bf_job_inputs(job)->machine, &nics, err) != 0 ||
        check_name_free(job, err) != 0)
        return -1;
    if (from_point(job)) {
        uint64_t number = bf_context_u64(bf_job_params(job), "point");

        if (!bf_inputs_point(bf_job_inputs(job), number))
            return bf_fail(err, BF_E_NO_SUCH_POINT, 0, "there is no point %llu",
                           (unsigned long long)number);
        bf_json_add_bool(context, "no_rounds", true);
        bf_json_add_i64(context, "checked_us", bf_utc_us());
        return 0;
    }
    bf_json_add_string(bf_job_params(job), "trigger", "cutover");
    return bf_check_step(job, err);
}

/* --- shut down --- */

struct state_question {
    const char *replication_id;
    enum bf_state state;
};

static int read_state(struct bf_service *service, void *user, struct bf_error *err)
{
    struct state_question *question = user;
    struct bf_replication_row row = {0};

    if (bf_store_replication_get(service->store, question->replication_id, &row, err) != 0)
        return -1;
    question->state = bf_state_of(&row);
    bf_replication_row_done(&row);
    return 0;
}

/* Invariant 4, checked where it matters. */
static int may_power_off(struct bf_job *job, struct bf_error *err)
{
    struct state_question question = {.replication_id = bf_job_replication_id(job)};

    if (bf_job_transaction(job, read_state, &question, err) != 0)
        return -1;
    if (question.state != BF_STATE_CUTOVER)
        return bf_fail(err, BF_E_INTERNAL, 0, "the source may only be switched off in a cutover");
    if (!from_point(job) &&
        bf_utc_us() - bf_context_i64(bf_job_context(job), "checked_us") > CHECK_FRESH_US)
        return bf_check_step(job, err);
    return 0;
}

int bf_launch_shut_down(struct bf_job *job, struct bf_platform *platform, const char *machine_id,
                        bool may_force, const char *what, struct bf_error *err)
{
    const struct bf_policy *policy = &bf_job_inputs(job)->policy;
    struct bf_deadline deadline = bf_deadline_in(policy->shutdown_timeout_s * 1000);

    bf_progress_line(bf_job_progress(job), "waiting for the guest to shut down");
    if (bf_platform_shut_down(platform, machine_id, deadline, err) == 0)
        return 0;
    if (err->code != BF_E_SHUTDOWN_REFUSED || !may_force)
        return -1;
    bf_job_warn(job, err, "%s is powered off", what);
    bf_error_clear(err);
    return bf_platform_power_off(platform, machine_id, err);
}

static int switch_off(struct bf_job *job, struct bf_platform *source, const char *machine_id,
                      struct bf_error *err)
{
    const char *wish = bf_context_text(bf_job_params(job), "shutdown");
    bool may_force =
        wish ? bf_streq(wish, "off") : bf_job_inputs(job)->policy.shutdown == BF_SHUTDOWN_OFF;

    return bf_launch_shut_down(job, source, machine_id, may_force, "the source", err);
}

int bf_cutover_source_power(struct bf_job *job, struct bf_platform **ret_source,
                            enum bf_power *ret_power, struct bf_error *err)
{
    if (bf_job_source(job, ret_source, err) != 0)
        return -1;
    return bf_platform_power(*ret_source, bf_job_inputs(job)->replication.machine_id, ret_power,
                             err);
}

static int stop_source(struct bf_job *job, struct bf_error *err)
{
    struct json_object *context = bf_job_context(job);
    const char *machine_id = bf_job_inputs(job)->replication.machine_id;
    struct bf_platform *source;
    enum bf_power power;

    if (bf_cutover_source_power(job, &source, &power, err) != 0)
        return -1;
    if (!bf_context_i64(context, "stopping_us")) {
        bf_json_add_i64(context, "stopping_us", bf_utc_us());
        bf_json_add_bool(context, "source_was_on", power != BF_POWER_OFF);
    }
    /* Stored before it is: from here on it may go off at any time, also when this has failed. */
    bf_json_add_bool(context, "asked", power != BF_POWER_OFF);
    if (bf_job_save(job, err) != 0)
        return -1;
    if (power == BF_POWER_OFF)
        return 0;
    if (switch_off(job, source, machine_id, err) != 0)
        return -1;
    bf_json_add_bool(context, "asked", false);
    return 0;
}

int bf_cutover_shut_down(struct bf_job *job, struct bf_error *err)
{
    struct json_object *context = bf_job_context(job);

    if (may_power_off(job, err) != 0)
        return -1;
    if (stop_source(job, err) != 0) {
        if (!from_point(job) || !source_lost(err) || bf_job_stopping(job))
            return -1;
        bf_job_warn(job, err, "the source cannot be switched off: make sure that it does not run");
        bf_error_clear(err);
    }
    if (!bf_context_bool(context, "stopped")) {
        bf_launch_time(job, "shutdown",
                       (uint64_t)(bf_utc_us() - bf_context_i64(context, "stopping_us")) / 1000);
        bf_json_add_bool(context, "stopped", true);
        bf_json_add_i64(context, "stopped_us", bf_utc_us());
        bf_round_forget(job);
    }
    return 0;
}

static int power_on(struct bf_job *job, struct bf_error *err)
{
    const char *machine_id = bf_job_inputs(job)->replication.machine_id;
    struct bf_platform *source;
    enum bf_power power;

    if (bf_cutover_source_power(job, &source, &power, err) != 0 ||
        bf_platform_power_on(source, machine_id, err) != 0)
        return -1;
    if (power == BF_POWER_OFF) /* the request was heard, and its end is undone */
        bf_json_add_bool(bf_job_context(job), "asked", false);
    return 0;
}

int bf_cutover_power_on_again(struct bf_job *job, struct bf_error *err)
{
    struct json_object *context = bf_job_context(job);

    bf_json_add_bool(context, "undone", true);
    if (!bf_context_bool(context, "source_was_on"))
        return 0;
    if (bf_job_inputs(job)->policy.on_failure == BF_ON_FAILURE_LEAVE_OFF) {
        bf_json_add_bool(context, "left_off", true);
        bf_json_add_bool(context, "asked", false); /* it may go off, and stay so */
        return 0;
    }
    bf_json_add_bool(context, "left_off", true); /* until it is known to run */
    if (bf_launch_may_run(job))
        return bf_fail(err, BF_E_LAUNCH_RUNNING, 0,
                       "the source stays off: the machine launched on the target could not be "
                       "removed and may run");
    if (power_on(job, err) != 0)
        return -1;
    bf_json_add_bool(context, "left_off", false);
    return 0;
}

/* After the last round: its share of the downtime. */
static int note_round_time(struct bf_job *job, struct bf_error *err)
{
    struct json_object *context = bf_job_context(job);

    (void)err;
    if (!bf_context_bool(context, "round_timed") && !bf_round_skipped(job)) {
        bf_launch_time(job, "round",
                       (uint64_t)(bf_utc_us() - bf_context_i64(context, "stopped_us")) / 1000);
        bf_json_add_bool(context, "round_timed", true);
    }
    return 0;
}

/* --- start --- */

static int source_still_off(struct bf_job *job, struct bf_error *err)
{
    struct bf_platform *source;
    enum bf_power power;

    if (bf_cutover_source_power(job, &source, &power, err) != 0)
        return -1;
    if (power == BF_POWER_OFF)
        return 0;
    return bf_fail(err, BF_E_SOURCE_RUNNING, 0,
                   "the source runs again since its shutdown; the launch is not started");
}

/* Runs again after a crash of the service, however long that was ago. */
int bf_cutover_start(struct bf_job *job, struct bf_error *err)
{
    if (source_still_off(job, err) != 0) {
        if (!from_point(job) || !source_lost(err) || bf_job_stopping(job))
            return -1;
        bf_job_warn(job, err, "whether the source is off cannot be asked");
        bf_error_clear(err);
    }
    return bf_launch_start(job, err);
}

static int climb(struct bf_job *job, struct bf_error *err)
{
    return bf_ladder_climb(job, bf_cutover_start, err);
}

/* --- begin, end --- */

/* Kept in the job's context under "before", for a cutover that comes to nothing. */
static void remember_before(struct json_object *context, const struct bf_replication_row *row)
{
    struct json_object *before = bf_context_object(context, "before");

    bf_json_add_string(before, "state", row->state);
    bf_json_add_string(before, "error", row->error);
    bf_json_add_i64(before, "next_round_us", row->next_round_us);
}

int bf_cutover_begins(struct bf_service *service, struct bf_job *job,
                      struct bf_replication_row *row, struct bf_error *err)
{
    struct bf_launch_row open = {0};
    bool found;

    if (bf_launch_find_open(service->store, row->id, "cutover", &open, &found, err) != 0)
        return -1;
    bf_launch_row_done(&open);
    if (found)
        return bf_fail(err, BF_E_STATE_FORBIDS, 0,
                       "a launch of a cutover of %s is open; roll it back first", row->name);
    remember_before(bf_job_context(job), row);
    row->next_round_us = 0;
    return bf_state_set(service, row, BF_STATE_CUTOVER, NULL, err);
}

static int cutover_begins(struct bf_service *service, struct bf_job *job,
                          struct bf_replication_row *row, struct bf_error *err)
{
    bool has;

    if (bf_replication_has_point(service, row->id, &has, err) != 0)
        return -1;
    if (!has)
        return bf_fail(
            err, bf_state_of(row) == BF_STATE_CHECKED ? BF_E_STATE_FORBIDS : BF_E_NO_SUCH_POINT, 0,
            "%s has no point yet", row->name);
    return bf_cutover_begins(service, job, row, err);
}

/* The source is off, or the launched machine may run: a rollback is needed.  A job that could not
 * even read what it works with has undone nothing. */
static bool needs_rollback(struct bf_job *job)
{
    struct json_object *context = bf_job_context(job);

    return bf_context_bool(context, "left_off") || bf_launch_may_run(job) ||
           (bf_context_i64(context, "stopping_us") && !bf_context_bool(context, "undone"));
}

/* Refused or cancelled before the source was touched, with no round cut off: "stopped" is there
 * without "stopping_us" when a source that could not be reached was passed over. */
static bool came_to_nothing(struct bf_job *job, const struct bf_error *failure)
{
    struct json_object *context = bf_job_context(job);
    struct json_object *round = bf_round_context(job);

    if (bf_context_i64(context, "stopping_us") || bf_context_bool(context, "stopped"))
        return false;
    return !bf_context_text(round, "id") || bf_context_bool(round, "committed") ||
           failure->code == BF_E_CANCELLED;
}

/* A failed replication keeps the reason for which it is, which the job's own must not hide. */
static int set_as_before(struct bf_service *service, struct bf_job *job,
                         struct bf_replication_row *row, const struct bf_error *failure,
                         struct bf_error *err)
{
    struct json_object *before = bf_context_object(bf_job_context(job), "before");
    bf_auto_json *old = bf_context_parse(bf_context_text(before, "error"));
    bf_auto_error reason = BF_ERROR_INIT;
    bf_auto_error ignored = BF_ERROR_INIT;
    enum bf_state state = BF_STATE_FAILED;

    (void)bf_state_from_string(bf_context_text(before, "state"), &state, &ignored);
    row->next_round_us = bf_context_i64(before, "next_round_us");
    if (state == BF_STATE_FAILED && bf_json_to_error(old, &reason) == 0 && bf_error_is_set(&reason))
        failure = &reason;
    return bf_state_set(service, row, state, failure, err);
}

int bf_cutover_ended(struct bf_service *service, struct bf_job *job, struct bf_replication_row *row,
                     const struct bf_error *failure, struct bf_error *err)
{
    if (!failure)
        return bf_state_set(service, row, BF_STATE_CONFIRM_PENDING, NULL, err);
    if (bf_late_shutdown_watch(service, row, bf_job_context(job), err) != 0)
        return -1;
    if (needs_rollback(job))
        return bf_state_set(service, row, BF_STATE_FAILED, failure, err);
    if (came_to_nothing(job, failure))
        return set_as_before(service, job, row, failure, err);
    /* The source runs (or was off before): the replication goes on from the same baseline. */
    bf_replication_schedule(row, bf_utc_us());
    return bf_state_set(service, row,
                        bf_context_i64(bf_job_context(job), "stopping_us") ? BF_STATE_ROLLED_BACK
                                                                           : BF_STATE_FAILED,
                        failure, err);
}

static const struct bf_step cutover_steps[] = {
    {"precheck", bf_cutover_precheck, NULL, false},
    BF_ROUND_STEPS("catch-up "),
    {"shut-down", bf_cutover_shut_down, bf_cutover_power_on_again, false},
    BF_ROUND_STEPS_TO_COMMIT("last "),
    BF_ROUND_STEP_KEEP("last "),
    {"round-time", note_round_time, NULL, false},
    BF_LAUNCH_STEPS(bf_cutover_start, climb),
    BF_ROUND_STEPS_AFTER("last "), /* the guest runs by now: nobody waits for it */
};

const struct bf_job_kind bf_job_kind_cutover = {
    .name = "cutover",
    .steps = cutover_steps,
    .step_count = bf_array_length(cutover_steps),
    .begin = cutover_begins,
    .end = bf_cutover_ended,
};
