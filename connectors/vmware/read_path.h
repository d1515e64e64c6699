/* SPDX-License-Identifier: Apache-2.0 */
/* How a snapshot's disks are read: chosen by the platform's option read_path and what is there. */
#pragma once

#include "connectors/vmware/soap.h"

/* None can be used: BF_E_PLATFORM_UNSUPPORTED with the reason. */
int bf_vmware_read_path(const struct bf_vmware *vw, enum bf_vmware_path *ret_path,
                        struct bf_error *err);
