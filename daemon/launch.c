/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/launch.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/firmware_vars.h"
#include "daemon/guest_request.h"
#include "daemon/job_private.h"
#include "daemon/ladder.h"
#include "daemon/launch_boot.h"
#include "daemon/ledger.h"
#include "daemon/plan.h"
#include "daemon/points.h"
#include "daemon/service_private.h"

enum { CONVERT_DEADLINE_MS = 2 * 60 * 60 * 1000 };

struct json_object *bf_launch_context(struct bf_job *job)
{
    return bf_context_object(bf_job_context(job), "launch");
}

static struct json_object *launch_ledger(struct bf_job *job)
{
    return bf_context_object(bf_launch_context(job), "ledger");
}

bool bf_launch_is_drill(struct bf_job *job)
{
    return bf_streq(bf_job_kind_of(job)->name, "launch");
}

void bf_launch_time(struct bf_job *job, const char *part, uint64_t ms)
{
    struct json_object *timing = bf_context_object(bf_launch_context(job), "timing");

    bf_json_add_u64(timing, part, bf_context_u64(timing, part) + ms);
}

/* A launch on the source's own volumes, without a point. */
static bool adopts(struct bf_job *job)
{
    return bf_streq(bf_job_kind_of(job)->name, "adopt");
}

static const struct bf_point_row *point_of(struct bf_job *job)
{
    uint64_t number = bf_context_u64(bf_launch_context(job), "point");

    for (size_t i = 0; i < bf_job_inputs(job)->point_count; i++) {
        if (bf_job_inputs(job)->points[i].number == number)
            return &bf_job_inputs(job)->points[i];
    }
    return NULL;
}

/* --- plan --- */

static char *choose_name(struct bf_job *job)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    const char *name =
        inputs->mapping.machine_name ? inputs->mapping.machine_name : inputs->machine->name;

    return bf_launch_is_drill(job) ? bf_xasprintf("%s-drill", name) : bf_xstrdup(name);
}

int bf_launch_plan(struct bf_job *job, struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);
    uint64_t number = bf_context_u64(bf_job_params(job), "point");
    const struct bf_point_row *point;
    bf_auto_free struct bf_launch_nic *nics = NULL;
    bf_auto_free char *name = NULL;
    char id[BF_UUID_LENGTH + 1];

    if (bf_context_text(launch, "id"))
        return 0;
    if (bf_job_refresh(job, err) != 0)
        return -1;
    point = bf_inputs_point(bf_job_inputs(job), number);
    if (!point && number)
        return bf_fail(err, BF_E_NO_SUCH_POINT, 0, "there is no point %llu",
                       (unsigned long long)number);
    if (adopts(job))
        point = NULL;
    else if (!point)
        return bf_fail(err, BF_E_NO_SUCH_POINT, 0, "there is no point yet");
    if (!bf_job_inputs(job)->machine)
        return bf_fail(err, BF_E_INTERNAL, 0, "the machine was never described");
    if (bf_launch_map_networks(job, bf_job_inputs(job)->machine, &nics, err) != 0 ||
        bf_ladder_begin(job, err) != 0)
        return -1;
    name = choose_name(job);
    bf_uuid_new(id);
    bf_json_add_string(launch, "id", id);
    bf_json_add_string(launch, "kind", bf_launch_is_drill(job) ? "drill" : "cutover");
    bf_json_add_string(launch, "point_id", point ? point->id : NULL);
    bf_json_add_u64(launch, "point", point ? point->number : 0);
    bf_json_add_string(launch, "machine_name", name);
    bf_json_add_i64(launch, "started_us", bf_utc_us());
    return bf_launch_put(job, "starting", err);
}

/* Is the machine still in the ledger, and does the target not say that it is off? */
static bool may_run(struct bf_job *job)
{
    struct json_object *launch = bf_launch_context(job);
    const char *id = bf_context_text(launch_ledger(job), "machine");
    const char *ref = bf_context_text(launch, "machine_ref");
    bf_auto_error unknown = BF_ERROR_INIT;
    bf_auto_ids open = NULL;
    bf_auto_free char *machine_id = NULL;
    struct bf_platform *target;
    enum bf_power power;
    bool there = false;

    if (!id || !ref) /* without a reference nothing of ours can have started it */
        return false;
    if (bf_ledger_open_ids(job, "machine", NULL, &open, &unknown) != 0)
        return true;
    for (char **one = open; *one; one++)
        there = there || bf_streq(*one, id);
    if (!there)
        return false;
    return bf_job_target(job, &target, &unknown) != 0 ||
           bf_target_machine_id(target, ref, &machine_id, &unknown) != 0 ||
           bf_platform_power(target, machine_id, &power, &unknown) != 0 || power != BF_POWER_OFF;
}

/* The undo of "create" may have failed.  A cutover whose machine may run stays open, so that the
 * source is not started beside it, nothing else is launched, and a rollback finds the machine. */
int bf_launch_undo_plan(struct bf_job *job, struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);
    bool runs;

    if (!bf_context_text(launch, "id"))
        return 0;
    runs = !bf_launch_is_drill(job) && may_run(job);
    bf_json_add_bool(launch, "may_run", runs);
    return bf_launch_put(job, runs ? "discarding" : "failed", err);
}

bool bf_launch_may_run(struct bf_job *job)
{
    return bf_context_bool(bf_launch_context(job), "may_run");
}

/* --- clone --- */

static int clone_disk(struct bf_job *job, const struct bf_machine_disk *disk,
                      struct json_object *point_disk, struct bf_error *err)
{
    struct json_object *clones = bf_context_array(bf_launch_context(job), "clones");
    const struct bf_volume_row *volume = bf_inputs_volume(bf_job_inputs(job), disk->key);
    bf_auto_free char *key = bf_xasprintf("clone/%s", disk->key);
    bf_auto_free char *name =
        bf_xasprintf("%s %s", bf_context_text(bf_launch_context(job), "machine_name"), disk->key);
    bf_auto_free char *tag = NULL;
    bf_auto_free char *ref = NULL;
    struct json_object *clone;
    struct bf_platform *target;
    const char *point_ref;

    for (size_t i = 0; i < json_object_array_length(clones); i++) {
        if (bf_streq(bf_context_text(json_object_array_get_idx(clones, i), "disk"), disk->key))
            return 0;
    }
    if (!volume)
        return bf_fail(err, BF_E_VOLUME_GONE, 0, "disk %s has no volume", disk->key);
    if (bf_context_need(point_disk, "ref", &point_ref, err) != 0 ||
        bf_job_target(job, &target, err) != 0 ||
        bf_ledger_intend(job, launch_ledger(job), key, BF_SIDE_TARGET, "clone", name, NULL, &tag,
                         err) != 0)
        return -1;
    if (bf_target_clone_point(target, volume->ref, point_ref, tag, &ref, err) != 0)
        return bf_fail_in(err, "clone of disk %s", disk->key);
    clone = json_object_new_object();
    bf_json_add_string(clone, "disk", disk->key);
    bf_json_add_string(clone, "ref", ref);
    bf_json_add_string(clone, "ledger", bf_context_text(launch_ledger(job), key));
    json_object_array_add(clones, clone);
    return bf_ledger_made(job, bf_context_text(launch_ledger(job), key), ref, err);
}

/* The target launches a volume's oldest point only.  A cutover then makes it that, for those before
 * it cannot be launched once more has come after them; a drill has no business to. */
static bool may_make_oldest(struct bf_job *job, const struct bf_error *failure)
{
    struct json_object *launch = bf_launch_context(job);

    return failure->code == BF_E_POINT_NOT_OLDEST && !bf_launch_is_drill(job) &&
           !bf_context_bool(launch, "made_oldest");
}

static int make_oldest(struct bf_job *job, struct bf_error *failure, struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);
    uint64_t point = bf_context_u64(launch, "point");

    bf_json_add_bool(launch, "made_oldest", true);
    bf_job_warn(job, failure, "the points before %llu are removed", (unsigned long long)point);
    if (bf_job_save(job, err) != 0 || bf_points_remove_older(job, point, err) != 0)
        return -1;
    return 0;
}

static int clone_disks(struct bf_job *job, struct bf_error *err)
{
    const struct bf_point_row *point = point_of(job);
    const struct bf_machine *machine = bf_job_inputs(job)->machine;
    bf_auto_json *volumes = NULL;

    if (!point)
        return bf_fail(err, BF_E_NO_SUCH_POINT, 0, "the point is gone");
    volumes = bf_context_parse(point->volumes);
    /* In the machine's order, which is the order the guest was installed with. */
    for (size_t i = 0; i < machine->disk_count; i++) {
        struct json_object *disk = NULL;

        if (!json_object_object_get_ex(volumes, machine->disks[i].key, &disk))
            continue;
        if (bf_job_check(job, err) != 0 || clone_disk(job, &machine->disks[i], disk, err) != 0)
            return -1;
    }
    return 0;
}

int bf_launch_clone(struct bf_job *job, struct bf_error *err)
{
    uint64_t since_ms = bf_now_ms();
    bf_auto_error failure = BF_ERROR_INIT;

    if (clone_disks(job, &failure) != 0) {
        if (!may_make_oldest(job, &failure)) {
            bf_error_move(err, &failure);
            return -1;
        }
        if (make_oldest(job, &failure, err) != 0 || clone_disks(job, err) != 0)
            return -1;
    }
    if (json_object_array_length(bf_context_array(bf_launch_context(job), "clones")) == 0)
        return bf_fail(err, BF_E_VOLUME_GONE, 0, "the point holds no disk of the machine");
    bf_launch_time(job, "clone", bf_now_ms() - since_ms);
    return bf_launch_put(job, "starting", err);
}

static int remove_clones(struct bf_job *job, struct bf_error *err)
{
    struct json_object *ledger = launch_ledger(job);
    int result = 0;

    json_object_object_foreach(ledger, key, id)
    {
        bf_auto_error why = BF_ERROR_INIT;

        if (!bf_starts_with(key, "clone/") ||
            bf_ledger_remove(job, json_object_get_string(id), &why) == 0)
            continue;
        result = -1;
        if (!bf_error_is_set(err))
            bf_error_move(err, &why);
    }
    return result;
}

int bf_launch_undo_clone(struct bf_job *job, struct bf_error *err)
{
    return remove_clones(job, err);
}

/* --- convert --- */

/* Throw the clones away whose conversion was cut off, and make new ones. */
static int clone_anew(struct bf_job *job, struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);
    struct json_object *ledger = launch_ledger(job);
    bf_auto_json *kept = json_object_new_object();

    if (remove_clones(job, err) != 0)
        return bf_fail_in(err, "clones of a conversion that was cut off");
    json_object_object_foreach(ledger, key, id)
    {
        if (!bf_starts_with(key, "clone/"))
            json_object_object_add(kept, key, json_object_get(id));
    }
    json_object_object_add(launch, "ledger", json_object_get(kept));
    json_object_object_del(launch, "clones");
    bf_json_add_bool(launch, "converting", false);
    if (bf_job_save(job, err) != 0)
        return -1;
    return bf_launch_clone(job, err);
}

static enum bf_convert_mode convert_mode(struct bf_job *job)
{
    const char *text = bf_context_text(bf_job_params(job), "convert");
    enum bf_convert_mode mode = bf_job_inputs(job)->policy.convert;
    bf_auto_error ignored = BF_ERROR_INIT;

    if (text) /* checked when the verb came in */
        (void)bf_convert_mode_from_string(text, &mode, &ignored);
    return mode;
}

static void keep_report(struct bf_job *job, const struct bf_convert_report *report)
{
    struct json_object *json = bf_context_object(bf_launch_context(job), "conversion");

    bf_json_add_bool(json, "planned", report->planned);
    bf_json_add_string(json, "method", report->method);
    bf_json_add_string(json, "guest_os", report->guest_os);
    bf_json_add_bool(json, "virtio", report->virtio);
    bf_json_add_string(json, "log", report->log_tail);
    json_object_object_add(json, "warnings",
                           report->warnings ? json_object_get(report->warnings)
                                            : json_object_new_array());
    json_object_object_add(json, "seconds", json_object_new_double(report->seconds));
}

static int run_convert(struct bf_job *job, struct bf_target_volume *const *volumes, size_t count,
                       struct json_object *plan, struct bf_error *err)
{
    bf_auto_free const struct bf_endpoint_spec **specs = bf_xcalloc(count + 1, sizeof(*specs));
    bf_auto_guest_request request = {0};
    struct bf_convert_report report = {0};

    if (bf_guest_request_init(job, job->kind->beside ? 'C' : 'c', CONVERT_DEADLINE_MS, &request,
                              err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        specs[i] = bf_target_volume_spec(volumes[i]);
    request.convert.mode = convert_mode(job);
    request.convert.disks = specs;
    request.convert.disk_count = count;
    request.convert.plan = plan;
    bf_convert_sweep(request.directory); /* mounts of a conversion that was killed */
    if (bf_convert_run(&request.convert, &report, err) != 0)
        return -1;
    keep_report(job, &report);
    bf_convert_report_done(&report);
    return 0;
}

static int open_and_convert(struct bf_job *job, struct json_object *plan, struct bf_error *err)
{
    struct json_object *clones = bf_context_array(bf_launch_context(job), "clones");
    size_t count = json_object_array_length(clones);
    bf_auto_free struct bf_target_volume **volumes = bf_xcalloc(count + 1, sizeof(*volumes));
    struct bf_platform *target;
    int r = bf_job_target(job, &target, err);

    for (size_t i = 0; i < count && r == 0; i++) {
        const char *ref = bf_context_text(json_object_array_get_idx(clones, i), "ref");

        r = bf_target_open_clone(target, ref, &volumes[i], err);
    }
    if (r == 0)
        r = run_convert(job, volumes, count, plan, err);
    for (size_t i = 0; i < count; i++) {
        bf_auto_error why = BF_ERROR_INIT;

        if (volumes[i] && bf_target_close_volume(volumes[i], &why) != 0 && r == 0) {
            bf_error_move(err, &why);
            r = -1;
        }
    }
    return r;
}

/* The plan may have decided already that there is nothing to do: then no disk is opened. */
static int convert_by_plan(struct bf_job *job, struct bf_error *err)
{
    uint64_t point = bf_context_u64(bf_launch_context(job), "point");
    bf_auto_json *plan = bf_plan_for_launch(bf_job_inputs(job), bf_job_config(job), point);
    struct bf_convert_report report = {0};

    if (!bf_convert_is_needless(convert_mode(job), plan, &report))
        return open_and_convert(job, plan, err);
    keep_report(job, &report);
    bf_convert_report_done(&report);
    return 0;
}

int bf_launch_convert(struct bf_job *job, struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);
    uint64_t since_ms = bf_now_ms();

    if (bf_context_bool(launch, "converted"))
        return 0;
    if (bf_context_bool(launch, "converting") && clone_anew(job, err) != 0)
        return -1;
    bf_json_add_bool(launch, "converting", true);
    if (bf_job_save(job, err) != 0 || convert_by_plan(job, err) != 0)
        return -1;
    bf_json_add_bool(launch, "converted", true);
    bf_launch_time(job, "convert", bf_now_ms() - since_ms);
    return bf_launch_put(job, "starting", err);
}

/* --- create --- */

static struct bf_launch_disk *launch_disks(struct bf_job *job, size_t *ret_count)
{
    struct json_object *clones = bf_context_array(bf_launch_context(job), "clones");
    size_t count = json_object_array_length(clones);
    struct bf_launch_disk *disks = bf_xcalloc(count + 1, sizeof(*disks));

    for (size_t i = 0; i < count; i++) {
        struct json_object *clone = json_object_array_get_idx(clones, i);

        disks[i].clone_ref = bf_context_text(clone, "ref");
        disks[i].disk =
            bf_machine_disk(bf_job_inputs(job)->machine, bf_context_text(clone, "disk"));
    }
    *ret_count = count;
    return disks;
}

/* Volumes that were not converted stay on the bus that the guest knows. */
static const char *disk_bus(struct bf_job *job)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);

    if (bf_ladder_on_sata(job))
        return "sata";
    if (inputs->mapping.disk_bus || !adopts(job) || inputs->machine->disk_count == 0)
        return inputs->mapping.disk_bus;
    return inputs->machine->disks[0].bus;
}

int bf_launch_create(struct bf_job *job, struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);
    const struct bf_inputs *inputs = bf_job_inputs(job);
    const char *name = bf_context_text(launch, "machine_name");
    bf_auto_free struct bf_launch_nic *nics = NULL;
    bf_auto_free struct bf_launch_disk *disks = NULL;
    bf_auto_free char *tag = NULL;
    bf_auto_free char *ref = NULL;
    bf_auto_free char *vars = NULL;
    struct bf_launch_request request = {.name = name,
                                        .machine = inputs->machine,
                                        .drill = bf_launch_is_drill(job),
                                        .cpus = (unsigned)inputs->mapping.cpus,
                                        .memory_bytes = inputs->mapping.memory_bytes,
                                        .disk_bus = disk_bus(job),
                                        .companion = bf_ladder_on_sata(job),
                                        .flavor = inputs->mapping.flavor,
                                        .security_groups = inputs->mapping.security_groups};
    struct bf_platform *target;
    uint64_t since_ms = bf_now_ms();

    if (bf_job_target(job, &target, err) != 0 ||
        bf_launch_map_networks(job, inputs->machine, &nics, err) != 0 ||
        bf_ledger_intend(job, launch_ledger(job), "machine", BF_SIDE_TARGET, "machine", name, NULL,
                         &tag, err) != 0)
        return -1;
    disks = launch_disks(job, &request.disk_count);
    request.tag = tag;
    request.disks = disks;
    request.nics = nics;
    request.nic_count = inputs->machine->nic_count;
    if (bf_firmware_vars_give(job, bf_context_u64(launch, "point"), &request, &vars, err) != 0 ||
        bf_target_create_machine(target, &request, &ref, err) != 0)
        return -1;
    bf_json_add_string(launch, "machine_ref", ref);
    bf_launch_time(job, "create", bf_now_ms() - since_ms);
    if (bf_ledger_made(job, bf_context_text(launch_ledger(job), "machine"), ref, err) != 0)
        return -1;
    return bf_launch_put(job, "starting", err);
}

int bf_launch_undo_create(struct bf_job *job, struct bf_error *err)
{
    const char *id = bf_context_text(launch_ledger(job), "machine");

    return id ? bf_ledger_remove(job, id, err) : 0;
}

/* --- start --- */

int bf_launch_start(struct bf_job *job, struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);
    bf_auto_free char *id = NULL;
    struct bf_platform *target;
    const char *ref;

    if (bf_context_need(launch, "machine_ref", &ref, err) != 0 ||
        bf_job_target(job, &target, err) != 0 || bf_target_machine_id(target, ref, &id, err) != 0 ||
        bf_platform_power_on(target, id, err) != 0)
        return -1;
    if (!bf_context_i64(launch, "powered_us"))
        bf_json_add_i64(launch, "powered_us", bf_utc_us());
    return bf_launch_put(job, "running", err);
}
