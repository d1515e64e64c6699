/* SPDX-License-Identifier: Apache-2.0 */
/* When the next round of a replication starts. */
#include "daemon/schedule.h"

#define SECOND_US INT64_C(1000000)
#define RETRY_FIRST_S 30
#define RETRY_MANUAL_MAX_S 3600

int64_t bf_schedule_next(const struct bf_policy *policy, int64_t last_start_us, int64_t now_us)
{
    if (policy->interval_s == 0 || policy->transfer == BF_TRANSFER_ADOPT)
        return 0;
    int64_t due = now_us;
    if (last_start_us > 0)
        due = last_start_us + (int64_t)policy->interval_s * SECOND_US;
    /* A last start in the future is a clock set back: wait no longer than one interval. */
    if (due > now_us + (int64_t)policy->interval_s * SECOND_US)
        due = now_us + (int64_t)policy->interval_s * SECOND_US;
    if (due < now_us)
        due = now_us;
    return bf_windows_next(&policy->windows, due);
}

int64_t bf_schedule_retry(const struct bf_policy *policy, uint64_t failures, int64_t now_us)
{
    uint64_t longest = policy->interval_s ? policy->interval_s : RETRY_MANUAL_MAX_S;
    uint64_t wait = RETRY_FIRST_S;

    for (uint64_t i = 1; i < failures && wait < longest; i++)
        wait *= 2;
    if (wait > longest)
        wait = longest;
    return bf_windows_next(&policy->windows, now_us + (int64_t)wait * SECOND_US);
}
