/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/late_shutdown.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/cutover.h"
#include "daemon/job.h"
#include "daemon/launch.h"
#include "daemon/service_private.h"
#include "daemon/state.h"

#define SECOND_US ((int64_t)1000000)
#define WATCH_US (BF_LATE_SHUTDOWN_S * SECOND_US)
/* The next look comes when as much time again has passed since the failure, within these. */
#define LOOK_MIN_US SECOND_US
#define LOOK_MAX_US (15 * SECOND_US)
#define START_AGAIN_US (60 * SECOND_US)

struct bf_late_watch {
    struct bf_late_watch *next;
    struct bf_service *service;
    char *replication_id;
    sd_event_source *timer;
    bool asking; /* the answer goes on with it */
};

/* --- what the store says --- */

/* The job of the cutover that touched the source last, if that failed with the source asked and not
 * seen off. */
static int find_cutover(struct bf_service *service, const char *replication_id,
                        struct bf_job_row *ret_row, bool *ret_found, struct bf_error *err)
{
    struct bf_job_row *rows = NULL;
    size_t count = 0;
    bool touched = false;

    *ret_found = false;
    if (bf_store_job_list_cutovers(service->store, replication_id, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count && !touched; i++) {
        bf_auto_json *context = bf_context_parse(rows[i].context);
        bool failed = bf_streq(rows[i].state, "failed") || bf_streq(rows[i].state, "cancelled");

        if (bf_streq(rows[i].state, "waiting"))
            continue;
        touched = !failed || bf_context_i64(context, "stopping_us") != 0 ||
                  bf_context_bool(context, "stopped");
        if (touched && failed && bf_context_bool(context, "asked") &&
            bf_context_bool(context, "source_was_on")) {
            *ret_row = rows[i];
            rows[i] = (struct bf_job_row){0};
            *ret_found = true;
        }
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_job_row_done);
    return 0;
}

/* Never two machines: neither where one of ours runs or may run, nor where it has taken over. */
static int is_allowed(struct bf_service *service, const struct bf_replication_row *row,
                      bool *ret_allowed, struct bf_error *err)
{
    enum bf_state state = bf_state_of(row);
    struct bf_launch_row open = {0};
    bool found;

    if (bf_launch_find_open(service->store, row->id, "cutover", &open, &found, err) != 0)
        return -1;
    bf_launch_row_done(&open);
    *ret_allowed = !found && state != BF_STATE_CUTOVER && state != BF_STATE_CONFIRM_PENDING &&
                   state != BF_STATE_DONE;
    return 0;
}

/* ret_until_us: when the time is over; 0: the source is not watched. */
static int look_up(struct bf_service *service, const struct bf_replication_row *row,
                   int64_t *ret_until_us, struct bf_error *err)
{
    struct bf_job_row cutover = {0};
    bool found, allowed;

    if (is_allowed(service, row, &allowed, err) != 0 ||
        find_cutover(service, row->id, &cutover, &found, err) != 0)
        return -1;
    *ret_until_us = allowed && found ? cutover.ended_us + WATCH_US : 0;
    bf_job_row_done(&cutover);
    return 0;
}

int bf_late_shutdown_end(struct bf_service *service, const char *replication_id,
                         struct bf_error *err)
{
    struct bf_job_row cutover = {0};
    bool found;
    int r = find_cutover(service, replication_id, &cutover, &found, err);

    if (r == 0 && found) {
        bf_auto_json *context = bf_context_parse(cutover.context);

        bf_json_add_bool(context, "asked", false);
        free(cutover.context);
        cutover.context = bf_xstrdup(bf_json_text(context));
        r = bf_store_job_put(service->store, &cutover, err);
    }
    bf_job_row_done(&cutover);
    return r;
}

/* --- the watch --- */

static void watch_free(struct bf_late_watch *watch)
{
    struct bf_late_watch **at = &watch->service->late_watches;

    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    sd_event_source_disable_unref(watch->timer);
    free(watch->replication_id);
    free(watch);
}

static void look_in(struct bf_late_watch *watch, int64_t us)
{
    if (!watch->timer)
        return; /* the service stops */
    sd_event_source_set_time_relative(watch->timer, (uint64_t)us);
    sd_event_source_set_enabled(watch->timer, SD_EVENT_ONESHOT);
}

static void look_later(struct bf_late_watch *watch, int64_t until_us)
{
    int64_t since_us = bf_utc_us() - (until_us - WATCH_US);

    look_in(watch, since_us < LOOK_MIN_US   ? LOOK_MIN_US
                   : since_us > LOOK_MAX_US ? LOOK_MAX_US
                                            : since_us);
}

static int tell(struct bf_service *service, const struct bf_replication_row *row, const char *level,
                const struct bf_error *why, const char *text, struct bf_error *err)
{
    bf_auto_json *data = json_object_new_object();

    if (why)
        json_object_object_add(data, "error", bf_json_error(why));
    bf_log_warning("%s: the source %s%s%s", row->name, text, why ? ": " : "",
                   why ? why->message : "");
    return bf_service_event(service, row->name, level, "warning", data, err,
                            "the source of %s %s%s%s", row->name, text, why ? ": " : "",
                            why ? why->message : "");
}

/* Nothing more is done about it; whoever reads the events has to. */
static void give_up(struct bf_late_watch *watch, const struct bf_replication_row *row,
                    const struct bf_error *why, const char *text)
{
    bf_auto_error err = BF_ERROR_INIT;

    if (bf_late_shutdown_end(watch->service, row->id, &err) != 0 ||
        (text && tell(watch->service, row, "error", why, text, &err) != 0))
        bf_log_error(BF_LOG_ERROR, &err, "watch of the source of %s", row->name);
    watch_free(watch);
}

static void start(struct bf_late_watch *watch, const struct bf_replication_row *row,
                  int64_t until_us)
{
    bf_auto_error err = BF_ERROR_INIT;

    if (bf_job_start(watch->service, "start-source", row->id, NULL, NULL, &err) == 0) {
        look_in(watch, START_AGAIN_US);
        return;
    }
    if (err.code != BF_E_BUSY)
        bf_log_error(BF_LOG_ERROR, &err, "the source of %s", row->name);
    look_later(watch, until_us);
}

static void judge(struct bf_late_watch *watch, const struct bf_replication_row *row,
                  int64_t until_us, const char *power, const struct bf_error *why)
{
    bool over = bf_utc_us() > until_us;

    if (bf_streq(power, "off")) {
        if (watch->service->started_us < until_us)
            start(watch, row, until_us);
        else
            give_up(watch, row, NULL,
                    "is off; its failed cutover had asked it to shut down, but too long ago to "
                    "start it unasked");
        return;
    }
    if (why && (over || why->code == BF_E_MACHINE_GONE))
        give_up(watch, row, why,
                "was asked to shut down by its failed cutover, and whether it runs cannot be told");
    else if (over)
        give_up(watch, row, NULL, NULL);
    else
        look_later(watch, until_us);
}

/* The row and the time, or the watch is over: then it is freed, and false returned. */
static bool load(struct bf_late_watch *watch, struct bf_replication_row *ret_row,
                 int64_t *ret_until_us)
{
    bf_auto_error err = BF_ERROR_INIT;

    *ret_until_us = 0;
    if (bf_store_replication_get(watch->service->store, watch->replication_id, ret_row, &err) !=
            0 ||
        look_up(watch->service, ret_row, ret_until_us, &err) != 0) {
        if (err.code != BF_E_NO_SUCH_REPLICATION)
            bf_log_error(BF_LOG_ERROR, &err, "watch of a source");
    }
    if (*ret_until_us)
        return true;
    watch_free(watch);
    return false;
}

static void on_answer(struct json_object *answer, struct bf_error *why, void *user)
{
    struct bf_late_watch *watch = user;
    struct bf_replication_row row = {0};
    int64_t until_us;

    watch->asking = false;
    if (watch->service->stopping)
        return;
    if (load(watch, &row, &until_us))
        judge(watch, &row, until_us, why ? NULL : bf_context_text(answer, "power"), why);
    bf_replication_row_done(&row);
}

static void ask(struct bf_late_watch *watch, const struct bf_replication_row *row, int64_t until_us)
{
    bf_auto_json *body = json_object_new_object();
    bf_auto_error err = BF_ERROR_INIT;

    bf_json_add_string(body, "platform", row->source_platform_id);
    bf_json_add_string(body, "machine", row->machine_id);
    if (bf_service_ask(watch->service, "power", body, on_answer, watch, &err) == 0) {
        watch->asking = true;
        return;
    }
    bf_log_error(BF_LOG_ERROR, &err, "the source of %s", row->name);
    look_later(watch, until_us);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
    struct bf_late_watch *watch = user;
    struct bf_replication_row row = {0};
    int64_t until_us;

    (void)source;
    (void)usec;
    if (load(watch, &row, &until_us)) {
        if (bf_job_find(watch->service, row.id, false))
            look_in(watch, LOOK_MIN_US);
        else
            ask(watch, &row, until_us);
    }
    bf_replication_row_done(&row);
    return 0;
}

static int watch_new(struct bf_service *service, const char *replication_id, struct bf_error *err)
{
    struct bf_late_watch *watch;
    int r;

    for (watch = service->late_watches; watch; watch = watch->next) {
        if (bf_streq(watch->replication_id, replication_id)) {
            if (!watch->asking)
                look_in(watch, LOOK_MIN_US);
            return 0;
        }
    }
    watch = bf_xcalloc(1, sizeof(*watch));
    watch->service = service;
    watch->replication_id = bf_xstrdup(replication_id);
    watch->next = service->late_watches;
    service->late_watches = watch;
    r = sd_event_add_time_relative(bf_loop_event(service->loop), &watch->timer, CLOCK_MONOTONIC,
                                   LOOK_MIN_US, 0, on_timer, watch);
    if (r >= 0)
        return 0;
    watch_free(watch);
    return bf_fail(err, BF_E_SYSTEM, -r, "timer");
}

/* --- life --- */

int bf_late_shutdown_watch(struct bf_service *service, const struct bf_replication_row *row,
                           struct json_object *context, struct bf_error *err)
{
    if (!bf_context_bool(context, "asked") || !bf_context_bool(context, "source_was_on"))
        return 0;
    if (tell(service, row, "warning", NULL,
             "was asked to shut down and may still do it: if it goes off within 15 minutes, it is "
             "started again",
             err) != 0)
        return -1;
    return watch_new(service, row->id, err);
}

int bf_late_shutdown_start(struct bf_service *service, struct bf_error *err)
{
    struct bf_replication_row *rows = NULL;
    size_t count = 0;
    int r = bf_store_replication_list(service->store, &rows, &count, err);

    for (size_t i = 0; i < count && r == 0; i++) {
        int64_t until_us = 0;

        r = look_up(service, &rows[i], &until_us, err);
        if (r == 0 && until_us)
            r = watch_new(service, rows[i].id, err);
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_replication_row_done);
    return r;
}

void bf_late_shutdown_stop(struct bf_service *service)
{
    for (struct bf_late_watch *watch = service->late_watches; watch; watch = watch->next)
        watch->timer = sd_event_source_disable_unref(watch->timer);
}

void bf_late_shutdown_free(struct bf_service *service)
{
    while (service->late_watches)
        watch_free(service->late_watches);
}

/* --- the job --- */

static int start_source(struct bf_job *job, struct bf_error *err)
{
    const char *machine_id = bf_job_inputs(job)->replication.machine_id;
    struct bf_platform *source;
    enum bf_power power;

    if (bf_cutover_source_power(job, &source, &power, err) != 0)
        return -1;
    return power == BF_POWER_OFF ? bf_platform_power_on(source, machine_id, err) : 0;
}

static int begins(struct bf_service *service, struct bf_job *job, struct bf_replication_row *row,
                  struct bf_error *err)
{
    int64_t until_us;

    (void)job;
    if (look_up(service, row, &until_us, err) != 0)
        return -1;
    return until_us
               ? 0
               : bf_fail(err, BF_E_STATE_FORBIDS, 0, "the source of %s is not watched", row->name);
}

/* A failure that is no admin's wish: tried again as long as the time is not over. */
static int ended(struct bf_service *service, struct bf_job *job, struct bf_replication_row *row,
                 const struct bf_error *failure, struct bf_error *err)
{
    int64_t until_us;

    (void)job;
    if (failure && failure->code != BF_E_CANCELLED) {
        if (look_up(service, row, &until_us, err) != 0 ||
            tell(service, row, "error", failure,
                 "has gone off, as its failed cutover had asked it to, and could not be started",
                 err) != 0)
            return -1;
        return bf_utc_us() > until_us ? bf_late_shutdown_end(service, row->id, err) : 0;
    }
    if (bf_late_shutdown_end(service, row->id, err) != 0)
        return -1;
    return tell(service, row, "warning", failure,
                failure
                    ? "has gone off, as its failed cutover had asked it to, and stays off"
                    : "had gone off, as its failed cutover had asked it to, and is started again",
                err);
}

static const struct bf_step start_source_steps[] = {{"start-source", start_source, NULL, false}};

const struct bf_job_kind bf_job_kind_start_source = {
    .name = "start-source",
    .steps = start_source_steps,
    .step_count = bf_array_length(start_source_steps),
    .begin = begins,
    .end = ended,
};
