/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/text.h"

#define START_MS 30000
#define STOP_MS 120000 /* writing back a large cache to a slow disk */
#define TOOL_OUTPUT_MAX ((size_t)1 << 20)

struct bf_libvirt_server {
    struct bf_libvirt *lv;
    struct bf_process *process;
    char *socket_path;
    char *uri;
};

/* --- what this host can do --- */

static bool has_io_uring(void)
{
    struct io_uring_params params = {0};
    long fd = syscall(__NR_io_uring_setup, 1, &params);

    if (fd < 0)
        return false;
    close((int)fd);
    return true;
}

/* tmpfs and some network file systems refuse O_DIRECT. */
static bool has_direct(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* --- command line: JSON, so that no path can be taken for an option --- */

static char *file_node(const struct bf_libvirt_serve_request *request)
{
    bf_auto_json *node = json_object_new_object();
    struct json_object *cache = json_object_new_object();
    struct stat st;
    bool direct = has_direct(request->path);

    bool device = stat(request->path, &st) == 0 && S_ISBLK(st.st_mode);
    bf_json_add_string(node, "driver", device ? "host_device" : "file");
    bf_json_add_string(node, "node-name", "file");
    bf_json_add_string(node, "filename", request->path);
    bf_json_add_string(node, "discard", "unmap");
    bf_json_add_bool(node, "read-only", !request->writable);
    /* QEMU refuses io_uring only where the kernel does; both work with and without O_DIRECT. */
    bf_json_add_string(node, "aio", has_io_uring() ? "io_uring" : "threads");
    bf_json_add_bool(cache, "direct", direct);
    json_object_object_add(node, "cache", cache);
    return bf_xstrdup(bf_json_text(node));
}

static char *image_node(const struct bf_libvirt_serve_request *request)
{
    bf_auto_json *node = json_object_new_object();

    bf_json_add_string(node, "driver", "qcow2");
    bf_json_add_string(node, "node-name", "image");
    bf_json_add_string(node, "file", "file");
    bf_json_add_string(node, "discard", "unmap");
    bf_json_add_bool(node, "read-only", !request->writable);
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

static char *export_option(const struct bf_libvirt_serve_request *request)
{
    bf_auto_json *option = json_object_new_object();

    bf_json_add_string(option, "type", "nbd");
    bf_json_add_string(option, "id", "export");
    bf_json_add_string(option, "node-name", "image");
    bf_json_add_string(option, "name", request->name);
    bf_json_add_bool(option, "writable", request->writable);
    if (request->bitmap) {
        struct json_object *bitmaps = json_object_new_array();
        json_object_array_add(bitmaps, json_object_new_string(request->bitmap));
        json_object_object_add(option, "bitmaps", bitmaps);
    }
    return bf_xstrdup(bf_json_text(option));
}

/* --- start --- */

static char *uri_escape(const char *text)
{
    struct bf_buf buf = {0};

    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                     (*at >= '0' && *at <= '9') || strchr("-._~/", *at);
        if (plain)
            bf_buf_addf(&buf, "%c", *at);
        else
            bf_buf_addf(&buf, "%%%02X", *at);
    }
    return buf.text ? buf.text : bf_xstrdup("");
}

char *bf_libvirt_nbd_uri(const char *socket_path, const char *export)
{
    bf_auto_free char *escaped_path = uri_escape(socket_path);
    bf_auto_free char *escaped_name = uri_escape(export);

    return bf_xasprintf("nbd+unix:///%s?socket=%s", escaped_name, escaped_path);
}

/* One connection that reads the greeting: the server's main loop runs, so all of its command line
 * was carried out.  1: yes, 0: not yet. */
static int answers(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bf_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char greeting[8];

    strncpy(address.sun_path, socket_path, sizeof(address.sun_path) - 1);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return 0;
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    if (poll(&pfd, 1, 1000) != 1)
        return 0;
    return recv(fd, greeting, sizeof(greeting), MSG_WAITALL) == (ssize_t)sizeof(greeting) &&
           memcmp(greeting, "NBDMAGIC", sizeof(greeting)) == 0;
}

/* QEMU tells a lock only by its text. */
static void recode_by_tail(struct bf_error *err)
{
    const char *tail = err->evidence ? err->evidence : "";

    if (strstr(tail, " lock") && strstr(tail, "Is another process using"))
        bf_error_recode(err, BF_E_IN_USE);
    else if (strstr(tail, "No space left on device") || strstr(tail, "Disk quota exceeded"))
        bf_error_recode(err, BF_E_TARGET_FULL);
}

static int wait_ready(struct bf_libvirt_server *server, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(START_MS);

    while (!answers(server->socket_path)) {
        struct pollfd pfd = {.fd = bf_process_pidfd(server->process), .events = POLLIN};
        if (poll(&pfd, 1, 0) == 1) {
            int rc = bf_process_finish(server->process, deadline, -1, err);
            if (rc == 0)
                bf_fail(err, BF_E_CHILD_FAILED, 0, "qemu-storage-daemon ended at once");
            recode_by_tail(err);
            return -1;
        }
        if (bf_platform_pause(&server->lv->base, 10, deadline, err) < 0)
            return bf_fail_in(err, "qemu-storage-daemon");
    }
    return 0;
}

static void server_free(struct bf_libvirt_server *server)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    bf_process_free(server->process);
    if (server->socket_path)
        (void)bf_file_remove(server->socket_path, &ignored);
    free(server->socket_path);
    free(server->uri);
    free(server);
}

int bf_libvirt_serve(struct bf_libvirt *lv, const struct bf_libvirt_serve_request *request,
                     struct bf_libvirt_server **ret_server, struct bf_error *err)
{
    bf_auto_free char *file = file_node(request);
    bf_auto_free char *image = image_node(request);
    bf_auto_free char *export = export_option(request);
    bf_auto_free char *path =
        bf_xasprintf("%s/nbd-%d-%u", lv->conf.work_directory, (int)gettid(), lv->serial++);

    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "the work directory's path is too long: %s", path);
    bf_auto_free char *listen = server_option(path);
    const char *argv[] = {"qemu-storage-daemon", "--blockdev", file,       "--blockdev", image,
                          "--nbd-server",        listen,       "--export", export,       NULL};
    struct bf_process_spec spec = {.argv = argv};
    if (bf_file_remove(path, err) < 0)
        return -1;
    struct bf_libvirt_server *server = bf_xcalloc(1, sizeof(*server));
    server->lv = lv;
    server->socket_path = bf_steal(path);
    server->uri = bf_libvirt_nbd_uri(server->socket_path, request->name);
    if (bf_process_start(&spec, &server->process, err) < 0 || wait_ready(server, err) < 0) {
        bf_fail_in(err, "serving %s", request->path);
        server_free(server);
        return -1;
    }
    *ret_server = server;
    return 0;
}

const char *bf_libvirt_server_uri(const struct bf_libvirt_server *server)
{
    return server->uri;
}

int bf_libvirt_server_stop(struct bf_libvirt_server *server, struct bf_error *err)
{
    int rc = bf_process_signal(server->process, SIGTERM);

    (void)rc; /* ended already: finish() tells how */
    rc = bf_process_finish(server->process, bf_deadline_in(STOP_MS), -1, err);
    if (rc < 0)
        bf_fail_in(err, "closing the image");
    server_free(server);
    return rc;
}

int bf_libvirt_tool(struct bf_libvirt *lv, const char *const *argv, struct bf_deadline deadline,
                    char **ret_output, struct bf_error *err)
{
    int rc = bf_process_run(argv, NULL, deadline, bf_platform_cancel_fd(&lv->base), TOOL_OUTPUT_MAX,
                            ret_output, err);

    if (rc < 0 && err->code == BF_E_CHILD_FAILED)
        recode_by_tail(err);
    return rc;
}
