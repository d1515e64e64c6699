/* SPDX-License-Identifier: Apache-2.0 */
/* Shares of the rate limits among copies that come, go and idle. */
#include <pthread.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "daemon/share.h"
#include "tests/unit/tap.h"

#define M ((uint64_t)1000000)

static void set(struct bf_share *share, const char *scope, uint64_t rate)
{
    struct bf_limit one = {.rate_bytes = rate};
    struct bf_limits limits = {.items = &one, .count = rate ? 1 : 0};

    bf_share_set(share, scope, &limits);
}

static struct bf_share_copy *join(struct bf_share *share, const char *source, const char *target,
                                  const char *replication)
{
    return bf_share_join(share, &(struct bf_share_scopes){source, target, replication});
}

/* All copies ask; the answer of the one wanted. */
static uint64_t settled(struct bf_share_copy *const *copies, size_t count, size_t wanted,
                        uint64_t own)
{
    uint64_t rate = 0;

    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < count; i++) {
            uint64_t one = bf_share_ask(copies[i], 0, i == 4 ? own : 0);

            if (i == wanted)
                rate = one;
        }
    }
    return rate;
}

static void test_levels(void)
{
    struct bf_share *share = bf_share_new();
    struct bf_share_copy *copies[6];

    for (size_t i = 0; i < 6; i++)
        copies[i] = join(share, "old", "new", i < 2 ? "r1" : i < 4 ? "r2" : "r3");
    is_u64(settled(copies, 6, 0, 0), BF_RATE_UNLIMITED, "no limit at all");
    set(share, BF_SHARE_SERVICE, 60 * M);
    is_u64(settled(copies, 6, 0, 0), 10 * M, "six share the service's limit");
    bf_share_leave(copies[5]);
    is_u64(settled(copies, 5, 0, 0), 12 * M, "one ends, five share it");
    set(share, "r1", 4 * M);
    is_u64(settled(copies, 5, 0, 0), 2 * M, "two share their replication's limit");
    is_u64(settled(copies, 5, 2, 0), 56 * M / 3, "the others get what those leave");
    set(share, "new", 12 * M);
    is_u64(settled(copies, 5, 2, 0), 8 * M / 3, "a platform's limit holds for all its copies");
    set(share, "old", 6 * M);
    is_u64(settled(copies, 5, 2, 0), 6 * M / 5, "the tighter of two platforms counts");
    is_u64(settled(copies, 5, 4, 1 * M), 1 * M, "the policy's own rate counts as well");
    is_u64(settled(copies, 5, 2, 1 * M), 5 * M / 4, "and what it leaves goes to the others");

    struct bf_share_use use = bf_share_look(share, "r1");
    is_u64(use.copies, 2, "two copies of r1 run");
    is_u64(use.limit, 4 * M, "its limit now");
    for (const char *const *scope =
             (const char *const[]){BF_SHARE_SERVICE, "r1", "old", "new", NULL};
         *scope; scope++)
        set(share, *scope, 0);
    is_u64(settled(copies, 5, 0, 0), BF_RATE_UNLIMITED, "limits lifted");
    for (size_t i = 0; i < 5; i++)
        bf_share_leave(copies[i]);
    bf_share_free(share);
}

/* Nobody is told more than what the others, as far as they know, leave. */
static void test_never_more_than_the_limit(void)
{
    struct bf_share *share = bf_share_new();
    struct bf_share_copy *first, *second;

    set(share, BF_SHARE_SERVICE, 10 * M);
    first = join(share, "a", "b", "r1");
    is_u64(bf_share_ask(first, 0, 0), 10 * M, "alone: all");
    second = join(share, "a", "b", "r2");
    ok(bf_share_ask(second, 0, 0) < M / 10, "the second only begins");
    is_u64(bf_share_ask(first, 0, 0), 5 * M, "the first hears of it");
    is_u64(bf_share_ask(second, 0, 0), 5 * M, "then the second has its half");
    bf_share_leave(first);
    is_u64(bf_share_ask(second, 0, 0), 10 * M, "and all when it is alone");
    bf_share_leave(second);
    bf_share_free(share);
}

/* A platform that is source and target at once counts a copy once. */
static void test_same_platform(void)
{
    struct bf_share *share = bf_share_new();
    struct bf_share_copy *copy = join(share, "one", "one", "r");

    set(share, "one", 8 * M);
    is_u64(bf_share_ask(copy, 0, 0), 8 * M, "source and target in one");
    bf_share_leave(copy);
    bf_share_free(share);
}

static void test_idle(void)
{
    struct bf_share *share = bf_share_new();
    struct bf_share_copy *slow = join(share, "a", "b", "slow");
    struct bf_share_copy *fast = join(share, "c", "d", "fast");
    uint64_t end_ms = bf_now_ms() + 6000;
    uint64_t slow_rate = 0, fast_rate = 0;

    set(share, BF_SHARE_SERVICE, 20 * M);
    while (bf_now_ms() < end_ms) {
        slow_rate = bf_share_ask(slow, 1 * M, 0);
        fast_rate = bf_share_ask(fast, fast_rate, 0);
        if (fast_rate > 10 * M)
            break;
        usleep(200 * 1000);
    }
    is_u64(slow_rate, 2 * M, "one that uses little is left with twice that");
    is_u64(fast_rate, 18 * M, "the other gets the rest");
    end_ms = bf_now_ms() + 8000;
    while (bf_now_ms() < end_ms && slow_rate < 10 * M) {
        slow_rate = bf_share_ask(slow, slow_rate, 0);
        bf_share_ask(fast, 18 * M, 0);
        usleep(200 * 1000);
    }
    is_u64(slow_rate, 10 * M, "it gets its half again when it can use it");
    bf_share_leave(slow);
    bf_share_leave(fast);
    bf_share_free(share);
}

static void *come_and_go(void *user)
{
    struct bf_share *share = user;

    for (unsigned i = 0; i < 300; i++) {
        struct bf_share_copy *copy = join(share, "a", "b", i % 2 ? "r1" : "r2");
        uint64_t rate = bf_share_ask(copy, i, i % 3 ? 0 : M);

        if (rate > 20 * M && rate != BF_RATE_UNLIMITED)
            return share; /* more than there is */
        set(share, i % 2 ? "a" : "r2", i % 5 ? 20 * M : 0);
        (void)bf_share_look(share, "a");
        bf_share_leave(copy);
    }
    return NULL;
}

static void test_threads(void)
{
    struct bf_share *share = bf_share_new();
    pthread_t threads[4];

    set(share, BF_SHARE_SERVICE, 20 * M);
    for (size_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, come_and_go, share);
    for (size_t i = 0; i < 4; i++) {
        void *trouble = NULL;

        pthread_join(threads[i], &trouble);
        ok(!trouble, "thread %zu", i);
    }
    is_u64(bf_share_look(share, BF_SHARE_SERVICE).copies, 0, "nobody is left");
    bf_share_free(share);
}

int main(void)
{
    test_levels();
    test_never_more_than_the_limit();
    test_same_platform();
    test_idle();
    test_threads();
    return done();
}
