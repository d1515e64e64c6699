/* SPDX-License-Identifier: Apache-2.0 */
/* A replication's row as jobs change it: what its begin and end mean for state and schedule. */
#pragma once

#include "connectors/machine.h"
#include "daemon/job.h"
#include "daemon/state.h"

/* --- main thread --- */

int bf_replication_round_begins(struct bf_service *service, struct bf_job *job,
                                struct bf_replication_row *row, struct bf_error *err);
int bf_replication_round_ended(struct bf_service *service, struct bf_job *job,
                               struct bf_replication_row *row, const struct bf_error *failure,
                               struct bf_error *err);
/* Put the next round on the schedule, `last_start_us` being the start of the last one.  Does not
 * write the row. */
void bf_replication_schedule(struct bf_replication_row *row, int64_t last_start_us);
/* Its policy: nothing is copied, the cutover adopts (daemon/adopt.h). */
bool bf_replication_adopts(const struct bf_replication_row *row);
/* A point that a launch could use.  -1 only if the store fails. */
int bf_replication_has_point(struct bf_service *service, const char *replication_id, bool *ret_has,
                             struct bf_error *err);

/* --- the job's thread --- */

int bf_replication_put_machine(struct bf_job *job, const struct bf_machine *machine,
                               struct bf_error *err);
