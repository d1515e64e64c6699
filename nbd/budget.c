/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/budget.h"

#include <time.h>

#define SECOND_NS 1000000000ull
#define BURST_NS (SECOND_NS / 10)
#define SMALL_CHUNK ((uint64_t)64 << 10)
#define LARGE_CHUNK ((uint64_t)256 << 10)
#define SMALL_BELOW 20000000ull /* bytes per second */

uint64_t bf_budget_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

void bf_budget_set(struct bf_budget *budget, uint64_t bytes_per_s, uint64_t now_ns)
{
    budget->bytes_per_s = bytes_per_s;
    budget->due_ns = now_ns; /* a debt made at another rate says nothing at this one */
}

uint64_t bf_budget_wait_ns(const struct bf_budget *budget, uint64_t now_ns)
{
    if (!budget->bytes_per_s || budget->due_ns <= now_ns + BURST_NS)
        return 0;
    return budget->due_ns - now_ns - BURST_NS;
}

void bf_budget_charge(struct bf_budget *budget, uint64_t bytes, uint64_t now_ns)
{
    if (!budget->bytes_per_s)
        return;
    if (budget->due_ns < now_ns)
        budget->due_ns = now_ns;
    budget->due_ns +=
        (uint64_t)((__extension__(unsigned __int128) bytes) * SECOND_NS / budget->bytes_per_s);
}

uint64_t bf_budget_chunk(const struct bf_budget *budget)
{
    if (!budget->bytes_per_s)
        return UINT64_MAX;
    return budget->bytes_per_s < SMALL_BELOW ? SMALL_CHUNK : LARGE_CHUNK;
}
