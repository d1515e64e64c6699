/* SPDX-License-Identifier: Apache-2.0 */
/* When the next round of a replication starts.  Pure functions of policy and times.
 *
 * Threads: any.  Times are UTC microseconds, 0 = never.
 */
#pragma once

#include <stdint.h>

#include "daemon/policy.h"

/* The next scheduled round: `interval` after the last one's start (last_start_us 0: at once),
 * not before now, and inside the policy's windows.  Rounds missed (service down, round longer than
 * the interval) are not made up for.  0: none, the policy is manual only. */
int64_t bf_schedule_next(const struct bf_policy *policy, int64_t last_start_us, int64_t now_us);

/* The next attempt after `failures` (1 = the first) rounds that failed in a row: 30 s, doubled
 * with each failure, never longer than the interval (manual only: one hour), inside the windows. */
int64_t bf_schedule_retry(const struct bf_policy *policy, uint64_t failures, int64_t now_us);
