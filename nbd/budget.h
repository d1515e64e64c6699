/* SPDX-License-Identifier: Apache-2.0 */
/* The rate limit: a bucket by virtual scheduling.
 *
 * The state is one moment: when the next byte is due if all went at exactly the limit.  A chunk may
 * start as soon as that moment is at most the burst (100 ms) ahead; starting it moves the moment on
 * by what the chunk takes at the limit.  An idle time is not saved up beyond the burst, so a stall
 * is not followed by a flood.
 *
 * Chunks should be small against one second at the limit: bf_budget_chunk() says how small.
 */
#pragma once

#include <stdint.h>

struct bf_budget {
    uint64_t bytes_per_s; /* 0: no limit */
    uint64_t due_ns;      /* on the clock of bf_budget_now_ns() */
};

uint64_t bf_budget_now_ns(void); /* CLOCK_MONOTONIC */
void bf_budget_set(struct bf_budget *budget, uint64_t bytes_per_s, uint64_t now_ns);
/* 0: go; else nanoseconds to wait before asking again. */
uint64_t bf_budget_wait_ns(const struct bf_budget *budget, uint64_t now_ns);
void bf_budget_charge(struct bf_budget *budget, uint64_t bytes, uint64_t now_ns);
/* The longest chunk that keeps the rate smooth; UINT64_MAX without a limit. */
uint64_t bf_budget_chunk(const struct bf_budget *budget);
