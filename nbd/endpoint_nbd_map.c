/* SPDX-License-Identifier: Apache-2.0 */
/* A change map is asked for on a connection of its own, made when first needed.  A server that
 * takes only one client at a time gets them one after the other: the data's rests meanwhile.
 */
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "nbd/endpoint_nbd.h"
#include "nbd/nbd_map.h"

#define MAP_TRIES 4
#define MAP_PAUSE_MS 250 /* doubled each time */
#define SECOND_CLIENT_MS 2000

/* The data's connection makes room for the map's: nothing is asked or unflushed when a map is asked
 * for.  It is made again when the loop begins, which ends the map's. */
static void make_room(struct bf_nbd_endpoint *nbd)
{
    if (!nbd->alone)
        bf_log_info("%s: the server takes one client at a time", nbd->base.name);
    nbd->alone = true;
    bf_nbd_connections_rest(nbd);
}

/* A server without multi-conn may be one that lets a second client wait until the first leaves. */
static int connect_map(struct bf_nbd_endpoint *nbd, const struct bf_nbd_params *params,
                       struct bf_nbd_link **ret_link, struct bf_error *err)
{
    uint64_t deadline_ms = params->deadline_ms;

    if (!nbd->alone && !(nbd->export.flags & BF_NBD_MULTI_CONN)) {
        bf_auto_error why = BF_ERROR_INIT;
        uint64_t patience_ms = deadline_ms < SECOND_CLIENT_MS ? deadline_ms : SECOND_CLIENT_MS;
        if (!bf_nbd_link_connect(params, patience_ms, ret_link, &why))
            return 0;
        if (why.code == BF_E_CANCELLED) {
            bf_error_move(err, &why);
            return -1;
        }
        make_room(nbd);
    }
    return bf_nbd_link_connect(params, deadline_ms, ret_link, err);
}

/* The map's link is made when first asked for: many copies never need it. */
static int map_link(struct bf_nbd_endpoint *nbd, const struct bf_nbd_params *params,
                    struct bf_nbd_link **ret_link, struct bf_error *err)
{
    struct bf_nbd_link *link;

    if (nbd->alone)
        make_room(nbd);
    if (connect_map(nbd, params, &link, err))
        return -1;
    if (bf_nbd_link_export(link)->size != nbd->base.size) {
        bf_nbd_link_close(link);
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: the export's size changes between connections",
                       nbd->base.name);
    }
    *ret_link = link;
    return 0;
}

/* One try to get a map over *link, which is made if it is NULL. */
static int try_map(struct bf_nbd_endpoint *nbd, struct bf_nbd_link **link,
                   const struct bf_nbd_params *params, uint64_t offset, uint64_t length,
                   struct bf_extent_list *list, struct bf_error *err)
{
    if (!*link && map_link(nbd, params, link, err))
        return -1;
    if (bf_nbd_link_export(*link)->has_context)
        return bf_nbd_map(link, params, offset, length, list, err);
    if (strcmp(params->context, BF_NBD_ALLOCATION) == 0)
        return bf_extent_list_add(list, offset, length, BF_EXTENT_DATA, err);
    return bf_fail(err, BF_E_NO_BITMAP, 0, "%s: no meta context \"%s\"", nbd->base.name,
                   params->context);
}

/* Wait, unless cancelled. */
static bool pause_before_retry(const struct bf_nbd_endpoint *nbd, unsigned tries)
{
    struct pollfd cancel = {.fd = nbd->params.cancel_fd, .events = POLLIN};

    return poll(&cancel, 1, MAP_PAUSE_MS << tries) == 0;
}

/* Append what `from` says of [offset, end). */
static int append_within(const struct bf_extent_list *from, uint64_t offset, uint64_t end,
                         struct bf_extent_list *list, struct bf_error *err)
{
    for (size_t i = bf_extent_list_find(from, offset);
         i < from->count && from->items[i].offset < end; i++) {
        const struct bf_extent *item = &from->items[i];
        uint64_t start = bf_max_u64(item->offset, offset);
        uint64_t stop = bf_min_u64(item->offset + item->length, end);
        if (bf_extent_list_add(list, start, stop - start, item->type, err))
            return -1;
    }
    return 0;
}

/* A server that is just being restarted is asked again.  It is asked for whole blocks. */
static int get_map(struct bf_nbd_endpoint *nbd, struct bf_nbd_link **link,
                   const struct bf_nbd_params *params, uint64_t offset, uint64_t length,
                   struct bf_extent_list *list, struct bf_error *err)
{
    uint64_t mask = nbd->base.block_min - 1, from = offset & ~mask;
    uint64_t end = bf_min_u64((offset + length + mask) & ~mask, nbd->base.size);
    struct bf_extent_list fresh = {0};
    int rc;

    for (unsigned tries = 0;; tries++) {
        rc = try_map(nbd, link, params, from, end - from, &fresh, err);
        bool lost = rc && (err->code == BF_E_ENDPOINT_OPEN || err->code == BF_E_DEADLINE);
        if (!lost || tries == MAP_TRIES || !pause_before_retry(nbd, tries))
            break;
        bf_log_debug("%s: asking for the map again: %s", nbd->base.name, err->message);
        bf_error_clear(err);
        bf_extent_list_done(&fresh);
    }
    if (!rc)
        rc = append_within(&fresh, offset, offset + length, list, err);
    bf_extent_list_done(&fresh);
    return rc;
}

int bf_nbd_allocation(struct bf_endpoint *endpoint, uint64_t offset, uint64_t length,
                      struct bf_extent_list *list, struct bf_error *err)
{
    struct bf_nbd_endpoint *nbd = bf_nbd_self(endpoint);

    return get_map(nbd, &nbd->map, &nbd->map_params, offset, length, list, err);
}

int bf_nbd_dirty(struct bf_endpoint *endpoint, const char *bitmap, struct bf_extent_list *list,
                 struct bf_error *err)
{
    struct bf_nbd_endpoint *nbd = bf_nbd_self(endpoint);
    bf_auto_free char *context = bf_xasprintf("qemu:dirty-bitmap:%s", bitmap);
    struct bf_nbd_params params = nbd->params;
    struct bf_nbd_link *link = NULL;

    params.context = context;
    /* An empty disk has nothing to ask about. */
    int rc = endpoint->size ? get_map(nbd, &link, &params, 0, endpoint->size, list, err) : 0;
    bf_nbd_link_close(link);
    return rc;
}
