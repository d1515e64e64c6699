/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/job.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/job_private.h"
#include "daemon/loop.h"
#include "daemon/service_private.h"
#include "daemon/share.h"

enum {
    LATE_TRIES = 3, /* of a step behind the point of no return */
    LATE_PAUSE_MS = 1000,
};

void (*bf_job_probe)(const char *where);

static void probe(const char *where)
{
    if (bf_job_probe)
        bf_job_probe(where);
}

/* --- the row --- */

const char *bf_job_step_name(const struct bf_job *job)
{
    return job->step < job->kind->step_count ? job->kind->steps[job->step].name : NULL;
}

int bf_job_write_row(struct bf_job *job, int64_t ended_us, struct bf_error *err)
{
    char *step_name = bf_xstrdup(bf_job_step_name(job));
    char *error = NULL;
    int r;

    if (bf_error_is_set(&job->failure)) {
        bf_auto_json *json = bf_json_error(&job->failure);

        error = bf_xstrdup(bf_json_text(json));
    }
    r = bf_store_job_put(job->service->store,
                         &(struct bf_job_row){
                             .id = job->id,
                             .replication_id = job->replication_id,
                             .kind = job->kind_name,
                             .state = job->state,
                             .step = job->step,
                             .step_name = step_name,
                             .context = job->context_text,
                             .error = error,
                             .started_us = job->started_us,
                             .ended_us = ended_us,
                         },
                         err);
    free(step_name);
    free(error);
    return r;
}

struct transaction {
    struct bf_job *job;
    bf_job_store_fn *fn;
    void *user;
    struct bf_error *err;
    int result;
};

static int transaction_body(struct transaction *t)
{
    struct bf_job *job = t->job;

    if (bf_store_begin(job->service->store, t->err) != 0)
        return -1;
    if ((t->fn && t->fn(job->service, t->user, t->err) != 0) ||
        bf_job_write_row(job, 0, t->err) != 0) {
        bf_store_rollback(job->service->store);
        return -1;
    }
    return bf_store_commit(job->service->store, t->err);
}

static void run_transaction(void *user)
{
    struct transaction *t = user;

    t->result = transaction_body(t);
}

int bf_job_transaction(struct bf_job *job, bf_job_store_fn *fn, void *user, struct bf_error *err)
{
    struct transaction t = {.job = job, .fn = fn, .user = user, .err = err, .result = -1};

    free(job->context_text);
    job->context_text = bf_xstrdup(bf_json_text(job->context));
    probe("before-store");
    bf_loop_call(job->service->loop, run_transaction, &t);
    probe("after-store");
    return t.result;
}

int bf_job_save(struct bf_job *job, struct bf_error *err)
{
    return bf_job_transaction(job, NULL, NULL, err);
}

/* --- the thread --- */

static void set_state(struct bf_job *job, const char *state)
{
    free(job->state);
    job->state = bf_xstrdup(state);
}

static void note_time(struct bf_job *job, unsigned step, uint64_t since_ms)
{
    struct json_object *times = bf_context_object(job->context, "ms");
    const char *name = job->kind->steps[step].name;
    uint64_t ms = bf_now_ms() - since_ms;

    /* A step taken up after a restart: what it cost before is not known, so the parts add up. */
    bf_json_add_u64(times, name, bf_context_u64(times, name) + ms);
}

/* Keep the first failure; what fails after it (in the undo) becomes part of its evidence. */
static void keep_failure(struct bf_job *job, struct bf_error *err, const char *doing)
{
    bf_auto_buf text = {0};

    if (!bf_error_is_set(&job->failure)) {
        bf_error_move(&job->failure, err);
        return;
    }
    bf_buf_addf(&text, "%s%s%s: %s", job->failure.evidence ? job->failure.evidence : "",
                job->failure.evidence ? "\n" : "", doing, err->message);
    bf_error_evidence(&job->failure, text.text);
    bf_error_clear(err);
}

/* From here on no cancel is heard: what was cancelled must be tidied up, and what is committed must
 * be finished. */
static void make_uncancellable(struct bf_job *job)
{
    uint64_t count;
    ssize_t n;

    pthread_mutex_lock(&job->lock);
    atomic_store(&job->uncancellable, true);
    if (!bf_job_stopping(job)) {
        n = read(job->cancel_fd, &count, sizeof(count));
        (void)n; /* EAGAIN: nobody cancelled */
        if (job->source)
            bf_platform_uncancel(job->source);
        if (job->target)
            bf_platform_uncancel(job->target);
    }
    pthread_mutex_unlock(&job->lock);
}

/* What was committed is finished: a cutover goes on after its first round, and a cancel that came
 * meanwhile is heard now. */
static void make_cancellable(struct bf_job *job)
{
    pthread_mutex_lock(&job->lock);
    atomic_store(&job->uncancellable, false);
    pthread_mutex_unlock(&job->lock);
}

/* A step behind the point of no return: tried a few times, then left to the janitor. */
static int run_late(struct bf_job *job, const struct bf_step *step)
{
    for (unsigned try = 1;; try++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_error sleep_err = BF_ERROR_INIT;

        if (step->run(job, &err) == 0)
            return 0;
        if (bf_job_stopping(job))
            return -1;
        if (try < LATE_TRIES && bf_error_retry_safe(err.code) && err.code != BF_E_CANCELLED &&
            bf_job_sleep(job, LATE_PAUSE_MS * try, &sleep_err) == 0)
            continue;
        bf_job_warn(job, &err, "%s of job %s failed and is left to the janitor", step->name,
                    job->kind_name);
        job->leftover = true;
        return 0;
    }
}

static int run_step(struct bf_job *job, const struct bf_step *step, struct bf_error *err)
{
    uint64_t since_ms = bf_now_ms();
    int r;

    bf_progress_step(&job->progress, job->step, false);
    bf_log_debug("step %s begins", step->name);
    probe(step->name);
    if (step->after_commit) {
        if (!atomic_load(&job->uncancellable))
            make_uncancellable(job);
        r = run_late(job, step);
    } else {
        if (atomic_load(&job->uncancellable))
            make_cancellable(job);
        r = bf_job_check(job, err);
        if (r == 0)
            r = step->run(job, err);
    }
    if (r == 0)
        note_time(job, job->step, since_ms);
    return r;
}

static bool behind_commit(const struct bf_job *job)
{
    return job->step > 0 && job->step < job->kind->step_count &&
           job->kind->steps[job->step].after_commit;
}

/* Returns false if the thread has to end where it is. */
static bool run_forward(struct bf_job *job)
{
    while (job->step < job->kind->step_count) {
        bf_auto_error err = BF_ERROR_INIT;

        if (run_step(job, &job->kind->steps[job->step], &err) == 0) {
            job->step++;
            if (bf_job_save(job, &err) == 0)
                continue;
            job->step--;
        }
        if (bf_job_stopping(job))
            return false;
        if (!bf_error_is_set(&err))
            bf_fail(&err, BF_E_INTERNAL, 0, "step %s failed without a reason",
                    job->kind->steps[job->step].name);
        if (behind_commit(job)) {
            /* Only the store can have failed: the row stays, a restart goes on from here. */
            bf_job_warn(job, &err, "job %s cannot be recorded", job->kind_name);
            return false;
        }
        keep_failure(job, &err, job->kind->steps[job->step].name);
        return true;
    }
    return true;
}

static bool run_undo(struct bf_job *job)
{
    make_uncancellable(job);
    set_state(job, "undoing");
    for (;;) {
        const struct bf_step *step = &job->kind->steps[job->step];
        bf_auto_error err = BF_ERROR_INIT;

        bf_progress_step(&job->progress, job->step, true);
        if (bf_job_save(job, &err) != 0) {
            keep_failure(job, &err, "recording");
            return !bf_job_stopping(job);
        }
        probe("undo");
        if (step->undo && step->undo(job, &err) != 0) {
            if (bf_job_stopping(job))
                return false;
            bf_job_warn(job, &err, "undo of %s failed", step->name);
            job->leftover = true;
            keep_failure(job, &err, step->name);
        }
        if (job->step == 0)
            return true;
        job->step--;
    }
}

static void close_platforms(struct bf_job *job)
{
    struct bf_platform *source, *target;

    pthread_mutex_lock(&job->lock);
    source = bf_steal(job->source);
    target = bf_steal(job->target);
    pthread_mutex_unlock(&job->lock);
    bf_platform_close(source);
    bf_platform_close(target);
}

static void *job_thread(void *user)
{
    struct bf_job *job = user;
    bf_auto_error err = BF_ERROR_INIT;
    bool go_on = true;

    bf_log_field("job", job->id);
    if (bf_job_refresh(job, &err) != 0) {
        /* Without its inputs it can undo nothing either: that is the janitor's. */
        keep_failure(job, &err, "reading");
        job->leftover = true;
    } else {
        bf_log_field("replication", job->inputs.replication.name);
        if (bf_streq(job->state, "running"))
            go_on = run_forward(job);
        if (go_on && bf_error_is_set(&job->failure))
            go_on = run_undo(job);
    }
    close_platforms(job);
    job->interrupted = !go_on;
    bf_loop_post(job->service->loop, bf_job_ended, job);
    return NULL;
}

int bf_job_thread_start(struct bf_job *job, struct bf_error *err)
{
    int r = pthread_create(&job->thread, NULL, job_thread, job);

    return r == 0 ? 0 : bf_fail(err, BF_E_SYSTEM, r, "thread of job %s", job->kind_name);
}

/* --- what steps use --- */

const struct bf_inputs *bf_job_inputs(struct bf_job *job)
{
    return &job->inputs;
}

struct json_object *bf_job_context(struct bf_job *job)
{
    return job->context;
}

struct json_object *bf_job_params(struct bf_job *job)
{
    return bf_context_object(job->context, "params");
}

struct bf_progress *bf_job_progress(struct bf_job *job)
{
    return &job->progress;
}

struct refresh {
    struct bf_job *job;
    struct bf_error *err;
    int result;
};

static void run_refresh(void *user)
{
    struct refresh *refresh = user;
    struct bf_inputs inputs = {0};

    refresh->result =
        bf_inputs_load(refresh->job->service, refresh->job->replication_id, &inputs, refresh->err);
    if (refresh->result == 0) {
        bf_inputs_done(&refresh->job->inputs);
        refresh->job->inputs = inputs;
        bf_job_set_rate(refresh->job, inputs.policy.rate_bytes);
    }
}

int bf_job_refresh(struct bf_job *job, struct bf_error *err)
{
    struct refresh refresh = {.job = job, .err = err, .result = -1};

    bf_loop_call(job->service->loop, run_refresh, &refresh);
    return refresh.result;
}

static int open_platform(struct bf_job *job, const struct bf_platform_access *access, char use,
                         struct bf_platform **place, struct bf_platform **ret_platform,
                         struct bf_error *err)
{
    bf_auto_free char *directory = NULL;
    struct bf_platform *platform;

    if (*place) {
        *ret_platform = *place;
        return 0;
    }
    if (!atomic_load(&job->uncancellable) && bf_job_check(job, err) != 0)
        return -1;
    directory = bf_service_work_directory(job->service, job->replication_id,
                                          job->kind->beside ? (char)toupper(use) : use);
    if (bf_platform_access_open(access, directory, &platform, err) != 0)
        return -1;
    pthread_mutex_lock(&job->lock);
    *place = platform;
    /* A cancel that came while it was being opened found nothing to cancel. */
    if (!atomic_load(&job->uncancellable) && atomic_load(&job->cancelled))
        bf_platform_cancel(platform);
    pthread_mutex_unlock(&job->lock);
    *ret_platform = platform;
    return 0;
}

int bf_job_source(struct bf_job *job, struct bf_platform **ret_platform, struct bf_error *err)
{
    return open_platform(job, &job->inputs.source, 's', &job->source, ret_platform, err);
}

int bf_job_target(struct bf_job *job, struct bf_platform **ret_platform, struct bf_error *err)
{
    return open_platform(job, &job->inputs.target, 'v', &job->target, ret_platform, err);
}

int bf_job_check(struct bf_job *job, struct bf_error *err)
{
    if (bf_job_stopping(job))
        return bf_fail(err, BF_E_CANCELLED, 0, "the service stops");
    if (atomic_load(&job->cancelled) && !atomic_load(&job->uncancellable))
        return bf_fail(err, BF_E_CANCELLED, 0, "cancelled by request");
    return 0;
}

int bf_job_cancel_fd(const struct bf_job *job)
{
    return job->cancel_fd;
}

int bf_job_sleep(struct bf_job *job, uint64_t ms, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(ms);
    struct pollfd fd = {.fd = job->cancel_fd, .events = POLLIN};

    while (!bf_deadline_passed(deadline)) {
        if (bf_job_check(job, err) != 0)
            return -1;
        if (poll(&fd, 1, bf_deadline_left(deadline)) < 0 && errno != EINTR)
            return bf_fail(err, BF_E_SYSTEM, errno, "poll");
    }
    return 0;
}

void bf_job_set_rate(struct bf_job *job, uint64_t rate_bytes)
{
    atomic_store(&job->rate_bytes, rate_bytes);
}

uint64_t bf_job_rate(const struct bf_job *job)
{
    return atomic_load(&job->rate_bytes);
}

struct bf_share_copy *bf_job_share(struct bf_job *job)
{
    const struct bf_replication_row *row = &job->inputs.replication;

    return bf_share_join(job->service->share,
                         &(struct bf_share_scopes){.source = row->source_platform_id,
                                                   .target = row->target_platform_id,
                                                   .replication = row->id});
}

const struct bf_config *bf_job_config(const struct bf_job *job)
{
    return job->service->config;
}

bool bf_job_stopping(const struct bf_job *job)
{
    return atomic_load(&job->stopping);
}

struct warning {
    struct bf_job *job;
    const struct bf_error *error;
    const char *text;
};

static void store_warning(void *user)
{
    struct warning *warning = user;
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *data = json_object_new_object();

    bf_json_add_string(data, "job", warning->job->id);
    if (warning->error)
        json_object_object_add(data, "error", bf_json_error(warning->error));
    if (bf_service_event(warning->job->service, warning->job->replication_name, "warning",
                         "warning", data, &err, "%s%s%s", warning->text, warning->error ? ": " : "",
                         warning->error ? warning->error->message : "") != 0)
        bf_log_error(BF_LOG_ERROR, &err, "a warning could not be stored");
}

void bf_job_warn(struct bf_job *job, const struct bf_error *error, const char *format, ...)
{
    bf_auto_free char *text = NULL;
    va_list args;

    va_start(args, format);
    text = bf_xvasprintf(format, args);
    va_end(args);
    if (error)
        bf_log_error(BF_LOG_WARNING, error, "%s", text);
    else
        bf_log_warning("%s", text);
    bf_loop_call(job->service->loop, store_warning,
                 &(struct warning){.job = job, .error = error, .text = text});
}
