/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of launches, and the job "launch" (a drill). */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/job_private.h"
#include "daemon/ladder.h"
#include "daemon/launch.h"
#include "daemon/service_private.h"

static char *copy_of(struct json_object *parent, const char *key)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(parent, key, &value) || !value)
        return NULL;
    return bf_xstrdup(json_object_is_type(value, json_type_string) ? json_object_get_string(value)
                                                                   : bf_json_text(value));
}

struct put_launch {
    struct bf_job *job;
    const char *state;
};

/* How it is known, behind "booted". */
static const char *shown_by(struct bf_job *job)
{
    struct json_object *evidence = NULL;
    const char *by;

    if (!json_object_object_get_ex(bf_launch_context(job), "evidence", &evidence))
        return "";
    by = bf_context_text(evidence, "by");
    return bf_streq(by, "console") ? ", its console shows"
           : bf_streq(by, "agent") ? ", its guest agent answers"
                                   : ", not proven";
}

static int tell(struct bf_service *service, const struct put_launch *put,
                const struct bf_launch_row *row, struct bf_error *err)
{
    bool failed = bf_streq(put->state, "failed");
    bf_auto_json *data = json_object_new_object();
    bf_auto_free char *what =
        row->point_id ? bf_xasprintf("point %llu", (unsigned long long)row->point_number)
                      : bf_xstrdup("the source's own volumes");

    if (bf_streq(put->state, "running"))
        return 0;
    bf_json_add_string(data, "id", row->id);
    bf_json_add_string(data, "kind", row->kind);
    bf_json_add_string(data, "state", row->state);
    bf_json_add_u64(data, "point", row->point_number);
    bf_json_add_stored(data, "evidence", row->evidence);
    return bf_service_event(service, put->job->inputs.replication.name, failed ? "error" : "info",
                            "launch", data, err, "%s of %s as %s: %s%s", row->kind, what,
                            row->machine_name, row->state, shown_by(put->job));
}

static int store_launch(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct put_launch *put = user;
    struct json_object *launch = bf_launch_context(put->job);
    bool failed = bf_streq(put->state, "failed");
    struct bf_launch_row row = {
        .id = copy_of(launch, "id"),
        .replication_id = bf_xstrdup(put->job->replication_id),
        .point_id = copy_of(launch, "point_id"),
        .point_number = bf_context_u64(launch, "point"),
        .kind = copy_of(launch, "kind"),
        .state = bf_xstrdup(put->state),
        .machine_name = copy_of(launch, "machine_name"),
        .machine_ref = copy_of(launch, "machine_ref"),
        .clones = copy_of(launch, "clones"),
        .conversion = copy_of(launch, "conversion"),
        .console = copy_of(launch, "console"),
        .evidence = copy_of(launch, "evidence"),
        .timing = copy_of(launch, "timing"),
        .started_us = bf_context_i64(launch, "started_us"),
        .booted_us = bf_context_i64(launch, "booted_us"),
        .ended_us = failed ? bf_utc_us() : 0,
    };
    int r;

    if (failed && bf_error_is_set(&put->job->failure)) {
        bf_auto_json *json = bf_json_error(&put->job->failure);

        row.error = bf_xstrdup(bf_json_text(json));
    }
    r = bf_store_launch_put(service->store, &row, err);
    /* "starting" is written after each step, told once. */
    if (r == 0 && !(bf_streq(put->state, "starting") && row.clones))
        r = tell(service, put, &row, err);
    bf_launch_row_done(&row);
    return r;
}

int bf_launch_put(struct bf_job *job, const char *state, struct bf_error *err)
{
    return bf_job_transaction(job, store_launch, &(struct put_launch){.job = job, .state = state},
                              err);
}

/* --- main thread --- */

static bool is_open(const struct bf_launch_row *row)
{
    return bf_streq(row->state, "starting") || bf_streq(row->state, "running") ||
           bf_streq(row->state, "booted") || bf_streq(row->state, "discarding") ||
           bf_streq(row->state, "handing-over");
}

int bf_launch_find_open(struct bf_store *store, const char *replication_id, const char *kind,
                        struct bf_launch_row *ret_row, bool *ret_found, struct bf_error *err)
{
    struct bf_launch_row *rows = NULL;
    size_t count = 0;
    bool found = false;

    bf_assert_main();
    if (bf_store_launch_list(store, replication_id, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count && !found; i++) {
        if (is_open(&rows[i]) && (!kind || bf_streq(rows[i].kind, kind))) {
            *ret_row = rows[i];
            rows[i] = (struct bf_launch_row){0};
            found = true;
        }
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_launch_row_done);
    *ret_found = found;
    return 0;
}

int bf_launch_remember(struct bf_store *store, struct json_object *context,
                       const struct bf_launch_row *row, struct bf_error *err)
{
    bf_auto_json *clones = bf_context_parse_array(row->clones);
    struct json_object *ids = bf_context_array(context, "clone_ledgers");
    struct bf_ledger_row *rows = NULL;
    size_t count = 0;

    bf_json_add_string(context, "launch_row", row->id);
    bf_json_add_string(context, "machine_ref", row->machine_ref);
    bf_json_add_string(context, "machine_name", row->machine_name);
    json_object_object_add(context, "clones", json_object_get(clones));
    for (size_t i = 0; i < json_object_array_length(clones); i++) {
        const char *id = bf_context_text(json_object_array_get_idx(clones, i), "ledger");

        if (id)
            json_object_array_add(ids, json_object_new_string(id));
    }
    if (bf_store_ledger_list(store, NULL, row->replication_id, true, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (bf_streq(rows[i].kind, "machine") && row->machine_ref &&
            bf_streq(rows[i].ref, row->machine_ref))
            bf_json_add_string(context, "machine_ledger", rows[i].id);
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_ledger_row_done);
    return 0;
}

int bf_launch_set_state(struct bf_service *service, const char *replication_id, const char *id,
                        const char *state, struct bf_error *err)
{
    struct bf_launch_row *rows = NULL;
    size_t count = 0;
    int r = bf_store_launch_list(service->store, replication_id, &rows, &count, err);

    for (size_t i = 0; i < count && r == 0; i++) {
        if (!bf_streq(rows[i].id, id))
            continue;
        free(rows[i].state);
        rows[i].state = bf_xstrdup(state);
        if (bf_streq(state, "discarded") || bf_streq(state, "confirmed"))
            rows[i].ended_us = bf_utc_us();
        r = bf_store_launch_put(service->store, &rows[i], err);
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_launch_row_done);
    return r;
}

/* --- the job of a drill --- */

static int drill_begins(struct bf_service *service, struct bf_job *job,
                        struct bf_replication_row *row, struct bf_error *err)
{
    struct bf_launch_row open = {0};
    bool found;

    (void)job;
    if (bf_launch_find_open(service->store, row->id, "drill", &open, &found, err) != 0)
        return -1;
    bf_launch_row_done(&open);
    if (found)
        return bf_fail(err, BF_E_BUSY, 0, "a drill of %s is open; end it first", row->name);
    return 0;
}

struct discard_later {
    struct bf_service *service;
    char *replication_id;
};

static void start_discard(void *user)
{
    struct discard_later *later = user;
    bf_auto_error err = BF_ERROR_INIT;

    if (!later->service->stopping &&
        bf_job_start(later->service, "discard", later->replication_id, NULL, NULL, &err) != 0)
        bf_log_error(BF_LOG_WARNING, &err, "the drill could not be discarded");
    free(later->replication_id);
    free(later);
}

static int drill_ended(struct bf_service *service, struct bf_job *job,
                       struct bf_replication_row *row, const struct bf_error *failure,
                       struct bf_error *err)
{
    struct json_object *keep = NULL;

    (void)err;
    if (!failure && json_object_object_get_ex(bf_job_params(job), "keep", &keep) && keep &&
        !json_object_get_boolean(keep)) {
        struct discard_later *later = bf_xcalloc(1, sizeof(*later));

        later->service = service;
        later->replication_id = bf_xstrdup(row->id);
        bf_loop_post(service->loop, start_discard, later);
    }
    return 0;
}

static int climb(struct bf_job *job, struct bf_error *err)
{
    return bf_ladder_climb(job, bf_launch_start, err);
}

static const struct bf_step launch_steps[] = {BF_LAUNCH_STEPS(bf_launch_start, climb)};

const struct bf_job_kind bf_job_kind_launch = {
    .name = "launch",
    .steps = launch_steps,
    .step_count = bf_array_length(launch_steps),
    .beside = true,
    .begin = drill_begins,
    .end = drill_ended,
};
