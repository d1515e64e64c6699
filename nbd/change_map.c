/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/change_map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/json.h"

#define LINE_MAX_BYTES 1024
/* A shorter dirty run is read as fast as its allocation is asked; its zeroes are found anyway. */
#define WORTH_ASKING ((uint64_t)1 << 20)
#define NODE_BYTES (BF_LEAF_BYTES * BF_NODE_LEAVES)
#define PROVE_TRIES 8 /* for each leaf: most of a disk may have changed */

static int parse_line(const char *line, size_t length, uint64_t size, struct bf_extent_list *list,
                      struct bf_error *err)
{
    static const char *const known[] = {"offset", "length", "type", NULL};
    bf_auto_json *object = NULL;
    const char *type = "data";
    uint64_t offset, bytes;

    if (bf_json_parse(line, length, &object, err))
        return -1;
    if (!json_object_is_type(object, json_type_object))
        return bf_fail(err, BF_E_CHANGE_MAP, 0, "not a JSON object");
    if (bf_json_check_fields(object, "", known, err) ||
        bf_json_get_u64(object, "", "offset", &offset, err) ||
        bf_json_get_u64(object, "", "length", &bytes, err) ||
        bf_json_opt_string(object, "", "type", &type, err))
        return -1;
    bool zero = strcmp(type, "zero") == 0;
    if (!zero && strcmp(type, "data") != 0)
        return bf_fail(err, BF_E_CHANGE_MAP, 0, "the type is neither \"data\" nor \"zero\"");
    if (offset > size || bytes > size - offset)
        return bf_fail(err, BF_E_CHANGE_MAP, 0,
                       "extent of %" PRIu64 " bytes at offset %" PRIu64
                       " ends behind the disk's end %" PRIu64,
                       bytes, offset, size);
    return bf_extent_list_add(list, offset, bytes, zero ? BF_EXTENT_ZERO : BF_EXTENT_DATA, err);
}

/* The next line without its end; -1: none left; LINE_MAX_BYTES: too long.  NUL bytes are kept, for
 * the JSON parser to refuse. */
static int read_line(FILE *stream, char line[LINE_MAX_BYTES])
{
    int length = 0, c;

    while ((c = getc_unlocked(stream)) != EOF && c != '\n') {
        if (length == LINE_MAX_BYTES)
            return LINE_MAX_BYTES;
        line[length++] = (char)c;
    }
    if (c == EOF && !length)
        return -1;
    while (length && (line[length - 1] == ' ' || line[length - 1] == '\r'))
        length--;
    return length;
}

int bf_change_map_from_stream(FILE *stream, const char *name, uint64_t size,
                              struct bf_extent_list *list, struct bf_error *err)
{
    char line[LINE_MAX_BYTES];
    int length;

    for (uint64_t number = 1; (length = read_line(stream, line)) >= 0; number++) {
        int rc = 0;
        if (length == LINE_MAX_BYTES)
            rc = bf_fail(err, BF_E_CHANGE_MAP, 0, "the line is longer than %d bytes",
                         LINE_MAX_BYTES - 1);
        else if (length)
            rc = parse_line(line, (size_t)length, size, list, err);
        if (rc) {
            bf_error_recode(err, BF_E_CHANGE_MAP);
            return bf_fail_in(err, "change map \"%s\", line %" PRIu64, name, number);
        }
    }
    if (ferror(stream))
        return bf_fail(err, BF_E_CHANGE_MAP, errno, "cannot read the change map \"%s\"", name);
    return 0;
}

int bf_change_map_from_file(const char *path, uint64_t size, struct bf_extent_list *list,
                            struct bf_error *err)
{
    bf_auto_file FILE *stream = fopen(path, "re");

    if (!stream)
        return bf_fail(err, BF_E_CHANGE_MAP, errno, "cannot open the change map \"%s\"", path);
    return bf_change_map_from_stream(stream, path, size, list, err);
}

int bf_change_map_whole(struct bf_endpoint *source, struct bf_extent_list *list,
                        struct bf_error *err)
{
    return bf_endpoint_allocation(source, 0, source->size, list, err);
}

static int refine(struct bf_endpoint *source, const struct bf_extent_list *dirty,
                  struct bf_extent_list *list, struct bf_error *err)
{
    for (size_t i = 0; i < dirty->count; i++) {
        const struct bf_extent *extent = &dirty->items[i];
        int rc = extent->length < WORTH_ASKING
                     ? bf_extent_list_add(list, extent->offset, extent->length, BF_EXTENT_DATA, err)
                     : bf_endpoint_allocation(source, extent->offset, extent->length, list, err);
        if (rc)
            return -1;
    }
    return 0;
}

int bf_change_map_dirty(struct bf_endpoint *source, const char *bitmap, struct bf_extent_list *list,
                        char ret_hash[BF_HASH_HEX_LENGTH + 1], struct bf_error *err)
{
    struct bf_extent_list dirty = {0};
    int rc = bf_endpoint_dirty(source, bitmap, &dirty, err);

    if (!rc)
        rc = refine(source, &dirty, list, err);
    if (!rc)
        bf_extent_list_hash(&dirty, ret_hash);
    bf_extent_list_done(&dirty);
    return rc;
}

/* Append [from, to) of `extent` without what is zero in `zero` from index *at on. */
static int add_without(const struct bf_extent *extent, const struct bf_extent_list *target,
                       size_t *at, struct bf_extent_list *out, struct bf_error *err)
{
    uint64_t from = extent->offset, end = from + extent->length;

    while (from < end) {
        while (*at < target->count && target->items[*at].offset + target->items[*at].length <= from)
            (*at)++;
        uint64_t to = end;
        bool zero = false;
        if (*at < target->count && target->items[*at].offset <= from) {
            zero = target->items[*at].type == BF_EXTENT_ZERO;
            to = bf_min_u64(end, target->items[*at].offset + target->items[*at].length);
        } else if (*at < target->count) {
            to = bf_min_u64(end, target->items[*at].offset);
        }
        if (!zero && bf_extent_list_add(out, from, to - from, BF_EXTENT_ZERO, err))
            return -1;
        from = to;
    }
    return 0;
}

int bf_change_map_drop_zero_on_both(struct bf_endpoint *target, struct bf_extent_list *list,
                                    struct bf_error *err)
{
    struct bf_extent_list there = {0}, out = {0};
    size_t at = 0;
    int rc = bf_endpoint_allocation(target, 0, target->size, &there, err);

    for (size_t i = 0; !rc && i < list->count; i++) {
        const struct bf_extent *extent = &list->items[i];
        if (extent->type == BF_EXTENT_DATA)
            rc = bf_extent_list_add(&out, extent->offset, extent->length, BF_EXTENT_DATA, err);
        else
            rc = add_without(extent, &there, &at, &out, err);
    }
    bf_extent_list_done(&there);
    if (rc) {
        bf_extent_list_done(&out);
        return -1;
    }
    bf_extent_list_done(list);
    *list = out;
    return 0;
}

/* Of a range that is zero on the target only the leaves with a hash are of interest. */
static int add_hashed(const struct bf_digest *digest, uint64_t from, uint64_t to,
                      struct bf_extent_list *list, struct bf_error *err)
{
    /* The target's extents need not end at leaf borders: a leaf that is zero only in part is read.
     */
    uint64_t start = (from + BF_LEAF_BYTES - 1) & ~(BF_LEAF_BYTES - 1);
    uint64_t end = to & ~(BF_LEAF_BYTES - 1);

    if (start >= end)
        return bf_extent_list_add(list, from, to - from, BF_EXTENT_DATA, err);
    if (from < start && bf_extent_list_add(list, from, start - from, BF_EXTENT_DATA, err))
        return -1;
    while (start < end) {
        uint64_t next =
            bf_min_u64(bf_digest_next(digest, start / BF_LEAF_BYTES) * BF_LEAF_BYTES, end);
        uint64_t stop = bf_min_u64(next + NODE_BYTES, end);
        if (next < stop && bf_extent_list_add(list, next, stop - next, BF_EXTENT_DATA, err))
            return -1;
        start = stop;
    }
    return end < to ? bf_extent_list_add(list, end, to - end, BF_EXTENT_DATA, err) : 0;
}

static bool chosen(unsigned percent)
{
    uint32_t number;

    if (percent >= 100 || getrandom(&number, sizeof(number), 0) != sizeof(number))
        return true;
    return number % 100 < percent;
}

/* Keep whole nodes of the list, each with this chance. */
static int sample(struct bf_extent_list *list, uint64_t size, unsigned percent,
                  struct bf_error *err)
{
    struct bf_extent_list out = {0};
    int rc = 0;

    for (uint64_t node = 0; !rc && node < size; node += NODE_BYTES) {
        uint64_t end = bf_min_u64(node + NODE_BYTES, size);
        if (!chosen(percent))
            continue;
        for (size_t i = bf_extent_list_find(list, node);
             !rc && i < list->count && list->items[i].offset < end; i++) {
            const struct bf_extent *item = &list->items[i];
            uint64_t from = item->offset > node ? item->offset : node;
            rc = bf_extent_list_add(&out, from, bf_min_u64(item->offset + item->length, end) - from,
                                    BF_EXTENT_DATA, err);
        }
    }
    if (rc) {
        bf_extent_list_done(&out);
        return -1;
    }
    bf_extent_list_done(list);
    *list = out;
    return 0;
}

int bf_change_map_verify(struct bf_endpoint *target, const struct bf_digest *digest, uint64_t size,
                         unsigned percent, struct bf_extent_list *list, struct bf_error *err)
{
    struct bf_extent_list there = {0};
    int rc = bf_endpoint_allocation(target, 0, size, &there, err);

    for (size_t i = 0; !rc && i < there.count; i++) {
        const struct bf_extent *item = &there.items[i];
        rc = item->type == BF_EXTENT_DATA
                 ? bf_extent_list_add(list, item->offset, item->length, BF_EXTENT_DATA, err)
                 : add_hashed(digest, item->offset, item->offset + item->length, list, err);
    }
    bf_extent_list_done(&there);
    /* Hashes are of whole leaves. */
    if (!rc)
        rc = bf_extent_list_align(list, BF_LEAF_BYTES, size, err);
    return !rc && percent < 100 ? sample(list, size, percent, err) : rc;
}

/* --- proof of a delta's source --- */

/* Add the leaf if the map does not touch it. */
static void add_unchanged(const struct bf_extent_list *map, uint64_t size, uint64_t leaf,
                          struct bf_range_set *set)
{
    uint64_t start = leaf * BF_LEAF_BYTES;
    uint64_t end = bf_min_u64(start + BF_LEAF_BYTES, size);
    size_t at = bf_extent_list_find(map, start);

    if (at >= map->count || map->items[at].offset >= end)
        bf_range_set_add(set, start, end);
}

int bf_change_map_prove(const struct bf_extent_list *map, const struct bf_digest *digest,
                        uint64_t size, uint64_t count, struct bf_extent_list *list,
                        struct bf_error *err)
{
    uint64_t leaves = bf_leaves_of(size), number = 0;
    struct bf_range_set set = {0};
    int rc = 0;

    if (leaves == 0)
        return 0;
    add_unchanged(map, size, 0, &set);
    add_unchanged(map, size, leaves - 1, &set);
    for (uint64_t i = 0;
         i < count * PROVE_TRIES && bf_range_set_bytes(&set) < count * BF_LEAF_BYTES; i++) {
        if (getrandom(&number, sizeof(number), 0) != sizeof(number))
            number = i * 0x9e3779b97f4a7c15;
        uint64_t leaf = bf_digest_next(digest, number % leaves);
        add_unchanged(map, size, leaf < leaves ? leaf : number % leaves, &set);
    }
    for (size_t i = 0; !rc && i < set.count; i++)
        rc = bf_extent_list_add(list, set.items[i].start, set.items[i].end - set.items[i].start,
                                BF_EXTENT_DATA, err);
    bf_range_set_done(&set);
    return rc;
}

int bf_change_map_print(const struct bf_extent_list *list, FILE *stream, struct bf_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct bf_extent *item = &list->items[i];
        fprintf(stream, "{\"offset\":%" PRIu64 ",\"length\":%" PRIu64 ",\"type\":\"%s\"}\n",
                item->offset, item->length, item->type == BF_EXTENT_ZERO ? "zero" : "data");
    }
    if (fflush(stream) || ferror(stream))
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot print the change map");
    return 0;
}
