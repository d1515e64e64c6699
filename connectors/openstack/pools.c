/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/pools.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/nova.h"

/* --- pools --- */

int bf_cinder_pools(struct bf_cloud *cloud, struct json_object **ret_pools, struct bf_error *err)
{
    if (!cloud->admin) {
        *ret_pools = json_object_new_array();
        return 0;
    }
    if (bf_cloud_collect(
            cloud,
            &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                       .path = "/scheduler-stats/get_pools?detail=true",
                                       .minor = BF_CINDER_MINOR},
            "pools", ret_pools, err) == 0)
        return 0;
    if (err->code == BF_E_CANCELLED || cloud->status < 400)
        return -1;
    bf_error_clear(err); /* an admin of another kind, or a cloud that cannot tell */
    *ret_pools = json_object_new_array();
    return 0;
}

struct json_object *bf_cinder_pool_of(struct json_object *pools, const char *backend)
{
    for (size_t i = 0; i < json_object_array_length(pools); i++) {
        struct json_object *pool = json_object_array_get_idx(pools, i);

        if (bf_streq(bf_cloud_text(pool, "capabilities/volume_backend_name"), backend))
            return pool;
    }
    return NULL;
}

/* Of "ceph:CONF:FSID:USER:POOL", counted from 0. */
static char *location_part(struct json_object *pool, unsigned number)
{
    const char *at = bf_cloud_text(pool, "capabilities/location_info");

    if (!at || !bf_starts_with(at, "ceph:"))
        return NULL;
    for (; at && number; number--) {
        at = strchr(at, ':');
        at = at ? at + 1 : NULL;
    }
    return at ? bf_xasprintf("%.*s", (int)strcspn(at, ":"), at) : NULL;
}

char *bf_cinder_pool_fsid(struct json_object *pool)
{
    return location_part(pool, 2);
}

char *bf_cinder_pool_user(struct json_object *pool)
{
    return location_part(pool, 3);
}

struct json_object *bf_cinder_pool_on(struct json_object *pools, const char *fsid,
                                      const char *rbd_pool)
{
    for (size_t i = 0; i < json_object_array_length(pools); i++) {
        struct json_object *pool = json_object_array_get_idx(pools, i);
        bf_auto_free char *cluster = location_part(pool, 2);
        bf_auto_free char *name = location_part(pool, 4);

        if (cluster && bf_streq(cluster, fsid) && name && bf_streq(name, rbd_pool))
            return pool;
    }
    return NULL;
}

/* --- limits --- */

static void add_limit(struct json_object *limits, const char *name, struct json_object *answer,
                      const char *limit_path, const char *used_path)
{
    struct json_object *limit = bf_cloud_at(answer, limit_path);
    struct json_object *one;

    if (!json_object_is_type(limit, json_type_int) || json_object_get_int64(limit) < 0)
        return; /* -1: none */
    one = json_object_new_object();
    bf_json_add_u64(one, "limit", bf_cloud_number(answer, limit_path));
    bf_json_add_u64(one, "used", used_path ? bf_cloud_number(answer, used_path) : 0);
    json_object_object_add(limits, name, one);
}

static int volume_limits(struct bf_cloud *cloud, struct json_object *limits, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/os-quota-sets/%s?usage=True", cloud->project_id);
    bf_auto_json *answer = NULL;
    struct bf_cloud_request request = {
        .service = BF_CLOUD_VOLUME, .path = path, .minor = BF_CINDER_MINOR};

    if (bf_cloud_call(cloud, &request, &answer, err) < 0)
        return -1;
    add_limit(limits, "volumes", answer, "quota_set/volumes/limit", "quota_set/volumes/in_use");
    add_limit(limits, "gigabytes", answer, "quota_set/gigabytes/limit",
              "quota_set/gigabytes/in_use");
    add_limit(limits, "snapshots", answer, "quota_set/snapshots/limit",
              "quota_set/snapshots/in_use");
    add_limit(limits, "per_volume_gigabytes", answer, "quota_set/per_volume_gigabytes/limit", NULL);
    return 0;
}

static int compute_limits(struct bf_cloud *cloud, struct json_object *limits, struct bf_error *err)
{
    bf_auto_json *answer = NULL;
    struct bf_cloud_request request = {
        .service = BF_CLOUD_COMPUTE, .path = "/limits", .minor = BF_NOVA_MINOR};

    if (bf_cloud_call(cloud, &request, &answer, err) < 0)
        return -1;
    struct json_object *absolute = bf_cloud_at(answer, "limits/absolute");
    add_limit(limits, "instances", absolute, "maxTotalInstances", "totalInstancesUsed");
    add_limit(limits, "cores", absolute, "maxTotalCores", "totalCoresUsed");
    add_limit(limits, "ram", absolute, "maxTotalRAMSize", "totalRAMUsed");
    return 0;
}

static int network_limits(struct bf_cloud *cloud, struct json_object *limits, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/quotas/%s/details", cloud->project_id);
    bf_auto_json *answer = NULL;
    struct bf_cloud_request request = {.service = BF_CLOUD_NETWORK, .path = path};

    /* An extension, and not for everybody. */
    if (bf_cloud_call(cloud, &request, &answer, err) < 0) {
        if (cloud->status != 403 && cloud->status != 404)
            return -1;
        bf_error_clear(err);
    }
    add_limit(limits, "ports", answer, "quota/port/limit", "quota/port/used");
    return 0;
}

int bf_cloud_limits(struct bf_cloud *cloud, struct json_object **ret_limits, struct bf_error *err)
{
    bf_auto_json *limits = json_object_new_object();

    if (volume_limits(cloud, limits, err) < 0 || compute_limits(cloud, limits, err) < 0 ||
        network_limits(cloud, limits, err) < 0)
        return -1;
    *ret_limits = bf_steal(limits);
    return 0;
}
