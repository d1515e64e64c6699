/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the service share.  Main thread only, but for what is marked. */
#pragma once

#include <json-c/json.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/error.h"
#include "base/secret.h"
#include "daemon/config.h"
#include "daemon/loop.h"
#include "daemon/patience.h"
#include "daemon/service.h"
#include "daemon/store/store.h"

struct bf_job;
struct bf_late_watch;
struct bf_share;
struct bf_subscriber;
struct bf_question;

struct bf_service {
    struct bf_loop *loop;
    struct bf_store *store;
    struct bf_seal *seal;
    const struct bf_config *config;
    struct bf_share *share; /* of the rate limits; any thread */
    atomic_bool stopping;   /* the janitor looks at it from its thread */
    int64_t started_us;

    struct bf_job *jobs; /* those that run, in a list */
    struct bf_subscriber *subscribers;
    unsigned last_subscriber;
    struct bf_question *questions;      /* being answered */
    struct bf_late_watch *late_watches; /* late_shutdown.c */

    sd_event_source *schedule_timer; /* the next due round */
    sd_event_source *progress_timer; /* each second while jobs run */
    sd_event_source *janitor_timer;
    bool janitor_runs;
    bool janitor_again;       /* it was kicked while it ran */
    bool janitor_passed_over; /* rows of a replication whose job ran when it looked */
    uint64_t janitor_due_ms;  /* when the timer fires */
    struct bf_patience patience;
};

/* Store an event and tell the subscribers once the present transaction is over.
 * `replication` and `data` (borrowed) may be NULL. */
int bf_service_event(struct bf_service *service, const char *replication, const char *level,
                     const char *type, struct json_object *data, struct bf_error *err,
                     const char *format, ...) __attribute__((format(printf, 7, 8)));
/* Tell subscribers only: progress. */
void bf_service_publish(struct bf_service *service, struct json_object *event);

/* A short directory for sockets and scratch files of one replication and one use of it.  It stays
 * over a restart, as what lies in it may still be served.  Caller frees.  Any thread. */
char *bf_service_work_directory(const struct bf_service *service, const char *id, char use);

/* --- rows as the API shows them (service_json.c) --- */
struct json_object *bf_platform_row_json(const struct bf_platform_row *row);
struct json_object *bf_round_row_json(struct bf_service *service, const struct bf_round_row *row);
struct json_object *bf_point_row_json(const struct bf_point_row *row);
struct json_object *bf_launch_row_json(const struct bf_launch_row *row);
/* names: an object that a list of rows shares; it keeps what was looked up. */
struct json_object *bf_ledger_row_json(struct bf_service *service, const struct bf_ledger_row *row,
                                       struct json_object *names);
struct json_object *bf_event_row_json(const struct bf_event_row *row);
int bf_replication_row_json(struct bf_service *service, const struct bf_replication_row *row,
                            struct json_object **ret_json, struct bf_error *err);
/* Adds the value that a stored JSON text holds; null if there is none. */
void bf_json_add_stored(struct json_object *json, const char *key, const char *text);

/* --- scheduler.c --- */
/* Look again at what is due: after a state change, a job's end, a changed policy. */
void bf_scheduler_kick(struct bf_service *service);
int bf_scheduler_start(struct bf_service *service, struct bf_error *err);
void bf_scheduler_stop(struct bf_service *service);

/* --- reconcile.c --- */
/* Take up what the store knows: open jobs go on, the janitor looks at the rest. */
int bf_reconcile_start(struct bf_service *service, struct bf_error *err);
/* After that time at the latest, remove what ledger rows name and nothing needs any more. */
void bf_janitor_kick(struct bf_service *service, uint64_t delay_ms);
/* A job has ended; leftover: with something to be removed. */
void bf_janitor_job_ended(struct bf_service *service, bool leftover);
/* The platforms answer again: try everything now, however often it failed. */
void bf_janitor_hurry(struct bf_service *service);
void bf_janitor_stop(struct bf_service *service);

/* --- service_limits.c --- */
/* Give the shares what the store knows. */
int bf_service_limits_start(struct bf_service *service, struct bf_error *err);

/* --- question.c --- */
void bf_questions_cancel(struct bf_service *service);
