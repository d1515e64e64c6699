/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoint -> qemu block device.  Everything that came from outside goes through json-c, so
 * no name can add an option. */
#include <errno.h>
#include <json-c/json.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/export.h"
#include "guest/nbd_uri.h"
#include "nbd/uri.h"

static int file_node(const char *path, struct json_object **ret_node, struct bf_error *err)
{
    struct json_object *node;
    struct stat status;

    if (path[0] != '/')
        return bf_fail(err, BF_E_URI, 0, "%s is neither an absolute path nor an nbd URI", path);
    if (stat(path, &status) < 0)
        return bf_fail(err, BF_E_ENDPOINT_OPEN, errno, "cannot open %s", path);
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "%s is neither a file nor a block device", path);
    node = json_object_new_object();
    bf_json_add_string(node, "driver", S_ISBLK(status.st_mode) ? "host_device" : "file");
    bf_json_add_string(node, "filename", path);
    *ret_node = node;
    return 0;
}

static struct json_object *nbd_server(const struct bf_nbd_uri *uri)
{
    struct json_object *server = json_object_new_object();

    if (uri->socket) {
        bf_json_add_string(server, "type", "unix");
        bf_json_add_string(server, "path", uri->socket);
    } else {
        bf_auto_free char *port = bf_xasprintf("%u", uri->port);

        bf_json_add_string(server, "type", "inet");
        bf_json_add_string(server, "host", uri->host);
        bf_json_add_string(server, "port", port);
    }
    return server;
}

static int nbd_node(const struct bf_endpoint_spec *disk, struct json_object **ret_node,
                    const char **ret_tls_directory, struct bf_error *err)
{
    bf_cleanup(bf_nbd_uri_done) struct bf_nbd_uri uri = {0};
    struct json_object *node;

    if (bf_nbd_uri_parse(disk->uri, &uri, err) < 0)
        return -1;
    if (uri.tls && !disk->tls_directory)
        return bf_fail(err, BF_E_URI, 0, "%s needs certificates", disk->uri);
    node = json_object_new_object();
    bf_json_add_string(node, "driver", "nbd");
    json_object_object_add(node, "server", nbd_server(&uri));
    if (*uri.export_name)
        bf_json_add_string(node, "export", uri.export_name);
    if (uri.tls) {
        bf_json_add_string(node, "tls-creds", "tls");
        *ret_tls_directory = disk->tls_directory;
    }
    *ret_node = node;
    return 0;
}

static int rbd_node(const char *text, struct json_object **ret_node, struct bf_error *err)
{
    bf_cleanup(bf_uri_done) struct bf_uri uri = {0};
    struct json_object *node;

    if (bf_uri_parse(text, &uri, err) < 0)
        return -1;
    node = json_object_new_object();
    bf_json_add_string(node, "driver", "rbd");
    bf_json_add_string(node, "pool", uri.rbd_pool);
    bf_json_add_string(node, "image", uri.rbd_image);
    if (uri.rbd_namespace)
        bf_json_add_string(node, "namespace", uri.rbd_namespace);
    if (uri.rbd_snapshot)
        bf_json_add_string(node, "snapshot", uri.rbd_snapshot);
    if (uri.rbd_conf)
        bf_json_add_string(node, "conf", uri.rbd_conf);
    if (uri.rbd_id)
        bf_json_add_string(node, "user", uri.rbd_id);
    *ret_node = node;
    return 0;
}

int bf_export_blockdev(const struct bf_endpoint_spec *disk, char **ret_json,
                       const char **ret_tls_directory, struct bf_error *err)
{
    struct json_object *protocol = NULL;
    bf_auto_json *node = NULL;
    const char *format = disk->format ? disk->format : "raw";
    const char *tls_directory = NULL;

    if (!bf_streq(format, "raw") && !bf_streq(format, "qcow2"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "disk %s: format %s is neither raw nor qcow2",
                       disk->uri, format);
    if (bf_starts_with(disk->uri, "nbd")) {
        if (nbd_node(disk, &protocol, &tls_directory, err) < 0)
            return -1;
    } else if (bf_starts_with(disk->uri, "rbd:")) {
        if (rbd_node(disk->uri, &protocol, err) < 0)
            return -1;
    } else if (file_node(disk->uri, &protocol, err) < 0) {
        return -1;
    }
    node = json_object_new_object();
    bf_json_add_string(node, "driver", format);
    bf_json_add_string(node, "node-name", "disk");
    bf_json_add_string(node, "discard", "unmap");
    json_object_object_add(node, "file", protocol);
    *ret_json = bf_xstrdup(bf_json_text(node));
    *ret_tls_directory = tls_directory;
    return 0;
}
