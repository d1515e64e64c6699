/* SPDX-License-Identifier: Apache-2.0 */
/* One disk image file of this host, looked at and changed while no machine uses it. */
#pragma once

#include "connectors/libvirt/session.h"

struct bf_libvirt_bitmap {
    char *name;
    bool recording;
    bool in_use; /* QEMU died while it had the image open: the bitmap is incomplete */
};

struct bf_libvirt_image {
    char *format;
    uint64_t size_bytes; /* virtual */
    char *backing;       /* absolute path; NULL: none */
    char *backing_format;
    struct bf_libvirt_bitmap *bitmaps;
    size_t bitmap_count;
};

/* `format` is never guessed: a raw disk's content could pass for another format. */
int bf_libvirt_image_read(struct bf_libvirt *lv, const char *path, const char *format,
                          struct bf_libvirt_image *ret_image, struct bf_error *err);
void bf_libvirt_image_done(struct bf_libvirt_image *image);
#define bf_auto_libvirt_image                                                                      \
    __attribute__((cleanup(bf_libvirt_image_done))) struct bf_libvirt_image
/* NULL: none of this name. */
const struct bf_libvirt_bitmap *bf_libvirt_image_bitmap(const struct bf_libvirt_image *image,
                                                        const char *name);

/* Bitmaps of a qcow2 image that no machine has open (else BF_E_IN_USE).  Both are idempotent. */
int bf_libvirt_image_add_bitmap(struct bf_libvirt *lv, const char *path, const char *name,
                                struct bf_error *err);
int bf_libvirt_image_remove_bitmap(struct bf_libvirt *lv, const char *path, const char *name,
                                   struct bf_error *err);

/* Keep machines from opening the image for writing, as long as the descriptor is open: QEMU's own
 * lock protocol (qemu block/file-posix.c: a shared lock on byte 200 + n says "others shall
 * not have permission n"; write is 1, resize 3). */
int bf_libvirt_image_lock(const char *path, int *ret_fd, struct bf_error *err);
