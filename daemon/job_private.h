/* SPDX-License-Identifier: Apache-2.0 */
/* What job.c (the thread) and job_list.c (the main thread's side) share. */
#pragma once

#include "daemon/job.h"

struct bf_job {
    /* Set before the thread starts, constant while it runs. */
    struct bf_service *service;
    const struct bf_job_kind *kind;
    char *kind_name;
    char *id;
    char *replication_id;
    char *replication_name;
    int64_t started_us;
    int cancel_fd;

    /* Main thread. */
    struct bf_job *next;
    pthread_t thread;
    bool running;          /* a thread is there to be joined */
    uint64_t told_version; /* of the progress, told to subscribers last */

    /* The job's thread; the main thread while it runs a call of that thread or when it has
     * ended. */
    unsigned step;
    char *state; /* the row's: "running", "undoing", then how it ended */
    struct json_object *context;
    char *context_text; /* as it goes into the row */
    struct bf_inputs inputs;
    struct bf_error failure; /* what made it undo */
    bool leftover;           /* something is left for the janitor */
    bool interrupted;        /* the thread ended where it was */

    /* Any thread. */
    atomic_bool cancelled;
    atomic_bool stopping;
    atomic_bool uncancellable;       /* undoing, or behind the point of no return */
    atomic_uint_fast64_t rate_bytes; /* 0: no limit */
    struct bf_progress progress;
    pthread_mutex_t lock; /* guards the handles, for cancel */
    struct bf_platform *source;
    struct bf_platform *target;
};

const char *bf_job_step_name(const struct bf_job *job);
int bf_job_write_row(struct bf_job *job, int64_t ended_us, struct bf_error *err);
/* Main thread: the row of a waiting job becomes a job that runs. */
int bf_job_begin_waiting(struct bf_service *service, const struct bf_job_row *row,
                         struct bf_error *err);
int bf_job_thread_start(struct bf_job *job, struct bf_error *err);
void bf_job_ended(void *job); /* main thread: the thread has posted this as its last act */
