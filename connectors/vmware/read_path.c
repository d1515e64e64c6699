/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/read_path.h"

#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/serve.h"

int bf_vmware_read_path(const struct bf_vmware *vw, enum bf_vmware_path *ret_path,
                        struct bf_error *err)
{
    bf_auto_free char *missing = bf_vmware_vddk_missing(&vw->conf);

    if (vw->conf.path == BF_VMWARE_PATH_EXPORT || (vw->conf.path == BF_VMWARE_PATH_AUTO && missing))
        *ret_path = BF_VMWARE_PATH_EXPORT;
    else if (!missing)
        *ret_path = BF_VMWARE_PATH_VDDK;
    else
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "the disks cannot be read: no VDDK library: %s", missing);
    return 0;
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

void bf_vmware_read_path_findings(const struct bf_vmware *vw, uint64_t size_bytes,
                                  struct bf_findings *findings)
{
    bf_auto_free char *missing = bf_vmware_vddk_missing(&vw->conf);
    bf_auto_error ignored = BF_ERROR_INIT;
    enum bf_vmware_path path;

    if (bf_vmware_read_path(vw, &path, &ignored) < 0) {
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-read-path", NULL, missing,
                        "VMware's VDDK library (libvixDiskLib)",
                        "the disks of snapshots are read by it",
                        "unpack VDDK on this host and set the option library_directory, or set "
                        "read_path to auto");
    } else if (path == BF_VMWARE_PATH_EXPORT) {
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-export", NULL,
                        "disks are exported whole", "VMware's VDDK library (libvixDiskLib)",
                        "every round transfers all that the disks hold, and needs room for it in "
                        "the scratch directory",
                        "unpack VDDK on this host and set the option library_directory");
        space_finding(vw, size_bytes, findings);
    }
}
