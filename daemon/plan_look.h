/* SPDX-License-Identifier: Apache-2.0 */
/* Within daemon/plan*.c: making a plan of the disks of a point or a snapshot.
 *
 * Threads: the job's thread. */
#pragma once

#include "daemon/job.h"

/* Put the inputs into the plan and store it. */
int bf_plan_keep(struct bf_job *job, struct json_object *plan, uint64_t point,
                 struct bf_error *err);
/* Inspect and keep what came of it.  -1: nothing was learnt about the guest (cancelled, the store,
 * the platform); a failing inspection is kept as a plan that says so. */
int bf_plan_look_at_point(struct bf_job *job, const struct bf_point_row *point,
                          struct bf_error *err);
