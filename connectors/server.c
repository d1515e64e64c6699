/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/server.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/text.h"

#define GREETING_MS 1000
#define LOOK_MS 10

struct bf_server {
    struct bf_process *process; /* NULL: not started */
    char *socket_path;
    char *uri;
};

/* --- names --- */

int bf_server_socket(const char *directory, const char *prefix, unsigned serial, char **ret_path,
                     struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s-%d-%u", directory, prefix, (int)gettid(), serial);

    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "the work directory's path is too long: %s", path);
    *ret_path = bf_steal(path);
    return 0;
}

char *bf_server_uri_of(const char *socket_path, const char *export_name)
{
    bf_auto_free char *path = bf_url_escape(socket_path, "/");
    bf_auto_free char *name = bf_url_escape(export_name ? export_name : "", "/");

    return bf_xasprintf("nbd+unix:///%s?socket=%s", name, path);
}

const char *bf_server_uri(const struct bf_server *server)
{
    return server->uri;
}

char *bf_server_qemu_listen(const char *socket_path)
{
    bf_auto_json *option = json_object_new_object();
    struct json_object *addr = json_object_new_object();

    bf_json_add_string(addr, "type", "unix");
    bf_json_add_string(addr, "path", socket_path);
    json_object_object_add(option, "addr", addr);
    return bf_xstrdup(bf_json_text(option));
}

const char *bf_server_qemu_export(bool read_only)
{
#define EXPORT                                                                                     \
    "{\"type\":\"nbd\",\"id\":\"export\",\"node-name\":\"image\","                                 \
    "\"name\":\"" BF_SERVER_QEMU_EXPORT "\",\"writable\":"
    return read_only ? EXPORT "false}" : EXPORT "true}";
#undef EXPORT
}

char *bf_server_qemu_tls(const char *directory)
{
    bf_auto_json *object = json_object_new_object();

    bf_json_add_string(object, "qom-type", "tls-creds-x509");
    bf_json_add_string(object, "id", "tls");
    bf_json_add_string(object, "endpoint", "client");
    bf_json_add_bool(object, "verify-peer", true);
    bf_json_add_string(object, "dir", directory);
    return bf_xstrdup(bf_json_text(object));
}

/* --- start --- */

/* One connection that reads the greeting: then the server's main loop runs, and all of its command
 * line was carried out. */
static bool answers(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bf_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char greeting[8];

    strncpy(address.sun_path, socket_path, sizeof(address.sun_path) - 1);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return false;
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    if (poll(&pfd, 1, GREETING_MS) != 1)
        return false;
    return recv(fd, greeting, sizeof(greeting), MSG_WAITALL) == (ssize_t)sizeof(greeting) &&
           memcmp(greeting, "NBDMAGIC", sizeof(greeting)) == 0;
}

const char *bf_server_tail(struct bf_server *server)
{
    bf_process_drain(server->process);
    return bf_process_tail(server->process);
}

bool bf_server_runs(const struct bf_server *server)
{
    struct pollfd pfd = {.fd = bf_process_pidfd(server->process), .events = POLLIN};

    return poll(&pfd, 1, 0) == 0;
}

static int wait_ready(struct bf_server *server, struct bf_platform *platform, const char *name,
                      uint64_t start_ms, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(start_ms);

    while (!answers(server->socket_path)) {
        bf_process_drain(server->process);
        if (!bf_server_runs(server)) {
            if (bf_process_finish(server->process, deadline, -1, err) == 0)
                bf_fail(err, BF_E_CHILD_FAILED, 0, "%s ended at once", name);
            return -1;
        }
        if (bf_platform_pause(platform, LOOK_MS, deadline, err) < 0)
            return bf_fail_in(err, "%s", name);
    }
    return 0;
}

static void server_free(struct bf_server *server)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    bf_process_free(server->process);
    (void)bf_file_remove(server->socket_path, &ignored);
    free(server->socket_path);
    free(server->uri);
    free(server);
}

int bf_server_start(struct bf_platform *platform, const struct bf_server_spec *spec,
                    struct bf_server **ret_server, struct bf_error *err)
{
    struct bf_process_spec process = {.argv = spec->argv,
                                      .env = spec->env,
                                      .pass_fds = spec->pass_fds,
                                      .pass_fd_count = spec->pass_fd_count};

    if (bf_file_remove(spec->socket_path, err) < 0)
        return -1;
    struct bf_server *server = bf_xcalloc(1, sizeof(*server));
    server->socket_path = bf_xstrdup(spec->socket_path);
    server->uri = bf_server_uri_of(spec->socket_path, spec->export_name);
    if (bf_process_start(&process, &server->process, err) < 0 ||
        wait_ready(server, platform, spec->argv[0], spec->start_ms, err) < 0) {
        server_free(server);
        return -1;
    }
    *ret_server = server;
    return 0;
}

/* --- end --- */

int bf_server_stop(struct bf_server *server, uint64_t timeout_ms, struct bf_error *err)
{
    int rc;

    if (!server)
        return 0;
    (void)bf_process_signal(server->process, SIGTERM); /* ended already: finish() tells how */
    rc = bf_process_finish(server->process, bf_deadline_in(timeout_ms), -1, err);
    if (rc < 0)
        bf_fail_in(err, "closing the image");
    server_free(server);
    return rc;
}
