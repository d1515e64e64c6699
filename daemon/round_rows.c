/* SPDX-License-Identifier: Apache-2.0 */
/* What the main thread writes for a round; called by the job's thread. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/job_private.h"
#include "daemon/ledger.h"
#include "daemon/points.h"
#include "daemon/round.h"
#include "daemon/service_private.h"

/* Of each replication: at a round each quarter of an hour three weeks. */
enum { ROUNDS_KEPT = 2000 };

struct put {
    struct bf_job *job;
    struct json_object *round;
    const char *state;
};

static void sum_disks(struct json_object *round, struct bf_round_row *row)
{
    struct json_object *disks = bf_context_array(round, "disks");

    for (size_t i = 0; i < json_object_array_length(disks); i++) {
        struct json_object *disk = json_object_array_get_idx(disks, i);

        row->to_send_bytes += bf_context_u64(disk, "to_send");
        row->sent_bytes += bf_context_u64(disk, "sent");
        row->zero_bytes += bf_context_u64(disk, "zero");
    }
}

static char *borrow(const char *text)
{
    /* Texts in a row given to a write are borrowed and not written to. */
    union {
        const char *in;
        char *out;
    } cast = {.in = text};

    return cast.out;
}

static int put_disks(struct bf_store *store, struct json_object *round, struct bf_error *err)
{
    struct json_object *disks = bf_context_array(round, "disks");

    for (size_t i = 0; i < json_object_array_length(disks); i++) {
        struct json_object *disk = json_object_array_get_idx(disks, i);
        const char *kind = bf_context_text(disk, "kind");
        const struct bf_round_disk_row row = {
            .round_id = borrow(bf_context_text(round, "id")),
            .disk_key = borrow(bf_context_text(disk, "key")),
            .kind = borrow(kind ? kind : "full"),
            .note = borrow(bf_context_text(disk, "note")),
            .size_bytes = bf_context_u64(disk, "size"),
            .to_send_bytes = bf_context_u64(disk, "to_send"),
            .sent_bytes = bf_context_u64(disk, "sent"),
            .zero_bytes = bf_context_u64(disk, "zero"),
            .read_bytes = bf_context_u64(disk, "read"),
            .copy_ms = bf_context_u64(disk, "ms"),
            .digest = borrow(bf_context_text(disk, "digest")),
            .verified = borrow(bf_context_text(disk, "verified")),
        };

        if (bf_store_round_disk_put(store, &row, err) != 0)
            return -1;
    }
    return 0;
}

static int put_round(struct bf_service *service, struct put *put, struct bf_error *err)
{
    struct json_object *round = put->round;
    struct json_object *snapshot = bf_context_object(round, "snapshot");
    const char *kind = bf_context_text(round, "kind");
    struct bf_round_row row = {
        .id = borrow(bf_context_text(round, "id")),
        .replication_id = put->job->replication_id,
        .number = bf_context_u64(round, "number"),
        .kind = borrow(kind ? kind : "full"),
        .trigger = borrow(bf_context_text(round, "trigger")),
        .state = borrow(put->state),
        .note = borrow(bf_context_text(round, "note")),
        .quiesced = bf_context_bool(snapshot, "quiesced"),
        .snapshot_us = bf_context_i64(snapshot, "taken_us"),
        .started_us = bf_context_i64(round, "started_us"),
        .ended_us = bf_streq(put->state, "running") ? 0 : bf_utc_us(),
    };
    bf_auto_free char *error = NULL;

    sum_disks(round, &row);
    if (bf_error_is_set(&put->job->failure) && row.ended_us) {
        bf_auto_json *json = bf_json_error(&put->job->failure);

        row.error = error = bf_xstrdup(bf_json_text(json));
    }
    if (bf_store_round_put(service->store, &row, err) != 0)
        return -1;
    return put_disks(service->store, round, err);
}

/* --- begin --- */

static int begin_row(struct bf_service *service, void *user, struct bf_error *err)
{
    struct put *put = user;

    return put_round(service, put, err);
}

struct next_number {
    struct bf_job *job;
    struct bf_error *err;
    uint64_t number;
    int result;
};

static void read_next_number(void *user)
{
    struct next_number *next = user;

    next->result = bf_store_round_next_number(next->job->service->store, next->job->replication_id,
                                              &next->number, next->err);
    if (next->result == 0)
        next->result = bf_store_history_trim(next->job->service->store, next->job->replication_id,
                                             ROUNDS_KEPT, next->err);
}

int bf_round_begin_row(struct bf_job *job, struct json_object *round, const char *trigger,
                       struct bf_error *err)
{
    struct next_number next = {.job = job, .err = err, .result = -1};
    const char *forced = bf_context_text(bf_job_params(job), "kind");
    struct put put = {.job = job, .round = round, .state = "running"};
    char id[BF_UUID_LENGTH + 1];

    /* One round of a replication at a time, so nobody takes the number in between. */
    bf_loop_call(job->service->loop, read_next_number, &next);
    if (next.result != 0)
        return -1;
    bf_uuid_new(id);
    bf_json_add_string(round, "id", id);
    bf_json_add_u64(round, "number", next.number);
    bf_json_add_string(round, "trigger", trigger);
    bf_json_add_i64(round, "started_us", bf_utc_us());
    if (forced)
        bf_json_add_string(round, "forced", forced);
    if (bf_job_transaction(job, begin_row, &put, err) == 0)
        return 0;
    json_object_object_del(round, "id");
    return -1;
}

/* --- running, failed --- */

static int put_running(struct bf_service *service, void *user, struct bf_error *err)
{
    struct put *put = user;
    const char *id = bf_context_text(bf_context_object(put->round, "ledger"), "snapshot");
    const char *ref = bf_context_text(bf_context_object(put->round, "snapshot"), "ref");

    if (bf_ledger_set_snapshot(service->store, id, ref, NULL, err) != 0)
        return -1;
    return put_round(service, put, err);
}

int bf_round_put_running(struct bf_job *job, struct json_object *round, struct bf_error *err)
{
    return bf_job_transaction(job, put_running,
                              &(struct put){.job = job, .round = round, .state = "running"}, err);
}

static int put_failed(struct bf_service *service, void *user, struct bf_error *err)
{
    return put_round(service, user, err);
}

int bf_round_put_failed(struct bf_job *job, struct json_object *round, struct bf_error *err)
{
    const char *state = job->failure.code == BF_E_CANCELLED ? "cancelled" : "failed";

    return bf_job_transaction(job, put_failed,
                              &(struct put){.job = job, .round = round, .state = state}, err);
}

/* --- commit: all of it or nothing --- */

static int put_point(struct bf_service *service, struct put *put, struct bf_error *err)
{
    struct json_object *round = put->round;
    struct json_object *snapshot = bf_context_object(round, "snapshot");
    struct json_object *disks = bf_context_array(round, "disks");
    struct json_object *ledger = bf_context_object(round, "ledger");
    bf_auto_json *volumes = json_object_new_object();
    char id[BF_UUID_LENGTH + 1];

    for (size_t i = 0; i < json_object_array_length(disks); i++) {
        struct json_object *disk = json_object_array_get_idx(disks, i);
        const char *key = bf_context_text(disk, "key");
        bf_auto_free char *layer = bf_xasprintf("layer/%s", key);
        struct json_object *json = bf_context_object(volumes, key);

        bf_json_add_string(json, "ref", bf_context_text(disk, "point"));
        bf_json_add_string(json, "digest", bf_context_text(disk, "digest"));
        bf_json_add_u64(json, "size", bf_context_u64(disk, "size"));
        bf_json_add_string(json, "ledger", bf_context_text(ledger, layer));
        if (bf_ledger_set_ref(service->store, bf_context_text(ledger, layer),
                              bf_context_text(disk, "point"), err) != 0 ||
            bf_points_set_seeded(service->store, put->job->replication_id, key, err) != 0)
            return -1;
    }
    bf_uuid_new(id);
    return bf_store_point_put(service->store,
                              &(struct bf_point_row){
                                  .id = id,
                                  .replication_id = put->job->replication_id,
                                  .round_id = borrow(bf_context_text(round, "id")),
                                  .number = bf_context_u64(round, "number"),
                                  .taken_us = bf_context_i64(snapshot, "taken_us"),
                                  .quiesced = bf_context_bool(snapshot, "quiesced"),
                                  .volumes = borrow(bf_json_text(volumes)),
                              },
                              err);
}

static int put_baseline(struct bf_service *service, struct put *put, struct bf_error *err)
{
    struct json_object *snapshot = bf_context_object(put->round, "snapshot");
    const char *baseline = bf_context_text(snapshot, "baseline");
    const char *id = bf_context_text(bf_context_object(put->round, "ledger"), "snapshot");
    struct bf_replication_row row = {0};
    int r;

    if (bf_store_replication_get(service->store, put->job->replication_id, &row, err) != 0)
        return -1;
    /* A machine that is off may answer with the baseline it was asked about: then it
     * belongs to the row of the round that made it. */
    r = bf_streq(row.baseline, baseline)
            ? 0
            : bf_ledger_set_snapshot(service->store, id, bf_context_text(snapshot, "ref"), baseline,
                                     err);
    if (r == 0) {
        free(row.baseline);
        row.baseline = bf_xstrdup(baseline);
        r = bf_store_replication_update(service->store, &row, err);
    }
    bf_replication_row_done(&row);
    return r;
}

static int tell_round(struct bf_service *service, struct put *put, struct bf_error *err)
{
    const char *kind = bf_context_text(put->round, "kind");
    const char *note = bf_context_text(put->round, "note");
    struct bf_round_row sums = {0};
    bf_auto_json *data = json_object_new_object();
    bf_auto_free char *sent = NULL;

    sum_disks(put->round, &sums);
    sent = bf_format_bytes(sums.sent_bytes);
    bf_json_add_string(data, "id", bf_context_text(put->round, "id"));
    bf_json_add_u64(data, "number", bf_context_u64(put->round, "number"));
    bf_json_add_string(data, "kind", kind);
    bf_json_add_u64(data, "sent_bytes", sums.sent_bytes);
    bf_json_add_string(data, "note", note);
    return bf_service_event(service, put->job->inputs.replication.name, "info", "round", data, err,
                            "round %llu (%s) is complete: %s sent%s%s",
                            (unsigned long long)bf_context_u64(put->round, "number"), kind, sent,
                            note ? "; " : "", note ? note : "");
}

static int put_commit(struct bf_service *service, void *user, struct bf_error *err)
{
    struct put *put = user;

    if (put_round(service, put, err) != 0 || put_point(service, put, err) != 0 ||
        put_baseline(service, put, err) != 0)
        return -1;
    return tell_round(service, put, err);
}

int bf_round_put_commit(struct bf_job *job, struct json_object *round, struct bf_error *err)
{
    return bf_job_transaction(job, put_commit,
                              &(struct put){.job = job, .round = round, .state = "complete"}, err);
}
