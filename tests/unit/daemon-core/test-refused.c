/* SPDX-License-Identifier: Apache-2.0 */
/* A cutover that is refused before it touches the source leaves the replication as it was; one that
 * has begun to stop the source does not hide it. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "fake.h"
#include "tap.h"

#define CUTOVER "cutover", "{\"yes\":true}"

static void put(const char *name, const char *text)
{
    bf_auto_free char *path = bf_xasprintf("%s/fake/%s", bench_directory(), name);
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_file_replace(path, text, strlen(text), 0600, &err) == 0, "%s", path);
}

static void drop(const char *name)
{
    bf_auto_free char *path = bf_xasprintf("%s/fake/%s", bench_directory(), name);

    bench_check(unlink(path) == 0, "%s", path);
}

/* The state, a word of its error, the power of the source, and nothing left. */
static void expect(struct bf_service *service, const char *state, const char *error,
                   const char *power)
{
    bench_check(strcmp(bench_state(service), state) == 0, "state is %s, wanted %s; %s",
                bench_state(service), state, bench_field(service, "error"));
    bench_check(strstr(bench_field(service, "error"), error) != NULL, "the error is %s",
                bench_field(service, "error"));
    bench_check(bench_power_is(power), "the source is not %s", power);
    bench_check_ledger(service);
}

static void check_job(struct bf_service *service, const char *error)
{
    struct json_object *jobs = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_service_jobs(service, BENCH_NAME, 1, &jobs, &err) == 0, "jobs");
    bench_check(strstr(json_object_to_json_string(jobs), "\"state\": \"failed\"") != NULL &&
                    strstr(json_object_to_json_string(jobs), error) != NULL,
                "the job is %s", json_object_to_json_string(jobs));
    json_object_put(jobs);
}

static void idle(struct bf_service *service)
{
    bf_auto_free char *next = NULL;

    bench_replicate(service);
    bench_change(service, "{\"policy\":{\"interval\":\"1h\"}}");
    next = bf_xstrdup(bench_field(service, "next_round_at"));
    bench_check(*next, "no round is planned");
    put("blocked", "");
    bench_verb(service, CUTOVER);
    check_job(service, "precheck-blocked");
    expect(service, "idle", "precheck-blocked", "on");
    bench_check(strcmp(bench_field(service, "next_round_at"), next) == 0, "the schedule is %s",
                bench_field(service, "next_round_at"));
    drop("blocked");
    bench_change(service, "{\"mapping\":{\"machine_name\":\"fake\"}}");
    bench_verb(service, CUTOVER);
    expect(service, "idle", "exists", "on");
    bench_change(service, "{\"mapping\":{\"machine_name\":\"fake-copy\"}}");
    bench_verb(service, "sync", NULL);
    expect(service, "idle", "", "on");
    bench_check(!*bench_field(service, "error"), "%s", bench_field(service, "error"));
    bench_verb(service, CUTOVER);
    expect(service, "confirm-pending", "", "off");
}

/* Its first round is one more point; then the source does not tell its power. */
static void after_a_round(struct bf_service *service)
{
    bench_replicate(service);
    bench_change(service, "{\"policy\":{\"interval\":\"1h\"}}");
    fake_fail("power", BF_E_PLATFORM_ERROR, 1);
    bench_verb(service, CUTOVER);
    expect(service, "idle", "platform-error", "on");
    bench_check(strstr(bench_field(service, "last_round"), "\"number\":2") != NULL, "%s",
                bench_field(service, "last_round"));
    bench_check(*bench_field(service, "next_round_at"), "no round is planned");
}

static void a_round_that_fails(struct bf_service *service)
{
    bench_replicate(service);
    fake_fail("make_point", BF_E_PLATFORM_ERROR, 1);
    bench_verb(service, CUTOVER);
    expect(service, "failed", "platform-error", "on");
}

static void paused(struct bf_service *service)
{
    bench_replicate(service);
    bench_change(service, "{\"policy\":{\"interval\":\"1h\"}}");
    bench_verb(service, "pause", NULL);
    put("blocked", "");
    bench_verb(service, CUTOVER);
    expect(service, "paused", "precheck-blocked", "on");
    bench_check(!*bench_field(service, "next_round_at"), "a round is planned");
    drop("blocked");
    bench_verb(service, "resume", NULL);
    expect(service, "idle", "", "on");
}

static void adopting(struct bf_service *service)
{
    bench_replicate(service);
    bench_change(service, "{\"policy\":{\"transfer\":\"adopt\"}}");
    fake_fail("locate_disk", BF_E_DISK_UNSUPPORTED, 2); /* at the precheck, and so a finding */
    bench_verb(service, CUTOVER);
    expect(service, "idle", "precheck-blocked", "on");
    bench_check_home(true);
}

/* A failed cutover left the source off, as the policy wants; a refused one must not hide that. */
static void failed(struct bf_service *service)
{
    bench_replicate(service);
    bench_change(service, "{\"policy\":{\"on_failure\":\"leave-off\"}}");
    fake_fail("create_machine", BF_E_PLATFORM_ERROR, 1);
    bench_verb(service, CUTOVER);
    expect(service, "failed", "create_machine", "off");
    put("blocked", "");
    bench_verb(service, CUTOVER);
    check_job(service, "precheck-blocked");
    expect(service, "failed", "create_machine", "off");
    bench_verb(service, "rollback", NULL);
    expect(service, "rolled-back", "", "on");
    bench_verb(service, CUTOVER);
    expect(service, "rolled-back", "precheck-blocked", "on");
}

/* A source that cannot be asked is passed over, and so nothing of it was noted: the launch that
 * failed after that was one all the same. */
static void from_a_point(struct bf_service *service)
{
    bench_replicate(service);
    drop("power");
    fake_fail("create_machine", BF_E_PLATFORM_ERROR, 1);
    bench_verb(service, "cutover", "{\"yes\":true,\"point\":1}");
    bench_check(strcmp(bench_state(service), "failed") == 0, "%s", bench_state(service));
    bench_check_ledger(service);
}

static void drill(struct bf_service *service)
{
    bench_replicate(service);
    bench_change(service, "{\"policy\":{\"interval\":\"1h\"}}");
    fake_fail("clone_point", BF_E_PLATFORM_PRIVILEGE, 1);
    bench_verb(service, "drill", NULL);
    check_job(service, "platform-privilege");
    expect(service, "idle", "", "on");
    bench_check(!*bench_field(service, "error") && *bench_field(service, "next_round_at"), "%s",
                bench_field(service, "error"));
    bench_verb(service, "drill", NULL);
    bench_check(strstr(bench_field(service, "launch"), "booted") != NULL, "%s",
                bench_field(service, "launch"));
}

static void run(bench_fn *fn, const char *what)
{
    bench_reset();
    ok(bench_run(fn, 0, NULL) == BENCH_FINE, "%s", what);
}

int main(void)
{
    diag("%s", bench_directory());
    run(idle, "an idle replication stays idle, and its schedule as it was");
    run(after_a_round, "so it does when the refusal comes after the first round");
    run(a_round_that_fails, "a first round that fails makes it failed");
    run(paused, "a paused one stays paused");
    run(adopting, "so it is with an adoption");
    run(failed, "a failed one keeps its own error");
    run(from_a_point, "a launch without a source is not taken for nothing");
    run(drill, "a drill that fails leaves state and schedule alone");
    bench_remove();
    return done();
}
