/* SPDX-License-Identifier: Apache-2.0 */
#include "stub_service.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "daemon/loop.h"
#include "stub_internal.h"

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

/* --- questions --- */

static struct json_object *answer_of(struct question *question, struct bf_error *err)
{
    struct bf_service *service = question->service;
    bool test = bf_streq(question->kind, "platform-test");
    const char *platform =
        json_object_get_string(json_object_object_get(question->body, test ? "name" : "platform"));
    const char *machine = json_object_get_string(json_object_object_get(question->body, "machine"));
    struct json_object *list = stub_list(service, "machines");
    struct json_object *found;

    if (bf_streq(platform, "gone")) {
        bf_fail(err, BF_E_PLATFORM_UNREACHABLE, 0, "platform gone: connect: Connection refused");
        bf_error_evidence(err, "error: failed to connect to the hypervisor\nerror: refused");
        return NULL;
    }
    if (bf_streq(question->kind, "machines"))
        return json_object_get(list);
    if (bf_streq(question->kind, "resources"))
        return json_object_get(stub_list(service, "resources"));
    if (bf_streq(question->kind, "machine")) {
        found = stub_find(list, "name", machine);
        if (!found)
            found = stub_find(list, "id", machine);
        if (!found)
            bf_fail(err, BF_E_NO_SUCH_MACHINE, 0, "platform %s has no machine %s", platform,
                    machine);
        return json_object_get(found);
    }
    if (bf_streq(question->kind, "replicate"))
        return json_object_get(json_object_array_get_idx(stub_list(service, "replications"), 0));
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

void stub_publish(struct bf_service *service, struct json_object *event)
{
    for (size_t i = 0; i < bf_array_length(service->subscribers); i++)
        if (service->subscribers[i].fn)
            service->subscribers[i].fn(event, service->subscribers[i].user);
}

void stub_service_event(struct bf_service *service, const char *replication, const char *type,
                        const char *message)
{
    struct json_object *rows = stub_list(service, "events");
    struct json_object *event = json_object_new_object();

    bf_json_add_u64(event, "id", json_object_array_length(rows) + 1);
    bf_json_add_utc(event, "at", bf_utc_us());
    bf_json_add_string(event, "replication", replication);
    bf_json_add_string(event, "level", bf_streq(type, "error") ? "error" : "info");
    bf_json_add_string(event, "type", type);
    bf_json_add_string(event, "message", message);
    json_object_object_add(event, "data", NULL);
    json_object_array_add(rows, event);
    stub_publish(service, event);
}

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
    if (sd_event_add_time_relative(loop->event, &service->job_timer, CLOCK_MONOTONIC, STUB_TICK_US,
                                   1, stub_job_tick, service) < 0)
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
