/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about whether a mover reaches a machine's disks, and what the account may do to it. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/datacenter.h"
#include "connectors/vmware/precheck.h"
#include "connectors/vmware/privilege.h"

#define ROOM_BYTES ((uint64_t)1 << 30) /* for the redo logs of attached disks, which stay empty */

struct reach {
    struct bf_vmware *vw;
    const struct bf_vmware_machine *machine;
    const struct bf_vmware_machine *mover;
    struct bf_findings *findings;
};

static void add(const struct reach *reach, enum bf_severity severity, const char *id,
                const char *found, const char *needed, const char *why, const char *fix)
{
    bf_findings_add(reach->findings, severity, id, reach->vw->conf.mover, found, needed, why, fix);
}

/* --- places --- */

static int datacenter_findings(const struct reach *reach, struct bf_error *err)
{
    const struct bf_vmware_machine *machines[] = {reach->machine, reach->mover};
    char *paths[2] = {0};
    int rc = 0;

    for (size_t i = 0; i < 2 && rc == 0; i++) {
        rc = bf_vmware_datacenter_path(reach->vw, "VirtualMachine", machines[i]->machine->id,
                                       &paths[i], err);
        if (rc < 0 && err->code == BF_E_PLATFORM_UNSUPPORTED) {
            bf_error_clear(err);
            rc = 0;
        }
    }
    if (rc == 0 && !bf_streq(paths[0], paths[1]))
        add(reach, BF_SEVERITY_BLOCK, "vmware-mover-datacenter",
            paths[1] ? paths[1] : "the mover is in no datacenter that the account sees",
            paths[0] ? paths[0] : "the machine's datacenter",
            "names of files on datastores are understood in the mover's datacenter",
            "have a mover, and a platform of its own, for each datacenter");
    free(paths[0]);
    free(paths[1]);
    return rc;
}

struct mounts {
    char **ids;
    size_t count, capacity;
};

static void mounts_done(struct mounts *mounts)
{
    for (size_t i = 0; i < mounts->count; i++)
        free(mounts->ids[i]);
    free(mounts->ids);
}

static int take_mounts(const char *id, xmlNodePtr object, void *user)
{
    struct mounts *mounts = user;

    (void)id;
    BF_VMWARE_EACH(ref, bf_vmware_property(object, "datastore"), "ManagedObjectReference")
    {
        bf_xgrow(&mounts->ids, &mounts->capacity, mounts->count + 1, sizeof(*mounts->ids));
        mounts->ids[mounts->count++] = bf_vmware_text(ref, "");
    }
    return 0;
}

/* Every datastore of the machine's must be mounted by the host that the mover runs on. */
static int mount_findings(const struct reach *reach, struct bf_error *err)
{
    static const char *const paths[] = {"datastore", NULL};
    bf_cleanup(mounts_done) struct mounts mounts = {0};

    if (!reach->mover->host)
        return 0;
    if (bf_vmware_get(reach->vw, "HostSystem", reach->mover->host, paths, take_mounts, &mounts,
                      err) < 0)
        return bf_fail_in(err, "host %s", reach->mover->host);
    for (char **at = reach->machine->datastores; at && *at; at++) {
        bool found = false;

        for (size_t i = 0; i < mounts.count && !found; i++)
            found = bf_streq(mounts.ids[i], *at);
        if (!found)
            add(reach, BF_SEVERITY_BLOCK, "vmware-mover-datastore", *at,
                "datastores that the mover's host mounts",
                "a host attaches files of its own datastores only",
                "mount the datastore at the mover's host, or move the mover to a host that has it");
    }
    return 0;
}

/* --- kinds of datastores --- */

struct store {
    char *name, *type;
    uint64_t free_bytes;
};

static void store_done(struct store *store)
{
    free(store->name);
    free(store->type);
}

static int take_store(const char *id, xmlNodePtr object, void *user)
{
    struct store *store = user;

    store->name = bf_vmware_text(bf_vmware_property(object, "summary.name"), "");
    store->type = bf_vmware_text(bf_vmware_property(object, "summary.type"), "");
    store->free_bytes =
        bf_vmware_number(bf_vmware_property(object, "summary.freeSpace"), "", UINT64_MAX);
    if (!store->name)
        store->name = bf_xstrdup(id);
    return 0;
}

static int get_store(struct bf_vmware *vw, const char *id, struct store *store,
                     struct bf_error *err)
{
    static const char *const paths[] = {"summary.name", "summary.type", "summary.freeSpace", NULL};

    if (bf_vmware_get(vw, "Datastore", id, paths, take_store, store, err) < 0)
        return bf_fail_in(err, "datastore %s", id);
    return 0;
}

/* Of the mover's own: is one of them vSAN?  And is there room? */
static int home_findings(const struct reach *reach, bool *ret_vsan, struct bf_error *err)
{
    *ret_vsan = false;
    for (char **at = reach->mover->datastores; at && *at; at++) {
        bf_cleanup(store_done) struct store store = {0};

        if (get_store(reach->vw, *at, &store, err) < 0)
            return -1;
        *ret_vsan = *ret_vsan || bf_streq(store.type, "vsan");
        if (store.free_bytes >= ROOM_BYTES)
            continue;
        bf_auto_free char *free_text = bf_format_bytes(store.free_bytes);
        bf_auto_free char *found = bf_xasprintf("%s free on %s", free_text, store.name);
        add(reach, BF_SEVERITY_BLOCK, "vmware-mover-space", found, "1 GiB on the mover's datastore",
            "an attached disk has a log, which stays empty but must be made", "free space there");
    }
    return 0;
}

static int store_findings(const struct reach *reach, struct bf_error *err)
{
    bool vsan;

    if (home_findings(reach, &vsan, err) < 0)
        return -1;
    for (char **at = reach->machine->datastores; at && *at; at++) {
        bf_cleanup(store_done) struct store store = {0};

        if (get_store(reach->vw, *at, &store, err) < 0)
            return -1;
        if (bf_streq(store.type, "vsan") && !vsan)
            add(reach, BF_SEVERITY_BLOCK, "vmware-mover-vsan", store.name, "a mover on vSAN",
                "disks on vSAN are attached to machines on vSAN only",
                "move the mover's own disk to that vSAN");
        if (bf_streq(store.type, "NFS") && !bf_streq(reach->machine->host, reach->mover->host))
            add(reach, BF_SEVERITY_WARN, "vmware-mover-nfs", store.name,
                "a mover on the machine's host, or NFS 4.1",
                "with NFS 3 the machine may stand still for minutes when its snapshot is removed "
                "while another host has read it",
                "move the mover to the machine's host");
    }
    return 0;
}

static void encryption_findings(const struct reach *reach)
{
    bool encrypted = reach->machine->key_id != NULL;

    for (size_t i = 0; i < reach->machine->disk_count; i++)
        encrypted = encrypted || reach->machine->disks[i].key_id;
    if (encrypted && !reach->mover->key_id)
        add(reach, BF_SEVERITY_BLOCK, "vmware-mover-encrypted", "an encrypted machine",
            "an encrypted mover", "encrypted disks are attached to encrypted machines only",
            "encrypt the mover, and grant Cryptographer.Access and Cryptographer.AddDisk");
}

/* --- the account --- */

static int need(const struct reach *reach, const char *type, const char *id,
                const char *const *names, size_t count, struct bf_error *err)
{
    bf_auto_free char *missing = NULL;

    if (bf_vmware_privileges_list(reach->vw, type, id, names, count, false, &missing, err) < 0)
        return bf_fail_in(err, "privileges on %s", id);
    if (!missing)
        return 0;
    bf_auto_free char *needed = bf_xasprintf("these privileges on %s", id);
    add(reach, BF_SEVERITY_BLOCK, "vmware-mover-privilege", missing, needed,
        "disks could not be attached to the mover, or not be detached",
        "add them to the account's role there");
    return 0;
}

/* Destroying a machine deletes the files of all disks that hang on it: who cannot, cannot by
 * mistake either. */
static int harm_findings(const struct reach *reach, struct bf_error *err)
{
    static const char *const machine[] = {"VirtualMachine.Inventory.Delete"};
    static const char *const files[] = {"Datastore.FileManagement"};
    bf_auto_free char *granted = NULL;
    bf_auto_free char *on_files = NULL;

    if (bf_vmware_privileges_list(reach->vw, "VirtualMachine", reach->mover->machine->id, machine,
                                  1, true, &granted, err) < 0)
        return -1;
    if (granted)
        add(reach, BF_SEVERITY_BLOCK, "vmware-mover-may-delete", granted,
            "a role without it on the mover",
            "a mover that is deleted takes the files of the disks that hang on it along",
            "give the account a role on the mover without the right to delete machines");
    for (char **at = reach->machine->datastores; at && *at && !on_files; at++) {
        if (bf_vmware_privileges_list(reach->vw, "Datastore", *at, files, 1, true, &on_files, err) <
            0)
            return -1;
    }
    if (on_files)
        add(reach, BF_SEVERITY_WARN, "vmware-mover-may-delete", on_files,
            "a role without it on the machines' datastores",
            "reading by a mover does not need it, and it allows to delete disks",
            "take it from the account's role, unless disks are read from the datastore");
    return 0;
}

static int take_nothing(const char *id, xmlNodePtr object, void *user)
{
    (void)id, (void)object, (void)user;
    return 0;
}

static int clone_findings(const struct reach *reach, struct bf_error *err)
{
    static const char *const source[] = {"VirtualMachine.Provisioning.Clone"};
    static const char *const folder[] = {"VirtualMachine.Inventory.CreateFromExisting",
                                         "VirtualMachine.Inventory.Delete",
                                         "VirtualMachine.Config.AddNewDisk"};
    static const char *const name[] = {"name", NULL};
    const char *id = reach->vw->conf.mover_clone_folder;

    if (!id)
        return 0;
    if (bf_vmware_get(reach->vw, "Folder", id, name, take_nothing, NULL, err) == 0 &&
        need(reach, "VirtualMachine", reach->machine->machine->id, source, bf_array_length(source),
             err) == 0 &&
        need(reach, "Folder", id, folder, bf_array_length(folder), err) == 0)
        return 0;
    if (!bf_vmware_fault(reach->vw, "ManagedObjectNotFound"))
        return -1;
    bf_error_clear(err);
    add(reach, BF_SEVERITY_BLOCK, "vmware-mover-clones", id, "a folder of virtual machines",
        "linked clones are made there", "correct the platform's option mover_clone_folder");
    return 0;
}

static int privilege_findings(const struct reach *reach, struct bf_error *err)
{
    static const char *const mover[] = {"VirtualMachine.Config.AddExistingDisk",
                                        "VirtualMachine.Config.RemoveDisk",
                                        "VirtualMachine.Config.AdvancedConfig"};
    static const char *const stores[] = {"Datastore.Browse", "Datastore.AllocateSpace"};

    if (need(reach, "VirtualMachine", reach->mover->machine->id, mover, bf_array_length(mover),
             err) < 0)
        return -1;
    for (char **at = reach->machine->datastores; at && *at; at++) {
        if (need(reach, "Datastore", *at, stores, bf_array_length(stores), err) < 0)
            return -1;
    }
    return harm_findings(reach, err) < 0 ? -1 : clone_findings(reach, err);
}

int bf_vmware_precheck_reach(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                             const struct bf_vmware_machine *mover, struct bf_findings *findings,
                             struct bf_error *err)
{
    struct reach reach = {.vw = vw, .machine = machine, .mover = mover, .findings = findings};

    encryption_findings(&reach);
    if (datacenter_findings(&reach, err) < 0 || mount_findings(&reach, err) < 0 ||
        store_findings(&reach, err) < 0)
        return -1;
    return privilege_findings(&reach, err);
}
