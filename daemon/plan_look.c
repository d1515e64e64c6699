/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/plan_look.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/mover_bridge.h"
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
#define STOP_MS 10000

/* --- inspect disks that are open --- */

/* What a mover serves of the source, by a socket that libguestfs can open.  The servers that this
 * starts are in `servers`, also when it fails. */
static int bridge(struct bf_job *job, const char *directory,
                  const struct bf_endpoint_spec *const *specs, size_t count,
                  struct bf_endpoint_spec *bridged, struct bf_server **servers,
                  struct bf_error *err)
{
    struct bf_platform *source;

    for (size_t i = 0; i < count; i++) {
        bridged[i] = *specs[i];
        if (!specs[i]->tls_directory)
            continue;
        if (bf_job_source(job, &source, err) != 0 ||
            bf_mover_bridge(source, directory, (unsigned)i, specs[i], true, &servers[i], err) != 0)
            return -1;
        bridged[i].uri = (char *)(uintptr_t)bf_server_uri(servers[i]); /* borrowed */
        bridged[i].tls_directory = NULL;
    }
    return 0;
}

static int inspect(struct bf_job *job, const struct bf_endpoint_spec *const *specs, size_t count,
                   struct json_object **ret_plan, struct bf_error *err)
{
    bf_auto_guest_request request = {0};
    bf_auto_free struct bf_endpoint_spec *bridged = bf_xcalloc(count + 1, sizeof(*bridged));
    bf_auto_free const struct bf_endpoint_spec **disks = bf_xcalloc(count + 1, sizeof(*disks));
    bf_auto_free struct bf_server **servers = bf_xcalloc(count + 1, sizeof(*servers));
    int r = bf_guest_request_init(job, 'i', DEADLINE_MS, &request, err);

    for (size_t i = 0; i < count; i++)
        disks[i] = &bridged[i];
    request.convert.disks = disks;
    request.convert.disk_count = count;
    if (r == 0)
        r = bridge(job, request.directory, specs, count, bridged, servers, err);
    if (r == 0)
        r = bf_inspect_run(&request.convert, ret_plan, err);
    for (size_t i = 0; i < count; i++) {
        bf_auto_error ignored = BF_ERROR_INIT; /* it only read */

        (void)bf_server_stop(servers[i], STOP_MS, &ignored);
    }
    return r;
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

/* Disks of the source's snapshot, in the machine's order. */
struct look {
    struct bf_job *job;
    struct bf_platform *source;
    const char *ref;
    const char **keys;
    struct bf_source_disk **disks; /* NULL: not open */
    size_t count;
};

static void close_from(struct look *look, size_t first)
{
    for (size_t i = first; i < look->count; i++) {
        if (look->disks[i])
            bf_source_close_disk(look->disks[i]);
        look->disks[i] = NULL;
    }
}

/* As many from `first` on as the source lets be read at a time: all, as a rule.  None at all, if
 * others are open, is no failure either. */
static int open_from(struct look *look, size_t first, size_t *ret_end, struct bf_error *err)
{
    size_t end = first;

    for (; end < look->count; end++) {
        if (bf_source_open_disk(look->source, look->ref, look->keys[end], &look->disks[end], err) ==
            0)
            continue;
        if (err->code != BF_E_SOURCE_FULL || end == 0)
            return -1;
        bf_error_clear(err);
        break;
    }
    *ret_end = end;
    return 0;
}

static size_t list_open(const struct look *look, const struct bf_endpoint_spec **specs)
{
    size_t count = 0;

    for (size_t i = 0; i < look->count; i++)
        if (look->disks[i])
            specs[count++] = bf_source_disk_spec(look->disks[i]);
    return count;
}

/* The plan of a part of the disks tells, but no launch goes by it (daemon/plan.h). */
static void mark_part(const struct look *look, struct json_object *plan)
{
    bf_auto_buf others = {0};
    bf_auto_free char *found = NULL;

    for (size_t i = 0; i < look->count; i++)
        if (!look->disks[i])
            bf_buf_addf(&others, "%s%s", others.length ? ", " : "", look->keys[i]);
    found = bf_xasprintf("disks %s were not looked at together with the others", others.text);
    bf_plan_finding(plan, "info", "inspection-part", found, "all disks at a time",
                    "the source does not let that many disks be read at a time; the first round's "
                    "point is looked at as a whole",
                    bf_error_fix(BF_E_SOURCE_FULL));
    bf_json_add_bool(plan, "partial", true);
}

/* The next ones, beside the first disk if there is room for that. */
static int turn_over(struct look *look, size_t first, size_t *end, struct bf_error *err)
{
    bool first_stays = first > 1 && look->disks[0];

    close_from(look, first_stays ? 1 : 0);
    if (open_from(look, first, end, err) != 0)
        return -1;
    if (*end > first)
        return 0;
    close_from(look, 0); /* others read now what was free before */
    if (bf_source_open_disk(look->source, look->ref, look->keys[first], &look->disks[first], err) !=
        0)
        return -1;
    *end = first + 1;
    return 0;
}

/* The first disk, which most systems start from, with as many of the others as may be read; then
 * with the next ones, until a system is found.  `end`: behind those that are open now. */
static int look_by_parts(struct look *look, size_t end, struct bf_error *err)
{
    bf_auto_free const struct bf_endpoint_spec **specs = bf_xcalloc(look->count, sizeof(*specs));
    const size_t most = end;

    for (;;) {
        bf_auto_json *plan = NULL;
        bf_auto_error failure = BF_ERROR_INIT;

        if (inspect(look->job, specs, list_open(look, specs), &plan, &failure) != 0 &&
            (failure.code == BF_E_CANCELLED || bf_job_stopping(look->job))) {
            bf_error_move(err, &failure);
            return -1;
        }
        if (plan && bf_plan_text(plan, "root")) {
            mark_part(look, plan);
            return keep(look->job, plan, 0, &failure, err);
        }
        if (end == look->count) {
            if (!bf_error_is_set(&failure))
                bf_fail(&failure, BF_E_SOURCE_FULL, 0,
                        "no system was found on any %zu disks, and not more can be read at a time",
                        most);
            return keep(look->job, NULL, 0, &failure, err);
        }
        if (turn_over(look, end, &end, err) != 0)
            return -1;
    }
}

static int look_at_source(struct bf_job *job, const char *ref, struct bf_error *err)
{
    size_t most = bf_job_inputs(job)->machine->disk_count + 1, end = 0;
    bf_auto_free struct bf_source_disk **disks = bf_xcalloc(most, sizeof(*disks));
    bf_auto_free const struct bf_endpoint_spec **specs = bf_xcalloc(most, sizeof(*specs));
    bf_auto_free const char **keys = bf_xcalloc(most, sizeof(*keys));
    struct look look = {.job = job, .ref = ref, .keys = keys, .disks = disks};
    int r;

    look.count = list_keys(job, keys);
    r = bf_job_source(job, &look.source, err);
    if (r == 0)
        r = open_from(&look, 0, &end, err);
    if (r == 0)
        r = end == look.count ? inspect_and_keep(job, specs, list_open(&look, specs), 0, err)
                              : look_by_parts(&look, end, err);
    close_from(&look, 0);
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
