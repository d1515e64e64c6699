/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/nbd_map.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "nbd/nbd_wire.h"

/* A block status request has a 32-bit length; whole MiB, as servers with large blocks demand. */
#define PAGE_MAX ((uint64_t)0xfff00000)

#define DIRTY_FLAG 1u /* of qemu:dirty-bitmap */
#define ZERO_FLAG 2u  /* of base:allocation */
#define ENTRY_BYTES 8u
#define ENTRIES_AT_ONCE 1024u
#define ERROR_BYTES_MAX 8192u
#define CHUNKS_MAX 64u /* of an answer; servers give one or two */

#define CHUNK_BYTES 20u
#define CHUNK_MAGIC 0x668e33efu
#define CHUNK_LAST 1u
enum { CHUNK_NONE = 0, CHUNK_STATUS = 5, CHUNK_ERROR = 0x8000 };

/* One request and its answer. */
struct page {
    bool allocation;
    struct bf_extent_list *list;
    uint64_t disk_size;
    uint64_t at;  /* the answer reaches up to here */
    uint64_t end; /* of what was asked; the server may say more */
    uint64_t cookie;
    int answer; /* errno of the whole request */
};

static int add_entry(struct page *page, uint64_t length, uint32_t flags, struct bf_error *err)
{
    if (!length)
        return bf_fail(err, BF_E_PROTOCOL, 0, "empty extent at %" PRIu64, page->at);
    if (length > page->disk_size - page->at)
        return bf_fail(err, BF_E_PROTOCOL, 0,
                       "extent of %" PRIu64 " bytes at %" PRIu64
                       " ends behind the disk's end %" PRIu64,
                       length, page->at, page->disk_size);
    uint64_t from = page->at;
    uint64_t to = from + length < page->end ? from + length : page->end;
    page->at += length;
    if (from >= to)
        return 0;
    if (!page->allocation)
        return flags & DIRTY_FLAG
                   ? bf_extent_list_add(page->list, from, to - from, BF_EXTENT_DATA, err)
                   : 0;
    /* HOLE alone does not say what is read there; only ZERO does. */
    return bf_extent_list_add(page->list, from, to - from,
                              flags & ZERO_FLAG ? BF_EXTENT_ZERO : BF_EXTENT_DATA, err);
}

/* The entries of an answer, a few at a time. */
static int take_entries(struct bf_nbd_link *link, struct page *page, uint32_t length,
                        struct bf_error *err)
{
    unsigned char entries[ENTRIES_AT_ONCE * ENTRY_BYTES];

    while (length) {
        size_t n = length < sizeof(entries) ? length : sizeof(entries);
        if (bf_nbd_link_get(link, entries, n, err))
            return -1;
        length -= (uint32_t)n;
        for (size_t at = 0; at < n; at += ENTRY_BYTES)
            if (add_entry(page, bf_nbd_get32(entries + at), bf_nbd_get32(entries + at + 4), err))
                return -1;
    }
    return 0;
}

static int take_status(struct bf_nbd_link *link, struct page *page, uint32_t length,
                       struct bf_error *err)
{
    unsigned char context[4];

    if (length < sizeof(context) || (length - sizeof(context)) % ENTRY_BYTES)
        return bf_fail(err, BF_E_PROTOCOL, 0, "an answer of %" PRIu32 " bytes", length);
    if (bf_nbd_link_get(link, context, sizeof(context), err))
        return -1;
    uint32_t id = bf_nbd_get32(context), want = bf_nbd_link_export(link)->context_id;
    if (id != want)
        return bf_fail(err, BF_E_PROTOCOL, 0, "answer for context %" PRIu32 " instead of %" PRIu32,
                       id, want);
    return take_entries(link, page, length - (uint32_t)sizeof(context), err);
}

static int take_error(struct bf_nbd_link *link, struct page *page, uint32_t length,
                      struct bf_error *err)
{
    unsigned char text[ERROR_BYTES_MAX];

    if (length < 6 || length > sizeof(text))
        return bf_fail(err, BF_E_PROTOCOL, 0, "an error of %" PRIu32 " bytes", length);
    if (bf_nbd_link_get(link, text, length, err))
        return -1;
    page->answer = bf_nbd_errno(bf_nbd_get32(text));
    if (!page->answer)
        return bf_fail(err, BF_E_PROTOCOL, 0, "an error without a number");
    return 0;
}

/* One chunk of the answer. */
static int take_chunk(struct bf_nbd_link *link, struct page *page, bool *ret_last,
                      struct bf_error *err)
{
    unsigned char head[CHUNK_BYTES];

    if (bf_nbd_link_get(link, head, sizeof(head), err))
        return -1;
    uint16_t flags = bf_nbd_get16(head + 4), type = bf_nbd_get16(head + 6);
    uint32_t length = bf_nbd_get32(head + 16);
    if (bf_nbd_get32(head) != CHUNK_MAGIC || bf_nbd_get64(head + 8) != page->cookie)
        return bf_fail(err, BF_E_PROTOCOL, 0, "this is no answer to what was asked");
    *ret_last = flags & CHUNK_LAST;
    if (type == CHUNK_STATUS)
        return take_status(link, page, length, err);
    if (type & CHUNK_ERROR)
        return take_error(link, page, length, err);
    if (type != CHUNK_NONE || length)
        return bf_fail(err, BF_E_PROTOCOL, 0, "an answer of kind %u", type);
    return 0;
}

static int ask_page(struct bf_nbd_link *link, const struct bf_nbd_params *params, struct page *page,
                    uint64_t length, struct bf_error *err)
{
    unsigned char request[BF_NBD_REQUEST_BYTES];
    uint64_t from = page->at;
    bool last = false;

    page->end = from + length;
    page->cookie++;
    bf_nbd_put_request(request, BF_NBD_CMD_BLOCK_STATUS, page->cookie, from, (uint32_t)length);
    if (bf_nbd_link_put(link, request, sizeof(request), err))
        return -1;
    for (unsigned n = 0; !last; n++)
        if (n == CHUNKS_MAX ? bf_fail(err, BF_E_PROTOCOL, 0, "an answer without an end")
                            : take_chunk(link, page, &last, err))
            return bf_fail_in(err, "change map \"%s\"", params->context);
    if (page->answer)
        return bf_fail(err, BF_E_CHANGE_MAP, page->answer,
                       "the server failed to give \"%s\" at %" PRIu64, params->context, from);
    uint64_t reached = page->at;
    /* What the server said beyond the request was only checked; it is asked with the next page. */
    page->at = reached < page->end ? reached : page->end;
    if (reached == from)
        return bf_fail(err, BF_E_PROTOCOL, 0, "empty change map \"%s\" at %" PRIu64,
                       params->context, from);
    return 0;
}

int bf_nbd_map(struct bf_nbd_link **link, const struct bf_nbd_params *params, uint64_t offset,
               uint64_t length, struct bf_extent_list *list, struct bf_error *err)
{
    struct page page = {
        .allocation = strcmp(params->context, BF_NBD_ALLOCATION) == 0,
        .list = list,
        .disk_size = bf_nbd_link_export(*link)->size,
        .at = offset,
    };
    uint64_t end = offset + length;

    while (page.at < end) {
        if (ask_page(*link, params, &page, bf_min_u64(end - page.at, PAGE_MAX), err)) {
            bf_nbd_link_close(*link);
            *link = NULL;
            return bf_fail_in(err, "%s", params->uri->text);
        }
    }
    return 0;
}
