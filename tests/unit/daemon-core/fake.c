/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "connectors/ops.h"

const char *fake_console;

static struct {
    char call[32];
    enum bf_error_code code;
    atomic_int count;
} planned;

struct fake {
    struct bf_platform base;
    char *directory;
};

void fake_fail(const char *call, enum bf_error_code code, int count)
{
    snprintf(planned.call, sizeof(planned.call), "%s", call);
    planned.code = code;
    atomic_store(&planned.count, count);
}

static struct fake *fake_of(struct bf_platform *platform)
{
    return (struct fake *)platform;
}

/* Every call that changes something begins here. */
static int enter(struct bf_platform *platform, const char *call, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s/calls", fake_of(platform)->directory);
    bf_auto_file FILE *file = fopen(path, "ae");

    if (file)
        fprintf(file, "%s\n", call);
    if (strcmp(planned.call, call) == 0 && atomic_load(&planned.count) > 0) {
        atomic_fetch_sub(&planned.count, 1);
        return bf_fail(err, planned.code, 0, "the test wants %s to fail", call);
    }
    return bf_platform_check_cancel(platform, err);
}

/* --- files --- */

__attribute__((format(printf, 2, 3))) static char *path_of(struct bf_platform *platform,
                                                           const char *format, ...)
{
    bf_auto_free char *name = NULL;
    va_list args;

    va_start(args, format);
    name = bf_xvasprintf(format, args);
    va_end(args);
    return bf_xasprintf("%s/%s", fake_of(platform)->directory, name);
}

static bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

static int put(const char *path, const char *text, struct bf_error *err)
{
    return bf_file_replace(path, text, strlen(text), 0600, err);
}

static int copy_file(const char *from, const char *to, struct bf_error *err)
{
    bf_auto_free char *part = bf_xasprintf("%s.tmp", to);
    bf_auto_free char *text = NULL;
    size_t length;

    if (bf_file_read(from, 64 << 20, &text, &length, err) != 0 ||
        bf_file_replace(part, text, length, 0600, err) != 0)
        return -1;
    return rename(part, to) == 0 ? 0 : bf_fail(err, BF_E_SYSTEM, 0, "rename %s", to);
}

static uint64_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Names in the directory that begin with this. */
static char **names(struct bf_platform *platform, const char *prefix)
{
    char **found = bf_xcalloc(1024, sizeof(*found));
    size_t n = 0;
    DIR *dir = opendir(fake_of(platform)->directory);

    for (struct dirent *entry; dir && (entry = readdir(dir)) && n < 1023;) {
        if (bf_starts_with(entry->d_name, prefix) && !bf_ends_with(entry->d_name, ".tmp"))
            found[n++] = bf_xstrdup(entry->d_name);
    }
    if (dir)
        closedir(dir);
    return found;
}

static void names_free(char **found)
{
    for (char **name = found; *name; name++)
        free(*name);
    free(found);
}

static void remove_names(struct bf_platform *platform, const char *prefix, const char *part)
{
    char **found = names(platform, prefix);

    for (char **name = found; *name; name++) {
        bf_auto_free char *path = path_of(platform, "%s", *name);

        if (strstr(*name, part))
            unlink(path);
    }
    names_free(found);
}

/* --- platform --- */

static int fake_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                     struct bf_error *err)
{
    struct fake *fake;

    if (!there(conf->url))
        return bf_fail(err, BF_E_PLATFORM_UNREACHABLE, 0, "%s", conf->url);
    fake = bf_xcalloc(1, sizeof(*fake));
    fake->directory = bf_xstrdup(conf->url);
    *ret_platform = &fake->base;
    return 0;
}

static void fake_close(struct bf_platform *platform)
{
    free(fake_of(platform)->directory);
    free(platform);
}

static int fake_info(struct bf_platform *platform, struct bf_platform_info *ret_info,
                     struct bf_error *err)
{
    (void)platform;
    (void)err;
    *ret_info = (struct bf_platform_info){.version = bf_xstrdup("fake 1"), true, true, {0}};
    return 0;
}

static int fake_machine(struct bf_platform *platform, const char *id_or_name,
                        struct bf_machine **ret_machine, struct bf_error *err)
{
    bf_auto_free char *power = path_of(platform, "power");
    struct bf_machine *machine;
    char **found;

    if (!there(power) || (strcmp(id_or_name, FAKE_MACHINE) && strcmp(id_or_name, "fake")))
        return bf_fail(err, BF_E_NO_SUCH_MACHINE, 0, "%s", id_or_name);
    machine = bf_machine_new();
    machine->id = bf_xstrdup(FAKE_MACHINE);
    machine->name = bf_xstrdup("fake");
    machine->power = BF_POWER_ON;
    machine->cpus = 1;
    machine->memory_bytes = 1 << 20;
    machine->arch = bf_xstrdup("x86_64");
    found = names(platform, "disk-");
    for (char **name = found; *name; name++) {
        struct bf_machine_disk *disk = bf_machine_add_disk(machine);
        bf_auto_free char *path = path_of(platform, "%s", *name);

        disk->key = bf_xstrdup(*name + strlen("disk-"));
        disk->bus = bf_xstrdup("sata");
        disk->size_bytes = size_of(path);
    }
    names_free(found);
    *ret_machine = machine;
    return 0;
}

static int fake_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                         struct bf_error *err)
{
    bf_auto_machine *machine = NULL;

    if (fake_machine(platform, FAKE_MACHINE, &machine, err) != 0)
        return -1;
    (void)fn(machine, user);
    return 0;
}

static int fake_resources(struct bf_platform *platform, struct json_object **ret_resources,
                          struct bf_error *err)
{
    (void)platform;
    (void)err;
    *ret_resources = json_object_new_object();
    return 0;
}

static char *power_path(struct bf_platform *platform, const char *machine_id)
{
    return strcmp(machine_id, FAKE_MACHINE) == 0 ? path_of(platform, "power")
                                                 : path_of(platform, "%s", machine_id);
}

static int fake_power(struct bf_platform *platform, const char *machine_id,
                      enum bf_power *ret_power, struct bf_error *err)
{
    bf_auto_free char *path = power_path(platform, machine_id);
    bf_auto_free char *text = NULL;

    if (bf_file_read(path, 100, &text, NULL, err) != 0) {
        bf_error_recode(err, BF_E_MACHINE_GONE);
        return -1;
    }
    *ret_power = strcmp(text, "on") == 0 ? BF_POWER_ON : BF_POWER_OFF;
    return 0;
}

static int set_power(struct bf_platform *platform, const char *call, const char *machine_id,
                     const char *text, struct bf_error *err)
{
    bf_auto_free char *path = power_path(platform, machine_id);

    if (enter(platform, call, err) != 0)
        return -1;
    if (!there(path))
        return bf_fail(err, BF_E_MACHINE_GONE, 0, "%s", machine_id);
    return put(path, text, err);
}

static int fake_shut_down(struct bf_platform *platform, const char *machine_id,
                          struct bf_deadline deadline, struct bf_error *err)
{
    (void)deadline;
    return set_power(platform, "shut_down", machine_id, "off", err);
}

static int fake_power_off(struct bf_platform *platform, const char *machine_id,
                          struct bf_error *err)
{
    return set_power(platform, "power_off", machine_id, "off", err);
}

static int fake_power_on(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    return set_power(platform, "power_on", machine_id, "on", err);
}

static int fake_tagged(struct bf_platform *platform, bf_tagged_fn *fn, void *user,
                       struct bf_error *err)
{
    static const struct {
        const char *prefix;
        const char *kind;
    } kinds[] = {{"snap-", "snapshot"},  {"base-", "baseline"}, {"vol-", "volume"},
                 {"part-", "layer"},     {"point-", "layer"},   {"clone-", "clone"},
                 {"machine-", "machine"}};

    (void)err;
    for (size_t k = 0; k < bf_array_length(kinds); k++) {
        char **found = names(platform, kinds[k].prefix);
        int stop = 0;

        for (char **name = found; *name && !stop; name++) {
            bf_auto_free char *tag =
                bf_xasprintf("%.*s", BF_TAG_LENGTH, *name + strlen(kinds[k].prefix));

            stop = fn(kinds[k].kind, tag, tag, *name, user);
        }
        names_free(found);
        if (stop)
            return 0;
    }
    return 0;
}

/* --- source --- */

static int fake_source_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                                struct bf_findings *findings, struct bf_error *err)
{
    bf_auto_free char *blocked = path_of(platform, "blocked");

    (void)machine;
    (void)err;
    if (there(blocked))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "fake-blocked", NULL, "the test's wish",
                        "none", "none", "remove the file");
    return 0;
}

static int fake_snapshot(struct bf_platform *platform, const struct bf_snapshot_request *request,
                         struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    bf_auto_free char *base = path_of(platform, "base-%s", request->tag);
    bf_auto_free char *old = path_of(platform, "%s", request->baseline ? request->baseline : "-");
    struct bf_snapshot *snapshot;
    char **left = names(platform, "snap-");
    size_t count = 0;
    bool foreign = false;

    for (char **name = left; *name; name++)
        foreign = foreign || !strstr(*name, request->tag);
    names_free(left);
    if (enter(platform, "snapshot", err) != 0)
        return -1;
    if (foreign) /* invariant 2 */
        return bf_fail(err, BF_E_FOREIGN_BACKUP, 0, "another snapshot is there");
    while (request->disk_keys[count])
        count++;
    snapshot = bf_xcalloc(1, sizeof(*snapshot));
    snapshot->disks = bf_xcalloc(count, sizeof(*snapshot->disks));
    for (; snapshot->disk_count < count; snapshot->disk_count++) {
        const char *key = request->disk_keys[snapshot->disk_count];
        bf_auto_free char *from = path_of(platform, "disk-%s", key);
        bf_auto_free char *to = path_of(platform, "snap-%s-%s", request->tag, key);
        struct bf_snapshot_disk *disk = &snapshot->disks[snapshot->disk_count];

        disk->key = bf_xstrdup(key);
        disk->size_bytes = size_of(from);
        disk->delta = request->baseline && there(old);
        if (request->baseline && !disk->delta)
            disk->reason = bf_xstrdup("the baseline is gone");
        if (!there(to) && copy_file(from, to, err) != 0) {
            bf_snapshot_free(snapshot);
            return -1;
        }
    }
    snapshot->ref = bf_xstrdup(request->tag);
    snapshot->baseline = bf_xasprintf("base-%s", request->tag);
    snapshot->taken_us = bf_utc_us();
    if (put(base, "", err) != 0) {
        bf_snapshot_free(snapshot);
        return -1;
    }
    *ret_snapshot = snapshot;
    return 0;
}

static int fake_open_disk(struct bf_platform *platform, const char *snapshot_ref, const char *key,
                          struct bf_source_disk **ret_disk, struct bf_error *err)
{
    bf_auto_free char *path = path_of(platform, "snap-%s-%s", snapshot_ref, key);
    bf_auto_free char *map = path_of(platform, "map");
    struct bf_source_disk *disk;
    char text[100];

    if (enter(platform, "open_disk", err) != 0)
        return -1;
    if (!there(path))
        return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "%s", path);
    snprintf(text, sizeof(text), "{\"offset\":0,\"length\":%llu}\n",
             (unsigned long long)size_of(path));
    if (put(map, text, err) != 0)
        return -1;
    disk = bf_xcalloc(1, sizeof(*disk));
    disk->platform = platform;
    disk->spec = (struct bf_endpoint_spec){.uri = bf_steal(path),
                                           .format = bf_xstrdup("raw"),
                                           .map = BF_MAP_FILE,
                                           .map_name = bf_steal(map)};
    disk->spec.size_bytes = size_of(disk->spec.uri);
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
    if (enter(platform, "release", err) != 0)
        return -1;
    remove_names(platform, "snap-", snapshot_ref);
    return 0;
}

static int fake_release_tag(struct bf_platform *platform, const char *machine_id, const char *tag,
                            struct bf_error *err)
{
    (void)machine_id;
    if (enter(platform, "release_tag", err) != 0)
        return -1;
    remove_names(platform, "snap-", tag);
    remove_names(platform, "base-", tag);
    return 0;
}

static int fake_drop_baseline(struct bf_platform *platform, const char *machine_id,
                              const char *baseline, struct bf_error *err)
{
    (void)machine_id;
    if (enter(platform, "drop_baseline", err) != 0)
        return -1;
    remove_names(platform, "base-", baseline);
    return 0;
}

/* --- target --- */

static int fake_target_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                                struct json_object *mapping, struct bf_findings *findings,
                                struct bf_error *err)
{
    (void)platform;
    (void)machine;
    (void)mapping;
    (void)findings;
    (void)err;
    return 0;
}

static int fake_create_volume(struct bf_platform *platform, const struct bf_volume_request *request,
                              char **ret_ref, struct bf_error *err)
{
    bf_auto_free char *path = path_of(platform, "vol-%s", request->tag);

    if (enter(platform, "create_volume", err) != 0 || put(path, "", err) != 0)
        return -1;
    *ret_ref = bf_xstrdup(request->tag);
    return 0;
}

static int fake_resize_volume(struct bf_platform *platform, const char *volume_ref,
                              uint64_t size_bytes, char **ret_ref, struct bf_error *err)
{
    (void)size_bytes;
    if (enter(platform, "resize_volume", err) != 0)
        return -1;
    *ret_ref = bf_xstrdup(volume_ref);
    return 0;
}

static int fake_delete_volume(struct bf_platform *platform, const char *volume_ref,
                              struct bf_error *err)
{
    if (enter(platform, "delete_volume", err) != 0)
        return -1;
    remove_names(platform, "vol-", volume_ref);
    remove_names(platform, "part-", volume_ref);
    remove_names(platform, "point-", volume_ref);
    return 0;
}

static struct bf_target_volume *volume_new(struct bf_platform *platform, char *path)
{
    struct bf_target_volume *volume = bf_xcalloc(1, sizeof(*volume));

    volume->platform = platform;
    volume->spec.uri = path;
    volume->spec.format = bf_xstrdup("raw");
    volume->spec.size_bytes = size_of(path);
    return volume;
}

static int fake_open_volume(struct bf_platform *platform, const char *volume_ref, const char *tag,
                            bool full, const char *last_point, struct bf_target_volume **ret_volume,
                            struct bf_error *err)
{
    bf_auto_free char *part = path_of(platform, "part-%s-of-%s", tag, volume_ref);

    if (enter(platform, "open_volume", err) != 0)
        return -1;
    if (!there(part) && full) {
        int fd = open(part, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

        if (fd < 0 || ftruncate(fd, 1 << 20) != 0)
            return bf_fail(err, BF_E_SYSTEM, 0, "%s", part);
        close(fd);
    } else if (!there(part)) {
        bf_auto_free char *point = path_of(platform, "point-%s-of-%s", last_point, volume_ref);

        if (copy_file(point, part, err) != 0)
            return -1;
    }
    *ret_volume = volume_new(platform, bf_steal(part));
    return 0;
}

static int fake_close_volume(struct bf_target_volume *volume, struct bf_error *err)
{
    (void)err;
    free(volume);
    return 0;
}

static int fake_drop_round(struct bf_platform *platform, const char *volume_ref, const char *tag,
                           struct bf_error *err)
{
    (void)volume_ref;
    if (enter(platform, "drop_round", err) != 0)
        return -1;
    remove_names(platform, "part-", tag);
    remove_names(platform, "point-", tag);
    return 0;
}

static int fake_make_point(struct bf_platform *platform, const char *volume_ref, const char *tag,
                           char **ret_point_ref, struct bf_error *err)
{
    bf_auto_free char *part = path_of(platform, "part-%s-of-%s", tag, volume_ref);
    bf_auto_free char *point = path_of(platform, "point-%s-of-%s", tag, volume_ref);

    if (enter(platform, "make_point", err) != 0)
        return -1;
    if (!there(point) && rename(part, point) != 0)
        return bf_fail(err, BF_E_VOLUME_GONE, 0, "%s", part);
    *ret_point_ref = bf_xstrdup(tag);
    return 0;
}

static int fake_delete_point(struct bf_platform *platform, const char *volume_ref,
                             const char *point_ref, struct bf_error *err)
{
    bf_auto_free char *path = path_of(platform, "point-%s-of-%s", point_ref, volume_ref);

    if (enter(platform, "delete_point", err) != 0)
        return -1;
    unlink(path);
    return 0;
}

static int fake_open_point(struct bf_platform *platform, const char *volume_ref,
                           const char *point_ref, struct bf_target_volume **ret_volume,
                           struct bf_error *err)
{
    (void)err;
    *ret_volume = volume_new(platform, path_of(platform, "point-%s-of-%s", point_ref, volume_ref));
    return 0;
}

static int fake_clone_point(struct bf_platform *platform, const char *volume_ref,
                            const char *point_ref, const char *tag, char **ret_clone_ref,
                            struct bf_error *err)
{
    bf_auto_free char *point = path_of(platform, "point-%s-of-%s", point_ref, volume_ref);
    bf_auto_free char *clone = path_of(platform, "clone-%s", tag);

    if (enter(platform, "clone_point", err) != 0 ||
        (!there(clone) && copy_file(point, clone, err) != 0))
        return -1;
    *ret_clone_ref = bf_xstrdup(tag);
    return 0;
}

static int fake_open_clone(struct bf_platform *platform, const char *clone_ref,
                           struct bf_target_volume **ret_volume, struct bf_error *err)
{
    if (enter(platform, "open_clone", err) != 0)
        return -1;
    *ret_volume = volume_new(platform, path_of(platform, "clone-%s", clone_ref));
    return 0;
}

static int fake_delete_clone(struct bf_platform *platform, const char *clone_ref,
                             struct bf_error *err)
{
    if (enter(platform, "delete_clone", err) != 0)
        return -1;
    remove_names(platform, "clone-", clone_ref);
    return 0;
}

static int fake_create_machine(struct bf_platform *platform,
                               const struct bf_launch_request *request, char **ret_machine_ref,
                               struct bf_error *err)
{
    bf_auto_free char *path = path_of(platform, "machine-%s", request->tag);

    if (enter(platform, "create_machine", err) != 0 || (!there(path) && put(path, "off", err) != 0))
        return -1;
    *ret_machine_ref = bf_xstrdup(request->tag);
    return 0;
}

static int fake_machine_id(struct bf_platform *platform, const char *machine_ref, char **ret_id,
                           struct bf_error *err)
{
    (void)platform;
    (void)err;
    *ret_id = bf_xasprintf("machine-%s", machine_ref);
    return 0;
}

static int fake_delete_machine(struct bf_platform *platform, const char *machine_ref,
                               struct bf_error *err)
{
    if (enter(platform, "delete_machine", err) != 0)
        return -1;
    remove_names(platform, "machine-", machine_ref);
    return 0;
}

static int fake_text_console(struct bf_platform *platform, const char *machine_ref, size_t max,
                             char **ret_text, struct bf_error *err)
{
    (void)platform;
    (void)machine_ref;
    (void)max;
    (void)err;
    *ret_text = bf_xstrdup(fake_console ? fake_console : "BOOTMARK\n");
    return 0;
}

/* The admin's from now on: it carries no tag of ours any more. */
static void give_away(struct bf_platform *platform, const char *kind, const char *tag)
{
    bf_auto_free char *from = path_of(platform, "%s-%s", kind, tag);
    bf_auto_free char *to = path_of(platform, "given-%s-%s", kind, tag);

    (void)rename(from, to);
}

static int fake_hand_over(struct bf_platform *platform, const char *machine_ref,
                          struct bf_error *err)
{
    if (enter(platform, "hand_over", err) != 0)
        return -1;
    give_away(platform, "machine", machine_ref);
    return 0;
}

static int fake_detach(struct bf_platform *platform, const char *machine_ref, const char *clone_ref,
                       struct bf_deadline deadline, struct bf_error *err)
{
    (void)machine_ref;
    (void)deadline;
    if (enter(platform, "detach_clone", err) != 0)
        return -1;
    give_away(platform, "clone", clone_ref);
    return 0;
}

static const struct bf_source_ops fake_source = {
    .precheck = fake_source_precheck,
    .snapshot = fake_snapshot,
    .open_disk = fake_open_disk,
    .close_disk = fake_close_disk,
    .release = fake_release,
    .release_tag = fake_release_tag,
    .drop_baseline = fake_drop_baseline,
};

static const struct bf_target_ops fake_target = {
    .precheck = fake_target_precheck,
    .create_volume = fake_create_volume,
    .resize_volume = fake_resize_volume,
    .delete_volume = fake_delete_volume,
    .open_volume = fake_open_volume,
    .close_volume = fake_close_volume,
    .drop_round = fake_drop_round,
    .make_point = fake_make_point,
    .delete_point = fake_delete_point,
    .open_point = fake_open_point,
    .clone_point = fake_clone_point,
    .open_clone = fake_open_clone,
    .delete_clone = fake_delete_clone,
    .detach_clone = fake_detach,
    .create_machine = fake_create_machine,
    .machine_id = fake_machine_id,
    .delete_machine = fake_delete_machine,
    .console = fake_text_console,
    .hand_over_machine = fake_hand_over,
};

static const struct bf_connector_ops fake_ops = {
    .type = "fake",
    .open = fake_open,
    .close = fake_close,
    .info = fake_info,
    .machines = fake_machines,
    .machine = fake_machine,
    .resources = fake_resources,
    .power = fake_power,
    .shut_down = fake_shut_down,
    .power_off = fake_power_off,
    .power_on = fake_power_on,
    .tagged = fake_tagged,
    .source = &fake_source,
    .target = &fake_target,
};

const struct bf_connector_ops *const bf_connectors[] = {&fake_ops, NULL};

const char *const *bf_platform_types(void)
{
    static const char *const types[] = {"fake", NULL};

    return types;
}
