/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/process.h"
#include "base/text.h"

#define START_MS 30000
#define TOOL_OUTPUT_MAX ((size_t)1 << 20)

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

/* QEMU tells a lock only by its text. */
static void recode_by_tail(struct bf_error *err)
{
    const char *tail = err->evidence ? err->evidence : "";

    if (strstr(tail, " lock") && strstr(tail, "Is another process using"))
        bf_error_recode(err, BF_E_IN_USE);
    else if (strstr(tail, "No space left on device") || strstr(tail, "Disk quota exceeded"))
        bf_error_recode(err, BF_E_TARGET_FULL);
}

int bf_libvirt_serve(struct bf_libvirt *lv, const struct bf_libvirt_serve_request *request,
                     struct bf_server **ret_server, struct bf_error *err)
{
    bf_auto_free char *file = file_node(request);
    bf_auto_free char *image = image_node(request);
    bf_auto_free char *export = export_option(request);
    bf_auto_free char *path = NULL;

    if (bf_server_socket(lv->conf.work_directory, "nbd", lv->serial++, &path, err) < 0)
        return -1;
    bf_auto_free char *listen = bf_server_qemu_listen(path);
    const char *argv[] = {"qemu-storage-daemon", "--blockdev", file,       "--blockdev", image,
                          "--nbd-server",        listen,       "--export", export,       NULL};
    struct bf_server_spec spec = {
        .argv = argv, .socket_path = path, .export_name = request->name, .start_ms = START_MS};
    if (bf_server_start(&lv->base, &spec, ret_server, err) < 0) {
        if (err->code == BF_E_CHILD_FAILED)
            recode_by_tail(err);
        return bf_fail_in(err, "serving %s", request->path);
    }
    return 0;
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
