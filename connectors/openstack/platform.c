/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of this connector, and what belongs to the cloud as a whole. */
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/machine.h"
#include "connectors/openstack/neutron.h"
#include "connectors/openstack/nova.h"
#include "connectors/openstack/pools.h"
#include "connectors/openstack/source.h"
#include "connectors/openstack/target.h"

#define GIB (UINT64_C(1) << 30)

/* --- info --- */

static void check_service(struct bf_cloud *cloud, enum bf_cloud_service service, unsigned need,
                          unsigned *ret_minor, bool *ret_good, struct bf_findings *findings)
{
    bf_auto_error trouble = BF_ERROR_INIT;
    bf_auto_free char *needed =
        need ? bf_xasprintf("microversion x.%u", need) : bf_xstrdup("the service in the catalogue");

    if (need ? bf_cloud_minor(cloud, service, ret_minor, &trouble) < 0
             : !bf_cloud_has(cloud, service)) {
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-no-service",
                        bf_cloud_service_name(service),
                        trouble.message ? trouble.message : "not in the catalogue", needed,
                        "machines and volumes are handled through it",
                        "see region_name, interface and endpoints in the platform's options");
        *ret_good = false;
        return;
    }
    if (*ret_minor >= need)
        return;
    bf_auto_free char *found = bf_xasprintf("x.%u", *ret_minor);
    bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-too-old",
                    bf_cloud_service_name(service), found, needed,
                    "older versions lack calls that are needed", "upgrade the cloud");
    *ret_good = false;
}

static void check_ceph_conf(const struct bf_cloud *cloud, struct bf_findings *findings)
{
    const char *path = cloud->conf.ceph_conf ? cloud->conf.ceph_conf : "/etc/ceph/ceph.conf";

    if (access(path, R_OK) == 0)
        return;
    bf_findings_add(findings, BF_SEVERITY_WARN, "openstack-no-ceph-conf", path,
                    "the service's user cannot read it", "a ceph.conf and a keyring",
                    "volumes on RBD are read and written directly",
                    "name the file in option ceph_conf and let the service's user read it");
}

static int cloud_info(struct bf_platform *platform, struct bf_platform_info *ret_info,
                      struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    unsigned volume = 0, compute = 0, none = 0;
    bool good = true;

    if (bf_platform_check_cancel(platform, err) < 0)
        return -1;
    check_service(cloud, BF_CLOUD_VOLUME, BF_CINDER_MINOR_MIN, &volume, &good, &ret_info->findings);
    check_service(cloud, BF_CLOUD_COMPUTE, BF_NOVA_MINOR_MIN, &compute, &good, &ret_info->findings);
    check_service(cloud, BF_CLOUD_NETWORK, 0, &none, &good, &ret_info->findings);
    if (!bf_cloud_has(cloud, BF_CLOUD_IMAGE))
        bf_findings_add(&ret_info->findings, BF_SEVERITY_INFO, "openstack-no-image-service", NULL,
                        "no image service in the catalogue", "Glance, to freeze guests",
                        "Nova freezes a guest only while it makes an image",
                        "nothing, if snapshots like after a power cut will do");
    check_ceph_conf(cloud, &ret_info->findings);
    ret_info->can_source = ret_info->can_target = good;
    ret_info->version = bf_xasprintf("OpenStack, compute 2.%u, volume 3.%u", compute, volume);
    return 0;
}

/* --- resources --- */

static int add_networks(struct bf_cloud *cloud, struct json_object *resources, struct bf_error *err)
{
    struct json_object *array = json_object_new_array();
    bf_auto_json *networks = NULL;

    json_object_object_add(resources, "networks", array);
    if (bf_neutron_networks(cloud, &networks, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(networks); i++) {
        struct json_object *network = json_object_array_get_idx(networks, i);
        struct json_object *object = json_object_new_object();
        const char *name = bf_cloud_text(network, "name");

        bf_json_add_string(object, "name", name && *name ? name : bf_cloud_text(network, "id"));
        bf_json_add_string(object, "id", bf_cloud_text(network, "id"));
        bf_json_add_bool(object, "isolated", bf_cloud_bool(network, "blockferry_isolated"));
        json_object_array_add(array, object);
    }
    return 0;
}

static int add_storages(struct bf_cloud *cloud, struct json_object *resources, struct bf_error *err)
{
    struct json_object *array = json_object_new_array();
    bf_auto_json *types = NULL;
    bf_auto_json *pools = NULL;

    json_object_object_add(resources, "storages", array);
    if (bf_cloud_collect(cloud,
                         &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                                    .path = "/types",
                                                    .minor = BF_CINDER_MINOR},
                         "volume_types", &types, err) < 0 ||
        bf_cinder_pools(cloud, &pools, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(types); i++) {
        struct json_object *type = json_object_array_get_idx(types, i);
        struct json_object *object = json_object_new_object();
        const char *backend = bf_cloud_text(type, "extra_specs/volume_backend_name");
        struct json_object *pool = backend ? bf_cinder_pool_of(pools, backend) : NULL;

        bf_json_add_string(object, "name", bf_cloud_text(type, "name"));
        if (pool) { /* what only an admin sees */
            bf_json_add_u64(object, "free_bytes",
                            bf_cloud_number(pool, "capabilities/free_capacity_gb") * GIB);
            bf_json_add_u64(object, "size_bytes",
                            bf_cloud_number(pool, "capabilities/total_capacity_gb") * GIB);
        }
        json_object_array_add(array, object);
    }
    return 0;
}

static int cloud_resources(struct bf_platform *platform, struct json_object **ret_resources,
                           struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *resources = json_object_new_object();

    if (add_networks(cloud, resources, err) < 0 || add_storages(cloud, resources, err) < 0)
        return -1;
    *ret_resources = bf_steal(resources);
    return 0;
}

/* --- tables --- */

static const struct bf_target_ops target_ops = {
    .precheck = bf_cloud_target_precheck,
    .create_volume = bf_cloud_create_volume,
    .resize_volume = bf_cloud_resize_volume,
    .delete_volume = bf_cloud_delete_volume,
    .open_volume = bf_cloud_open_volume,
    .close_volume = bf_cloud_close_volume,
    .drop_round = bf_cloud_drop_round,
    .make_point = bf_cloud_make_point,
    .delete_point = bf_cloud_delete_point,
    .open_point = bf_cloud_open_point,
    .clone_point = bf_cloud_clone_point,
    .open_clone = bf_cloud_open_clone,
    .delete_clone = bf_cloud_delete_clone,
    .detach_clone = bf_cloud_detach_clone,
    .adopt_precheck = bf_cloud_adopt_precheck,
    .adopt_volume = bf_cloud_adopt_volume,
    .give_back_volume = bf_cloud_give_back_volume,
    .create_machine = bf_cloud_create_machine,
    .takes_companion = true,
    .machine_id = bf_cloud_machine_id,
    .console = bf_cloud_console,
    .delete_machine = bf_cloud_delete_machine,
    .hand_over_volume = bf_cloud_hand_over_volume,
    .hand_over_machine = bf_cloud_hand_over_machine,
};

extern const struct bf_connector_ops bf_openstack_ops;
const struct bf_connector_ops bf_openstack_ops = {
    .type = "openstack",
    .open = bf_cloud_open,
    .check_options = bf_cloud_check_options,
    .close = bf_cloud_close,
    .info = cloud_info,
    .machines = bf_cloud_machines,
    .machine = bf_cloud_machine,
    .resources = cloud_resources,
    .power = bf_cloud_power,
    .shut_down = bf_cloud_shut_down,
    .power_off = bf_cloud_power_off,
    .power_on = bf_cloud_power_on,
    .tagged = bf_cloud_tagged,
    .source = &bf_cloud_source_ops,
    .target = &target_ops,
};
