/* SPDX-License-Identifier: Apache-2.0 */
/* What every kind of cutover has in common: cutover.c (a last round, a launch from its point) and
 * adopt.c (no round, a launch on the source's own volumes).
 *
 * Threads: the job's thread, but for what is marked.
 */
#pragma once

#include "connectors/connector.h"
#include "daemon/job.h"

/* Steps; the precheck also looks for a machine of the name that the launch will have. */
int bf_cutover_precheck(struct bf_job *job, struct bf_error *err);
/* Invariant 4. */
int bf_cutover_shut_down(struct bf_job *job, struct bf_error *err);
int bf_cutover_power_on_again(struct bf_job *job, struct bf_error *err); /* undo of it */
/* Start the launch, if the source is off still. */
int bf_cutover_start(struct bf_job *job, struct bf_error *err);

/* For steps: the source's power, and the source for what follows from it. */
int bf_cutover_source_power(struct bf_job *job, struct bf_platform **ret_source,
                            enum bf_power *ret_power, struct bf_error *err);

/* Main thread: a kind's begin() without what it asks for itself, and its end().  A cutover that was
 * refused or cancelled before it touched the source leaves state and schedule as they were. */
int bf_cutover_begins(struct bf_service *service, struct bf_job *job,
                      struct bf_replication_row *row, struct bf_error *err);
int bf_cutover_ended(struct bf_service *service, struct bf_job *job, struct bf_replication_row *row,
                     const struct bf_error *failure, struct bf_error *err);
