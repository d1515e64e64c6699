/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/names.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

static size_t count_of(char *const *devices)
{
    size_t count = 0;

    while (devices && devices[count])
        count++;
    return count;
}

/* "0n1p2": the second partition of the first disk. */
static char *nvme_device(const char *rest, char *const *devices)
{
    char *end;
    unsigned long number = strtoul(rest, &end, 10);

    if (end == rest || !bf_starts_with(end, "n1") || number >= count_of(devices))
        return NULL;
    end += 2;
    if (*end == 'p')
        return bf_xasprintf("%s%s", devices[number], end + 1);
    return *end ? NULL : bf_xstrdup(devices[number]);
}

bool bf_names_is_stable(const char *name)
{
    static const char *const kinds[] = {"by-id/dm-", "by-id/lvm-", "by-id/md-"};

    for (size_t i = 0; i < bf_array_length(kinds); i++)
        if (bf_starts_with(name, kinds[i]))
            return true;
    return false;
}

/* "by-id/scsi-36000c29...-part2" */
static char *linked_device(const char *name, char *const *devices)
{
    const char *part = NULL;

    if (bf_names_is_stable(name) || count_of(devices) != 1 ||
        (!bf_starts_with(name, "by-id/") && !bf_starts_with(name, "by-path/")))
        return NULL;
    for (const char *at = strstr(name, "-part"); at; at = strstr(at + 1, "-part"))
        part = at + strlen("-part");
    if (part && *part && part[strspn(part, "0123456789")] == '\0')
        return bf_xasprintf("%s%s", devices[0], part);
    return bf_xstrdup(devices[0]);
}

/* "vg--x-root" -> "/dev/vg-x/root" */
static char *mapped_device(const char *name)
{
    bf_auto_buf out = {0};
    bool split = false;

    bf_buf_addf(&out, "/dev/");
    for (; *name; name++) {
        if (*name == '-' && name[1] == '-')
            name++;
        else if (*name == '-' && !split) {
            bf_buf_add(&out, "/", 1);
            split = true;
            continue;
        }
        bf_buf_add(&out, name, 1);
    }
    return split ? bf_steal(out.text) : NULL;
}

char *bf_names_device(const char *name, char *const *devices)
{
    static const char *const kinds[] = {"sd", "hd", "vd", "xvd"};

    if (!bf_starts_with(name, "/dev/"))
        return NULL;
    name += strlen("/dev/");
    if (bf_starts_with(name, "mapper/"))
        return mapped_device(name + strlen("mapper/"));
    if (bf_starts_with(name, "disk/by-id/dm-name-"))
        return mapped_device(name + strlen("disk/by-id/dm-name-"));
    if (bf_starts_with(name, "disk/"))
        return linked_device(name + strlen("disk/"), devices);
    if (bf_starts_with(name, "nvme"))
        return nvme_device(name + strlen("nvme"), devices);
    for (size_t i = 0; i < bf_array_length(kinds); i++)
        if (bf_starts_with(name, kinds[i]) && islower((unsigned char)name[strlen(kinds[i])]))
            return bf_xasprintf("/dev/sd%s", name + strlen(kinds[i]));
    return NULL;
}

bool bf_names_tag(const char *name, const char *key, const char *value)
{
    bf_auto_free char *path = bf_xasprintf("/dev/disk/by-%s/", key);
    size_t length = strlen(key);

    if (!value)
        return false;
    for (char *at = path + strlen("/dev/disk/by-"); *at; at++)
        *at = (char)tolower((unsigned char)*at);
    if (bf_starts_with(name, path))
        return bf_streq(name + strlen(path), value);
    if (strncmp(name, key, length) != 0 || name[length] != '=')
        return false;
    name += length + 1;
    if (*name == '"' && strlen(name) == strlen(value) + 2 && bf_ends_with(name, "\""))
        return strncmp(name + 1, value, strlen(value)) == 0;
    return strcasecmp(name, value) == 0;
}

/* --- fstab --- */

static char *take_field(const char **line)
{
    size_t length;
    char *field;

    *line += strspn(*line, " \t");
    length = strcspn(*line, " \t\r\n");
    field = bf_xasprintf("%.*s", (int)length, *line);
    *line += length;
    return field;
}

static void entry_done(struct bf_fstab_entry *entry)
{
    free(entry->device);
    free(entry->mountpoint);
    free(entry->type);
    free(entry->options);
}

static bool has_option(const char *options, const char *wanted)
{
    bf_auto_free char *list = bf_xasprintf(",%s,", options);
    bf_auto_free char *item = bf_xasprintf(",%s,", wanted);

    return strstr(list, item) != NULL;
}

static bool is_on_disk(const struct bf_fstab_entry *entry)
{
    static const char *const kinds[] = {"/dev/", "UUID=", "LABEL=", "PARTUUID="};

    if (entry->mountpoint[0] != '/' || has_option(entry->options, "bind"))
        return false;
    for (size_t i = 0; i < bf_array_length(kinds); i++)
        if (bf_starts_with(entry->device, kinds[i]))
            return true;
    return false;
}

void bf_fstab_parse(const char *text, struct bf_fstab *table)
{
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        const char *line = text + strspn(text, " \t");
        struct bf_fstab_entry entry;

        if (*line == '#')
            continue;
        entry.device = take_field(&line);
        entry.mountpoint = take_field(&line);
        entry.type = take_field(&line);
        entry.options = take_field(&line);
        if (!is_on_disk(&entry)) {
            entry_done(&entry);
            continue;
        }
        bf_xgrow(&table->entries, &table->capacity, table->count + 1, sizeof(*table->entries));
        table->entries[table->count++] = entry;
    }
}

void bf_fstab_done(struct bf_fstab *table)
{
    for (size_t i = 0; i < table->count; i++)
        entry_done(&table->entries[i]);
    free(table->entries);
    *table = (struct bf_fstab){0};
}

char *bf_fstab_mountable(const struct bf_fstab_entry *entry, const char *device)
{
    const char *subvolume = strstr(entry->options, "subvol=");

    if (!bf_streq(entry->type, "btrfs") || !subvolume)
        return bf_xstrdup(device);
    subvolume += strlen("subvol=");
    subvolume += *subvolume == '/';
    return bf_xasprintf("btrfsvol:%s/%.*s", device, (int)strcspn(subvolume, ","), subvolume);
}
