/* SPDX-License-Identifier: Apache-2.0 */
/* What looking at a guest and converting it ask alike (guest/convert.h), from a job's inputs.
 *
 * Borrows from the inputs: not to be used across bf_job_refresh().  Threads: the job's thread. */
#pragma once

#include "daemon/job.h"
#include "guest/convert.h"

struct bf_guest_request {
    struct bf_convert_request convert;
    const char **macs;
    char *directory;
};

/* The machine, the policy, and a work directory of this letter (bf_service_work_directory()), which
 * is made.  The caller adds the disks, and the plan if there is one. */
int bf_guest_request_init(struct bf_job *job, char letter, uint64_t deadline_ms,
                          struct bf_guest_request *ret_request, struct bf_error *err);
void bf_guest_request_done(struct bf_guest_request *request);

#define bf_auto_guest_request                                                                      \
    __attribute__((cleanup(bf_guest_request_done))) struct bf_guest_request
