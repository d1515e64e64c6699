/* SPDX-License-Identifier: Apache-2.0 */
/* Starts rounds when they are due: one timer for the earliest, and a limit on how many run. */
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/job.h"
#include "daemon/replication.h"
#include "daemon/service_private.h"
#include "daemon/state.h"

#define LOOK_AGAIN_US ((int64_t)60 * 1000000) /* after a start that failed unexpectedly */

static bool waits_for_round(const struct bf_replication_row *row)
{
    enum bf_state state = bf_state_of(row);

    return row->next_round_us != 0 && (state == BF_STATE_CHECKED || state == BF_STATE_IDLE ||
                                       state == BF_STATE_ROLLED_BACK || state == BF_STATE_FAILED);
}

static void put_off(struct bf_service *service, struct bf_replication_row *row)
{
    bf_auto_error err = BF_ERROR_INIT;

    row->next_round_us = bf_utc_us() + LOOK_AGAIN_US;
    if (bf_store_replication_update(service->store, row, &err) != 0)
        bf_log_error(BF_LOG_ERROR, &err, "schedule of %s", row->name);
}

static void start_round(struct bf_service *service, struct bf_replication_row *row)
{
    bf_auto_json *params = json_object_new_object();
    bf_auto_error err = BF_ERROR_INIT;
    bool has = true;

    if (bf_replication_has_point(service, row->id, &has, &err) != 0) {
        bf_log_error(BF_LOG_ERROR, &err, "round of %s", row->name);
        return;
    }
    bf_json_add_string(params, "trigger", row->failures ? "retry" : has ? "schedule" : "seed");
    if (bf_job_start(service, "round", row->id, params, NULL, &err) == 0)
        return;
    if (err.code == BF_E_BUSY)
        return; /* the end of the job that is in the way kicks us */
    bf_log_error(BF_LOG_ERROR, &err, "the round of %s could not be started", row->name);
    put_off(service, row);
}

/* Start what is due; returns when to look again, 0: nothing is waited for. */
static int64_t start_due(struct bf_service *service, struct bf_replication_row *rows, size_t count)
{
    int64_t next = 0;

    for (size_t i = 0; i < count; i++) {
        if (!waits_for_round(&rows[i]) || bf_job_find(service, rows[i].id, false))
            continue;
        if (rows[i].next_round_us > bf_utc_us()) {
            if (next == 0 || rows[i].next_round_us < next)
                next = rows[i].next_round_us;
            continue;
        }
        if (bf_job_running(service, "round") + bf_job_running(service, "cutover") >=
            service->config->max_rounds)
            continue; /* the end of one of them kicks us */
        start_round(service, &rows[i]);
    }
    return next;
}

static void look(struct bf_service *service)
{
    struct bf_replication_row *rows = NULL;
    size_t count = 0;
    int64_t next;
    bf_auto_error err = BF_ERROR_INIT;

    if (service->stopping || !service->schedule_timer)
        return;
    if (bf_store_replication_list(service->store, &rows, &count, &err) != 0) {
        bf_log_error(BF_LOG_ERROR, &err, "schedule");
        next = bf_utc_us() + LOOK_AGAIN_US;
    } else {
        next = start_due(service, rows, count);
        bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_replication_row_done);
    }
    sd_event_source_set_enabled(service->schedule_timer, next ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
    if (next)
        sd_event_source_set_time(service->schedule_timer, (uint64_t)next);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
    (void)source;
    (void)usec;
    look(user);
    return 0;
}

static void look_later(void *user)
{
    look(user);
}

void bf_scheduler_kick(struct bf_service *service)
{
    /* Not now: the caller may be in a transaction. */
    bf_loop_post(service->loop, look_later, service);
}

int bf_scheduler_start(struct bf_service *service, struct bf_error *err)
{
    /* The wall clock, so that a changed clock or a suspended host is noticed. */
    int r = sd_event_add_time(bf_loop_event(service->loop), &service->schedule_timer,
                              CLOCK_REALTIME, UINT64_MAX, 1000, on_timer, service);

    if (r < 0)
        return bf_fail(err, BF_E_SYSTEM, -r, "timer");
    bf_scheduler_kick(service);
    return 0;
}

void bf_scheduler_stop(struct bf_service *service)
{
    service->schedule_timer = sd_event_source_disable_unref(service->schedule_timer);
}
