/* SPDX-License-Identifier: Apache-2.0 */
/* librbd's blocking calls, with a deadline.
 *
 * Most of librbd waits for the cluster without an end.  So such a call runs in a thread of its own
 * while the caller waits for it, for the deadline and for the cancel descriptor.  A call that is
 * given up is abandoned: its thread, its memory and the link that it uses are left alone until the
 * process ends (blockferry-copy is a process of one copy).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct bf_rbd_link;

/* First member of what a call works on, which is one allocation (bf_xcalloc). */
struct bf_rbd_call {
    struct bf_rbd_link *link;
    /* In the call's thread: 0, or -1 and *err. */
    int (*run)(struct bf_rbd_call *call, struct bf_error *err);

    atomic_bool abandoned; /* run() may look at it and end early */
    int rc;
    struct bf_error error;
    int done_fd; /* readable: run() has returned */
    unsigned long thread;
};

/* Start run() in its thread. */
int bf_rbd_call_start(struct bf_rbd_call *call, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* After done_fd became readable: run()'s result. */
int bf_rbd_call_end(struct bf_rbd_call *call, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* Start it, wait at most `deadline_ms` and take the result.  `doing`: for the message. */
int bf_rbd_call(struct bf_rbd_call *call, uint64_t deadline_ms, const char *doing,
                struct bf_error *err) __attribute__((nonnull, warn_unused_result));
void bf_rbd_call_abandon(struct bf_rbd_call *call);
/* Free the allocation, unless the call was abandoned. */
void bf_rbd_call_free(struct bf_rbd_call *call);
