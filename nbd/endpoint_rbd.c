/* SPDX-License-Identifier: Apache-2.0 */
/* RBD images by librbd's asynchronous calls.
 *
 * librbd completes a request in a thread of its own; there the request is only put on a list and
 * the loop woken by an eventfd.  The rest happens in the loop's thread.
 *
 * What is kept true:
 *  1. Without librbd's cache a finished write is durable in the cluster; nothing is lost with a
 *     connection, so there are no resets.  librados itself repeats what an OSD that died did not
 *     answer.
 *  2. Zeroes are made by rbd_aio_write_zeroes() only: rbd_discard() leaves what is not aligned to
 *     64 KiB as it is and calls that success.
 *  3. What was deleted under us reads as zeroes and takes writes, without an error.  So it is
 *     looked up again every few seconds, and by confirm() at the end.
 *  4. A target is locked against other writers, and was open nowhere else.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "nbd/endpoint.h"
#include "nbd/rbd_link.h"
#include "nbd/rbd_map.h"

#define CONFIRM_EVERY_MS 5000
/* The cluster's cost is by request; above this nothing was won, and more memory is needed. */
#define BEST_BYTES ((uint64_t)512 << 10)
/* librados has one to every OSD; so many are a fair guess at those that work for us at a time. */
#define CONNECTIONS 4
#define LAST_CONFIRM_MS 2000 /* for one that is under way at the end */

/* A request that is with librbd. */
struct flight {
    struct rbd_endpoint *rbd;
    struct bf_request *request;
    rbd_completion_t completion;
    struct flight *previous, *next; /* in the order of their start */
    struct flight *next_done;
};

struct rbd_endpoint {
    struct bf_endpoint base;
    struct bf_rbd_link *link;
    struct flight *oldest, *newest;
    uint64_t patience_ms;        /* a request that takes longer is lost */
    bool warned;                 /* of one that is overdue */
    struct bf_rbd_call *confirm; /* under way, or NULL */
    uint64_t confirm_ms;         /* when to look next */

    /* Under `lock`; librbd's threads put flights on it. */
    pthread_mutex_t lock;
    struct flight *done;
    int done_fd;
};

static struct rbd_endpoint *self(struct bf_endpoint *endpoint)
{
    return (struct rbd_endpoint *)(void *)endpoint;
}

static void link_flight(struct rbd_endpoint *rbd, struct flight *flight)
{
    flight->previous = rbd->newest;
    if (rbd->newest)
        rbd->newest->next = flight;
    else
        rbd->oldest = flight;
    rbd->newest = flight;
    rbd->base.in_kernel++;
}

static void unlink_flight(struct rbd_endpoint *rbd, struct flight *flight)
{
    if (flight->previous)
        flight->previous->next = flight->next;
    else
        rbd->oldest = flight->next;
    if (flight->next)
        flight->next->previous = flight->previous;
    else
        rbd->newest = flight->previous;
    rbd->base.in_kernel--;
}

/* In a thread of librbd's. */
static void on_complete(rbd_completion_t completion, void *user)
{
    struct flight *flight = user;
    struct rbd_endpoint *rbd = flight->rbd;
    uint64_t one = 1;

    (void)completion;
    pthread_mutex_lock(&rbd->lock);
    bool first = !rbd->done;
    flight->next_done = rbd->done;
    rbd->done = flight;
    /* Within the lock: afterwards the endpoint may be gone. */
    if (first && write(rbd->done_fd, &one, sizeof(one)) != sizeof(one))
        abort(); /* it is read back to 0 before it could be full */
    pthread_mutex_unlock(&rbd->lock);
}

static int issue(struct rbd_endpoint *rbd, const struct flight *flight)
{
    struct bf_request *request = flight->request;
    rbd_image_t image = rbd->link->image;
    char *buffer = (char *)request->buffer;

    switch (request->kind) {
    case BF_REQUEST_READ:
        return bf_ceph.rbd_aio_read(image, request->offset, request->length, buffer,
                                    flight->completion);
    case BF_REQUEST_WRITE:
        return bf_ceph.rbd_aio_write(image, request->offset, request->length, buffer,
                                     flight->completion);
    case BF_REQUEST_ZERO:
        return bf_ceph.rbd_aio_write_zeroes(image, request->offset, request->length,
                                            flight->completion, 0, 0);
    case BF_REQUEST_FLUSH:
        return bf_ceph.rbd_aio_flush(image, flight->completion);
    }
    return -EINVAL;
}

static bool rbd_start(struct bf_endpoint *endpoint, struct bf_request *request)
{
    struct rbd_endpoint *rbd = self(endpoint);
    struct flight *flight = bf_xcalloc(1, sizeof(*flight));

    flight->rbd = rbd;
    flight->request = request;
    request->issued_ms = bf_now_ms();
    int rc = bf_ceph.rbd_aio_create_completion(flight, on_complete, &flight->completion);
    if (rc < 0) {
        free(flight);
        bf_endpoint_finish(endpoint, request, -rc);
        return true;
    }
    /* First: it may be done before issue() returns. */
    link_flight(rbd, flight);
    rc = issue(rbd, flight);
    if (rc < 0) {
        unlink_flight(rbd, flight);
        bf_ceph.rbd_aio_release(flight->completion);
        free(flight);
        bf_endpoint_finish(endpoint, request, -rc);
    }
    return true;
}

/* The errno of a completed request: a short read has none of its own. */
static int error_of(const struct bf_request *request, ssize_t rc)
{
    if (rc < 0)
        return (int)-rc;
    return request->kind == BF_REQUEST_READ && (uint64_t)rc != request->length ? EIO : 0;
}

static void collect(struct rbd_endpoint *rbd)
{
    uint64_t count;
    struct flight *next;

    if (read(rbd->done_fd, &count, sizeof(count)) < 0)
        return; /* EAGAIN: none */
    pthread_mutex_lock(&rbd->lock);
    struct flight *flight = rbd->done;
    rbd->done = NULL;
    pthread_mutex_unlock(&rbd->lock);
    for (; flight; flight = next) {
        next = flight->next_done;
        int error = error_of(flight->request, bf_ceph.rbd_aio_get_return_value(flight->completion));
        bf_ceph.rbd_aio_release(flight->completion);
        unlink_flight(rbd, flight);
        bf_endpoint_finish(&rbd->base, flight->request, error);
        free(flight);
    }
    if (rbd->warned && !rbd->oldest) {
        rbd->warned = false;
        bf_log_notice("%s: the cluster answers again", rbd->base.name);
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static unsigned rbd_prepare(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                            uint64_t now_ms, uint64_t *wake_ms)
{
    const struct rbd_endpoint *rbd = self(endpoint);
    unsigned used = 0;

    if (rbd->oldest) {
        uint64_t allowed = rbd->warned ? rbd->patience_ms : endpoint->options.deadline_ms;
        *wake_ms = earlier(*wake_ms, rbd->oldest->request->issued_ms + allowed);
    }
    if (!rbd->confirm)
        *wake_ms = earlier(*wake_ms, rbd->confirm_ms > now_ms ? rbd->confirm_ms : now_ms);
    if (used < max)
        fds[used++] = (struct pollfd){.fd = rbd->done_fd, .events = POLLIN};
    if (rbd->confirm && used < max)
        fds[used++] = (struct pollfd){.fd = rbd->confirm->done_fd, .events = POLLIN};
    return used;
}

/* The cluster is waited for as long as a lost NBD server would be. */
static int check_overdue(struct rbd_endpoint *rbd, uint64_t now_ms, struct bf_error *err)
{
    const struct bf_request *request = rbd->oldest ? rbd->oldest->request : NULL;

    if (!request || now_ms < request->issued_ms + rbd->base.options.deadline_ms)
        return 0;
    uint64_t waited_s = (now_ms - request->issued_ms) / 1000;
    if (now_ms >= request->issued_ms + rbd->patience_ms) {
        rbd->link->stuck = true;
        return bf_fail(err, BF_E_DEADLINE, 0,
                       "%s: the cluster did not answer in %" PRIu64 " s to a request of %" PRIu64
                       " bytes at %" PRIu64,
                       rbd->base.name, waited_s, request->length, request->offset);
    }
    if (!rbd->warned) {
        rbd->warned = true;
        bf_log_warning("%s: no answer for %" PRIu64 " s, waiting on for up to %" PRIu64 " s",
                       rbd->base.name, waited_s, rbd->patience_ms / 1000);
    }
    return 0;
}

static int look_again(struct rbd_endpoint *rbd, bool answered, uint64_t now_ms,
                      struct bf_error *err)
{
    if (!rbd->confirm && now_ms >= rbd->confirm_ms) {
        struct bf_rbd_call *call = bf_rbd_link_confirm_call(rbd->link, 0);
        if (bf_rbd_call_start(call, err)) {
            free(call);
            return -1;
        }
        rbd->confirm = call;
    } else if (rbd->confirm && answered) {
        struct bf_error why = BF_ERROR_INIT;
        int rc = bf_rbd_call_end(rbd->confirm, &why);
        free(rbd->confirm);
        rbd->confirm = NULL;
        rbd->confirm_ms = now_ms + CONFIRM_EVERY_MS;
        /* Only a clear "no": trouble of another kind is seen by the requests. */
        if (rc && why.code == BF_E_ENDPOINT_OPEN) {
            bf_error_move(err, &why);
            return -1;
        }
        bf_error_clear(&why);
    }
    return 0;
}

static int rbd_handle(struct bf_endpoint *endpoint, const struct pollfd *fds, unsigned count,
                      uint64_t now_ms, struct bf_error *err)
{
    struct rbd_endpoint *rbd = self(endpoint);

    if (count && fds[0].revents)
        collect(rbd);
    if (look_again(rbd, count > 1 && fds[1].revents, now_ms, err))
        return -1;
    return check_overdue(rbd, now_ms, err);
}

static void rbd_endpoint_close(struct bf_endpoint *endpoint)
{
    struct rbd_endpoint *rbd = self(endpoint);

    if (rbd->confirm) {
        struct bf_error ignored = BF_ERROR_INIT;
        struct pollfd fd = {.fd = rbd->confirm->done_fd, .events = POLLIN};
        if (poll(&fd, 1, rbd->oldest ? 0 : LAST_CONFIRM_MS) == 1) {
            if (bf_rbd_call_end(rbd->confirm, &ignored))
                bf_error_clear(&ignored);
            free(rbd->confirm);
        } else {
            bf_rbd_call_abandon(rbd->confirm);
        }
    }
    /* librbd would wait for what is under way; and its threads may still come to our list. */
    if (rbd->oldest) {
        rbd->link->stuck = true;
        return;
    }
    bf_rbd_link_close(rbd->link);
    if (rbd->done_fd >= 0)
        close(rbd->done_fd);
    pthread_mutex_destroy(&rbd->lock);
    free(rbd);
}

static int rbd_allocation(struct bf_endpoint *endpoint, uint64_t offset, uint64_t length,
                          struct bf_extent_list *list, struct bf_error *err)
{
    return bf_rbd_map_allocation(self(endpoint)->link, offset, length, list, err);
}

static int rbd_since(struct bf_endpoint *endpoint, const char *snapshot,
                     struct bf_extent_list *list, struct bf_error *err)
{
    return bf_rbd_map_since(self(endpoint)->link, snapshot, list, err);
}

static int rbd_confirm(struct bf_endpoint *endpoint, struct bf_error *err)
{
    return bf_rbd_link_confirm(self(endpoint)->link, 0, err);
}

static const struct bf_endpoint_ops rbd_ops = {
    .name = "rbd",
    .close = rbd_endpoint_close,
    .start = rbd_start,
    .prepare = rbd_prepare,
    .handle = rbd_handle,
    .allocation = rbd_allocation,
    .since = rbd_since,
    .confirm = rbd_confirm,
};

int bf_endpoint_rbd_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                         struct bf_endpoint **ret_endpoint, struct bf_error *err)
{
    struct bf_rbd_link *link;

    if (bf_ceph_load(err))
        return -1;
    if (options->write && uri->rbd_snapshot)
        return bf_fail(err, BF_E_ENDPOINT_READONLY, 0, "%s: a snapshot cannot be written",
                       uri->text);
    if (bf_rbd_link_open(uri, options->write, options->deadline_ms, options->cancel_fd, &link, err))
        return -1;
    int done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (done_fd < 0) {
        bf_rbd_link_close(link);
        return bf_fail(err, BF_E_SYSTEM, errno, "no eventfd");
    }
    struct rbd_endpoint *rbd = bf_xcalloc(1, sizeof(*rbd));
    bf_endpoint_init(&rbd->base, &rbd_ops, uri, options);
    pthread_mutex_init(&rbd->lock, NULL);
    rbd->link = link;
    rbd->done_fd = done_fd;
    rbd->confirm_ms = bf_now_ms() + CONFIRM_EVERY_MS;
    rbd->patience_ms =
        options->reconnect_ms > options->deadline_ms ? options->reconnect_ms : options->deadline_ms;
    rbd->base.size = link->size;
    rbd->base.block_best = BEST_BYTES;
    rbd->base.connections = CONNECTIONS;
    rbd->base.can_zero = true;
    rbd->base.identity = bf_xstrdup(link->identity);
    *ret_endpoint = &rbd->base;
    return 0;
}
