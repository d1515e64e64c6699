/* SPDX-License-Identifier: Apache-2.0 */
/* Can the conversion's appliance run on KVM here?
 *
 * An answer to KVM_CREATE_VM proves nothing: there are hosts (nested, paravirtual KVM) where
 * the device opens and a machine is made, yet an ordinary kernel does not get through its
 * first second.  libguestfs would pick KVM there and hang.  So a Linux kernel is booted
 * under KVM, with a time limit, up to the line it prints when it finds no root file system;
 * only seeing that line counts.  A host without vmx or svm in /proc/cpuinfo, or without
 * /dev/kvm, is "no" at once.
 *
 * The answer of a boot is kept in a file together with the host's boot id and is asked again
 * only after a reboot of the host.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

struct bf_kvm_probe {
    const char *cache_file; /* NULL: no memory */
    const char *cpuinfo;    /* NULL: /proc/cpuinfo */
    const char *qemu;       /* NULL: qemu-system-x86_64 */
    const char *kernel;     /* NULL: the newest /boot/vmlinuz-* */
    const char *accel;      /* NULL: "kvm" */
    uint64_t limit_ms;      /* 0: 20 s */
};

/* Fails only when cancelled, at the deadline, or when the system refuses something; a kernel or a
 * qemu that cannot be run is "no".  ret_reason (may be NULL) is a static text. */
int bf_kvm_probe_run(const struct bf_kvm_probe *probe, struct bf_deadline deadline, int cancel_fd,
                     bool *ret_usable, const char **ret_reason, struct bf_error *err);
