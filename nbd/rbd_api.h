/* SPDX-License-Identifier: Apache-2.0 */
/* librados and librbd, loaded when the first RBD endpoint is opened.
 *
 * Linked in they would cost every copy 17 MiB of memory and about 20 ms at its start, and every
 * host the packages; most copies have nothing to do with Ceph.  The types come from Ceph's own
 * headers, so a function that changes is seen by the compiler.
 *
 * Threads: bf_ceph_load() by the loop's thread only; afterwards bf_ceph is constant.
 */
#pragma once

#include <rados/librados.h>
#include <rbd/librbd.h>

#include "base/error.h"

/* clang-format off */
#define BF_RADOS_FUNCTIONS(X) \
    X(rados_buffer_free) \
    X(rados_cluster_fsid) \
    X(rados_conf_read_file) \
    X(rados_conf_set) \
    X(rados_connect) \
    X(rados_create) \
    X(rados_decode_notify_response) \
    X(rados_free_notify_response) \
    X(rados_get_instance_id) \
    X(rados_ioctx_create) \
    X(rados_ioctx_destroy) \
    X(rados_ioctx_get_id) \
    X(rados_ioctx_set_namespace) \
    X(rados_notify2) \
    X(rados_remove) \
    X(rados_set_pool_full_try) \
    X(rados_shutdown)

#define BF_RBD_FUNCTIONS(X) \
    X(rbd_aio_create_completion) \
    X(rbd_aio_flush) \
    X(rbd_aio_get_return_value) \
    X(rbd_aio_read) \
    X(rbd_aio_release) \
    X(rbd_aio_write) \
    X(rbd_aio_write_zeroes) \
    X(rbd_close) \
    X(rbd_diff_iterate2) \
    X(rbd_flatten) \
    X(rbd_get_features) \
    X(rbd_get_flags) \
    X(rbd_get_id) \
    X(rbd_get_overlap) \
    X(rbd_list_lockers) \
    X(rbd_image_spec_list_cleanup) \
    X(rbd_list2) \
    X(rbd_lock_acquire) \
    X(rbd_open) \
    X(rbd_open_by_id_read_only) \
    X(rbd_open_read_only) \
    X(rbd_rename) \
    X(rbd_snap_list) \
    X(rbd_snap_list_end) \
    X(rbd_snap_rollback) \
    X(rbd_snap_set_by_id) \
    X(rbd_stat) \
    X(rbd_watchers_list) \
    X(rbd_watchers_list_cleanup)
/* clang-format on */

struct bf_ceph {
#define X(name) __typeof__(name) *name;
    BF_RADOS_FUNCTIONS(X)
    BF_RBD_FUNCTIONS(X)
#undef X
};

extern struct bf_ceph bf_ceph;

/* Again: nothing.  Not installed: BF_E_CHILD_MISSING with the package's name. */
int bf_ceph_load(struct bf_error *err) __attribute__((nonnull, warn_unused_result));
