/* SPDX-License-Identifier: Apache-2.0 */
/* A job is a table of steps {name, run, undo}, carried out by a thread of its own.
 *
 * The runner writes the job's row (step, context) before each step and after it, so that a
 * restart takes the job up at the step it was in; therefore every step is idempotent:
 * run again it finds in the context what it did before.  A step that fails makes the runner undo
 * the steps backwards, that one included.  A step marked `after_commit` lies behind the point
 * of no return: its failure is kept and told, and the job goes on.
 *
 * Threads: the functions of part 1 belong to the main loop thread, those of part 2 to the
 *          job's thread; the job thread touches the store by bf_job_transaction() only.
 * Stop:    when the service stops, the thread ends where it is, nothing is undone and the row stays
 *          "running": a stop and a crash are the same thing to a job.
 */
#pragma once

#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "connectors/connector.h"
#include "daemon/inputs.h"
#include "daemon/progress.h"
#include "daemon/store/store.h"

struct bf_service;
struct bf_job;

struct bf_step {
    const char *name;
    int (*run)(struct bf_job *job, struct bf_error *err);
    int (*undo)(struct bf_job *job, struct bf_error *err); /* NULL: nothing to undo */
    bool after_commit;
};

struct bf_job_kind {
    const char *name;
    const struct bf_step *steps;
    size_t step_count;
    bool beside; /* may run beside another job of the replication (a drill) */

    /* Main thread, inside the transaction that writes the job's row.  `row` is the replication,
     * read afresh.  begin() moves it to the state in which the job runs; end() to the one
     * after it, with failure NULL when all went well.  end() must not fail for reasons
     * other than the store. */
    int (*begin)(struct bf_service *service, struct bf_job *job, struct bf_replication_row *row,
                 struct bf_error *err);
    int (*end)(struct bf_service *service, struct bf_job *job, struct bf_replication_row *row,
               const struct bf_error *failure, struct bf_error *err);
    bool removes; /* end() removes the replication, and the job's row with it */
};

/* NULL: no such kind. */
const struct bf_job_kind *bf_job_kind_get(const char *name);

/* --- part 1: main thread --- */

/* Start a job.  params: JSON object for the steps (borrowed, may be NULL). BF_E_BUSY when another
 * job of the replication excludes it. */
int bf_job_start(struct bf_service *service, const char *kind, const char *replication_id,
                 struct json_object *params, char ret_id[37], struct bf_error *err);
/* Let a job wait for the one that runs; it starts when that has ended well.  BF_E_BUSY: one waits
 * already. */
int bf_job_wait(struct bf_service *service, const char *kind, const char *replication_id,
                struct json_object *params, char ret_id[37], struct bf_error *err);
/* Cancel the waiting job, if there is one. */
int bf_job_wait_cancel(struct bf_service *service, const char *replication_id, char ret_id[37],
                       bool *ret_found, struct bf_error *err);
/* No job has the replication any more: the waiting one's turn.  failure: of the one that had, or
 * NULL. */
void bf_job_wait_over(struct bf_service *service, const char *replication_id,
                      const struct bf_error *failure);
/* Take a job of the store up again. */
int bf_job_resume(struct bf_service *service, const struct bf_job_row *row, struct bf_error *err);
/* A running job of the replication: the main one, or the one beside it.  NULL: none. */
struct bf_job *bf_job_find(struct bf_service *service, const char *replication_id, bool beside);
struct bf_job *bf_job_by_id(struct bf_service *service, const char *id);
unsigned bf_job_running(struct bf_service *service, const char *kind); /* NULL: all */
void bf_job_cancel(struct bf_job *job);
/* Make all threads end where they are, and wait up to the deadline. */
void bf_job_stop_all(struct bf_service *service, struct bf_deadline deadline);
const char *bf_job_id(const struct bf_job *job);
const struct bf_job_kind *bf_job_kind_of(const struct bf_job *job);
const char *bf_job_replication_id(const struct bf_job *job);
/* The job's parameters and context: in begin() and end() only, when no thread runs. */
struct json_object *bf_job_context(struct bf_job *job);
/* The API's job object, live where the job runs. */
struct json_object *bf_job_row_json(struct bf_service *service, const struct bf_job_row *row);
struct json_object *bf_job_progress_json(struct bf_job *job);
/* The rate that all copies of the job may use together; 0: no limit.  Takes effect at once. */
void bf_job_set_rate(struct bf_job *job, uint64_t rate_bytes);

/* --- part 2: the job's thread --- */

/* Inputs as of the last refresh. */
const struct bf_inputs *bf_job_inputs(struct bf_job *job);
int bf_job_refresh(struct bf_job *job, struct bf_error *err);
struct json_object *bf_job_params(struct bf_job *job);
/* Opened at first use, closed when the job ends.  Borrowed. */
int bf_job_source(struct bf_job *job, struct bf_platform **ret_platform, struct bf_error *err);
int bf_job_target(struct bf_job *job, struct bf_platform **ret_platform, struct bf_error *err);

/* Run fn on the main thread in a store transaction which also writes the job's row with
 * its context.  fn NULL: only the row. */
typedef int bf_job_store_fn(struct bf_service *service, void *user, struct bf_error *err);
int bf_job_transaction(struct bf_job *job, bf_job_store_fn *fn, void *user, struct bf_error *err);
int bf_job_save(struct bf_job *job, struct bf_error *err);

/* BF_E_CANCELLED if the job is to end. */
int bf_job_check(struct bf_job *job, struct bf_error *err);
int bf_job_cancel_fd(const struct bf_job *job); /* readable when the job is to end */
/* Wait; cancelled: BF_E_CANCELLED. */
int bf_job_sleep(struct bf_job *job, uint64_t ms, struct bf_error *err);
/* The error came because the service stops: nothing may be concluded from it. */
bool bf_job_stopping(const struct bf_job *job);
struct bf_progress *bf_job_progress(struct bf_job *job);
uint64_t bf_job_rate(const struct bf_job *job);
/* A copy of this job takes part in the sharing of the rate limits; the caller ends it by
 * bf_share_leave(). */
struct bf_share_copy *bf_job_share(struct bf_job *job);
const struct bf_config *bf_job_config(const struct bf_job *job);
/* Tell people: a warning event, when something is odd but the job goes on. */
void bf_job_warn(struct bf_job *job, const struct bf_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For tests that kill the process: called at each durable boundary with a word for it. */
extern void (*bf_job_probe)(const char *where);
