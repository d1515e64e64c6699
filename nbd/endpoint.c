/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/endpoint.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/text.h"

#define SETTLE_FDS 16
#define SETTLE_TURN_MS 1000

void bf_request_queue_push(struct bf_request_queue *queue, struct bf_request *request)
{
    request->next = NULL;
    if (!queue->head)
        queue->head = request;
    else
        *queue->tail = request;
    queue->tail = &request->next;
    queue->count++;
}

struct bf_request *bf_request_queue_pop(struct bf_request_queue *queue)
{
    struct bf_request *request = queue->head;

    if (request) {
        queue->head = request->next;
        request->next = NULL;
        queue->count--;
    }
    return request;
}

void bf_endpoint_init(struct bf_endpoint *endpoint, const struct bf_endpoint_ops *ops,
                      const struct bf_uri *uri, const struct bf_endpoint_options *options)
{
    endpoint->ops = ops;
    endpoint->name = bf_xstrdup(uri->text);
    endpoint->options = *options;
    endpoint->block_min = 1;
    endpoint->connections = 1;
}

int bf_endpoint_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                     struct bf_endpoint **ret_endpoint, struct bf_error *err)
{
    int rc = -1;

    switch (uri->kind) {
    case BF_URI_NBD:
        rc = bf_endpoint_nbd_open(uri, options, ret_endpoint, err);
        break;
    case BF_URI_FILE:
        rc = bf_endpoint_file_open(uri, options, ret_endpoint, err);
        break;
    case BF_URI_NULL:
        rc = bf_endpoint_null_open(uri, options, ret_endpoint, err);
        break;
    case BF_URI_RBD:
#ifdef BF_HAVE_RBD
        rc = bf_endpoint_rbd_open(uri, options, ret_endpoint, err);
#else
        rc = bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                     "endpoint \"%s\": this build has no RBD support", uri->text);
#endif
        break;
    }
    assert((rc == 0) != bf_error_is_set(err));
    return rc;
}

void bf_endpoint_close(struct bf_endpoint *endpoint)
{
    if (!endpoint)
        return;
    char *name = endpoint->name, *identity = endpoint->identity;
    endpoint->ops->close(endpoint);
    free(name);
    free(identity);
}

/* Counted before, because start() may finish it at once. */
static bool start(struct bf_endpoint *endpoint, struct bf_request *request)
{
    endpoint->in_flight++;
    if (endpoint->ops->start(endpoint, request))
        return true;
    endpoint->in_flight--;
    return false;
}

static void submit(struct bf_endpoint *endpoint, struct bf_request *request)
{
    assert(request->kind == BF_REQUEST_FLUSH ||
           (request->length && request->offset <= endpoint->size &&
            request->length <= endpoint->size - request->offset));
    assert(request->kind == BF_REQUEST_READ || endpoint->options.write);
    request->error = 0;
    request->progress = 0;
    if (endpoint->waiting.head || !start(endpoint, request))
        bf_request_queue_push(&endpoint->waiting, request);
}

void bf_endpoint_read(struct bf_endpoint *endpoint, struct bf_request *request, uint64_t offset,
                      uint64_t length, void *buffer)
{
    request->kind = BF_REQUEST_READ;
    request->offset = offset;
    request->length = length;
    request->buffer = buffer;
    submit(endpoint, request);
}

void bf_endpoint_write(struct bf_endpoint *endpoint, struct bf_request *request, uint64_t offset,
                       uint64_t length, void *buffer)
{
    request->kind = BF_REQUEST_WRITE;
    request->offset = offset;
    request->length = length;
    request->buffer = buffer;
    submit(endpoint, request);
}

void bf_endpoint_zero(struct bf_endpoint *endpoint, struct bf_request *request, uint64_t offset,
                      uint64_t length)
{
    request->kind = BF_REQUEST_ZERO;
    request->offset = offset;
    request->length = length;
    request->buffer = NULL;
    submit(endpoint, request);
}

void bf_endpoint_flush(struct bf_endpoint *endpoint, struct bf_request *request)
{
    request->kind = BF_REQUEST_FLUSH;
    request->offset = 0;
    request->length = 0;
    request->buffer = NULL;
    submit(endpoint, request);
}

void bf_endpoint_finish(struct bf_endpoint *endpoint, struct bf_request *request, int error)
{
    assert(endpoint->in_flight);
    endpoint->in_flight--;
    request->error = error;
    bf_request_queue_push(&endpoint->ready, request);
}

void bf_endpoint_restart(struct bf_endpoint *endpoint, struct bf_request *request)
{
    assert(endpoint->in_flight);
    endpoint->in_flight--;
    request->progress = 0;
    bf_request_queue_push(&endpoint->waiting, request);
}

static void start_waiting(struct bf_endpoint *endpoint)
{
    while (endpoint->waiting.head) {
        /* Popped first: start() links the request into lists of its own. */
        struct bf_request *request = bf_request_queue_pop(&endpoint->waiting);
        if (!start(endpoint, request)) {
            request->next = endpoint->waiting.head;
            if (!endpoint->waiting.head)
                endpoint->waiting.tail = &request->next;
            endpoint->waiting.head = request;
            endpoint->waiting.count++;
            return;
        }
    }
}

unsigned bf_endpoint_prepare(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                             uint64_t now_ms, uint64_t *wake_ms)
{
    start_waiting(endpoint);
    unsigned count = endpoint->ops->prepare(endpoint, fds, max, now_ms, wake_ms);
    if (endpoint->ready.head)
        *wake_ms = now_ms;
    assert(count <= max);
    return count;
}

int bf_endpoint_handle(struct bf_endpoint *endpoint, const struct pollfd *fds, unsigned count,
                       uint64_t now_ms, struct bf_error *err)
{
    int rc = endpoint->ops->handle(endpoint, fds, count, now_ms, err);
    assert((rc == 0) != bf_error_is_set(err));
    return rc;
}

void bf_endpoint_dispatch(struct bf_endpoint *endpoint)
{
    /* Only what is ready now: null: finishes at once, and its `done` submits again. */
    for (unsigned n = endpoint->ready.count; n; n--) {
        struct bf_request *request = bf_request_queue_pop(&endpoint->ready);
        request->done(request);
    }
    start_waiting(endpoint);
}

bool bf_endpoint_idle(const struct bf_endpoint *endpoint)
{
    return !endpoint->in_flight && !endpoint->waiting.head && !endpoint->ready.head;
}

void bf_endpoint_drop_waiting(struct bf_endpoint *endpoint)
{
    endpoint->waiting = (struct bf_request_queue){0};
}

void bf_endpoint_set_depth(struct bf_endpoint *endpoint, unsigned requests)
{
    if (endpoint->ops->set_depth)
        endpoint->ops->set_depth(endpoint, requests);
}

void bf_endpoint_set_arena(struct bf_endpoint *endpoint, void *arena, size_t length)
{
    if (endpoint->ops->set_arena)
        endpoint->ops->set_arena(endpoint, arena, length);
}

int bf_endpoint_allocation(struct bf_endpoint *endpoint, uint64_t offset, uint64_t length,
                           struct bf_extent_list *list, struct bf_error *err)
{
    if (!length)
        return 0;
    if (!endpoint->ops->allocation)
        return bf_extent_list_add(list, offset, length, BF_EXTENT_DATA, err);
    int rc = endpoint->ops->allocation(endpoint, offset, length, list, err);
    assert((rc == 0) != bf_error_is_set(err));
    return rc;
}

int bf_endpoint_dirty(struct bf_endpoint *endpoint, const char *bitmap, struct bf_extent_list *list,
                      struct bf_error *err)
{
    if (!endpoint->ops->dirty)
        return bf_fail(err, BF_E_NO_BITMAP, 0, "%s: only an NBD server has dirty bitmaps",
                       endpoint->name);
    int rc = endpoint->ops->dirty(endpoint, bitmap, list, err);
    assert((rc == 0) != bf_error_is_set(err));
    return rc;
}

int bf_endpoint_since(struct bf_endpoint *endpoint, const char *snapshot,
                      struct bf_extent_list *list, struct bf_error *err)
{
    if (!endpoint->ops->since)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "%s: --since needs an rbd source",
                       endpoint->name);
    int rc = endpoint->ops->since(endpoint, snapshot, list, err);
    assert((rc == 0) != bf_error_is_set(err));
    return rc;
}

static void note_done(struct bf_request *request)
{
    *(bool *)request->owner = true;
}

/* One turn of a loop that has only this endpoint. */
static int turn_alone(struct bf_endpoint *endpoint, struct bf_error *err)
{
    struct pollfd fds[1 + SETTLE_FDS] = {{.fd = endpoint->options.cancel_fd, .events = POLLIN}};
    uint64_t now_ms = bf_now_ms(), wake_ms = now_ms + SETTLE_TURN_MS;
    unsigned count = bf_endpoint_prepare(endpoint, fds + 1, SETTLE_FDS, now_ms, &wake_ms);

    if (poll(fds, count + 1, wake_ms > now_ms ? (int)(wake_ms - now_ms) : 0) < 0)
        for (unsigned i = 0; i <= count; i++)
            fds[i].revents = 0; /* EINTR */
    if (fds[0].revents)
        return bf_fail(err, BF_E_CANCELLED, 0, "cancelled");
    if (bf_endpoint_handle(endpoint, fds + 1, count, bf_now_ms(), err))
        return -1;
    bf_endpoint_dispatch(endpoint);
    return 0;
}

int bf_endpoint_settle(struct bf_endpoint *endpoint, struct bf_error *err)
{
    bool done = false;
    struct bf_request request = {.done = note_done, .owner = &done};

    bf_endpoint_flush(endpoint, &request);
    while (!done) {
        if (turn_alone(endpoint, err)) {
            bf_endpoint_drop_waiting(endpoint);
            return -1;
        }
    }
    if (request.error)
        return bf_fail(err, BF_E_WRITE_ERROR, request.error, "%s: flush failed", endpoint->name);
    return 0;
}

int bf_endpoint_confirm(struct bf_endpoint *endpoint, struct bf_error *err)
{
    int rc = endpoint->ops->confirm ? endpoint->ops->confirm(endpoint, err) : 0;
    assert((rc == 0) != bf_error_is_set(err));
    return rc;
}
