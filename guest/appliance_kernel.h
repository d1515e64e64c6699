/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel for libguestfs's appliance that need not unpack itself.
 *
 * Under emulation a bzImage of Debian 12 takes 2 to 3 s of an appliance's start to unpack itself.
 * The same kernel unpacked (an ELF file that QEMU starts by its PVH entry) is given to supermin,
 * which builds the appliance, by its environment variables SUPERMIN_KERNEL, _KERNEL_VERSION and
 * _MODULES.  An appliance that is built already stays as it is.
 *
 * The formats: Linux's Documentation/x86/boot.rst (payload_offset) and Xen's elfnote.h. */
#pragma once

#include "base/error.h"
#include "base/text.h"

/* The kernel within a bzImage.  One that is packed in a way unknown to us, or that QEMU could not
 * start by PVH: BF_E_GUEST_UNSUPPORTED. */
int bf_appliance_kernel_unpack(const void *image, size_t size, struct bf_buf *ret_kernel,
                               struct bf_error *err);

/* Unpack the newest kernel in boot_directory that has its modules into the cache, if it is not
 * there yet, and name it in our environment.  What goes wrong is no failure: the appliance is built
 * with the kernel that supermin finds itself. */
void bf_appliance_kernel_offer(const char *boot_directory, const char *modules_directory,
                               const char *cache_directory);
