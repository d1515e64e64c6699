/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/adopt.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/source.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/cutover.h"
#include "daemon/launch.h"
#include "daemon/ledger.h"
#include "daemon/replication.h"
#include "daemon/service_private.h"

/* --- may it be asked for --- */

int bf_adopt_check(const struct bf_policy *policy, struct bf_error *err)
{
    if (policy->transfer != BF_TRANSFER_ADOPT)
        return 0;
    if (policy->convert != BF_CONVERT_AUTO && policy->convert != BF_CONVERT_NONE)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "policy.convert: adopted volumes are the source's, and are not converted");
    if (policy->boot_ladder == BF_LADDER_SATA_FIRST)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "policy.boot_ladder: adopted volumes stay on the source's bus");
    if (policy->drill_every)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "policy.drill_every: a drill needs a replica, and adoption makes none");
    return 0;
}

static int check_disk(struct bf_platform *source, struct bf_platform *target,
                      const struct bf_machine *machine, const struct bf_machine_disk *disk,
                      const char *storage, struct bf_findings *findings, struct bf_error *err)
{
    bf_auto_error trouble = BF_ERROR_INIT;
    bf_auto_free char *place = NULL;

    if (disk->shared)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "adopt-shared-disk", disk->key,
                        "other machines may use the volume", "a volume of this machine alone",
                        "it would be taken away from them",
                        "detach it from the others, or "
                        "replicate (policy transfer: copy)");
    if (bf_source_locate_disk(source, machine->id, disk->key, &place, &trouble) != 0) {
        if (trouble.code == BF_E_CANCELLED || bf_error_kind(trouble.code) == BF_KIND_TRANSIENT) {
            bf_error_move(err, &trouble);
            return -1;
        }
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "adopt-no-place", disk->key, trouble.message,
                        "a volume in a store that the target shares",
                        "its place is what the target adopts",
                        "replicate it instead (policy transfer: copy)");
        return 0;
    }
    return bf_target_adopt_precheck(
        target,
        &(struct bf_adopt_request){.disk_key = disk->key, .storage = storage, .place = place},
        findings, err);
}

int bf_adopt_precheck(struct bf_platform *source, struct bf_platform *target,
                      const struct bf_machine *machine, const struct bf_policy *policy,
                      struct json_object *mapping, struct bf_findings *findings,
                      struct bf_error *err)
{
    bf_auto_mapping map = {0};

    if (policy->transfer != BF_TRANSFER_ADOPT)
        return 0;
    if (!bf_target_can_adopt(target)) {
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "adopt-unsupported", NULL,
                        "the target cannot adopt volumes", "an OpenStack cloud as the target",
                        "the policy asks for transfer adopt",
                        "replicate it instead (policy transfer: copy)");
        return 0;
    }
    if (bf_mapping_from_json(mapping, &map, err) != 0)
        return -1;
    for (size_t i = 0; i < machine->disk_count; i++) {
        const struct bf_machine_disk *disk = &machine->disks[i];

        if (!disk->removable && bf_mapping_has_disk(&map, disk->key) &&
            check_disk(source, target, machine, disk, map.storage, findings, err) != 0)
            return -1;
    }
    return 0;
}

/* --- steps --- */

/* Before the source is stopped: what cannot be told is better found now. */
static int locate(struct bf_job *job, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    struct json_object *disks = bf_context_array(bf_job_context(job), "adopt");
    struct bf_platform *source;

    if (bf_job_source(job, &source, err) != 0)
        return -1;
    json_object_array_del_idx(disks, 0, json_object_array_length(disks));
    for (size_t i = 0; i < inputs->machine->disk_count; i++) {
        const struct bf_machine_disk *disk = &inputs->machine->disks[i];
        bf_auto_free char *place = NULL;
        struct json_object *one;

        if (disk->removable || !bf_mapping_has_disk(&inputs->mapping, disk->key))
            continue;
        if (bf_source_locate_disk(source, inputs->replication.machine_id, disk->key, &place, err) !=
            0)
            return -1;
        one = json_object_new_object();
        bf_json_add_string(one, "key", disk->key);
        bf_json_add_string(one, "place", place);
        json_object_array_add(disks, one);
    }
    return json_object_array_length(disks)
               ? 0
               : bf_fail(err, BF_E_DISK_UNSUPPORTED, 0, "there is no disk to adopt");
}

static bool adopted_already(struct json_object *clones, const char *key)
{
    for (size_t i = 0; i < json_object_array_length(clones); i++) {
        if (bf_streq(bf_context_text(json_object_array_get_idx(clones, i), "disk"), key))
            return true;
    }
    return false;
}

static int adopt_disk(struct bf_job *job, struct json_object *one, struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);
    struct json_object *clones = bf_context_array(launch, "clones");
    struct json_object *ledger = bf_context_object(launch, "ledger");
    const char *key = bf_context_text(one, "key");
    bf_auto_free char *holder = bf_xasprintf("clone/%s", key);
    bf_auto_free char *name = bf_xasprintf("%s %s", bf_context_text(launch, "machine_name"), key);
    bf_auto_free char *tag = NULL;
    bf_auto_free char *ref = NULL;
    struct bf_adopt_request request = {.name = name,
                                       .storage = bf_job_inputs(job)->mapping.storage,
                                       .disk_key = key,
                                       .place = bf_context_text(one, "place")};
    struct bf_platform *target;
    struct json_object *clone;

    if (adopted_already(clones, key))
        return 0;
    if (bf_job_target(job, &target, err) != 0 ||
        bf_ledger_intend(job, ledger, holder, BF_SIDE_TARGET, "adoption", name, request.place, &tag,
                         err) != 0)
        return -1;
    request.tag = tag;
    if (bf_target_adopt_volume(target, &request, &ref, err) != 0)
        return bf_fail_in(err, "disk %s", key);
    clone = json_object_new_object();
    bf_json_add_string(clone, "disk", key);
    bf_json_add_string(clone, "ref", ref);
    bf_json_add_string(clone, "ledger", bf_context_text(ledger, holder));
    json_object_array_add(clones, clone);
    return bf_ledger_made(job, bf_context_text(ledger, holder), ref, err);
}

static int adopt(struct bf_job *job, struct bf_error *err)
{
    struct json_object *disks = bf_context_array(bf_job_context(job), "adopt");
    uint64_t since_ms = bf_now_ms();

    for (size_t i = 0; i < json_object_array_length(disks); i++) {
        if (bf_job_check(job, err) != 0 ||
            adopt_disk(job, json_object_array_get_idx(disks, i), err) != 0)
            return -1;
    }
    bf_launch_time(job, "adopt", bf_now_ms() - since_ms);
    return bf_launch_put(job, "starting", err);
}

/* --- the job --- */

static const struct bf_step adopt_steps[] = {
    {"precheck", bf_cutover_precheck, NULL, false},
    {"locate", locate, NULL, false},
    {"shut-down", bf_cutover_shut_down, bf_cutover_power_on_again, false},
    {"plan", bf_launch_plan, bf_launch_undo_plan, false},
    {"adopt", adopt, bf_launch_undo_clone, false},
    {"create", bf_launch_create, bf_launch_undo_create, false},
    {"start", bf_cutover_start, NULL, false},
    {"boot", bf_launch_boot, NULL, false},
};

const struct bf_job_kind bf_job_kind_adopt = {
    .name = "adopt",
    .steps = adopt_steps,
    .step_count = bf_array_length(adopt_steps),
    .begin = bf_cutover_begins,
    .end = bf_cutover_ended,
};
