/* SPDX-License-Identifier: Apache-2.0 */
/* The seam, part 2: a platform as a source.  Contract of threads, tags and refs: connector.h.
 *
 * The order a round keeps (DESIGN invariants 1 and 2):
 *   snapshot (old baseline given) -> the new baseline is stored -> disks are opened and copied
 *   -> target flushed -> snapshot released -> old baseline dropped.
 * A round that fails: snapshot released -> NEW baseline dropped; the old one is still good.
 */
#pragma once

#include "connectors/connector.h"
#include "connectors/endpoint_spec.h"

enum bf_quiesce { BF_QUIESCE_TRY = 0, BF_QUIESCE_REQUIRE, BF_QUIESCE_OFF, BF_QUIESCE_MAX };

/* Findings about replicating this machine. */
int bf_source_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                       struct bf_findings *findings, struct bf_error *err);

/* Switch change tracking on where it needs that.  Fallback: nothing to do. */
int bf_source_prepare(struct bf_platform *platform, const char *machine_id, struct bf_error *err);

struct bf_snapshot_request {
    const char *machine_id;
    const char *tag;
    const char *const *disk_keys; /* which disks, NULL-terminated */
    const char *baseline;         /* text of the last good round's baseline; NULL: full */
    enum bf_quiesce quiesce;
};

struct bf_snapshot_disk {
    char *key;
    uint64_t size_bytes;
    bool delta;   /* the change map since the baseline can be had */
    char *reason; /* why it is not a delta although a baseline was given; NULL otherwise */
};

/* All disks of a machine at one point in time. */
struct bf_snapshot {
    char *ref;      /* for open and release */
    char *baseline; /* what the next delta starts from, once this round is complete; NULL: none can
                       be had */
    bool quiesced;
    char *quiesce_note;             /* why not, when `try` did not; NULL otherwise */
    int64_t taken_us;               /* UTC */
    uint64_t spread_us;             /* between the first and the last disk; 0: one instant */
    struct bf_snapshot_disk *disks; /* in the order of disk_keys */
    size_t disk_count;
};

/* Take it, or find the one of this tag: then the ref is the same text.  A ref that differs from
 * the one first got is another moment (the first was lost, its machine ran on): what was copied of
 * that one must not be continued.  A baseline that cannot be used is not an error: the disks
 * then say delta = false and why. */
int bf_source_snapshot(struct bf_platform *platform, const struct bf_snapshot_request *request,
                       struct bf_snapshot **ret_snapshot, struct bf_error *err);
void bf_snapshot_free(struct bf_snapshot *snapshot); /* forgets it; the platform keeps it */

/* The UEFI variables of a machine: the bytes of its NVRAM as the platform keeps them.  A running
 * machine may be writing them; its firmware keeps them so that a write cut short is undone.  That
 * they cannot be had is no error: *ret_data stays NULL and *ret_note says why (BIOS: both stay
 * NULL). Caller frees both.  Fallback: none can be had. */
#define BF_FIRMWARE_VARS_MAX ((size_t)16 << 20)
int bf_source_firmware_vars(struct bf_platform *platform, const struct bf_machine *machine,
                            char **ret_data, size_t *ret_size, char **ret_note,
                            struct bf_error *err);

/* Where a disk's bytes lie, for a target that may adopt them (target.h): JSON text that connectors
 * of the same store understand.  Caller frees.  Fallback, and disks of which it cannot be told:
 * BF_E_PLATFORM_UNSUPPORTED. */
int bf_source_locate_disk(struct bf_platform *platform, const char *machine_id, const char *key,
                          char **ret_place, struct bf_error *err);

/* Open one disk of a snapshot for reading.  What serves it lives until the handle is closed.
 * BF_E_SOURCE_FULL: the platform is read from by as many as may be.  Whoever has disks of this
 * handle open then copies and closes those before it asks again; who has none has waited. */
struct bf_source_disk;
int bf_source_open_disk(struct bf_platform *platform, const char *snapshot_ref, const char *key,
                        struct bf_source_disk **ret_disk, struct bf_error *err);
const struct bf_endpoint_spec *bf_source_disk_spec(const struct bf_source_disk *disk);
void bf_source_close_disk(struct bf_source_disk *disk);

/* Asked when its disks are copied, before any of that is believed: is the snapshot still there?  On
 * some platforms reading goes on when somebody has removed it, and what is read then is of no one
 * moment.  Gone: BF_E_SNAPSHOT_FAILED.  Fallback: it is, or reading would have failed. */
int bf_source_check_snapshot(struct bf_platform *platform, const char *snapshot_ref,
                             struct bf_error *err);
/* Remove the snapshot itself (not the baseline it made). */
int bf_source_release(struct bf_platform *platform, const char *machine_id,
                      const char *snapshot_ref, struct bf_error *err);
/* As above when the service only knows the tag (it died before it got the ref); nothing of this
 * tag there: success.  Also removes the baseline made with it. */
int bf_source_release_tag(struct bf_platform *platform, const char *machine_id, const char *tag,
                          struct bf_error *err);
/* Remove a baseline (checkpoint, snapshot kept for diffing).  Changes it recorded are handed to
 * the baseline before it where the platform keeps a chain. */
int bf_source_drop_baseline(struct bf_platform *platform, const char *machine_id,
                            const char *baseline, struct bf_error *err);
