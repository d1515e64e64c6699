/* SPDX-License-Identifier: Apache-2.0 */
/* The last step of a launch: wait until the guest shows that it has booted. */
#pragma once

#include "base/error.h"

struct bf_job;

/* Evidence is the serial console's text (policy.boot_pattern).  A machine that switches itself off
 * is BF_E_LAUNCH_FAILED.  At the deadline a machine that has said nothing at all and runs counts
 * as booted, unproven, with a warning, unless the policy names a pattern; anything else is
 * BF_E_LAUNCH_NOT_BOOTED with the console as evidence. */
int bf_launch_boot(struct bf_job *job, struct bf_error *err);
