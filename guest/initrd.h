/* SPDX-License-Identifier: Apache-2.0 */
/* A Linux guest's initramfs image: what is in it, and the archive to append to it.
 *
 * An image is a row of cpio archives (newc), each plain or compressed; the kernel unpacks them
 * one over the other, skipping zero bytes between.  bf_initrd_scan() walks all of them;
 * bf_initrd_build() makes the archive that brings the virtio modules and the init shim
 * (shim/init.c).  It must be appended to the image without padding and compressed as the image's
 * last archive is: kernels, lsinitramfs and lsinitrd all read that; any mixture fails somewhere
 * (lz4 has no end mark; a plain archive after a compressed one breaks the guest's tools).
 * Undone by cutting the image to its former size.
 *
 * The image comes from the guest's disk and is untrusted: everything is bounds-checked and the
 * unpacked size is limited.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

#define BF_INITRD_IMAGE_MAX ((size_t)1 << 30)

enum bf_initrd_method {
    BF_INITRD_PLAIN = 0,
    BF_INITRD_GZIP,
    BF_INITRD_XZ,
    BF_INITRD_ZSTD,
    BF_INITRD_METHOD_MAX,
};

struct bf_initrd {
    enum bf_initrd_method method; /* of the last archive */
    size_t size;
    unsigned archives;
    bool virtio_pci, virtio_blk; /* modules are in it */
    bool lvm_devices;            /* it holds an LVM devices file */
    bool injected;               /* an archive of ours is in it ... */
    size_t injected_at;          /* ... from here: the former size */
    /* The entry that is /init at the end; data is the program, or a symlink's target. */
    uint32_t init_mode; /* 0: there is none */
    char *init_data;
    size_t init_size;
};

struct bf_initrd_module {
    const char *name; /* "virtio_blk.ko" */
    const void *data; /* uncompressed, with its signature */
    size_t size;
};

/* What cannot be read: BF_E_GUEST_UNSUPPORTED of an unknown compression, BF_E_GUEST_INITRAMFS of a
 * cut or damaged archive. */
int bf_initrd_scan(const void *image, size_t size, struct bf_initrd *ret_initrd,
                   struct bf_error *err);
void bf_initrd_done(struct bf_initrd *initrd);

/* Modules of a kernel that the image itself holds.  names: "virtio.ko"; ret_data: as many empty
 * buffers, filled where the image has the module, as it stands there (perhaps compressed). */
int bf_initrd_take_modules(const void *image, size_t size, const char *version, char *const *names,
                           size_t count, struct bf_buf *ret_data, struct bf_error *err);

/* The archive to append: same input, same bytes.  Modules in load order.  `remove`: NULL, or paths
 * of the initramfs to unlink, NULL-terminated.  ret_archive is empty at call. */
int bf_initrd_build(const struct bf_initrd *initrd, const struct bf_initrd_module *modules,
                    size_t module_count, const char *const *remove, struct bf_buf *ret_archive,
                    struct bf_error *err);

const char *bf_initrd_method_to_string(enum bf_initrd_method method);

#define bf_auto_initrd __attribute__((cleanup(bf_initrd_done))) struct bf_initrd
