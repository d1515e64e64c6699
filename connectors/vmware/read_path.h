/* SPDX-License-Identifier: Apache-2.0 */
/* How a snapshot's disks are read: chosen by the platform's option read_path and what is there. */
#pragma once

#include "connectors/vmware/soap.h"

/* None can be used: BF_E_PLATFORM_UNSUPPORTED with the reason. */
int bf_vmware_read_path(const struct bf_vmware *vw, enum bf_vmware_path *ret_path,
                        struct bf_error *err);

/* "vmware-read-path" if none can be used, "vmware-export" and "vmware-scratch-space" if disks are
 * exported.  `size_bytes`: of the machine's disks; 0: of none in particular. */
void bf_vmware_read_path_findings(const struct bf_vmware *vw, uint64_t size_bytes,
                                  struct bf_findings *findings);
