/* SPDX-License-Identifier: Apache-2.0 */
/* What the fake platform does as a source. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "fake_private.h"

static int fake_source_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                                struct bf_findings *findings, struct bf_error *err)
{
    bf_auto_free char *blocked = fake_path(platform, "blocked");

    (void)machine;
    (void)err;
    if (fake_there(blocked))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "fake-blocked", NULL, "the test's wish",
                        "none", "none", "remove the file");
    return 0;
}

static int fake_snapshot(struct bf_platform *platform, const struct bf_snapshot_request *request,
                         struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    bf_auto_free char *base = fake_path(platform, "base-%s", request->tag);
    bf_auto_free char *old = fake_path(platform, "%s", request->baseline ? request->baseline : "-");
    struct bf_snapshot *snapshot;
    char **left = fake_names(platform, "snap-");
    size_t count = 0;
    bool foreign = false;

    for (char **name = left; *name; name++)
        foreign = foreign || !strstr(*name, request->tag);
    fake_names_free(left);
    if (fake_enter(platform, "snapshot", err) != 0)
        return -1;
    if (foreign) /* invariant 2 */
        return bf_fail(err, BF_E_FOREIGN_BACKUP, 0, "another snapshot is there");
    while (request->disk_keys[count])
        count++;
    snapshot = bf_xcalloc(1, sizeof(*snapshot));
    snapshot->disks = bf_xcalloc(count, sizeof(*snapshot->disks));
    for (; snapshot->disk_count < count; snapshot->disk_count++) {
        const char *key = request->disk_keys[snapshot->disk_count];
        bf_auto_free char *from = fake_path(platform, "disk-%s", key);
        bf_auto_free char *to = fake_path(platform, "snap-%s-%s", request->tag, key);
        struct bf_snapshot_disk *disk = &snapshot->disks[snapshot->disk_count];

        disk->key = bf_xstrdup(key);
        disk->size_bytes = fake_size_of(from);
        disk->delta = request->baseline && fake_there(old);
        if (request->baseline && !disk->delta)
            disk->reason = bf_xstrdup("the baseline is gone");
        if (!fake_there(to) && fake_copy_file(from, to, err) != 0) {
            bf_snapshot_free(snapshot);
            return -1;
        }
    }
    snapshot->ref = bf_xstrdup(request->tag);
    snapshot->baseline = bf_xasprintf("base-%s", request->tag);
    snapshot->taken_us = bf_utc_us();
    if (fake_put(base, "", err) != 0) {
        bf_snapshot_free(snapshot);
        return -1;
    }
    *ret_snapshot = snapshot;
    return 0;
}

static int fake_open_disk(struct bf_platform *platform, const char *snapshot_ref, const char *key,
                          struct bf_source_disk **ret_disk, struct bf_error *err)
{
    bf_auto_free char *path = fake_path(platform, "snap-%s-%s", snapshot_ref, key);
    bf_auto_free char *map = fake_path(platform, "map");
    struct bf_source_disk *disk;
    char text[100];

    if (fake_enter(platform, "open_disk", err) != 0)
        return -1;
    if (!fake_there(path))
        return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "%s", path);
    snprintf(text, sizeof(text), "{\"offset\":0,\"length\":%llu}\n",
             (unsigned long long)fake_size_of(path));
    if (fake_put(map, text, err) != 0)
        return -1;
    disk = bf_xcalloc(1, sizeof(*disk));
    disk->platform = platform;
    disk->spec = (struct bf_endpoint_spec){.uri = bf_steal(path),
                                           .format = bf_xstrdup("raw"),
                                           .map = BF_MAP_FILE,
                                           .map_name = bf_steal(map)};
    disk->spec.size_bytes = fake_size_of(disk->spec.uri);
    *ret_disk = disk;
    return 0;
}

static void fake_close_disk(struct bf_source_disk *disk)
{
    free(disk);
}

static int fake_release(struct bf_platform *platform, const char *machine_id,
                        const char *snapshot_ref, struct bf_error *err)
{
    (void)machine_id;
    if (fake_enter(platform, "release", err) != 0)
        return -1;
    fake_remove_names(platform, "snap-", snapshot_ref);
    return 0;
}

static int fake_release_tag(struct bf_platform *platform, const char *machine_id, const char *tag,
                            struct bf_error *err)
{
    (void)machine_id;
    if (fake_enter(platform, "release_tag", err) != 0)
        return -1;
    fake_remove_names(platform, "snap-", tag);
    fake_remove_names(platform, "base-", tag);
    return 0;
}

static int fake_drop_baseline(struct bf_platform *platform, const char *machine_id,
                              const char *baseline, struct bf_error *err)
{
    (void)machine_id;
    if (fake_enter(platform, "drop_baseline", err) != 0)
        return -1;
    fake_remove_names(platform, "base-", baseline);
    return 0;
}

/* The key is all that giving back needs. */
static int fake_locate_disk(struct bf_platform *platform, const char *machine_id, const char *key,
                            char **ret_place, struct bf_error *err)
{
    (void)platform;
    (void)machine_id;
    if (fake_planned("locate_disk", err) != 0)
        return -1;
    *ret_place = bf_xasprintf("{\"disk\":\"%s\"}", key);
    return 0;
}

const struct bf_source_ops fake_source = {
    .precheck = fake_source_precheck,
    .snapshot = fake_snapshot,
    .open_disk = fake_open_disk,
    .close_disk = fake_close_disk,
    .release = fake_release,
    .release_tag = fake_release_tag,
    .drop_baseline = fake_drop_baseline,
    .locate_disk = fake_locate_disk,
};
