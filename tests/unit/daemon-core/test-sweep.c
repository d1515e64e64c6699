/* SPDX-License-Identifier: Apache-2.0 */
/* Every job, killed at its durable boundaries: after a restart it has come to its end, the ledger
 * and the platform agree, and nothing is left.
 *
 * BLOCKFERRY_SWEEP: look at every N-th boundary (7); 1: at all.
 */
#include "bench.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "daemon/context.h"
#include "fake.h"
#include "tap.h"

struct scenario {
    const char *name;
    const char *base; /* saved state to begin with */
    const char *verb;
    const char *body;
    const char *end;   /* the state in which it ends; "": gone */
    const char *power; /* of the source at the end */
    const char *fail;  /* a call that fails for good; NULL: none */
};

static const struct scenario scenarios[] = {
    {"round", "idle", "sync", NULL, "idle", "on", NULL},
    {"round that fails", "idle", "sync", NULL, "idle", "on", "make_point"},
    {"drill", "idle", "drill", NULL, "idle", "on", NULL},
    {"drill that fails", "idle", "drill", NULL, "idle", "on", "create_machine"},
    {"drill by the boot ladder", "ladder", "drill", NULL, "idle", "on", NULL},
    {"cutover by the boot ladder", "ladder", "cutover", "{\"yes\":true}", "confirm-pending", "off",
     NULL},
    {"end of a drill", "drill", "drill-end", NULL, "idle", "on", NULL},
    {"cutover", "idle", "cutover", "{\"yes\":true}", "confirm-pending", "off", NULL},
    {"cutover that fails", "idle", "cutover", "{\"yes\":true}", "rolled-back", "on",
     "create_machine"},
    {"rollback", "cutover", "rollback", NULL, "rolled-back", "on", NULL},
    {"confirm", "cutover", "confirm", NULL, "done", "off", NULL},
    {"adoption", "adopting", "cutover", "{\"yes\":true}", "confirm-pending", "off", NULL},
    {"adoption that fails", "adopting", "cutover", "{\"yes\":true}", "rolled-back", "on",
     "create_machine"},
    {"rollback of an adoption", "adopted", "rollback", NULL, "rolled-back", "on", NULL},
    {"confirm of an adoption", "adopted", "confirm", NULL, "done", "off", NULL},
    {"removal", "idle", "remove", "{\"delete_volumes\":true}", "", "on", NULL},
};

static const struct scenario *now;

static bool adopts(void)
{
    return strncmp(now->base, "adopt", 5) == 0;
}

static void arm(void)
{
    if (now->fail)
        fake_fail(now->fail, BF_E_PLATFORM_ERROR, 1000);
}

static void act(struct bf_service *service)
{
    arm();
    bench_verb(service, now->verb, now->body);
}

static bool verb_open(struct bf_service *service)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct json_object *jobs = NULL;
    const char *kind = strcmp(now->verb, "sync") == 0              ? "round"
                       : strcmp(now->verb, "drill") == 0           ? "launch"
                       : strcmp(now->verb, "drill-end") == 0       ? "discard"
                       : adopts() && !strcmp(now->verb, "cutover") ? "adopt"
                                                                   : now->verb;
    bool begun = false;

    if (bf_service_jobs(service, BENCH_NAME, 1, &jobs, &err) != 0)
        return false; /* the replication is gone */
    if (json_object_array_length(jobs) > 0)
        begun = strcmp(json_object_get_string(
                           json_object_object_get(json_object_array_get_idx(jobs, 0), "kind")),
                       kind) == 0;
    /* The base of "sync" ends with a round of its own: then the state tells. */
    if (strcmp(kind, "round") == 0)
        begun = strstr(bench_field(service, "last_round"), "\"number\":3") != NULL;
    json_object_put(jobs);
    return !begun;
}

static void recover(struct bf_service *service)
{
    arm();
    bench_quiet(service);
    if (verb_open(service)) /* killed before the job was written */
        bench_verb(service, now->verb, now->body);
    bench_check(strcmp(bench_state(service), now->end) == 0, "state is '%s', wanted '%s'; %s",
                bench_state(service), now->end, bench_field(service, "error"));
    bench_check(bench_power_is(now->power), "the source is not %s", now->power);
    bench_check_ledger(service);
}

/* Life goes on: a round after it is right and leaves nothing. */
static void go_on(struct bf_service *service)
{
    bench_quiet(service);
    if (adopts()) {
        if (strcmp(now->end, "confirm-pending") == 0)
            bench_verb(service, "rollback", NULL);
        bench_check_home(strcmp(now->end, "done") != 0);
        bench_check_ledger(service);
        return;
    }
    if (strcmp(now->end, "idle") == 0 || strcmp(now->end, "rolled-back") == 0) {
        bench_verb(service, "sync", NULL);
        bench_check(strcmp(bench_state(service), "idle") == 0, "after it: %s, %s",
                    bench_state(service), bench_field(service, "error"));
        bench_check_bytes(service);
    }
    if (strcmp(now->end, "confirm-pending") == 0)
        bench_verb(service, "rollback", NULL);
    bench_check_ledger(service);
}

static void sweep(const struct scenario *scenario, unsigned step)
{
    unsigned kills = 0, bad = 0, n;

    now = scenario;
    for (n = 1; bad == 0; n += step) {
        enum bench_end end;

        bench_restore(scenario->base);
        if (!adopts()) { /* then they may not be there */
            bench_write("sda", 0x23);
            bench_write("sdb", 0x45);
        }
        end = bench_run(act, n, NULL);
        if (end == BENCH_FINE)
            break;
        kills++;
        if (end == BENCH_BAD || bench_run(recover, 0, NULL) != BENCH_FINE)
            bad = n;
        if (!adopts())
            bench_write("sda", 0x67);
        if (!bad && bench_run(go_on, 0, NULL) != BENCH_FINE)
            bad = n;
    }
    ok(bad == 0 && kills > 0, "%s survives SIGKILL (%u kills, every %u-th of %u boundaries)",
       scenario->name, kills, step, n);
    if (bad)
        diag("killed at boundary %u", bad);
}

/* --- the states to begin with --- */

static void make_idle(struct bf_service *service)
{
    bench_replicate(service);
    bench_verb(service, "sync", NULL);
    bench_check(strcmp(bench_state(service), "idle") == 0, "%s", bench_state(service));
    bench_check_bytes(service);
    bench_check_ledger(service);
}

static void make_ladder(struct bf_service *service)
{
    bench_change(service, "{\"policy\":{\"boot_ladder\":\"sata-first\"}}");
}

static void make_adopting(struct bf_service *service)
{
    bench_change(service, "{\"policy\":{\"transfer\":\"adopt\"}}");
}

static void make_drill(struct bf_service *service)
{
    bench_verb(service, "drill", NULL);
}

static void make_cutover(struct bf_service *service)
{
    bench_verb(service, "cutover", "{\"yes\":true}");
    bench_check(strcmp(bench_state(service), "confirm-pending") == 0, "%s", bench_state(service));
}

int main(void)
{
    const char *text = getenv("BLOCKFERRY_SWEEP");
    unsigned step = text ? (unsigned)atoi(text) : 7;

    diag("%s", bench_directory());
    ok(bench_run(make_idle, 0, NULL) == BENCH_FINE, "a replication with two points");
    bench_save("idle");
    ok(bench_run(make_ladder, 0, NULL) == BENCH_FINE, "its launches begin on SATA");
    bench_save("ladder");
    bench_restore("idle");
    ok(bench_run(make_adopting, 0, NULL) == BENCH_FINE, "its cutover will adopt");
    bench_save("adopting");
    ok(bench_run(make_cutover, 0, NULL) == BENCH_FINE, "it has adopted");
    bench_save("adopted");
    bench_restore("idle");
    ok(bench_run(make_drill, 0, NULL) == BENCH_FINE, "a drill");
    bench_save("drill");
    bench_restore("idle");
    ok(bench_run(make_cutover, 0, NULL) == BENCH_FINE, "a cutover");
    bench_save("cutover");
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        sweep(&scenarios[i], step ? step : 1);
    bench_remove();
    return done();
}
