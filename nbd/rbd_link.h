/* SPDX-License-Identifier: Apache-2.0 */
/* One opened RBD image.
 *
 * All that asks the cluster goes through a bf_rbd_call, with a deadline.  A link with an abandoned
 * call is `stuck`: it can only be given to bf_rbd_link_close(), which then leaves it to the
 * process's end.
 *
 * A snapshot is known by its id: a name can be given to another snapshot later.
 * Source: librbd.h and the behaviour of librbd 16.2 (pacific).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "nbd/rbd_api.h"
#include "nbd/rbd_call.h"
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
    char *identity; /* cluster, pool, image and snapshot by their ids */
};

/* Connect and open.  Wrong key: BF_E_PLATFORM_AUTH; not there: BF_E_ENDPOINT_OPEN.
 * write: nobody else may have the image open or locked (BF_E_IN_USE, with who it is), and nobody
 * else can write to it from now on (nbd/rbd_claim.h). */
int bf_rbd_link_open(const struct bf_uri *uri, bool write, uint64_t deadline_ms, int cancel_fd,
                     struct bf_rbd_link **ret_link, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* Writable, beside whoever has it open: for what the owner of the lock does on our behalf. */
int bf_rbd_link_open_beside(const struct bf_uri *uri, uint64_t deadline_ms, int cancel_fd,
                            struct bf_rbd_link **ret_link, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
void bf_rbd_link_close(struct bf_rbd_link *link);

/* What a negative result of librados or librbd means for the link: always -1. */
int bf_rbd_link_refused(const struct bf_rbd_link *link, int rc, const char *doing,
                        struct bf_error *err) __attribute__((nonnull));

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
