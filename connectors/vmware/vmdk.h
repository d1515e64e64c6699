/* SPDX-License-Identifier: Apache-2.0 */
/* streamOptimized VMDK, as an export sends it, decoded into a raw file while it comes.
 *
 * The form (VMware's "Virtual Disk Format" 5.0): a header sector, a descriptor, and from the
 * header's "overHead" on markers at sector boundaries: a grain (its LBA, its size, deflated bytes),
 * or tables, or the end.  Grains that are not there read as zero, so the file has to be a new one;
 * and a stream that lost some would be a disk with holes.  So the grains that came are counted
 * against the tables, and the end, a sector of zeroes, is believed only after the footer (where the
 * header says that there is one, as hosts do).
 *
 * The stream is not trusted: sizes are bounded before memory or the file is touched.  A stream
 * that ends before its end marker is an error, never a short disk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bf_vmdk;

/* Decode into the descriptor, which stays the caller's; the disk must have this size. */
struct bf_vmdk *bf_vmdk_new(int fd, uint64_t size_bytes);
void bf_vmdk_free(struct bf_vmdk *vmdk);
/* The next bytes of the stream, as many as came. */
int bf_vmdk_feed(struct bf_vmdk *vmdk, const void *data, size_t length, struct bf_error *err);
/* The stream has ended: was that the end? */
int bf_vmdk_finish(const struct bf_vmdk *vmdk, struct bf_error *err);
