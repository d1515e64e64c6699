/* SPDX-License-Identifier: Apache-2.0 */
/* Change maps from an NBD server, by NBD_CMD_BLOCK_STATUS.
 *
 * One context per connection: a server answers every negotiated context in each reply, so a dirty
 * bitmap asked together with base:allocation costs what both cost (seconds instead of milliseconds
 * on a disk of 1 TiB).
 *
 * The server is not trusted: an empty answer, an empty extent, extents beyond what the disk has or
 * far behind what was asked, two lists in one answer, or an answer for another context is
 * BF_E_PROTOCOL.
 * (NBD protocol, doc/proto.md: "Metadata querying", "base:allocation metadata context";
 * QEMU docs/interop/nbd.txt: "qemu:dirty-bitmap".)
 */
#pragma once

#define BF_NBD_ALLOCATION "base:allocation"

#include "nbd/extent.h"
#include "nbd/nbd_link.h"

/* Append the map of [offset, offset + length).  Of base:allocation: data and zero extents that
 * cover it; of a dirty bitmap: its dirty extents as data.  Several pages are asked at a time; short
 * answers are asked on to the end.
 * On failure the link is closed and *link NULL: who knows what else would come on it. */
int bf_nbd_map(struct bf_nbd_link **link, const struct bf_nbd_params *params, uint64_t offset,
               uint64_t length, struct bf_extent_list *list, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
