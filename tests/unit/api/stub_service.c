/* SPDX-License-Identifier: Apache-2.0 */
#include "stub_service.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/loop.h"
#include "daemon/report.h"
#include "daemon/service.h"
#include "daemon/store/store.h"

#define JOB_TICKS 20
#define TICK_US 100000

struct bf_loop {
    sd_event *event;
};

struct question {
    struct bf_service *service;
    struct question *next;
    sd_event_source *timer;
    char *kind;
    struct json_object *body;
    bf_answer_fn *fn;
    void *user;
};

struct bf_service {
    struct bf_loop *loop;
    struct json_object *world;
    struct json_object *jobs; /* array of those that have ended */
    struct question *questions;
    sd_event_source *job_timer;
    struct json_object *job; /* running; borrowed from its replication */
    char *job_replication;
    char *job_verb;
    unsigned tick;
    unsigned last_job;
    struct {
        unsigned id;
        bf_event_fn *fn;
        void *user;
    } subscribers[8];
    unsigned last_subscriber;
};

struct bf_loop *stub_loop_new(void)
{
    struct bf_loop *loop = bf_xcalloc(1, sizeof(*loop));

    if (sd_event_new(&loop->event) < 0)
        abort();
    return loop;
}

void stub_loop_free(struct bf_loop *loop)
{
    sd_event_unref(loop->event);
    free(loop);
}

sd_event *bf_loop_event(struct bf_loop *loop)
{
    return loop->event;
}

static struct json_object *world_list(struct bf_service *service, const char *key)
{
    return json_object_object_get(service->world, key);
}

static bool field_is(struct json_object *object, const char *key, const char *text)
{
    struct json_object *value = json_object_object_get(object, key);

    return value && text && bf_streq(json_object_get_string(value), text);
}

static struct json_object *find_in(struct json_object *list, const char *key, const char *text)
{
    for (size_t i = 0; i < json_object_array_length(list); i++)
        if (field_is(json_object_array_get_idx(list, i), key, text))
            return json_object_array_get_idx(list, i);
    return NULL;
}

static struct json_object *platform_find(struct bf_service *service, const char *name,
                                         struct bf_error *err)
{
    struct json_object *found = find_in(world_list(service, "platforms"), "name", name);

    if (!found)
        bf_fail(err, BF_E_NO_SUCH_PLATFORM, 0, "no platform %s", name);
    return found;
}

static struct json_object *replication_find(struct bf_service *service, const char *name,
                                            struct bf_error *err)
{
    struct json_object *found = find_in(world_list(service, "replications"), "name", name);

    if (!found)
        bf_fail(err, BF_E_NO_SUCH_REPLICATION, 0, "no replication %s", name);
    return found;
}

static int give(struct json_object *value, struct json_object **ret)
{
    if (!value)
        return -1;
    *ret = json_object_get(value);
    return 0;
}

int bf_service_status(struct bf_service *service, struct json_object **ret, struct bf_error *err)
{
    struct json_object *status = json_object_new_object();

    (void)err;
    bf_json_add_string(status, "version", BF_VERSION);
    bf_json_add_u64(status, "platforms",
                    json_object_array_length(world_list(service, "platforms")));
    bf_json_add_u64(status, "replications",
                    json_object_array_length(world_list(service, "replications")));
    *ret = status;
    return 0;
}

int bf_service_platforms(struct bf_service *service, struct json_object **ret, struct bf_error *err)
{
    (void)err;
    return give(world_list(service, "platforms"), ret);
}

int bf_service_platform(struct bf_service *service, const char *name, struct json_object **ret,
                        struct bf_error *err)
{
    return give(platform_find(service, name, err), ret);
}

int bf_service_replications(struct bf_service *service, struct json_object **ret,
                            struct bf_error *err)
{
    (void)err;
    return give(world_list(service, "replications"), ret);
}

int bf_service_replication(struct bf_service *service, const char *name, struct json_object **ret,
                           struct bf_error *err)
{
    return give(replication_find(service, name, err), ret);
}

static int of_replication(struct bf_service *service, const char *name, const char *key,
                          struct json_object **ret, struct bf_error *err)
{
    if (!replication_find(service, name, err))
        return -1;
    struct json_object *list = json_object_object_get(world_list(service, key), name);

    *ret = list ? json_object_get(list) : json_object_new_array();
    return 0;
}

int bf_service_rounds(struct bf_service *service, const char *name, uint64_t limit,
                      struct json_object **ret, struct bf_error *err)
{
    bf_auto_json *all = NULL;

    if (of_replication(service, name, "rounds", &all, err) < 0)
        return -1;
    *ret = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(all) && (limit == 0 || i < limit); i++)
        json_object_array_add(*ret, json_object_get(json_object_array_get_idx(all, i)));
    return 0;
}

int bf_service_round_totals(struct bf_service *service, const char *name,
                            struct bf_round_totals *ret_totals, struct bf_error *err)
{
    bf_auto_json *all = NULL;
    struct bf_round_totals totals = {0};

    if (of_replication(service, name, "rounds", &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *round = json_object_array_get_idx(all, i);
        uint64_t number = json_object_get_uint64(json_object_object_get(round, "number"));

        totals.newest = number > totals.newest ? number : totals.newest;
        totals.sent_bytes += json_object_get_uint64(json_object_object_get(round, "sent_bytes"));
        totals.complete += field_is(round, "state", "complete");
        totals.failed += field_is(round, "state", "failed");
        totals.cancelled += field_is(round, "state", "cancelled");
    }
    *ret_totals = totals;
    return 0;
}

int bf_service_points(struct bf_service *service, const char *name, struct json_object **ret,
                      struct bf_error *err)
{
    if (bf_streq(name, "slow disk"))
        bf_sleep_ms(11000);
    return of_replication(service, name, "points", ret, err);
}

int bf_service_launches(struct bf_service *service, const char *name, struct json_object **ret,
                        struct bf_error *err)
{
    return of_replication(service, name, "launches", ret, err);
}

int bf_service_jobs(struct bf_service *service, const char *name, uint64_t limit,
                    struct json_object **ret, struct bf_error *err)
{
    (void)limit;
    if (!replication_find(service, name, err))
        return -1;
    return give(service->jobs, ret);
}

int bf_service_ledger(struct bf_service *service, int all, struct json_object **ret,
                      struct bf_error *err)
{
    struct json_object *rows = world_list(service, "ledger");

    (void)err;
    *ret = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(rows); i++)
        if (all || !field_is(json_object_array_get_idx(rows, i), "state", "gone"))
            json_object_array_add(*ret, json_object_get(json_object_array_get_idx(rows, i)));
    return 0;
}

int bf_service_events(struct bf_service *service, const char *replication, uint64_t after,
                      uint64_t limit, struct json_object **ret, struct bf_error *err)
{
    struct json_object *rows = world_list(service, "events");

    (void)err;
    *ret = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(rows); i++) {
        struct json_object *row = json_object_array_get_idx(rows, i);

        if (json_object_get_uint64(json_object_object_get(row, "id")) <= after ||
            (replication && !field_is(row, "replication", replication)) ||
            json_object_array_length(*ret) >= limit)
            continue;
        json_object_array_add(*ret, json_object_get(row));
    }
    return 0;
}

int bf_service_events_last(struct bf_service *service, const char *replication, uint64_t count,
                           uint64_t *ret_after, struct bf_error *err)
{
    struct json_object *rows = world_list(service, "events");

    (void)err;
    *ret_after = 0;
    for (size_t i = json_object_array_length(rows); i > 0; i--) {
        struct json_object *row = json_object_array_get_idx(rows, i - 1);

        if (replication && !field_is(row, "replication", replication))
            continue;
        if (count-- == 0) {
            *ret_after = json_object_get_uint64(json_object_object_get(row, "id"));
            break;
        }
    }
    return 0;
}

int bf_service_plan(struct bf_service *service, const char *name, struct json_object **ret,
                    struct bf_error *err)
{
    if (!replication_find(service, name, err))
        return -1;
    *ret = json_object_new_object();
    json_object_object_add(*ret, "plan", NULL);
    json_object_object_add(*ret, "point", NULL);
    bf_json_add_bool(*ret, "current", false);
    return 0;
}

int bf_service_report(struct bf_service *service, const char *name, struct json_object **ret,
                      struct bf_error *err)
{
    struct json_object *found = replication_find(service, name, err);

    if (!found)
        return -1;
    *ret = json_object_new_object();
    json_object_object_add(*ret, "replication", json_object_get(found));
    return 0;
}

char *bf_report_html(struct json_object *report)
{
    (void)report;
    return bf_xstrdup("<!DOCTYPE html><title>report</title>");
}

int bf_service_platform_add(struct bf_service *service, struct json_object *body,
                            struct json_object **ret, struct bf_error *err)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    const char *name = json_object_get_string(json_object_object_get(body, "name"));
    struct json_object *row = json_object_new_object();
    struct json_object *password = json_object_object_get(body, "password");

    if (platform_find(service, name, &ignored)) {
        json_object_put(row);
        return bf_fail(err, BF_E_EXISTS, 0, "platform %s is registered already", name);
    }
    json_object_object_foreach(body, key, value) if (!bf_streq(key, "password"))
        json_object_object_add(row, key, json_object_get(value));
    /* Told so that a test can see which bytes arrived; the real service never does. */
    bf_json_add_u64(row, "password_bytes", password ? strlen(json_object_get_string(password)) : 0);
    json_object_array_add(world_list(service, "platforms"), row);
    *ret = json_object_get(row);
    return 0;
}

int bf_service_platform_change(struct bf_service *service, const char *name,
                               struct json_object *body, struct json_object **ret,
                               struct bf_error *err)
{
    struct json_object *row = platform_find(service, name, err);
    struct json_object *password = json_object_object_get(body, "password");

    if (!row)
        return -1;
    if (json_object_object_get(body, "url") &&
        !json_object_get_boolean(json_object_object_get(body, "yes")))
        return bf_fail(err, BF_E_CONFIRM_NEEDED, 0, "platform %s is in use", name);
    json_object_object_foreach(body, key, value) if (!bf_streq(key, "password"))
        json_object_object_add(row, key, json_object_get(value));
    if (password)
        bf_json_add_u64(row, "password_bytes", strlen(json_object_get_string(password)));
    *ret = json_object_get(row);
    return 0;
}

int bf_service_limits(struct bf_service *service, struct json_object **ret, struct bf_error *err)
{
    (void)err;
    return give(world_list(service, "limits"), ret);
}

int bf_service_limits_set(struct bf_service *service, struct json_object *body,
                          struct json_object **ret, struct bf_error *err)
{
    (void)service;
    (void)err;
    *ret = json_object_get(body);
    return 0;
}

int bf_service_platform_remove(struct bf_service *service, const char *name, struct bf_error *err)
{
    struct json_object *list = world_list(service, "platforms");

    if (!platform_find(service, name, err))
        return -1;
    if (find_in(world_list(service, "replications"), "source", name))
        return bf_fail(err, BF_E_IN_USE, 0, "platform %s is used by a replication", name);
    for (size_t i = 0; i < json_object_array_length(list); i++)
        if (field_is(json_object_array_get_idx(list, i), "name", name))
            json_object_array_del_idx(list, i, 1);
    return 0;
}

int bf_service_replication_change(struct bf_service *service, const char *name,
                                  struct json_object *body, struct json_object **ret,
                                  struct bf_error *err)
{
    struct json_object *row = replication_find(service, name, err);

    if (!row)
        return -1;
    json_object_object_foreach(body, part, fields)
    {
        struct json_object *into = json_object_object_get(row, part);

        if (!json_object_is_type(fields, json_type_object))
            return bf_fail(err, BF_E_BAD_JSON, 0, "%s: an object is expected", part);
        json_object_object_foreach(fields, key, value)
        {
            if (!json_object_object_get_ex(into, key, NULL))
                return bf_fail(err, BF_E_BAD_JSON, 0, "%s.%s: unknown field", part, key);
            json_object_object_add(into, key, json_object_get(value));
        }
    }
    *ret = json_object_get(row);
    return 0;
}

/* --- jobs --- */

static void publish(struct bf_service *service, struct json_object *event)
{
    for (size_t i = 0; i < bf_array_length(service->subscribers); i++)
        if (service->subscribers[i].fn)
            service->subscribers[i].fn(event, service->subscribers[i].user);
}

void stub_service_event(struct bf_service *service, const char *replication, const char *type,
                        const char *message)
{
    struct json_object *rows = world_list(service, "events");
    struct json_object *event = json_object_new_object();

    bf_json_add_u64(event, "id", json_object_array_length(rows) + 1);
    bf_json_add_utc(event, "at", bf_utc_us());
    bf_json_add_string(event, "replication", replication);
    bf_json_add_string(event, "level", bf_streq(type, "error") ? "error" : "info");
    bf_json_add_string(event, "type", type);
    bf_json_add_string(event, "message", message);
    json_object_object_add(event, "data", NULL);
    json_object_array_add(rows, event);
    publish(service, event);
}

static struct json_object *steps(unsigned tick)
{
    static const char *const names[] = {"snapshot", "copy", "flush", "release"};
    unsigned at = tick * (unsigned)bf_array_length(names) / (JOB_TICKS + 1);
    struct json_object *list = json_object_new_array();

    for (unsigned i = 0; i < bf_array_length(names); i++) {
        struct json_object *step = json_object_new_object();

        bf_json_add_string(step, "name", names[i]);
        bf_json_add_string(step, "state", i < at ? "done" : i == at ? "running" : "todo");
        json_object_object_add(step, "seconds", i < at ? json_object_new_double(0.5) : NULL);
        json_object_array_add(list, step);
    }
    return list;
}

static void job_show(struct bf_service *service, struct json_object *job)
{
    struct json_object *progress = json_object_new_object();
    uint64_t total = 8ULL << 30;

    bf_json_add_u64(progress, "done_bytes", total * service->tick / JOB_TICKS);
    bf_json_add_u64(progress, "to_send_bytes", total);
    bf_json_add_u64(progress, "rate", 412 << 20);
    bf_json_add_u64(progress, "eta_s", (JOB_TICKS - service->tick) / 10);
    json_object_object_add(progress, "disks", json_object_new_array());
    bf_json_add_string(progress, "line", "copying sda");
    json_object_object_add(job, "progress", progress);
    json_object_object_add(job, "steps", steps(service->tick));
    bf_json_add_string(job, "step", "copy");
}

static void job_end(struct bf_service *service, struct json_object *row)
{
    struct json_object *job = json_object_get(service->job);

    bf_json_add_string(job, "state", "done");
    bf_json_add_utc(job, "ended_at", bf_utc_us());
    json_object_object_add(job, "progress", NULL);
    json_object_array_add(service->jobs, job);
    service->job = NULL;
    json_object_object_add(row, "job", NULL);
    bf_json_add_string(row, "state",
                       bf_streq(service->job_verb, "cutover") ? "confirm-pending" : "idle");
    stub_service_event(service, service->job_replication, "round", "round 4 complete");
    if (bf_streq(service->job_verb, "remove")) {
        struct json_object *list = world_list(service, "replications");

        for (size_t i = 0; i < json_object_array_length(list); i++)
            if (json_object_array_get_idx(list, i) == row) {
                json_object_array_del_idx(list, i, 1);
                break;
            }
    }
}

static int on_job_tick(sd_event_source *source, uint64_t now, void *user)
{
    struct bf_service *service = user;
    bf_auto_error ignored = BF_ERROR_INIT;
    struct json_object *row = replication_find(service, service->job_replication, &ignored);
    bf_auto_json *event = json_object_new_object();

    service->tick++;
    if (service->tick > JOB_TICKS) {
        job_end(service, row);
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
    }
    job_show(service, service->job);
    json_object_object_add(event, "id", NULL);
    bf_json_add_utc(event, "at", bf_utc_us());
    bf_json_add_string(event, "replication", service->job_replication);
    bf_json_add_string(event, "level", "info");
    bf_json_add_string(event, "type", "progress");
    bf_json_add_string(event, "message", "copying");
    json_object_object_add(event, "data", json_object_get(service->job));
    publish(service, event);
    sd_event_source_set_time(source, now + TICK_US);
    return 0;
}

static struct json_object *job_start(struct bf_service *service, struct json_object *row,
                                     const char *name, const char *verb)
{
    struct json_object *job = json_object_new_object();
    bf_auto_free char *id = bf_xasprintf("job-%u", ++service->last_job);
    bool cutover = bf_streq(verb, "cutover");

    bf_json_add_string(job, "id", id);
    bf_json_add_string(job, "kind", cutover ? "cutover" : "round");
    bf_json_add_string(job, "state", "running");
    json_object_object_add(job, "error", NULL);
    bf_json_add_utc(job, "started_at", bf_utc_us());
    json_object_object_add(job, "ended_at", NULL);
    service->tick = 0;
    job_show(service, job);
    json_object_object_add(row, "job", job);
    bf_json_add_string(row, "state", cutover ? "cutover" : "syncing");
    service->job = job;
    free(service->job_replication);
    service->job_replication = bf_xstrdup(name);
    free(service->job_verb);
    service->job_verb = bf_xstrdup(verb);
    sd_event_source_set_time_relative(service->job_timer, TICK_US);
    sd_event_source_set_enabled(service->job_timer, SD_EVENT_ON);
    return job;
}

int bf_service_verb(struct bf_service *service, const char *name, const char *verb,
                    struct json_object *body, struct json_object **ret, struct bf_error *err)
{
    struct json_object *row = replication_find(service, name, err);
    struct json_object *job = NULL;

    if (!row)
        return -1;
    if (bf_streq(verb, "cutover") &&
        !(body && json_object_get_boolean(json_object_object_get(body, "yes"))))
        return bf_fail(err, BF_E_CONFIRM_NEEDED, 0, "cutover of %s stops the source", name);
    if (service->job)
        return bf_fail(err, BF_E_BUSY, 0, "%s: job %s is running", name,
                       json_object_get_string(json_object_object_get(service->job, "id")));
    if (bf_streq(verb, "confirm"))
        return bf_fail(err, BF_E_STATE_FORBIDS, 0,
                       "%s is idle: confirm%s is not allowed (allowed: check, sync, pause)", name,
                       body && json_object_get_boolean(json_object_object_get(body, "force"))
                           ? " by force"
                           : "");
    if (bf_streq(verb, "pause") || bf_streq(verb, "resume") || bf_streq(verb, "cancel")) {
        bf_json_add_string(row, "state", bf_streq(verb, "pause") ? "paused" : "idle");
        stub_service_event(service, name, "state", verb);
    } else {
        job = job_start(service, row, name, verb);
    }
    *ret = json_object_new_object();
    bf_json_add_string(*ret, "job",
                       job ? json_object_get_string(json_object_object_get(job, "id")) : NULL);
    bf_json_add_string(*ret, "state", json_object_get_string(json_object_object_get(row, "state")));
    return 0;
}

/* --- questions --- */

static struct json_object *answer_of(struct question *question, struct bf_error *err)
{
    struct bf_service *service = question->service;
    bool test = bf_streq(question->kind, "platform-test");
    const char *platform =
        json_object_get_string(json_object_object_get(question->body, test ? "name" : "platform"));
    const char *machine = json_object_get_string(json_object_object_get(question->body, "machine"));
    struct json_object *list = world_list(service, "machines");
    struct json_object *found;

    if (bf_streq(platform, "gone")) {
        bf_fail(err, BF_E_PLATFORM_UNREACHABLE, 0, "platform gone: connect: Connection refused");
        bf_error_evidence(err, "error: failed to connect to the hypervisor\nerror: refused");
        return NULL;
    }
    if (bf_streq(question->kind, "machines"))
        return json_object_get(list);
    if (bf_streq(question->kind, "resources"))
        return json_object_get(world_list(service, "resources"));
    if (bf_streq(question->kind, "machine")) {
        found = find_in(list, "name", machine);
        if (!found)
            found = find_in(list, "id", machine);
        if (!found)
            bf_fail(err, BF_E_NO_SUCH_MACHINE, 0, "platform %s has no machine %s", platform,
                    machine);
        return json_object_get(found);
    }
    if (bf_streq(question->kind, "replicate"))
        return json_object_get(json_object_array_get_idx(world_list(service, "replications"), 0));
    if (bf_streq(question->kind, "reconcile"))
        return json_object_new_array();
    found = json_object_new_object();
    bf_json_add_bool(found, "ok", true);
    return found;
}

static void question_free(struct question *question)
{
    sd_event_source_disable_unref(question->timer);
    json_object_put(question->body);
    free(question->kind);
    free(question);
}

static int on_answer(sd_event_source *source, uint64_t now, void *user)
{
    struct question *question = user;
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *answer = answer_of(question, &err);

    (void)source;
    (void)now;
    for (struct question **at = &question->service->questions; *at; at = &(*at)->next)
        if (*at == question) {
            *at = question->next;
            break;
        }
    question->fn(answer, bf_error_is_set(&err) ? &err : NULL, question->user);
    question_free(question);
    return 0;
}

int bf_service_ask(struct bf_service *service, const char *kind, struct json_object *body,
                   bf_answer_fn *fn, void *user, struct bf_error *err)
{
    struct question *question = bf_xcalloc(1, sizeof(*question));
    struct json_object *platform = json_object_object_get(body, "platform");
    uint64_t delay_us = bf_streq(json_object_get_string(platform), "slow") ? 1500000 : 20000;

    (void)err;
    *question = (struct question){.service = service,
                                  .next = service->questions,
                                  .kind = bf_xstrdup(kind),
                                  .body = json_object_get(body),
                                  .fn = fn,
                                  .user = user};
    if (sd_event_add_time_relative(service->loop->event, &question->timer, CLOCK_MONOTONIC,
                                   delay_us, 1, on_answer, question) < 0)
        abort();
    service->questions = question;
    return 0;
}

/* --- events --- */

unsigned bf_service_subscribe(struct bf_service *service, bf_event_fn *fn, void *user)
{
    for (size_t i = 0; i < bf_array_length(service->subscribers); i++)
        if (!service->subscribers[i].fn) {
            service->subscribers[i].id = ++service->last_subscriber;
            service->subscribers[i].fn = fn;
            service->subscribers[i].user = user;
            return service->last_subscriber;
        }
    abort();
}

void bf_service_unsubscribe(struct bf_service *service, unsigned id)
{
    for (size_t i = 0; i < bf_array_length(service->subscribers); i++)
        if (service->subscribers[i].id == id)
            service->subscribers[i].fn = NULL;
}

/* --- life --- */

struct bf_service *stub_service_new(struct bf_loop *loop, const char *world_path,
                                    struct bf_error *err)
{
    struct bf_service *service = bf_xcalloc(1, sizeof(*service));

    service->loop = loop;
    service->jobs = json_object_new_array();
    if (bf_json_read_file(world_path, &service->world, err) < 0) {
        stub_service_free(service);
        return NULL;
    }
    if (sd_event_add_time_relative(loop->event, &service->job_timer, CLOCK_MONOTONIC, TICK_US, 1,
                                   on_job_tick, service) < 0)
        abort();
    sd_event_source_set_enabled(service->job_timer, SD_EVENT_OFF);
    return service;
}

void stub_service_free(struct bf_service *service)
{
    if (!service)
        return;
    while (service->questions) {
        struct question *question = service->questions;
        bf_auto_error err = BF_ERROR_INIT;

        service->questions = question->next;
        bf_fail(&err, BF_E_CANCELLED, 0, "the service is stopping");
        question->fn(NULL, &err, question->user);
        question_free(question);
    }
    sd_event_source_disable_unref(service->job_timer);
    json_object_put(service->world);
    json_object_put(service->jobs);
    free(service->job_replication);
    free(service->job_verb);
    free(service);
}
