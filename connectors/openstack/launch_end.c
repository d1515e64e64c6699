/* SPDX-License-Identifier: Apache-2.0 */
/* Launched machines: their console, and their two ends: deleted, or handed over. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/boot_image.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/companion.h"
#include "connectors/openstack/launch.h"
#include "connectors/openstack/neutron.h"
#include "connectors/openstack/nova.h"
#include "connectors/openstack/target.h"

#define CLEAR_MS (UINT64_C(10) * 60 * 1000)
#define CLEAR_PAUSE_MS 500
#define UNANSWERED_MS (UINT64_C(30) * 1000)

/* --- console --- */

int bf_cloud_console(struct bf_platform *platform, const char *machine_ref, size_t max,
                     char **ret_text, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bf_auto_json *answer = NULL;
    const char *text;

    *ret_text = NULL;
    if (bf_cloud_launch_server(cloud, machine_ref, &id, err) < 0)
        return -1;
    if (!id)
        return 0;
    if (bf_nova_action(cloud, id, "os-getConsoleOutput", json_object_new_object(), &answer, err) <
        0) {
        if (cloud->status != 404 && cloud->status != 409)
            return -1;
        bf_error_clear(err); /* switched off, or not built yet */
        return 0;
    }
    text = bf_cloud_text(answer, "output");
    if (text && *text) {
        size_t length = strlen(text);

        *ret_text = bf_xstrdup(length > max ? text + length - max : text);
    }
    return 0;
}

/* --- the end --- */

static int remove_servers(struct bf_cloud *cloud, const char *tag, struct bf_error *err)
{
    bf_auto_json *servers = NULL;

    if (bf_nova_tagged(cloud, tag, &servers, err) < 0)
        return -1;
    if (json_object_array_length(servers) > 0)
        cloud->server_asked = false;
    return bf_cloud_launch_remove_servers(cloud, servers, NULL, err);
}

/* Until no server of ours is there, none is to be feared, and none has one of our volumes: Nova
 * gives them back a moment after the server is gone, and takes them a moment before it lists a
 * server.  One that comes up after this would be a second machine beside the source. */
static int clear_servers(struct bf_cloud *cloud, struct json_object *ref, const char *tag,
                         struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(CLEAR_MS);
    struct bf_deadline unanswered = bf_deadline_in(UNANSWERED_MS);
    bool taken;

    for (;;) {
        if (remove_servers(cloud, tag, err) < 0 ||
            bf_cloud_launch_is_taken(cloud, ref, &taken, err) < 0)
            return -1;
        if (!taken && (!cloud->server_asked || bf_deadline_passed(unanswered)))
            return 0;
        if (bf_deadline_passed(deadline))
            return bf_fail(err, BF_E_IN_USE, 0,
                           "a server that is not ours has a volume of the launched machine");
        if (bf_platform_pause(&cloud->base, CLEAR_PAUSE_MS, (struct bf_deadline){0}, err) < 0)
            return -1;
    }
}

/* Those with its name, and those it was started with: when it was handed over in part they have
 * other names already. */
static int delete_ports(struct bf_cloud *cloud, struct json_object *ref, const char *tag,
                        struct bf_error *err)
{
    struct json_object *known = bf_cloud_at(ref, "ports");
    bf_auto_json *ports = NULL;

    if (bf_cloud_launch_ports(cloud, tag, &ports, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(ports); i++)
        if (bf_neutron_delete_port(cloud, bf_cloud_id(json_object_array_get_idx(ports, i), "id"),
                                   err) < 0)
            return -1;
    for (size_t i = 0;
         json_object_is_type(known, json_type_array) && i < json_object_array_length(known); i++)
        if (bf_neutron_delete_port(
                cloud, json_object_get_string(json_object_array_get_idx(known, i)), err) < 0)
            return -1;
    return 0;
}

int bf_cloud_delete_machine(struct bf_platform *platform, const char *machine_ref,
                            struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *ref = NULL;
    const char *tag;

    if (bf_cloud_launch_parse(machine_ref, &ref, &tag, err) < 0 ||
        clear_servers(cloud, ref, tag, err) < 0 || delete_ports(cloud, ref, tag, err) < 0 ||
        bf_cloud_delete_images(cloud, tag, err) < 0)
        return -1;
    return bf_cloud_companion_delete(cloud, tag, err);
}

static int remove_server_marks(struct bf_cloud *cloud, const char *id, const char *tag,
                               struct bf_error *err)
{
    static const char *const keys[] = {BF_CLOUD_TAG_KEY, BF_CLOUD_KIND_KEY, "blockferry_drill"};
    struct bf_cloud_request request = {
        .service = BF_CLOUD_COMPUTE, .method = "DELETE", .minor = BF_NOVA_MINOR};

    for (size_t i = 0; i <= bf_array_length(keys); i++) {
        bf_auto_free char *path = i < bf_array_length(keys)
                                      ? bf_xasprintf("/servers/%s/metadata/%s", id, keys[i])
                                      : bf_xasprintf("/servers/%s/tags/%s", id, tag);

        request.path = path;
        if (bf_cloud_call(cloud, &request, NULL, err) < 0) {
            if (cloud->status != 404)
                return -1;
            bf_error_clear(err);
        }
    }
    return 0;
}

static int hand_over_volumes(struct bf_cloud *cloud, struct json_object *ref, struct bf_error *err)
{
    struct json_object *volumes = bf_cloud_at(ref, "volumes");
    size_t count =
        json_object_is_type(volumes, json_type_array) ? json_object_array_length(volumes) : 0;

    for (size_t i = 0; i < count; i++) {
        const char *id = bf_cloud_id(json_object_array_get_idx(volumes, i), "id");
        bf_auto_free char *name = bf_xasprintf("%s-%zu", bf_cloud_text(ref, "name"), i);
        bf_auto_free char *path = id ? bf_xasprintf("/volumes/%s", id) : NULL;
        bool uploaded = bf_cloud_id(ref, "image") &&
                        bf_cloud_bool(json_object_array_get_idx(volumes, i), "boot");

        if (uploaded && id) { /* the machine runs on a copy of it */
            if (bf_cinder_delete_volume(cloud, id, err) < 0)
                return -1;
            continue;
        }
        /* What an adoption noted for giving the volume back is of no use any more. */
        if (path && (bf_cinder_delete_snapshots(cloud, id, NULL, BF_CLOUD_ADOPTION_KIND, err) < 0 ||
                     bf_cinder_rename(cloud, path, name, err) < 0 ||
                     bf_cinder_set_metadata(cloud, path, BF_CLOUD_KIND_KEY, NULL, err) < 0 ||
                     bf_cinder_set_metadata(cloud, path, BF_CLOUD_TAG_KEY, NULL, err) < 0))
            return -1;
    }
    return 0;
}

int bf_cloud_hand_over_machine(struct bf_platform *platform, const char *machine_ref,
                               struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *ref = NULL;
    bf_auto_json *ports = NULL;
    bf_auto_free char *id = NULL;
    const char *tag;

    if (bf_cloud_launch_parse(machine_ref, &ref, &tag, err) < 0 ||
        bf_cloud_launch_ports(cloud, tag, &ports, err) < 0 ||
        bf_cloud_launch_server(cloud, machine_ref, &id, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(ports); i++) {
        bf_auto_free char *name = bf_xasprintf("%s-%zu", bf_cloud_text(ref, "name"), i);

        if (bf_neutron_rename_port(cloud, bf_cloud_id(json_object_array_get_idx(ports, i), "id"),
                                   name, err) < 0)
            return -1;
    }
    /* The server's mark last: by it a second call finds what is left to do. */
    if (hand_over_volumes(cloud, ref, err) < 0)
        return -1;
    return id ? remove_server_marks(cloud, id, tag, err) : 0;
}
