/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of a machine: made, found again by tag, removed, and the order of it all.
 *
 * A snapshot is named "TAG blockferry".  Invariants kept here:
 *   - No snapshot is made while another of ours is there (invariant 2 of the service).
 *   - Change tracking is never switched on while there are snapshots: ids given out then miss
 *     changes silently (vSphere 6.5 and later do not tell).
 *   - Removed means: the server says it is gone, and the disks are consolidated.
 *   - A baseline counts only if machine, host, parent snapshot, and of each disk uuid, size and
 *     change id's epoch are what they were; any doubt is a reason for a full comparison.
 */
#pragma once

#include "connectors/source.h"
#include "connectors/vmware/machine.h"
#include "connectors/vmware/refs.h"

int bf_vmware_prepare(struct bf_platform *platform, const char *machine_id, struct bf_error *err);
int bf_vmware_snapshot(struct bf_platform *platform, const struct bf_snapshot_request *request,
                       struct bf_snapshot **ret_snapshot, struct bf_error *err);
int bf_vmware_release(struct bf_platform *platform, const char *machine_id,
                      const char *snapshot_ref, struct bf_error *err);
int bf_vmware_release_tag(struct bf_platform *platform, const char *machine_id, const char *tag,
                          struct bf_error *err);
int bf_vmware_tagged(struct bf_platform *platform, bf_tagged_fn *fn, void *user,
                     struct bf_error *err);
