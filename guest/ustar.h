/* SPDX-License-Identifier: Apache-2.0 */
/* A tar archive in memory: many files go into the appliance by one call. */
#pragma once

#include "base/text.h"

/* False: the name is longer than the format's 100 bytes, or the file than 8 GiB. */
bool bf_ustar_add(struct bf_buf *archive, const char *name, const void *data, size_t size);
void bf_ustar_end(struct bf_buf *archive);
