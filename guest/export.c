/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/export.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/process.h"
#include "base/text.h"
#include "connectors/server.h"

#define LIVE_WAIT_MS 60000
#define POLL_MS 20

struct bf_export {
    struct bf_process *process;
    char *path;
};

/* Is a file system mounted exactly here?  Read from the mount table: asking the mount itself
 * could wait for a server that no longer answers. */
static bool is_mounted(const char *path)
{
    FILE *table = setmntent("/proc/self/mounts", "re");
    struct mntent entry;
    char buffer[4096];
    bool found = false;

    if (!table)
        return false;
    while (!found && getmntent_r(table, &entry, buffer, sizeof(buffer)))
        found = bf_streq(entry.mnt_dir, path);
    endmntent(table);
    return found;
}

static void detach(const char *path)
{
    const char *const argv[] = {"fusermount3", "-u", "-z", "-q", path, NULL};
    bf_auto_error ignored = BF_ERROR_INIT;

    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || errno != EPERM)
        return;
    bf_process_run(argv, NULL, bf_deadline_in(10000), -1, 0, NULL, &ignored);
}

void bf_export_sweep(const char *directory)
{
    FILE *table = setmntent("/proc/self/mounts", "re");
    bf_auto_free char *real = realpath(directory, NULL);
    bf_auto_free char *prefix = bf_xasprintf("%s/", real ? real : directory);
    struct mntent entry;
    char buffer[4096];
    char **found = NULL;
    size_t count = 0, capacity = 0;

    if (!table)
        return;
    while (getmntent_r(table, &entry, buffer, sizeof(buffer))) {
        if (!bf_starts_with(entry.mnt_type, "fuse") || !bf_starts_with(entry.mnt_dir, prefix))
            continue;
        bf_xgrow(&found, &capacity, count + 1, sizeof(*found));
        found[count++] = bf_xstrdup(entry.mnt_dir);
    }
    endmntent(table);
    for (size_t i = 0; i < count; i++) {
        detach(found[i]);
        free(found[i]);
    }
    free(found);
}

static int make_mountpoint(const char *path, struct bf_error *err)
{
    bf_auto_fd int fd = -1;

    if (is_mounted(path))
        detach(path);
    fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot make the mount point %s", path);
    return 0;
}

/* Live: mounted and of a size.  The size is asked only once the mount is there. */
static int wait_live(struct bf_export *export, struct bf_deadline deadline, int cancel_fd,
                     struct bf_error *err)
{
    struct bf_deadline live = bf_deadline_in(LIVE_WAIT_MS);

    for (;;) {
        struct pollfd fds[2] = {{.fd = bf_process_pidfd(export->process), .events = POLLIN},
                                {.fd = cancel_fd, .events = POLLIN}};
        struct stat status;

        if (is_mounted(export->path) && stat(export->path, &status) == 0 && status.st_size > 0)
            return 0;
        if (poll(fds, 2, POLL_MS) < 0 && errno != EINTR)
            return bf_fail(err, BF_E_SYSTEM, errno, "cannot wait for qemu-storage-daemon");
        if (fds[0].revents) {
            int status_ended = 0;

            if (bf_process_wait(export->process, bf_deadline_in(1000), -1, &status_ended, err) < 0)
                return -1;
            bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "qemu-storage-daemon cannot show the disk");
            bf_error_evidence(err, bf_process_tail(export->process));
            return -1;
        }
        if (fds[1].revents)
            return bf_fail(err, BF_E_CANCELLED, 0, "cancelled while opening the disk");
        if (bf_deadline_passed(deadline) || bf_deadline_passed(live))
            return bf_fail(err, BF_E_DEADLINE, 0, "the disk did not open in time");
    }
}

/* JSON, so that no name can add an option. */
static char *fuse_export(const char *mountpoint)
{
    bf_auto_json *object = json_object_new_object();

    bf_json_add_string(object, "type", "fuse");
    bf_json_add_string(object, "id", "export");
    bf_json_add_string(object, "node-name", "disk");
    bf_json_add_string(object, "mountpoint", mountpoint);
    bf_json_add_bool(object, "writable", true);
    bf_json_add_string(object, "allow-other", "off");
    return bf_xstrdup(bf_json_text(object));
}

static int spawn(struct bf_export *export, const struct bf_endpoint_spec *disk,
                 struct bf_error *err)
{
    bf_auto_free char *blockdev = NULL;
    bf_auto_free char *fuse = fuse_export(export->path);
    bf_auto_free char *tls = NULL;
    const char *tls_directory = NULL;
    const char *argv[8] = {"qemu-storage-daemon"};
    size_t count = 1;

    if (bf_export_blockdev(disk, &blockdev, &tls_directory, err) < 0)
        return -1;
    if (tls_directory) {
        tls = bf_server_qemu_tls(tls_directory);
        argv[count++] = "--object";
        argv[count++] = tls;
    }
    argv[count++] = "--blockdev";
    argv[count++] = blockdev;
    argv[count++] = "--export";
    argv[count++] = fuse;
    argv[count] = NULL;
    return bf_process_start(&(struct bf_process_spec){.argv = argv}, &export->process, err);
}

int bf_export_start(const struct bf_endpoint_spec *disk, const char *directory, const char *name,
                    struct bf_deadline deadline, int cancel_fd, struct bf_export **ret_export,
                    struct bf_error *err)
{
    bf_auto_export *export = bf_xcalloc(1, sizeof(*export));
    /* The mount table shows real paths. */
    bf_auto_free char *real = realpath(directory, NULL);

    if (!real)
        return bf_fail(err, BF_E_SYSTEM, errno, "the work directory %s", directory);
    export->path = bf_xasprintf("%s/%s", real, name);
    if (make_mountpoint(export->path, err) < 0 || spawn(export, disk, err) < 0 ||
        wait_live(export, deadline, cancel_fd, err) < 0)
        return bf_fail_in(err, "disk %s", disk->uri);
    *ret_export = bf_steal(export);
    return 0;
}

const char *bf_export_path(const struct bf_export *export)
{
    return export->path;
}

int bf_export_stop(struct bf_export *export, struct bf_deadline deadline, int cancel_fd,
                   struct bf_error *err)
{
    /* fsync by a child: with a server that hangs it would never come back to us. */
    const char *const flush[] = {"sync", export->path, NULL};
    int status = 0;

    if (bf_process_run(flush, NULL, deadline, cancel_fd, 0, NULL, err) < 0)
        return bf_fail_in(err, "cannot flush the disk");
    bf_process_signal(export->process, SIGTERM);
    if (bf_process_wait(export->process, deadline, cancel_fd, &status, err) < 0)
        return bf_fail_in(err, "qemu-storage-daemon does not end");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        bf_fail(err, BF_E_WRITE_ERROR, 0, "qemu-storage-daemon did not end well");
        bf_error_evidence(err, bf_process_tail(export->process));
        return -1;
    }
    return 0;
}

void bf_export_free(struct bf_export *export)
{
    if (!export)
        return;
    bf_process_free(export->process);
    if (export->path && is_mounted(export->path))
        detach(export->path);
    if (export->path)
        unlink(export->path);
    free(export->path);
    free(export);
}
