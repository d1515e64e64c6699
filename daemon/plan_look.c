/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/plan_look.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/source.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/guest_request.h"
#include "daemon/job_private.h"
#include "daemon/ledger.h"
#include "daemon/plan.h"
#include "daemon/round.h"
#include "daemon/service_private.h"
#include "guest/inspect.h"
#include "guest/plan.h"

/* Under emulation and beside other work an inspection was seen to need a minute. */
#define DEADLINE_MS ((uint64_t)10 * 60 * 1000)

/* --- inspect disks that are open --- */

static int inspect(struct bf_job *job, const struct bf_endpoint_spec *const *specs, size_t count,
                   struct json_object **ret_plan, struct bf_error *err)
{
    bf_auto_guest_request request = {0};

    if (bf_guest_request_init(job, 'i', DEADLINE_MS, &request, err) != 0)
        return -1;
    request.convert.disks = specs;
    request.convert.disk_count = count;
    return bf_inspect_run(&request.convert, ret_plan, err);
}

/* What was found, or why nothing was. */
static int keep(struct bf_job *job, struct json_object *plan, uint64_t point,
                const struct bf_error *failure, struct bf_error *err)
{
    bf_auto_json *none = NULL;

    if (plan)
        return bf_plan_keep(job, plan, point, err);
    none = bf_plan_new();
    bf_json_add_i64(none, "made_us", bf_utc_us());
    bf_json_add_bool(none, "failed", true);
    bf_plan_finding_of_error(none, "warn", failure);
    bf_job_warn(job, failure, "the guest could not be inspected; its launches will look at it");
    return bf_plan_keep(job, none, point, err);
}

static int inspect_and_keep(struct bf_job *job, const struct bf_endpoint_spec *const *specs,
                            size_t count, uint64_t point, struct bf_error *err)
{
    bf_auto_json *plan = NULL;
    bf_auto_error failure = BF_ERROR_INIT;

    if (inspect(job, specs, count, &plan, &failure) != 0 &&
        (failure.code == BF_E_CANCELLED || bf_job_stopping(job))) {
        bf_error_move(err, &failure);
        return -1;
    }
    return keep(job, plan, point, &failure, err);
}

/* --- of a point --- */

static int open_point(struct bf_job *job, const struct bf_point_row *point,
                      struct bf_target_volume **volumes, const struct bf_endpoint_spec **specs,
                      size_t *count, struct bf_error *err)
{
    const struct bf_machine *machine = bf_job_inputs(job)->machine;
    bf_auto_json *refs = bf_context_parse(point->volumes);
    struct bf_platform *target;

    if (bf_job_target(job, &target, err) != 0)
        return -1;
    /* In the machine's order, which is the order the guest was installed with. */
    for (size_t i = 0; i < machine->disk_count; i++) {
        const char *key = machine->disks[i].key;
        const struct bf_volume_row *volume = bf_inputs_volume(bf_job_inputs(job), key);
        struct json_object *disk = NULL;
        const char *ref;

        if (!volume || !json_object_object_get_ex(refs, key, &disk))
            continue;
        if (bf_context_need(disk, "ref", &ref, err) != 0 ||
            bf_target_open_point(target, volume->ref, ref, &volumes[*count], err) != 0)
            return bf_fail_in(err, "disk %s of the point", key);
        specs[*count] = bf_target_volume_spec(volumes[*count]);
        (*count)++;
    }
    return 0;
}

int bf_plan_look_at_point(struct bf_job *job, const struct bf_point_row *point,
                          struct bf_error *err)
{
    size_t most = bf_job_inputs(job)->machine->disk_count + 1, count = 0;
    bf_auto_free struct bf_target_volume **volumes = bf_xcalloc(most, sizeof(*volumes));
    bf_auto_free const struct bf_endpoint_spec **specs = bf_xcalloc(most, sizeof(*specs));
    /* `point` lies in the inputs, which are read anew when the plan is kept. */
    uint64_t number = point->number;
    int r = open_point(job, point, volumes, specs, &count, err);

    if (r == 0)
        r = inspect_and_keep(job, specs, count, number, err);
    for (size_t i = 0; i < count; i++) {
        bf_auto_error why = BF_ERROR_INIT;

        if (bf_target_close_volume(volumes[i], &why) != 0 && r == 0) {
            bf_error_move(err, &why);
            r = -1;
        }
    }
    return r;
}

/* --- of the source, before the first point --- */

static bool wanted(struct bf_job *job)
{
    return bf_context_bool(bf_job_params(job), "inspect") &&
           bf_job_inputs(job)->policy.convert != BF_CONVERT_NONE && bf_job_inputs(job)->machine;
}

static struct json_object *look_context(struct bf_job *job)
{
    return bf_context_object(bf_job_context(job), "look");
}

static size_t list_keys(struct bf_job *job, const char **keys)
{
    const struct bf_machine *machine = bf_job_inputs(job)->machine;
    size_t count = 0;

    for (size_t i = 0; i < machine->disk_count; i++)
        if (!machine->disks[i].removable &&
            bf_mapping_has_disk(&bf_job_inputs(job)->mapping, machine->disks[i].key))
            keys[count++] = machine->disks[i].key;
    return count;
}

static int take_snapshot(struct bf_job *job, const char *tag, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    bf_auto_free const char **keys = bf_xcalloc(inputs->machine->disk_count + 1, sizeof(*keys));
    struct bf_snapshot_request request = {.machine_id = inputs->replication.machine_id,
                                          .tag = tag,
                                          .disk_keys = keys,
                                          .quiesce = BF_QUIESCE_OFF};
    struct bf_snapshot *snapshot = NULL;
    struct bf_platform *source;

    if (list_keys(job, keys) == 0)
        return bf_fail(err, BF_E_DISK_UNSUPPORTED, 0, "no disk of the machine can be read");
    if (bf_job_source(job, &source, err) != 0 ||
        bf_source_prepare(source, request.machine_id, err) != 0 ||
        bf_source_snapshot(source, &request, &snapshot, err) != 0)
        return -1;
    bf_json_add_string(look_context(job), "ref", snapshot->ref);
    bf_snapshot_free(snapshot);
    return bf_job_save(job, err);
}

/* Its row stays without the ref: it is removed by its tag, with the baseline it made. */
int bf_plan_snapshot(struct bf_job *job, struct bf_error *err)
{
    struct json_object *look = look_context(job);
    bf_auto_free char *name = NULL;
    bf_auto_free char *tag = NULL;

    if (!wanted(job) || bf_inputs_point(bf_job_inputs(job), 0) || bf_context_text(look, "ref"))
        return 0;
    if (bf_round_remove_old_snapshots(job, bf_context_text(look, "snapshot"), err) != 0)
        return -1;
    name = bf_xasprintf("%s inspection", bf_job_inputs(job)->replication.name);
    if (bf_ledger_intend(job, look, "snapshot", BF_SIDE_SOURCE, "snapshot", name,
                         bf_job_inputs(job)->replication.machine_id, &tag, err) != 0)
        return -1;
    return take_snapshot(job, tag, err);
}

int bf_plan_undo_snapshot(struct bf_job *job, struct bf_error *err)
{
    const char *id = bf_context_text(look_context(job), "snapshot");

    return id ? bf_ledger_remove(job, id, err) : 0;
}

int bf_plan_release(struct bf_job *job, struct bf_error *err)
{
    return bf_plan_undo_snapshot(job, err);
}

static int look_at_source(struct bf_job *job, const char *ref, struct bf_error *err)
{
    size_t most = bf_job_inputs(job)->machine->disk_count + 1, count, open = 0;
    bf_auto_free struct bf_source_disk **disks = bf_xcalloc(most, sizeof(*disks));
    bf_auto_free const struct bf_endpoint_spec **specs = bf_xcalloc(most, sizeof(*specs));
    bf_auto_free const char **keys = bf_xcalloc(most, sizeof(*keys));
    struct bf_platform *source;
    int r = bf_job_source(job, &source, err);

    count = list_keys(job, keys);
    for (; r == 0 && open < count; open++) {
        r = bf_source_open_disk(source, ref, keys[open], &disks[open], err);
        if (r != 0)
            break;
        specs[open] = bf_source_disk_spec(disks[open]);
    }
    if (r == 0)
        r = inspect_and_keep(job, specs, count, 0, err);
    for (size_t i = 0; i < open; i++)
        bf_source_close_disk(disks[i]);
    return r;
}

int bf_plan_inspect(struct bf_job *job, struct bf_error *err)
{
    const struct bf_point_row *point;
    const char *ref;

    if (!wanted(job))
        return 0;
    point = bf_inputs_point(bf_job_inputs(job), 0);
    if (point)
        return bf_plan_look_at_point(job, point, err);
    if (bf_context_need(look_context(job), "ref", &ref, err) != 0)
        return -1;
    return look_at_source(job, ref, err);
}
