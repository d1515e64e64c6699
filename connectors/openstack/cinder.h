/* SPDX-License-Identifier: Apache-2.0 */
/* Cinder: volumes, who holds them, snapshots.  Answers are JSON as Cinder gives it, freed by the
 * caller.  All of it is idempotent where the name says "find", "delete", "hold" or "let go".
 */
#pragma once

#include "connectors/openstack/cloud.h"

#define BF_CINDER_MINOR 59     /* what the answers here are read as */
#define BF_CINDER_MINOR_MIN 44 /* attachments that are completed */
#define BF_CINDER_WAIT_MS (UINT64_C(10) * 60 * 1000)

/* Volumes. */
int bf_cinder_volume(struct bf_cloud *cloud, const char *id, struct json_object **ret_volume,
                     struct bf_error *err); /* gone: BF_E_VOLUME_GONE */
/* All of our tag and kind, also those on their way out.  An array. */
int bf_cinder_find_volumes(struct bf_cloud *cloud, const char *tag, const char *kind,
                           struct json_object **ret_volumes, struct bf_error *err);
/* One of them that is to stay; none: 0 and NULL. */
int bf_cinder_find_volume(struct bf_cloud *cloud, const char *tag, const char *kind,
                          struct json_object **ret_volume, struct bf_error *err);
/* POST with the members given, or what an earlier call with the tag made; waits until it is there.
 * A volume that ended in an error is removed, and the error told. */
int bf_cinder_make_volume(struct bf_cloud *cloud, const char *tag, const char *kind,
                          struct json_object *members, struct json_object **ret_volume,
                          struct bf_error *err);
/* With our attachments.  It has snapshots, or somebody else uses it: BF_E_IN_USE. */
int bf_cinder_delete_volume(struct bf_cloud *cloud, const char *id, struct bf_error *err);
/* All of this tag and kind: a request of a process that was killed may have made another one. */
int bf_cinder_delete_volumes(struct bf_cloud *cloud, const char *tag, const char *kind,
                             struct bf_error *err);
/* removal.c: ask, unless it is on its way out already, and wait until it is gone; also when there
 * was none.  Cinder refuses while a thing is still being made: that is waited for, but not longer
 * than half a minute, as it may be stuck.  Refused for good: BF_E_IN_USE. */
struct bf_cinder_removal {
    const char *path;   /* "/volumes/ID" or "/snapshots/ID" */
    const char *object; /* "volume" or "snapshot" */
    const char *action; /* instead of DELETE; NULL: DELETE */
    const char *stays;  /* the status of one that Cinder keeps after all, silently; NULL: none */
    uint64_t deadline_ms;
};
int bf_cinder_remove(struct bf_cloud *cloud, const struct bf_cinder_removal *removal,
                     bool *ret_stays, struct bf_error *err);
/* Wait until a volume has one of the statuses `wanted`, as long as it has one of `going`; each list
 * ends with NULL. */
struct bf_cinder_wait {
    const char *const *wanted;
    const char *const *going;
    uint64_t deadline_ms;
};
int bf_cinder_wait_volume(struct bf_cloud *cloud, const char *id, const struct bf_cinder_wait *wait,
                          struct json_object **ret_volume, struct bf_error *err);
/* Whatever a healthy volume does meanwhile. */
int bf_cinder_wait_available(struct bf_cloud *cloud, const char *id,
                             struct json_object **ret_volume, struct bf_error *err);
/* POST /volumes/ID/action {name: arguments}; takes `arguments`. */
int bf_cinder_action(struct bf_cloud *cloud, const char *id, const char *name,
                     struct json_object *arguments, unsigned minor, struct bf_error *err);
/* Metadata of "/volumes/ID" or "/snapshots/ID"; value NULL: remove it. */
int bf_cinder_set_metadata(struct bf_cloud *cloud, const char *path, const char *key,
                           const char *value, struct bf_error *err);

int bf_cinder_rename(struct bf_cloud *cloud, const char *path, const char *name,
                     struct bf_error *err);

/* Hold a volume by an attachment of this service (no instance), so that nobody takes or deletes it,
 * and learn how to reach it.  Somebody else holds it: BF_E_IN_USE. */
int bf_cinder_hold(struct bf_cloud *cloud, const char *id, struct json_object **ret_connection,
                   struct bf_error *err);
/* How an attachment reaches its volume; also of an attachment of Nova's. */
int bf_cinder_connection(struct bf_cloud *cloud, const char *attachment_id,
                         struct json_object **ret_connection, struct bf_error *err);
/* Remove attachments without an instance; the volume is available afterwards. */
int bf_cinder_let_go(struct bf_cloud *cloud, const char *id, struct bf_error *err);

/* Does a server have it, or is one taking it or giving it back? */
int bf_cinder_is_taken(struct bf_cloud *cloud, const char *id, bool *ret_taken,
                       struct bf_error *err);

/* Snapshots. */
/* All of a volume (NULL: all of the project). */
int bf_cinder_snapshots(struct bf_cloud *cloud, const char *volume_id,
                        struct json_object **ret_snapshots, struct bf_error *err);
int bf_cinder_snapshot(struct bf_cloud *cloud, const char *id, struct json_object **ret_snapshot,
                       struct bf_error *err); /* gone: 0 and NULL */
int bf_cinder_find_snapshot(struct bf_cloud *cloud, const char *volume_id, const char *tag,
                            struct json_object **ret_snapshot, struct bf_error *err);
/* Only asks for it: the wait is the caller's. */
int bf_cinder_ask_snapshot(struct bf_cloud *cloud, const char *volume_id, const char *tag,
                           const char *kind, struct json_object **ret_snapshot,
                           struct bf_error *err);
int bf_cinder_wait_snapshot(struct bf_cloud *cloud, const char *id,
                            struct json_object **ret_snapshot, struct bf_error *err);
/* Clones hang on it: BF_E_IN_USE. */
int bf_cinder_delete_snapshot(struct bf_cloud *cloud, const char *id, struct bf_error *err);
/* Those of ours of a volume, with this tag and of this kind (NULL: any). */
int bf_cinder_delete_snapshots(struct bf_cloud *cloud, const char *volume_id, const char *tag,
                               const char *kind, struct bf_error *err);
