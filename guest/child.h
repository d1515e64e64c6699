/* SPDX-License-Identifier: Apache-2.0 */
/* Run a conversion program with its appliance.
 *
 * The program, its servers and the appliance's qemu are one process group: at cancel, at the
 * deadline and at the end all of it is killed, and the function returns only when the kernel
 * knows no process of the group any more.  Should we be killed ourselves, the program dies by
 * its parent-death signal and libguestfs's recovery process ends the appliance.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"

struct bf_guest_child {
    const char *const *argv;
    const char *const *env;
    const char *input; /* NULL, or written to standard input, which else is /dev/null */
    struct bf_deadline deadline;
    int cancel_fd;
    /* Every complete line of output; may be NULL. */
    void (*line)(const char *line, void *user);
    void *user;
};

/* ret_status: wait status.  ret_output: the last output, at most 32 KiB; caller frees.
 * Fails with BF_E_CANCELLED, BF_E_DEADLINE (the output so far as evidence), BF_E_CHILD_MISSING. */
int bf_guest_child_run(const struct bf_guest_child *child, int *ret_status, char **ret_output,
                       struct bf_error *err);
