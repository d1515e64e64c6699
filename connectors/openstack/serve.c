/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/serve.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define START_MS 30000

/* --- command line: JSON, so that no name can be taken for an option --- */

static char *image_node(const struct bf_cloud *cloud, const struct bf_rbd_place *place)
{
    bf_auto_json *node = json_object_new_object();

    bf_json_add_string(node, "driver", "rbd");
    bf_json_add_string(node, "node-name", "image");
    bf_json_add_string(node, "pool", place->pool);
    bf_json_add_string(node, "image", place->image);
    bf_json_add_string(node, "discard", "unmap");
    if (cloud->conf.ceph_conf)
        bf_json_add_string(node, "conf", cloud->conf.ceph_conf);
    if (place->user)
        bf_json_add_string(node, "user", place->user);
    return bf_xstrdup(bf_json_text(node));
}

static char *server_option(const char *socket_path)
{
    bf_auto_json *option = json_object_new_object();
    struct json_object *addr = json_object_new_object();

    bf_json_add_string(addr, "type", "unix");
    bf_json_add_string(addr, "path", socket_path);
    json_object_object_add(option, "addr", addr);
    return bf_xstrdup(bf_json_text(option));
}

int bf_cloud_serve(struct bf_cloud *cloud, const struct bf_rbd_place *place,
                   struct bf_server **ret_server, struct bf_error *err)
{
    bf_auto_free char *image = image_node(cloud, place);
    bf_auto_free char *path = NULL;

    if (bf_server_socket(cloud->conf.work_directory, "nbd", cloud->serial++, &path, err) < 0)
        return -1;
    bf_auto_free char *listen = server_option(path);
    const char *argv[] = {"qemu-storage-daemon",
                          "--blockdev",
                          image,
                          "--nbd-server",
                          listen,
                          "--export",
                          "{\"type\":\"nbd\",\"id\":\"export\",\"node-name\":\"image\","
                          "\"name\":\"disk\",\"writable\":true}",
                          NULL};
    struct bf_server_spec spec = {
        .argv = argv, .socket_path = path, .export_name = "disk", .start_ms = START_MS};
    if (bf_server_start(&cloud->base, &spec, ret_server, err) < 0) {
        if (err->evidence && strstr(err->evidence, "Unknown driver 'rbd'"))
            bf_error_recode(err, BF_E_CHILD_MISSING);
        return bf_fail_in(err, "serving %s/%s", place->pool, place->image);
    }
    return 0;
}
