/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/rbd_map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"

/* Objects of so many bytes are asked for by one call: 8192 questions of 4 MiB objects. */
#define SLICE_BYTES ((uint64_t)32 << 30)

struct diff_call {
    struct bf_rbd_call call;
    char *from;                   /* NULL: since the beginning */
    bool whole_objects;           /* by the object map */
    struct bf_extent_list ranges; /* to be asked */
    struct bf_extent_list found;
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int on_extent(uint64_t offset, size_t length, int exists, void *user)
{
    struct diff_call *diff = user;

    if (atomic_load(&diff->call.abandoned))
        return -ECANCELED;
    return bf_extent_list_add(&diff->found, offset, length,
                              exists ? BF_EXTENT_DATA : BF_EXTENT_ZERO, &diff->call.error)
               ? -EIO
               : 0;
}

static int run_diff(struct bf_rbd_call *call, struct bf_error *err)
{
    struct diff_call *diff = (struct diff_call *)(void *)call;

    for (size_t i = 0; i < diff->ranges.count; i++) {
        const struct bf_extent *range = &diff->ranges.items[i];
        int rc =
            bf_ceph.rbd_diff_iterate2(call->link->image, diff->from, range->offset, range->length,
                                      true, diff->whole_objects, on_extent, diff);
        if (bf_error_is_set(err))
            return -1;
        if (rc == -ENOENT || rc == -EINVAL)
            return bf_fail(err, BF_E_BASELINE_LOST, -rc, "%s: no difference to snapshot \"%s\"",
                           call->link->name, diff->from ? diff->from : "");
        if (rc < 0)
            return bf_fail(err, BF_E_CHANGE_MAP, -rc, "%s: the cluster cannot tell what changed",
                           call->link->name);
    }
    return 0;
}

static void free_diff(struct diff_call *diff)
{
    if (atomic_load(&diff->call.abandoned))
        return;
    free(diff->from);
    bf_extent_list_done(&diff->ranges);
    bf_extent_list_done(&diff->found);
    free(diff);
}

static struct diff_call *new_diff(struct bf_rbd_link *link, const char *from, bool whole_objects)
{
    struct diff_call *diff = bf_xcalloc(1, sizeof(*diff));

    diff->call.link = link;
    diff->call.run = run_diff;
    diff->from = bf_xstrdup(from);
    diff->whole_objects = whole_objects;
    return diff;
}

/* Ask what was put into diff->ranges, append the answer to `list`; frees diff. */
static int ask(struct diff_call *diff, struct bf_extent_list *list, struct bf_error *err)
{
    int rc = bf_rbd_call(&diff->call, diff->call.link->deadline_ms, "get the change map", err);

    for (size_t i = 0; !rc && i < diff->found.count; i++) {
        const struct bf_extent *item = &diff->found.items[i];
        rc = bf_extent_list_add(list, item->offset, item->length, item->type, err);
    }
    free_diff(diff);
    return rc;
}

/* Ask for the bytes of the data extents of `runs`, slice by slice. */
static int ask_bytes(struct bf_rbd_link *link, const char *from, const struct bf_extent_list *runs,
                     struct bf_extent_list *list, struct bf_error *err)
{
    struct diff_call *diff = new_diff(link, from, false);
    uint64_t asked = 0;

    for (size_t i = 0; i < runs->count; i++) {
        const struct bf_extent *run = &runs->items[i];
        uint64_t at = run->offset, end = at + run->length;
        while (at < end) {
            if (asked >= SLICE_BYTES || run->type == BF_EXTENT_ZERO) {
                if (ask(diff, list, err))
                    return -1;
                diff = new_diff(link, from, false);
                asked = 0;
            }
            uint64_t to = end;
            if (run->type == BF_EXTENT_ZERO) {
                if (bf_extent_list_add(list, at, end - at, BF_EXTENT_ZERO, err))
                    goto failed;
            } else {
                to = min_u64(end, at + SLICE_BYTES - asked);
                if (bf_extent_list_add(&diff->ranges, at, to - at, BF_EXTENT_DATA, err))
                    goto failed;
                asked += to - at;
            }
            at = to;
        }
    }
    return ask(diff, list, err);
failed:
    free_diff(diff);
    return -1;
}

/* The object map of what is open can be believed.  (Those of older snapshots librbd checks.) */
static bool has_fast_diff(const struct bf_rbd_link *link)
{
    uint64_t flags = 0;

    return (link->features & RBD_FEATURE_FAST_DIFF) &&
           bf_ceph.rbd_get_flags(link->image, &flags) == 0 &&
           !(flags & (RBD_FLAG_OBJECT_MAP_INVALID | RBD_FLAG_FAST_DIFF_INVALID));
}

static int ask_objects(struct bf_rbd_link *link, const char *from, uint64_t offset, uint64_t length,
                       struct bf_extent_list *runs, struct bf_error *err)
{
    struct diff_call *diff = new_diff(link, from, true);

    if (bf_extent_list_add(&diff->ranges, offset, length, BF_EXTENT_DATA, err)) {
        free_diff(diff);
        return -1;
    }
    return ask(diff, runs, err);
}

static int diff_bytes(struct bf_rbd_link *link, const char *from, uint64_t offset, uint64_t length,
                      struct bf_extent_list *list, struct bf_error *err)
{
    struct bf_extent_list runs = {0};
    int rc = has_fast_diff(link) ? ask_objects(link, from, offset, length, &runs, err)
                                 : bf_extent_list_add(&runs, offset, length, BF_EXTENT_DATA, err);

    if (!rc)
        rc = ask_bytes(link, from, &runs, list, err);
    bf_extent_list_done(&runs);
    return rc;
}

/* Append what `found` says of [from, end), its gaps as zeroes. */
static int cover(const struct bf_extent_list *found, uint64_t from, uint64_t end,
                 struct bf_extent_list *list, struct bf_error *err)
{
    for (size_t i = bf_extent_list_find(found, from); i < found->count && from < end; i++) {
        const struct bf_extent *item = &found->items[i];
        uint64_t start = item->offset > from ? item->offset : from;
        uint64_t stop = min_u64(item->offset + item->length, end);
        if (start >= end)
            break;
        if ((start > from && bf_extent_list_add(list, from, start - from, BF_EXTENT_ZERO, err)) ||
            bf_extent_list_add(list, start, stop - start, item->type, err))
            return -1;
        from = stop;
    }
    return from < end ? bf_extent_list_add(list, from, end - from, BF_EXTENT_ZERO, err) : 0;
}

int bf_rbd_map_allocation(struct bf_rbd_link *link, uint64_t offset, uint64_t length,
                          struct bf_extent_list *list, struct bf_error *err)
{
    struct bf_extent_list found = {0};
    /* The bytes within objects are not worth the questions: what is not there reads as zero. */
    int rc = has_fast_diff(link) ? ask_objects(link, NULL, offset, length, &found, err)
                                 : diff_bytes(link, NULL, offset, length, &found, err);

    if (!rc)
        rc = cover(&found, offset, offset + length, list, err);
    bf_extent_list_done(&found);
    return rc;
}

/* Between snapshots of different size: what lies behind the older one's end is new. */
static int cover_growth(const struct bf_extent_list *found, uint64_t old_size, uint64_t size,
                        struct bf_extent_list *list, struct bf_error *err)
{
    for (size_t i = 0; i < found->count && found->items[i].offset < old_size; i++) {
        const struct bf_extent *item = &found->items[i];
        if (bf_extent_list_add(list, item->offset, min_u64(item->length, old_size - item->offset),
                               item->type, err))
            return -1;
    }
    return old_size < size ? cover(found, old_size, size, list, err) : 0;
}

int bf_rbd_map_since(struct bf_rbd_link *link, const char *since, struct bf_extent_list *list,
                     struct bf_error *err)
{
    struct bf_rbd_snapshot base;
    struct bf_extent_list found = {0};

    if (bf_rbd_link_snapshot(link, since, &base, err))
        return -1;
    int rc = 0;
    if (link->snapshot_id && base.id > link->snapshot_id)
        rc = bf_fail(err, BF_E_BASELINE_LOST, 0, "%s: snapshot \"%s\" is newer than what is copied",
                     link->name, since);
    else if (link->size && base.id != link->snapshot_id)
        rc = diff_bytes(link, base.name, 0, link->size, &found, err);
    if (!rc)
        rc = cover_growth(&found, base.size, link->size, list, err);
    /* Of a snapshot that was being deleted the cluster may have told anything. */
    if (!rc && bf_rbd_link_confirm(link, base.id, err)) {
        bf_error_recode(err, BF_E_BASELINE_LOST);
        rc = -1;
    }
    bf_extent_list_done(&found);
    free(base.name);
    return rc;
}
