/* SPDX-License-Identifier: Apache-2.0 */
/* vSphere's tasks: what takes longer than an answer.
 *
 * A task can wait for ever for an admin to answer a question of the machine's (no space left,
 * moved or copied): each look at the task looks at that as well, and a question ends the wait
 * with BF_E_MACHINE_STATE and its text.  A wait that ends early (deadline, cancel, question) asks
 * the server to cancel the task, which it may not be able to: it may then still do, much later,
 * what it was asked for.  So who looks whether that is there asks bf_vmware_task_pending() as well.
 */
#pragma once

#include "connectors/vmware/soap.h"

/* Sends a request that answers with a task, and waits: `limit_ms`, or what the platform's option
 * task_wait says; then BF_E_DEADLINE.  `machine` is whose questions matter.
 * ret_result (NULL: not wanted) gets the moref of the result; NULL if there is none. */
int bf_vmware_task(struct bf_vmware *vw, struct bf_vmware_request *request, const char *machine,
                   uint64_t limit_ms, char **ret_result, struct bf_error *err);

/* Is a task of this kind ("createSnapshot") queued or running for a machine, whoever
 * began it? */
int bf_vmware_task_pending(struct bf_vmware *vw, const char *machine, const char *kind,
                           bool *ret_pending, struct bf_error *err);
