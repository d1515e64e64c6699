/* SPDX-License-Identifier: Apache-2.0 */
/* Invariant 3 of the service is kept here: what is not surely the disk of the baseline gets a
 * reason, and is compared as a whole. */
#include "connectors/vmware/baseline.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/cbt.h"

/* What holds for all disks of the machine; NULL: no doubt. */
static char *machine_doubt(const struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                           const struct bf_vmware_moment *before,
                           const struct bf_vmware_moment *now)
{
    if (!vw->conf.trust_cbt)
        return bf_xstrdup("the platform's option trust_cbt is \"no\"");
    if (!machine->tracking)
        return bf_xstrdup(machine->snapshot_count > 0
                              ? "change tracking is off, and cannot be switched on while the "
                                "machine has snapshots"
                              : "change tracking is off");
    if (!bf_streq(before->machine, now->machine))
        return bf_xstrdup("the baseline is of another machine");
    if (!bf_streq(before->host, now->host))
        return bf_xasprintf("the machine moved from host %s to %s",
                            before->host ? before->host : "unknown",
                            now->host ? now->host : "unknown");
    if (!bf_streq(before->parent, now->parent))
        return bf_xstrdup("a snapshot was made, removed or reverted to since the last round");
    return NULL;
}

static char *disk_doubt(const struct bf_vmware_moment *before, const struct bf_vmware_disk *disk)
{
    const struct bf_vmware_ref_disk *last = bf_vmware_moment_disk(before, disk->key);

    if (!last)
        return bf_xstrdup("the last round did not have this disk");
    if (!disk->uuid || !bf_streq(last->uuid, disk->uuid))
        return bf_xstrdup("another disk is in its place");
    if (last->size_bytes != disk->size_bytes)
        return bf_xasprintf("its size was %llu bytes, now it is %llu",
                            (unsigned long long)last->size_bytes,
                            (unsigned long long)disk->size_bytes);
    /* Below a snapshot of others a machine can be reverted to where it was before our last round,
     * and the numbers of its change ids go on from there until they are past ours.  Its files are
     * new ones then. */
    if (before->parent && last->file && disk->file && !bf_streq(last->file, disk->file))
        return bf_xasprintf("its file was %s, now it is %s: the machine was reverted, or moved",
                            last->file, disk->file);
    return bf_vmware_change_id_doubt(last->change_id, disk->change_id);
}

/* Does the server give out all of the map?  Its refusal is a reason, trouble on the way is not. */
static int try_map(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                   const struct bf_vmware_disk *disk, const char *since, char **ret_reason,
                   struct bf_error *err)
{
    struct bf_vmware_query query = {.machine = moment->machine,
                                    .snapshot = moment->snapshot,
                                    .disk_key = disk->key,
                                    .change_id = since,
                                    .size_bytes = disk->size_bytes};
    bf_auto_vmware_areas areas = {0};

    if (bf_vmware_changed_areas(vw, &query, &areas, err) == 0)
        return 0;
    if (!vw->fault && err->code != BF_E_PROTOCOL)
        return -1;
    if (bf_vmware_fault(vw, "NotAuthenticated") || bf_vmware_fault(vw, "ManagedObjectNotFound"))
        return -1;
    *ret_reason = bf_xasprintf("the platform gives no change map: %s", err->message);
    bf_error_clear(err);
    return 0;
}

static int plan_disk(struct bf_vmware *vw, const struct bf_vmware_moment *before, const char *doubt,
                     const struct bf_vmware_disk *disk, struct bf_vmware_moment *moment,
                     struct bf_snapshot_disk *planned, struct bf_error *err)
{
    struct bf_vmware_ref_disk *ref = &moment->disks[moment->disk_count++];

    *ref = (struct bf_vmware_ref_disk){.key = bf_xstrdup(disk->key),
                                       .file = bf_xstrdup(disk->file),
                                       .uuid = bf_xstrdup(disk->uuid),
                                       .change_id = bf_xstrdup(disk->change_id),
                                       .place = bf_xstrdup(disk->place),
                                       .content_id = bf_xstrdup(disk->content_id),
                                       .size_bytes = disk->size_bytes};
    planned->key = bf_xstrdup(disk->key);
    planned->size_bytes = disk->size_bytes;
    if (!before)
        return 0;
    planned->reason = doubt ? bf_xstrdup(doubt) : disk_doubt(before, disk);
    if (planned->reason)
        return 0;
    const char *since = bf_vmware_moment_disk(before, disk->key)->change_id;
    if (try_map(vw, moment, disk, since, &planned->reason, err) < 0)
        return -1;
    planned->delta = planned->reason == NULL;
    ref->since = planned->delta ? bf_xstrdup(since) : NULL;
    return 0;
}

/* The moment without what only a ref needs. */
static char *baseline_text(const struct bf_vmware_moment *moment)
{
    bf_auto_vmware_moment copy = {0};
    bf_auto_free char *text = bf_vmware_moment_write(moment);
    bf_auto_error ignored = BF_ERROR_INIT;

    if (bf_vmware_moment_read(text, &copy, &ignored) < 0)
        return NULL;
    for (size_t i = 0; i < copy.disk_count; i++)
        free(bf_steal(copy.disks[i].since));
    return bf_vmware_moment_write(&copy);
}

int bf_vmware_baseline_plan(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                            const struct bf_vmware_machine *frozen,
                            const struct bf_snapshot_request *request,
                            struct bf_vmware_moment *moment, struct bf_snapshot *snapshot,
                            struct bf_error *err)
{
    bf_auto_vmware_moment before = {0};
    bf_auto_free char *doubt = NULL;
    size_t count = 0;

    if (request->baseline) {
        if (bf_vmware_moment_read(request->baseline, &before, err) < 0)
            return -1;
        doubt = machine_doubt(vw, machine, &before, moment);
    }
    while (request->disk_keys[count])
        count++;
    snapshot->disks = bf_xcalloc(count + 1, sizeof(*snapshot->disks));
    moment->disks = bf_xcalloc(count + 1, sizeof(*moment->disks));
    for (size_t i = 0; i < count; i++) {
        const struct bf_vmware_disk *disk = bf_vmware_machine_disk(frozen, request->disk_keys[i]);

        if (!disk)
            return bf_fail(err, BF_E_DISK_CHANGED, 0, "snapshot %s has no disk %s", moment->tag,
                           request->disk_keys[i]);
        if (!bf_vmware_disk_snapshots(disk))
            return bf_fail(err, BF_E_DISK_UNSUPPORTED, 0,
                           "disk %s (%s) is not part of snapshots: mode %s", disk->key,
                           disk->file ? disk->file : "no file", disk->mode ? disk->mode : "raw");
        snapshot->disk_count++;
        if (plan_disk(vw, request->baseline ? &before : NULL, doubt, disk, moment,
                      &snapshot->disks[i], err) < 0)
            return -1;
    }
    snapshot->baseline = baseline_text(moment);
    return 0;
}

/* --- the tree --- */

char *bf_vmware_parent_of(const struct bf_vmware_machine *machine, const char *ref)
{
    for (size_t i = 0; i < machine->snapshot_count; i++) {
        if (bf_streq(machine->snapshots[i].ref, ref))
            return bf_xstrdup(machine->snapshots[i].parent);
    }
    return NULL;
}
