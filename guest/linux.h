/* SPDX-License-Identifier: Apache-2.0 */
/* What a Linux guest needs to boot on virtio, decided on an open session (session.h).
 *
 * Each function reads the guest and collects changes.  BF_E_GUEST_UNSUPPORTED: not a guest for
 * this way (virt-v2v may know better); no change is made then. */
#pragma once

#include "guest/interfaces.h"
#include "guest/session.h"

/* Virtio modules into every initramfs that lacks them (initrd.h), and the generators'
 * configuration, so that they stay when the guest makes a new one. */
int bf_linux_plan_initrd(struct bf_session *session, struct bf_error *err);
int bf_linux_plan_generators(struct bf_session *session, struct bf_error *err);

/* Names that are others on virtio: /dev/sdX in fstab, crypttab and the boot loader's lines; the
 * LVM devices file, which knows disks by their old serial numbers.  A guest whose own order of the
 * disks is another one than the machine's is BF_E_GUEST_UNSUPPORTED. */
int bf_linux_plan_names(struct bf_session *session, struct bf_error *err);

/* Every file that may hold a kernel's command line, in turn, until a call fails. */
int bf_linux_each_boot_file(struct bf_session *session,
                            int (*look)(struct bf_session *session, const char *path, void *user,
                                        struct bf_error *err),
                            void *user, struct bf_error *err);

/* Kernels also write to the first serial line, which platforms show as the machine's console. */
int bf_linux_plan_console(struct bf_session *session, struct bf_error *err);

/* The interface keeps its name by its MAC address, where the guest's configuration pins a name. */
void bf_linux_plan_network(struct bf_session *session, const char *const *macs, size_t mac_count);
/* The names it pins; names is empty at call. */
void bf_linux_interfaces(struct bf_session *session, struct bf_interfaces *names);

/* Let the last partition of each disk, and what it holds, fill the disk (linux_grow.c).  Nothing
 * stays mounted. */
int bf_linux_grow(struct bf_session *session, struct bf_error *err);
/* Collect what that will do, as if it were done; nothing is written or unmounted. */
int bf_linux_plan_grow(struct bf_session *session, struct bf_error *err);
