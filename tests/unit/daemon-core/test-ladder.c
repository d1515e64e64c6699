/* SPDX-License-Identifier: Apache-2.0 */
/* The boot ladder on a target that gives a launch no small virtio disk beside its own: told by the
 * check, in the way of a cutover before its source is touched, and a drill makes nothing. */
#include "bench.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "fake.h"
#include "tap.h"

static void set_ladder(struct bf_service *service, const char *value)
{
    bf_auto_free char *text = bf_xasprintf("{\"policy\":{\"boot_ladder\":\"%s\"}}", value);
    bf_auto_json *patch = bf_context_parse(text);
    bf_auto_json *answer = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_service_replication_change(service, BENCH_NAME, patch, &answer, &err) == 0,
                "policy: %s", err.message ? err.message : "");
}

static void check_told(struct bf_service *service)
{
    static const char *const parts[] = {"\"id\":\"boot-ladder\"", "\"severity\":\"block\"",
                                        "set boot_ladder to virtio"};
    const char *findings = bench_field(service, "findings");

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        bench_check(strstr(findings, parts[i]) != NULL, "%s is not in %s", parts[i], findings);
}

/* The error of the last job, as JSON. */
static const char *last_error(struct bf_service *service)
{
    static char text[4096];
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *jobs = NULL;

    bench_check(bf_service_jobs(service, BENCH_NAME, 1, &jobs, &err) == 0, "jobs");
    snprintf(text, sizeof(text), "%s", bf_json_text(json_object_array_get_idx(jobs, 0)));
    return text;
}

static bool was_called(const char *call)
{
    bf_auto_free char *path = bf_xasprintf("%s/fake/calls", bench_directory());
    bf_auto_free char *text = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_file_read(path, 1 << 20, &text, NULL, &err) == 0, "calls");
    return strstr(text, call) != NULL;
}

static void check_failed(struct bf_service *service, const char *code)
{
    bench_check(strstr(last_error(service), code) != NULL, "no %s: %s", code, last_error(service));
    bench_check(strcmp(bench_field(service, "launch"), "") == 0, "there is a launch: %s",
                bench_field(service, "launch"));
    bench_check(bench_power_is("on"), "the source is off");
    bench_check(!was_called("clone_point"), "a clone was made");
    bench_check_ledger(service);
}

static void climb(struct bf_service *service)
{
    bench_replicate(service);
    set_ladder(service, "sata-first");
    fake_without_companion();
    bench_verb(service, "check", NULL);
    check_told(service);
    bench_verb(service, "drill", NULL);
    check_failed(service, "platform-unsupported");
    bench_verb(service, "cutover", "{\"yes\":true}");
    check_failed(service, "precheck-blocked");
    check_told(service);
    set_ladder(service, "virtio");
    bench_verb(service, "check", NULL);
    bench_check(strstr(bench_field(service, "findings"), "boot-ladder") == NULL,
                "it is told still");
    bench_verb(service, "cutover", "{\"yes\":true}");
    bench_check(strcmp(bench_state(service), "confirm-pending") == 0, "%s", bench_state(service));
}

int main(void)
{
    diag("%s", bench_directory());
    ok(bench_run(climb, 0, NULL) == BENCH_FINE, "a ladder that the target cannot give is refused");
    bench_remove();
    return done();
}
