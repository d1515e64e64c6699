/* SPDX-License-Identifier: Apache-2.0 */
/* The target side of the seam, by files: volumes.c, rounds.c, clones.c, adopt.c, launch.c,
 * tagged.c.
 *
 * A replica is a Cinder volume that this service holds (an attachment without an instance), so that
 * nobody takes or deletes it.  Its bytes are written straight into its RBD image.  A point is a
 * Cinder snapshot, a clone a volume made from it (copy on write).
 *
 * What a round did to a volume is noted in the volume's metadata, since RBD has no layers to drop:
 *   blockferry_round   the tag of the round that is writing it, or that failed while it was
 *   blockferry_used    set once anything was written, so that it is no longer known to read as zero
 * A volume whose round failed is rolled back to its last point before anything else is written; one
 * off RBD cannot be, and has to be written in full.
 *
 * A volume that is not on RBD is written through a mover (mover.h), where there is one.  It is then
 * not held while it is attached there, nor while Cinder makes or deletes a snapshot of it: such
 * drivers want Nova's help for volumes in use.
 */
#pragma once

#include "connectors/openstack/cloud.h"

#define BF_CLOUD_ROUND_KEY "blockferry_round"
#define BF_CLOUD_USED_KEY "blockferry_used"

/* Kinds in metadata. */
#define BF_CLOUD_VOLUME_KIND "volume"
#define BF_CLOUD_CLONE_KIND "clone"
#define BF_CLOUD_POINT_KIND "point"
#define BF_CLOUD_BASELINE_KIND "baseline"
#define BF_CLOUD_MACHINE_KIND "machine"
#define BF_CLOUD_COMPANION_KIND "companion" /* a volume, part of a machine (companion.h) */
#define BF_CLOUD_ADOPTION_KIND "adoption"

struct bf_server; /* connectors/server.h */
struct bf_cloud_volume {
    struct bf_target_volume base;
    struct bf_server *server; /* of an open clone; NULL: none */
    char *release;            /* volume to let go at the end; NULL: none */
    char *on_mover;           /* volume to be detached from the mover at the end; NULL: none */
};

/* Let a volume go and have it attached to the mover (mover.h), for this tag.  In rounds.c. */
struct bf_cloud_attached {
    uint64_t size_bytes;
    bool serve; /* for libguestfs: by a server of ours (serve.h) */
    bool read_only;
};
int bf_cloud_open_attached(struct bf_cloud *cloud, const char *id, const char *tag,
                           const struct bf_cloud_attached *how,
                           struct bf_target_volume **ret_volume, struct bf_error *err);

/* Type and zone out of a mapping's storage "TYPE[@ZONE]"; NULL where it names none. */
void bf_cloud_storage_split(const struct bf_cloud *cloud, const char *storage, char **ret_type,
                            char **ret_zone);

int bf_cloud_create_volume(struct bf_platform *platform, const struct bf_volume_request *request,
                           char **ret_ref, struct bf_error *err);
int bf_cloud_resize_volume(struct bf_platform *platform, const char *volume_ref,
                           uint64_t size_bytes, char **ret_ref, struct bf_error *err);
int bf_cloud_delete_volume(struct bf_platform *platform, const char *volume_ref,
                           struct bf_error *err);
int bf_cloud_open_volume(struct bf_platform *platform, const char *volume_ref, const char *tag,
                         bool full, const char *last_point, struct bf_target_volume **ret_volume,
                         struct bf_error *err);
int bf_cloud_close_volume(struct bf_target_volume *volume, struct bf_error *err);
int bf_cloud_drop_round(struct bf_platform *platform, const char *volume_ref, const char *tag,
                        struct bf_error *err);
int bf_cloud_make_point(struct bf_platform *platform, const char *volume_ref, const char *tag,
                        char **ret_point_ref, struct bf_error *err);
int bf_cloud_delete_point(struct bf_platform *platform, const char *volume_ref,
                          const char *point_ref, struct bf_error *err);
int bf_cloud_open_point(struct bf_platform *platform, const char *volume_ref, const char *point_ref,
                        struct bf_target_volume **ret_volume, struct bf_error *err);

int bf_cloud_clone_point(struct bf_platform *platform, const char *volume_ref,
                         const char *point_ref, const char *tag, char **ret_clone_ref,
                         struct bf_error *err);
int bf_cloud_open_clone(struct bf_platform *platform, const char *clone_ref,
                        struct bf_target_volume **ret_volume, struct bf_error *err);
int bf_cloud_delete_clone(struct bf_platform *platform, const char *clone_ref,
                          struct bf_error *err);
int bf_cloud_detach_clone(struct bf_platform *platform, const char *machine_ref,
                          const char *clone_ref, struct bf_deadline deadline, struct bf_error *err);

/* adopt.c, precheck_adopt.c */
int bf_cloud_adopt_precheck(struct bf_platform *platform, const struct bf_adopt_request *request,
                            struct bf_findings *findings, struct bf_error *err);
int bf_cloud_adopt_volume(struct bf_platform *platform, const struct bf_adopt_request *request,
                          char **ret_ref, struct bf_error *err);
int bf_cloud_give_back_volume(struct bf_platform *platform, const char *tag, const char *place,
                              struct bf_error *err);

int bf_cloud_create_machine(struct bf_platform *platform, const struct bf_launch_request *request,
                            char **ret_machine_ref, struct bf_error *err);
int bf_cloud_machine_id(struct bf_platform *platform, const char *machine_ref, char **ret_id,
                        struct bf_error *err);
int bf_cloud_console(struct bf_platform *platform, const char *machine_ref, size_t max,
                     char **ret_text, struct bf_error *err);
int bf_cloud_delete_machine(struct bf_platform *platform, const char *machine_ref,
                            struct bf_error *err);
int bf_cloud_hand_over_volume(struct bf_platform *platform, const char *volume_ref,
                              struct bf_error *err);
int bf_cloud_hand_over_machine(struct bf_platform *platform, const char *machine_ref,
                               struct bf_error *err);
int bf_cloud_target_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                             struct json_object *mapping, struct bf_findings *findings,
                             struct bf_error *err);
int bf_cloud_tagged(struct bf_platform *platform, bf_tagged_fn *fn, void *user,
                    struct bf_error *err);
