/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/read_path.h"

#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/folder.h"
#include "connectors/vmware/serve.h"

int bf_vmware_read_path(const struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                        enum bf_vmware_path *ret_path, struct bf_error *err)
{
    enum bf_vmware_path path = vw->conf.path;
    bf_auto_free char *missing = bf_vmware_vddk_missing(&vw->conf);

    if (path == BF_VMWARE_PATH_VDDK && missing)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "the disks cannot be read: no VDDK library: %s", missing);
    if (path == BF_VMWARE_PATH_AUTO && vw->conf.plugin)
        path = BF_VMWARE_PATH_PLUGIN;
    else if (path == BF_VMWARE_PATH_AUTO && !missing)
        path = BF_VMWARE_PATH_VDDK;
    else if (path == BF_VMWARE_PATH_AUTO && vw->conf.movers.count > 0)
        path = BF_VMWARE_PATH_MOVER;
    else if (path == BF_VMWARE_PATH_AUTO && machine && machine->machine->power == BF_POWER_OFF)
        path = BF_VMWARE_PATH_DATASTORE;
    else if (path == BF_VMWARE_PATH_AUTO)
        path = BF_VMWARE_PATH_EXPORT;
    *ret_path = path;
    return 0;
}

bool bf_vmware_read_path_falls_back(const struct bf_vmware *vw, enum bf_vmware_path path,
                                    const struct bf_error *err)
{
    if (vw->conf.path != BF_VMWARE_PATH_AUTO)
        return false;
    if (path == BF_VMWARE_PATH_MOVER) /* refused by the platform; doubts of identity are not */
        return err->code == BF_E_IN_USE || err->code == BF_E_PLATFORM_UNSUPPORTED ||
               err->code == BF_E_PLATFORM_ERROR || err->code == BF_E_PLATFORM_PRIVILEGE;
    return path == BF_VMWARE_PATH_DATASTORE &&
           (err->code == BF_E_PLATFORM_UNSUPPORTED || err->code == BF_E_PLATFORM_PRIVILEGE ||
            err->code == BF_E_PLATFORM_ERROR);
}

static void space_finding(const struct bf_vmware *vw, uint64_t size_bytes,
                          struct bf_findings *findings)
{
    struct statvfs fs;

    if (statvfs(vw->conf.scratch_directory, &fs) < 0)
        return;
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes >= size_bytes)
        return;
    bf_auto_free char *have = bf_format_bytes(free_bytes);
    bf_auto_free char *want = bf_format_bytes(size_bytes);
    bf_auto_free char *found = bf_xasprintf("%s free in %s", have, vw->conf.scratch_directory);
    bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-scratch-space", NULL, found, want,
                    "exported disks are kept there while they are copied; full disks would not fit",
                    "set the platform's option scratch_directory to a larger file system");
}

static void export_findings(const struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                            struct bf_findings *findings)
{
    uint64_t size = 0;

    for (size_t i = 0; machine && i < machine->disk_count; i++)
        size += machine->disks[i].size_bytes;
    bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-export", NULL, "disks are exported whole",
                    "VMware's VDDK library (libvixDiskLib)",
                    "every round transfers all that the disks hold, and needs room for it in the "
                    "scratch directory",
                    "unpack VDDK on this host and set the option library_directory");
    space_finding(vw, size, findings);
}

/* Looks at the files themselves: the account, the kind of disk and the server's manners decide. */
static int datastore_findings(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                              struct bf_findings *findings, struct bf_error *err)
{
    bf_auto_error trouble = BF_ERROR_INIT;

    if (machine && bf_vmware_folder_check(vw, machine, &trouble) < 0) {
        if (trouble.code == BF_E_CANCELLED) {
            bf_error_move(err, &trouble);
            return -1;
        }
        if (bf_vmware_read_path_falls_back(vw, BF_VMWARE_PATH_DATASTORE, &trouble))
            export_findings(vw, machine, findings);
        else
            bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-read-path", NULL, trouble.message,
                            "a machine that is off, and stays off, with flat disks",
                            "read_path is datastore: the disks' files are read by HTTPS, which are "
                            "locked while the machine runs",
                            "switch the machine off, or set read_path to auto");
        return 0;
    }
    bf_findings_add(
        findings, BF_SEVERITY_INFO, "vmware-datastore-read", NULL,
        "disks are read from the datastore by HTTPS", "a machine that stays off",
        "while the machine runs its files are locked, and rounds read otherwise or fail",
        "none is needed; for a running machine unpack VDDK on this host and set the "
        "option library_directory");
    return 0;
}

static void budget_finding(const struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                           struct bf_findings *findings)
{
    if (!machine || machine->disk_count <= vw->conf.nfc_per_host)
        return;
    bf_auto_free char *count = bf_xasprintf("%zu disks", machine->disk_count);
    bf_auto_free char *most =
        bf_xasprintf("%llu or fewer (nfc_per_host)", (unsigned long long)vw->conf.nfc_per_host);
    bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-nfc-budget", NULL, count, most,
                    "each disk read is a connection to its host, which has about 50 for everybody: "
                    "the disks are copied in turns, and inspected in parts before the first round",
                    "none is needed; allow more by the platform's option nfc_per_host if the host "
                    "is not used by other backups");
}

static void plugin_finding(const struct bf_vmware *vw, struct bf_findings *findings)
{
    bf_auto_free char *found =
        bf_xasprintf("disks are read by nbdkit's plugin %s", vw->conf.plugin);

    bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-plugin", NULL, found,
                    "a plugin that reads disks of snapshots",
                    "the platform's option plugin says so; what it reads can only be checked by "
                    "its size",
                    "verify the first rounds (--verify all)");
}

int bf_vmware_read_path_findings(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                                 struct bf_findings *findings, struct bf_error *err)
{
    bf_auto_free char *missing = bf_vmware_vddk_missing(&vw->conf);
    bf_auto_error trouble = BF_ERROR_INIT;
    enum bf_vmware_path path;

    if (bf_vmware_read_path(vw, machine, &path, &trouble) < 0) {
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-read-path", NULL, missing,
                        "VMware's VDDK library (libvixDiskLib)",
                        "the disks of snapshots are read by it",
                        "unpack VDDK on this host and set the option library_directory, or set "
                        "read_path to auto");
        return 0;
    }
    if (path == BF_VMWARE_PATH_DATASTORE)
        return datastore_findings(vw, machine, findings, err);
    if (path == BF_VMWARE_PATH_MOVER) /* precheck_mover.c */
        return 0;
    if (path == BF_VMWARE_PATH_EXPORT)
        export_findings(vw, machine, findings);
    else
        budget_finding(vw, machine, findings);
    if (path == BF_VMWARE_PATH_PLUGIN)
        plugin_finding(vw, findings);
    return 0;
}
