/* SPDX-License-Identifier: Apache-2.0 */
/* What the stub's files share: stub_service.c (life, questions, events), stub_rows.c (rows that are
 * read and changed), stub_jobs.c (verbs and the job that they play). */
#pragma once

#include "base/json.h"
#include "daemon/service.h"
#include "stub_service.h"

#define STUB_TICK_US 100000

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

/* A list of the world. */
struct json_object *stub_list(struct bf_service *service, const char *key);
bool stub_field_is(struct json_object *object, const char *key, const char *text);
/* The row whose field is this text; NULL: none.  Borrowed, as are the next two. */
struct json_object *stub_find(struct json_object *list, const char *key, const char *text);
struct json_object *stub_platform(struct bf_service *service, const char *name,
                                  struct bf_error *err);
struct json_object *stub_replication(struct bf_service *service, const char *name,
                                     struct bf_error *err);

/* Tell the subscribers. */
void stub_publish(struct bf_service *service, struct json_object *event);
/* Of the job that runs, each STUB_TICK_US. */
int stub_job_tick(sd_event_source *source, uint64_t now, void *user);
