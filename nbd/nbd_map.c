/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/nbd_map.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A block status request has a 32-bit length; whole MiB, as servers with large blocks demand. */
#define PAGE_MAX ((uint64_t)0xfff00000)

#define DIRTY_FLAG 1u

/* One request and its answer; filled by libnbd's callbacks. */
struct page {
    const char *context;
    bool allocation;
    struct bf_extent_list *list;
    uint64_t disk_size;
    uint64_t at;  /* the answer reaches up to here */
    uint64_t end; /* of what was asked; the server may say more */
    bool answered;
    int answer; /* errno of the whole request */
    struct bf_error error;
};

static int add_entry(struct page *page, uint64_t length, uint32_t flags)
{
    if (!length)
        return bf_fail(&page->error, BF_E_PROTOCOL, 0, "empty extent at %" PRIu64, page->at);
    if (length > page->disk_size - page->at)
        return bf_fail(&page->error, BF_E_PROTOCOL, 0,
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
                   ? bf_extent_list_add(page->list, from, to - from, BF_EXTENT_DATA, &page->error)
                   : 0;
    /* HOLE alone does not say what is read there; only ZERO does. */
    return bf_extent_list_add(page->list, from, to - from,
                              flags & LIBNBD_STATE_ZERO ? BF_EXTENT_ZERO : BF_EXTENT_DATA,
                              &page->error);
}

static int on_extents(void *user, const char *context, uint64_t offset, uint32_t *entries,
                      size_t count, int *error)
{
    struct page *page = user;

    (void)error;
    if (bf_error_is_set(&page->error))
        return 0;
    if (strcmp(context, page->context) != 0) {
        bf_fail(&page->error, BF_E_PROTOCOL, 0, "answer for \"%.100s\" instead of \"%s\"", context,
                page->context);
        return 0;
    }
    if (offset != page->at || count % 2) {
        bf_fail(&page->error, BF_E_PROTOCOL, 0, "answer for offset %" PRIu64 " instead of %" PRIu64,
                offset, page->at);
        return 0;
    }
    for (size_t i = 0; i < count; i += 2)
        if (add_entry(page, entries[i], entries[i + 1]))
            return 0;
    return 0;
}

static int on_answer(void *user, int *error)
{
    struct page *page = user;

    page->answered = true;
    page->answer = *error;
    return 1;
}

static int ask_page(struct nbd_handle *h, const struct bf_nbd_params *params, struct page *page,
                    uint64_t length, struct bf_error *err)
{
    nbd_extent_callback extents = {.callback = on_extents, .user_data = page};
    nbd_completion_callback answer = {.callback = on_answer, .user_data = page};
    uint64_t from = page->at;

    page->answered = false;
    page->end = from + length;
    if (nbd_aio_block_status(h, length, from, extents, answer, 0) < 0)
        return bf_nbd_fail(params, "cannot ask for the change map", err);
    if (bf_nbd_wait(h, params, &page->answered, err))
        return -1;
    if (bf_error_is_set(&page->error)) {
        bf_error_move(err, &page->error);
        return bf_fail_in(err, "%s: change map \"%s\"", params->uri, page->context);
    }
    if (page->answer)
        return bf_fail(err, BF_E_CHANGE_MAP, page->answer,
                       "%s: the server failed to give \"%s\" at %" PRIu64, params->uri,
                       page->context, from);
    uint64_t reached = page->at;
    /* What the server said beyond the request was only checked; it is asked with the next page. */
    page->at = reached < page->end ? reached : page->end;
    if (reached == from)
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: empty change map \"%s\" at %" PRIu64,
                       params->uri, page->context, from);
    return 0;
}

int bf_nbd_map(struct nbd_handle **handle, const struct bf_nbd_params *params, const char *context,
               uint64_t offset, uint64_t length, struct bf_extent_list *list, struct bf_error *err)
{
    struct page page = {
        .context = context,
        .allocation = strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0,
        .list = list,
        .disk_size = (uint64_t)nbd_get_size(*handle),
        .at = offset,
    };
    uint64_t end = offset + length;
    int rc = 0;

    while (!rc && page.at < end) {
        uint64_t rest = end - page.at;
        rc = ask_page(*handle, params, &page, rest < PAGE_MAX ? rest : PAGE_MAX, err);
    }
    bf_error_clear(&page.error);
    if (rc) {
        nbd_close(*handle);
        *handle = NULL;
    }
    return rc;
}
