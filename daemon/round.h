/* SPDX-License-Identifier: Apache-2.0 */
/* A round: brings the replica to a newer point in time.
 *
 * Told by the table in round.c; cutover.c has the same steps twice in its own.  What a round has
 * learnt lies in the job's context under "round":
 *   id, number, trigger, started_us, note
 *   forced     "full" or "compare" if asked for
 *   ledger     {"snapshot": ledger id, "layer/KEY": ledger id, "volume/KEY": ledger id}
 *   disks      [{"key","size","kind","note","last_point","last_number", then what was carried}]
 *   snapshot   {"ref","baseline","quiesced","taken_us"}
 *   copied, committed  booleans
 *
 * Numbered invariants of DESIGN kept here:
 *   1  step "snapshot" stores the new baseline before step "copy" writes a byte; step "drop"
 *      comes after the copies have flushed and "commit" has made the new one the replication's.
 *   2  step "describe" removes every snapshot of ours that is left of earlier rounds and fails if
 *      it cannot; step "release" comes before the next round.
 *   3  bf_round_plan() falls back to a compare or a full copy where anything is in doubt.
 *
 * Threads: the job's thread.
 */
#pragma once

#include <json-c/json.h>

#include "connectors/source.h"
#include "daemon/copier.h"
#include "daemon/job.h"

int bf_round_describe(struct bf_job *job, struct bf_error *err);
int bf_round_volumes(struct bf_job *job, struct bf_error *err);
int bf_round_snapshot(struct bf_job *job, struct bf_error *err);
int bf_round_copy(struct bf_job *job, struct bf_error *err);
int bf_round_point(struct bf_job *job, struct bf_error *err);
int bf_round_commit(struct bf_job *job, struct bf_error *err);
int bf_round_release(struct bf_job *job, struct bf_error *err);
int bf_round_drop(struct bf_job *job, struct bf_error *err);
int bf_round_keep(struct bf_job *job, struct bf_error *err);
int bf_round_undo_keep(struct bf_job *job, struct bf_error *err);
int bf_round_undo_describe(struct bf_job *job, struct bf_error *err);
int bf_round_undo_snapshot(struct bf_job *job, struct bf_error *err);
int bf_round_undo_copy(struct bf_job *job, struct bf_error *err);

/* clang-format off */
#define BF_ROUND_STEPS_TO_COMMIT(prefix) \
    {prefix "describe", bf_round_describe, bf_round_undo_describe, false}, \
    {prefix "volumes",  bf_round_volumes,  NULL,                   false}, \
    {prefix "snapshot", bf_round_snapshot, bf_round_undo_snapshot, false}, \
    {prefix "copy",     bf_round_copy,     bf_round_undo_copy,     false}, \
    {prefix "point",    bf_round_point,    NULL,                   false}, \
    {prefix "commit",   bf_round_commit,   NULL,                   false}
#define BF_ROUND_STEPS_AFTER(prefix) \
    {prefix "release",  bf_round_release,  NULL,                   true}, \
    {prefix "drop",     bf_round_drop,     NULL,                   true}
#define BF_ROUND_STEPS(prefix) BF_ROUND_STEPS_TO_COMMIT(prefix), BF_ROUND_STEPS_AFTER(prefix)
/* Between the two where something follows that must not wait for the snapshot's removal, which can
 * take long: if that fails, the snapshot is removed then. */
#define BF_ROUND_STEP_KEEP(prefix) \
    {prefix "keep",     bf_round_keep,     bf_round_undo_keep,     false}
/* clang-format on */

/* The round in the job's context. */
struct json_object *bf_round_context(struct bf_job *job);
/* The job works from a point that there is: its rounds do nothing. */
bool bf_round_skipped(struct bf_job *job);
/* Forget it, so that the next step "describe" begins another one. */
void bf_round_forget(struct bf_job *job);

/* Remove every snapshot of ours on the source but this ledger row's (NULL: all).  Invariant 2. */
int bf_round_remove_old_snapshots(struct bf_job *job, const char *ours, struct bf_error *err);

/* --- round_plan.c --- */

/* What there is to carry: the disks of the machine that the mapping wants.  -1 with
 * BF_E_DISK_UNSUPPORTED if there is none. */
int bf_round_list_disks(struct bf_job *job, const struct bf_machine *machine,
                        struct json_object *round, struct bf_error *err);
/* Decide of each disk whether it is carried in full, by delta or by comparison. */
void bf_round_plan(struct bf_job *job, const struct bf_snapshot *snapshot,
                   struct json_object *round);
enum bf_copy_kind bf_round_kind_of(const char *text);
void bf_round_note(struct json_object *holder, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Where the digest of one disk and round lies, and the journal of its copy.  Callers free. */
char *bf_digest_directory(const struct bf_config *config, const char *replication_id);
char *bf_digest_path(const struct bf_config *config, const char *replication_id,
                     const char *disk_key, uint64_t number);
char *bf_journal_path(const struct bf_config *config, const char *replication_id,
                      const char *disk_key, uint64_t number);

/* --- round_rows.c: what the main thread writes for a round --- */

int bf_round_begin_row(struct bf_job *job, struct json_object *round, const char *trigger,
                       struct bf_error *err);
int bf_round_put_running(struct bf_job *job, struct json_object *round, struct bf_error *err);
int bf_round_put_commit(struct bf_job *job, struct json_object *round, struct bf_error *err);
int bf_round_put_failed(struct bf_job *job, struct json_object *round, struct bf_error *err);
