/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/budget.h"

#include "tests/unit/tap.h"

#define SECOND 1000000000ull

/* Bytes let through in `seconds` of a virtual clock, by chunks. */
static uint64_t run(struct bf_budget *budget, uint64_t *now, uint64_t seconds, uint64_t chunk)
{
    uint64_t end = *now + seconds * SECOND, bytes = 0;

    while (*now < end) {
        uint64_t wait = bf_budget_wait_ns(budget, *now);
        if (wait) {
            *now += wait;
            continue;
        }
        bf_budget_charge(budget, chunk, *now);
        bytes += chunk;
    }
    return bytes;
}

int main(void)
{
    struct bf_budget budget = {0};
    uint64_t now = 5 * SECOND;

    is_u64(bf_budget_wait_ns(&budget, now), 0, "no limit, no wait");
    is_u64(bf_budget_chunk(&budget), UINT64_MAX, "no limit, any chunk");
    bf_budget_set(&budget, 10000000, now);
    is_u64(bf_budget_chunk(&budget), 65536, "small chunks below 20 MB/s");
    uint64_t bytes = run(&budget, &now, 10, 65536);
    ok(bytes > 99000000 && bytes < 102000000, "10 MB/s for 10 s: %" PRIu64, bytes);
    now += 60 * SECOND;
    bytes = run(&budget, &now, 1, 65536);
    ok(bytes < 11200000, "a pause of a minute is not saved up: %" PRIu64, bytes);
    bf_budget_set(&budget, 100000000, now);
    is_u64(bf_budget_chunk(&budget), 262144, "larger chunks above");
    bytes = run(&budget, &now, 10, 262144);
    ok(bytes > 990000000 && bytes < 1012000000, "changed to 100 MB/s: %" PRIu64, bytes);
    bf_budget_set(&budget, 1, now);
    bf_budget_charge(&budget, (uint64_t)4 << 20, now);
    ok(bf_budget_wait_ns(&budget, now) > 4000000 * SECOND, "1 byte per second does not overflow");
    bf_budget_set(&budget, 0, now);
    is_u64(bf_budget_wait_ns(&budget, now), 0, "0 lifts the limit");
    return done();
}
