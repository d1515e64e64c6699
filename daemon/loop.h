/* SPDX-License-Identifier: Apache-2.0 */
/* The main loop: one sd-event loop owns the service's state and never waits on a network.
 *
 * Other threads reach it by bf_loop_post() (fire and forget) and bf_loop_call()
 * (waits until the main thread has run the function; used by job threads to write
 * the store before they act).  Work that blocks goes to bf_loop_work().
 */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/error.h"

struct bf_loop;

/* Becomes the main thread's loop; handles SIGTERM and SIGINT as "stop", blocks SIGPIPE, runs
 * sd_notify's watchdog.  One per process. */
int bf_loop_new(struct bf_loop **ret_loop, struct bf_error *err);
void bf_loop_free(struct bf_loop *loop);
int bf_loop_run(struct bf_loop *loop, struct bf_error *err);
void bf_loop_stop(struct bf_loop *loop); /* any thread */
/* After bf_loop_run() has returned: go on serving posts and calls for at most `timeout_ms`, so that
 * job threads can end. */
void bf_loop_turn(struct bf_loop *loop, uint64_t timeout_ms);
/* Run what was posted, and what that posts, until nothing is left; before what the posts use is
 * freed. */
void bf_loop_drain(struct bf_loop *loop);
sd_event *bf_loop_event(struct bf_loop *loop);

/* Abort unless this is the main loop thread: put where state is touched. */
void bf_assert_main(void);

typedef void bf_loop_fn(void *user);
void bf_loop_post(struct bf_loop *loop, bf_loop_fn *fn, void *user); /* any thread */
void bf_loop_call(struct bf_loop *loop, bf_loop_fn *fn, void *user); /* any thread but main */

/* Run `work` on a thread of its own, then `done` on the main loop. At most `limit` (64) at a time:
 * beyond, BF_E_BUSY. */
int bf_loop_work(struct bf_loop *loop, bf_loop_fn *work, bf_loop_fn *done, void *user,
                 struct bf_error *err);
