/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/read_path.h"

#include "base/cleanup.h"
#include "connectors/vmware/serve.h"

int bf_vmware_read_path(const struct bf_vmware *vw, enum bf_vmware_path *ret_path,
                        struct bf_error *err)
{
    bf_auto_free char *missing = bf_vmware_vddk_missing(&vw->conf);

    if (vw->conf.path != BF_VMWARE_PATH_EXPORT && !missing) {
        *ret_path = BF_VMWARE_PATH_VDDK;
        return 0;
    }
    return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                   "the disks cannot be read: no VDDK library: %s", missing);
}
