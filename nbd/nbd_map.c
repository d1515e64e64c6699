/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/nbd_map.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "base/text.h"
#include "nbd/nbd_wire.h"

/* A block status request has a 32-bit length; whole MiB, as servers with large blocks demand. */
#define PAGE_MAX ((uint64_t)0xfff00000)
#define PAGES 8u /* asked at a time */

#define DIRTY_FLAG 1u /* of qemu:dirty-bitmap */
#define ZERO_FLAG 2u  /* of base:allocation */
#define ENTRY_BYTES 8u
#define ENTRIES_AT_ONCE 1024u
#define ERROR_BYTES_MAX 8192u
#define CHUNKS_MAX 64u    /* of an answer; servers give one or two */
#define BEYOND_MAX 16u    /* entries of an answer behind what was asked; servers give one */
#define CANCEL_EVERY 256u /* chunks */

#define CHUNK_BYTES 20u
#define CHUNK_MAGIC 0x668e33efu
#define CHUNK_LAST 1u
enum { CHUNK_NONE = 0, CHUNK_STATUS = 5, CHUNK_ERROR = 0x8000 };

/* One request and its answer. */
struct page {
    uint64_t from;
    uint64_t at;  /* the answer reaches up to here */
    uint64_t end; /* of what was asked; the server may say more */
    uint64_t cookie;
    unsigned chunks;
    unsigned beyond;
    int answer; /* errno of the whole request */
    bool told;  /* the context's extents came */
    bool answered;
    struct bf_extent_list list;
};

/* Several requests are under way, so that a map of many is not one wait for each.  Their answers
 * may come in any order; they are taken in that of the disk. */
struct map {
    struct bf_nbd_link *link;
    int cancel_fd;
    unsigned turns;
    uint64_t deadline_ms;
    struct bf_deadline deadline; /* of the first page, however little comes at a time */
    bool allocation;
    uint64_t disk_size;
    uint64_t next, end; /* what is not asked yet */
    uint64_t cookies;
    struct page pages[PAGES]; /* a ring, in the disk's order */
    unsigned first, count;
};

static int add_entry(const struct map *map, struct page *page, uint64_t length, uint32_t flags,
                     struct bf_error *err)
{
    if (!length)
        return bf_fail(err, BF_E_PROTOCOL, 0, "empty extent at %" PRIu64, page->at);
    if (length > map->disk_size - page->at)
        return bf_fail(err, BF_E_PROTOCOL, 0,
                       "extent of %" PRIu64 " bytes at %" PRIu64
                       " ends behind the disk's end %" PRIu64,
                       length, page->at, map->disk_size);
    uint64_t from = page->at;
    uint64_t to = from + length < page->end ? from + length : page->end;
    page->at += length;
    if (from >= to)
        return ++page->beyond <= BEYOND_MAX
                   ? 0
                   : bf_fail(err, BF_E_PROTOCOL, 0, "an answer that goes on behind what was asked");
    if (!map->allocation)
        return flags & DIRTY_FLAG
                   ? bf_extent_list_add(&page->list, from, to - from, BF_EXTENT_DATA, err)
                   : 0;
    /* HOLE alone does not say what is read there; only ZERO does. */
    return bf_extent_list_add(&page->list, from, to - from,
                              flags & ZERO_FLAG ? BF_EXTENT_ZERO : BF_EXTENT_DATA, err);
}

/* The entries of an answer, a few at a time. */
static int take_entries(const struct map *map, struct page *page, uint32_t length,
                        struct bf_error *err)
{
    unsigned char entries[ENTRIES_AT_ONCE * ENTRY_BYTES];

    while (length) {
        size_t n = length < sizeof(entries) ? length : sizeof(entries);
        if (bf_nbd_link_get(map->link, entries, n, map->deadline, err))
            return -1;
        length -= (uint32_t)n;
        for (size_t at = 0; at < n; at += ENTRY_BYTES)
            if (add_entry(map, page, bf_nbd_get32(entries + at), bf_nbd_get32(entries + at + 4),
                          err))
                return -1;
    }
    return 0;
}

static int take_status(const struct map *map, struct page *page, uint32_t length,
                       struct bf_error *err)
{
    unsigned char context[4];

    /* A second list would be taken for what comes behind the first. */
    if (page->told)
        return bf_fail(err, BF_E_PROTOCOL, 0, "two answers in one");
    page->told = true;
    if (length < sizeof(context) || (length - sizeof(context)) % ENTRY_BYTES)
        return bf_fail(err, BF_E_PROTOCOL, 0, "an answer of %" PRIu32 " bytes", length);
    if (bf_nbd_link_get(map->link, context, sizeof(context), map->deadline, err))
        return -1;
    uint32_t id = bf_nbd_get32(context), want = bf_nbd_link_export(map->link)->context_id;
    if (id != want)
        return bf_fail(err, BF_E_PROTOCOL, 0, "answer for context %" PRIu32 " instead of %" PRIu32,
                       id, want);
    return take_entries(map, page, length - (uint32_t)sizeof(context), err);
}

static int take_error(const struct map *map, struct page *page, uint32_t length,
                      struct bf_error *err)
{
    unsigned char text[ERROR_BYTES_MAX];

    if (length < 6 || length > sizeof(text))
        return bf_fail(err, BF_E_PROTOCOL, 0, "an error of %" PRIu32 " bytes", length);
    if (bf_nbd_link_get(map->link, text, length, map->deadline, err))
        return -1;
    page->answer = bf_nbd_errno(bf_nbd_get32(text));
    if (!page->answer)
        return bf_fail(err, BF_E_PROTOCOL, 0, "an error without a number");
    return 0;
}

static struct page *page_of(struct map *map, uint64_t cookie)
{
    for (unsigned i = 0; i < map->count; i++) {
        struct page *page = &map->pages[(map->first + i) % PAGES];
        if (page->cookie == cookie && !page->answered)
            return page;
    }
    return NULL;
}

/* One chunk of an answer. */
static int take_chunk(struct map *map, struct bf_error *err)
{
    unsigned char head[CHUNK_BYTES];

    if (bf_nbd_link_get(map->link, head, sizeof(head), map->deadline, err))
        return -1;
    uint16_t flags = bf_nbd_get16(head + 4), type = bf_nbd_get16(head + 6);
    uint32_t length = bf_nbd_get32(head + 16);
    struct page *page = page_of(map, bf_nbd_get64(head + 8));
    if (bf_nbd_get32(head) != CHUNK_MAGIC || !page)
        return bf_fail(err, BF_E_PROTOCOL, 0, "this is no answer to what was asked");
    if (++page->chunks > CHUNKS_MAX)
        return bf_fail(err, BF_E_PROTOCOL, 0, "an answer without an end");
    page->answered = flags & CHUNK_LAST;
    if (type == CHUNK_STATUS)
        return take_status(map, page, length, err);
    if (type & CHUNK_ERROR)
        return take_error(map, page, length, err);
    if (type != CHUNK_NONE || length)
        return bf_fail(err, BF_E_PROTOCOL, 0, "an answer of kind %u", type);
    return 0;
}

/* Ask for [page->from, page->end). */
static int ask(struct map *map, struct page *page, struct bf_error *err)
{
    unsigned char request[BF_NBD_REQUEST_BYTES];

    page->at = page->from;
    page->cookie = ++map->cookies;
    page->chunks = 0;
    page->beyond = 0;
    page->told = false;
    page->answered = false;
    bf_nbd_put_request(request, BF_NBD_CMD_BLOCK_STATUS, page->cookie, page->from,
                       (uint32_t)(page->end - page->from));
    return bf_nbd_link_put(map->link, request, sizeof(request), map->deadline, err);
}

static int ask_more(struct map *map, struct bf_error *err)
{
    while (map->count < PAGES && map->next < map->end) {
        struct page *page = &map->pages[(map->first + map->count++) % PAGES];
        *page = (struct page){.from = map->next,
                              .end = map->next + bf_min_u64(map->end - map->next, PAGE_MAX)};
        map->next = page->end;
        if (ask(map, page, err))
            return -1;
    }
    return 0;
}

/* The disk's first page that is not in the list yet is answered: take it in, or ask for the rest.
 */
static int take_page(struct map *map, struct page *page, struct bf_extent_list *list,
                     struct bf_error *err)
{
    if (page->answer)
        return bf_fail(err, BF_E_CHANGE_MAP, page->answer,
                       "the server failed to give it at %" PRIu64, page->from);
    if (page->at == page->from)
        return bf_fail(err, BF_E_PROTOCOL, 0, "empty change map at %" PRIu64, page->from);
    for (size_t i = 0; i < page->list.count; i++)
        if (bf_extent_list_add(list, page->list.items[i].offset, page->list.items[i].length,
                               page->list.items[i].type, err))
            return -1;
    bf_extent_list_done(&page->list);
    map->deadline = bf_deadline_in(map->deadline_ms);
    if (page->at < page->end) {
        page->from = page->at;
        return ask(map, page, err);
    }
    map->first = (map->first + 1) % PAGES;
    map->count--;
    return 0;
}

/* A server that answers at once is never waited for, so this is looked at now and then. */
static int check_cancelled(struct map *map, struct bf_error *err)
{
    struct pollfd cancel = {.fd = map->cancel_fd, .events = POLLIN};

    if (++map->turns % CANCEL_EVERY || poll(&cancel, 1, 0) <= 0)
        return 0;
    return bf_fail(err, BF_E_CANCELLED, 0, "cancelled");
}

static int get_all(struct map *map, struct bf_extent_list *list, struct bf_error *err)
{
    for (;;) {
        if (check_cancelled(map, err) || ask_more(map, err))
            return -1;
        if (!map->count)
            return 0;
        struct page *page = &map->pages[map->first];
        if (page->answered ? take_page(map, page, list, err) : take_chunk(map, err))
            return -1;
    }
}

int bf_nbd_map(struct bf_nbd_link **link, const struct bf_nbd_params *params, uint64_t offset,
               uint64_t length, struct bf_extent_list *list, struct bf_error *err)
{
    struct map map = {
        .link = *link,
        .cancel_fd = params->cancel_fd,
        .deadline_ms = params->deadline_ms,
        .deadline = bf_deadline_in(params->deadline_ms),
        .allocation = strcmp(params->context, BF_NBD_ALLOCATION) == 0,
        .disk_size = bf_nbd_link_export(*link)->size,
        .next = offset,
        .end = offset + length,
    };
    int rc = get_all(&map, list, err);

    for (unsigned i = 0; i < PAGES; i++)
        bf_extent_list_done(&map.pages[i].list);
    if (!rc)
        return 0;
    bf_nbd_link_close(*link);
    *link = NULL;
    return bf_fail_in(err, "%s: change map \"%s\"", params->uri->text, params->context);
}
