/* SPDX-License-Identifier: Apache-2.0 */
/* Which disks of a snapshot can be a delta, and what is told about it.
 *
 * A dirty bitmap is trusted only when the disk is beyond doubt the one the baseline was taken of:
 * same image (or one that has it as a backing image), same size.  Any doubt is a full
 * round of that disk, with the reason said.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/libvirt/snapshot.h"

static bool chain_has(const struct bf_libvirt_disk *disk, const char *path)
{
    for (size_t i = 0; disk->chain && disk->chain[i]; i++) {
        if (bf_streq(disk->chain[i], path))
            return true;
    }
    return false;
}

/* NULL: a delta is possible. */
static char *doubt(const struct bf_libvirt_plan *plan, const struct bf_libvirt_plan_disk *disk)
{
    const struct bf_libvirt_baseline_disk *old =
        bf_libvirt_baseline_disk(&plan->baseline, disk->disk->dev);

    if (!plan->baseline.checkpoint)
        return bf_xstrdup("the stored baseline cannot be read");
    if (!bf_streq(plan->baseline.machine_id, plan->domain->machine->id))
        return bf_xstrdup("the baseline is of another machine");
    if (!disk->tracks)
        return bf_xasprintf("a %s image cannot record changes",
                            disk->disk->format ? disk->disk->format : "raw");
    if (!old)
        return bf_xstrdup("the disk was not in the last round");
    if (!old->tracked)
        return bf_xstrdup("the image did not record changes at the last round");
    if (!bf_streq(old->path, disk->disk->path) && !chain_has(disk->disk, old->path))
        return bf_xasprintf("another image is in its place: %s, before %s",
                            disk->disk->path ? disk->disk->path : "none",
                            old->path ? old->path : "none");
    if (old->size_bytes != disk->description->size_bytes)
        return bf_xasprintf("the disk was resized from %llu to %llu bytes",
                            (unsigned long long)old->size_bytes,
                            (unsigned long long)disk->description->size_bytes);
    return NULL;
}

static int plan_disk(const struct bf_libvirt_plan *plan, const char *key,
                     struct bf_libvirt_plan_disk *out, struct bf_error *err)
{
    const struct bf_libvirt_disk *disk = bf_libvirt_domain_disk(plan->domain, key);
    const char *name = plan->domain->machine->name;

    if (!disk)
        return bf_fail(err, BF_E_DISK_CHANGED, 0, "machine %s has no disk %s any more", name, key);
    out->disk = disk;
    out->description = bf_machine_disk(plan->domain->machine, key);
    if (out->description->removable || !out->description->source)
        return bf_fail(err, BF_E_DISK_UNSUPPORTED, 0, "machine %s: disk %s is a %s%s", name, key,
                       disk->device, out->description->source ? "" : " without medium");
    if (out->description->size_bytes == 0)
        return bf_fail(err, BF_E_DISK_UNSUPPORTED, 0,
                       "machine %s: libvirt cannot tell the size of disk %s (%s)", name, key,
                       out->description->source);
    out->tracks = bf_streq(disk->format, "qcow2");
    if (plan->request->baseline) {
        out->reason = doubt(plan, out);
        out->delta = !out->reason;
    }
    return 0;
}

int bf_libvirt_plan_make(const struct bf_snapshot_request *request,
                         const struct bf_libvirt_domain *domain, struct bf_libvirt_plan *ret_plan,
                         struct bf_error *err)
{
    bf_auto_libvirt_plan plan = {.request = request, .domain = domain};
    bf_auto_error unreadable = BF_ERROR_INIT;
    size_t count = 0;

    if (request->baseline)
        (void)bf_libvirt_baseline_read(request->baseline, &plan.baseline, &unreadable);
    while (request->disk_keys[count])
        count++;
    plan.disks = bf_xcalloc(count, sizeof(*plan.disks));
    for (size_t i = 0; i < count; i++) {
        plan.disk_count = i + 1;
        if (plan_disk(&plan, request->disk_keys[i], &plan.disks[i], err) < 0)
            return -1;
    }
    *ret_plan = plan;
    plan = (struct bf_libvirt_plan){0};
    return 0;
}

void bf_libvirt_plan_done(struct bf_libvirt_plan *plan)
{
    for (size_t i = 0; i < plan->disk_count; i++)
        free(plan->disks[i].reason);
    free(plan->disks);
    bf_libvirt_baseline_done(&plan->baseline);
    *plan = (struct bf_libvirt_plan){0};
}

void bf_libvirt_plan_make_full(struct bf_libvirt_plan *plan, const char *reason)
{
    for (size_t i = 0; i < plan->disk_count; i++) {
        if (!plan->disks[i].delta)
            continue;
        plan->disks[i].delta = false;
        plan->disks[i].reason = bf_xstrdup(reason);
    }
}

bool bf_libvirt_plan_has_delta(const struct bf_libvirt_plan *plan)
{
    for (size_t i = 0; i < plan->disk_count; i++) {
        if (plan->disks[i].delta)
            return true;
    }
    return false;
}

bool bf_libvirt_plan_tracks(const struct bf_libvirt_plan *plan)
{
    for (size_t i = 0; i < plan->disk_count; i++) {
        if (plan->disks[i].tracks)
            return true;
    }
    return false;
}

char *bf_libvirt_plan_baseline(const struct bf_libvirt_plan *plan, const char *checkpoint_xml)
{
    if (!checkpoint_xml)
        return NULL;
    bf_auto_libvirt_baseline baseline = {
        .machine_id = bf_xstrdup(plan->domain->machine->id),
        .checkpoint = bf_xstrdup(plan->request->tag),
        .xml = bf_xstrdup(checkpoint_xml),
        .disks = bf_xcalloc(plan->disk_count, sizeof(*baseline.disks)),
        .disk_count = plan->disk_count,
    };
    for (size_t i = 0; i < plan->disk_count; i++)
        baseline.disks[i] = (struct bf_libvirt_baseline_disk){
            .key = bf_xstrdup(plan->disks[i].disk->dev),
            .path = bf_xstrdup(plan->disks[i].disk->path),
            .size_bytes = plan->disks[i].description->size_bytes,
            .tracked = plan->disks[i].tracks,
        };
    return bf_libvirt_baseline_write(&baseline);
}

struct bf_snapshot *bf_libvirt_plan_snapshot(const struct bf_libvirt_plan *plan,
                                             const struct bf_libvirt_ref *ref,
                                             const char *checkpoint_xml)
{
    struct bf_snapshot *snapshot = bf_xcalloc(1, sizeof(*snapshot));

    snapshot->ref = bf_libvirt_ref_write(ref);
    snapshot->baseline = bf_libvirt_plan_baseline(plan, checkpoint_xml);
    snapshot->taken_us = ref->taken_us;
    snapshot->disks = bf_xcalloc(plan->disk_count, sizeof(*snapshot->disks));
    snapshot->disk_count = plan->disk_count;
    for (size_t i = 0; i < plan->disk_count; i++)
        snapshot->disks[i] = (struct bf_snapshot_disk){
            .key = bf_xstrdup(plan->disks[i].disk->dev),
            .size_bytes = plan->disks[i].description->size_bytes,
            .delta = plan->disks[i].delta,
            .reason = bf_xstrdup(plan->disks[i].reason),
        };
    return snapshot;
}
