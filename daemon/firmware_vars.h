/* SPDX-License-Identifier: Apache-2.0 */
/* The UEFI variables that belong to each point: boot entries, enrolled keys.  A round keeps those
 * of its snapshot's moment in the state directory, firmware/REPLICATION/NUMBER; a launch of that
 * point gives them to its machine, where the target takes them.  That there are none fails neither:
 * the firmware also starts without, from the removable-media path.
 *
 * Threads: the job's thread.
 */
#pragma once

#include "daemon/job.h"

struct bf_launch_request;

/* Keep the variables of the machine for this round; a note in the round says why there are none. */
int bf_firmware_vars_keep(struct bf_job *job, struct json_object *round, struct bf_error *err);
/* Put the point's variables into the request if the target takes them; else warn.  *ret_data is
 * what the request points to; the caller frees it. */
int bf_firmware_vars_give(struct bf_job *job, uint64_t number, struct bf_launch_request *request,
                          char **ret_data, struct bf_error *err);
/* Remove those of one round; number 0: all of the replication. */
void bf_firmware_vars_remove(struct bf_job *job, uint64_t number);
