/* SPDX-License-Identifier: Apache-2.0 */
/* After a start: put back exactly what the store knew, then look at the platforms.
 *
 *  1. Every job that had not ended goes on at its step.
 *  2. What ledger rows name and nothing needs any more is removed by the janitor; so is what a job
 *     could not remove (platform away, point in use).
 *
 * Needed is: a volume of a replication; the layer of a point; the present baseline; clones and
 * machine of an open launch.  While a job of a replication runs, all its rows are that
 * job's business, and the janitor looks again when it has ended.  What it could not remove is tried
 * again by its own patience (daemon/patience.h).  Invariant 5: the janitor walks ledger rows; it
 * never lists a platform.
 */
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/connector.h"
#include "daemon/context.h"
#include "daemon/inputs.h"
#include "daemon/job.h"
#include "daemon/ledger.h"
#include "daemon/loop.h"
#include "daemon/service_private.h"
#include "daemon/state.h"

enum {
    FIRST_LOOK_MS = 1000,
    PERIOD_MS = 15 * 60 * 1000,
    AFTER_JOB_MS = 1000,
};

/* --- open jobs --- */

static int resume_jobs(struct bf_service *service, struct bf_error *err)
{
    struct bf_job_row *rows = NULL;
    size_t count = 0;

    if (bf_store_job_list_open(service->store, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        bf_auto_error why = BF_ERROR_INIT;

        if (!bf_streq(rows[i].state, "waiting") && bf_job_resume(service, &rows[i], &why) != 0)
            bf_log_error(BF_LOG_ERROR, &why, "job %s cannot be taken up", rows[i].id);
    }
    /* What waits goes on waiting, unless the one before it ended just before the crash. */
    for (size_t i = 0; i < count; i++) {
        if (bf_streq(rows[i].state, "waiting"))
            bf_job_wait_over(service, rows[i].replication_id, NULL);
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_job_row_done);
    return 0;
}

/* A state that only a job can leave, and no job: cannot come about by a crash, as both
 * are written in one transaction, but must not be a dead end either. */
static int free_stuck(struct bf_service *service, struct bf_error *err)
{
    struct bf_replication_row *rows = NULL;
    size_t count = 0;
    int r = bf_store_replication_list(service->store, &rows, &count, err);

    for (size_t i = 0; i < count && r == 0; i++) {
        enum bf_state state = bf_state_of(&rows[i]);
        bf_auto_error why = BF_ERROR_INIT;

        if ((state != BF_STATE_SEEDING && state != BF_STATE_SYNCING && state != BF_STATE_CUTOVER) ||
            bf_job_find(service, rows[i].id, false))
            continue;
        bf_fail(&why, BF_E_INTERNAL, 0, "no job was found for state %s", rows[i].state);
        bf_log_error(BF_LOG_ERROR, &why, "replication %s", rows[i].name);
        r = bf_state_set(service, &rows[i], BF_STATE_FAILED, &why, err);
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_replication_row_done);
    return r;
}

/* --- what is needed --- */

struct needs {
    struct bf_replication_row replication;
    struct bf_volume_row *volumes;
    size_t volume_count;
    struct bf_point_row *points;
    size_t point_count;
    struct bf_launch_row *launches;
    size_t launch_count;
};

static int needs_load(struct bf_store *store, const char *id, struct needs *needs,
                      struct bf_error *err)
{
    if (bf_store_replication_get(store, id, &needs->replication, err) != 0 ||
        bf_store_volume_list(store, id, &needs->volumes, &needs->volume_count, err) != 0 ||
        bf_store_point_list(store, id, &needs->points, &needs->point_count, err) != 0 ||
        bf_store_launch_list(store, id, &needs->launches, &needs->launch_count, err) != 0)
        return -1;
    return 0;
}

static void needs_done(struct needs *needs)
{
    bf_replication_row_done(&needs->replication);
    bf_rows_free(needs->volumes, needs->volume_count, sizeof(*needs->volumes),
                 (bf_row_done_fn *)bf_volume_row_done);
    bf_rows_free(needs->points, needs->point_count, sizeof(*needs->points),
                 (bf_row_done_fn *)bf_point_row_done);
    bf_rows_free(needs->launches, needs->launch_count, sizeof(*needs->launches),
                 (bf_row_done_fn *)bf_launch_row_done);
}

static bool volume_needed(const struct needs *needs, const struct bf_ledger_row *row)
{
    for (size_t i = 0; i < needs->volume_count; i++) {
        if (bf_streq(needs->volumes[i].ledger_id, row->id))
            return true;
    }
    return false;
}

static bool layer_needed(const struct needs *needs, const struct bf_ledger_row *row)
{
    for (size_t i = 0; i < needs->point_count; i++) {
        bf_auto_json *volumes = bf_context_parse(needs->points[i].volumes);

        json_object_object_foreach(volumes, key, disk)
        {
            (void)key;
            if (bf_streq(bf_context_text(disk, "ledger"), row->id))
                return true;
        }
    }
    return false;
}

static bool launch_needed(const struct needs *needs, const struct bf_ledger_row *row)
{
    for (size_t i = 0; i < needs->launch_count; i++) {
        const struct bf_launch_row *launch = &needs->launches[i];
        bf_auto_json *clones = NULL;

        if (bf_streq(launch->state, "failed") || bf_streq(launch->state, "discarded") ||
            bf_streq(launch->state, "confirmed"))
            continue;
        if (bf_streq(row->kind, "machine") && launch->machine_ref &&
            bf_streq(launch->machine_ref, row->ref))
            return true;
        clones = bf_context_parse_array(launch->clones);
        for (size_t j = 0; j < json_object_array_length(clones); j++) {
            if (bf_streq(bf_context_text(json_object_array_get_idx(clones, j), "ledger"), row->id))
                return true;
        }
    }
    return false;
}

static bool needed(const struct needs *needs, const struct bf_ledger_row *row)
{
    if (bf_streq(row->kind, "volume"))
        return volume_needed(needs, row);
    if (bf_streq(row->kind, "layer"))
        return layer_needed(needs, row);
    if (bf_streq(row->kind, "baseline"))
        return needs->replication.baseline && bf_streq(needs->replication.baseline, row->ref);
    if (bf_streq(row->kind, "clone") || bf_streq(row->kind, "machine") ||
        bf_streq(row->kind, "adoption"))
        return launch_needed(needs, row);
    return false; /* a snapshot without a round */
}

/* --- the janitor --- */

struct chore {
    struct bf_removal removal;
    struct bf_platform_access access;
    struct bf_error error; /* of the removal; clear: done */
    bool tried;
};

struct janitor {
    struct bf_service *service;
    struct chore *chores;
    size_t count;
    size_t capacity;
    uint64_t now_ms;
};

static int add_chore(struct janitor *janitor, const struct bf_ledger_row *row, struct bf_error *err)
{
    struct bf_service *service = janitor->service;
    struct chore *chore;

    if (!bf_patience_is_due(&service->patience, row->id, janitor->now_ms))
        return 0;
    bf_xgrow(&janitor->chores, &janitor->capacity, janitor->count + 1, sizeof(*janitor->chores));
    chore = &janitor->chores[janitor->count];
    *chore = (struct chore){0};
    if (bf_removal_load(service->store, row->id, &chore->removal, err) != 0 ||
        bf_platform_access_load(service, row->platform_id, &chore->access, err) != 0 ||
        bf_ledger_set_state(service->store, row->id, "removing", err) != 0) {
        bf_removal_done(&chore->removal);
        bf_platform_access_done(&chore->access);
        return -1;
    }
    janitor->count++;
    return 0;
}

static int consider(struct janitor *janitor, const struct bf_ledger_row *row, struct bf_error *err)
{
    struct bf_service *service = janitor->service;
    struct needs needs = {0};
    bool keep;
    int r;

    if (!row->replication_id) /* its replication was removed: nobody needs it */
        return add_chore(janitor, row, err);
    if (bf_job_find(service, row->replication_id, false) ||
        bf_job_find(service, row->replication_id, true)) {
        service->janitor_passed_over = true;
        return 0;
    }
    r = needs_load(service->store, row->replication_id, &needs, err);
    keep = r == 0 && needed(&needs, row);
    needs_done(&needs);
    if (r != 0 || keep)
        return r;
    return add_chore(janitor, row, err);
}

static bool has_chore(const char *id, void *user)
{
    const struct janitor *janitor = user;

    for (size_t i = 0; i < janitor->count; i++)
        if (bf_streq(janitor->chores[i].removal.row.id, id))
            return true;
    return false;
}

static int collect(struct janitor *janitor, struct bf_error *err)
{
    /* What hangs on another thing first: machine, clone, layer, volume; then the source's. */
    static const char *const order[] = {"machine", "adoption", "clone",   "layer",
                                        "volume",  "snapshot", "baseline"};
    struct bf_service *service = janitor->service;
    struct bf_ledger_row *rows = NULL;
    size_t count = 0;
    int r = bf_store_ledger_list(service->store, NULL, NULL, true, &rows, &count, err);

    service->janitor_passed_over = false;
    for (size_t k = 0; k < bf_array_length(order) && r == 0; k++) {
        for (size_t i = 0; i < count; i++) {
            bf_auto_error why = BF_ERROR_INIT;

            if (!bf_streq(rows[i].kind, order[k]) || consider(janitor, &rows[i], &why) == 0)
                continue;
            /* One row that cannot be looked at keeps no other one waiting. */
            bf_log_error(BF_LOG_ERROR, &why, "%s bf-%s", rows[i].kind, rows[i].id);
            bf_patience_failed(&service->patience, rows[i].id, janitor->now_ms);
        }
    }
    bf_patience_forget_due(&service->patience, janitor->now_ms, has_chore, janitor);
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_ledger_row_done);
    return r;
}

/* Worker thread. */
static void do_chores(void *user)
{
    struct janitor *janitor = user;

    for (size_t i = 0; i < janitor->count; i++) {
        struct chore *chore = &janitor->chores[i];
        bf_auto_free char *directory = NULL;
        bf_auto_platform *platform = NULL;

        if (janitor->service->stopping)
            return;
        chore->tried = true;
        directory = bf_service_work_directory(janitor->service, chore->access.row.id, 'j');
        if (bf_platform_access_open(&chore->access, directory, &platform, &chore->error) == 0)
            (void)bf_removal_run(&chore->removal, platform, &chore->error);
    }
}

static void finish_chore(struct bf_service *service, struct chore *chore)
{
    bf_auto_error err = BF_ERROR_INIT;
    const struct bf_ledger_row *row = &chore->removal.row;

    if (!chore->tried)
        return;
    if (bf_error_is_set(&chore->error)) {
        bf_log_error(BF_LOG_WARNING, &chore->error, "%s bf-%s (%s) cannot be removed yet",
                     row->kind, row->id, row->name);
        bf_patience_failed(&service->patience, row->id, bf_now_ms());
        return;
    }
    bf_patience_forget(&service->patience, row->id);
    if (bf_removal_finish(service->store, &chore->removal, &err) != 0 ||
        bf_service_event(service, NULL, "info", "janitor", NULL, &err,
                         "%s bf-%s (%s), which nothing needs any more, is removed", row->kind,
                         row->id, row->name) != 0)
        bf_log_error(BF_LOG_ERROR, &err, "ledger row %s", row->id);
}

static void janitor_free(struct janitor *janitor)
{
    for (size_t i = 0; i < janitor->count; i++) {
        bf_removal_done(&janitor->chores[i].removal);
        bf_platform_access_done(&janitor->chores[i].access);
        bf_error_clear(&janitor->chores[i].error);
    }
    free(janitor->chores);
    free(janitor);
}

static void kick_impatient(struct bf_service *service)
{
    uint64_t next = bf_patience_next(&service->patience, bf_now_ms());

    if (next != UINT64_MAX)
        bf_janitor_kick(service, next);
}

static void chores_done(void *user)
{
    struct janitor *janitor = user;
    struct bf_service *service = janitor->service;

    service->janitor_runs = false;
    for (size_t i = 0; i < janitor->count; i++)
        finish_chore(service, &janitor->chores[i]);
    janitor_free(janitor);
    if (service->stopping)
        return;
    if (service->janitor_again)
        bf_janitor_kick(service, 0);
    kick_impatient(service);
}

static void janitor_begin(struct bf_service *service)
{
    struct janitor *janitor;
    bf_auto_error err = BF_ERROR_INIT;

    if (service->stopping)
        return;
    service->janitor_again = service->janitor_runs;
    if (service->janitor_runs)
        return;
    janitor = bf_xcalloc(1, sizeof(*janitor));
    janitor->service = service;
    janitor->now_ms = bf_now_ms();
    if (collect(janitor, &err) != 0)
        bf_log_error(BF_LOG_ERROR, &err, "janitor");
    if (janitor->count == 0) {
        janitor_free(janitor);
        kick_impatient(service);
        return;
    }
    bf_error_clear(&err);
    service->janitor_runs = true;
    if (bf_loop_work(service->loop, do_chores, chores_done, janitor, &err) != 0) {
        bf_log_error(BF_LOG_WARNING, &err, "janitor");
        service->janitor_runs = false;
        janitor_free(janitor);
    }
}

static int on_janitor_timer(sd_event_source *source, uint64_t usec, void *user)
{
    struct bf_service *service = user;

    (void)source;
    (void)usec;
    service->janitor_due_ms = UINT64_MAX;
    bf_janitor_kick(service, PERIOD_MS);
    janitor_begin(service);
    return 0;
}

void bf_janitor_kick(struct bf_service *service, uint64_t delay_ms)
{
    uint64_t due_ms = bf_now_ms() + delay_ms;

    if (!service->janitor_timer || due_ms >= service->janitor_due_ms)
        return;
    service->janitor_due_ms = due_ms;
    sd_event_source_set_time_relative(service->janitor_timer, delay_ms * 1000);
    sd_event_source_set_enabled(service->janitor_timer, SD_EVENT_ONESHOT);
}

void bf_janitor_job_ended(struct bf_service *service, bool leftover)
{
    if (leftover || service->janitor_passed_over)
        bf_janitor_kick(service, AFTER_JOB_MS);
}

void bf_janitor_hurry(struct bf_service *service)
{
    bf_patience_done(&service->patience);
    bf_janitor_kick(service, 0);
}

void bf_janitor_stop(struct bf_service *service)
{
    service->janitor_timer = sd_event_source_disable_unref(service->janitor_timer);
}

int bf_reconcile_start(struct bf_service *service, struct bf_error *err)
{
    int r;

    bf_assert_main();
    if (resume_jobs(service, err) != 0 || free_stuck(service, err) != 0)
        return -1;
    service->janitor_due_ms = bf_now_ms() + FIRST_LOOK_MS;
    r = sd_event_add_time_relative(bf_loop_event(service->loop), &service->janitor_timer,
                                   CLOCK_MONOTONIC, (uint64_t)FIRST_LOOK_MS * 1000, 0,
                                   on_janitor_timer, service);
    return r < 0 ? bf_fail(err, BF_E_SYSTEM, -r, "timer") : 0;
}
