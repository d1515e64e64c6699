/* SPDX-License-Identifier: Apache-2.0 */
/* Inside base only: fork and exec.
 *
 * PR_SET_PDEATHSIG fires when the *thread* that forked ends (prctl(2)), and
 * callers are job threads that end while their children go on.  So one thread
 * of this process forks for all; it starts with the first child and never ends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* All that the child needs, prepared before the fork: between fork and exec only
 * async-signal-safe calls are allowed. */
#define BF_SPAWN_PASS_MAX 16
struct spawn {
    const char *path; /* of the program, resolved */
    char *const *argv;
    char *const *envp;
    const char *directory;
    int stdio[3];        /* descriptors of ours that become 0, 1, 2 */
    const int *pass_fds; /* at most BF_SPAWN_PASS_MAX */
    unsigned pass_fd_count;
    bool keep_alive;
    uint64_t memory_limit_bytes;
    uint64_t cpu_limit_seconds;
};

/* Returns when the program runs, or why it does not. */
int bf_spawn(const struct spawn *spawn, pid_t *ret_pid, struct bf_error *err);
