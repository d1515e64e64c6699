/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a replication's conversion (guest/plan.h): when it is made, and when it holds.
 *
 * It is made at the end of a round that has a point to look at, when there is none or its inputs
 * (bf_plan_inputs()) are others than they were; and again when the rounds since have carried so
 * much that a kernel may have been among it, but not more often than each hour.  A check with
 * "inspect" makes it at once, of the newest point or, before there is one, of a snapshot of the
 * source. With conversion "none" there is no plan.
 *
 * An inspection that fails leaves a plan with a warning (its error) and method v2v, so that it is
 * not tried with every round; the launch then converts without a plan.
 *
 * Where the source does not let all disks be read at a time, a check looks at the first disk with
 * some of the others, then with the next ones, until it finds a system.  That plan is "partial":
 * the check shows it, the first round makes another, no launch goes by it.
 *
 * A launch uses it when its inputs are the present ones and the launched point is not older
 * (bf_plan_for_launch()).  A launch that did not boot drops the plan it used: the next one looks.
 *
 * Threads: the job's thread, but for what is marked. */
#pragma once

#include <json-c/json.h>

#include "daemon/config.h"
#include "daemon/inputs.h"
#include "daemon/job.h"

/* What a plan depends on and is made anew for: firmware, disks and their sizes, MAC addresses and
 * disk bus of the machine, policy and drivers of the conversion, this program's version.  Any
 * thread. */
struct json_object *bf_plan_inputs(const struct bf_inputs *inputs, const struct bf_config *config);

/* Is the stored plan of these inputs?  Any thread. */
bool bf_plan_is_current(const struct bf_inputs *inputs, const struct bf_config *config);

/* The plan that stands in for an inspection at the launch of a point; NULL: none.  Caller puts. */
struct json_object *bf_plan_for_launch(const struct bf_inputs *inputs,
                                       const struct bf_config *config, uint64_t point);
int bf_plan_drop(struct bf_job *job, struct bf_error *err);

/* --- steps --- */

/* Of a round, behind its commit. */
int bf_plan_step(struct bf_job *job, struct bf_error *err);
/* Of a check with "inspect": true, else they do nothing. */
int bf_plan_snapshot(struct bf_job *job, struct bf_error *err);
int bf_plan_undo_snapshot(struct bf_job *job, struct bf_error *err);
int bf_plan_inspect(struct bf_job *job, struct bf_error *err);
int bf_plan_release(struct bf_job *job, struct bf_error *err);

/* The findings of the plan, if it is current, behind those of a check. */
void bf_plan_add_findings(const struct bf_inputs *inputs, const struct bf_config *config,
                          struct json_object *findings);
