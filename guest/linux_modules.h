/* SPDX-License-Identifier: Apache-2.0 */
/* One kernel of a Linux guest and the modules that make it see virtio disks. */
#pragma once

#include "guest/initrd.h"
#include "guest/session.h"

#define BF_KERNEL_MODULES_MAX 32

struct bf_kernel {
    const char *version; /* borrowed */
    char *builtin;       /* text of modules.builtin, perhaps empty */
    char *dependencies;  /* text of modules.dep */
};

int bf_kernel_open(struct bf_session *session, const char *version, struct bf_kernel *ret_kernel,
                   struct bf_error *err);
void bf_kernel_done(struct bf_kernel *kernel);

/* In load order. */
struct bf_kernel_modules {
    struct bf_initrd_module modules[BF_KERNEL_MODULES_MAX];
    size_t count;
};

/* The guest's own modules for virtio disks and what they need, out of its initramfs (which has what
 * the old disks needed) or else its module directory.  BF_E_GUEST_UNSUPPORTED: it lacks one, or
 * they are for another processor. */
int bf_kernel_fetch_modules(struct bf_session *session, const struct bf_kernel *kernel,
                            const void *image, size_t image_size, struct bf_kernel_modules *modules,
                            struct bf_error *err);
void bf_kernel_modules_done(struct bf_kernel_modules *modules);
