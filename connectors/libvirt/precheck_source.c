/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "base/xml.h"
#include "connectors/libvirt/launch.h"
#include "connectors/libvirt/precheck.h"
#include "connectors/libvirt/snapshot.h"

void bf_libvirt_finding_no_backup(struct bf_findings *findings, enum bf_severity severity,
                                  const char *version)
{
    bf_findings_add(findings, severity, "libvirt-no-backup-support", NULL, version,
                    "libvirt 7.2 and QEMU 4.2 or newer with backup support",
                    "without it the disks of a running machine cannot be read at one point in time",
                    "upgrade libvirt and QEMU on the source host");
}

static void check_kind(const struct bf_libvirt_disk *disk, const struct bf_machine_disk *described,
                       struct bf_findings *findings)
{
    if (bf_streq(disk->device, "lun"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-lun-disk", disk->dev,
                        "a SCSI device handed through (device='lun')", "device='disk'",
                        "QEMU does not see what the guest writes to such a disk",
                        "change the disk to device='disk', or leave it out of the mapping's disks");
    if (bf_streq(disk->type, "network")) {
        bf_auto_free char *found =
            bf_xasprintf("on network storage: %s", described->source ? described->source : "");
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-network-disk", disk->dev, found,
                        "a file or block device",
                        "it is read through libvirt's backup job only, so not while the machine is "
                        "off: the last round of a cutover needs it running",
                        "cut over with the machine's disk on a file, or leave the disk out");
    }
    if (bf_streq(disk->type, "vhostuser") || bf_streq(disk->type, "nvme") ||
        bf_streq(disk->type, "vhostvdpa"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-lun-disk", disk->dev,
                        "a device outside of QEMU's block layer", "a file or block device",
                        "QEMU does not see what the guest writes to such a disk",
                        "move the disk to a file or block device, or leave it out");
}

static void check_state(const struct bf_libvirt_disk *disk, const struct bf_machine_disk *described,
                        struct bf_findings *findings)
{
    if (described->shared)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-shared-disk", disk->dev,
                        "marked shareable", "a disk of this machine alone",
                        "what other machines write to it is in no bitmap of this one",
                        "leave the disk out of the mapping's disks and move it separately");
    if (described->read_only)
        bf_findings_add(findings, BF_SEVERITY_INFO, "libvirt-readonly-disk", disk->dev,
                        "marked read-only", "a disk the guest can write",
                        "its content does not change, so later rounds of it are empty or full", "");
    if (disk->transient)
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-transient-disk", disk->dev,
                        "marked transient", "a disk that keeps what is written",
                        "what the guest wrote is thrown away when it is switched off, also for the "
                        "last round of a cutover",
                        "remove <transient/> from the disk");
    if (described->size_bytes == 0)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-no-size", disk->dev,
                        described->source ? described->source : "no source",
                        "an image that libvirt can open", "the size of the disk is unknown",
                        "check that the image exists");
    if (disk->mirror)
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-foreign-job", disk->dev,
                        "a block copy or commit is running", "no block job",
                        "libvirt starts no backup job while it runs", "wait for its end");
}

static void check_tracking(const struct bf_libvirt_disk *disk, struct bf_findings *findings)
{
    if (!bf_streq(disk->format, "qcow2")) {
        bf_auto_free char *found =
            bf_xasprintf("an image of format %s", disk->format ? disk->format : "raw");
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-raw-disk", disk->dev, found,
                        "format qcow2",
                        "only qcow2 records which blocks change, so every round "
                        "reads the whole disk",
                        "convert the disk to qcow2 while the machine runs (virsh blockcopy), or "
                        "accept long rounds");
    }
    size_t depth = 0;
    while (disk->chain && disk->chain[depth])
        depth++;
    if (depth > 1) {
        bf_auto_free char *found = bf_xasprintf("a chain of %zu backing images", depth);
        bf_findings_add(findings, BF_SEVERITY_INFO, "libvirt-snapshot-chain", disk->dev, found,
                        "one image, or one on a template",
                        "an external snapshot made between two rounds makes a round that finds the "
                        "machine off a full one",
                        "merge old snapshots (virsh blockcommit)");
    }
}

static void check_disks(struct bf_libvirt *lv, const struct bf_libvirt_domain *domain,
                        struct bf_findings *findings)
{
    for (size_t i = 0; i < domain->disk_count; i++) {
        const struct bf_libvirt_disk *disk = &domain->disks[i];
        const struct bf_machine_disk *described = &domain->machine->disks[i];
        if (described->removable)
            continue;
        check_kind(disk, described, findings);
        check_state(disk, described, findings);
        check_tracking(disk, findings);
        if (!disk->path || !bf_streq(disk->type, "file") || !lv->conf.local ||
            bf_file_access(disk->path, R_OK) == 0 || domain->machine->power != BF_POWER_OFF)
            continue;
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-image-unreadable", disk->dev,
                        disk->path, "an image that this service may read",
                        "the machine is off, so its images are read directly",
                        "give the service's user access to the image, or start the machine");
    }
}

static void check_firmware(struct bf_libvirt *lv, const struct bf_libvirt_domain *domain,
                           struct bf_findings *findings)
{
    const char *found = NULL;

    if (domain->machine->firmware == BF_FIRMWARE_BIOS)
        return;
    if (!lv->conf.local)
        found = "a source on another host";
    else if (!domain->nvram)
        found = "no NVRAM file";
    else if (bf_file_access(domain->nvram, R_OK) != 0)
        found = domain->nvram;
    if (found)
        bf_findings_add(
            findings, BF_SEVERITY_INFO, "libvirt-uefi-variables", NULL, found,
            "an NVRAM file that this service may read",
            "UEFI variables stay behind: the target's firmware starts the boot loader at "
            "EFI/BOOT on the disk",
            "check that there is one, as installers put it there for removable media");
}

static void check_machine(struct bf_libvirt *lv, virDomainPtr vir,
                          const struct bf_libvirt_domain *domain, struct bf_findings *findings)
{
    if (domain->machine->power == BF_POWER_OFF && lv->conf.local)
        bf_findings_add(findings, BF_SEVERITY_INFO, "libvirt-machine-off", NULL, "switched off",
                        "nothing", "rounds read its images directly", "");
    else if (domain->machine->power == BF_POWER_OFF)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-remote-off", NULL,
                        "switched off, on another host", "a running machine",
                        "libvirt serves disks of running machines only",
                        "start the machine, or run blockferry on its host");
    else if (!lv->conf.local)
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-remote", NULL, "on another host",
                        "a machine of this host",
                        "when it is off its images cannot be read, so a cutover's last round is "
                        "made before the shutdown",
                        "run blockferry on the machine's host for a cutover without loss");
    if (virDomainIsPersistent(vir) == 0)
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-transient", NULL,
                        "a transient machine", "a persistent one",
                        "libvirt forgets it and its checkpoints when it is switched off",
                        "define the machine (virsh define)");
    if (!domain->machine->agent || !domain->agent_connected)
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-no-agent", NULL,
                        domain->machine->agent ? "no guest agent answers"
                                               : "no guest agent channel",
                        "a running qemu-guest-agent",
                        "points are as after a power loss, and quiesce: require fails",
                        "install qemu-guest-agent and add its channel");
    if (domain->host_devices)
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-host-device", NULL,
                        "devices of the host are handed through", "none",
                        "the target machine will not have them", "plan for their absence");
    if (domain->tpm)
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-tpm", NULL, "a TPM", "none",
                        "its content is not replicated: what is sealed by it cannot be opened on "
                        "the target",
                        "have recovery keys at hand, or unseal before the cutover");
    if (bf_streq(domain->cpu_mode, "host-passthrough"))
        bf_findings_add(findings, BF_SEVERITY_INFO, "libvirt-host-cpu", NULL,
                        "CPU mode host-passthrough", "nothing",
                        "the target's CPU may be another model", "");
}

static void check_jobs(struct bf_libvirt *lv, virDomainPtr vir, struct bf_findings *findings)
{
    bf_auto_libvirt_job job = {0};
    bf_auto_error ignored = BF_ERROR_INIT;
    virDomainCheckpointPtr *checkpoints = NULL;
    char tag[BF_TAG_LENGTH + 1];
    bool found = false;
    unsigned foreign = 0;

    if (bf_libvirt_job_get(lv, vir, &job, &found, &ignored) == 0 && found &&
        !bf_libvirt_job_tag(&job, tag))
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-foreign-job", NULL,
                        "a backup job of another tool is running", "no backup job",
                        "libvirt runs one backup job a machine", "wait for its end");
    int count = virDomainListAllCheckpoints(vir, &checkpoints, 0);
    for (int i = 0; i < count; i++) {
        const char *name = virDomainCheckpointGetName(checkpoints[i]);
        if (!name || !bf_tag_valid(name))
            foreign++;
        virDomainCheckpointFree(checkpoints[i]);
    }
    free(checkpoints);
    if (foreign) {
        bf_auto_free char *text = bf_xasprintf("%u checkpoints of other tools", foreign);
        bf_findings_add(findings, BF_SEVERITY_INFO, "libvirt-foreign-checkpoints", NULL, text,
                        "nothing", "they are left alone; each costs the guest a little at writing",
                        "");
    }
}

static int check_backup(struct bf_libvirt *lv, const struct bf_machine *machine,
                        struct bf_findings *findings, struct bf_error *err)
{
    bf_auto_free char *xml = NULL;
    bf_auto_xmldoc doc = NULL;

    if (bf_libvirt_domcaps(lv, machine->arch, "qemu", &xml, err) < 0 ||
        bf_xml_parse(xml, strlen(xml), "domain capabilities", &doc, err) < 0)
        return -1;
    bf_auto_free char *supported =
        bf_xml_text(doc, NULL, "/domainCapabilities/features/backup/@supported");
    if (!bf_streq(supported, "yes"))
        bf_libvirt_finding_no_backup(findings, BF_SEVERITY_BLOCK, "no backup support");
    return 0;
}

static void check_directories(struct bf_libvirt *lv, struct bf_findings *findings)
{
    const char *directory = lv->conf.scratch_directory;

    if (directory && lv->conf.local && bf_file_access(directory, W_OK | X_OK) < 0)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-scratch-directory", directory,
                        strerror(errno), "a directory that QEMU can write",
                        "during a round QEMU keeps the old content of overwritten blocks there",
                        "create it, or change option scratch_directory");
}

int bf_libvirt_source_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                               struct bf_findings *findings, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    bf_auto_libvirt_domain domain = {0};

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_lookup(lv, machine->id, BF_E_MACHINE_GONE, &vir, err) < 0 ||
        bf_libvirt_describe(lv, vir, &domain, err) < 0 ||
        check_backup(lv, machine, findings, err) < 0)
        return -1;
    check_machine(lv, vir, &domain, findings);
    check_firmware(lv, &domain, findings);
    check_jobs(lv, vir, findings);
    check_disks(lv, &domain, findings);
    check_directories(lv, findings);
    return 0;
}
