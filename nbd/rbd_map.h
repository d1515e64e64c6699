/* SPDX-License-Identifier: Apache-2.0 */
/* Change maps of RBD images, by rbd_diff_iterate2().
 *
 * With the fast-diff feature one call tells from the object map which objects changed, at once and
 * in whole objects; a second one asks only those objects for the bytes: the same map as without,
 * in a tenth of the time.  Where the object map is not there or not valid (features switched on
 * later, a rebuild pending) every object is asked.
 *
 * Data extents may hold zeroes (zeroed inside of an object): whoever reads looks for them.
 * Long images are asked slice by slice, so that the deadline is of an answer and not of a disk.
 */
#pragma once

#include "nbd/extent.h"
#include "nbd/rbd_link.h"

/* Data and zero extents that cover [offset, offset + length).  In whole objects where the object
 * map is valid. */
int bf_rbd_map_allocation(struct bf_rbd_link *link, uint64_t offset, uint64_t length,
                          struct bf_extent_list *list, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));

/* What changed between snapshot `since` (name or id) and what is open.  Zero: was discarded, or
 * lies where the image has grown.  The snapshot is not there, is newer than what is open, or
 * vanished meanwhile: BF_E_BASELINE_LOST. */
int bf_rbd_map_since(struct bf_rbd_link *link, const char *since, struct bf_extent_list *list,
                     struct bf_error *err) __attribute__((nonnull, warn_unused_result));
