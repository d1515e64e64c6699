/* SPDX-License-Identifier: Apache-2.0 */
/* Where a volume's bytes are: Cinder's connection information as an RBD place, and what our helper
 * program does to such an image.
 */
#pragma once

#include "connectors/openstack/cloud.h"

struct bf_rbd_place {
    char *pool;
    char *image;
    char *user;
};
void bf_rbd_place_done(struct bf_rbd_place *place);
#define bf_auto_rbd_place __attribute__((cleanup(bf_rbd_place_done))) struct bf_rbd_place

/* Not on RBD, or encrypted by Cinder: BF_E_PLATFORM_UNSUPPORTED. */
int bf_rbd_place_read(struct bf_cloud *cloud, struct json_object *connection,
                      struct bf_rbd_place *ret_place, struct bf_error *err);
/* What an adoption knows of a place: {"store": "ceph-rbd", "cluster": fsid, "pool", "image",
 * "size", "snapshots", "parent"}.  Asks the cluster. */
#define BF_RBD_STORE "ceph-rbd"
int bf_rbd_place_write(struct bf_cloud *cloud, const struct bf_rbd_place *place, char **ret_text,
                       struct bf_error *err);
/* For blockferry-copy; snapshot NULL: the image as it is.  Caller frees. */
char *bf_rbd_place_uri(const struct bf_cloud *cloud, const struct bf_rbd_place *place,
                       const char *snapshot);
/* Where Cinder's RBD driver keeps a snapshot.  Caller frees. */
char *bf_rbd_snapshot_name(const char *snapshot_id);

struct bf_rbd_info {
    uint64_t size_bytes;
    bool has_parent;
    bool fast_diff; /* the object map is there and valid */
    uint64_t snapshots;
    char fsid[64];
};
/* By blockferry-rbd; the cluster not reachable or no key: its error. */
int bf_rbd_place_info(struct bf_cloud *cloud, const char *uri, struct bf_rbd_info *ret_info,
                      struct bf_error *err);
/* `verb`: "settle", "rollback" (URI with a snapshot) or "flatten". */
int bf_rbd_place_do(struct bf_cloud *cloud, const char *verb, const char *uri,
                    struct bf_deadline deadline, struct bf_error *err);
/* The image is called `name` from now on, also when it was already; somebody has it open:
 * BF_E_IN_USE. */
int bf_rbd_place_rename(struct bf_cloud *cloud, const struct bf_rbd_place *place, const char *name,
                        struct bf_error *err);
