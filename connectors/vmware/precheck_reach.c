/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about whether a mover reaches a machine's disks.  One that blocks here is not used for
 * that machine (mover_choice.c). */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/datacenter.h"
#include "connectors/vmware/precheck.h"

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
    bf_findings_add(reach->findings, severity, id, reach->mover->machine->id, found, needed, why,
                    fix);
}

/* --- the machine that it is --- */

static void state_findings(const struct reach *reach)
{
    const struct bf_vmware_machine *mover = reach->mover;
    const char *found = NULL;

    if (bf_streq(reach->machine->machine->id, mover->machine->id))
        found = "the machine is the mover itself";
    else if (mover->template)
        found = "a template";
    else if (mover->connection && !bf_streq(mover->connection, "connected"))
        found = mover->connection;
    else if (mover->machine->power != BF_POWER_ON)
        found = "it is not running";
    else if (mover->question)
        found = mover->question;
    if (found)
        add(reach, BF_SEVERITY_BLOCK, "vmware-mover", found, "another machine, which runs",
            "disks are attached to it, and it serves them",
            "start it, or correct the platform's option mover");
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
            "have a mover in each datacenter (mover2, mover3, ...)");
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

int bf_vmware_precheck_reach(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                             const struct bf_vmware_machine *mover, struct bf_findings *findings,
                             struct bf_error *err)
{
    struct reach reach = {.vw = vw, .machine = machine, .mover = mover, .findings = findings};

    state_findings(&reach);
    encryption_findings(&reach);
    if (datacenter_findings(&reach, err) < 0 || mount_findings(&reach, err) < 0)
        return -1;
    return store_findings(&reach, err);
}
