/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ladder.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/launch.h"
#include "daemon/launch_boot.h"
#include "daemon/ledger.h"
#include "daemon/service_private.h"

static const char cannot[] = "this target gives a launch no second disk of its own";
static const char fix[] = "set boot_ladder to virtio, or disk_bus to sata to stay on SATA";

static struct json_object *ladder_of(struct bf_job *job)
{
    return bf_context_object(bf_launch_context(job), "ladder");
}

int bf_ladder_begin(struct bf_job *job, struct bf_error *err)
{
    struct bf_platform *target;

    if (bf_job_inputs(job)->policy.boot_ladder != BF_LADDER_SATA_FIRST)
        return 0;
    if (bf_job_target(job, &target, err) != 0)
        return -1;
    if (!bf_target_takes_companion(target))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "boot_ladder sata-first: %s; %s", cannot,
                       fix);
    bf_json_add_string(ladder_of(job), "rung", "sata");
    return 0;
}

bool bf_ladder_on_sata(struct bf_job *job)
{
    return bf_streq(bf_context_text(ladder_of(job), "rung"), "sata");
}

/* --- from SATA to virtio --- */

/* What the guest installed has to be on its disks. */
static int switch_off(struct bf_job *job, struct bf_error *err)
{
    const struct bf_policy *policy = &bf_job_inputs(job)->policy;
    uint64_t since_ms = bf_now_ms();
    bf_auto_free char *id = NULL;
    struct bf_platform *target;
    const char *ref;

    if (bf_context_bool(ladder_of(job), "off"))
        return 0;
    if (bf_context_need(bf_launch_context(job), "machine_ref", &ref, err) != 0 ||
        bf_job_target(job, &target, err) != 0 || bf_target_machine_id(target, ref, &id, err) != 0 ||
        bf_launch_shut_down(job, target, id, policy->shutdown == BF_SHUTDOWN_OFF,
                            "the launched machine", err) != 0)
        return bf_fail_in(err, "shutdown after the first boot");
    bf_launch_time(job, "climb", bf_now_ms() - since_ms);
    bf_json_add_bool(ladder_of(job), "off", true);
    return bf_job_save(job, err);
}

/* The machine goes, the clones stay.  What was learnt of its boot is the first rung's. */
static int leave_sata(struct bf_job *job, struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);
    struct json_object *ledger = bf_context_object(launch, "ledger");
    struct json_object *first = bf_context_object(launch, "evidence");
    struct json_object *evidence;
    const char *machine;

    if (switch_off(job, err) != 0 || bf_context_need(ledger, "machine", &machine, err) != 0 ||
        bf_ledger_remove(job, machine, err) != 0)
        return -1;
    evidence = json_object_new_object();
    json_object_object_add(evidence, "first", json_object_get(first));
    json_object_object_add(launch, "evidence", evidence);
    json_object_object_del(ledger, "machine");
    json_object_object_del(launch, "machine_ref");
    json_object_object_del(launch, "booted_us");
    json_object_object_del(launch, "powered_us");
    json_object_object_del(launch, "console");
    bf_json_add_string(ladder_of(job), "rung", "virtio");
    return bf_launch_put(job, "starting", err);
}

int bf_ladder_climb(struct bf_job *job, int (*start)(struct bf_job *job, struct bf_error *err),
                    struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);

    if (!bf_context_text(ladder_of(job), "rung"))
        return 0;
    if (bf_ladder_on_sata(job)) {
        if (!bf_context_bool(bf_context_object(launch, "evidence"), "proven")) {
            bf_job_warn(job, NULL,
                        "the boot from SATA is not proven: the machine stays on SATA, with the "
                        "small virtio disk beside");
            return 0;
        }
        if (leave_sata(job, err) != 0)
            return -1;
    }
    if (!bf_context_text(launch, "machine_ref") && bf_launch_create(job, err) != 0)
        return -1;
    if (!bf_context_i64(launch, "powered_us") && start(job, err) != 0)
        return -1;
    return bf_launch_boot(job, err);
}

/* --- may it be asked for --- */

int bf_ladder_check(const struct bf_policy *policy, const struct bf_mapping *mapping,
                    struct bf_error *err)
{
    if (policy->boot_ladder != BF_LADDER_SATA_FIRST)
        return 0;
    if (mapping->disk_bus && !bf_streq(mapping->disk_bus, "virtio"))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "policy.boot_ladder: sata-first ends on virtio, mapping.disk_bus is %s",
                       mapping->disk_bus);
    if (policy->evidence == BF_EVIDENCE_NONE)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "policy.boot_ladder: sata-first needs a boot that is proven, "
                       "policy.boot_evidence is none");
    return 0;
}

void bf_ladder_precheck(struct bf_platform *target, const struct bf_policy *policy,
                        struct bf_findings *findings)
{
    if (policy->boot_ladder == BF_LADDER_SATA_FIRST && !bf_target_takes_companion(target))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "boot-ladder", NULL, cannot,
                        "a target that gives one", "the policy asks for boot_ladder sata-first",
                        fix);
}
