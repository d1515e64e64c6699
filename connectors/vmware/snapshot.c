/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/baseline.h"
#include "connectors/vmware/task.h"

#define RECONFIGURE_MS 120000
#define CREATE_MS 900000 /* quiescing alone may take ten minutes */

/* --- change tracking on --- */

int bf_vmware_prepare(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    struct bf_vmware *vw = bf_vmware_of(platform);
    bf_auto_vmware_machine *machine = NULL;
    bf_auto_vmware_request request = {0};

    if (bf_vmware_machine_get(vw, machine_id, BF_E_MACHINE_GONE, &machine, err) < 0)
        return -1;
    /* Off and with snapshots: left off, and every round compares.  bf_vmware_baseline_doubt() says
     * so in the round. */
    if (machine->tracking || !machine->tracking_supported || machine->snapshot_count > 0)
        return 0;
    bf_vmware_request_begin(&request, "ReconfigVM_Task", "VirtualMachine", machine_id);
    bf_xml_open(&request.xml, "spec");
    bf_xml_leaf(&request.xml, "changeTrackingEnabled", "true");
    bf_xml_close(&request.xml);
    if (bf_vmware_task(vw, &request, machine_id, RECONFIGURE_MS, NULL, err) < 0)
        return bf_fail_in(err, "switching change tracking on");
    return 0;
}

/* --- making one --- */

struct making {
    struct bf_vmware *vw;
    const struct bf_snapshot_request *request;
    struct bf_vmware_machine *machine; /* before the snapshot */
    struct bf_vmware_machine *frozen;  /* the snapshot's devices */
    struct bf_vmware_moment moment;
    bool quiesced;
    char *note;
};

static void making_done(struct making *making)
{
    bf_vmware_machine_free(making->machine);
    bf_vmware_machine_free(making->frozen);
    bf_vmware_moment_done(&making->moment);
    free(making->note);
}

static int create(struct making *making, bool quiesce, char **ret_ref, struct bf_error *err)
{
    const char *id = making->request->machine_id;
    bf_auto_free char *name = bf_xasprintf("%s blockferry", making->request->tag);
    bf_auto_vmware_request request = {0};

    bf_vmware_request_begin(&request, "CreateSnapshot_Task", "VirtualMachine", id);
    bf_xml_leaf(&request.xml, "name", name);
    bf_xml_leaf(&request.xml, "description",
                "Made by blockferry for one round of replication; it removes it.");
    bf_xml_leaf(&request.xml, "memory", "false");
    bf_xml_leaf(&request.xml, "quiesce", quiesce ? "true" : "false");
    if (bf_vmware_task(making->vw, &request, id, CREATE_MS, ret_ref, err) < 0) {
        if (err->code == BF_E_PLATFORM_ERROR || err->code == BF_E_CHANGE_MAP)
            bf_error_recode(err, BF_E_SNAPSHOT_FAILED);
        return -1;
    }
    making->quiesced = quiesce;
    return *ret_ref ? 0 : bf_fail(err, BF_E_PROTOCOL, 0, "CreateSnapshot_Task: no snapshot");
}

/* A machine that is off has nothing to quiesce. */
static int create_as_wanted(struct making *making, char **ret_ref, struct bf_error *err)
{
    enum bf_quiesce wanted = making->request->quiesce;
    bool running = making->machine->machine->power == BF_POWER_ON;
    bool tools = bf_streq(making->machine->tools, "guestToolsRunning");

    if (!running || wanted == BF_QUIESCE_OFF) {
        int rc = create(making, false, ret_ref, err);
        making->quiesced = !running;
        return rc;
    }
    if (!tools && wanted == BF_QUIESCE_REQUIRE)
        return bf_fail(err, BF_E_QUIESCE_FAILED, 0, "VMware Tools do not run in machine %s",
                       making->machine->machine->name);
    if (!tools) {
        making->note = bf_xstrdup("VMware Tools do not run in the machine");
        return create(making, false, ret_ref, err);
    }
    if (create(making, true, ret_ref, err) == 0)
        return 0;
    if (err->code != BF_E_QUIESCE_FAILED || wanted == BF_QUIESCE_REQUIRE)
        return -1;
    making->note = bf_xstrdup(err->message);
    bf_error_clear(err);
    return create(making, false, ret_ref, err);
}

static int take_frozen(const char *id, xmlNodePtr object, void *user)
{
    struct bf_vmware_machine *frozen = user;
    xmlNodePtr val = bf_vmware_property(object, "config.hardware.device");

    (void)id;
    if (val)
        bf_vmware_devices_parse(val, frozen);
    return 0;
}

/* The disks as the snapshot has them: only these paths stay what they are. */
static int read_frozen(struct making *making, const char *ref, struct bf_error *err)
{
    static const char *const paths[] = {"config.hardware.device", NULL};

    bf_vmware_machine_free(making->frozen);
    making->frozen = bf_xcalloc(1, sizeof(*making->frozen));
    making->frozen->machine = bf_machine_new();
    if (bf_vmware_get(making->vw, "VirtualMachineSnapshot", ref, paths, take_frozen, making->frozen,
                      err) < 0) {
        if (err->code == BF_E_MACHINE_GONE)
            bf_error_recode(err, BF_E_SNAPSHOT_FAILED);
        return bf_fail_in(err, "disks of snapshot %s", ref);
    }
    return 0;
}

/* Tracking that was just switched on begins with the next stun of the machine, which a snapshot
 * is: the first one may be without ids. */
static bool lacks_ids(const struct making *making)
{
    for (size_t i = 0; i < making->frozen->disk_count; i++) {
        const struct bf_vmware_disk *disk = &making->frozen->disks[i];

        if (bf_vmware_disk_snapshots(disk) && !disk->change_id)
            return making->machine->tracking;
    }
    return false;
}

static const struct bf_vmware_snapshot *find_tag(const struct bf_vmware_machine *machine,
                                                 const char *tag)
{
    for (size_t i = 0; i < machine->snapshot_count; i++) {
        if (bf_starts_with(machine->snapshots[i].name ? machine->snapshots[i].name : "", tag))
            return &machine->snapshots[i];
    }
    return NULL;
}

static const struct bf_vmware_snapshot *other_of_ours(const struct bf_vmware_machine *machine,
                                                      const char *tag)
{
    for (size_t i = 0; i < machine->snapshot_count; i++) {
        if (machine->snapshots[i].ours && !bf_starts_with(machine->snapshots[i].name, tag))
            return &machine->snapshots[i];
    }
    return NULL;
}

/* What the platform says of the snapshot is read back, so that a ref is the same text whether
 * the snapshot was made now or by a call before. */
static int describe(struct making *making, struct bf_error *err)
{
    bf_auto_vmware_machine *now = NULL;
    const struct bf_vmware_snapshot *snapshot;

    if (bf_vmware_machine_get(making->vw, making->request->machine_id, BF_E_MACHINE_GONE, &now,
                              err) < 0)
        return -1;
    snapshot = find_tag(now, making->request->tag);
    if (!snapshot)
        return bf_fail(err, BF_E_SNAPSHOT_FAILED, 0, "snapshot %s vanished", making->request->tag);
    if (read_frozen(making, snapshot->ref, err) < 0)
        return -1;
    bf_vmware_moment_done(&making->moment);
    making->moment = (struct bf_vmware_moment){
        .machine = bf_xstrdup(making->request->machine_id),
        .tag = bf_xstrdup(making->request->tag),
        .snapshot = bf_xstrdup(snapshot->ref),
        .created = bf_xstrdup(snapshot->created),
        .host = bf_xstrdup(now->host),
        .parent = bf_vmware_parent_of(now, snapshot->ref),
    };
    return 0;
}

static int make(struct making *making, struct bf_error *err)
{
    struct bf_vmware *vw = making->vw;
    bf_auto_free char *ref = NULL;

    if (create_as_wanted(making, &ref, err) < 0 || describe(making, err) < 0)
        return -1;
    if (!lacks_ids(making))
        return 0;
    if (bf_vmware_release_tag(&vw->base, making->request->machine_id, making->request->tag, err) <
        0)
        return bf_fail_in(err, "the snapshot that begins change tracking");
    free(bf_steal(ref));
    free(bf_steal(making->note));
    if (create_as_wanted(making, &ref, err) < 0)
        return -1;
    return describe(making, err);
}

static int adopt(struct making *making, const struct bf_vmware_snapshot *found,
                 struct bf_error *err)
{
    making->quiesced = found->quiesced || making->machine->machine->power == BF_POWER_OFF;
    if (!making->quiesced)
        making->note = bf_xstrdup("taken before a restart of the service");
    return describe(making, err);
}

static int64_t created_us(const struct bf_vmware_moment *moment)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    int64_t us = 0;

    if (!moment->created || bf_utc_parse(moment->created, &us, &ignored) < 0)
        return bf_utc_us();
    return us;
}

static int fill(struct making *making, struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    struct bf_snapshot *snapshot = bf_xcalloc(1, sizeof(*snapshot));

    if (bf_vmware_baseline_plan(making->vw, making->machine, making->frozen, making->request,
                                &making->moment, snapshot, err) < 0) {
        bf_snapshot_free(snapshot);
        return -1;
    }
    snapshot->ref = bf_vmware_moment_write(&making->moment);
    snapshot->quiesced = making->quiesced;
    snapshot->quiesce_note = bf_steal(making->note);
    snapshot->taken_us = created_us(&making->moment);
    *ret_snapshot = snapshot;
    return 0;
}

int bf_vmware_snapshot(struct bf_platform *platform, const struct bf_snapshot_request *request,
                       struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    __attribute__((cleanup(making_done))) struct making making = {.vw = bf_vmware_of(platform),
                                                                  .request = request};
    const struct bf_vmware_snapshot *found, *other;

    if (bf_vmware_machine_get(making.vw, request->machine_id, BF_E_MACHINE_GONE, &making.machine,
                              err) < 0)
        return -1;
    found = find_tag(making.machine, request->tag);
    other = other_of_ours(making.machine, request->tag);
    if (!found && other)
        return bf_fail(err, BF_E_FOREIGN_BACKUP, 0, "machine %s has the snapshot \"%s\"",
                       making.machine->machine->name, other->name);
    if (!found && making.machine->consolidation)
        return bf_fail(err, BF_E_BUSY, 0,
                       "the disks of machine %s must be consolidated before the next snapshot",
                       making.machine->machine->name);
    if ((found ? adopt(&making, found, err) : make(&making, err)) < 0)
        return -1;
    return fill(&making, ret_snapshot, err);
}
