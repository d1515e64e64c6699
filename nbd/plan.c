/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/plan.h"

#include <assert.h>

static uint64_t leaf_floor(uint64_t at)
{
    return at & ~(BF_LEAF_BYTES - 1);
}

static uint64_t leaf_end(const struct bf_plan *plan, uint64_t leaf_start)
{
    return bf_min_u64(leaf_start + BF_LEAF_BYTES, plan->size);
}

struct bf_coverage bf_plan_coverage(const struct bf_plan *plan, size_t extent, uint64_t start,
                                    uint64_t end)
{
    const struct bf_extent_list *map = plan->map;
    struct bf_coverage coverage = {.zero = true};
    uint64_t covered = 0;

    for (size_t i = extent; i < map->count && map->items[i].offset < end; i++) {
        const struct bf_extent *item = &map->items[i];
        uint64_t from = bf_max_u64(item->offset, start);
        uint64_t to = bf_min_u64(item->offset + item->length, end);
        if (from >= to)
            continue;
        coverage.dirty = true;
        covered += to - from;
        if (item->type != BF_EXTENT_DATA)
            continue;
        if (coverage.data_start == coverage.data_end)
            coverage.data_start = from;
        coverage.data_end = to;
        coverage.zero = false;
    }
    coverage.full = covered == end - start;
    coverage.zero = coverage.zero && coverage.full && coverage.dirty;
    return coverage;
}

/* First extent at or after index `extent` that reaches beyond `at`. */
static size_t skip_extents(const struct bf_plan *plan, size_t extent, uint64_t at)
{
    while (extent < plan->map->count &&
           plan->map->items[extent].offset + plan->map->items[extent].length <= at)
        extent++;
    return extent;
}

static void plan_zero(const struct bf_plan *plan, uint64_t limit, struct bf_chunk *chunk)
{
    /* The leaf is covered by zero extents; extents of one type that touch are one extent. */
    const struct bf_extent *extent = &plan->map->items[chunk->extent];
    uint64_t end = extent->offset + extent->length;

    end = end >= plan->size ? plan->size : leaf_floor(end);
    chunk->kind = BF_CHUNK_ZERO;
    /* Up to a border of zero_max, so that a chunk never crosses the window it may be written from.
     */
    uint64_t most = (chunk->start & ~(plan->zero_max - 1)) + plan->zero_max;
    chunk->end = bf_min_u64(bf_min_u64(end, limit), most);
}

/* Add a leaf to the hull of what must be read. */
static void widen_read(const struct bf_plan *plan, const struct bf_coverage *coverage,
                       uint64_t start, uint64_t end, struct bf_chunk *chunk)
{
    uint64_t from = coverage->data_start, to = coverage->data_end;

    if (plan->whole_leaves && !coverage->full) {
        from = start;
        to = end;
    }
    if (from == to)
        return;
    from &= ~(plan->block_min - 1);
    to = bf_min_u64((to + plan->block_min - 1) & ~(plan->block_min - 1), plan->read_max);
    if (chunk->read_start == chunk->read_end)
        chunk->read_start = from;
    chunk->read_end = to;
}

static void plan_copy(const struct bf_plan *plan, uint64_t limit, uint64_t window,
                      struct bf_chunk *chunk)
{
    uint64_t window_end = bf_min_u64(limit, (chunk->start & ~(window - 1)) + window);
    size_t extent = chunk->extent;

    chunk->kind = BF_CHUNK_COPY;
    chunk->end = chunk->start;
    for (uint64_t at = chunk->start; at < window_end;) {
        uint64_t end = leaf_end(plan, at);
        extent = skip_extents(plan, extent, at);
        struct bf_coverage coverage = bf_plan_coverage(plan, extent, at, end);
        if (coverage.zero || (!coverage.dirty && chunk->end < at))
            break; /* zero leaves are cheaper alone; a gap of two leaves is not read */
        if (coverage.dirty) {
            widen_read(plan, &coverage, at, end, chunk);
            chunk->end = end;
        }
        at = end;
    }
}

bool bf_plan_next(struct bf_plan *plan, uint64_t window, struct bf_chunk *ret_chunk)
{
    if (!plan->todo.count)
        return false;
    struct bf_range *range = &plan->todo.items[0];
    struct bf_chunk chunk = {.span_start = range->start};

    assert(window >= BF_LEAF_BYTES && !(window & (window - 1)));
    chunk.extent = bf_extent_list_find(plan->map, range->start);
    const struct bf_extent *first =
        chunk.extent < plan->map->count ? &plan->map->items[chunk.extent] : NULL;
    if (!first || first->offset >= range->end) {
        chunk.kind = BF_CHUNK_EMPTY;
        chunk.start = chunk.end = chunk.span_end = range->end;
    } else {
        chunk.start = bf_max_u64(leaf_floor(first->offset), range->start);
        struct bf_coverage coverage =
            bf_plan_coverage(plan, chunk.extent, chunk.start, leaf_end(plan, chunk.start));
        if (coverage.zero)
            plan_zero(plan, range->end, &chunk);
        else
            plan_copy(plan, range->end, window, &chunk);
        assert(chunk.end > chunk.start);
        chunk.span_end = chunk.end;
    }
    range->start = chunk.span_end;
    if (range->start >= range->end) {
        struct bf_range finished;
        bf_range_set_pop(&plan->todo, &finished);
    }
    *ret_chunk = chunk;
    return true;
}

void bf_plan_again(struct bf_plan *plan, uint64_t start, uint64_t end)
{
    bf_range_set_add(&plan->todo, start, end);
}

bool bf_plan_empty(const struct bf_plan *plan)
{
    return !plan->todo.count;
}

void bf_plan_done(struct bf_plan *plan)
{
    bf_range_set_done(&plan->todo);
}
