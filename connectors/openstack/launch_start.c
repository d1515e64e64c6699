/* SPDX-License-Identifier: Apache-2.0 */
/* The start of a launched machine: the first "power on" asks Nova for the server (launch.c says
 * why), a later one finds it. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/launch.h"
#include "connectors/openstack/nova.h"
#include "connectors/openstack/refs.h"
#include "connectors/openstack/target.h"

#define BUILD_MS (UINT64_C(15) * 60 * 1000)
#define TAKEN_MS (UINT64_C(2) * 60 * 1000)
#define TAKEN_PAUSE_MS 1000

int bf_cloud_launch_parse(const char *machine_ref, struct json_object **ret_ref,
                          const char **ret_tag, struct bf_error *err)
{
    if (bf_cloud_ref_parse(machine_ref, ret_ref, err) < 0)
        return -1;
    *ret_tag = bf_cloud_text(*ret_ref, "tag");
    if (!*ret_tag || !bf_tag_valid(*ret_tag))
        return bf_fail(err, BF_E_BAD_JSON, 0, "stored reference: no usable \"tag\"");
    return 0;
}

/* One that is not in an error; NULL: none. */
static const char *healthy(struct json_object *servers)
{
    for (size_t i = 0; i < json_object_array_length(servers); i++) {
        struct json_object *server = json_object_array_get_idx(servers, i);

        if (!bf_streq(bf_cloud_text(server, "status"), "ERROR"))
            return bf_cloud_id(server, "id");
    }
    return NULL;
}

int bf_cloud_launch_server(struct bf_cloud *cloud, const char *machine_ref, char **ret_server_id,
                           struct bf_error *err)
{
    bf_auto_json *ref = NULL;
    bf_auto_json *servers = NULL;
    const char *tag;

    if (bf_cloud_launch_parse(machine_ref, &ref, &tag, err) < 0 ||
        bf_nova_tagged(cloud, tag, &servers, err) < 0)
        return -1;
    const char *id = healthy(servers);
    if (!id && json_object_array_length(servers))
        id = bf_cloud_id(json_object_array_get_idx(servers, 0), "id");
    *ret_server_id = bf_xstrdup(id);
    return 0;
}

/* image NULL: the boot volume is booted itself. */
static struct json_object *block_devices(struct json_object *volumes, const char *image)
{
    struct json_object *devices = json_object_new_array();

    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        struct json_object *volume = json_object_array_get_idx(volumes, i);
        struct json_object *device = json_object_new_object();
        bool boot = bf_cloud_bool(volume, "boot"), local = boot && image;

        bf_json_add_string(device, "uuid", local ? image : bf_cloud_id(volume, "id"));
        bf_json_add_string(device, "source_type", local ? "image" : "volume");
        bf_json_add_string(device, "destination_type", local ? "local" : "volume");
        bf_json_add_string(device, "disk_bus", bf_cloud_text(volume, "bus"));
        bf_json_add_i64(device, "boot_index", boot ? 0 : -1);
        bf_json_add_bool(device, "delete_on_termination", local);
        json_object_array_add(devices, device);
    }
    return devices;
}

static struct json_object *networks(struct json_object *ports)
{
    struct json_object *list;

    if (json_object_array_length(ports) == 0)
        return json_object_new_string("none");
    list = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(ports); i++) {
        struct json_object *port = json_object_new_object();

        json_object_object_add(port, "port", json_object_get(json_object_array_get_idx(ports, i)));
        json_object_array_add(list, port);
    }
    return list;
}

static struct json_object *server_body(const struct bf_cloud *cloud, struct json_object *ref,
                                       const char *tag)
{
    struct json_object *body = json_object_new_object();
    struct json_object *server = json_object_new_object();
    struct json_object *metadata = bf_cloud_metadata(tag, BF_CLOUD_MACHINE_KIND);
    struct json_object *tags = json_object_new_array();
    const char *image = bf_cloud_id(ref, "image");

    json_object_object_add(body, "server", server);
    if (image)
        bf_json_add_string(server, "imageRef", image);
    bf_json_add_string(server, "name", bf_cloud_text(ref, "name"));
    bf_json_add_string(server, "flavorRef", bf_cloud_id(ref, "flavor"));
    if (bf_cloud_bool(ref, "drill"))
        bf_json_add_string(metadata, "blockferry_drill", "yes");
    json_object_object_add(server, "metadata", metadata);
    json_object_array_add(tags, json_object_new_string(tag));
    json_object_object_add(server, "tags", tags);
    json_object_object_add(server, "networks", networks(bf_cloud_at(ref, "ports")));
    json_object_object_add(server, "block_device_mapping_v2",
                           block_devices(bf_cloud_at(ref, "volumes"), image));
    if (cloud->conf.config_drive)
        bf_json_add_bool(server, "config_drive", true);
    return body;
}

static int boot(struct bf_cloud *cloud, struct json_object *ref, const char *tag, char **ret_id,
                struct bf_error *err)
{
    bf_auto_json *body = server_body(cloud, ref, tag);
    bf_auto_json *answer = NULL;
    const char *id;
    int rc = bf_cloud_call(cloud,
                           &(struct bf_cloud_request){.service = BF_CLOUD_COMPUTE,
                                                      .method = "POST",
                                                      .path = "/servers",
                                                      .minor = BF_NOVA_MINOR,
                                                      .body = body},
                           &answer, err);

    /* Without an answer (a cancel, too), or with that of a gateway, Nova may go on with it. */
    cloud->server_asked = rc < 0 && (cloud->status == 0 || cloud->status >= 500);
    if (rc < 0 || bf_cloud_need_id(answer, "server/id", &id, err) < 0) {
        if (err->code == BF_E_PLATFORM_ERROR || err->code == BF_E_IN_USE)
            bf_error_recode(err, BF_E_LAUNCH_FAILED);
        return -1;
    }
    *ret_id = bf_xstrdup(id);
    return 0;
}

/* A server in an error is of no use, and keeps its volumes. */
int bf_cloud_launch_remove_servers(struct bf_cloud *cloud, struct json_object *servers,
                                   const char *status, struct bf_error *err)
{
    for (size_t i = 0; i < json_object_array_length(servers); i++) {
        struct json_object *server = json_object_array_get_idx(servers, i);

        if ((!status || bf_streq(bf_cloud_text(server, "status"), status)) &&
            bf_nova_delete(cloud, bf_cloud_id(server, "id"), err) < 0)
            return -1;
    }
    return 0;
}

int bf_cloud_launch_is_taken(struct bf_cloud *cloud, struct json_object *ref, bool *ret_taken,
                             struct bf_error *err)
{
    struct json_object *volumes = bf_cloud_at(ref, "volumes");
    size_t count =
        json_object_is_type(volumes, json_type_array) ? json_object_array_length(volumes) : 0;

    *ret_taken = false;
    for (size_t i = 0; i < count && !*ret_taken; i++) {
        const char *id = bf_cloud_id(json_object_array_get_idx(volumes, i), "id");

        if (id && bf_cinder_is_taken(cloud, id, ret_taken, err) < 0)
            return -1;
    }
    return 0;
}

/* What was asked for by a process that was killed is taken, and what is of no use removed. */
static int find_server(struct bf_cloud *cloud, const char *tag, char **ret_id, struct bf_error *err)
{
    bf_auto_json *servers = NULL;

    if (bf_nova_tagged(cloud, tag, &servers, err) < 0 ||
        bf_cloud_launch_remove_servers(cloud, servers, "ERROR", err) < 0)
        return -1;
    *ret_id = bf_xstrdup(healthy(servers));
    return 0;
}

/* Nova takes volumes and ports a second before it lists the server.  A request that the service
 * sent when it was killed may be as far as that: then this one is refused, and either that server
 * comes up or it gives back what it took. */
static int need_server(struct bf_cloud *cloud, struct json_object *ref, const char *tag,
                       char **ret_id, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(TAKEN_MS);
    bf_auto_error refused = BF_ERROR_INIT;
    bool taken = false;

    for (;;) {
        if (find_server(cloud, tag, ret_id, err) < 0)
            return -1;
        if (*ret_id)
            return 0;
        if (bf_error_is_set(&refused) && (!taken || bf_deadline_passed(deadline))) {
            bf_error_move(err, &refused);
            return -1;
        }
        bf_error_clear(&refused);
        if (boot(cloud, ref, tag, ret_id, &refused) == 0)
            return 0;
        if (cloud->status != 400 && cloud->status != 409) {
            bf_error_move(err, &refused);
            return -1;
        }
        if (bf_cloud_launch_is_taken(cloud, ref, &taken, err) < 0 ||
            (taken &&
             bf_platform_pause(&cloud->base, TAKEN_PAUSE_MS, (struct bf_deadline){0}, err) < 0))
            return -1;
    }
}

int bf_cloud_launch_start(struct bf_cloud *cloud, const char *machine_ref, struct bf_error *err)
{
    bf_auto_json *ref = NULL;
    bf_auto_free char *id = NULL;
    const char *tag;

    if (bf_cloud_launch_parse(machine_ref, &ref, &tag, err) < 0 ||
        need_server(cloud, ref, tag, &id, err) < 0)
        return -1;
    if (bf_nova_wait(cloud, id, "ACTIVE", BUILD_MS, err) == 0)
        return 0;
    if (err->code == BF_E_PLATFORM_ERROR) {
        bf_auto_error ignored = BF_ERROR_INIT;

        bf_error_recode(err, BF_E_LAUNCH_FAILED);
        (void)bf_nova_delete(cloud, id, &ignored);
    }
    return -1;
}
