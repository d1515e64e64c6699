/* SPDX-License-Identifier: Apache-2.0 */
/* What Cinder and Nova tell of room and quotas. */
#pragma once

#include "connectors/openstack/cloud.h"

/* Cinder's backends; an empty array for who is not an admin. */
int bf_cinder_pools(struct bf_cloud *cloud, struct json_object **ret_pools, struct bf_error *err);
/* The pool of a backend's name; NULL: none.  Borrowed. */
struct json_object *bf_cinder_pool_of(struct json_object *pools, const char *backend);
/* The cluster's id in a pool's location_info ("ceph:CONF:FSID:USER:POOL"), NULL: none. Caller
 * frees. */
char *bf_cinder_pool_fsid(struct json_object *pool);

/* Whom the cluster knows this pool's Cinder as; NULL: not told.  Caller frees. */
char *bf_cinder_pool_user(struct json_object *pool);
/* The pool that lies in this pool of this Ceph cluster; NULL: none.  Borrowed. */
struct json_object *bf_cinder_pool_on(struct json_object *pools, const char *fsid,
                                      const char *rbd_pool);

/* {"volumes": {"limit", "used"}, ...}: volumes, gigabytes, snapshots, per_volume_gigabytes,
 * instances, cores, ram, ports.  What has no limit, or is not told, is left out. */
int bf_cloud_limits(struct bf_cloud *cloud, struct json_object **ret_limits, struct bf_error *err);
