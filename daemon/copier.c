/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/copier.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/share.h"

enum {
    CHILDREN_MAX = 4,         /* at the same time, for one job */
    TURN_MS = 500,            /* how often rate and stalls are looked at */
    STALL_MS = 5 * 60 * 1000, /* no progress for so long: killed and tried again */
    STALL_BYTES = 4 << 20,    /* what a copy may wait for to be seen moving */
    END_MS = 20 * 1000,       /* from the end of its output to the end of the child */
    PAUSE_MIN_MS = 1000,
    PAUSE_MAX_MS = 30 * 1000,
    LINE_MAX_BYTES = 64 * 1024,
};

/* How long a child tries to reach a lost server again before it gives up. */
#define RECONNECT_S "20"
#define PROVE_LEAVES "16" /* of 64 KiB */

/* One child and what we know of it. */
struct child {
    struct bf_copy_task *task;
    struct bf_process *process; /* NULL: does not run */
    struct bf_buf line;         /* the beginning of a line */
    struct bf_disk_progress progress;
    struct bf_error reported; /* its error event */
    uint64_t moved;           /* a number that rises with progress */
    uint64_t moved_at_start;
    uint64_t moved_ms;  /* when it rose last */
    uint64_t start_ms;  /* monotonic: of the present run; not before, when it is in the future */
    uint64_t told_rate; /* written to its stdin last; 0: none */
    struct bf_share_copy *share; /* NULL: does not run */
    unsigned tries;              /* failed in a row without progress */
    bool finished;               /* done event and exit 0 */
    bool done_event;
    bool journal_reset;
};

struct copier {
    struct bf_job *job;
    char *program;
    struct child *children;
    size_t count;
    uint64_t retries;
    bf_copy_alive_fn *alive;
};

const char *bf_copy_kind_to_string(enum bf_copy_kind kind)
{
    return kind == BF_COPY_FULL ? "full" : kind == BF_COPY_DELTA ? "delta" : "compare";
}

void bf_copy_task_done(struct bf_copy_task *task)
{
    free(task->digest_root);
    free(task->verified);
    task->digest_root = task->verified = NULL;
}

/* --- what a child says --- */

static void take_text(struct json_object *json, const char *key, char **place)
{
    const char *text = bf_context_text(json, key);

    if (text) {
        free(*place);
        *place = bf_xstrdup(text);
    }
}

static void take_number(struct json_object *json, const char *key, uint64_t *place)
{
    if (json_object_object_get_ex(json, key, NULL))
        *place = bf_context_u64(json, key);
}

static double context_double(struct json_object *json, const char *key)
{
    struct json_object *value = NULL;

    return json_object_object_get_ex(json, key, &value) ? json_object_get_double(value) : 0;
}

int bf_copier_parse_line(const char *line, struct bf_copy_task *task,
                         struct bf_disk_progress *progress, struct bf_error *err)
{
    bf_auto_json *json = NULL;
    const char *event;

    if (bf_json_parse(line, strlen(line), &json, err) != 0)
        return bf_fail_in(err, "output of blockferry-copy");
    event = bf_context_text(json, "event");
    if (bf_streq(event, "error")) {
        const char *code = bf_context_text(json, "code");
        const char *message = bf_context_text(json, "message");

        bf_fail(err, code ? bf_error_from_id(code) : BF_E_CHILD_FAILED, 0, "%s",
                message ? message : "blockferry-copy gave no reason");
        if (bf_context_text(json, "evidence"))
            bf_error_evidence(err, bf_context_text(json, "evidence"));
        return -1;
    }
    take_number(json, "size", &progress->size_bytes);
    take_number(json, "to_send", &progress->to_send_bytes);
    take_number(json, "done", &progress->done_bytes);
    take_number(json, "sent", &progress->sent_bytes);
    take_number(json, "zero", &progress->zero_bytes);
    take_number(json, "verified", &progress->verified_bytes);
    progress->rate = (uint64_t)context_double(json, "rate");
    progress->eta_s = (uint64_t)context_double(json, "eta_s");
    task->to_send_bytes = progress->to_send_bytes;
    task->sent_bytes = progress->sent_bytes;
    task->zero_bytes = progress->zero_bytes;
    if (bf_streq(event, "done")) {
        progress->done_bytes = progress->to_send_bytes;
        take_number(json, "read", &task->read_bytes);
        take_text(json, "digest", &task->digest_root);
        if (task->verify_percent) {
            free(task->verified);
            task->verified = bf_xasprintf("%llu%%", (unsigned long long)task->verify_percent);
        }
        return 1;
    }
    return 0;
}

static void take_line(struct copier *copier, struct child *child, const char *line)
{
    bf_auto_error err = BF_ERROR_INIT;
    uint64_t moved;
    int r = bf_copier_parse_line(line, child->task, &child->progress, &err);

    if (r < 0) {
        if (!bf_error_is_set(&child->reported))
            bf_error_move(&child->reported, &err);
        return;
    }
    child->done_event = r > 0;
    moved = child->progress.done_bytes + child->progress.sent_bytes + child->progress.zero_bytes +
            child->progress.verified_bytes;
    if (moved != child->moved || r > 0) {
        child->moved = moved;
        child->moved_ms = bf_now_ms();
    }
    bf_progress_disk(bf_job_progress(copier->job), &child->progress);
}

/* Reads what is there.  Returns false at the end of the output. */
static bool read_output(struct copier *copier, struct child *child)
{
    char data[4096];
    ssize_t n;

    for (;;) {
        char *newline;

        n = read(bf_process_stdout(child->process), data, sizeof(data));
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            return false;
        bf_buf_add(&child->line, data, (size_t)n);
        while (child->line.length &&
               (newline = memchr(child->line.text, '\n', child->line.length))) {
            size_t used = (size_t)(newline - child->line.text) + 1;

            *newline = '\0';
            take_line(copier, child, child->line.text);
            memmove(child->line.text, child->line.text + used, child->line.length - used);
            child->line.length -= used;
            child->line.text[child->line.length] = '\0';
        }
        if (child->line.length > LINE_MAX_BYTES)
            child->line.length = 0;
    }
}

/* --- its life --- */

/* What the child may use now; 0: no limit. */
static uint64_t share_of_rate(const struct copier *copier, const struct child *child)
{
    uint64_t rate = bf_share_ask(child->share, child->progress.rate, bf_job_rate(copier->job));

    return rate == BF_RATE_UNLIMITED ? 0 : rate;
}

static void tell_rate(struct copier *copier)
{
    for (size_t i = 0; i < copier->count; i++) {
        struct child *child = &copier->children[i];
        char text[64];
        uint64_t rate;
        ssize_t n;

        if (!child->process)
            continue;
        rate = share_of_rate(copier, child);
        if (child->told_rate == rate)
            continue;
        snprintf(text, sizeof(text), "rate %llu\n", (unsigned long long)rate);
        n = write(bf_process_stdin(child->process), text, strlen(text));
        if (n == (ssize_t)strlen(text)) /* else it is ending, or will be told the next time */
            child->told_rate = rate;
    }
}

static void build_argv(const struct copier *copier, const struct child *child, const char **argv,
                       char *rate, size_t rate_size, char *verify, size_t verify_size)
{
    const struct bf_copy_task *task = child->task;
    unsigned n = 0;

    argv[n++] = copier->program;
    argv[n++] = "--progress";
    argv[n++] = "json";
    if (task->kind == BF_COPY_DELTA && task->source->map == BF_MAP_BITMAP) {
        argv[n++] = "--dirty-bitmap";
        argv[n++] = task->source->map_name;
    } else if (task->kind == BF_COPY_DELTA && task->source->map == BF_MAP_FILE) {
        argv[n++] = "--map";
        argv[n++] = task->source->map_name;
    } else if (task->kind == BF_COPY_DELTA && task->source->map == BF_MAP_SINCE) {
        argv[n++] = "--since";
        argv[n++] = task->source->map_name;
    } else if (task->kind == BF_COPY_COMPARE) {
        argv[n++] = "--compare";
    }
    if (task->target->reads_as_zero && task->kind == BF_COPY_FULL)
        argv[n++] = "--target-is-zero";
    if (task->digest_from) {
        argv[n++] = "--digest-from";
        argv[n++] = task->digest_from;
    }
    if (task->digest) {
        argv[n++] = "--digest";
        argv[n++] = task->digest;
    }
    if (task->kind == BF_COPY_DELTA && task->source->prove && task->digest_from) {
        argv[n++] = "--prove";
        argv[n++] = PROVE_LEAVES;
    }
    argv[n++] = "--journal";
    argv[n++] = task->journal;
    argv[n++] = "--reconnect"; /* we look after a lost server ourselves */
    argv[n++] = RECONNECT_S;
    argv[n++] = "--source-id"; /* the sockets may have other names after a restart */
    argv[n++] = task->source_id;
    argv[n++] = "--target-id";
    argv[n++] = task->target_id;
    if (task->source->tls_directory) {
        argv[n++] = "--tls-certificates";
        argv[n++] = task->source->tls_directory;
    }
    if (task->target->tls_directory) {
        argv[n++] = "--target-tls-certificates";
        argv[n++] = task->target->tls_directory;
    }
    if (child->told_rate) {
        snprintf(rate, rate_size, "%llu", (unsigned long long)child->told_rate);
        argv[n++] = "--rate";
        argv[n++] = rate;
    }
    if (task->verify_percent) {
        snprintf(verify, verify_size, "%llu%%", (unsigned long long)task->verify_percent);
        argv[n++] = "--verify";
        argv[n++] = task->verify_percent == 100 ? "all" : verify;
        argv[n++] = "--repair";
    }
    argv[n++] = "--";
    argv[n++] = task->source->uri;
    argv[n++] = task->target->uri;
    argv[n] = NULL;
}

static int start_child(struct copier *copier, struct child *child, struct bf_error *err)
{
    const char *argv[48];
    char rate[32], verify[32];
    int fd;

    child->progress.rate = 0;
    child->share = bf_job_share(copier->job);
    child->told_rate = share_of_rate(copier, child);
    build_argv(copier, child, argv, rate, sizeof(rate), verify, sizeof(verify));
    if (bf_process_start(
            &(struct bf_process_spec){.argv = argv, .stdin_pipe = true, .stdout_pipe = true},
            &child->process, err) != 0)
        return -1;
    fd = bf_process_stdout(child->process);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "fcntl");
    child->line.length = 0;
    child->done_event = false;
    child->start_ms = child->moved_ms = bf_now_ms();
    child->moved_at_start = child->moved;
    bf_log_debug("disk %s: blockferry-copy %d", child->task->disk_key,
                 (int)bf_process_pid(child->process));
    return 0;
}

/* May the copy be tried again?  -1: it has failed for good. */
static int decide_retry(struct copier *copier, struct child *child, struct bf_error *why,
                        struct bf_error *err)
{
    bf_auto_error lost = BF_ERROR_INIT;

    child->tries = child->moved > child->moved_at_start ? 1 : child->tries + 1;
    if (why->code == BF_E_JOURNAL && !child->journal_reset) {
        bf_auto_error ignored = BF_ERROR_INIT;

        /* Of another copy, or damaged: what it said is worth nothing, all is carried again. */
        child->journal_reset = true;
        (void)bf_file_remove(child->task->journal, &ignored);
        return 0;
    }
    if (!bf_error_retry_safe(why->code) || why->code == BF_E_CANCELLED ||
        child->tries > copier->retries) {
        bf_error_move(err, why);
        return -1;
    }
    /* An error that may pass (the platform does not answer just now) proves nothing. */
    if (copier->alive && copier->alive(copier->job, child->task->disk_key, &lost) != 0 &&
        bf_error_kind(lost.code) != BF_KIND_TRANSIENT) {
        bf_fail_in(&lost, "%s, and now", why->message);
        bf_error_move(err, &lost);
        return -1;
    }
    return 0;
}

/* The child has ended: good, to be tried again, or failed for good (-1). */
static int end_child(struct copier *copier, struct child *child, struct bf_error *err)
{
    bf_auto_error why = BF_ERROR_INIT;
    int r = bf_process_finish(child->process, bf_deadline_in(END_MS), bf_job_cancel_fd(copier->job),
                              &why);

    bf_process_free(bf_steal(child->process));
    bf_share_leave(bf_steal(child->share));
    child->task->copy_ms += bf_now_ms() - child->start_ms;
    if (r == 0 && child->done_event) {
        child->finished = true;
        return 0;
    }
    if (r == 0)
        bf_fail(&why, BF_E_CHILD_FAILED, 0, "blockferry-copy ended without saying that it is done");
    if (bf_error_is_set(&child->reported)) {
        bf_error_clear(&why);
        bf_error_move(&why, &child->reported);
    }
    bf_fail_in(&why, "disk %s", child->task->disk_key);
    if (bf_job_check(copier->job, err) != 0 || decide_retry(copier, child, &why, err) != 0)
        return -1;
    child->start_ms =
        bf_now_ms() +
        (child->tries > 5 ? PAUSE_MAX_MS : (uint64_t)PAUSE_MIN_MS << (child->tries - 1));
    bf_job_warn(copier->job, &why, "the copy is tried again");
    return 0;
}

static void check_stall(struct child *child)
{
    /* A small share is no stall. */
    uint64_t allowed_ms =
        STALL_MS + (child->told_rate ? (uint64_t)STALL_BYTES * 1000 / child->told_rate : 0);

    if (bf_now_ms() - child->moved_ms < allowed_ms)
        return;
    if (!bf_error_is_set(&child->reported))
        bf_fail(&child->reported, BF_E_DEADLINE, 0, "no progress for %llu minutes",
                (unsigned long long)(allowed_ms / 60000));
    bf_process_signal(child->process, SIGKILL);
    child->moved_ms = bf_now_ms();
}

/* --- all of them --- */

static int start_waiting(struct copier *copier, struct bf_error *err)
{
    size_t running = 0;

    for (size_t i = 0; i < copier->count; i++)
        running += copier->children[i].process != NULL;
    for (size_t i = 0; i < copier->count && running < CHILDREN_MAX; i++) {
        struct child *child = &copier->children[i];

        if (child->process || child->finished || bf_now_ms() < child->start_ms)
            continue;
        if (start_child(copier, child, err) != 0)
            return -1;
        running++;
    }
    tell_rate(copier);
    return 0;
}

static int wait_for_news(struct copier *copier, struct bf_error *err)
{
    struct pollfd fds[1 + 3 * CHILDREN_MAX] = {
        {.fd = bf_job_cancel_fd(copier->job), .events = POLLIN}};
    nfds_t n = 1;

    for (size_t i = 0; i < copier->count; i++) {
        struct child *child = &copier->children[i];
        const int wanted[] = {child->process ? bf_process_stdout(child->process) : -1,
                              child->process ? bf_process_stderr(child->process) : -1,
                              child->process ? bf_process_pidfd(child->process) : -1};

        for (size_t j = 0; child->process && j < bf_array_length(wanted); j++) {
            if (wanted[j] < 0)
                continue;
            fds[n++] = (struct pollfd){.fd = wanted[j], .events = POLLIN};
        }
    }
    if (poll(fds, n, TURN_MS) < 0 && errno != EINTR)
        return bf_fail(err, BF_E_SYSTEM, errno, "poll");
    return bf_job_check(copier->job, err);
}

static int look_at(struct copier *copier, struct child *child, struct bf_error *err)
{
    struct pollfd ended = {.fd = bf_process_pidfd(child->process), .events = POLLIN};
    bool more;

    bf_process_drain(child->process);
    more = read_output(copier, child);
    if (!more || poll(&ended, 1, 0) > 0) {
        if (more)
            (void)read_output(copier, child);
        return end_child(copier, child, err);
    }
    check_stall(child);
    return 0;
}

static int run_all(struct copier *copier, struct bf_error *err)
{
    for (;;) {
        bool all = true;

        if (start_waiting(copier, err) != 0 || wait_for_news(copier, err) != 0)
            return -1;
        for (size_t i = 0; i < copier->count; i++) {
            struct child *child = &copier->children[i];

            if (child->process && look_at(copier, child, err) != 0)
                return -1;
            all = all && child->finished;
        }
        if (all)
            return 0;
    }
}

/* Ask all to end at once, then wait: each flushes and writes its journal. */
static void end_all(struct copier *copier)
{
    for (size_t i = 0; i < copier->count; i++) {
        if (copier->children[i].process)
            bf_process_signal(copier->children[i].process, SIGTERM);
    }
    for (size_t i = 0; i < copier->count; i++) {
        struct child *child = &copier->children[i];
        bf_auto_error ignored = BF_ERROR_INIT;

        if (child->process) {
            (void)bf_process_finish(child->process, bf_deadline_in(5000), -1, &ignored);
            bf_process_free(child->process);
        }
        bf_share_leave(child->share);
        bf_buf_done(&child->line);
        bf_error_clear(&child->reported);
    }
}

int bf_copier_run(struct bf_job *job, struct bf_copy_task *tasks, size_t count, uint64_t retries,
                  bf_copy_alive_fn *alive, struct bf_error *err)
{
    struct copier copier = {.job = job, .count = count, .retries = retries, .alive = alive};
    int r;

    if (bf_program_find("blockferry-copy", &copier.program, err) != 0)
        return -1;
    copier.children = bf_xcalloc(count ? count : 1, sizeof(*copier.children));
    for (size_t i = 0; i < count; i++) {
        copier.children[i].task = &tasks[i];
        snprintf(copier.children[i].progress.key, sizeof(copier.children[i].progress.key), "%s",
                 tasks[i].disk_key);
    }
    r = count ? run_all(&copier, err) : 0;
    end_all(&copier);
    free(copier.children);
    free(copier.program);
    return r;
}
