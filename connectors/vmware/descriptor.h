/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of a VMDK: the small text file that says which file holds the bytes. */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define BF_VMWARE_DESCRIPTOR_MAX ((size_t)64 << 10)

/* The one flat file of a disk of this size, as a name in the descriptor's directory; caller frees.
 * A delta, a sparse or raw-device disk, several extents, another size: BF_E_PLATFORM_UNSUPPORTED.
 * Format: "Virtual Disk Format 5.0" (VMware), "The Descriptor File". */
int bf_vmware_descriptor_flat(const char *text, uint64_t size_bytes, char **ret_file,
                              struct bf_error *err);
