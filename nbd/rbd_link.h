/* SPDX-License-Identifier: Apache-2.0 */
/* One opened RBD image, and librbd's blocking calls with a deadline.
 *
 * Most of librbd waits for the cluster without an end.  So such a call runs in a thread of its own
 * while the caller waits for it, for the deadline and for the cancel descriptor.  A call that is
 * given up is abandoned: its thread, its memory and the link that it uses are left alone until the
 * process ends (blockferry-copy is a process of one copy).  A link with an abandoned call is
 * `stuck`: it can only be given to bf_rbd_link_close(), which then leaves it to the process's end.
 *
 * A snapshot is known by its id: a name can be given to another snapshot later.
 * Source: librbd.h and the behaviour of librbd 16.2 (pacific).
 */
#pragma once

#include <rados/librados.h>
#include <rbd/librbd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "nbd/uri.h"

struct bf_rbd_link {
    /* As given; copies, because an abandoned call may read them at any time. */
    char *name; /* the URI, for messages */
    char *conf; /* NULL: Ceph's default */
    char *user; /* NULL: Ceph's default */
    char *pool;
    char *pool_namespace; /* NULL: none */
    char *image_name;
    char *snapshot; /* NULL: the image as it is */
    bool write;
    uint64_t deadline_ms;
    int cancel_fd;

    rados_t cluster;   /* NULL: not made */
    rados_ioctx_t io;  /* NULL: not made */
    rbd_image_t image; /* NULL: not open */
    bool stuck;

    /* What was opened. */
    char id[128];         /* the image's, for life */
    uint64_t snapshot_id; /* 0: none */
    uint64_t size;
    uint64_t object_size;
    uint64_t features;
    bool has_parent; /* a clone */
    char *identity;  /* cluster, pool, image and snapshot by their ids */
};

/* First member of what a call works on, which is one allocation (bf_xcalloc). */
struct bf_rbd_call {
    struct bf_rbd_link *link;
    /* In the call's thread: 0, or -1 and *err. */
    int (*run)(struct bf_rbd_call *call, struct bf_error *err);

    atomic_bool abandoned; /* run() may look at it and end early */
    int rc;
    struct bf_error error;
    int done_fd; /* readable: run() has returned */
    unsigned long thread;
};

/* Start run() in its thread. */
int bf_rbd_call_start(struct bf_rbd_call *call, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* After done_fd became readable: run()'s result. */
int bf_rbd_call_end(struct bf_rbd_call *call, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* Start it, wait at most `deadline_ms` and take the result.  `doing`: for the message. */
int bf_rbd_call(struct bf_rbd_call *call, uint64_t deadline_ms, const char *doing,
                struct bf_error *err) __attribute__((nonnull, warn_unused_result));
void bf_rbd_call_abandon(struct bf_rbd_call *call);
/* Free the allocation, unless the call was abandoned. */
void bf_rbd_call_free(struct bf_rbd_call *call);

/* Connect and open.  Wrong key: BF_E_PLATFORM_AUTH; not there: BF_E_ENDPOINT_OPEN.
 * write: nobody else may have the image open (BF_E_IN_USE), and nobody else can write to it from
 * now on.  A client that died is waited for until the cluster has forgotten it (30 s). */
int bf_rbd_link_open(const struct bf_uri *uri, bool write, uint64_t deadline_ms, int cancel_fd,
                     struct bf_rbd_link **ret_link, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
void bf_rbd_link_close(struct bf_rbd_link *link);

/* The id of a snapshot of the image, given by name or id.  *ret_name: the caller frees it.
 * None or ambiguous: BF_E_BASELINE_LOST. */
struct bf_rbd_snapshot {
    uint64_t id;
    uint64_t size; /* of the image then */
    char *name;
};
int bf_rbd_link_snapshot(struct bf_rbd_link *link, const char *text,
                         struct bf_rbd_snapshot *ret_snapshot, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));

/* Ask the cluster whether image and snapshot are still there (and snapshot `also` unless 0).  This
 * matters, because what was deleted reads as zeroes and takes writes without an error.
 * Gone: BF_E_ENDPOINT_OPEN.  The second form only makes the call. */
int bf_rbd_link_confirm(struct bf_rbd_link *link, uint64_t also, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
struct bf_rbd_call *bf_rbd_link_confirm_call(struct bf_rbd_link *link, uint64_t also);
