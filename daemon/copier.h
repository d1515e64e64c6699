/* SPDX-License-Identifier: Apache-2.0 */
/* Supervises blockferry-copy: one child per disk, so that a crash costs one copy and not the
 * service.
 *
 * A child that dies, stalls or reports an error which a retry may mend is started again with
 * the same journal, after a pause, as long as the snapshot lives; tries are counted
 * anew once it has carried something.
 *
 * Threads: the job's thread.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "connectors/endpoint_spec.h"
#include "daemon/job.h"

enum bf_copy_kind { BF_COPY_FULL, BF_COPY_DELTA, BF_COPY_COMPARE };

const char *bf_copy_kind_to_string(enum bf_copy_kind kind);

struct bf_copy_task {
    /* In; all borrowed. */
    const char *disk_key;
    enum bf_copy_kind kind;
    const struct bf_endpoint_spec *source;
    const struct bf_endpoint_spec *target;
    const char *source_id;   /* what the journal calls the source: this snapshot */
    const char *target_id;   /* and the target: the layer this round writes */
    const char *digest;      /* file to write; NULL: none can be made */
    const char *digest_from; /* the last point's; NULL: none */
    const char *journal;
    uint64_t verify_percent;

    /* Out. */
    uint64_t to_send_bytes;
    uint64_t sent_bytes;
    uint64_t zero_bytes;
    uint64_t read_bytes;
    uint64_t copy_ms;
    char *digest_root; /* hex */
    char *verified;    /* NULL: not */
};

/* Asked before a copy is tried again: is what it reads from still there? */
typedef int bf_copy_alive_fn(struct bf_job *job, const char *disk_key, struct bf_error *err);

/* Run all; returns when all are done or one has failed for good (the others are ended then). */
int bf_copier_run(struct bf_job *job, struct bf_copy_task *tasks, size_t count, uint64_t retries,
                  bf_copy_alive_fn *alive, struct bf_error *err);
void bf_copy_task_done(struct bf_copy_task *task); /* frees the outputs */

/* For tests: a line of a child's progress put into a task; -1 if it is an error event. */
int bf_copier_parse_line(const char *line, struct bf_copy_task *task,
                         struct bf_disk_progress *progress, struct bf_error *err);
