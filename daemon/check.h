/* SPDX-License-Identifier: Apache-2.0 */
/* Prechecks: what the source says about replicating the machine, and the target about taking it. */
#pragma once

#include <json-c/json.h>

#include "connectors/connector.h"
#include "daemon/job.h"
#include "daemon/policy.h"

/* Any thread but main: ask both platforms.  ret_machine is the fresh description, ret_findings a
 * JSON array; findings named in `waived` (JSON array of earlier findings or of ids, or NULL) are
 * marked "waived": true. */
int bf_check_run(struct bf_platform *source, struct bf_platform *target, const char *machine,
                 const struct bf_policy *policy, struct json_object *mapping,
                 struct json_object *waived, struct bf_machine **ret_machine,
                 struct json_object **ret_findings, struct bf_error *err);
/* A finding of severity block that is not waived. */
bool bf_check_blocks(struct json_object *findings);
/* BF_E_PRECHECK_BLOCKED with the blocking findings as evidence. */
int bf_check_fail(struct json_object *findings, struct bf_error *err);

/* A job's step: check and store; for cutover: blocked is a failure. */
int bf_check_step(struct bf_job *job, struct bf_error *err);
