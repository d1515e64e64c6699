/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/extent.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/text.h"

/* The list's size comes from a server or a file, so memory that is out is an error, not an abort.
 */
static int list_grow(struct bf_extent_list *list, struct bf_error *err)
{
    if (list->count < list->capacity)
        return 0;
    size_t capacity = list->capacity ? list->capacity * 2 : 64;
    struct bf_extent *items = reallocarray(list->items, capacity, sizeof(*items));
    if (!items)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "no memory for a change map of %zu extents",
                       capacity);
    list->items = items;
    list->capacity = capacity;
    return 0;
}

int bf_extent_list_add(struct bf_extent_list *list, uint64_t offset, uint64_t length,
                       enum bf_extent_type type, struct bf_error *err)
{
    if (!length)
        return bf_fail(err, BF_E_CHANGE_MAP, 0, "empty extent at offset %" PRIu64, offset);
    if (offset > INT64_MAX || length > (uint64_t)INT64_MAX - offset)
        return bf_fail(err, BF_E_CHANGE_MAP, 0,
                       "extent of %" PRIu64 " bytes at offset %" PRIu64 " ends out of range",
                       length, offset);
    if (list->count) {
        struct bf_extent *last = &list->items[list->count - 1];
        uint64_t end = last->offset + last->length;
        if (offset < end)
            return bf_fail(err, BF_E_CHANGE_MAP, 0,
                           "extent at offset %" PRIu64 " begins before the end (%" PRIu64
                           ") of the one before it",
                           offset, end);
        if (offset == end && last->type == type) {
            last->length += length;
            return 0;
        }
    }
    if (list->count >= BF_EXTENTS_MAX)
        return bf_fail(err, BF_E_CHANGE_MAP, 0, "more than %zu extents", BF_EXTENTS_MAX);
    if (list_grow(list, err))
        return -1;
    list->items[list->count++] =
        (struct bf_extent){.offset = offset, .length = length, .type = type};
    return 0;
}

void bf_extent_list_done(struct bf_extent_list *list)
{
    free(list->items);
    *list = (struct bf_extent_list){0};
}

size_t bf_extent_list_find(const struct bf_extent_list *list, uint64_t offset)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct bf_extent *extent = &list->items[middle];
        if (extent->offset + extent->length > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

uint64_t bf_extent_list_bytes(const struct bf_extent_list *list, uint64_t start, uint64_t end,
                              enum bf_extent_type type)
{
    uint64_t bytes = 0;

    for (size_t i = bf_extent_list_find(list, start); i < list->count; i++) {
        const struct bf_extent *extent = &list->items[i];
        if (extent->offset >= end)
            break;
        if (extent->type == type)
            bytes += bf_min_u64(end, extent->offset + extent->length) -
                     bf_max_u64(start, extent->offset);
    }
    return bytes;
}

int bf_extent_list_align(struct bf_extent_list *list, uint64_t align, uint64_t size,
                         struct bf_error *err)
{
    struct bf_extent_list out = {0};
    uint64_t end = 0; /* of what is in `out` */

    assert(align && !(align & (align - 1)));
    for (size_t i = 0; i < list->count; i++) {
        const struct bf_extent *extent = &list->items[i];
        uint64_t from = bf_max_u64(extent->offset, end);
        uint64_t to = extent->offset + extent->length;
        if (from >= to)
            continue;
        uint64_t low = bf_max_u64(from & ~(align - 1), end);
        uint64_t high = bf_min_u64((to + align - 1) & ~(align - 1), bf_max_u64(size, to));
        uint64_t zero_low = (from + align - 1) & ~(align - 1);
        uint64_t zero_high = to >= size ? to : to & ~(align - 1);
        int rc = 0;
        if (extent->type == BF_EXTENT_DATA || zero_low >= zero_high) {
            rc = bf_extent_list_add(&out, low, high - low, BF_EXTENT_DATA, err);
        } else {
            if (low < zero_low)
                rc = bf_extent_list_add(&out, low, zero_low - low, BF_EXTENT_DATA, err);
            if (!rc)
                rc = bf_extent_list_add(&out, zero_low, zero_high - zero_low, BF_EXTENT_ZERO, err);
            if (!rc && zero_high < high)
                rc = bf_extent_list_add(&out, zero_high, high - zero_high, BF_EXTENT_DATA, err);
        }
        if (rc) {
            bf_extent_list_done(&out);
            return -1;
        }
        end = high;
    }
    bf_extent_list_done(list);
    *list = out;
    return 0;
}

void bf_extent_list_hash(const struct bf_extent_list *list, char ret_hex[BF_HASH_HEX_LENGTH + 1])
{
    XXH3_state_t *state = XXH3_createState();
    XXH128_canonical_t canonical;

    if (!state)
        abort(); /* 576 bytes of our own choosing */
    XXH3_128bits_reset(state);
    for (size_t i = 0; i < list->count; i++) {
        const struct bf_extent *extent = &list->items[i];
        uint64_t record[3] = {extent->offset, extent->length, extent->type};
        XXH3_128bits_update(state, record, sizeof(record));
    }
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    for (size_t i = 0; i < sizeof(canonical.digest); i++)
        snprintf(ret_hex + 2 * i, 3, "%02x", canonical.digest[i]);
}

/* First range that ends at or after `offset` (a touching one counts: it can be joined). */
static size_t set_find(const struct bf_range_set *set, uint64_t offset)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->items[middle].end >= offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void bf_range_set_add(struct bf_range_set *set, uint64_t start, uint64_t end)
{
    if (start >= end)
        return;
    size_t first = set_find(set, start);
    size_t last = first; /* one past what the new range joins */
    while (last < set->count && set->items[last].start <= end) {
        start = bf_min_u64(start, set->items[last].start);
        end = bf_max_u64(end, set->items[last].end);
        last++;
    }
    if (first == last) {
        bf_xgrow(&set->items, &set->capacity, set->count + 1, sizeof(*set->items));
        memmove(set->items + first + 1, set->items + first,
                (set->count - first) * sizeof(*set->items));
        set->count++;
    } else if (last > first + 1) {
        memmove(set->items + first + 1, set->items + last,
                (set->count - last) * sizeof(*set->items));
        set->count -= last - first - 1;
    }
    set->items[first] = (struct bf_range){.start = start, .end = end};
}

void bf_range_set_add_all(struct bf_range_set *set, const struct bf_range_set *other)
{
    for (size_t i = 0; i < other->count; i++)
        bf_range_set_add(set, other->items[i].start, other->items[i].end);
}

bool bf_range_set_pop(struct bf_range_set *set, struct bf_range *ret_range)
{
    if (!set->count)
        return false;
    *ret_range = set->items[0];
    set->count--;
    memmove(set->items, set->items + 1, set->count * sizeof(*set->items));
    return true;
}

void bf_range_set_invert(const struct bf_range_set *set, uint64_t size,
                         struct bf_range_set *ret_rest)
{
    uint64_t at = 0;

    *ret_rest = (struct bf_range_set){0};
    for (size_t i = 0; i < set->count; i++) {
        bf_range_set_add(ret_rest, at, bf_min_u64(set->items[i].start, size));
        at = set->items[i].end;
    }
    bf_range_set_add(ret_rest, at, size);
}

uint64_t bf_range_set_bytes(const struct bf_range_set *set)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < set->count; i++)
        bytes += set->items[i].end - set->items[i].start;
    return bytes;
}

void bf_range_set_clear(struct bf_range_set *set)
{
    set->count = 0;
}

void bf_range_set_done(struct bf_range_set *set)
{
    free(set->items);
    *set = (struct bf_range_set){0};
}
