/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/serve.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"

#define START_MS 30000
#define STOP_MS 120000

struct bf_cloud_server {
    struct bf_cloud *cloud;
    struct bf_process *process;
    char *socket_path;
    char *uri;
};

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

/* One connection that reads the greeting. */
static bool answers(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bf_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char greeting[8];

    strncpy(address.sun_path, socket_path, sizeof(address.sun_path) - 1);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return false;
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    if (poll(&pfd, 1, 1000) != 1)
        return false;
    return recv(fd, greeting, sizeof(greeting), MSG_WAITALL) == (ssize_t)sizeof(greeting) &&
           memcmp(greeting, "NBDMAGIC", sizeof(greeting)) == 0;
}

static int wait_ready(struct bf_cloud_server *server, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(START_MS);

    while (!answers(server->socket_path)) {
        struct pollfd pfd = {.fd = bf_process_pidfd(server->process), .events = POLLIN};
        if (poll(&pfd, 1, 0) == 1) {
            if (bf_process_finish(server->process, deadline, -1, err) == 0)
                bf_fail(err, BF_E_CHILD_FAILED, 0, "qemu-storage-daemon ended at once");
            if (err->evidence && strstr(err->evidence, "Unknown driver 'rbd'"))
                bf_error_recode(err, BF_E_CHILD_MISSING);
            return -1;
        }
        if (bf_platform_pause(&server->cloud->base, 10, deadline, err) < 0)
            return bf_fail_in(err, "qemu-storage-daemon");
    }
    return 0;
}

static void server_free(struct bf_cloud_server *server)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    bf_process_free(server->process);
    if (server->socket_path)
        (void)bf_file_remove(server->socket_path, &ignored);
    free(server->socket_path);
    free(server->uri);
    free(server);
}

int bf_cloud_serve(struct bf_cloud *cloud, const struct bf_rbd_place *place,
                   struct bf_cloud_server **ret_server, struct bf_error *err)
{
    bf_auto_free char *image = image_node(cloud, place);
    bf_auto_free char *path =
        bf_xasprintf("%s/nbd-%d-%u", cloud->conf.work_directory, (int)gettid(), cloud->serial++);

    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "the work directory's path is too long: %s", path);
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
    if (bf_file_remove(path, err) < 0)
        return -1;
    struct bf_cloud_server *server = bf_xcalloc(1, sizeof(*server));
    server->cloud = cloud;
    server->socket_path = bf_steal(path);
    bf_auto_free char *escaped = bf_cloud_escape(server->socket_path);
    server->uri = bf_xasprintf("nbd+unix:///disk?socket=%s", escaped);
    if (bf_process_start(&(struct bf_process_spec){.argv = argv}, &server->process, err) < 0 ||
        wait_ready(server, err) < 0) {
        bf_fail_in(err, "serving %s/%s", place->pool, place->image);
        server_free(server);
        return -1;
    }
    *ret_server = server;
    return 0;
}

const char *bf_cloud_server_uri(const struct bf_cloud_server *server)
{
    return server->uri;
}

int bf_cloud_server_stop(struct bf_cloud_server *server, struct bf_error *err)
{
    int rc = bf_process_signal(server->process, SIGTERM);

    (void)rc; /* ended already: finish() tells how */
    rc = bf_process_finish(server->process, bf_deadline_in(STOP_MS), -1, err);
    if (rc < 0)
        bf_fail_in(err, "closing the image");
    server_free(server);
    return rc;
}
