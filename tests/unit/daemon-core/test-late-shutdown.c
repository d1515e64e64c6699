/* SPDX-License-Identifier: Apache-2.0 */
/* A source that was asked to shut down and goes off only after its cutover has failed is started
 * again; where that would be wrong it is not. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/job.h"
#include "daemon/late_shutdown.h"
#include "fake.h"
#include "tap.h"

static void set_power(const char *text)
{
    bf_auto_free char *path = bf_xasprintf("%s/fake/power", bench_directory());
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_file_replace(path, text, strlen(text), 0600, &err) == 0, "power");
}

static void turn(struct bf_service *service, uint64_t ms)
{
    struct bf_deadline deadline = bf_deadline_in(ms);

    while (!bf_deadline_passed(deadline))
        bf_loop_turn(service->loop, 20);
}

static bool is_told(struct bf_service *service, const char *words)
{
    bf_auto_json *events = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_service_events(service, NULL, 0, 1000, &events, &err) == 0, "events");
    return strstr(bf_json_text(events), words) != NULL;
}

static void set_policy(struct bf_service *service, const char *text)
{
    bf_auto_json *patch = bf_context_parse(text);
    bf_auto_json *answer = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_service_replication_change(service, BENCH_NAME, patch, &answer, &err) == 0,
                "policy: %s", err.message ? err.message : "");
}

/* A cutover whose guest does not shut down in time. */
static void refuse(struct bf_service *service)
{
    fake_fail("shut_down", BF_E_SHUTDOWN_REFUSED, 1);
    bench_verb(service, "cutover", "{\"yes\":true}");
    bench_check(bench_power_is("on"), "the source is not on");
}

static void prepare(struct bf_service *service)
{
    bench_replicate(service);
    refuse(service);
    bench_check(strcmp(bench_state(service), "rolled-back") == 0, "%s", bench_state(service));
}

static void expect_start(struct bf_service *service)
{
    struct bf_deadline deadline = bf_deadline_in(10000);

    set_power("off");
    while (!bench_power_is("on")) {
        bench_check(!bf_deadline_passed(deadline), "the source went off and stays so");
        bf_loop_turn(service->loop, 20);
    }
    bench_quiet(service);
    bench_check(is_told(service, "and is started again\""), "nobody is told");
    bench_check(strcmp(bench_state(service), "rolled-back") == 0, "%s", bench_state(service));
}

static void expect_off(struct bf_service *service, const char *why)
{
    turn(service, 1500); /* a look comes after 1 s */
    bench_check(bench_power_is("off"), "%s", why);
    bench_check(bf_job_running(service, NULL) == 0, "a job runs");
}

/* Once: then it is the admin's to switch off. */
static void goes_off(struct bf_service *service)
{
    prepare(service);
    bench_check(is_told(service, "may still do it"), "nobody is told that it is watched");
    turn(service, 1500);
    bench_check(bench_power_is("on"), "it is not left alone");
    expect_start(service);
    bench_check_ledger(service);
    set_power("off");
}

static void stays_off(struct bf_service *service)
{
    expect_off(service, "it is started a second time");
}

static void cancelled(struct bf_service *service)
{
    bench_replicate(service);
    fake_fail("shut_down", BF_E_CANCELLED, 1);
    bench_verb(service, "cutover", "{\"yes\":true}");
    expect_start(service);
}

static void cannot_start(struct bf_service *service)
{
    struct bf_deadline deadline = bf_deadline_in(10000);

    prepare(service);
    fake_fail("power_on", BF_E_PLATFORM_ERROR, 1);
    set_power("off");
    while (!is_told(service, "could not be started")) {
        bench_check(!bf_deadline_passed(deadline), "nobody is told");
        bf_loop_turn(service->loop, 20);
    }
    bench_check(bench_power_is("off"), "the fake does not fail");
}

static void after_restart(struct bf_service *service)
{
    expect_start(service);
}

/* The cutover that follows has switched it off, and its machine runs. */
static void again(struct bf_service *service)
{
    prepare(service);
    bench_verb(service, "cutover", "{\"yes\":true}");
    bench_check(strcmp(bench_state(service), "confirm-pending") == 0, "%s", bench_state(service));
    expect_off(service, "two machines run");
    bench_verb(service, "confirm", NULL);
    expect_off(service, "two machines run after confirm");
}

/* As a cutover from a point does that finds the source lost: it touches nothing of it. */
static void again_without_source(struct bf_service *service)
{
    bf_auto_free char *from = bf_xasprintf("%s/fake/power", bench_directory());
    bf_auto_free char *to = bf_xasprintf("%s/fake/hidden", bench_directory());

    prepare(service);
    bench_check(rename(from, to) == 0, "rename");
    bench_verb(service, "cutover", "{\"yes\":true,\"point\":2}");
    bench_check(strcmp(bench_state(service), "confirm-pending") == 0, "%s; %s",
                bench_state(service), bench_field(service, "error"));
    set_power("off");
    expect_off(service, "two machines run");
}

static void after_confirm(struct bf_service *service)
{
    expect_off(service, "two machines run after a restart");
}

static void left_off(struct bf_service *service)
{
    bench_replicate(service);
    set_policy(service, "{\"policy\":{\"on_failure\":\"leave-off\"}}");
    refuse(service);
    set_power("off");
    expect_off(service, "the policy was to leave it off");
}

static void not_to_start(struct bf_service *service)
{
    bench_replicate(service);
    fake_fail("shut_down", BF_E_SHUTDOWN_REFUSED, 1);
    bench_verb(service, "cutover", "{\"yes\":true}");
    fake_fail("snapshot", BF_E_DISK_UNSUPPORTED, 1);
    bench_verb(service, "sync", NULL); /* failed: only there a rollback is taken */
    bench_check(strcmp(bench_state(service), "failed") == 0, "%s", bench_state(service));
    bench_verb(service, "rollback", "{\"start_source\":false}");
    set_power("off");
    expect_off(service, "it was not to be started");
}

/* As if the service had been away for longer than the watch lasts. */
static void make_old(struct bf_service *service)
{
    struct bf_replication_row row = {0};
    struct bf_job_row *jobs = NULL;
    size_t count = 0;
    bf_auto_error err = BF_ERROR_INIT;

    prepare(service);
    bench_check(bf_store_replication_get(service->store, BENCH_NAME, &row, &err) == 0 &&
                    bf_store_job_list_cutovers(service->store, row.id, &jobs, &count, &err) == 0 &&
                    count == 1,
                "no cutover");
    jobs[0].ended_us -= (BF_LATE_SHUTDOWN_S + 60) * (int64_t)1000000;
    bench_check(bf_store_job_put(service->store, &jobs[0], &err) == 0, "put");
    bf_rows_free(jobs, count, sizeof(*jobs), (bf_row_done_fn *)bf_job_row_done);
    bf_replication_row_done(&row);
    set_power("off");
}

static void too_late(struct bf_service *service)
{
    expect_off(service, "it is started long after");
    bench_check(is_told(service, "too long ago"), "nobody is told that it is off");
}

static void run(bench_fn *fn, bench_fn *after, const char *what)
{
    bench_reset();
    ok(bench_run(fn, 0, NULL) == BENCH_FINE && (!after || bench_run(after, 0, NULL) == BENCH_FINE),
       "%s", what);
}

int main(void)
{
    diag("%s", bench_directory());
    run(goes_off, stays_off, "a source that goes off after its failed cutover is started, once");
    run(cancelled, NULL, "so is one whose cutover was cancelled while it was asked");
    run(cannot_start, NULL, "if it cannot be started, that is told");
    run(prepare, after_restart, "a restart of the service forgets nothing");
    run(again, after_confirm, "the next cutover ends it");
    run(again_without_source, after_confirm, "so does one that finds the source lost");
    run(left_off, NULL, "a policy that leaves the source off is heard");
    run(not_to_start, NULL, "so is a rollback that is not to start it");
    run(make_old, too_late, "what went off long ago is told and not started");
    bench_remove();
    return done();
}
