/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
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
    pthread_mutex_t lock; /* a test plans while jobs run */
    char call[32];
    enum bf_error_code code;
    int count;
} planned = {.lock = PTHREAD_MUTEX_INITIALIZER};

void fake_fail(const char *call, enum bf_error_code code, int count)
{
    pthread_mutex_lock(&planned.lock);
    snprintf(planned.call, sizeof(planned.call), "%s", call);
    planned.code = code;
    planned.count = count;
    pthread_mutex_unlock(&planned.lock);
}

struct fake *fake_of(struct bf_platform *platform)
{
    return (struct fake *)platform;
}

int fake_planned(const char *call, struct bf_error *err)
{
    pthread_mutex_lock(&planned.lock);
    enum bf_error_code code = planned.code;
    bool fails = strcmp(planned.call, call) == 0 && planned.count > 0;
    if (fails)
        planned.count--;
    pthread_mutex_unlock(&planned.lock);
    return fails ? bf_fail(err, code, 0, "the test wants %s to fail", call) : 0;
}

int fake_enter(struct bf_platform *platform, const char *call, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s/calls", fake_of(platform)->directory);
    bf_auto_file FILE *file = fopen(path, "ae");

    if (file)
        fprintf(file, "%s\n", call);
    return fake_planned(call, err) != 0 ? -1 : bf_platform_check_cancel(platform, err);
}

/* --- files --- */

char *fake_path(struct bf_platform *platform, const char *format, ...)
{
    bf_auto_free char *name = NULL;
    va_list args;

    va_start(args, format);
    name = bf_xvasprintf(format, args);
    va_end(args);
    return bf_xasprintf("%s/%s", fake_of(platform)->directory, name);
}

bool fake_there(const char *path)
{
    return access(path, F_OK) == 0;
}

int fake_put(const char *path, const char *text, struct bf_error *err)
{
    return bf_file_replace(path, text, strlen(text), 0600, err);
}

int fake_copy_file(const char *from, const char *to, struct bf_error *err)
{
    bf_auto_free char *part = bf_xasprintf("%s.tmp", to);
    bf_auto_free char *text = NULL;
    size_t length;

    if (bf_file_read(from, 64 << 20, &text, &length, err) != 0 ||
        bf_file_replace(part, text, length, 0600, err) != 0)
        return -1;
    return rename(part, to) == 0 ? 0 : bf_fail(err, BF_E_SYSTEM, 0, "rename %s", to);
}

uint64_t fake_size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in the directory that begin with this, sorted. */
char **fake_names(struct bf_platform *platform, const char *prefix)
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
    qsort(found, n, sizeof(*found), compare_names);
    return found;
}

void fake_names_free(char **found)
{
    for (char **name = found; *name; name++)
        free(*name);
    free(found);
}

void fake_remove_names(struct bf_platform *platform, const char *prefix, const char *part)
{
    char **found = fake_names(platform, prefix);

    for (char **name = found; *name; name++) {
        bf_auto_free char *path = fake_path(platform, "%s", *name);

        if (strstr(*name, part))
            unlink(path);
    }
    fake_names_free(found);
}

/* --- platform --- */

static int fake_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                     struct bf_error *err)
{
    struct fake *fake;

    if (!fake_there(conf->url))
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
    bf_auto_free char *power = fake_path(platform, "power");
    struct bf_machine *machine;
    char **found;

    if (!fake_there(power) || (strcmp(id_or_name, FAKE_MACHINE) && strcmp(id_or_name, "fake")))
        return bf_fail(err, BF_E_NO_SUCH_MACHINE, 0, "%s", id_or_name);
    machine = bf_machine_new();
    machine->id = bf_xstrdup(FAKE_MACHINE);
    machine->name = bf_xstrdup("fake");
    machine->power = BF_POWER_ON;
    machine->cpus = 1;
    machine->memory_bytes = 1 << 20;
    machine->arch = bf_xstrdup("x86_64");
    found = fake_names(platform, "disk-");
    for (char **name = found; *name; name++) {
        struct bf_machine_disk *disk = bf_machine_add_disk(machine);
        bf_auto_free char *path = fake_path(platform, "%s", *name);

        disk->key = bf_xstrdup(*name + strlen("disk-"));
        disk->bus = bf_xstrdup("sata");
        disk->size_bytes = fake_size_of(path);
    }
    fake_names_free(found);
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
    return strcmp(machine_id, FAKE_MACHINE) == 0 ? fake_path(platform, "power")
                                                 : fake_path(platform, "%s", machine_id);
}

static int fake_power(struct bf_platform *platform, const char *machine_id,
                      enum bf_power *ret_power, struct bf_error *err)
{
    bf_auto_free char *path = power_path(platform, machine_id);
    bf_auto_free char *text = NULL;

    if (fake_planned("power", err) != 0)
        return -1;
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

    if (fake_enter(platform, call, err) != 0)
        return -1;
    if (!fake_there(path))
        return bf_fail(err, BF_E_MACHINE_GONE, 0, "%s", machine_id);
    return fake_put(path, text, err);
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
    } kinds[] = {{"snap-", "snapshot"},   {"base-", "baseline"},    {"vol-", "volume"},
                 {"part-", "layer"},      {"point-", "layer"},      {"clone-", "clone"},
                 {"machine-", "machine"}, {"adoption-", "adoption"}};

    if (fake_planned("tagged", err) != 0)
        return -1;
    for (size_t k = 0; k < bf_array_length(kinds); k++) {
        char **found = fake_names(platform, kinds[k].prefix);
        int stop = 0;

        for (char **name = found; *name && !stop; name++) {
            bf_auto_free char *tag =
                bf_xasprintf("%.*s", BF_TAG_LENGTH, *name + strlen(kinds[k].prefix));

            stop = fn(kinds[k].kind, tag, tag, *name, user);
        }
        fake_names_free(found);
        if (stop)
            return 0;
    }
    return 0;
}

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
