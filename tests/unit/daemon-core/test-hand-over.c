/* SPDX-License-Identifier: Apache-2.0 */
/* A machine that has begun to be the admin's is not rolled back; what the target refuses of its
 * hand-over is named, and settled by the admin's word. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/loop.h"
#include "fake.h"
#include "tap.h"

#define FORCE "{\"force\":true}"

/* A command of the shell, in the directory above the platform's. */
static bool shell(const char *text)
{
    bf_auto_free char *command = bf_xasprintf("cd %s && %s", bench_directory(), text);

    return system(command) == 0;
}

static void cut_over(struct bf_service *service)
{
    bench_replicate(service);
    bench_verb(service, "cutover", "{\"yes\":true}");
    bench_check(strcmp(bench_state(service), "confirm-pending") == 0, "%s", bench_state(service));
}

static void check_error(struct bf_service *service, const char *word)
{
    bench_check(strstr(bench_field(service, "error"), word) != NULL, "%s, not %s",
                bench_field(service, "error"), word);
}

/* Never two machines. */
static void check(struct bf_service *service, const char *state, const char *word)
{
    bench_check(strcmp(bench_state(service), state) == 0, "%s; %s", bench_state(service),
                bench_field(service, "error"));
    check_error(service, word);
    bench_check(bench_power_is("off"), "the source runs beside its machine");
}

static void refuse(struct bf_service *service)
{
    cut_over(service);
    fake_fail("hand_over", BF_E_PLATFORM_PRIVILEGE, 1000);
    bench_verb(service, "confirm", NULL);
    check(service, "confirm-pending", "\"hand-over-unfinished\"");
}

/* Of what the error says only the machine is left: the disks have lost their marks. */
static void again(struct bf_service *service)
{
    refuse(service);
    check_error(service, "machine fake-copy (bf-");
    check_error(service, "platform-privilege: ");
    check_error(service, "--force");
    bench_check(!strstr(bench_field(service, "error"), "disk sda"), "sda is handed over already");
    bench_check(bench_refused(service, "rollback", NULL) == BF_E_STATE_FORBIDS, "rolled back");
    bench_check(bench_refused(service, "remove", NULL) == BF_E_STATE_FORBIDS, "removed");
    bench_verb(service, "confirm", NULL);
    check(service, "confirm-pending", "\"hand-over-unfinished\"");
    bench_check(shell("test $(grep -c detach_clone fake/calls) = 2"), "detached twice");
    fake_fail("hand_over", BF_OK, 0);
    bench_verb(service, "confirm", NULL);
    check(service, "done", "");
    bench_check_ledger(service);
}

static void check_event(struct bf_service *service, const char *word)
{
    struct json_object *events = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_service_events(service, BENCH_NAME, 0, 1000, &events, &err) == 0, "events");
    bench_check(strstr(json_object_to_json_string(events), word) != NULL, "no event has '%s': %s",
                word, json_object_to_json_string(events));
    json_object_put(events);
}

static void check_kept(struct bf_service *service, bool machine)
{
    struct bf_ledger_row *rows = NULL;
    size_t count = 0;
    bf_auto_error err = BF_ERROR_INIT;

    bench_check(bf_store_ledger_list(service->store, NULL, NULL, true, &rows, &count, &err) == 0,
                "ledger");
    for (size_t i = 0; i < count; i++)
        bench_check(!strcmp(rows[i].kind, "volume") || !strcmp(rows[i].kind, "layer"),
                    "the ledger holds a %s", rows[i].kind);
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_ledger_row_done);
    bench_check(shell("grep -qs on fake/machine-bf-*") == machine, "the machine");
    bench_check(shell("ls fake/given-clone-* >/dev/null"), "its disks are gone");
    bench_check(bench_power_is("off"), "the source runs");
}

static void by_force(struct bf_service *service)
{
    refuse(service);
    bench_verb(service, "confirm", FORCE);
    check(service, "done", "");
    check_event(service, "handed over by force; still marked as blockferry's, and the "
                         "administrator's from now on: machine fake-copy (bf-");
    check_kept(service, true);
    bench_check(shell("ls fake/point-* >/dev/null"), "the replica is gone");
    bf_janitor_hurry(service);
    bench_quiet(service);
    bench_verb(service, "remove", "{\"delete_volumes\":true}");
    bench_check(!*bench_state(service), "%s", bench_state(service));
    bench_check(!shell("ls fake/point-* >/dev/null 2>&1"), "the replica is there still");
    check_kept(service, true);
}

/* Somebody has deleted the machine. */
static void gone(struct bf_service *service)
{
    refuse(service);
    bench_check(shell("rm fake/machine-bf-*"), "rm");
    fake_fail("hand_over", BF_E_MACHINE_GONE, 2);
    bench_verb(service, "confirm", NULL);
    check(service, "confirm-pending", "blockferry's: nothing");
    bench_verb(service, "confirm", FORCE);
    check(service, "done", "");
    check_event(service, "from now on: nothing: ");
    check_kept(service, false);
}

static void unasked(struct bf_service *service)
{
    struct bf_deadline deadline = bf_deadline_in(30000);
    bf_auto_json *body = bf_context_parse(FORCE);
    bf_auto_json *answer = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    refuse(service);
    bench_check(shell("mv fake away"), "mv"); /* it cannot be opened any more */
    bench_verb(service, "confirm", NULL);
    check_error(service, "machine fake-copy (bf-");
    check_error(service, "disk sdb (bf-");
    check_error(service, "could not be asked");
    bench_check(bf_service_verb(service, BENCH_NAME, "confirm", body, &answer, &err) == 0, "%s",
                err.message);
    while (service->jobs) {
        bench_check(!bf_deadline_passed(deadline), "confirm does not end");
        bf_loop_turn(service->loop, 20);
    }
    bench_check(strcmp(bench_state(service), "done") == 0, "%s", bench_state(service));
    bench_check(shell("mv away fake"), "mv");
    bf_janitor_hurry(service);
    bench_quiet(service);
    check_event(service, "could not be asked");
    check_kept(service, true);
}

static void too_early(struct bf_service *service)
{
    cut_over(service);
    bench_check(bench_refused(service, "confirm", FORCE) == BF_E_STATE_FORBIDS, "forced");
    fake_fail("detach_clone", BF_E_PLATFORM_ERROR, 1);
    bench_verb(service, "confirm", NULL);
    check(service, "confirm-pending", "detach_clone");
    bench_check(bench_refused(service, "confirm", FORCE) == BF_E_STATE_FORBIDS, "forced");
    bench_verb(service, "rollback", NULL);
    bench_check(bench_power_is("on"), "the source is off");
    bench_check_ledger(service);
}

static void run(bench_fn *fn, const char *what)
{
    bench_reset();
    ok(bench_run(fn, 0, NULL) == BENCH_FINE, "%s", what);
}

int main(void)
{
    diag("%s", bench_directory());
    run(again, "what is left is named; it is confirmed again, and not rolled back");
    run(by_force, "by force it is the admin's as it is, and the replica stays");
    run(gone, "so is one whose machine is gone");
    run(unasked, "and one of a target that does not answer");
    run(too_early, "force is of no use before the target has refused");
    bench_remove();
    return done();
}
