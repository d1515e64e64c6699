/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest connector there can be: docs/adding-a-connector.md explains it piece by piece, and
 * a test keeps both the same.
 *
 * Its "platform" is a directory (the URL): every file NAME.disk in it is a machine NAME with one
 * disk; a snapshot is a copy of it.  It is a source only, and keeps no change map.
 */
#include "skeleton.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

/* --- the handle --- */

struct skeleton {
    struct bf_platform base; /* first */
    char *directory;
};

static struct skeleton *skeleton_of(struct bf_platform *platform)
{
    return (struct skeleton *)platform;
}

static int skeleton_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                         struct bf_error *err)
{
    if (access(conf->url, R_OK | X_OK) < 0)
        return bf_fail(err, BF_E_PLATFORM_UNREACHABLE, errno, "directory %s", conf->url);
    struct skeleton *skeleton = bf_xcalloc(1, sizeof(*skeleton));
    skeleton->directory = bf_xstrdup(conf->url);
    *ret_platform = &skeleton->base;
    return 0;
}

static void skeleton_close(struct bf_platform *platform)
{
    struct skeleton *skeleton = skeleton_of(platform);

    free(skeleton->directory);
    free(skeleton);
}

static int skeleton_info(struct bf_platform *platform, struct bf_platform_info *ret_info,
                         struct bf_error *err)
{
    (void)platform;
    (void)err;
    ret_info->version = bf_xstrdup("skeleton 1");
    ret_info->can_source = true;
    return 0;
}

/* --- machines --- */

static int skeleton_machine(struct bf_platform *platform, const char *id_or_name,
                            struct bf_machine **ret_machine, struct bf_error *err)
{
    bf_auto_free char *path =
        bf_xasprintf("%s/%s.disk", skeleton_of(platform)->directory, id_or_name);
    struct stat st;

    if (stat(path, &st) < 0)
        return bf_fail(err, errno == ENOENT ? BF_E_NO_SUCH_MACHINE : BF_E_PLATFORM_ERROR, errno,
                       "machine %s", id_or_name);
    struct bf_machine *machine = bf_machine_new();
    machine->id = bf_xstrdup(id_or_name);
    machine->name = bf_xstrdup(id_or_name);
    machine->power = BF_POWER_ON;
    machine->cpus = 1;
    struct bf_machine_disk *disk = bf_machine_add_disk(machine);
    disk->key = bf_xstrdup("disk");
    disk->bus = bf_xstrdup("virtio");
    disk->size_bytes = (uint64_t)st.st_size;
    *ret_machine = machine;
    return 0;
}

static int skeleton_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                             struct bf_error *err)
{
    DIR *dir = opendir(skeleton_of(platform)->directory);
    const struct dirent *entry;
    int rc = 0;

    if (!dir)
        return bf_fail(err, BF_E_PLATFORM_UNREACHABLE, errno, "list of machines");
    while (rc == 0 && (entry = readdir(dir))) {
        bf_auto_machine *machine = NULL;
        if (!bf_ends_with(entry->d_name, ".disk"))
            continue;
        bf_auto_free char *name = strndup(entry->d_name, strlen(entry->d_name) - 5);
        rc = skeleton_machine(platform, name, &machine, err);
        if (rc == 0 && fn(machine, user) != 0)
            break;
    }
    closedir(dir);
    return rc;
}

static int skeleton_resources(struct bf_platform *platform, struct json_object **ret_resources,
                              struct bf_error *err)
{
    (void)platform;
    (void)err;
    *ret_resources = json_object_new_object();
    return 0;
}

static int skeleton_power(struct bf_platform *platform, const char *machine_id,
                          enum bf_power *ret_power, struct bf_error *err)
{
    (void)platform;
    (void)machine_id;
    (void)err;
    *ret_power = BF_POWER_ON;
    return 0;
}

/* --- what it cannot do says so, with what and why --- */

static int skeleton_switch(struct bf_platform *platform, const char *machine_id,
                           struct bf_error *err)
{
    (void)platform;
    return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "machine %s: a file has no power switch",
                   machine_id);
}

static int skeleton_shut_down(struct bf_platform *platform, const char *machine_id,
                              struct bf_deadline deadline, struct bf_error *err)
{
    (void)deadline;
    return skeleton_switch(platform, machine_id, err);
}

/* --- source --- */

static char *snapshot_path(struct bf_platform *platform, const char *machine_id, const char *tag)
{
    return bf_xasprintf("%s/%s.%s", skeleton_of(platform)->directory, tag, machine_id);
}

static int copy_file(const char *from, const char *to, struct bf_error *err)
{
    bf_auto_fd int in = open(from, O_RDONLY | O_CLOEXEC);
    bf_auto_fd int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t sent = 1;

    if (out < 0 && errno == EEXIST)
        return 0; /* a call with this tag made it */
    while (in >= 0 && out >= 0 && sent > 0)
        sent = sendfile(out, in, NULL, (size_t)1 << 20);
    if (in < 0 || out < 0 || sent < 0)
        return bf_fail(err, BF_E_SNAPSHOT_FAILED, errno, "copying %s to %s", from, to);
    return 0;
}

static int skeleton_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                             struct bf_findings *findings, struct bf_error *err)
{
    (void)platform;
    (void)machine;
    (void)err;
    bf_findings_add(findings, BF_SEVERITY_WARN, "skeleton-no-map", NULL, "a plain file",
                    "a change map", "every round reads the whole disk", "use a real platform");
    return 0;
}

static int skeleton_snapshot(struct bf_platform *platform,
                             const struct bf_snapshot_request *request,
                             struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    bf_auto_machine *machine = NULL;

    if (skeleton_machine(platform, request->machine_id, &machine, err) < 0)
        return -1;
    bf_auto_free char *from =
        bf_xasprintf("%s/%s.disk", skeleton_of(platform)->directory, request->machine_id);
    bf_auto_free char *to = snapshot_path(platform, request->machine_id, request->tag);
    if (copy_file(from, to, err) < 0)
        return -1;
    struct bf_snapshot *snapshot = bf_xcalloc(1, sizeof(*snapshot));
    snapshot->ref = bf_steal(to);
    snapshot->taken_us = bf_utc_us();
    snapshot->disks = bf_xcalloc(1, sizeof(*snapshot->disks));
    snapshot->disk_count = 1;
    snapshot->disks[0] = (struct bf_snapshot_disk){.key = bf_xstrdup("disk"),
                                                   .size_bytes = machine->disks[0].size_bytes};
    *ret_snapshot = snapshot;
    return 0;
}

static int skeleton_open_disk(struct bf_platform *platform, const char *snapshot_ref,
                              const char *key, struct bf_source_disk **ret_disk,
                              struct bf_error *err)
{
    struct stat st;

    if (stat(snapshot_ref, &st) < 0)
        return bf_fail(err, BF_E_SNAPSHOT_FAILED, errno, "disk %s of %s", key, snapshot_ref);
    struct bf_source_disk *disk = bf_xcalloc(1, sizeof(*disk));
    disk->platform = platform;
    disk->spec = (struct bf_endpoint_spec){.uri = bf_xstrdup(snapshot_ref),
                                           .format = bf_xstrdup("raw"),
                                           .map = BF_MAP_ALLOCATION,
                                           .size_bytes = (uint64_t)st.st_size};
    *ret_disk = disk;
    return 0;
}

static void skeleton_close_disk(struct bf_source_disk *disk)
{
    free(disk);
}

static int skeleton_release(struct bf_platform *platform, const char *machine_id,
                            const char *snapshot_ref, struct bf_error *err)
{
    (void)platform;
    (void)machine_id;
    return bf_file_remove(snapshot_ref, err);
}

static int skeleton_release_tag(struct bf_platform *platform, const char *machine_id,
                                const char *tag, struct bf_error *err)
{
    bf_auto_free char *path = snapshot_path(platform, machine_id, tag);

    return bf_file_remove(path, err);
}

/* --- janitor --- */

static int skeleton_tagged(struct bf_platform *platform, bf_tagged_fn *fn, void *user,
                           struct bf_error *err)
{
    const char *directory = skeleton_of(platform)->directory;
    DIR *dir = opendir(directory);
    const struct dirent *entry;
    char tag[BF_TAG_LENGTH + 1];

    if (!dir)
        return bf_fail(err, BF_E_PLATFORM_UNREACHABLE, errno, "list of snapshots");
    while ((entry = readdir(dir))) {
        bf_auto_free char *path = bf_xasprintf("%s/%s", directory, entry->d_name);
        if (bf_tag_of(entry->d_name, tag) && fn("snapshot", tag, path, entry->d_name, user) != 0)
            break;
    }
    closedir(dir);
    return 0;
}

/* --- tables --- */

static const struct bf_source_ops skeleton_source = {
    .precheck = skeleton_precheck,
    .snapshot = skeleton_snapshot,
    .open_disk = skeleton_open_disk,
    .close_disk = skeleton_close_disk,
    .release = skeleton_release,
    .release_tag = skeleton_release_tag,
};

const struct bf_connector_ops skeleton_ops = {
    .type = "skeleton",
    .open = skeleton_open,
    .close = skeleton_close,
    .info = skeleton_info,
    .machines = skeleton_machines,
    .machine = skeleton_machine,
    .resources = skeleton_resources,
    .power = skeleton_power,
    .shut_down = skeleton_shut_down,
    .power_off = skeleton_switch,
    .power_on = skeleton_switch,
    .tagged = skeleton_tagged,
    .source = &skeleton_source,
};
