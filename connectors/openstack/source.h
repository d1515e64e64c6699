/* SPDX-License-Identifier: Apache-2.0 */
/* The source side of the seam: Cinder snapshots of a server's volumes.
 *
 * The snapshots of a round are its baseline as well: they are kept when the round is complete, and
 * the next round's map is what changed from them to the new ones.  So "release" has nothing to
 * remove and "drop baseline" removes the snapshots; two sets exist while one round hands over to
 * the next.
 */
#pragma once

#include "connectors/openstack/cloud.h"

extern const struct bf_source_ops bf_cloud_source_ops;

int bf_cloud_source_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                             struct bf_findings *findings, struct bf_error *err);

/* --- take.c: all volumes at one point in time --- */

struct bf_cloud_take {
    const char *tag;
    struct json_object *server;
    struct json_object *volumes;  /* those wanted, of bf_cloud_server_volumes() */
    struct json_object *hardware; /* of the boot volume, which may not be among them; borrowed */
    enum bf_quiesce quiesce;
    struct json_object *snapshots; /* out: key -> Cinder's snapshot, available */
    bool quiesced;
    char *note; /* why not; NULL: no reason to give */
    int64_t taken_us;
    uint64_t spread_us;
};
/* Find the snapshots of the tag, or take them; a set that is not whole is removed first. */
int bf_cloud_take_snapshots(struct bf_cloud *cloud, struct bf_cloud_take *take,
                            struct bf_error *err);
/* Everything of the tag: snapshots, images; and a server that we paused goes on. */
int bf_cloud_remove_snapshots(struct bf_cloud *cloud, const char *machine_id, const char *tag,
                              struct bf_error *err);
/* A server that was paused for a snapshot and still is (we died): let it go on. */
int bf_cloud_resume_paused(struct bf_cloud *cloud, const char *machine_id, struct bf_error *err);
