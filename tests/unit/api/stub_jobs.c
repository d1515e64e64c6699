/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "stub_internal.h"

#define JOB_TICKS 20

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
        struct json_object *list = stub_list(service, "replications");

        for (size_t i = 0; i < json_object_array_length(list); i++)
            if (json_object_array_get_idx(list, i) == row) {
                json_object_array_del_idx(list, i, 1);
                break;
            }
    }
}

int stub_job_tick(sd_event_source *source, uint64_t now, void *user)
{
    struct bf_service *service = user;
    bf_auto_error ignored = BF_ERROR_INIT;
    struct json_object *row = stub_replication(service, service->job_replication, &ignored);
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
    stub_publish(service, event);
    sd_event_source_set_time(source, now + STUB_TICK_US);
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
    sd_event_source_set_time_relative(service->job_timer, STUB_TICK_US);
    sd_event_source_set_enabled(service->job_timer, SD_EVENT_ON);
    return job;
}

int bf_service_verb(struct bf_service *service, const char *name, const char *verb,
                    struct json_object *body, struct json_object **ret, struct bf_error *err)
{
    struct json_object *row = stub_replication(service, name, err);
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
