/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/serve.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/mover_bridge.h"

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

int bf_cloud_serve(struct bf_cloud *cloud, const struct bf_rbd_place *place,
                   struct bf_server **ret_server, struct bf_error *err)
{
    bf_auto_free char *image = image_node(cloud, place);
    bf_auto_free char *path = NULL;

    if (bf_server_socket(cloud->conf.work_directory, "nbd", cloud->serial++, &path, err) < 0)
        return -1;
    bf_auto_free char *listen = bf_server_qemu_listen(path);
    const char *argv[] = {
        "qemu-storage-daemon",        "--blockdev", image, "--nbd-server", listen, "--export",
        bf_server_qemu_export(false), NULL};
    struct bf_server_spec spec = {.argv = argv,
                                  .socket_path = path,
                                  .export_name = BF_SERVER_QEMU_EXPORT,
                                  .start_ms = START_MS};
    if (bf_server_start(&cloud->base, &spec, ret_server, err) == 0)
        return 0;
    if (err->evidence && strstr(err->evidence, "Unknown driver 'rbd'"))
        bf_error_recode(err, BF_E_CHILD_MISSING);
    return bf_fail_in(err, "serving %s/%s", place->pool, place->image);
}

int bf_cloud_serve_attached(struct bf_cloud *cloud, bool read_only, struct bf_endpoint_spec *spec,
                            struct bf_server **ret_server, struct bf_error *err)
{
    *ret_server = NULL;
    if (!spec->tls_directory)
        return 0;
    if (bf_mover_bridge(&cloud->base, cloud->conf.work_directory, cloud->serial++, spec, read_only,
                        ret_server, err) < 0)
        return -1;
    free(spec->uri);
    free(spec->tls_directory);
    spec->uri = bf_xstrdup(bf_server_uri(*ret_server));
    spec->tls_directory = NULL;
    return 0;
}
