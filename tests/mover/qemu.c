/* SPDX-License-Identifier: Apache-2.0 */
/* connectors/mover.h on a real mover: QEMU's monitor is the platform.
 *
 *   mover-qemu MONITOR ADDRESS CERTIFICATES SLOTS attach FILE TAG [SIZE]     prints {"uri", ...}
 *   mover-qemu MONITOR ADDRESS CERTIFICATES SLOTS detach TAG | list
 *
 * A disk's id is its file's base name, a device's id TAG-DISK.  Errors: {"code","message"}, exit 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/mover.h"
#include "tests/unit/connectors/skeleton.h"

static FILE *monitor;
static const char *file;

/* --- QMP --- */

static int ask(const char *command, struct json_object *arguments, struct json_object **ret_answer,
               struct bf_error *err)
{
    bf_auto_json *request = json_object_new_object();
    bf_auto_free char *line = NULL;
    size_t size = 0;

    bf_json_add_string(request, "execute", command);
    if (arguments)
        json_object_object_add(request, "arguments", arguments);
    fprintf(monitor, "%s\n", bf_json_text(request));
    fflush(monitor);
    while (getline(&line, &size, monitor) > 0) {
        bf_auto_json *answer = NULL;
        struct json_object *value;

        if (bf_json_parse(line, strlen(line), &answer, err) < 0)
            return -1;
        if (json_object_object_get_ex(answer, "error", &value))
            return bf_fail(err, BF_E_PLATFORM_ERROR, 0, "%s: %s", command, bf_json_text(value));
        if (json_object_object_get_ex(answer, "return", &value)) {
            if (ret_answer)
                *ret_answer = json_object_get(value);
            return 0;
        }
    }
    return bf_fail(err, BF_E_PLATFORM_UNREACHABLE, 0, "the monitor ended");
}

static struct json_object *object(const char *name, ...)
{
    struct json_object *made = json_object_new_object();
    va_list args;

    va_start(args, name);
    for (; name; name = va_arg(args, const char *))
        bf_json_add_string(made, name, va_arg(args, const char *));
    va_end(args);
    return made;
}

/* --- the platform --- */

static int qemu_attach(struct bf_platform *platform, const char *mover, const char *disk,
                       const char *tag, bool writable, struct bf_error *err)
{
    bf_auto_free char *name = bf_xasprintf("%s-%s", tag, disk);
    struct json_object *node = object("driver", "raw", "node-name", name, NULL);

    (void)platform, (void)mover;
    json_object_object_add(node, "file", object("driver", "file", "filename", file, NULL));
    json_object_object_add(node, "read-only", json_object_new_boolean(!writable));
    if (ask("blockdev-add", node, NULL, err) < 0)
        return -1;
    return ask("device_add",
               object("driver", "scsi-hd", "bus", "scsi.0", "drive", name, "id", name, "serial",
                      disk, NULL),
               NULL, err);
}

static int qemu_detach(struct bf_platform *platform, const char *mover, const char *attachment,
                       struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(20000);

    (void)mover;
    if (ask("device_del", object("id", attachment, NULL), NULL, err) < 0)
        return -1;
    /* Refused while the guest has not let go. */
    while (ask("blockdev-del", object("node-name", attachment, NULL), NULL, err) < 0) {
        bf_error_clear(err);
        if (bf_platform_pause(platform, 50, deadline, err) < 0)
            return -1;
    }
    return 0;
}

static int qemu_list(struct bf_platform *platform, const char *mover, bf_mover_disk_fn *fn,
                     void *user, struct bf_error *err)
{
    bf_auto_json *devices = NULL;

    (void)platform, (void)mover;
    if (ask("qom-list", object("path", "/machine/peripheral", NULL), &devices, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        struct json_object *device = json_object_array_get_idx(devices, i);
        const char *name = json_object_get_string(json_object_object_get(device, "name"));
        const char *type = json_object_get_string(json_object_object_get(device, "type"));
        char tag[BF_TAG_LENGTH + 1];
        bool ours = bf_tag_of(name, tag);

        if (!bf_streq(type, "child<scsi-hd>"))
            continue;
        const char *disk = ours ? name + BF_TAG_LENGTH + 1 : name;
        struct bf_mover_disk row = {
            .attachment = name, .disk = disk, .tag = ours ? tag : NULL, .export_name = disk};
        if (fn(&row, user))
            break;
    }
    return 0;
}

static const struct bf_mover_ops qemu_ops = {
    .attach = qemu_attach, .detach = qemu_detach, .list = qemu_list};

static int print_disk(const struct bf_mover_disk *disk, void *user)
{
    (void)user;
    printf("%s %s\n", disk->tag, disk->disk);
    return 0;
}

static int connect_monitor(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char greeting[1024];

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -1;
    monitor = fdopen(fd, "r+");
    return monitor && fgets(greeting, sizeof(greeting), monitor) ? 0 : -1;
}

static int attach(struct bf_platform *platform, const struct bf_mover_conf *conf, char *argv[],
                  struct bf_error *err)
{
    struct bf_endpoint_spec spec = {0};
    const char *slash = strrchr(argv[0], '/');
    const struct bf_mover_request request = {.disk = slash ? slash + 1 : argv[0],
                                             .tag = argv[1],
                                             .writable = true,
                                             .size_bytes =
                                                 argv[2] ? strtoull(argv[2], NULL, 10) : 0};

    file = argv[0];
    if (bf_mover_attach(platform, conf, &request, bf_deadline_in(3000), &spec, err) < 0)
        return -1;
    printf("%s\n", spec.uri);
    bf_endpoint_spec_done(&spec);
    return 0;
}

int main(int argc, char *argv[])
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_platform *platform = NULL;
    const struct bf_platform_conf platform_conf = {
        .name = "qemu", .type = "skeleton", .url = "/tmp", .work_directory = "/tmp"};
    int rc = -1;

    if (argc < 6 || connect_monitor(argv[1]) < 0 ||
        bf_platform_open_with(&skeleton_ops, &platform_conf, &platform, &err) < 0 ||
        ask("qmp_capabilities", NULL, NULL, &err) < 0)
        return 2;
    const struct bf_mover_conf conf = {.ops = &qemu_ops,
                                       .id = "qemu",
                                       .address = argv[2],
                                       .tls_directory = argv[3],
                                       .slots = (unsigned)atoi(argv[4]),
                                       .writable = true,
                                       .served_ms = 10000};
    if (bf_streq(argv[5], "attach") && argc >= 8)
        rc = attach(platform, &conf, argv + 6, &err);
    else if (bf_streq(argv[5], "detach") && argc == 7)
        rc = bf_mover_detach_tag(platform, &conf, argv[6], &err);
    else if (bf_streq(argv[5], "list"))
        rc = bf_mover_list(platform, &conf, print_disk, NULL, &err);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", bf_error_id(err.code), err.message ? err.message : "usage");
    fclose(monitor);
    return rc < 0;
}
