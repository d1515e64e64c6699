/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about the movers: disks of the machine are to be read through one of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/mover.h"
#include "connectors/vmware/mover_choice.h"
#include "connectors/vmware/precheck.h"
#include "connectors/vmware/read_path.h"

#define NBD_PORT 10809

struct check {
    struct bf_vmware *vw;
    const struct bf_vmware_machine *machine;
    const struct bf_vmware_machine *mover;
    const struct bf_mover_option *option;
    struct bf_findings *findings;
};

static void add(const struct check *check, enum bf_severity severity, const char *id,
                const char *found, const char *needed, const char *why, const char *fix)
{
    bf_findings_add(check->findings, severity, id, check->option->id, found, needed, why, fix);
}

/* What a mover must not have: each of these would touch others' disks. */
static void nature_findings(const struct check *check)
{
    const struct bf_vmware_machine *mover = check->mover;
    const char *found =
        mover->snapshot_count > 0 ? "it has snapshots"
        : mover->tracking         ? "change tracking is on"
        : mover->fault_tolerance && !bf_streq(mover->fault_tolerance, "notConfigured")
            ? "it is under Fault Tolerance"
            : NULL;

    if (found)
        add(check, BF_SEVERITY_BLOCK, "vmware-mover-state", found,
            "no snapshots, no change tracking, no Fault Tolerance",
            "snapshots and change tracking would be made of other machines' disks as well",
            "remove that, and leave the mover out of backups");
}

/* --- its disks --- */

/* *slots grows by what it takes at a time. */
static void controller_findings(const struct check *check, const struct bf_vmware_mover *now,
                                unsigned *slots)
{
    unsigned room = bf_vmware_mover_room(now);
    bf_auto_free char *found = bf_xasprintf("room for %u disks", room);
    bf_auto_free char *needed = bf_xasprintf(
        "PVSCSI controllers on buses 1 to 3, for %u disks (mover_slots)", check->option->slots);

    if (room < check->option->slots)
        add(check, room == 0 ? BF_SEVERITY_BLOCK : BF_SEVERITY_WARN, "vmware-mover-controllers",
            found, needed, "disks of others are attached to these controllers only",
            "add them while the mover is off: on a running machine that stuns it");
    *slots += room < check->option->slots ? room : check->option->slots;
    if (!now->has_uuids)
        add(check, BF_SEVERITY_BLOCK, "vmware-mover-uuid", "disk.EnableUUID is not TRUE",
            "disk.EnableUUID=TRUE in the mover's advanced settings",
            "its guest does not see the disks' ids, by which it serves them",
            "set it while the mover is off");
}

static void foreign_findings(const struct check *check, const struct bf_vmware_mover *now)
{
    bf_auto_buf files = {0};

    for (size_t i = 0; i < now->machine->disk_count; i++) {
        const struct bf_vmware_disk *disk = &now->machine->disks[i];
        bf_auto_free char *tag = bf_vmware_mover_tag(now, disk);

        if (bf_vmware_mover_slot(disk) && !tag)
            bf_buf_addf(&files, "%s%s", files.length ? ", " : "", disk->file ? disk->file : "?");
    }
    if (files.length)
        add(check, BF_SEVERITY_WARN, "vmware-mover-foreign-disk", files.text,
            "no disks of others but those that blockferry attaches",
            "they take slots, and stay: blockferry detaches only what it has attached",
            "detach them, without deleting their files");
}

/* A disk is found in the guest by its uuid alone. */
static void uuid_findings(const struct check *check)
{
    for (size_t i = 0; i < check->machine->disk_count; i++) {
        const struct bf_vmware_disk *disk = &check->machine->disks[i];
        bool twin = false;

        for (size_t j = 0; j < i && disk->uuid; j++)
            twin = twin || bf_streq(disk->uuid, check->machine->disks[j].uuid);
        if (!disk->uuid || !*disk->uuid || twin)
            bf_findings_add(check->findings, BF_SEVERITY_BLOCK, "vmware-mover-same-uuid", disk->key,
                            twin ? disk->uuid : "no uuid", "a uuid of its own",
                            "the mover tells disks by their uuids, and serves none that it cannot "
                            "tell from another",
                            "give the disk a new uuid (vmkfstools -J setuuid)");
        if (!disk->controller || (strcmp(disk->controller, "VirtualAHCIController") != 0 &&
                                  strcmp(disk->controller, "VirtualIDEController") != 0 &&
                                  strcmp(disk->controller, "VirtualNVMEController") != 0))
            continue;
        bf_findings_add(check->findings, BF_SEVERITY_WARN, "vmware-mover-bus", disk->key,
                        disk->controller, "SCSI",
                        "whether the disk of another bus can be attached to a SCSI controller is "
                        "not known",
                        "see with check --inspect, which attaches it");
    }
}

/* --- the way to it --- */

/* False: they are not there. */
static bool certificate_findings(const struct check *check)
{
    static const char *const names[] = {"ca-cert.pem", "client-cert.pem", "client-key.pem"};
    bool good = true;

    for (size_t i = 0; i < bf_array_length(names); i++) {
        bf_auto_free char *path = bf_xasprintf("%s/%s", check->option->certificates, names[i]);

        if (access(path, R_OK) == 0)
            continue;
        bf_auto_free char *found = bf_xasprintf("%s: %s", path, strerror(errno));
        add(check, BF_SEVERITY_BLOCK, "vmware-mover-certificates", found,
            "a file this service can read", "the mover knows this service by it",
            "correct the platform's option mover_certificates");
        good = false;
    }
    return good;
}

/* TLS with a wrong certificate would fail the first round. */
static int greeting_finding(const struct check *check, size_t index, struct bf_error *err)
{
    const struct bf_mover_conf conf = bf_vmware_mover_conf(check->vw, index);
    bf_auto_error why = BF_ERROR_INIT;

    if (bf_mover_greet(&check->vw->base, &conf, &why) == 0)
        return 0;
    if (why.code != BF_E_TLS) {
        bf_error_move(err, &why);
        return -1;
    }
    add(check, BF_SEVERITY_BLOCK, "vmware-mover-tls", why.message,
        "the mover that mover_certificates were made with",
        "each image has certificates of its own, and lets nobody else in",
        "correct the platform's option mover_certificates or mover_address");
    return 0;
}

static int port_findings(const struct check *check, bool has_certificates, size_t index,
                         struct bf_error *err)
{
    const char *address = check->option->address;
    const char *end = strrchr(address, ']');
    bool has_port = strchr(end ? end : address, ':') != NULL;
    bf_auto_free char *place =
        has_port ? bf_xstrdup(address) : bf_xasprintf("%s:%d", address, NBD_PORT);
    bf_auto_free char *why = NULL;

    if (bf_vmware_port_silent(check->vw, place, &why, err) < 0)
        return -1;
    if (why)
        add(check, BF_SEVERITY_BLOCK, "vmware-mover-port", why, place,
            "the disks are read from the mover's NBD port",
            "open it from here to the mover, or correct the platform's option mover_address");
    return why || !has_certificates ? 0 : greeting_finding(check, index, err);
}

/* --- all --- */

static void path_finding(const struct bf_vmware *vw, struct bf_findings *findings)
{
    bool clones = false;

    for (size_t i = 0; i < vw->conf.movers.count; i++)
        clones = clones || vw->conf.clone_folders[i];
    bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-mover-read", NULL,
                    "disks are read through a mover", "a mover at this vCenter",
                    "the snapshot's files are attached to it while they are copied",
                    "none is needed; check --inspect rehearses it");
    if (!clones)
        bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-mover-clones", NULL,
                        "no mover_clone_folder", "a folder for linked clones",
                        "where a host does not let a snapshot's files be attached, there is no "
                        "other way by the mover",
                        "make a folder, and set the platform's option mover_clone_folder");
}

static void slots_finding(const struct bf_vmware_machine *machine, unsigned slots,
                          struct bf_findings *findings)
{
    bf_auto_free char *count = bf_xasprintf("%zu disks", machine->disk_count);
    bf_auto_free char *room = bf_xasprintf("room for %u disks", slots);

    if (machine->disk_count > slots)
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-mover-slots", NULL, count, room,
                        "the machine's disks are copied in turns",
                        "none is needed; or add controllers (mover_slots), or movers");
}

/* A mover that is there: what it is made of, the way to it, and what may be done to it. */
static int mover_findings(struct check *check, size_t index, unsigned *slots, struct bf_error *err)
{
    bf_auto_vmware_mover now = {0};
    bool has_certificates = certificate_findings(check);

    nature_findings(check);
    if (bf_vmware_mover_get(check->vw, check->option->id, &now, err) < 0)
        return -1;
    controller_findings(check, &now, slots);
    foreign_findings(check, &now);
    if (port_findings(check, has_certificates, index, err) < 0 ||
        bf_vmware_precheck_drs(check->vw, check->mover, true, check->findings, err) < 0 ||
        bf_vmware_precheck_storage_drs(check->vw, check->mover, true, check->findings, err) < 0)
        return -1;
    return bf_vmware_precheck_rights(check->vw, check->machine, check->mover,
                                     check->vw->conf.clone_folders[index], check->findings, err);
}

static void copy_findings(const struct bf_findings *from, struct bf_findings *to)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct bf_finding *item = &from->items[i];

        bf_findings_add(to, item->severity, item->id, item->subject, item->found, item->needed,
                        item->why, item->fix);
    }
}

/* That there are others makes it no more than something to know. */
static void unused_finding(const struct bf_vmware_fit *fit, struct bf_findings *findings)
{
    const struct bf_finding *why = &fit->findings.items[0];

    for (size_t i = 1; i < fit->findings.count && why->severity != BF_SEVERITY_BLOCK; i++)
        why = &fit->findings.items[i];
    bf_auto_free char *found = bf_xasprintf("%s (%s)", why->found, why->id);
    bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-mover-unused", why->subject, found,
                    why->needed, "the machine's disks are read through the other movers", why->fix);
}

static int each_mover(struct check *check, const struct bf_vmware_fit *fits, const bool *used,
                      bool any, struct bf_error *err)
{
    unsigned slots = 0;

    for (size_t i = 0; i < check->vw->conf.movers.count; i++) {
        check->option = &check->vw->conf.movers.list[i];
        check->mover = fits[i].mover;
        if (any && !used[i]) {
            unused_finding(&fits[i], check->findings);
            continue;
        }
        copy_findings(&fits[i].findings, check->findings);
        if (check->mover && mover_findings(check, i, &slots, err) < 0)
            return -1;
    }
    if (slots > 0)
        slots_finding(check->machine, slots, check->findings);
    return 0;
}

int bf_vmware_precheck_mover(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                             struct bf_findings *findings, struct bf_error *err)
{
    struct bf_vmware_fit fits[BF_MOVERS_MAX] = {0};
    bool used[BF_MOVERS_MAX] = {0};
    struct check check = {.vw = vw, .machine = machine, .findings = findings};
    bf_auto_error ignored = BF_ERROR_INIT;
    enum bf_vmware_path path;
    int rc = 0;

    if (bf_vmware_read_path(vw, machine, &path, &ignored) < 0 || path != BF_VMWARE_PATH_MOVER)
        return 0;
    path_finding(vw, findings);
    uuid_findings(&check);
    for (size_t i = 0; i < vw->conf.movers.count && rc == 0; i++)
        rc = bf_vmware_mover_fit(vw, machine, i, &fits[i], err);
    if (rc == 0)
        rc = each_mover(&check, fits, used,
                        bf_vmware_fits_choose(fits, vw->conf.movers.count, used), err);
    for (size_t i = 0; i < vw->conf.movers.count; i++)
        bf_vmware_fit_done(&fits[i]);
    return rc;
}
