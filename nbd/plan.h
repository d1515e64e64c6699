/* SPDX-License-Identifier: Apache-2.0 */
/* The plan cuts a change map into chunks of work, in disk order.
 *
 * A chunk consists of whole digest leaves and is either ZERO (all its leaves are known to be zero)
 * or COPY (at least one leaf holds data or is covered only in part).  A COPY chunk lies within one
 * window, so that a window-sized buffer holds it at its own place, and is read by one request:
 *   - where a digest is kept, leaves that the map covers only in part are read whole;
 *   - a gap of one clean leaf between two dirty ones is read along (and not written).
 *
 * Each chunk has a span; the spans tile the disk, so "done" is a set of ranges that merge, whatever
 * gaps lie between the extents.
 *
 * What is to be done is a range set: the whole disk, or the rest of an interrupted copy; ranges can
 * be given back (the target lost them).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "nbd/digest.h"
#include "nbd/extent.h"

enum bf_chunk_kind {
    BF_CHUNK_EMPTY, /* nothing is dirty in the span */
    BF_CHUNK_ZERO,
    BF_CHUNK_COPY,
};

struct bf_chunk {
    enum bf_chunk_kind kind;
    uint64_t span_start, span_end; /* done with the chunk; contains start..end */
    uint64_t start, end;           /* whole leaves, or the disk's end */
    uint64_t read_start, read_end; /* COPY: what to read, perhaps a little more; equal: nothing */
    size_t extent;                 /* index of the first extent that reaches into it */
};

struct bf_plan {
    const struct bf_extent_list *map;
    uint64_t size;      /* of the disk */
    uint64_t block_min; /* reads are multiples of this (at most a leaf) ... */
    uint64_t read_max;  /* ... or end here, which may be behind the disk's end */
    uint64_t zero_max;  /* longest ZERO chunk: a power of two, at least a leaf */
    bool whole_leaves;  /* a digest is kept */
    struct bf_range_set todo;
};

/* The next chunk, at most `window` bytes (a power of two, at least a leaf); false: nothing left. */
bool bf_plan_next(struct bf_plan *plan, uint64_t window, struct bf_chunk *ret_chunk);
/* Do [start, end) again (whole leaves, or the disk's end). */
void bf_plan_again(struct bf_plan *plan, uint64_t start, uint64_t end);
bool bf_plan_empty(const struct bf_plan *plan);
void bf_plan_done(struct bf_plan *plan);

/* How does the map cover [start, end)? */
struct bf_coverage {
    bool dirty;                    /* some of it */
    bool full;                     /* all of it */
    bool zero;                     /* all of it, by zero extents */
    uint64_t data_start, data_end; /* hull of its data; equal: none */
};
struct bf_coverage bf_plan_coverage(const struct bf_plan *plan, size_t extent, uint64_t start,
                                    uint64_t end);
