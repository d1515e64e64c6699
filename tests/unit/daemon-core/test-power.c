/* SPDX-License-Identifier: Apache-2.0 */
/* After a rollback the source has the power state that it had before the cutover, and while the
 * launched machine may run it is off. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "fake.h"
#include "tap.h"

static void set_power(const char *text)
{
    bf_auto_free char *path = bf_xasprintf("%s/fake/power", bench_directory());
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_file_replace(path, text, strlen(text), 0600, &err) == 0, "power");
}

static void expect(struct bf_service *service, const char *state, const char *power)
{
    bench_check(strcmp(bench_state(service), state) == 0, "state is %s, wanted %s; %s",
                bench_state(service), state, bench_field(service, "error"));
    bench_check(bench_power_is(power), "the source is not %s", power);
    bench_check_ledger(service);
}

static void start(struct bf_service *service, const char *verb, const char *text)
{
    bf_auto_json *body = text ? bf_context_parse(text) : NULL;
    bf_auto_json *answer = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_service_verb(service, BENCH_NAME, verb, body, &answer, &err) == 0, "%s: %s",
                verb, err.message ? err.message : "");
}

/* A cutover whose machine runs and says nothing. */
static void launch_in_silence(struct bf_service *service)
{
    struct bf_deadline deadline = bf_deadline_in(30000);

    fake_console = "";
    start(service, "cutover", "{\"yes\":true}");
    while (!strstr(bench_field(service, "launch"), "\"running\"")) {
        bench_check(!bf_deadline_passed(deadline), "nothing is launched");
        bf_loop_turn(service->loop, 20);
    }
}

static void cut_over(struct bf_service *service)
{
    bench_verb(service, "cutover", "{\"yes\":true}");
    expect(service, "confirm-pending", "off");
}

static void back(struct bf_service *service, const char *wish, const char *power)
{
    cut_over(service);
    bench_verb(service, "rollback", wish);
    expect(service, "rolled-back", power);
}

static void was_off(struct bf_service *service)
{
    bench_replicate(service);
    set_power("off");
    back(service, NULL, "off");
    back(service, "{\"start_source\":true}", "on");
}

static void was_on(struct bf_service *service)
{
    bench_replicate(service);
    back(service, NULL, "on");
    back(service, "{\"start_source\":false}", "off");
}

/* A failed cutover that left the source off has no open launch: the last cutover counts. */
static void left_off(struct bf_service *service)
{
    bench_replicate(service);
    bench_change(service, "{\"policy\":{\"on_failure\":\"leave-off\"}}");
    fake_fail("create_machine", BF_E_PLATFORM_ERROR, 1);
    bench_verb(service, "cutover", "{\"yes\":true}");
    expect(service, "failed", "off");
    bench_verb(service, "rollback", NULL);
    expect(service, "rolled-back", "on");
}

/* Its source was off, so nothing is started again; a machine that may run is rolled back all the
 * same. */
static void was_off_and_stuck(struct bf_service *service)
{
    struct bf_deadline deadline = bf_deadline_in(30000);

    bench_replicate(service);
    set_power("off");
    bench_change(service, "{\"policy\":{\"boot_timeout\":\"1s\",\"boot_pattern\":\"NEVER\"}}");
    fake_fail("delete_machine", BF_E_PLATFORM_ERROR, 1000);
    start(service, "cutover", "{\"yes\":true}");
    while (service->jobs) {
        bench_check(!bf_deadline_passed(deadline), "the cutover does not end");
        bf_loop_turn(service->loop, 20);
    }
    bench_check(strcmp(bench_state(service), "failed") == 0, "%s", bench_state(service));
    fake_fail("delete_machine", BF_E_PLATFORM_ERROR, 0);
    bench_verb(service, "rollback", NULL);
    expect(service, "rolled-back", "off");
}

/* The service stops in the middle of a cutover, and its next start cannot read the mapping: that
 * job is over, and nothing of it was undone. */
static void damage(struct bf_service *service)
{
    struct bf_replication_row row = {0};
    bf_auto_error err = BF_ERROR_INIT;

    bench_replicate(service);
    launch_in_silence(service);
    bench_check(bf_store_replication_get(service->store, BENCH_NAME, &row, &err) == 0, "row");
    free(row.mapping);
    row.mapping = bf_xstrdup("{\"nonsense\":1}");
    bench_check(bf_store_replication_update(service->store, &row, &err) == 0, "row");
    bf_replication_row_done(&row);
}

static void mend(struct bf_service *service)
{
    struct bf_replication_row row = {0};
    bf_auto_error err = BF_ERROR_INIT;

    bench_quiet(service);
    bench_check(strcmp(bench_state(service), "failed") == 0, "%s", bench_state(service));
    bench_check(bench_power_is("off"), "the source runs beside its launch");
    bench_check(bf_store_replication_get(service->store, BENCH_NAME, &row, &err) == 0, "row");
    free(row.mapping);
    row.mapping = bf_xstrdup("{\"machine_name\":\"fake-copy\"}");
    bench_check(bf_store_replication_update(service->store, &row, &err) == 0, "row");
    bf_replication_row_done(&row);
    bench_verb(service, "rollback", NULL);
    bf_janitor_hurry(service); /* the last round's snapshot was kept until the guest runs */
    bench_quiet(service);
    expect(service, "rolled-back", "on");
}

/* The first of its two rounds is behind it, and cannot be cancelled any more; the cutover can. */
static void cancelled(struct bf_service *service)
{
    struct bf_deadline deadline;

    bench_replicate(service);
    launch_in_silence(service);
    start(service, "cancel", NULL);
    deadline = bf_deadline_in(10000);
    while (service->jobs) {
        bench_check(!bf_deadline_passed(deadline), "the cancel is not heard");
        bf_loop_turn(service->loop, 20);
    }
    bench_quiet(service);
    expect(service, "rolled-back", "on");
}

static void run(bench_fn *fn, const char *what)
{
    bench_reset();
    ok(bench_run(fn, 0, NULL) == BENCH_FINE, "%s", what);
}

int main(void)
{
    diag("%s", bench_directory());
    run(was_off, "a source that was off stays off, unless it is to be started");
    run(was_on, "one that was on is started, unless it is to stay off");
    run(left_off, "one that a failed cutover left off is started");
    run(was_off_and_stuck, "a launch that may run is rolled back, whatever its source was");
    run(damage, "a service stops in a cutover");
    ok(bench_run(mend, 0, NULL) == BENCH_FINE, "a cutover that could not be undone stays failed");
    run(cancelled, "a cutover that is cancelled while its machine comes up starts the source");
    bench_remove();
    return done();
}
