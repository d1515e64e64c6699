/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: what this service has made on any platform, written before it is made.
 *
 *   intended -> made -> removing -> gone
 *                   \-> handed-over (the admin's from then on)
 *
 * Only this file writes ledger rows.  The tag of a thing is "bf-" and its row's id.
 * Kinds and what their columns hold (`owner` is what removal needs beside `ref`):
 *   snapshot  on the source, while a round runs; owner: machine id; ref: {"ref"} and, once the
 * round is committed, {"ref","baseline"}: then removing it leaves the baseline baseline  the same
 * row after that: what is left under the same tag; ref: the baseline's text volume    on the
 * target; owner: none layer     what one round wrote on one volume, later its point; owner: ledger
 * id of the volume, ref: the point's, once it is one clone     owner: none machine   launched;
 * owner: none adoption  a volume of the source that the target has taken; owner: its place, from
 * which it is found and given back, made or not
 *
 * Invariant 5: nothing that is not in the ledger is ever deleted. Removal takes a row, never a
 * name.
 */
#pragma once

#include <json-c/json.h>

#include "base/error.h"
#include "connectors/connector.h"
#include "daemon/inputs.h"
#include "daemon/job.h"
#include "daemon/store/store.h"

/* --- the job's thread --- */

enum bf_side { BF_SIDE_SOURCE, BF_SIDE_TARGET };

/* Announce something that is about to be made, in one transaction with the job's row: the row's
 * id is kept in the job's context as holder[key].  Found there already: nothing is written.
 * ret_tag: caller frees. */
int bf_ledger_intend(struct bf_job *job, struct json_object *holder, const char *key,
                     enum bf_side side, const char *kind, const char *name, const char *owner,
                     char **ret_tag, struct bf_error *err);
/* It has been made and is reached by `ref`. */
int bf_ledger_made(struct bf_job *job, const char *id, const char *ref, struct bf_error *err);
/* Remove what one row names, by its kind, and mark it gone.  Missing on the platform is success. */
int bf_ledger_remove(struct bf_job *job, const char *id, struct bf_error *err);
bool bf_ledger_at_source(const char *kind); /* such things are on the source platform */
char *bf_ledger_tag(const char *id);        /* caller frees */
/* Ids of the replication's open rows of one kind, without the one given (may be NULL) and without
 * the present baseline's; NULL-terminated, freed by bf_ledger_ids_free(). */
int bf_ledger_open_ids(struct bf_job *job, const char *kind, const char *but, char ***ret_ids,
                       struct bf_error *err);
void bf_ledger_ids_free(char **ids);
static inline void bf_ledger_ids_free_at(char ***at)
{
    bf_ledger_ids_free(*at);
}
#define bf_auto_ids __attribute__((cleanup(bf_ledger_ids_free_at))) char **
/* Remove all open rows of one kind, but the present baseline's. The first failure is returned, the
 * others are tried nevertheless. */
int bf_ledger_remove_kind(struct bf_job *job, const char *kind, struct bf_error *err);

/* --- main thread, inside a transaction --- */

int bf_ledger_set_state(struct bf_store *store, const char *id, const char *state,
                        struct bf_error *err);
int bf_ledger_set_ref(struct bf_store *store, const char *id, const char *ref,
                      struct bf_error *err);
/* Of a snapshot's row.  baseline NULL: not committed, or the round made none. */
int bf_ledger_set_snapshot(struct bf_store *store, const char *id, const char *snapshot_ref,
                           const char *baseline, struct bf_error *err);

/* --- any thread but main: removal without a job (janitor) --- */

/* What removing a row needs to know beside it. */
struct bf_removal {
    struct bf_ledger_row row;
    char *volume_ref;   /* kind layer: of its volume; NULL: the volume is gone */
    char *snapshot_ref; /* kind snapshot, baseline to be left */
    char *baseline;     /* the same */
};
int bf_removal_load(struct bf_store *store, const char *id, struct bf_removal *ret_removal,
                    struct bf_error *err); /* main thread */
/* Carry it out on the platform.  Does not write. */
int bf_removal_run(const struct bf_removal *removal, struct bf_platform *platform,
                   struct bf_error *err);
/* It is gone, or a snapshot has left its baseline: write that.  Main thread. */
int bf_removal_finish(struct bf_store *store, const struct bf_removal *removal,
                      struct bf_error *err);
void bf_removal_done(struct bf_removal *removal);
