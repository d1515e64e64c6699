/* SPDX-License-Identifier: Apache-2.0 */
/* The hand-over of a launched machine to the admin: the target takes our marks off it, and the
 * ledger lets it go.
 *
 * Before the first mark is touched the launch is "handing-over": from there on there is no way
 * back, since of a machine that has lost its mark a rollback would see nothing and would start the
 * source beside it.  What the target refuses is named, thing by thing.  An admin who has looked can
 * say that it is enough (confirm's "force"): then the ledger lets go of what the target would not,
 * nothing of it is deleted, and the source stays off.
 *
 * Threads: the job's thread.
 */
#pragma once

#include "daemon/job.h"

/* A step of confirm; needs bf_launch_remember(). */
int bf_hand_over(struct bf_job *job, struct bf_error *err);
/* Asked for with "force". */
bool bf_hand_over_forced(struct bf_job *job);
