/* SPDX-License-Identifier: Apache-2.0 */
/* The service: its life, its events, its subscribers. */
#include "daemon/service.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/job.h"
#include "daemon/job_private.h"
#include "daemon/late_shutdown.h"
#include "daemon/service_private.h"
#include "daemon/share.h"

enum { EVENTS_KEPT = 100000, PROGRESS_US = 1000000 };

struct bf_subscriber {
    struct bf_subscriber *next;
    unsigned id;
    bf_event_fn *fn;
    void *user;
};

/* --- subscribers --- */

unsigned bf_service_subscribe(struct bf_service *service, bf_event_fn *fn, void *user)
{
    struct bf_subscriber *subscriber = bf_xcalloc(1, sizeof(*subscriber));

    bf_assert_main();
    *subscriber =
        (struct bf_subscriber){service->subscribers, ++service->last_subscriber, fn, user};
    service->subscribers = subscriber;
    return subscriber->id;
}

void bf_service_unsubscribe(struct bf_service *service, unsigned id)
{
    bf_assert_main();
    for (struct bf_subscriber **at = &service->subscribers; *at; at = &(*at)->next) {
        if ((*at)->id == id) {
            struct bf_subscriber *gone = *at;

            *at = gone->next;
            free(gone);
            return;
        }
    }
}

void bf_service_publish(struct bf_service *service, struct json_object *event)
{
    struct bf_subscriber *next;

    bf_assert_main();
    for (struct bf_subscriber *at = service->subscribers; at; at = next) {
        next = at->next; /* it may unsubscribe itself, not others */
        at->fn(event, at->user);
    }
}

struct publication {
    struct bf_service *service;
    struct json_object *event;
};

static void publish_later(void *user)
{
    struct publication *publication = user;

    bf_service_publish(publication->service, publication->event);
    json_object_put(publication->event);
    free(publication);
}

/* --- events --- */

static int store_event(struct bf_service *service, struct bf_event_row *row, struct bf_error *err)
{
    struct publication *publication;

    if (bf_store_event_add(service->store, row, &row->id, err) != 0)
        return -1;
    if (row->id % 1000 == 0 && bf_store_event_trim(service->store, EVENTS_KEPT, err) != 0)
        return -1;
    /* Not now: the transaction we are in may not be over. */
    publication = bf_xcalloc(1, sizeof(*publication));
    publication->service = service;
    publication->event = bf_event_row_json(row);
    bf_loop_post(service->loop, publish_later, publication);
    return 0;
}

int bf_service_event(struct bf_service *service, const char *replication, const char *level,
                     const char *type, struct json_object *data, struct bf_error *err,
                     const char *format, ...)
{
    struct bf_event_row row = {.at_us = bf_utc_us()};
    va_list args;
    int r;

    bf_assert_main();
    va_start(args, format);
    row.message = bf_xvasprintf(format, args);
    va_end(args);
    bf_text_clean(row.message, false);
    row.replication = bf_xstrdup(replication);
    row.level = bf_xstrdup(level);
    row.type = bf_xstrdup(type);
    if (data)
        row.data = bf_xstrdup(bf_json_text(data));
    if (bf_streq(level, "info")) /* trouble is logged, with its error, by who met it */
        bf_log_info("%s", row.message);
    r = store_event(service, &row, err);
    bf_event_row_done(&row);
    return r;
}

/* --- progress, once a second --- */

static struct json_object *progress_event(struct bf_job *job)
{
    struct json_object *event = json_object_new_object();
    struct json_object *data = json_object_new_object();
    const char *step;

    pthread_mutex_lock(&job->progress.lock);
    job->told_version = job->progress.version;
    step = job->progress.step < job->kind->step_count ? job->kind->steps[job->progress.step].name
                                                      : NULL;
    pthread_mutex_unlock(&job->progress.lock);
    bf_json_add_string(data, "job", job->id);
    bf_json_add_string(data, "kind", job->kind_name);
    bf_json_add_string(data, "step", step);
    json_object_object_add(data, "progress", bf_job_progress_json(job));
    bf_json_add_u64(event, "id", 0);
    bf_json_add_utc(event, "at", bf_utc_us());
    /* The job's inputs belong to its thread. */
    bf_json_add_string(event, "replication", job->replication_name);
    bf_json_add_string(event, "level", "info");
    bf_json_add_string(event, "type", "progress");
    bf_json_add_string(event, "message", step ? step : "");
    json_object_object_add(event, "data", data);
    return event;
}

static int on_progress_timer(sd_event_source *source, uint64_t usec, void *user)
{
    struct bf_service *service = user;

    (void)usec;
    for (struct bf_job *job = service->jobs; job; job = job->next) {
        bool news;

        pthread_mutex_lock(&job->progress.lock);
        news = job->progress.version != job->told_version;
        pthread_mutex_unlock(&job->progress.lock);
        if (news && service->subscribers) {
            bf_auto_json *event = progress_event(job);

            bf_service_publish(service, event);
        }
    }
    sd_event_source_set_time_relative(source, PROGRESS_US);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

/* --- life --- */

char *bf_service_work_directory(const struct bf_service *service, const char *id, char use)
{
    return bf_xasprintf("%s/%.8s/%c", service->config->run_directory, id, use);
}

int bf_service_new(struct bf_loop *loop, struct bf_store *store, struct bf_seal *seal,
                   const struct bf_config *config, struct bf_service **ret_service,
                   struct bf_error *err)
{
    struct bf_service *service = bf_xcalloc(1, sizeof(*service));

    (void)err;
    *service = (struct bf_service){.loop = loop, .store = store, .seal = seal, .config = config};
    service->started_us = bf_utc_us();
    service->share = bf_share_new();
    *ret_service = service;
    return 0;
}

int bf_service_start(struct bf_service *service, struct bf_error *err)
{
    int r;

    bf_assert_main();
    r = sd_event_add_time_relative(bf_loop_event(service->loop), &service->progress_timer,
                                   CLOCK_MONOTONIC, PROGRESS_US, 0, on_progress_timer, service);
    if (r < 0)
        return bf_fail(err, BF_E_SYSTEM, -r, "timer");
    if (bf_service_limits_start(service, err) != 0 || bf_reconcile_start(service, err) != 0 ||
        bf_late_shutdown_start(service, err) != 0)
        return -1;
    return bf_scheduler_start(service, err);
}

bool bf_service_stop(struct bf_service *service, uint64_t timeout_ms)
{
    struct bf_deadline deadline = bf_deadline_in(timeout_ms);

    bf_assert_main();
    service->stopping = true;
    bf_scheduler_stop(service);
    bf_janitor_stop(service);
    bf_late_shutdown_stop(service);
    bf_questions_cancel(service);
    bf_job_stop_all(service, deadline);
    while ((service->questions || service->janitor_runs) && !bf_deadline_passed(deadline))
        bf_loop_turn(service->loop, 100);
    bf_loop_drain(service->loop);
    return !service->jobs && !service->questions && !service->janitor_runs;
}

void bf_service_free(struct bf_service *service)
{
    if (!service)
        return;
    sd_event_source_disable_unref(service->progress_timer);
    bf_late_shutdown_free(service);
    while (service->subscribers)
        bf_service_unsubscribe(service, service->subscribers->id);
    bf_share_free(service->share);
    bf_patience_done(&service->patience);
    free(service);
}
