/* SPDX-License-Identifier: Apache-2.0 */
/* Time.  Durations and deadlines are on CLOCK_MONOTONIC in milliseconds; what is
 * stored or shown is UTC in microseconds since 1970. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

uint64_t bf_now_ms(void); /* monotonic */
int64_t bf_utc_us(void);  /* wall clock */

/* A moment on the monotonic clock; 0 = never. */
struct bf_deadline {
    uint64_t at_ms;
};
struct bf_deadline bf_deadline_in(uint64_t ms);
bool bf_deadline_passed(struct bf_deadline deadline);
/* Milliseconds left, for poll(): -1 = no limit, 0 = passed. */
int bf_deadline_left(struct bf_deadline deadline);

void bf_sleep_ms(uint64_t ms);

/* A condition on the monotonic clock, and a wait of at most so long, for whoever also has to look
 * at a cancel or a deadline now and then. */
void bf_cond_init(pthread_cond_t *cond);
void bf_cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ms);

/* "2026-11-20T13:52:21.123Z" */
#define BF_UTC_LENGTH 24
void bf_utc_format(int64_t utc_us, char ret_text[BF_UTC_LENGTH + 1]);
int bf_utc_parse(const char *text, int64_t *ret_utc_us, struct bf_error *err);
