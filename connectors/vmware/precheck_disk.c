/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about single disks. */
#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/precheck.h"

static void kind_findings(const struct bf_vmware_disk *disk, struct bf_findings *findings)
{
    if (disk->mode && bf_starts_with(disk->mode, "independent"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-disk-independent", disk->key,
                        disk->mode, "a dependent disk", "snapshots leave independent disks out",
                        "set the disk's mode to dependent while the machine is off, or leave the "
                        "disk out of the replication");
    if (bf_streq(disk->compatibility, "physicalMode"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-disk-rdm-physical", disk->key,
                        "a raw device in physical mode", "a virtual disk", "snapshots leave it out",
                        "map it in virtual mode, or leave it out");
    else if (disk->compatibility)
        bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-disk-rdm-virtual", disk->key,
                        "a raw device in virtual mode", "none",
                        "its bytes become an ordinary volume", "none is needed");
    if (bf_streq(disk->sharing, "sharingMultiWriter"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-disk-multi-writer", disk->key,
                        disk->sharing, "a disk of one machine",
                        "a disk that several machines write cannot be in a snapshot",
                        "leave it out, and move its content by the cluster's own means");
    if (disk->shared_bus && !bf_streq(disk->shared_bus, "noSharing"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-disk-shared-bus", disk->key,
                        disk->shared_bus, "a controller that is not shared",
                        "a machine with a shared bus cannot have snapshots",
                        "put the disk on a controller of its own");
    if (disk->key_id)
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-disk-encrypted", disk->key,
                        "an encrypted disk", "none, or more privileges",
                        "reading it needs Cryptographer.Access; the replica is not encrypted",
                        "grant the privilege, and encrypt the target's storage if need be");
    if (disk->has_parent)
        bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-linked-clone", disk->key,
                        "a disk on top of another", "none",
                        "a linked clone or a snapshot's delta; the replica holds all of it",
                        "none is needed");
}

static void form_findings(const struct bf_vmware_disk *disk, struct bf_findings *findings)
{
    bf_auto_free char *size = bf_xasprintf("%llu bytes", (unsigned long long)disk->size_bytes);

    if (disk->size_bytes == 0 || disk->size_bytes % 512)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-disk-size", disk->key, size,
                        "whole sectors of 512 bytes", "its size is not that of a disk",
                        "see the disk's descriptor on the datastore");
    if (!disk->uuid)
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-disk-no-uuid", disk->key, "no uuid",
                        "a uuid",
                        "another disk in its place would not be noticed: every round reads all",
                        "none is needed");
    if (bf_streq(disk->controller, "VirtualNVMEController") ||
        bf_streq(disk->controller, "VirtualIDEController"))
        bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-disk-controller", disk->key,
                        disk->controller, "none",
                        "the guest finds its disk on another controller at the target",
                        "drill it before the cutover");
}

void bf_vmware_precheck_disks(const struct bf_vmware_machine *machine, struct bf_findings *findings)
{
    for (size_t i = 0; i < machine->disk_count; i++) {
        const struct bf_vmware_disk *disk = &machine->disks[i];

        kind_findings(disk, findings);
        form_findings(disk, findings);
        for (size_t j = 0; j < i; j++) {
            if (disk->uuid && bf_streq(disk->uuid, machine->disks[j].uuid))
                bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-disk-same-uuid", disk->key,
                                disk->uuid, "a uuid of its own",
                                "two disks that were exchanged would not be noticed",
                                "give one of them a new uuid (vmkfstools -J setuuid)");
        }
    }
}
