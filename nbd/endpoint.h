/* SPDX-License-Identifier: Apache-2.0 */
/* An endpoint is one side of a copy: an NBD export, a file, a block device, an RBD image, null.
 *
 * This is the seam of the data plane.  The engine calls the bf_endpoint_*() functions; only those
 * touch the ops table.  One thread (the event loop) owns an endpoint and its requests.
 *
 * A request is submitted, and later its `done` function is called, from bf_endpoint_dispatch()
 * only, never from within submit; so `done` may submit again.  Between the two the request and its
 * buffer belong to the endpoint.  Requests are carried out in any order; those that wait for room
 * in the endpoint are started first come, first served.
 *
 * The loop, one turn:  bf_endpoint_prepare() fills pollfds and says when to call again at the
 * latest; poll(); bf_endpoint_handle(); bf_endpoint_dispatch().
 *
 * Errors of one request (EIO, ENOSPC, ...) come by request->error.  An endpoint that cannot go on
 * (its server is gone for good, a kernel request overran its deadline) fails by handle().  A lost
 * NBD connection is neither: the endpoint reconnects and starts its requests again, which is safe
 * because reads and whole-block writes can be repeated.  But what had been written and not
 * flushed may be lost with the server; `resets` counts these events, and the engine redoes that
 * part.
 *
 * Blocking: open, close, allocation, dirty, since, settle and confirm wait, each answer at most
 * `deadline_ms`, and return early with BF_E_CANCELLED when `cancel_fd` is readable.  All else never
 * waits.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "nbd/extent.h"
#include "nbd/uri.h"

enum bf_request_kind {
    BF_REQUEST_READ,
    BF_REQUEST_WRITE,
    BF_REQUEST_ZERO, /* afterwards the range reads as zero; holes are welcome */
    BF_REQUEST_FLUSH,
};

struct bf_request {
    /* Set by the submitter. */
    enum bf_request_kind kind;
    uint64_t offset;
    uint64_t length;
    /* READ, WRITE: at the same place within a page as `offset`, or O_DIRECT cannot be used. */
    unsigned char *buffer;
    void (*done)(struct bf_request *request);
    void *owner; /* for `done` */

    /* Valid in `done`: 0 or an errno. */
    int error;

    /* The endpoint's own. */
    struct bf_request *next;
    uint64_t issued_ms; /* when it went to the server or the kernel */
    uint64_t progress;  /* bytes of it that are done */
    uint64_t piece;     /* file: bytes under way in the kernel */
    int piece_mode;     /* file: fallocate mode that it uses; 0: a read or write */
    bool piece_direct;  /* file: it goes past the page cache */
    int answer;         /* NBD: errno of the answer */
    bool answered;      /* NBD: the answer is here */
};

struct bf_request_queue {
    struct bf_request *head;
    struct bf_request **tail; /* NULL or where the next one is linked */
    unsigned count;
};

struct bf_endpoint_options {
    bool write;                   /* open as target */
    uint64_t create_size;         /* target: a regular file is created or grown to this */
    unsigned connections;         /* NBD: at most; 1 if the server does not allow more */
    unsigned requests;            /* per connection; the depth can be changed later */
    uint64_t deadline_ms;         /* of each answer */
    uint64_t reconnect_ms;        /* a server without any connection for so long is lost */
    const char *tls_certificates; /* NULL or a directory */
    const char *tls_psk;          /* NULL or a file */
    int cancel_fd;                /* -1: none */
};

struct bf_endpoint;

struct bf_endpoint_ops {
    const char *name; /* "nbd" */

    /* Required. */
    void (*close)(struct bf_endpoint *endpoint);
    /* Start a request; false: no room now. */
    bool (*start)(struct bf_endpoint *endpoint, struct bf_request *request);
    unsigned (*prepare)(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                        uint64_t now_ms, uint64_t *wake_ms);
    int (*handle)(struct bf_endpoint *endpoint, const struct pollfd *fds, unsigned count,
                  uint64_t now_ms, struct bf_error *err);

    /* Optional. */
    /* Requests under way per connection.  NULL: not limited. */
    void (*set_depth)(struct bf_endpoint *endpoint, unsigned requests);
    /* Most buffers lie in this arena.  NULL: of no use to it. */
    void (*set_arena)(struct bf_endpoint *endpoint, void *arena, size_t length);
    /* Append the range's data and zero extents.  NULL: all is data. */
    int (*allocation)(struct bf_endpoint *endpoint, uint64_t offset, uint64_t length,
                      struct bf_extent_list *list, struct bf_error *err);
    /* Append the dirty extents (as data) of the whole disk.  NULL: BF_E_NO_BITMAP. */
    int (*dirty)(struct bf_endpoint *endpoint, const char *bitmap, struct bf_extent_list *list,
                 struct bf_error *err);
    /* Append what changed since this snapshot, of the whole disk.  NULL: has no snapshots. */
    int (*since)(struct bf_endpoint *endpoint, const char *snapshot, struct bf_extent_list *list,
                 struct bf_error *err);
    /* NULL: it cannot have gone without an error. */
    int (*confirm)(struct bf_endpoint *endpoint, struct bf_error *err);
};

struct bf_endpoint {
    const struct bf_endpoint_ops *ops;
    char *name;     /* the URI, for messages */
    char *identity; /* NULL, or what names the very thing that was opened better than the URI */
    struct bf_endpoint_options options;
    uint64_t size;
    uint64_t block_min;   /* all offsets and lengths are multiples of this, or the disk's end */
    uint64_t block_max;   /* longest read or write; 0: no limit */
    uint64_t block_best;  /* requests of this length are carried out best; 0: does not matter */
    bool can_zero;        /* ZERO requests are taken */
    bool volatile_cache;  /* what is not flushed may be lost with a peer that fails alone */
    bool reads_zero;      /* was made or was empty: all of it reads as zero */
    unsigned connections; /* in use; 1 for local ones */
    unsigned resets;      /* times that unflushed writes may have been lost */
    unsigned in_flight;   /* started and not in `ready` */
    unsigned in_kernel;   /* whose buffers the kernel (or librbd) may use even after close */
    struct bf_request_queue waiting;
    struct bf_request_queue ready;
};

/* Unsupported kinds: BF_E_PLATFORM_UNSUPPORTED.  Not there, refused: BF_E_ENDPOINT_OPEN. */
int bf_endpoint_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                     struct bf_endpoint **ret_endpoint, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* Leaves the server in order.  Requests still under way are dropped: their `done` is not called;
 * their buffers may be freed afterwards only if in_kernel was 0 before. */
void bf_endpoint_close(struct bf_endpoint *endpoint);

void bf_endpoint_read(struct bf_endpoint *endpoint, struct bf_request *request, uint64_t offset,
                      uint64_t length, void *buffer);
void bf_endpoint_write(struct bf_endpoint *endpoint, struct bf_request *request, uint64_t offset,
                       uint64_t length, void *buffer);
void bf_endpoint_zero(struct bf_endpoint *endpoint, struct bf_request *request, uint64_t offset,
                      uint64_t length);
/* What was done before this was submitted is on stable storage when it is done. */
void bf_endpoint_flush(struct bf_endpoint *endpoint, struct bf_request *request);

/* Returns the number of fds used (at most max).  *wake_ms is lowered to the moment (bf_now_ms) at
 * which handle() must be called even if nothing happens. */
unsigned bf_endpoint_prepare(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                             uint64_t now_ms, uint64_t *wake_ms);
int bf_endpoint_handle(struct bf_endpoint *endpoint, const struct pollfd *fds, unsigned count,
                       uint64_t now_ms, struct bf_error *err);
void bf_endpoint_dispatch(struct bf_endpoint *endpoint);
/* No request is under way or waits. */
bool bf_endpoint_idle(const struct bf_endpoint *endpoint);
/* Forget the requests that were not started yet (their `done` is not called). */
void bf_endpoint_drop_waiting(struct bf_endpoint *endpoint);

void bf_endpoint_set_depth(struct bf_endpoint *endpoint, unsigned requests);
void bf_endpoint_set_arena(struct bf_endpoint *endpoint, void *arena, size_t length);
int bf_endpoint_allocation(struct bf_endpoint *endpoint, uint64_t offset, uint64_t length,
                           struct bf_extent_list *list, struct bf_error *err);
int bf_endpoint_dirty(struct bf_endpoint *endpoint, const char *bitmap, struct bf_extent_list *list,
                      struct bf_error *err);
/* No such snapshot any more: BF_E_BASELINE_LOST. */
int bf_endpoint_since(struct bf_endpoint *endpoint, const char *snapshot,
                      struct bf_extent_list *list, struct bf_error *err);
/* Flush and wait: what anybody wrote to it before is on stable storage now. */
int bf_endpoint_settle(struct bf_endpoint *endpoint, struct bf_error *err);
/* After the last request: is what was read or written still there?  An RBD snapshot that is deleted
 * while it is read turns into zeroes, without an error. */
int bf_endpoint_confirm(struct bf_endpoint *endpoint, struct bf_error *err);

/* For the implementations. */
int bf_endpoint_nbd_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                         struct bf_endpoint **ret_endpoint, struct bf_error *err);
int bf_endpoint_file_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                          struct bf_endpoint **ret_endpoint, struct bf_error *err);
int bf_endpoint_null_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                          struct bf_endpoint **ret_endpoint, struct bf_error *err);
#ifdef BF_HAVE_RBD
int bf_endpoint_rbd_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                         struct bf_endpoint **ret_endpoint, struct bf_error *err);
#endif
void bf_endpoint_init(struct bf_endpoint *endpoint, const struct bf_endpoint_ops *ops,
                      const struct bf_uri *uri, const struct bf_endpoint_options *options);
/* A started request is finished (`request` is not on any list of the implementation any more). */
void bf_endpoint_finish(struct bf_endpoint *endpoint, struct bf_request *request, int error);
/* A started request must be started again. */
void bf_endpoint_restart(struct bf_endpoint *endpoint, struct bf_request *request);
void bf_request_queue_push(struct bf_request_queue *queue, struct bf_request *request);
struct bf_request *bf_request_queue_pop(struct bf_request_queue *queue); /* NULL: empty */

static inline void bf_endpoint_close_at(struct bf_endpoint *const *at)
{
    bf_endpoint_close(*at);
}
#define bf_auto_endpoint __attribute__((cleanup(bf_endpoint_close_at))) struct bf_endpoint
