/* SPDX-License-Identifier: Apache-2.0 */
/* vSphere's tasks: what takes longer than an answer.
 *
 * A task can wait for ever for an admin to answer a question of the machine's (no space left,
 * moved or copied): each look at the task looks at that as well, and a question ends the wait
 * with BF_E_MACHINE_STATE and its text.  A wait that ends early (deadline, cancel, question) asks
 * the server to cancel the task, which it may not be able to.
 */
#pragma once

#include "base/clock.h"
#include "connectors/vmware/soap.h"

/* Sends a request that answers with a task, and waits.  `machine` is whose questions matter.
 * ret_result (NULL: not wanted) gets the moref of the result; NULL if there is none. */
int bf_vmware_task(struct bf_vmware *vw, struct bf_vmware_request *request, const char *machine,
                   struct bf_deadline deadline, char **ret_result, struct bf_error *err);
