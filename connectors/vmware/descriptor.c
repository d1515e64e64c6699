/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/descriptor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define HEAD "# Disk DescriptorFile"
#define SECTOR 512

struct found {
    unsigned extents;
    uint64_t sectors;
    char *file;
};

static int unsupported(struct bf_error *err, const char *why)
{
    return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "not a disk of one flat file: %s", why);
}

/* "ACCESS SECTORS TYPE "FILE" [OFFSET]" */
static int take_extent(char *line, struct found *found, struct bf_error *err)
{
    char type[32], file[512];
    unsigned long long sectors;
    uint64_t offset = 0;
    int used = 0;

    if (++found->extents > 1)
        return unsupported(err, "several extents");
    if (sscanf(line, "%*s %llu %31s \"%511[^\"]\"%n", &sectors, type, file, &used) != 3 || !used)
        return unsupported(err, "an extent of another form");
    if (!bf_streq(type, "VMFS") && !bf_streq(type, "FLAT"))
        return unsupported(err, type);
    line += used + strspn(line + used, " \t");
    if (*line && (bf_parse_u64(line, &offset, err) < 0 || offset != 0)) {
        bf_error_clear(err);
        return unsupported(err, "it begins within the file");
    }
    if (strchr(file, '/') || bf_streq(file, "..") || bf_streq(file, "."))
        return unsupported(err, "its file is elsewhere");
    found->sectors = sectors;
    found->file = bf_xstrdup(file);
    return 0;
}

static int take_line(char *line, struct found *found, struct bf_error *err)
{
    if (bf_starts_with(line, "parentCID=") && strcasecmp(line + 10, "ffffffff") != 0)
        return unsupported(err, "a delta on another disk");
    if (bf_starts_with(line, "RW ") || bf_starts_with(line, "RDONLY ") ||
        bf_starts_with(line, "NOACCESS "))
        return take_extent(line, found, err);
    return 0;
}

int bf_vmware_descriptor_flat(const char *text, uint64_t size_bytes, char **ret_file,
                              struct bf_error *err)
{
    bf_auto_free char *copy = bf_xstrdup(text);
    struct found found = {0};
    char *save = NULL;
    int rc = 0;

    if (!bf_starts_with(text, HEAD))
        return unsupported(err, "what should be its descriptor is none");
    for (char *line = strtok_r(copy, "\r\n", &save); line && rc == 0;
         line = strtok_r(NULL, "\r\n", &save))
        rc = take_line(line, &found, err);
    bf_auto_free char *file = found.file;
    if (rc < 0)
        return -1;
    if (!file)
        return unsupported(err, "no extent");
    if (found.sectors > UINT64_MAX / SECTOR || found.sectors * SECTOR != size_bytes)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "the descriptor says %llu sectors, the disk has %llu bytes",
                       (unsigned long long)found.sectors, (unsigned long long)size_bytes);
    *ret_file = bf_steal(file);
    return 0;
}
