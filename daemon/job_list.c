/* SPDX-License-Identifier: Apache-2.0 */
/* The main thread's side of jobs: start, take up, cancel, stop, end, and how they are shown. */
#include <errno.h>
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

extern const struct bf_job_kind bf_job_kind_check, bf_job_kind_round, bf_job_kind_launch,
    bf_job_kind_discard, bf_job_kind_cutover, bf_job_kind_confirm, bf_job_kind_rollback,
    bf_job_kind_remove, bf_job_kind_retention, bf_job_kind_adopt, bf_job_kind_start_source;

/* Each is defined in the file that tells its story. */
static const struct bf_job_kind *const kinds[] = {
    &bf_job_kind_check,     &bf_job_kind_round,   &bf_job_kind_launch,       &bf_job_kind_discard,
    &bf_job_kind_cutover,   &bf_job_kind_confirm, &bf_job_kind_rollback,     &bf_job_kind_remove,
    &bf_job_kind_retention, &bf_job_kind_adopt,   &bf_job_kind_start_source,
};

const struct bf_job_kind *bf_job_kind_get(const char *name)
{
    for (size_t i = 0; i < bf_array_length(kinds); i++) {
        if (bf_streq(kinds[i]->name, name))
            return kinds[i];
    }
    return NULL;
}

static void job_free(struct bf_job *job)
{
    if (!job)
        return;
    if (job->cancel_fd >= 0)
        close(job->cancel_fd);
    json_object_put(job->context);
    bf_inputs_done(&job->inputs);
    bf_error_clear(&job->failure);
    bf_progress_done(&job->progress);
    pthread_mutex_destroy(&job->lock);
    free(job->kind_name);
    free(job->id);
    free(job->replication_id);
    free(job->replication_name);
    free(job->state);
    free(job->context_text);
    free(job);
}

static void job_free_at(struct bf_job **at)
{
    job_free(*at);
}

static struct bf_job *job_new(struct bf_service *service, const struct bf_job_kind *kind,
                              const char *id, const char *replication_id, struct bf_error *err)
{
    struct bf_job *job = bf_xcalloc(1, sizeof(*job));

    job->service = service;
    job->kind = kind;
    job->kind_name = bf_xstrdup(kind->name);
    job->id = bf_xstrdup(id);
    job->replication_id = bf_xstrdup(replication_id);
    job->state = bf_xstrdup("running");
    job->started_us = bf_utc_us();
    bf_progress_init(&job->progress);
    pthread_mutex_init(&job->lock, NULL);
    job->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (job->cancel_fd < 0) {
        bf_fail(err, BF_E_SYSTEM, errno, "eventfd");
        job_free(job);
        return NULL;
    }
    return job;
}

/* --- looking for one --- */

struct bf_job *bf_job_find(struct bf_service *service, const char *replication_id, bool beside)
{
    bf_assert_main();
    for (struct bf_job *job = service->jobs; job; job = job->next) {
        if (job->kind->beside == beside && bf_streq(job->replication_id, replication_id))
            return job;
    }
    return NULL;
}

struct bf_job *bf_job_by_id(struct bf_service *service, const char *id)
{
    bf_assert_main();
    for (struct bf_job *job = service->jobs; job; job = job->next) {
        if (bf_streq(job->id, id))
            return job;
    }
    return NULL;
}

unsigned bf_job_running(struct bf_service *service, const char *kind)
{
    unsigned count = 0;

    bf_assert_main();
    for (struct bf_job *job = service->jobs; job; job = job->next)
        count += !kind || bf_streq(job->kind_name, kind);
    return count;
}

const char *bf_job_id(const struct bf_job *job)
{
    return job->id;
}

const struct bf_job_kind *bf_job_kind_of(const struct bf_job *job)
{
    return job->kind;
}

const char *bf_job_replication_id(const struct bf_job *job)
{
    return job->replication_id;
}

/* --- start --- */

/* What runs beside others does not exclude rounds, checks and the start of a source; all else has
 * the replication for itself. */
static bool excludes(const struct bf_job_kind *a, const struct bf_job_kind *b)
{
    const struct bf_job_kind *main_kind = a->beside ? b : a;

    if (a->beside == b->beside)
        return true;
    return !bf_streq(main_kind->name, "round") && !bf_streq(main_kind->name, "check") &&
           !bf_streq(main_kind->name, "retention") && !bf_streq(main_kind->name, "start-source");
}

static int check_busy(struct bf_service *service, const struct bf_job_kind *kind,
                      const char *replication_id, struct bf_error *err)
{
    for (struct bf_job *job = service->jobs; job; job = job->next) {
        if (bf_streq(job->replication_id, replication_id) && excludes(kind, job->kind))
            return bf_fail(err, BF_E_BUSY, 0, "a %s of this replication is running (job %s)",
                           job->kind_name, job->id);
    }
    if (service->stopping)
        return bf_fail(err, BF_E_BUSY, 0, "the service is stopping");
    return 0;
}

static int write_begin(struct bf_job *job, struct bf_error *err)
{
    struct bf_service *service = job->service;
    struct bf_replication_row row = {0};
    int r;

    if (bf_store_begin(service->store, err) != 0)
        return -1;
    r = bf_store_replication_get(service->store, job->replication_id, &row, err);
    if (r == 0)
        job->replication_name = bf_xstrdup(row.name);
    if (r == 0 && job->kind->begin)
        r = job->kind->begin(service, job, &row, err);
    bf_replication_row_done(&row);
    if (r == 0) {
        free(job->context_text); /* begin() may have added to it */
        job->context_text = bf_xstrdup(bf_json_text(job->context));
        r = bf_job_write_row(job, 0, err);
    }
    if (r != 0) {
        bf_store_rollback(service->store);
        return -1;
    }
    return bf_store_commit(service->store, err);
}

static void launch_thread(struct bf_job *job)
{
    bf_auto_error err = BF_ERROR_INIT;

    job->next = job->service->jobs;
    job->service->jobs = job;
    if (bf_job_thread_start(job, &err) == 0) {
        job->running = true;
        return;
    }
    /* Its row says "running": left as it is, the next start of the service takes it up. */
    bf_log_error(BF_LOG_ERROR, &err, "job %s of kind %s", job->id, job->kind_name);
    job->interrupted = true;
    bf_loop_post(job->service->loop, bf_job_ended, job);
}

int bf_job_start(struct bf_service *service, const char *kind_name, const char *replication_id,
                 struct json_object *params, char ret_id[37], struct bf_error *err)
{
    const struct bf_job_kind *kind = bf_job_kind_get(kind_name);
    char id[BF_UUID_LENGTH + 1];
    struct bf_job *job __attribute__((cleanup(job_free_at))) = NULL;

    bf_assert_main();
    if (!kind)
        return bf_fail(err, BF_E_INTERNAL, 0, "no job kind '%s'", kind_name);
    if (check_busy(service, kind, replication_id, err) != 0)
        return -1;
    bf_uuid_new(id);
    job = job_new(service, kind, id, replication_id, err);
    if (!job)
        return -1;
    job->context = json_object_new_object();
    json_object_object_add(job->context, "params",
                           params ? json_object_get(params) : json_object_new_object());
    if (write_begin(job, err) != 0)
        return -1;
    if (ret_id)
        memcpy(ret_id, id, sizeof(id));
    launch_thread(bf_steal(job));
    return 0;
}

int bf_job_begin_waiting(struct bf_service *service, const struct bf_job_row *row,
                         struct bf_error *err)
{
    const struct bf_job_kind *kind = bf_job_kind_get(row->kind);
    struct bf_job *job __attribute__((cleanup(job_free_at))) = NULL;

    if (!kind)
        return bf_fail(err, BF_E_INTERNAL, 0, "no job kind '%s'", row->kind);
    if (check_busy(service, kind, row->replication_id, err) != 0)
        return -1;
    job = job_new(service, kind, row->id, row->replication_id, err);
    if (!job)
        return -1;
    job->context = bf_context_parse(row->context);
    if (write_begin(job, err) != 0)
        return -1;
    launch_thread(bf_steal(job));
    return 0;
}

static char *replication_name_of(struct bf_service *service, const char *id)
{
    struct bf_replication_row row = {0};
    bf_auto_error ignored = BF_ERROR_INIT;
    char *name = NULL;

    if (bf_store_replication_get(service->store, id, &row, &ignored) == 0)
        name = bf_xstrdup(row.name);
    bf_replication_row_done(&row);
    return name;
}

int bf_job_resume(struct bf_service *service, const struct bf_job_row *row, struct bf_error *err)
{
    const struct bf_job_kind *kind = bf_job_kind_get(row->kind);
    struct bf_job *job;

    bf_assert_main();
    if (!kind)
        return bf_fail(err, BF_E_INTERNAL, 0, "the store holds a job of unknown kind '%s'",
                       row->kind);
    job = job_new(service, kind, row->id, row->replication_id, err);
    if (!job)
        return -1;
    job->context = bf_context_parse(row->context);
    job->context_text = bf_xstrdup(bf_json_text(job->context));
    job->step = row->step;
    job->started_us = row->started_us;
    free(job->state);
    job->state = bf_xstrdup(row->state);
    job->replication_name = replication_name_of(service, row->replication_id);
    if (row->error) {
        bf_auto_json *error = bf_context_parse(row->error);

        (void)bf_json_to_error(error, &job->failure);
    }
    if (bf_streq(job->state, "undoing") && !bf_error_is_set(&job->failure))
        bf_fail(&job->failure, BF_E_INTERNAL, 0, "the reason of the undo was lost");
    bf_log_notice("job %s (%s) goes on at step %s", row->id, row->kind,
                  row->step_name ? row->step_name : "end");
    launch_thread(job);
    return 0;
}

/* --- end --- */

static int write_end(struct bf_job *job, struct bf_error *err)
{
    struct bf_service *service = job->service;
    const struct bf_error *failure = bf_error_is_set(&job->failure) ? &job->failure : NULL;
    struct bf_replication_row row = {0};
    int r;

    free(job->state);
    job->state = bf_xstrdup(!failure                          ? "done"
                            : failure->code == BF_E_CANCELLED ? "cancelled"
                                                              : "failed");
    if (bf_store_begin(service->store, err) != 0)
        return -1;
    r = bf_store_replication_get(service->store, job->replication_id, &row, err);
    if (r == 0 && job->kind->end)
        r = job->kind->end(service, job, &row, failure, err);
    bf_replication_row_done(&row);
    if (r == 0 && (failure || !job->kind->removes))
        r = bf_job_write_row(job, bf_utc_us(), err);
    if (r != 0) {
        bf_store_rollback(service->store);
        return -1;
    }
    return bf_store_commit(service->store, err);
}

static void unlink_job(struct bf_job *job)
{
    for (struct bf_job **at = &job->service->jobs; *at; at = &(*at)->next) {
        if (*at == job) {
            *at = job->next;
            return;
        }
    }
}

void bf_job_ended(void *user)
{
    struct bf_job *job = user;
    struct bf_service *service = job->service;

    if (job->running)
        pthread_join(job->thread, NULL);
    unlink_job(job);
    if (!job->interrupted) {
        bf_auto_error err = BF_ERROR_INIT;

        bf_log_field("job", job->id);
        bf_log_field("replication", job->inputs.replication.name);
        if (bf_error_is_set(&job->failure))
            bf_log_error(job->failure.code == BF_E_CANCELLED ? BF_LOG_NOTICE : BF_LOG_ERROR,
                         &job->failure, "%s failed", job->kind_name);
        if (write_end(job, &err) != 0)
            bf_log_error(BF_LOG_ERROR, &err, "the end of job %s cannot be recorded", job->id);
        bf_log_field("job", NULL);
        bf_log_field("replication", NULL);
    }
    if (!service->stopping) {
        if (!job->kind->beside)
            bf_job_wait_over(service, job->replication_id,
                             bf_error_is_set(&job->failure) ? &job->failure : NULL);
        bf_scheduler_kick(service);
        bf_janitor_job_ended(service, job->leftover);
    }
    job_free(job);
}

static void signal_job(struct bf_job *job, atomic_bool *flag)
{
    uint64_t one = 1;
    ssize_t n;

    pthread_mutex_lock(&job->lock);
    atomic_store(flag, true);
    if (flag == &job->stopping || !atomic_load(&job->uncancellable)) {
        n = write(job->cancel_fd, &one, sizeof(one));
        (void)n;
        if (job->source)
            bf_platform_cancel(job->source);
        if (job->target)
            bf_platform_cancel(job->target);
    }
    pthread_mutex_unlock(&job->lock);
}

void bf_job_cancel(struct bf_job *job)
{
    bf_assert_main();
    signal_job(job, &job->cancelled);
}

void bf_job_stop_all(struct bf_service *service, struct bf_deadline deadline)
{
    bf_assert_main();
    for (struct bf_job *job = service->jobs; job; job = job->next)
        signal_job(job, &job->stopping);
    while (service->jobs && !bf_deadline_passed(deadline))
        bf_loop_turn(service->loop, 100);
    if (service->jobs)
        bf_log_warning("%u jobs did not end in time; the next start takes them up",
                       bf_job_running(service, NULL));
}

/* --- shown --- */

static struct json_object *steps_json(const struct bf_job_kind *kind, const struct bf_job_row *row,
                                      unsigned step, uint64_t step_ms)
{
    struct json_object *steps = json_object_new_array();
    bf_auto_json *context = bf_context_parse(row->context);
    struct json_object *times = bf_context_object(context, "ms");
    bool waiting = bf_streq(row->state, "waiting");
    bool undone = !waiting && !bf_streq(row->state, "running") && !bf_streq(row->state, "done");

    for (unsigned i = 0; i < kind->step_count; i++) {
        struct json_object *json = json_object_new_object();
        uint64_t ms = bf_context_u64(times, kind->steps[i].name);
        const char *state = "todo";

        if (i < step || bf_streq(row->state, "done"))
            state = undone && !bf_streq(row->state, "undoing") ? "undone" : "done";
        else if (i == step && row->ended_us == 0 && !waiting)
            state = "running";
        else if (ms > 0 && undone)
            state = "undone";
        if (i == step && row->ended_us == 0)
            ms += step_ms;
        bf_json_add_string(json, "name", kind->steps[i].name);
        bf_json_add_string(json, "state", state);
        json_object_object_add(json, "seconds", json_object_new_double((double)ms / 1000));
        json_object_array_add(steps, json);
    }
    return steps;
}

struct json_object *bf_job_row_json(struct bf_service *service, const struct bf_job_row *row)
{
    struct json_object *json = json_object_new_object();
    const struct bf_job_kind *kind = bf_job_kind_get(row->kind);
    struct bf_job *job = bf_job_by_id(service, row->id);
    unsigned step = row->step;
    uint64_t step_ms = 0;

    if (job) {
        pthread_mutex_lock(&job->progress.lock);
        step = job->progress.step;
        step_ms = bf_now_ms() - job->progress.since_ms;
        pthread_mutex_unlock(&job->progress.lock);
    }
    bf_json_add_string(json, "id", row->id);
    bf_json_add_string(json, "kind", row->kind);
    bf_json_add_string(json, "state", row->state);
    bf_json_add_string(json, "step",
                       kind && step < kind->step_count ? kind->steps[step].name : NULL);
    json_object_object_add(json, "steps",
                           kind ? steps_json(kind, row, step, step_ms) : json_object_new_array());
    json_object_object_add(json, "progress", job ? bf_progress_json(&job->progress) : NULL);
    bf_json_add_stored(json, "error", row->error);
    bf_json_add_utc(json, "started_at", row->started_us);
    bf_json_add_utc(json, "ended_at", row->ended_us);
    return json;
}

struct json_object *bf_job_progress_json(struct bf_job *job)
{
    return bf_progress_json(&job->progress);
}
