/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for what was started.  The job belongs to the service: interrupting the wait does
 * not touch it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

#define POLL_MS 300
/* So long the service may be away: it is started again, and its jobs go on. */
#define AWAY_MS 60000

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static void catch_interrupt(bool catch)
{
    struct sigaction action = {.sa_handler = catch ? on_interrupt : SIG_DFL};

    sigaction(SIGINT, &action, NULL);
}

static int wait_a_bit(const char *replication, struct bf_error *err)
{
    if (!interrupted)
        bf_sleep_ms(POLL_MS);
    if (!interrupted)
        return 0;
    return bf_fail(err, BF_E_CANCELLED, 0,
                   "no longer waiting; the job goes on (blockferry show %s, blockferry cancel %s)",
                   replication, replication);
}

/* What a question came to: not yet (0), too, when the service is away for a while. */
static int judge(int code, const char *replication, uint64_t *away_since_io, struct bf_error *err)
{
    if (code >= 0) {
        *away_since_io = 0;
        return code;
    }
    if (err->code != BF_E_SERVICE_UNREACHABLE)
        return -1;
    if (!*away_since_io)
        *away_since_io = bf_now_ms();
    if (bf_now_ms() - *away_since_io >= AWAY_MS)
        return bf_fail_in(err, "no longer waiting for %s, whose job goes on with the service",
                          replication);
    bf_error_clear(err);
    return 0;
}

static int replication_get(struct bf_cli *cli, const char *replication, struct json_object **ret,
                           struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(replication);

    return bf_cli_get(cli, ret, err, "/v1/replications/%s", name);
}

/* The job among those that ended; NULL: not there (yet). */
static int job_ended(struct bf_cli *cli, const char *replication, const char *id,
                     struct json_object **ret_job, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(replication);
    bf_auto_json *answer = NULL;
    struct json_object *jobs;

    if (bf_cli_get(cli, &answer, err, "/v1/replications/%s/jobs?limit=100", name) < 0)
        return -1;
    jobs = bf_cli_array(answer, "jobs");
    for (size_t i = 0; i < bf_cli_count(jobs); i++) {
        struct json_object *job = json_object_array_get_idx(jobs, i);

        if (bf_streq(bf_cli_text(job, "id"), id) && bf_cli_text(job, "ended_at"))
            *ret_job = json_object_get(job);
    }
    return 0;
}

/* 1: ended, *ret_job is it, or NULL when the replication went with it; 0: not yet. */
static int job_poll(struct bf_cli *cli, const char *replication, const char *id, bool ends,
                    struct bf_progress *progress, struct json_object **ret_job,
                    struct bf_error *err)
{
    bf_auto_json *row = NULL;
    struct json_object *job;

    if (replication_get(cli, replication, &row, err) < 0) {
        if (!ends || err->code != BF_E_NO_SUCH_REPLICATION)
            return -1;
        bf_error_clear(err);
        return 1;
    }
    job = bf_cli_object(row, "job");
    if (job && bf_streq(bf_cli_text(job, "id"), id)) {
        bf_progress_show(progress, job);
        return 0;
    }
    if (job_ended(cli, replication, id, ret_job, err) < 0) {
        if (!ends || err->code != BF_E_NO_SUCH_REPLICATION)
            return -1;
        bf_error_clear(err);
        return 1;
    }
    return *ret_job != NULL;
}

/* How the job ended, as this command's own result. */
static int job_judge(struct bf_cli *cli, struct json_object *job, struct bf_error *err)
{
    const char *state = bf_cli_text_or(job, "state", "");
    struct bf_error told = BF_ERROR_INIT;

    if (job && cli->json)
        bf_cli_print_json(job);
    if (!job || bf_streq(state, "done"))
        return 0;
    if (bf_json_to_error(bf_cli_object(job, "error"), &told) == 0) {
        bf_error_move(err, &told);
        return bf_fail_in(err, "%s %s", bf_cli_text_or(job, "kind", "the job"), state);
    }
    return bf_fail(err, bf_streq(state, "cancelled") ? BF_E_CANCELLED : BF_E_INTERNAL, 0, "%s %s",
                   bf_cli_text_or(job, "kind", "the job"), state);
}

static void say_done(struct bf_cli *cli, const char *replication, struct json_object *job)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_json *row = NULL;
    int64_t from, to;

    if (cli->json || cli->quiet)
        return;
    printf("%s: %s done", replication, bf_cli_text_or(job, "kind", "job"));
    if (bf_cli_text(job, "started_at") && bf_cli_text(job, "ended_at") &&
        bf_utc_parse(bf_cli_text(job, "started_at"), &from, &ignored) == 0 &&
        bf_utc_parse(bf_cli_text(job, "ended_at"), &to, &ignored) == 0) {
        bf_auto_free char *took = bf_cli_seconds((double)(to - from) / 1e6);

        printf(" in %s", took);
    }
    if (replication_get(cli, replication, &row, &ignored) == 0)
        printf(", state %s", bf_cli_text_or(row, "state", "?"));
    putchar('\n');
}

int bf_cli_wait_job(struct bf_cli *cli, const char *replication, const char *job,
                    bool ends_replication, struct bf_error *err)
{
    struct bf_progress *progress = bf_progress_new(cli);
    bf_auto_json *ended = NULL;
    uint64_t away_since = 0;
    int code;

    catch_interrupt(true);
    do
        code = judge(job_poll(cli, replication, job, ends_replication, progress, &ended, err),
                     replication, &away_since, err);
    while (code == 0 && (code = wait_a_bit(replication, err)) == 0);
    catch_interrupt(false);
    bf_progress_done(progress);
    if (code < 0 || job_judge(cli, ended, err) < 0)
        return -1;
    if (ended)
        say_done(cli, replication, ended);
    else if (!cli->json)
        printf("%s: removed\n", replication);
    return 0;
}

/* 1: seeded; 0: not yet; -1: it will not be. */
static int seeded(struct json_object *row, struct bf_error *err)
{
    const char *state = bf_cli_text_or(row, "state", "");
    struct bf_error told = BF_ERROR_INIT;

    /* Not "no job": with a short interval the next round may run already. */
    if (bf_cli_u64(row, "points") > 0 && !bf_streq(state, "seeding"))
        return 1;
    if (bf_streq(state, "blocked"))
        return bf_fail(err, BF_E_PRECHECK_BLOCKED, 0, "%s: a precheck blocks",
                       bf_cli_text_or(row, "name", ""));
    if (!bf_streq(state, "failed"))
        return bf_streq(state, "paused")
                   ? bf_fail(err, BF_E_CANCELLED, 0, "%s was paused before its first point",
                             bf_cli_text_or(row, "name", ""))
                   : 0;
    if (bf_json_to_error(bf_cli_object(row, "error"), &told) == 0) {
        bf_error_move(err, &told);
        return bf_fail_in(err, "%s", bf_cli_text_or(row, "name", ""));
    }
    return bf_fail(err, BF_E_INTERNAL, 0, "%s failed", bf_cli_text_or(row, "name", ""));
}

int bf_cli_wait_seeded(struct bf_cli *cli, const char *replication, struct bf_error *err)
{
    struct bf_progress *progress = bf_progress_new(cli);
    uint64_t away_since = 0;
    int code;

    catch_interrupt(true);
    do {
        bf_auto_json *row = NULL;

        code = replication_get(cli, replication, &row, err);
        if (code == 0) {
            if (bf_cli_object(row, "job"))
                bf_progress_show(progress, bf_cli_object(row, "job"));
            code = seeded(row, err);
        }
        code = judge(code, replication, &away_since, err);
        if (code == 1 && cli->json)
            bf_cli_print_json(row);
    } while (code == 0 && (code = wait_a_bit(replication, err)) == 0);
    catch_interrupt(false);
    bf_progress_done(progress);
    if (code < 0)
        return -1;
    if (!cli->json)
        printf("%s: seeded\n", replication);
    return 0;
}

int bf_cli_verb(struct bf_cli *cli, const char *verb, struct json_object *body, bool wait,
                struct bf_error *err)
{
    const char *replication = cli->arguments[0];
    bf_auto_free char *name = bf_cli_encode(replication);
    bf_auto_free char *path = bf_xasprintf("/v1/replications/%s/%s", name, verb);
    bf_auto_json *answer = NULL;
    const char *job;

    if (bf_cli_call(cli, "POST", path, body, 0, &answer, err) < 0)
        return -1;
    job = bf_cli_text(answer, "job");
    if (wait && job)
        return bf_cli_wait_job(cli, replication, job, bf_streq(verb, "remove"), err);
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    if (bf_streq(verb, "cancel"))
        printf("%s: cancelling\n", replication);
    else if (job)
        printf("%s: %s started\n", replication, verb);
    else
        printf("%s: %s\n", replication, bf_cli_text_or(answer, "state", verb));
    return 0;
}
