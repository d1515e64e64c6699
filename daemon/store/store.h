/* SPDX-License-Identifier: Apache-2.0 */
/* The store: everything the service must remember, behind one face.
 *
 * Queries live in daemon/store/ only.  SQLite (WAL, synchronous=FULL, foreign
 * keys) implements it now; the same face is meant to run on PostgreSQL, so
 * nothing here speaks of files, rowids or SQL.
 *
 * Threads:   the main loop thread alone (bf_assert_main()).
 * Ownership: a row read is the caller's, freed by its _done(); texts in a row
 *            given to a write are borrowed.  NULL text = SQL NULL.
 * Errors:    BF_E_STORE with the engine's words as evidence; a unique name taken is BF_E_EXISTS;
 *            a row not there is the not-found error named at the function.
 * Durability: a write has reached the disk when the function (or bf_store_commit) returns.
 * Times are UTC microseconds, 0 = none.  Ids are texts made by bf_uuid_new(), ledger ids 16 hex
 * digits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bf_store;

/* Open or create DIRECTORY/blockferry.db, migrate it forward; before that a copy is kept as
 * blockferry.db.schema-N, N the older schema.  Newer schema: BF_E_STORE_NEWER.
 * Used by another process: BF_E_STORE_LOCKED. */
int bf_store_open(const char *directory, struct bf_store **ret_store, struct bf_error *err);
void bf_store_close(struct bf_store *store);
unsigned bf_store_schema_version(void);

/* Transactions nest by counting; the outermost commit writes.  After the rollback of an inner one,
 * or an error of the engine that rolled all back (disk full), the outermost commit fails with
 * BF_E_STORE and nothing of it was written. */
int bf_store_begin(struct bf_store *store, struct bf_error *err);
int bf_store_commit(struct bf_store *store, struct bf_error *err);
void bf_store_rollback(struct bf_store *store);

/* --- platforms --- */
struct bf_platform_row {
    char *id;
    char *name; /* unique */
    char *type;
    char *url;
    char *user;            /* NULL: none */
    char *sealed_password; /* bf_seal_wrap() text, owner "platform:<id>"; NULL: none */
    char *options;         /* JSON object text; NULL: none */
    int64_t created_us;
};
int bf_store_platform_add(struct bf_store *store, const struct bf_platform_row *row,
                          struct bf_error *err);
/* By id or by name.  BF_E_NO_SUCH_PLATFORM. */
int bf_store_platform_get(struct bf_store *store, const char *id_or_name,
                          struct bf_platform_row *ret_row, struct bf_error *err);
int bf_store_platform_list(struct bf_store *store, struct bf_platform_row **ret_rows,
                           size_t *ret_count, struct bf_error *err);
int bf_store_platform_update(struct bf_store *store, const struct bf_platform_row *row,
                             struct bf_error *err);
/* Still used by a replication, or named by an open ledger row: BF_E_IN_USE. */
int bf_store_platform_remove(struct bf_store *store, const char *id, struct bf_error *err);
void bf_platform_row_done(struct bf_platform_row *row);

/* --- rate limits: of the service, of a platform, of a replication --- */
struct bf_limit_row {
    char *scope;          /* "service", or the id of what follows */
    char *platform_id;    /* NULL: not of a platform.  The row goes with it */
    char *replication_id; /* NULL: not of a replication.  The row goes with it */
    char *limits;         /* JSON array, see daemon/limits.h */
};
int bf_store_limit_put(struct bf_store *store, const struct bf_limit_row *row,
                       struct bf_error *err); /* insert or replace */
int bf_store_limit_remove(struct bf_store *store, const char *scope, struct bf_error *err);
int bf_store_limit_list(struct bf_store *store, struct bf_limit_row **ret_rows, size_t *ret_count,
                        struct bf_error *err);
void bf_limit_row_done(struct bf_limit_row *row);

/* --- replications --- */
struct bf_replication_row {
    char *id;
    char *name; /* unique */
    char *source_platform_id;
    char *target_platform_id;
    char *machine_id; /* unique together with source_platform_id: BF_E_ALREADY_REPLICATED */
    char *machine_name;
    char *machine;  /* JSON of the description last seen; NULL: never seen */
    char *mapping;  /* JSON object */
    char *policy;   /* JSON object */
    char *state;    /* daemon/state.h's text */
    char *error;    /* JSON of the error (bf_json_error) that the state carries; NULL: none */
    char *findings; /* JSON array of the last precheck; NULL: never checked */
    int64_t checked_us;
    char *baseline; /* the platform's, of the last complete round; NULL: next round is full */
    int64_t next_round_us; /* when the scheduler starts the next; 0: not scheduled */
    unsigned failures;     /* rounds failed in a row */
    int64_t created_us;
    int64_t changed_us; /* of the state */
};
int bf_store_replication_add(struct bf_store *store, const struct bf_replication_row *row,
                             struct bf_error *err);
int bf_store_replication_get(struct bf_store *store, const char *id_or_name,
                             struct bf_replication_row *ret_row, struct bf_error *err);
int bf_store_replication_list(struct bf_store *store, struct bf_replication_row **ret_rows,
                              size_t *ret_count, struct bf_error *err);
int bf_store_replication_update(struct bf_store *store, const struct bf_replication_row *row,
                                struct bf_error *err);
/* With its volumes, rounds, points, launches, jobs (the ledger rows stay). */
int bf_store_replication_remove(struct bf_store *store, const char *id, struct bf_error *err);
void bf_replication_row_done(struct bf_replication_row *row);

/* --- plans of conversions: at most one of a replication --- */
struct bf_plan_row {
    char *replication_id; /* key */
    char *plan;           /* JSON object, see guest/plan.h */
    uint64_t
        point_number; /* the point that was looked at; 0: a snapshot of the source, before any */
    int64_t made_us;
};
int bf_store_plan_put(struct bf_store *store, const struct bf_plan_row *row,
                      struct bf_error *err); /* insert or replace */
/* ret_found false: there is none, and the row is untouched. */
int bf_store_plan_get(struct bf_store *store, const char *replication_id,
                      struct bf_plan_row *ret_row, bool *ret_found, struct bf_error *err);
/* Not there: success. */
int bf_store_plan_remove(struct bf_store *store, const char *replication_id, struct bf_error *err);
void bf_plan_row_done(struct bf_plan_row *row);

/* --- volumes: one per replicated disk --- */
struct bf_volume_row {
    char *replication_id;
    char *disk_key; /* key together with replication_id */
    char *ledger_id;
    char *ref; /* the target's */
    uint64_t size_bytes;
    bool seeded; /* a full round has completed on it */
};
int bf_store_volume_put(struct bf_store *store, const struct bf_volume_row *row,
                        struct bf_error *err); /* insert or replace */
int bf_store_volume_list(struct bf_store *store, const char *replication_id,
                         struct bf_volume_row **ret_rows, size_t *ret_count, struct bf_error *err);
/* Not there: success. */
int bf_store_volume_remove(struct bf_store *store, const char *replication_id, const char *disk_key,
                           struct bf_error *err);
void bf_volume_row_done(struct bf_volume_row *row);

/* --- rounds --- */
struct bf_round_row {
    char *id;
    char *replication_id;
    uint64_t number; /* 1, 2, ... within the replication */
    char *kind;      /* "full", "delta", "compare": of the disk that did most */
    char *trigger;   /* "seed", "schedule", "manual", "cutover", "retry" */
    char *state;     /* "running", "complete", "failed", "cancelled" */
    char *note;      /* why not a delta, why not quiesced, ...; NULL: nothing to say */
    bool quiesced;
    int64_t snapshot_us; /* the point in time on the source */
    int64_t started_us;
    int64_t ended_us;
    uint64_t to_send_bytes;
    uint64_t sent_bytes;
    uint64_t zero_bytes;
    char *error; /* JSON; NULL: none */
};
int bf_store_round_put(struct bf_store *store, const struct bf_round_row *row,
                       struct bf_error *err);
int bf_store_round_next_number(struct bf_store *store, const char *replication_id,
                               uint64_t *ret_number, struct bf_error *err);
/* Newest first; at most `limit` (0: all, here and in the other lists). */
int bf_store_round_list(struct bf_store *store, const char *replication_id, size_t limit,
                        struct bf_round_row **ret_rows, size_t *ret_count, struct bf_error *err);
void bf_round_row_done(struct bf_round_row *row);

/* What the rounds that are over come to; all 0: there are none. */
struct bf_round_totals {
    uint64_t newest; /* the greatest number */
    uint64_t sent_bytes;
    uint64_t complete;
    uint64_t failed;
    uint64_t cancelled;
};
int bf_store_round_totals(struct bf_store *store, const char *replication_id,
                          struct bf_round_totals *ret_totals, struct bf_error *err);

struct bf_round_disk_row {
    char *round_id;
    char *disk_key;
    char *kind; /* "full", "delta", "compare" */
    char *note;
    uint64_t size_bytes;
    uint64_t to_send_bytes;
    uint64_t sent_bytes;
    uint64_t zero_bytes;
    uint64_t read_bytes;
    uint64_t copy_ms;
    char *digest;   /* root, hex; NULL: unknown */
    char *verified; /* "all", "10%", "none"; NULL: not yet */
};
int bf_store_round_disk_put(struct bf_store *store, const struct bf_round_disk_row *row,
                            struct bf_error *err);
int bf_store_round_disk_list(struct bf_store *store, const char *round_id,
                             struct bf_round_disk_row **ret_rows, size_t *ret_count,
                             struct bf_error *err);
void bf_round_disk_row_done(struct bf_round_disk_row *row);

/* --- points --- */
struct bf_point_row {
    char *id;
    char *replication_id;
    char *round_id;
    uint64_t number;  /* the round's */
    int64_t taken_us; /* the point in time on the source */
    bool quiesced;
    char *volumes; /* JSON: {disk_key: {"ref": point ref, "digest": hex, "size": n}} */
    bool removing; /* retention has begun to remove it */
};
int bf_store_point_put(struct bf_store *store, const struct bf_point_row *row,
                       struct bf_error *err);
int bf_store_point_list(struct bf_store *store, const char *replication_id,
                        struct bf_point_row **ret_rows, size_t *ret_count,
                        struct bf_error *err); /* newest first */
/* Not there: success. */
int bf_store_point_remove(struct bf_store *store, const char *id, struct bf_error *err);
void bf_point_row_done(struct bf_point_row *row);

/* --- launches --- */
struct bf_launch_row {
    char *id;
    char *replication_id;
    char *point_id;
    uint64_t point_number;
    char *kind;         /* "drill", "cutover" */
    char *state;        /* "starting", "running", "booted", "failed", "discarding", "discarded",
                           "handing-over", "confirmed" */
    char *machine_name; /* on the target */
    char *machine_ref;  /* NULL: not made */
    char *clones;       /* JSON: [{"disk","ref","ledger"}] */
    char *conversion;   /* JSON of the report; NULL: not yet */
    char *console;      /* evidence: console text kept; NULL: none */
    char *evidence;     /* JSON: what showed that it booted (launch_boot.h); NULL: none yet */
    char *timing; /* JSON: milliseconds by part (shutdown, round, clone, convert, create, boot) */
    char *error;  /* JSON; NULL */
    int64_t started_us;
    int64_t booted_us;
    int64_t ended_us;
};
int bf_store_launch_put(struct bf_store *store, const struct bf_launch_row *row,
                        struct bf_error *err);
int bf_store_launch_list(struct bf_store *store, const char *replication_id,
                         struct bf_launch_row **ret_rows, size_t *ret_count,
                         struct bf_error *err); /* newest first */
void bf_launch_row_done(struct bf_launch_row *row);

/* --- jobs --- */
struct bf_job_row {
    char *id;
    char *replication_id; /* NULL: of the service */
    char *kind;    /* "check", "round", "launch", "discard", "cutover", "confirm", "rollback",
                      "remove", "retention", "adopt", "start-source" */
    char *state;   /* "waiting", "running", "undoing", "done", "failed", "cancelled" */
    unsigned step; /* index of the step in progress */
    char *step_name;
    char *context; /* JSON: what the steps have learnt; private to the job kind */
    char *error;   /* JSON; NULL */
    int64_t started_us;
    int64_t ended_us;
};
/* Replication removed meanwhile: BF_E_NO_SUCH_REPLICATION, as for all rows that belong to one. */
int bf_store_job_put(struct bf_store *store, const struct bf_job_row *row, struct bf_error *err);
/* Jobs not ended, oldest first: what a restart takes up again. */
int bf_store_job_list_open(struct bf_store *store, struct bf_job_row **ret_rows, size_t *ret_count,
                           struct bf_error *err);
/* Newest first; replication_id NULL: the service's own. */
int bf_store_job_list(struct bf_store *store, const char *replication_id, size_t limit,
                      struct bf_job_row **ret_rows, size_t *ret_count, struct bf_error *err);
/* The cutovers of a replication, of both kinds; newest first. */
int bf_store_job_list_cutovers(struct bf_store *store, const char *replication_id,
                               struct bf_job_row **ret_rows, size_t *ret_count,
                               struct bf_error *err);
void bf_job_row_done(struct bf_job_row *row);

/* --- ledger --- */
struct bf_ledger_row {
    char *id; /* 16 hex digits; the tag is "bf-<id>" */
    char *platform_id;
    char *replication_id; /* NULL once the replication is removed */
    char *kind;  /* "snapshot", "baseline", "volume", "layer", "clone", "machine", "file" */
    char *state; /* "intended", "made", "removing", "gone", "handed-over" */
    char *name;  /* for people */
    char *ref;   /* NULL until made */
    char *owner; /* machine id, volume ref or the like that removal needs; NULL */
    int64_t created_us;
    int64_t changed_us;
};
int bf_store_ledger_put(struct bf_store *store, const struct bf_ledger_row *row,
                        struct bf_error *err);
/* BF_E_NO_SUCH_LEDGER_ENTRY. */
int bf_store_ledger_get(struct bf_store *store, const char *id, struct bf_ledger_row *ret_row,
                        struct bf_error *err);
/* Filters may be NULL.  `open_only`: not gone and not handed over. */
int bf_store_ledger_list(struct bf_store *store, const char *platform_id,
                         const char *replication_id, bool open_only,
                         struct bf_ledger_row **ret_rows, size_t *ret_count, struct bf_error *err);
void bf_ledger_row_done(struct bf_ledger_row *row);

/* Forget what is over of a replication but for its newest `keep` rounds, jobs and rows of the
 * ledger that are gone; of removed replications that many, too.  Rounds of points that are there,
 * jobs that are not over and all other rows of the ledger stay. */
int bf_store_history_trim(struct bf_store *store, const char *replication_id, uint64_t keep,
                          struct bf_error *err);

/* --- events --- */
struct bf_event_row {
    uint64_t id; /* rising; 0 when adding */
    int64_t at_us;
    char *replication; /* name; NULL: the service */
    char *level;       /* "info", "warning", "error" */
    char *type;        /* "state", "round", "launch", "error", "platform", ... */
    char *message;     /* one line for people */
    char *data;        /* JSON; NULL */
};
int bf_store_event_add(struct bf_store *store, const struct bf_event_row *row, uint64_t *ret_id,
                       struct bf_error *err);
/* Events with id > after, oldest first, at most limit; replication NULL: all. */
int bf_store_event_list(struct bf_store *store, const char *replication, uint64_t after,
                        size_t limit, struct bf_event_row **ret_rows, size_t *ret_count,
                        struct bf_error *err);
/* The id behind which the newest `count` (of them) are; 0: there are not more.  Events with greater
 * ids are exactly those. */
int bf_store_event_last(struct bf_store *store, const char *replication, uint64_t count,
                        uint64_t *ret_after, struct bf_error *err);
/* Keep only the newest `keep` events. */
int bf_store_event_trim(struct bf_store *store, uint64_t keep, struct bf_error *err);
void bf_event_row_done(struct bf_event_row *row);

/* Free an array returned by a list: bf_rows_free(rows, count, sizeof *rows, (bf_row_done_fn
 * *)bf_x_row_done) */
typedef void bf_row_done_fn(void *row);
void bf_rows_free(void *rows, size_t count, size_t size, bf_row_done_fn *done);
