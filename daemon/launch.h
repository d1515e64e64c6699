/* SPDX-License-Identifier: Apache-2.0 */
/* A launch: a machine started on the target from a point, on clones of the volumes.
 *
 * The replica is never booted and never converted.  What the steps learn lies in the job's
 * context under "launch":
 *   id, kind, point_id, point, machine_name, network, started_us, booted_us
 *   ledger      {"machine": ledger id, "clone/KEY": ledger id}
 *   clones      [{"disk","ref","ledger"}]
 *   converting, converted, conversion
 *   machine_ref, console, timing {part: ms}
 *   evidence    {"proven","by": "console"|"agent"|null,"text","seconds"}: what decided "booted"
 *   ladder      daemon/ladder.h
 *
 * A conversion that was cut off leaves the clones undefined, and twice is forbidden: then they are
 * thrown away and made anew.
 *
 * Threads: the job's thread, but for what is marked.
 */
#pragma once

#include <json-c/json.h>

#include "daemon/job.h"

int bf_launch_plan(struct bf_job *job, struct bf_error *err);
int bf_launch_clone(struct bf_job *job, struct bf_error *err);
int bf_launch_convert(struct bf_job *job, struct bf_error *err);
int bf_launch_create(struct bf_job *job, struct bf_error *err);
int bf_launch_start(struct bf_job *job, struct bf_error *err);
int bf_launch_boot(struct bf_job *job, struct bf_error *err);
int bf_launch_undo_plan(struct bf_job *job, struct bf_error *err);
int bf_launch_undo_clone(struct bf_job *job, struct bf_error *err);
int bf_launch_undo_create(struct bf_job *job, struct bf_error *err);

/* clang-format off */
/* start_step: bf_launch_start or what calls it.  climb_step: bf_ladder_climb() with that. */
#define BF_LAUNCH_STEPS(start_step, climb_step) \
    {"plan",    bf_launch_plan,    bf_launch_undo_plan,   false}, \
    {"clone",   bf_launch_clone,   bf_launch_undo_clone,  false}, \
    {"convert", bf_launch_convert, NULL,                  false}, \
    {"create",  bf_launch_create,  bf_launch_undo_create, false}, \
    {"start",   start_step,        NULL,                  false}, \
    {"boot",    bf_launch_boot,    NULL,                  false}, \
    {"climb",   climb_step,        NULL,                  false}
/* clang-format on */

struct json_object *bf_launch_context(struct bf_job *job);
bool bf_launch_is_drill(struct bf_job *job);
/* After the undo of a launch: its machine could not be removed and may run. */
bool bf_launch_may_run(struct bf_job *job);
/* Write the launch's row in this state, with the failure of the job if there is one. */
int bf_launch_put(struct bf_job *job, const char *state, struct bf_error *err);
/* Add milliseconds to a part of the timing. */
void bf_launch_time(struct bf_job *job, const char *part, uint64_t ms);
/* Ask a guest to shut down, within the policy's time; `may_force`: else it is powered off, with a
 * warning that begins with `what`.  In cutover.c. */
int bf_launch_shut_down(struct bf_job *job, struct bf_platform *platform, const char *machine_id,
                        bool may_force, const char *what, struct bf_error *err);
/* The machine's nics and where each goes.  BF_E_NO_SUCH_NETWORK, BF_E_ISOLATION: before anything is
 * made.  In launch_network.c. */
struct bf_launch_nic;
int bf_launch_map_networks(struct bf_job *job, const struct bf_machine *machine,
                           struct bf_launch_nic **ret_nics, struct bf_error *err);

/* --- main thread --- */

/* The open launch of a replication (not failed, discarded or confirmed), kind NULL: any.  ret_found
 * false: none. */
int bf_launch_find_open(struct bf_store *store, const char *replication_id, const char *kind,
                        struct bf_launch_row *ret_row, bool *ret_found, struct bf_error *err);
/* Put into a job's context what discarding or confirming it needs: "launch_row", and the ledger ids
 * under "machine_ledger" and "clone_ledgers". */
int bf_launch_remember(struct bf_store *store, struct json_object *context,
                       const struct bf_launch_row *row, struct bf_error *err);
int bf_launch_set_state(struct bf_service *service, const char *replication_id, const char *id,
                        const char *state, struct bf_error *err);

/* --- drill.c: drills by themselves (policy.drill_every) --- */
/* A round has ended well: start one if it is due, soon. */
void bf_drill_after_round(struct bf_service *service, const char *replication_id);
/* Policy and mapping together; BF_E_ISOLATION. */
struct bf_policy;
struct bf_mapping;
int bf_drill_check(const struct bf_policy *policy, const struct bf_mapping *mapping,
                   struct bf_error *err);

/* --- discard.c: steps that need bf_launch_remember() --- */
int bf_discard_machine(struct bf_job *job, struct bf_error *err);
int bf_discard_clones(struct bf_job *job, struct bf_error *err);
