/* SPDX-License-Identifier: Apache-2.0 */
/* Can this disk of a source be adopted here? */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/place.h"
#include "connectors/openstack/pools.h"
#include "connectors/openstack/refs.h"
#include "connectors/openstack/target.h"

struct check {
    struct bf_cloud *cloud;
    const struct bf_adopt_request *request;
    struct bf_findings *findings;
    struct json_object *place;
    const char *cluster, *rbd_pool, *image; /* of the place */
    struct json_object *pool;               /* Cinder's here */
};

static void add(struct check *check, enum bf_severity severity, const char *id, const char *found,
                const char *needed, const char *why, const char *fix)
{
    bf_findings_add(check->findings, severity, id, check->request->disk_key, found, needed, why,
                    fix);
}

/* The key that opens the pool has to be of the same cluster, and the image must be there. */
static void check_access(struct check *check)
{
    bf_auto_free char *user = bf_cinder_pool_user(check->pool);
    bf_auto_rbd_place place = {
        .pool = bf_xstrdup(check->rbd_pool),
        .image = bf_xstrdup(check->image),
        .user = bf_xstrdup(check->cloud->conf.ceph_user ? check->cloud->conf.ceph_user : user)};
    bf_auto_free char *uri = bf_rbd_place_uri(check->cloud, &place, NULL);
    bf_auto_error trouble = BF_ERROR_INIT;
    struct bf_rbd_info info = {0};

    if (bf_rbd_place_info(check->cloud, uri, &info, &trouble) < 0)
        add(check, BF_SEVERITY_BLOCK, "openstack-adopt-access", trouble.message,
            "a ceph.conf and a key of the target that write the source's pool",
            "the image is renamed in its pool",
            "see ceph_conf and ceph_user in the target's options, and the caps in "
            "docs/platforms/openstack.md");
    else if (!bf_streq(info.fsid, check->cluster))
        add(check, BF_SEVERITY_BLOCK, "openstack-adopt-access", info.fsid, check->cluster,
            "the target's ceph.conf names another cluster",
            "give the ceph.conf of the cluster that both clouds use");
}

static int check_type(struct check *check, struct bf_error *err)
{
    const char *backend = bf_cloud_text(check->pool, "capabilities/volume_backend_name");
    bf_auto_free char *type = NULL;
    bf_auto_free char *zone = NULL;
    bf_auto_json *types = NULL;

    bf_cloud_storage_split(check->cloud, check->request->storage, &type, &zone);
    if (!type)
        return 0;
    if (bf_cloud_collect(check->cloud,
                         &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                                    .path = "/types",
                                                    .minor = BF_CINDER_MINOR},
                         "volume_types", &types, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(types); i++) {
        struct json_object *one = json_object_array_get_idx(types, i);
        const char *of = bf_cloud_text(one, "extra_specs/volume_backend_name");

        if (!bf_streq(bf_cloud_text(one, "name"), type) || !of || bf_streq(of, backend))
            continue;
        add(check, BF_SEVERITY_BLOCK, "openstack-adopt-type", type, backend,
            "an adopted volume stays in its pool, and the type names another backend",
            "take storage out of the mapping, or name a type of that backend");
    }
    return 0;
}

static void check_snapshots(struct check *check)
{
    uint64_t count = bf_cloud_number(check->place, "snapshots");
    bf_auto_free char *found = bf_xasprintf("%llu snapshots", (unsigned long long)count);

    if (count)
        add(check, BF_SEVERITY_BLOCK, "openstack-adopt-snapshots", found, "none",
            "snapshots would leave with the image, and their Cinder could not delete them any more",
            "delete the volume's snapshots (and what was made from them), also those of an "
            "earlier replication");
    if (bf_cloud_bool(check->place, "parent"))
        add(check, BF_SEVERITY_INFO, "openstack-adopt-parent",
            "the image is a clone, of a Glance image as a rule", "an image that needs no other",
            "until confirm flattens it, it needs the one that it was made from",
            "nothing; do not delete that one before confirm");
}

int bf_cloud_adopt_precheck(struct bf_platform *platform, const struct bf_adopt_request *request,
                            struct bf_findings *findings, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    struct check check = {.cloud = cloud, .request = request, .findings = findings};
    bf_auto_json *place = NULL;
    bf_auto_json *pools = NULL;

    if (bf_cloud_ref_parse(request->place, &place, err) < 0 ||
        bf_cinder_pools(cloud, &pools, err) < 0)
        return -1;
    check.place = place;
    check.cluster = bf_cloud_text(place, "cluster");
    check.rbd_pool = bf_cloud_text(place, "pool");
    check.image = bf_cloud_text(place, "image");
    if (!bf_streq(bf_cloud_text(place, "store"), BF_RBD_STORE) || !check.cluster ||
        !check.rbd_pool || !check.image) {
        add(&check, BF_SEVERITY_BLOCK, "openstack-adopt-store", "another kind of store", "Ceph RBD",
            "only RBD images can be adopted", "replicate it (policy transfer: copy)");
        return 0;
    }
    if (!cloud->admin) {
        add(&check, BF_SEVERITY_BLOCK, "openstack-adopt-rights", "a login without role admin",
            "role admin in the target's project",
            "Cinder lets only an admin manage and unmanage volumes",
            "give the platform an admin's login, or replicate (policy transfer: copy)");
        return 0;
    }
    if (cloud->conf.boot_from_image)
        add(&check, BF_SEVERITY_BLOCK, "openstack-adopt-boot", "option boot is image",
            "boot: volume", "an image is a copy, and an adopted volume is to be booted itself",
            "set option boot to volume, or replicate (policy transfer: copy)");
    check.pool = bf_cinder_pool_on(pools, check.cluster, check.rbd_pool);
    if (!check.pool) {
        bf_auto_free char *needed =
            bf_xasprintf("a backend on pool %s of cluster %s", check.rbd_pool, check.cluster);

        add(&check, BF_SEVERITY_BLOCK, "openstack-adopt-pool", "no such backend", needed,
            "an image cannot leave its pool without being copied",
            "give the target's Cinder a backend on that pool, or replicate (policy transfer: "
            "copy)");
        return 0;
    }
    check_access(&check);
    check_snapshots(&check);
    return check_type(&check, err);
}
