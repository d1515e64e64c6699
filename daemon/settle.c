/* SPDX-License-Identifier: Apache-2.0 */
/* How a replication is settled: confirm, rollback, remove. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/hand_over.h"
#include "daemon/late_shutdown.h"
#include "daemon/launch.h"
#include "daemon/ledger.h"
#include "daemon/points.h"
#include "daemon/replication.h"
#include "daemon/service_private.h"

enum { DETACH_DEADLINE_MS = 12 * 60 * 60 * 1000 };

static bool param(struct bf_job *job, const char *key, bool otherwise)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(bf_job_params(job), key, &value) || !value)
        return otherwise;
    return json_object_get_boolean(value);
}

static int settle_launch(struct bf_service *service, struct bf_job *job, const char *id,
                         const char *state, struct bf_error *err)
{
    const char *launch = bf_context_text(bf_job_context(job), "launch_row");

    return launch ? bf_launch_set_state(service, id, launch, state, err) : 0;
}

/* What is left of us on the source. */
static int leave_source(struct bf_job *job, struct bf_error *err)
{
    if (bf_ledger_remove_kind(job, "snapshot", err) == 0 &&
        bf_ledger_remove_kind(job, "baseline", err) == 0)
        return 0;
    return -1;
}

static int forget_baseline(struct bf_service *service, void *user, struct bf_error *err)
{
    struct bf_replication_row row = {0};
    int r = bf_store_replication_get(service->store, user, &row, err);

    if (r == 0 && row.baseline) {
        free(row.baseline);
        row.baseline = NULL;
        r = bf_store_replication_update(service->store, &row, err);
    }
    bf_replication_row_done(&row);
    return r;
}

/* The next round is a comparison: its baseline is not protected any more. */
static int give_up_baseline(struct bf_job *job, struct bf_error *err)
{
    bf_auto_free char *id = bf_xstrdup(bf_job_replication_id(job));

    return bf_job_transaction(job, forget_baseline, id, err);
}

/* --- confirm --- */

static int detach(struct bf_job *job, struct bf_error *err)
{
    struct json_object *context = bf_job_context(job);
    struct json_object *clones = bf_context_array(context, "clones");
    struct bf_deadline deadline = bf_deadline_in(DETACH_DEADLINE_MS);
    struct bf_platform *target;
    const char *machine_ref;

    if (bf_context_bool(context, "handing_over")) /* it has been done */
        return 0;
    if (bf_context_need(context, "machine_ref", &machine_ref, err) != 0 ||
        bf_job_target(job, &target, err) != 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(clones); i++) {
        struct json_object *clone = json_object_array_get_idx(clones, i);

        bf_progress_line(bf_job_progress(job), "disk %s becomes independent of the replica",
                         bf_context_text(clone, "disk"));
        if (bf_target_detach_clone(target, machine_ref, bf_context_text(clone, "ref"), deadline,
                                   err) != 0)
            return bf_fail_in(err, "disk %s", bf_context_text(clone, "disk"));
    }
    return 0;
}

/* After a hand-over by force it stays: whether the machine is whole nobody but the admin knows. */
static int delete_replica(struct bf_job *job, struct bf_error *err)
{
    return param(job, "keep_replica", bf_hand_over_forced(job))
               ? 0
               : bf_points_remove_all(job, false, err);
}

static int confirm_begins(struct bf_service *service, struct bf_job *job,
                          struct bf_replication_row *row, struct bf_error *err)
{
    struct bf_launch_row open = {0};
    bool found, handing_over;
    int r;

    if (bf_launch_find_open(service->store, row->id, "cutover", &open, &found, err) != 0)
        return -1;
    handing_over = found && bf_streq(open.state, "handing-over");
    bf_json_add_bool(bf_job_context(job), "handing_over", handing_over);
    if (!found)
        r = bf_fail(err, BF_E_STATE_FORBIDS, 0, "%s has no launch to confirm", row->name);
    else if (bf_hand_over_forced(job) && !handing_over)
        r = bf_fail(err, BF_E_STATE_FORBIDS, 0,
                    "the target has refused nothing yet of the launch of %s; confirm it without "
                    "force",
                    row->name);
    else if (bf_streq(open.state, "discarding"))
        r = bf_fail(err, BF_E_STATE_FORBIDS, 0,
                    "the launch of %s is half removed and cannot be confirmed; roll it back",
                    row->name);
    else
        r = bf_launch_remember(service->store, bf_job_context(job), &open, err);
    bf_launch_row_done(&open);
    return r;
}

static int confirm_ended(struct bf_service *service, struct bf_job *job,
                         struct bf_replication_row *row, const struct bf_error *failure,
                         struct bf_error *err)
{
    /* The machine runs on, unconfirmed; before the hand-over nothing has changed. */
    if (failure)
        return bf_state_set(service, row, BF_STATE_CONFIRM_PENDING, failure, err);
    if (settle_launch(service, job, row->id, "confirmed", err) != 0)
        return -1;
    row->next_round_us = 0;
    if (bf_state_of(row) == BF_STATE_FAILED &&
        bf_state_set(service, row, BF_STATE_CONFIRM_PENDING, NULL, err) != 0)
        return -1;
    return bf_state_set(service, row, BF_STATE_DONE, NULL, err);
}

static const struct bf_step confirm_steps[] = {
    {"detach", detach, NULL, false},
    {"hand-over", bf_hand_over, NULL, false},
    {"baseline", give_up_baseline, NULL, true},
    {"source", leave_source, NULL, true},
    {"replica", delete_replica, NULL, true},
};

const struct bf_job_kind bf_job_kind_confirm = {
    .name = "confirm",
    .steps = confirm_steps,
    .step_count = bf_array_length(confirm_steps),
    .begin = confirm_begins,
    .end = confirm_ended,
};

/* --- rollback --- */

/* Put into the job's context whether the source was on before the cutover that is rolled back: that
 * of the launch, or without one the last that touched the source.  A source that could not be asked
 * counts as one that was on; one that no cutover touched is not touched here either. */
static int remember_power(struct bf_service *service, struct bf_job *job, const char *id,
                          struct bf_error *err)
{
    struct json_object *context = bf_job_context(job);
    const char *launch = bf_context_text(context, "launch_row");
    struct bf_job_row *rows = NULL;
    size_t count = 0;
    bool found = false, was_on = launch != NULL;

    if (bf_store_job_list_cutovers(service->store, id, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count && !found; i++) {
        bf_auto_json *past = bf_context_parse(rows[i].context);
        struct json_object *on = NULL;

        found = launch ? bf_streq(launch, bf_context_text(bf_context_object(past, "launch"), "id"))
                       : bf_context_i64(past, "stopping_us") != 0;
        if (found)
            was_on = !json_object_object_get_ex(past, "source_was_on", &on) ||
                     json_object_get_boolean(on);
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_job_row_done);
    bf_json_add_bool(context, "source_was_on", was_on);
    return 0;
}

/* The source gets back the power state that it had before the cutover, unless told otherwise. */
static int start_source(struct bf_job *job, struct bf_error *err)
{
    struct json_object *was_on = NULL;
    struct bf_platform *source;

    /* A job that an older version began knows nothing of it: there the source is started. */
    (void)json_object_object_get_ex(bf_job_context(job), "source_was_on", &was_on);
    if (!param(job, "start_source", !was_on || json_object_get_boolean(was_on))) {
        bf_progress_line(bf_job_progress(job), "the source stays as it is");
        return 0;
    }
    if (bf_job_source(job, &source, err) != 0)
        return -1;
    return bf_platform_power_on(source, bf_job_inputs(job)->replication.machine_id, err);
}

static int rollback_begins(struct bf_service *service, struct bf_job *job,
                           struct bf_replication_row *row, struct bf_error *err)
{
    struct bf_launch_row open = {0};
    bool found;
    int r;

    if (bf_launch_find_open(service->store, row->id, "cutover", &open, &found, err) != 0)
        return -1;
    if (found && bf_streq(open.state, "handing-over"))
        r = bf_fail(err, BF_E_STATE_FORBIDS, 0,
                    "the launch of %s is handed over in part and cannot be rolled back; confirm it "
                    "again, with force if the target refuses for good",
                    row->name);
    else
        r = found ? bf_launch_remember(service->store, bf_job_context(job), &open, err) : 0;
    if (r == 0)
        r = remember_power(service, job, row->id, err);
    if (r == 0 && !param(job, "start_source", true))
        r = bf_late_shutdown_end(service, row->id, err);
    if (r == 0 && found)
        r = settle_launch(service, job, row->id, "discarding", err);
    bf_launch_row_done(&open);
    return r;
}

static int rollback_ended(struct bf_service *service, struct bf_job *job,
                          struct bf_replication_row *row, const struct bf_error *failure,
                          struct bf_error *err)
{
    if (failure)
        return bf_state_set(service, row, BF_STATE_FAILED, failure, err);
    if (settle_launch(service, job, row->id, "discarded", err) != 0)
        return -1;
    bf_replication_schedule(row, 0);
    return bf_state_set(service, row, BF_STATE_ROLLED_BACK, NULL, err);
}

static const struct bf_step rollback_steps[] = {
    {"machine", bf_discard_machine, NULL, false},
    {"clones", bf_discard_clones, NULL, false},
    {"start-source", start_source, NULL, false},
};

const struct bf_job_kind bf_job_kind_rollback = {
    .name = "rollback",
    .steps = rollback_steps,
    .step_count = bf_array_length(rollback_steps),
    .begin = rollback_begins,
    .end = rollback_ended,
};

/* --- remove --- */

static int remove_launches(struct bf_job *job, struct bf_error *err)
{
    if (bf_ledger_remove_kind(job, "machine", err) != 0 ||
        bf_ledger_remove_kind(job, "adoption", err) != 0)
        return -1;
    return bf_ledger_remove_kind(job, "clone", err);
}

static int remove_replica(struct bf_job *job, struct bf_error *err)
{
    return bf_points_remove_all(job, !param(job, "delete_volumes", false), err);
}

/* A source that is gone for good must not keep an admin from finishing: when told so, what cannot
 * be removed there stays in the ledger, for the janitor. */
static int remove_from_source(struct bf_job *job, struct bf_error *err)
{
    bf_auto_error why = BF_ERROR_INIT;

    if (leave_source(job, &why) == 0)
        return 0;
    if (!param(job, "force", false) || why.code == BF_E_CANCELLED) {
        bf_error_move(err, &why);
        return -1;
    }
    bf_log_error(BF_LOG_WARNING, &why, "%s is removed; what is left on the source is in the ledger",
                 bf_job_inputs(job)->replication.name);
    return 0;
}

static int remove_ended(struct bf_service *service, struct bf_job *job,
                        struct bf_replication_row *row, const struct bf_error *failure,
                        struct bf_error *err)
{
    (void)job;
    if (failure) {
        bf_log_error(BF_LOG_DEBUG, failure, "%s stays", row->name);
        return 0;
    }
    if (bf_service_event(service, row->name, "info", "replication", NULL, err,
                         "replication %s is removed", row->name) != 0)
        return -1;
    return bf_store_replication_remove(service->store, row->id, err);
}

static const struct bf_step remove_steps[] = {
    {"launches", remove_launches, NULL, false},
    {"baseline", give_up_baseline, NULL, false},
    {"source", remove_from_source, NULL, false},
    {"replica", remove_replica, NULL, false},
};

const struct bf_job_kind bf_job_kind_remove = {
    .name = "remove",
    .steps = remove_steps,
    .step_count = bf_array_length(remove_steps),
    .end = remove_ended,
    .removes = true,
};
