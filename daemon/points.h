/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes and points of a replication: recorded, kept, removed. */
#pragma once

#include "daemon/job.h"
#include "daemon/store/store.h"

/* --- the job's thread --- */

/* A volume was made or grown: its row and its ledger row, in one transaction. */
int bf_points_put_volume(struct bf_job *job, const char *ledger_id, const char *disk_key,
                         const char *ref, uint64_t size_bytes, bool seeded, struct bf_error *err);
/* A step: remove the points beyond the policy's, oldest first, and volumes that belong to no disk
 * and no point any more.  A point in use by a launch is left for the next time. */
int bf_points_retention(struct bf_job *job, struct bf_error *err);
/* Remove every point before the one of this number: only the oldest can be launched there
 * (BF_E_POINT_NOT_OLDEST).  For a job that has the replication for itself.  What the job's inputs
 * gave before is no longer valid. */
int bf_points_remove_older(struct bf_job *job, uint64_t number, struct bf_error *err);
/* Forget all points and volumes with their digests.  The volumes themselves: deleted, or
 * (hand_over) left to the admin. */
int bf_points_remove_all(struct bf_job *job, bool hand_over, struct bf_error *err);

/* --- main thread, inside a transaction --- */

/* A round has completed on it: deltas can follow. */
int bf_points_set_seeded(struct bf_store *store, const char *replication_id, const char *disk_key,
                         struct bf_error *err);
