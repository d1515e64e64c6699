/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/points.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/firmware_vars.h"
#include "daemon/ledger.h"
#include "daemon/round.h"
#include "daemon/service_private.h"

/* --- volumes --- */

static int store_volume(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct bf_volume_row *row = user;

    if (bf_ledger_set_ref(service->store, row->ledger_id, row->ref, err) != 0)
        return -1;
    return bf_store_volume_put(service->store, row, err);
}

int bf_points_put_volume(struct bf_job *job, const char *ledger_id, const char *disk_key,
                         const char *ref, uint64_t size_bytes, bool seeded, struct bf_error *err)
{
    struct bf_volume_row row = {.replication_id = bf_xstrdup(bf_job_replication_id(job)),
                                .disk_key = bf_xstrdup(disk_key),
                                .ledger_id = bf_xstrdup(ledger_id),
                                .ref = bf_xstrdup(ref),
                                .size_bytes = size_bytes,
                                .seeded = seeded};
    int r = bf_job_transaction(job, store_volume, &row, err);

    bf_volume_row_done(&row);
    return r;
}

int bf_points_set_seeded(struct bf_store *store, const char *replication_id, const char *disk_key,
                         struct bf_error *err)
{
    struct bf_volume_row *rows = NULL;
    size_t count = 0;
    int r = bf_store_volume_list(store, replication_id, &rows, &count, err);

    for (size_t i = 0; i < count && r == 0; i++) {
        if (bf_streq(rows[i].disk_key, disk_key) && !rows[i].seeded) {
            rows[i].seeded = true;
            r = bf_store_volume_put(store, &rows[i], err);
        }
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_volume_row_done);
    return r;
}

/* --- points --- */

static int store_removing(struct bf_service *service, void *user, struct bf_error *err)
{
    struct bf_point_row row = *(const struct bf_point_row *)user;

    row.removing = true;
    return bf_store_point_put(service->store, &row, err);
}

static int store_gone(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct bf_point_row *row = user;

    return bf_store_point_remove(service->store, row->id, err);
}

static void remove_digests(struct bf_job *job, struct json_object *volumes, uint64_t number)
{
    json_object_object_foreach(volumes, key, disk)
    {
        bf_auto_free char *path =
            bf_digest_path(bf_job_config(job), bf_job_replication_id(job), key, number);
        bf_auto_error err = BF_ERROR_INIT;

        (void)disk;
        if (bf_file_remove(path, &err) != 0)
            bf_log_error(BF_LOG_WARNING, &err, "digest of a removed point");
    }
}

/* 0: removed; 1: in use by a launch, later; -1. */
static int remove_point(struct bf_job *job, struct bf_point_row *point, struct bf_error *err)
{
    bf_auto_json *volumes = bf_context_parse(point->volumes);

    if (!point->removing && bf_job_transaction(job, store_removing, point, err) != 0)
        return -1;
    json_object_object_foreach(volumes, key, disk)
    {
        const char *id = bf_context_text(disk, "ledger");

        if (!id || bf_ledger_remove(job, id, err) == 0)
            continue;
        if (err->code != BF_E_IN_USE)
            return bf_fail_in(err, "point %llu of disk %s", (unsigned long long)point->number, key);
        bf_error_clear(err);
        return 1;
    }
    remove_digests(job, volumes, point->number);
    bf_firmware_vars_remove(job, point->number);
    return bf_job_transaction(job, store_gone, point, err);
}

static bool disk_in_a_point(const struct bf_inputs *inputs, const char *disk_key)
{
    for (size_t i = 0; i < inputs->point_count; i++) {
        bf_auto_json *volumes = bf_context_parse(inputs->points[i].volumes);

        if (json_object_object_get_ex(volumes, disk_key, NULL))
            return true;
    }
    return false;
}

static int store_no_volume(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct bf_volume_row *row = user;

    return bf_store_volume_remove(service->store, row->replication_id, row->disk_key, err);
}

/* Of a disk that is no longer in the machine (or the mapping), once no point holds it. */
static int remove_orphaned_volumes(struct bf_job *job, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);

    for (size_t i = 0; i < inputs->volume_count; i++) {
        struct bf_volume_row *row = &inputs->volumes[i];
        bool wanted = inputs->machine && bf_machine_disk(inputs->machine, row->disk_key) &&
                      bf_mapping_has_disk(&inputs->mapping, row->disk_key);

        if (!wanted && !disk_in_a_point(inputs, row->disk_key) &&
            (bf_ledger_remove(job, row->ledger_id, err) != 0 ||
             bf_job_transaction(job, store_no_volume, row, err) != 0))
            return bf_fail_in(err, "volume of disk %s", row->disk_key);
    }
    return 0;
}

int bf_points_retention(struct bf_job *job, struct bf_error *err)
{
    const struct bf_inputs *inputs;
    uint64_t kept = 0;
    size_t oldest_kept = 0;

    if (bf_job_refresh(job, err) != 0)
        return -1;
    inputs = bf_job_inputs(job);
    for (size_t i = 0; i < inputs->point_count && kept < inputs->policy.keep_points; i++) {
        kept += !inputs->points[i].removing;
        oldest_kept = i;
    }
    /* Oldest first: the platform merges a point into the one after it. */
    for (size_t i = inputs->point_count; i-- > 0;) {
        struct bf_point_row *point = &inputs->points[i];

        if ((i > oldest_kept || point->removing) && remove_point(job, point, err) < 0)
            return -1;
    }
    if (bf_job_refresh(job, err) != 0)
        return -1;
    return remove_orphaned_volumes(job, err);
}

int bf_points_remove_older(struct bf_job *job, uint64_t number, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);

    for (size_t i = inputs->point_count; i-- > 0;)
        if (inputs->points[i].number < number && remove_point(job, &inputs->points[i], err) < 0)
            return -1;
    return bf_job_refresh(job, err);
}

static const struct bf_step retention_steps[] = {
    {"retention", bf_points_retention, NULL, false},
};

const struct bf_job_kind bf_job_kind_retention = {
    .name = "retention",
    .steps = retention_steps,
    .step_count = bf_array_length(retention_steps),
};

/* --- the end of all --- */

static int hand_over_rows(struct bf_service *service, void *user, struct bf_error *err)
{
    static const char *const kinds[] = {"volume", "layer"};
    const char *replication_id = user;
    struct bf_ledger_row *rows = NULL;
    size_t count = 0;
    int r = bf_store_ledger_list(service->store, NULL, replication_id, true, &rows, &count, err);

    for (size_t i = 0; i < count && r == 0; i++) {
        if (bf_streq(rows[i].kind, kinds[0]) || bf_streq(rows[i].kind, kinds[1]))
            r = bf_ledger_set_state(service->store, rows[i].id, "handed-over", err);
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_ledger_row_done);
    return r;
}

/* The platform lets them go before the ledger does: whoever tries again finds the rows. */
static int hand_over_volumes(struct bf_job *job, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    struct bf_platform *target;

    if (bf_job_target(job, &target, err) != 0)
        return -1;
    for (size_t i = 0; i < inputs->volume_count; i++) {
        if (inputs->volumes[i].ref &&
            bf_target_hand_over_volume(target, inputs->volumes[i].ref, err) != 0)
            return bf_fail_in(err, "disk %s", inputs->volumes[i].disk_key);
    }
    return 0;
}

struct forget {
    const struct bf_inputs *inputs;
};

static int forget_rows(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct bf_inputs *inputs = ((const struct forget *)user)->inputs;
    struct bf_replication_row row = {0};
    int r = 0;

    for (size_t i = 0; i < inputs->point_count && r == 0; i++)
        r = bf_store_point_remove(service->store, inputs->points[i].id, err);
    for (size_t i = 0; i < inputs->volume_count && r == 0; i++)
        r = bf_store_volume_remove(service->store, inputs->volumes[i].replication_id,
                                   inputs->volumes[i].disk_key, err);
    if (r == 0)
        r = bf_store_replication_get(service->store, inputs->replication.id, &row, err);
    if (r == 0 && row.baseline) {
        free(row.baseline);
        row.baseline = NULL;
        r = bf_store_replication_update(service->store, &row, err);
    }
    bf_replication_row_done(&row);
    return r;
}

int bf_points_remove_all(struct bf_job *job, bool hand_over, struct bf_error *err)
{
    bf_auto_free char *digests =
        bf_digest_directory(bf_job_config(job), bf_job_replication_id(job));
    bf_auto_free char *id = bf_xstrdup(bf_job_replication_id(job));
    struct forget forget;

    if (bf_job_refresh(job, err) != 0)
        return -1;
    forget.inputs = bf_job_inputs(job);
    /* The rows first: from then on the ledger alone knows the volumes, and what cannot be deleted
     * now is the janitor's. */
    if (hand_over &&
        (hand_over_volumes(job, err) != 0 || bf_job_transaction(job, hand_over_rows, id, err) != 0))
        return -1;
    if (bf_job_transaction(job, forget_rows, &forget, err) != 0)
        return -1;
    bf_firmware_vars_remove(job, 0);
    if (bf_directory_remove(digests, err) != 0)
        return -1;
    if (hand_over)
        return 0;
    return bf_ledger_remove_kind(job, "volume", err) != 0
               ? -1
               : bf_ledger_remove_kind(job, "layer", err);
}
