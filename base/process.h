/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes: started with a clean environment, supervised by pidfd, with
 * the tail of their output kept for the error message.
 *
 * The environment of a child is PATH, LC_ALL=C.UTF-8, TMPDIR plus what the caller lists;
 * secrets go by descriptor only.  All other descriptors are closed in the child.
 * The child dies with us (PR_SET_PDEATHSIG) unless `keep_alive` is set, and leads a
 * process group of its own, so that killing it takes its helpers along.  It does not
 * die with the thread that started it: one thread of base forks for all (process_spawn.h).
 * A kept child's standard error never blocks or kills it: what nobody reads is lost.
 *
 * Threads: a bf_process belongs to one thread; bf_process_signal() may come from any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/error.h"

struct bf_process;

struct bf_process_spec {
    const char *const *argv; /* NULL-terminated; argv[0] is found by PATH unless it has a slash */
    const char *const *env;  /* NULL or "K=V" additions, NULL-terminated */
    const int *pass_fds;     /* descriptors that become 3, 4, ... in the child */
    unsigned pass_fd_count;
    bool stdin_pipe;             /* caller writes to bf_process_stdin(); else /dev/null */
    bool stdout_pipe;            /* caller reads bf_process_stdout(); else it joins the kept tail */
    bool keep_alive;             /* survives us */
    const char *directory;       /* working directory; NULL: "/" */
    uint64_t memory_limit_bytes; /* RLIMIT_AS; 0 = none */
    uint64_t cpu_limit_seconds;  /* RLIMIT_CPU; 0 = none */
};

int bf_process_start(const struct bf_process_spec *spec, struct bf_process **ret_process,
                     struct bf_error *err);
pid_t bf_process_pid(const struct bf_process *process);
int bf_process_pidfd(const struct bf_process *process);  /* readable when it has ended; borrowed */
int bf_process_stdin(const struct bf_process *process);  /* borrowed; -1 if not asked for */
int bf_process_stdout(const struct bf_process *process); /* borrowed; -1 if not asked for */
/* For the poll loop of a caller that reads standard output itself: when bf_process_stderr() is
 * readable (borrowed; -1: nothing more comes), bf_process_drain() moves what is there into the tail
 * and does not block.  A caller that never drains can stop a child that fills the pipe (64 KiB). */
int bf_process_stderr(const struct bf_process *process);
void bf_process_drain(struct bf_process *process);
void bf_process_close_stdin(struct bf_process *process);
int bf_process_signal(struct bf_process *process, int signal); /* to its group */

/* Wait for the end (while collecting standard error).  cancel_fd (-1: none) readable: the child
 * gets SIGTERM, after 5 s SIGKILL, and BF_E_CANCELLED is returned.  Deadline passed: the same with
 * BF_E_DEADLINE.  ret_status is the wait status (WIFEXITED...). */
int bf_process_wait(struct bf_process *process, struct bf_deadline deadline, int cancel_fd,
                    int *ret_status, struct bf_error *err);
/* As wait, and a status other than "exited 0" is BF_E_CHILD_FAILED with the tail as evidence. */
int bf_process_finish(struct bf_process *process, struct bf_deadline deadline, int cancel_fd,
                      struct bf_error *err);
/* Last output (at most 8 KiB), NUL-terminated, borrowed. */
const char *bf_process_tail(struct bf_process *process);
void bf_process_free(struct bf_process *process); /* kills and reaps if it still runs */

/* Run to the end; standard output (at most max_output bytes, NULL: into the tail) to the caller. */
int bf_process_run(const char *const *argv, const char *const *env, struct bf_deadline deadline,
                   int cancel_fd, size_t max_output, char **ret_output, struct bf_error *err);

static inline void bf_process_free_at(struct bf_process **at)
{
    bf_process_free(*at);
}
#define bf_auto_process __attribute__((cleanup(bf_process_free_at))) struct bf_process
