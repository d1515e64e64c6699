/* SPDX-License-Identifier: Apache-2.0 */
/* Extents: what of a disk a copy must carry.
 *
 * A change map is a bf_extent_list: sorted, without overlaps, neighbours of one type merged.
 * What no extent covers is left alone on the target.  A bf_range_set is a set of bytes of the disk,
 * used for "done", "flushed" and "to do again".
 *
 * Units: bytes; uint64_t.  An extent never ends above INT64_MAX (what off_t can say).
 * Threads: none of its own; one thread at a time per list.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

static inline uint64_t bf_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t bf_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

enum bf_extent_type {
    BF_EXTENT_DATA, /* must be read */
    BF_EXTENT_ZERO, /* reads as zero: need not be read, must read as zero on the target */
};

struct bf_extent {
    uint64_t offset;
    uint64_t length; /* never 0 */
    enum bf_extent_type type;
};

struct bf_extent_list {
    struct bf_extent *items;
    size_t count;
    size_t capacity;
};

/* A map from outside may be hostile: more extents than this are refused (400 MiB of memory). */
#define BF_EXTENTS_MAX ((size_t)16 << 20)

/* Append.  Fails with BF_E_CHANGE_MAP if it is empty, begins before the end of the last one, ends
 * above INT64_MAX, or is one too many. */
int bf_extent_list_add(struct bf_extent_list *list, uint64_t offset, uint64_t length,
                       enum bf_extent_type type, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
void bf_extent_list_done(struct bf_extent_list *list);

/* Index of the first extent that ends after `offset`; count if none. */
size_t bf_extent_list_find(const struct bf_extent_list *list, uint64_t offset);
/* Bytes of this type within [start, end). */
uint64_t bf_extent_list_bytes(const struct bf_extent_list *list, uint64_t start, uint64_t end,
                              enum bf_extent_type type);
/* Make every border a multiple of `align` (a power of two) or the disk's end: data grows, zeroes
 * shrink.  Needed where an endpoint takes whole blocks only. */
int bf_extent_list_align(struct bf_extent_list *list, uint64_t align, uint64_t size,
                         struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* XXH3-128 over all extents, as 32 hex digits: the map's identity in a journal. */
#define BF_HASH_HEX_LENGTH 32
void bf_extent_list_hash(const struct bf_extent_list *list, char ret_hex[BF_HASH_HEX_LENGTH + 1]);

struct bf_range {
    uint64_t start;
    uint64_t end; /* exclusive, above start */
};

struct bf_range_set {
    struct bf_range *items; /* sorted, disjoint, not touching */
    size_t count;
    size_t capacity;
};

void bf_range_set_add(struct bf_range_set *set, uint64_t start, uint64_t end);
void bf_range_set_add_all(struct bf_range_set *set, const struct bf_range_set *other);
/* Take the first range out; false if the set is empty. */
bool bf_range_set_pop(struct bf_range_set *set, struct bf_range *ret_range);
/* [0, size) without the set. */
void bf_range_set_invert(const struct bf_range_set *set, uint64_t size,
                         struct bf_range_set *ret_rest);
uint64_t bf_range_set_bytes(const struct bf_range_set *set);
void bf_range_set_clear(struct bf_range_set *set); /* empty; keeps the memory */
void bf_range_set_done(struct bf_range_set *set);
