/* SPDX-License-Identifier: Apache-2.0 */
/* Removing snapshots of ours, and finding what carries a tag. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/clone.h"
#include "connectors/vmware/export.h"
#include "connectors/vmware/hotadd.h"
#include "connectors/vmware/snapshot.h"
#include "connectors/vmware/task.h"

/* The delta of a busy machine is merged while the task runs. */
#define REMOVE_MS (4 * 3600 * 1000ULL)

static int remove_one(struct bf_vmware *vw, const char *machine, const char *ref,
                      struct bf_error *err)
{
    bf_auto_vmware_request request = {0};

    bf_vmware_request_begin(&request, "RemoveSnapshot_Task", "VirtualMachineSnapshot", ref);
    bf_xml_leaf(&request.xml, "removeChildren", "false");
    bf_xml_leaf(&request.xml, "consolidate", "true");
    if (bf_vmware_task(vw, &request, machine, REMOVE_MS, NULL, err) == 0)
        return 0;
    if (!bf_vmware_fault(vw, "ManagedObjectNotFound"))
        return bf_fail_in(err, "snapshot %s", ref);
    bf_error_clear(err);
    return 0;
}

/* Files that a removal could not merge stay, and hold up the machine's next snapshots. */
static int consolidate(struct bf_vmware *vw, const char *machine, struct bf_error *err)
{
    bf_auto_vmware_request request = {0};

    bf_vmware_request_begin(&request, "ConsolidateVMDisks_Task", "VirtualMachine", machine);
    if (bf_vmware_task(vw, &request, machine, REMOVE_MS, NULL, err) < 0)
        return bf_fail_in(err, "consolidating the disks of machine %s", machine);
    return 0;
}

/* There is none.  Will there be?  The wait for its making may have ended before the task did, and
 * what is forgotten now would stay for ever, and hold up every round. */
static int check_no_more_comes(struct bf_vmware *vw, const char *machine, const char *tag,
                               struct bf_error *err)
{
    bool pending = false;

    if (bf_vmware_task_pending(vw, machine, "createSnapshot", &pending, err) < 0)
        return -1;
    if (pending)
        return bf_fail(err, BF_E_BUSY, 0, "machine %s: a snapshot is being made, which may be %s",
                       machine, tag);
    return 0;
}

int bf_vmware_release_tag(struct bf_platform *platform, const char *machine_id, const char *tag,
                          struct bf_error *err)
{
    struct bf_vmware *vw = bf_vmware_of(platform);

    bf_vmware_export_sweep(vw, tag);
    if (bf_vmware_hotadd_release(vw, machine_id, tag, err) < 0)
        return -1;
    /* Twice: the second look is the proof that it is gone. */
    for (int look = 0;; look++) {
        bf_auto_vmware_machine *machine = NULL;
        bool found = false;

        if (bf_vmware_machine_get(vw, machine_id, BF_E_MACHINE_GONE, &machine, err) < 0) {
            if (err->code != BF_E_MACHINE_GONE)
                return -1;
            bf_error_clear(err); /* its snapshots went with it */
            return 0;
        }
        for (size_t i = 0; i < machine->snapshot_count; i++) {
            const struct bf_vmware_snapshot *snapshot = &machine->snapshots[i];

            if (!snapshot->ours || !bf_starts_with(snapshot->name, tag))
                continue;
            found = true;
            if (look > 0)
                return bf_fail(err, BF_E_BUSY, 0,
                               "snapshot \"%s\" is still there after its removal", snapshot->name);
            if (remove_one(vw, machine_id, snapshot->ref, err) < 0)
                return -1;
        }
        if (!found && look == 0 && check_no_more_comes(vw, machine_id, tag, err) < 0)
            return -1;
        if (!found)
            return machine->consolidation ? consolidate(vw, machine_id, err) : 0;
    }
}

int bf_vmware_release(struct bf_platform *platform, const char *machine_id,
                      const char *snapshot_ref, struct bf_error *err)
{
    bf_auto_vmware_moment moment = {0};

    (void)machine_id;
    if (bf_vmware_moment_read(snapshot_ref, &moment, err) < 0)
        return -1;
    if (!bf_tag_valid(moment.tag))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "snapshot %s is not one of ours", moment.tag);
    return bf_vmware_release_tag(platform, moment.machine, moment.tag, err);
}

/* --- janitor --- */

struct tagged {
    bf_tagged_fn *fn;
    void *user;
    bool stopped;
};

static void tagged_tree(struct tagged *tagged, const char *machine, const char *name,
                        xmlNodePtr tree, const char *list)
{
    BF_VMWARE_EACH(node, tree, list)
    {
        bf_auto_free char *label = bf_vmware_text(node, "name");
        char tag[BF_TAG_LENGTH + 1];

        if (bf_tag_of(label, tag) && !tagged->stopped) {
            bf_auto_vmware_moment moment = {.machine = bf_xstrdup(machine),
                                            .tag = bf_xstrdup(tag),
                                            .snapshot = bf_vmware_text(node, "snapshot")};
            bf_auto_free char *ref = bf_vmware_moment_write(&moment);

            tagged->stopped = tagged->fn("snapshot", tag, ref, name, tagged->user) != 0;
        }
        tagged_tree(tagged, machine, name, node, "childSnapshotList");
    }
}

/* A linked clone belongs to its snapshot. */
static void take_clone(struct tagged *tagged, const char *name)
{
    bf_auto_vmware_moment moment = {0};
    char tag[BF_TAG_LENGTH + 1];

    if (!bf_vmware_clone_named(name, tag, &moment.machine))
        return;
    moment.tag = bf_xstrdup(tag);
    bf_auto_free char *ref = bf_vmware_moment_write(&moment);
    tagged->stopped = tagged->stopped || tagged->fn("snapshot", tag, ref, name, tagged->user) != 0;
}

static int take_tagged(const char *id, xmlNodePtr object, void *user)
{
    struct tagged *tagged = user;
    bf_auto_free char *name = bf_vmware_text(bf_vmware_property(object, "name"), "");

    take_clone(tagged, name ? name : "");
    tagged_tree(tagged, id, name ? name : id, bf_vmware_property(object, "snapshot"),
                "rootSnapshotList");
    return tagged->stopped;
}

int bf_vmware_tagged(struct bf_platform *platform, bf_tagged_fn *fn, void *user,
                     struct bf_error *err)
{
    static const char *const paths[] = {"name", "snapshot", NULL};
    struct tagged tagged = {.fn = fn, .user = user};

    struct bf_vmware *vw = bf_vmware_of(platform);

    if (bf_vmware_list(vw, "VirtualMachine", paths, take_tagged, &tagged, err) < 0)
        return -1;
    return tagged.stopped ? 0 : bf_vmware_hotadd_tagged(vw, fn, user, err);
}
