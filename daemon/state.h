/* SPDX-License-Identifier: Apache-2.0 */
/* What a replication can be in, how it gets from one state to another, and which verbs it allows.
 *
 * bf_state_set() is the only door: nothing else writes a replication's state.  A drill is a launch
 * beside the state, not a state.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "daemon/store/store.h"

struct bf_service;

/* clang-format off */
/* What is true in each:
 *  new              made; nothing is known of the machine but its id; nothing exists on a platform
 *  checked          prechecks passed; no point yet; a seed round may start
 *  blocked          a precheck blocks; no point yet
 *  seeding          the first round runs; volumes exist or are being made
 *  idle             at least one point; the baseline is the last point's; no round runs
 *  syncing          a round runs on top of the last point
 *  paused           no round starts until resume; points and baseline stay
 *  cutover          the cutover job runs; the source may be off
 *  confirm-pending  the machine runs on the target; the source is off; points and baseline stay
 *  done             confirmed: the launched machine is the admin's; nothing of ours is tagged, but for what
 *                   the target refused in a hand-over by force
 *  rolled-back      the launch is discarded; the source is in charge; rounds go on by delta
 *  failed           a job failed and its undo has run, or a rollback is needed; the error says what
 *                   and what next
 */
#define BF_STATES(X) \
    X(NEW, "new") \
    X(CHECKED, "checked") \
    X(BLOCKED, "blocked") \
    X(SEEDING, "seeding") \
    X(IDLE, "idle") \
    X(SYNCING, "syncing") \
    X(PAUSED, "paused") \
    X(CUTOVER, "cutover") \
    X(CONFIRM_PENDING, "confirm-pending") \
    X(DONE, "done") \
    X(ROLLED_BACK, "rolled-back") \
    X(FAILED, "failed")

#define BF_VERBS(X) \
    X(CHECK, "check") \
    X(SYNC, "sync") \
    X(PAUSE, "pause") \
    X(RESUME, "resume") \
    X(CANCEL, "cancel") \
    X(DRILL, "drill") \
    X(DRILL_END, "drill-end") \
    X(CUTOVER, "cutover") \
    X(CONFIRM, "confirm") \
    X(ROLLBACK, "rollback") \
    X(REMOVE, "remove")
/* clang-format on */

enum bf_state {
#define X(id, text) BF_STATE_##id,
    BF_STATES(X)
#undef X
        BF_STATE_MAX,
};

enum bf_verb {
#define X(id, text) BF_VERB_##id,
    BF_VERBS(X)
#undef X
        BF_VERB_MAX,
};

const char *bf_state_to_string(enum bf_state state);
int bf_state_from_string(const char *text, enum bf_state *ret_state, struct bf_error *err);
/* The state of a row; a text the store cannot hold is our bug. */
enum bf_state bf_state_of(const struct bf_replication_row *row);
bool bf_state_can_become(enum bf_state from, enum bf_state to);
bool bf_state_is_final(enum bf_state state);

const char *bf_verb_to_string(enum bf_verb verb);
int bf_verb_from_string(const char *text, enum bf_verb *ret_verb, struct bf_error *err);
bool bf_state_allows(enum bf_state state, enum bf_verb verb);
/* BF_E_STATE_FORBIDS, with the verbs allowed in the message. */
int bf_state_check_verb(const struct bf_replication_row *row, enum bf_verb verb,
                        struct bf_error *err);

/* Change the state: checks the transition, writes the whole row (its other fields may have been
 * changed by the caller) and the event in one transaction.  `why` NULL clears the row's error.
 * Setting the state that the row has already writes the row and no event.  Main thread. */
int bf_state_set(struct bf_service *service, struct bf_replication_row *row, enum bf_state to,
                 const struct bf_error *why, struct bf_error *err);
