/* SPDX-License-Identifier: Apache-2.0 */
/* The boot ladder of a launch (policy.boot_ladder): what a Windows that never saw virtio starts
 * from.
 *
 *   virtio      from virtio at once
 *   sata-first  the first rung: all disks on SATA, which every Windows has a driver for, and beside
 *               them a small empty disk on virtio, for which it installs the virtio driver.  Once
 *               that boot is proven, the guest is shut down and the machine made anew, on the same
 *               clones, with its disks on virtio.
 *
 * On the same clones, since what the first boot installed lies there: another launch begins at the
 * point again.  A first boot that is not proven stays on SATA, with a warning.  A second one that
 * shows nothing fails as any launch does.
 *
 * The launch's context has "ladder": {"rung": "sata"|"virtio", "off": bool}, and the evidence of
 * the first boot as "evidence"."first".  Each part can be run again after a crash.
 *
 * Threads: the job's thread, but for what is marked. */
#pragma once

#include "connectors/finding.h"
#include "daemon/job.h"
#include "daemon/policy.h"

/* Of the plan step: on the first rung if the policy says so; BF_E_PLATFORM_UNSUPPORTED. */
int bf_ladder_begin(struct bf_job *job, struct bf_error *err);
/* The machine that is to be created is the one of the first rung. */
bool bf_ladder_on_sata(struct bf_job *job);
/* The step behind the boot.  `start` switches the second machine on and is bf_launch_start() or
 * what calls it. */
int bf_ladder_climb(struct bf_job *job, int (*start)(struct bf_job *job, struct bf_error *err),
                    struct bf_error *err);

/* Policy and mapping together; BF_E_BAD_INPUT.  Any thread. */
int bf_ladder_check(const struct bf_policy *policy, const struct bf_mapping *mapping,
                    struct bf_error *err);
/* A target that cannot do it blocks.  Any thread but main. */
void bf_ladder_precheck(struct bf_platform *target, const struct bf_policy *policy,
                        struct bf_findings *findings);
