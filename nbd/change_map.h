/* SPDX-License-Identifier: Apache-2.0 */
/* Where change maps come from.
 *
 * The extents file is JSON lines, sorted by offset, without overlaps:
 *     {"offset":65536,"length":131072,"type":"data"}
 *     {"offset":1048576,"length":65536,"type":"zero"}
 * "type" may be left out (data); "zero" promises that the source reads as zero there.  Empty lines
 * are skipped; unknown fields are refused.  What no line names is not touched.
 */
#pragma once

#include <stdio.h>

#include "nbd/digest.h"
#include "nbd/endpoint.h"
#include "nbd/extent.h"

/* Extents beyond `size`, out of order or malformed: BF_E_CHANGE_MAP with the line's number. */
int bf_change_map_from_file(const char *path, uint64_t size, struct bf_extent_list *list,
                            struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* The same from a stream; `name` is for messages. */
int bf_change_map_from_stream(FILE *stream, const char *name, uint64_t size,
                              struct bf_extent_list *list, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* The whole disk, by the source's allocation. */
int bf_change_map_whole(struct bf_endpoint *source, struct bf_extent_list *list,
                        struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* What the bitmap calls dirty; of long dirty runs the source is asked what is zero.  *ret_hash
 * identifies the dirty part (allocation may be told differently from one run to the next). */
int bf_change_map_dirty(struct bf_endpoint *source, const char *bitmap, struct bf_extent_list *list,
                        char ret_hash[BF_HASH_HEX_LENGTH + 1], struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* Drop what is zero on the source by `list` and on the target by its allocation. */
int bf_change_map_drop_zero_on_both(struct bf_endpoint *target, struct bf_extent_list *list,
                                    struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* Every leaf of the target that must be read to check it against the digest: not those that are
 * zero in both.  percent < 100: a random sample of nodes (4 MiB) of about this size. */
int bf_change_map_verify(struct bf_endpoint *target, const struct bf_digest *digest, uint64_t size,
                         unsigned percent, struct bf_extent_list *list, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* Up to `count` leaves that the map does not touch: the first and the last, and others at random,
 * rather such that hold something. */
int bf_change_map_prove(const struct bf_extent_list *map, const struct bf_digest *digest,
                        uint64_t size, uint64_t count, struct bf_extent_list *list,
                        struct bf_error *err) __attribute__((nonnull, warn_unused_result));
int bf_change_map_print(const struct bf_extent_list *list, FILE *stream, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
