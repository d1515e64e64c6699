/* SPDX-License-Identifier: Apache-2.0 */
/* Where in the inventory something is. */
#pragma once

#include "connectors/vmware/property.h"

/* "folder/datacenter": the names from below the root down to the datacenter of a datastore or
 * machine, as they are stored ("%2f" and all).  Caller frees.  In none that the account sees:
 * BF_E_PLATFORM_UNSUPPORTED. */
int bf_vmware_datacenter_path(struct bf_vmware *vw, const char *type, const char *id,
                              char **ret_path, struct bf_error *err);
