/* SPDX-License-Identifier: Apache-2.0 */
/* Source and launch never run together: a cutover fails with the launched machine running, and the
 * target refuses to remove it. */
#include <string.h>

#include "bench.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "daemon/context.h"
#include "daemon/loop.h"
#include "fake.h"
#include "tap.h"

static void prepare(struct bf_service *service)
{
    bf_auto_json *patch =
        bf_context_parse("{\"policy\":{\"boot_timeout\":\"1s\",\"boot_pattern\":\"NEVER\"}}");
    bf_auto_json *answer = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    bench_replicate(service);
    bench_verb(service, "sync", NULL);
    bench_check(bf_service_replication_change(service, BENCH_NAME, patch, &answer, &err) == 0,
                "policy: %s", err.message ? err.message : "");
}

/* The ledger does not come to rest while the target refuses; the jobs do. */
static void refuse_while(struct bf_service *service, const char *verb, const char *text)
{
    struct bf_deadline deadline = bf_deadline_in(30000);
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *body = text ? bf_context_parse(text) : NULL;
    bf_auto_json *answer = NULL;

    fake_fail("delete_machine", BF_E_PLATFORM_ERROR, 1000);
    bench_check(bf_service_verb(service, BENCH_NAME, verb, body, &answer, &err) == 0, "%s: %s",
                verb, err.message ? err.message : "");
    do {
        bench_check(!bf_deadline_passed(deadline), "%s does not end", verb);
        bf_loop_turn(service->loop, 20);
    } while (service->jobs || service->janitor_runs);
    bench_check(strcmp(bench_state(service), "failed") == 0, "state is '%s'", bench_state(service));
}

static void cut_over(struct bf_service *service)
{
    refuse_while(service, "cutover", "{\"yes\":true}");
    bench_check(strstr(bench_field(service, "error"), "launch-not-booted") != NULL, "%s",
                bench_field(service, "error"));
    bench_check(strstr(bench_field(service, "error"), "the source stays off") != NULL, "%s",
                bench_field(service, "error"));
}

/* The launch is half removed: it is neither confirmed nor is another one made beside it. */
static void other_ways(struct bf_service *service)
{
    bench_check(bench_refused(service, "confirm", NULL) == BF_E_STATE_FORBIDS, "confirm");
    bench_check(bench_refused(service, "cutover", "{\"yes\":true}") == BF_E_STATE_FORBIDS,
                "cutover");
    refuse_while(service, "rollback", NULL);
}

static void roll_back(struct bf_service *service)
{
    bench_verb(service, "rollback", NULL);
    bench_check(strcmp(bench_state(service), "rolled-back") == 0, "state is '%s'; %s",
                bench_state(service), bench_field(service, "error"));
    bench_check_ledger(service);
}

int main(void)
{
    diag("%s", bench_directory());
    ok(bench_run(prepare, 0, NULL) == BENCH_FINE, "a replication whose launches do not boot");
    ok(bench_run(cut_over, 0, NULL) == BENCH_FINE, "the cutover fails, its machine stays");
    ok(bench_power_is("off"), "the source is off while the launched machine may run");
    ok(bench_run(other_ways, 0, NULL) == BENCH_FINE, "nothing but a rollback goes on from there");
    ok(bench_power_is("off"), "a rollback that fails leaves the source off, too");
    ok(bench_run(roll_back, 0, NULL) == BENCH_FINE, "when the target answers, a rollback is right");
    ok(bench_power_is("on"), "the source runs again");
    bench_remove();
    return done();
}
