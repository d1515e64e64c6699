/* SPDX-License-Identifier: Apache-2.0 */
/* What could not be removed is tried again soon: after seconds, and as soon as the job in whose way
 * the janitor found itself has ended. */
#include "bench.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "fake.h"
#include "tap.h"

enum { SOON_MS = 12000 };

/* Rows of things on the source: one while only the present baseline is there. */
static size_t rows_at_source(struct bf_service *service)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_ledger_row *rows = NULL;
    size_t count = 0, found = 0;

    bench_check(bf_store_ledger_list(service->store, NULL, NULL, true, &rows, &count, &err) == 0,
                "ledger");
    for (size_t i = 0; i < count; i++)
        found += strcmp(rows[i].kind, "snapshot") == 0 || strcmp(rows[i].kind, "baseline") == 0;
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_ledger_row_done);
    return found;
}

static void turn_until_one(struct bf_service *service)
{
    struct bf_deadline deadline = bf_deadline_in(SOON_MS);

    while (rows_at_source(service) != 1) {
        bench_check(!bf_deadline_passed(deadline), "the old baseline is left for %d s",
                    SOON_MS / 1000);
        bf_loop_turn(service->loop, 20);
    }
}

/* The three tries of the round fail, and two of the janitor's. */
static void fails_for_a_moment(struct bf_service *service)
{
    bench_replicate(service);
    fake_fail("drop_baseline", BF_E_PLATFORM_ERROR, 5);
    bench_verb(service, "sync", NULL);
    turn_until_one(service);
    bench_quiet(service);
    bench_check_ledger(service);
}

static void start(struct bf_service *service, const char *verb)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *answer = NULL;

    bench_check(bf_service_verb(service, BENCH_NAME, verb, NULL, &answer, &err) == 0, "%s: %s",
                verb, err.message ? err.message : "");
}

static void turn_for(struct bf_service *service, uint64_t ms)
{
    struct bf_deadline deadline = bf_deadline_in(ms);

    while (!bf_deadline_passed(deadline))
        bf_loop_turn(service->loop, 20);
}

/* A drill that waits for a sign of life that does not come, and a round beside it. */
static void job_in_the_way(struct bf_service *service)
{
    bench_replicate(service);
    fake_console = "";
    start(service, "drill");
    turn_for(service, 1500);
    fake_fail("drop_baseline", BF_E_PLATFORM_ERROR, 3);
    start(service, "sync");
    turn_for(service, 6000);
    bench_check(service->jobs != NULL, "the drill has ended");
    bench_check(rows_at_source(service) == 2, "the old baseline is gone already");
    start(service, "cancel");
    turn_until_one(service);
    bench_quiet(service);
    bench_check_ledger(service);
}

int main(void)
{
    diag("%s", bench_directory());
    ok(bench_run(fails_for_a_moment, 0, NULL) == BENCH_FINE, "a failure that passes");
    bench_reset();
    ok(bench_run(job_in_the_way, 0, NULL) == BENCH_FINE, "a job in the way");
    bench_remove();
    return done();
}
