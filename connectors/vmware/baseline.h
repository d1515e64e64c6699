/* SPDX-License-Identifier: Apache-2.0 */
/* Which disks of a snapshot are a delta to the last baseline, and why the others are not. */
#pragma once

#include "connectors/vmware/snapshot.h"

/* Fills disks and baseline of `snapshot`, and the disks of `moment`.  Every change map is asked
 * for to its end: a delta that is promised here can be had. */
int bf_vmware_baseline_plan(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                            const struct bf_vmware_machine *frozen,
                            const struct bf_snapshot_request *request,
                            struct bf_vmware_moment *moment, struct bf_snapshot *snapshot,
                            struct bf_error *err);

/* The moref of the snapshot above this one in the tree; NULL: none.  Caller frees. */
char *bf_vmware_parent_of(const struct bf_vmware_machine *machine, const char *ref);
