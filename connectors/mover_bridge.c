/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/mover_bridge.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

#define START_MS 30000
#define RECONNECT_S 60
#define MOVER_PORT "10809"
#define SCHEME "nbds://"

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

static char *mover_node(const char *address, const char *export_name, bool read_only)
{
    bf_auto_json *node = json_object_new_object();

    bf_json_add_string(node, "driver", "nbd");
    bf_json_add_string(node, "node-name", "image");
    json_object_object_add(node, "server", mover_server(address));
    bf_json_add_string(node, "export", export_name);
    bf_json_add_string(node, "tls-creds", "tls");
    bf_json_add_u64(node, "reconnect-delay", RECONNECT_S);
    bf_json_add_bool(node, "read-only", read_only);
    bf_json_add_string(node, "discard", "unmap");
    return bf_xstrdup(bf_json_text(node));
}

/* Of a mover's URI, in which nothing is escaped (mover.h: names of exports are plain). */
static int split(const char *uri, char **ret_address, const char **ret_export, struct bf_error *err)
{
    const char *address = uri + strlen(SCHEME), *slash;

    if (!bf_starts_with(uri, SCHEME) || !(slash = strchr(address, '/')) || slash == address ||
        !slash[1])
        return bf_fail(err, BF_E_INTERNAL, 0, "\"%s\" is no disk of a mover", uri);
    *ret_address = bf_xasprintf("%.*s", (int)(slash - address), address);
    *ret_export = slash + 1;
    return 0;
}

int bf_mover_bridge(struct bf_platform *platform, const char *work_directory, unsigned serial,
                    const struct bf_endpoint_spec *spec, bool read_only,
                    struct bf_server **ret_server, struct bf_error *err)
{
    bf_auto_free char *address = NULL;
    bf_auto_free char *path = NULL;
    const char *export_name = NULL;

    if (split(spec->uri, &address, &export_name, err) < 0 ||
        bf_server_socket(work_directory, "bridge", serial, &path, err) < 0)
        return -1;
    bf_auto_free char *tls = bf_server_qemu_tls(spec->tls_directory);
    bf_auto_free char *node = mover_node(address, export_name, read_only);
    bf_auto_free char *listen = bf_server_qemu_listen(path);
    const char *argv[] = {"qemu-storage-daemon",
                          "--object",
                          tls,
                          "--blockdev",
                          node,
                          "--nbd-server",
                          listen,
                          "--export",
                          bf_server_qemu_export(read_only),
                          NULL};
    struct bf_server_spec server = {.argv = argv,
                                    .socket_path = path,
                                    .export_name = BF_SERVER_QEMU_EXPORT,
                                    .start_ms = START_MS};
    if (bf_server_start(platform, &server, ret_server, err) < 0)
        return bf_fail_in(err, "serving %s", spec->uri);
    return 0;
}
