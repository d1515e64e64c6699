/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/serve.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define START_MS 30000
#define RECONNECT_S 60
#define MOVER_PORT "10809"

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

/* `secrets`: an object that the node refers to; NULL: none. */
static int serve(struct bf_cloud *cloud, const char *secrets, const char *node, bool read_only,
                 struct bf_server **ret_server, struct bf_error *err)
{
    bf_auto_free char *path = NULL;
    const char *argv[12] = {"qemu-storage-daemon"};
    size_t count = 1;

    if (bf_server_socket(cloud->conf.work_directory, "nbd", cloud->serial++, &path, err) < 0)
        return -1;
    bf_auto_free char *listen = server_option(path);
    if (secrets) {
        argv[count++] = "--object";
        argv[count++] = secrets;
    }
    argv[count++] = "--blockdev";
    argv[count++] = node;
    argv[count++] = "--nbd-server";
    argv[count++] = listen;
    argv[count++] = "--export";
    argv[count++] = read_only ? "{\"type\":\"nbd\",\"id\":\"export\",\"node-name\":\"image\","
                                "\"name\":\"disk\",\"writable\":false}"
                              : "{\"type\":\"nbd\",\"id\":\"export\",\"node-name\":\"image\","
                                "\"name\":\"disk\",\"writable\":true}";
    argv[count] = NULL;
    struct bf_server_spec spec = {
        .argv = argv, .socket_path = path, .export_name = "disk", .start_ms = START_MS};
    return bf_server_start(&cloud->base, &spec, ret_server, err);
}

int bf_cloud_serve(struct bf_cloud *cloud, const struct bf_rbd_place *place,
                   struct bf_server **ret_server, struct bf_error *err)
{
    bf_auto_free char *image = image_node(cloud, place);

    if (serve(cloud, NULL, image, false, ret_server, err) == 0)
        return 0;
    if (err->evidence && strstr(err->evidence, "Unknown driver 'rbd'"))
        bf_error_recode(err, BF_E_CHILD_MISSING);
    return bf_fail_in(err, "serving %s/%s", place->pool, place->image);
}

/* --- a mover's --- */

static char *tls_object(const char *directory)
{
    bf_auto_json *object = json_object_new_object();

    bf_json_add_string(object, "qom-type", "tls-creds-x509");
    bf_json_add_string(object, "id", "tls");
    bf_json_add_string(object, "endpoint", "client");
    bf_json_add_bool(object, "verify-peer", true);
    bf_json_add_string(object, "dir", directory);
    return bf_xstrdup(bf_json_text(object));
}

/* HOST, HOST:PORT, [IPv6] or [IPv6]:PORT. */
static struct json_object *mover_server(const char *address)
{
    struct json_object *server = json_object_new_object();
    const char *colon = strrchr(address, ':'), *bracket = strchr(address, ']');
    const char *port = colon && colon > bracket ? colon + 1 : MOVER_PORT;
    const char *host = address + (address[0] == '[');
    size_t length = bracket ? (size_t)(bracket - host) : strcspn(host, ":");
    bf_auto_free char *name = bf_xasprintf("%.*s", (int)length, host);

    bf_json_add_string(server, "type", "inet");
    bf_json_add_string(server, "host", name);
    bf_json_add_string(server, "port", port);
    return server;
}

static char *mover_node(const struct bf_cloud *cloud, const char *export_name, bool read_only)
{
    bf_auto_json *node = json_object_new_object();

    bf_json_add_string(node, "driver", "nbd");
    bf_json_add_string(node, "node-name", "image");
    json_object_object_add(node, "server", mover_server(cloud->conf.mover_address));
    bf_json_add_string(node, "export", export_name);
    bf_json_add_string(node, "tls-creds", "tls");
    bf_json_add_u64(node, "reconnect-delay", RECONNECT_S);
    bf_json_add_bool(node, "read-only", read_only);
    bf_json_add_string(node, "discard", "unmap");
    return bf_xstrdup(bf_json_text(node));
}

int bf_cloud_serve_attached(struct bf_cloud *cloud, bool read_only, struct bf_endpoint_spec *spec,
                            struct bf_server **ret_server, struct bf_error *err)
{
    *ret_server = NULL;
    if (!spec->tls_directory)
        return 0;
    bf_auto_free char *tls = tls_object(spec->tls_directory);
    bf_auto_free char *node = mover_node(cloud, strrchr(spec->uri, '/') + 1, read_only);
    if (serve(cloud, tls, node, read_only, ret_server, err) < 0)
        return bf_fail_in(err, "serving %s", spec->uri);
    free(spec->uri);
    free(spec->tls_directory);
    spec->uri = bf_xstrdup(bf_server_uri(*ret_server));
    spec->tls_directory = NULL;
    return 0;
}
