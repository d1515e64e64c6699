/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting a chunk that is in memory into parts: data to write, zeroes, and what is left alone. */
#include <string.h>

#include "base/text.h"
#include "nbd/engine_internal.h"

/* More parts than this cost more than the zeroes that they save; then the grain gets coarser. */
#define PARTS_WISHED 16

static enum part_type classify(const struct slot *slot, const unsigned char *skip_leaves,
                               uint64_t from, uint64_t to)
{
    const unsigned char *data = slot->buffer + (from - slot->base);

    if (skip_leaves && skip_leaves[(from - slot->base) / BF_LEAF_BYTES])
        return PART_SKIP;
    if (slot->other && memcmp(data, slot->other + (from - slot->base), to - from) == 0)
        return PART_SKIP;
    return bf_all_zero(data, to - from) ? PART_ZERO : PART_WRITE;
}

void bf_slot_add_part(struct slot *slot, enum part_type type, uint64_t from, uint64_t to)
{
    struct part *last = slot->part_count ? &slot->parts[slot->part_count - 1] : NULL;

    if (last && last->type == type && last->offset + last->length == from) {
        last->length += to - from;
        return;
    }
    bf_xgrow(&slot->parts, &slot->part_capacity, slot->part_count + 1, sizeof(*slot->parts));
    last = &slot->parts[slot->part_count++];
    *last = (struct part){.type = type, .offset = from, .length = to - from};
}

/* Turn zero runs shorter than `shortest` that touch data into data. */
static void coarsen(struct slot *slot, uint64_t shortest)
{
    size_t count = slot->part_count;

    for (size_t i = 0; i < count; i++) {
        struct part *part = &slot->parts[i];
        if (part->type != PART_ZERO || part->length >= shortest)
            continue;
        bool after =
            i && part[-1].type == PART_WRITE && part[-1].offset + part[-1].length == part->offset;
        bool before = i + 1 < count && part[1].type == PART_WRITE &&
                      part->offset + part->length == part[1].offset;
        if (after || before)
            part->type = PART_WRITE;
    }
    slot->part_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct part part = slot->parts[i]; /* add_part never writes beyond what was read */
        bf_slot_add_part(slot, part.type, part.offset, part.offset + part.length);
    }
}

/* Zero extents of the map that were not read: their content is known. */
static void fill_known_zeroes(const struct slot *slot, const struct bf_extent *extent)
{
    const struct bf_chunk *chunk = &slot->chunk;
    uint64_t from = bf_max_u64(extent->offset, chunk->start);
    uint64_t to = bf_min_u64(extent->offset + extent->length, chunk->end);
    uint64_t before = bf_min_u64(to, bf_max_u64(from, chunk->read_start));
    uint64_t behind = bf_max_u64(from, bf_min_u64(to, chunk->read_end));

    if (chunk->read_start == chunk->read_end)
        before = to;
    if (from < before)
        memset(slot->buffer + (from - slot->base), 0, before - from);
    if (behind < to && chunk->read_start != chunk->read_end)
        memset(slot->buffer + (behind - slot->base), 0, to - behind);
}

static void cut_extent(struct slot *slot, const unsigned char *skip_leaves,
                       const struct bf_extent *extent)
{
    uint64_t from = bf_max_u64(extent->offset, slot->chunk.start);
    uint64_t end = bf_min_u64(extent->offset + extent->length, slot->chunk.end);

    uint64_t grain = slot->engine->grain;

    while (from < end) {
        uint64_t to = bf_min_u64((from & ~(grain - 1)) + grain, end);
        bf_slot_add_part(slot, classify(slot, skip_leaves, from, to), from, to);
        from = to;
    }
}

void bf_slot_fill(const struct slot *slot)
{
    const struct bf_extent_list *map = slot->engine->plan.map;

    for (size_t i = slot->chunk.extent; i < map->count; i++) {
        const struct bf_extent *extent = &map->items[i];
        if (extent->offset >= slot->chunk.end)
            break;
        if (extent->type == BF_EXTENT_ZERO && extent->offset + extent->length > slot->chunk.start)
            fill_known_zeroes(slot, extent);
    }
}

void bf_slot_cut(struct slot *slot, const unsigned char *skip_leaves)
{
    const struct bf_extent_list *map = slot->engine->plan.map;

    slot->part_count = 0;
    for (size_t i = slot->chunk.extent; i < map->count; i++) {
        if (map->items[i].offset >= slot->chunk.end)
            break;
        cut_extent(slot, skip_leaves, &map->items[i]);
    }
    for (uint64_t grain = slot->engine->grain * 4;
         slot->part_count > PARTS_WISHED && grain <= BF_LEAF_BYTES; grain *= 4)
        coarsen(slot, grain);
}
