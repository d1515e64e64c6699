/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about the machine itself. */
#include "connectors/vmware/precheck.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/serve.h"

#define HARDWARE_MIN 7   /* change tracking */
#define SNAPSHOTS_MAX 31 /* in a chain; ours would be the 32nd */

static const char *const compare_fix = "none is needed: every round reads the disks as a whole";

static void state_findings(const struct bf_vmware_machine *machine, struct bf_findings *findings)
{
    if (machine->template)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-template", NULL, "a template",
                        "a virtual machine", "a template has no snapshots",
                        "convert it to a virtual machine, or deploy one from it");
    if (machine->connection && !bf_streq(machine->connection, "connected"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-connection", NULL, machine->connection,
                        "connected", "its host does not answer vCenter, or its files are gone",
                        "bring the host back, or re-register the machine");
    if (machine->question)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-question", NULL, machine->question,
                        "no question", "every task of the machine waits until it is answered",
                        "answer it in the vSphere Client");
    if (machine->fault_tolerance && !bf_streq(machine->fault_tolerance, "notConfigured"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-fault-tolerance", NULL,
                        machine->fault_tolerance, "no Fault Tolerance",
                        "a machine under Fault Tolerance cannot have snapshots",
                        "turn Fault Tolerance off while it is replicated");
    if (machine->machine->power == BF_POWER_PAUSED)
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-suspended", NULL, "suspended",
                        "running or off", "what its memory holds is not on its disks",
                        "resume it, or shut it down");
    if (machine->consolidation)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-consolidation", NULL,
                        "disks need consolidation", "consolidated disks",
                        "another snapshot on top makes the chain longer, and it may fail",
                        "consolidate the machine's disks in the vSphere Client");
    if (machine->machine->name && strpbrk(machine->machine->name, "/\\%"))
        bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-name", NULL, machine->machine->name,
                        "a name without / \\ %", "vSphere keeps these characters in another form",
                        "none is needed");
}

static void tracking_findings(const struct bf_vmware_machine *machine, struct bf_findings *findings)
{
    uint64_t version = 0;
    bf_auto_error ignored = BF_ERROR_INIT;

    if (machine->version && bf_starts_with(machine->version, "vmx-"))
        (void)bf_parse_u64(machine->version + 4 + strspn(machine->version + 4, "0"), &version,
                           &ignored);
    if (version && version < HARDWARE_MIN)
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-hardware-version", NULL,
                        machine->version, "vmx-07 or newer",
                        "older machines have no change tracking: every round reads all",
                        "upgrade the machine's hardware version while it is off");
    else if (!machine->tracking_supported)
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-cbt-unsupported", NULL,
                        "no change tracking", "change tracking",
                        "the platform cannot track this machine: every round reads all",
                        compare_fix);
    else if (!machine->tracking && machine->snapshot_count > 0)
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-cbt-snapshots", NULL,
                        "change tracking is off, and there are snapshots",
                        "no snapshots when it is switched on",
                        "tracking that begins on top of a snapshot misses changes silently, so "
                        "it is left off and every round reads all",
                        "remove the machine's snapshots; the next round switches tracking on");
    else if (!machine->tracking)
        bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-cbt-off", NULL,
                        "change tracking is off", "change tracking",
                        "the first round switches it on; it begins with the first snapshot",
                        "none is needed");
}

static void snapshot_findings(const struct bf_vmware_machine *machine, struct bf_findings *findings)
{
    bf_auto_buf names = {0};
    size_t foreign = 0;

    for (size_t i = 0; i < machine->snapshot_count; i++) {
        if (machine->snapshots[i].ours)
            continue;
        if (foreign++ < 5)
            bf_buf_addf(&names, "%s\"%s\"", names.length ? ", " : "",
                        machine->snapshots[i].name ? machine->snapshots[i].name : "?");
    }
    if (foreign == 0)
        return;
    if (foreign > 5)
        bf_buf_addf(&names, " and %zu more", foreign - 5);
    bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-foreign-snapshot", NULL, names.text,
                    "no snapshots of others",
                    "when they are removed or reverted to, the next round compares all disks; "
                    "they make reading slower as well",
                    "remove them if they are not needed");
    if (foreign >= SNAPSHOTS_MAX) {
        bf_auto_free char *count = bf_xasprintf("%zu snapshots", foreign);

        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-snapshot-depth", NULL, count,
                        "fewer than 31", "a chain holds 32 snapshots", "remove some of them");
    }
}

/* Devices that a snapshot, or the target, cannot have. */
static void device_findings(const struct bf_vmware_machine *machine, struct bf_findings *findings)
{
    for (size_t i = 0; i < machine->device_count; i++) {
        const char *type = machine->devices[i].type ? machine->devices[i].type : "";

        if (bf_streq(type, "VirtualPCIPassthrough") || bf_streq(type, "VirtualSCSIPassthrough"))
            bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-passthrough", NULL, type,
                            "no passthrough devices",
                            "a running machine with one cannot have snapshots",
                            "remove the device, or replicate the machine while it is off");
        else if (bf_streq(type, "VirtualSriovEthernetCard"))
            bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-sriov", NULL, type,
                            "no SR-IOV nics", "a running machine with one cannot have snapshots",
                            "give the machine an ordinary nic");
        else if (bf_streq(type, "VirtualTPM"))
            bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-vtpm", NULL, "a virtual TPM",
                            "none", "what the guest has sealed in it cannot be taken along",
                            "have recovery keys at hand (BitLocker, LUKS)");
        else if (bf_streq(type, "VirtualUSB"))
            bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-usb", NULL, "a USB device", "none",
                            "the device stays at its host", "detach it before the cutover");
    }
}

static void guest_findings(const struct bf_vmware_machine *machine, struct bf_findings *findings)
{
    if (machine->key_id)
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-encrypted", NULL,
                        "an encrypted machine", "none, or more privileges",
                        "reading it needs Cryptographer.Access; the replica is not encrypted",
                        "grant the privilege, and encrypt the target's storage if need be");
    if (machine->machine->firmware == BF_FIRMWARE_UEFI_SECURE)
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-secure-boot", NULL, "Secure Boot",
                        "a target with the same keys",
                        "the machine's own keys and boot entries are not taken along",
                        "see that the guest boots with the target's default keys: drill it");
    else if (machine->machine->firmware == BF_FIRMWARE_UEFI)
        bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-uefi", NULL, "UEFI",
                        "a boot entry at the default path",
                        "the machine's own boot entries are not taken along",
                        "drill it; most guests boot by the default path");
    if (machine->machine->power == BF_POWER_ON && !bf_streq(machine->tools, "guestToolsRunning"))
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-tools", NULL,
                        machine->tools ? machine->tools : "no VMware Tools", "guestToolsRunning",
                        "file systems cannot be quiesced, nor the guest be shut down in order",
                        "install or start VMware Tools (open-vm-tools) in the guest");
    if (machine->disk_count == 0)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-no-disk", NULL, "no disks",
                        "at least one disk", "there is nothing to replicate", "add a disk");
}

int bf_vmware_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                       struct bf_findings *findings, struct bf_error *err)
{
    struct bf_vmware *vw = bf_vmware_of(platform);
    bf_auto_vmware_machine *found = NULL;

    if (bf_vmware_machine_get(vw, machine->id, BF_E_MACHINE_GONE, &found, err) < 0)
        return -1;
    state_findings(found, findings);
    tracking_findings(found, findings);
    snapshot_findings(found, findings);
    device_findings(found, findings);
    guest_findings(found, findings);
    bf_vmware_precheck_disks(found, findings);
    bf_vmware_precheck_same_file(found, findings);
    return bf_vmware_precheck_around(vw, found, findings, err);
}
