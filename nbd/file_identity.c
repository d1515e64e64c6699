/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/file_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

#define MARK_MAX 4096

/* Below a device's directory of sysfs; the surest first. */
static const char *const marks[] = {"dm/uuid", "wwid", "device/wwid", "serial",
                                    "loop/backing_file"};

/* One line of sysfs, without what JSON or a terminal would not bear; NULL: not there, or empty. */
static char *read_line(const char *directory, const char *name)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s", directory, name);
    bf_auto_error ignored = BF_ERROR_INIT;
    char *text = NULL;
    size_t length;

    if (bf_file_read(path, MARK_MAX, &text, &length, &ignored))
        return NULL;
    while (length && (text[length - 1] == '\n' || text[length - 1] == ' '))
        length--;
    text[length] = '\0';
    for (size_t i = 0; i < length; i++)
        if (text[i] < ' ' || text[i] > '~')
            text[i] = '?';
    if (!length) {
        free(text);
        return NULL;
    }
    return text;
}

/* "dm/uuid LVM-..." of the device with this directory; NULL: it has no name of its own. */
static char *find_mark(const char *directory)
{
    for (size_t i = 0; i < bf_array_length(marks); i++) {
        bf_auto_free char *value = read_line(directory, marks[i]);
        if (value)
            return bf_xasprintf("%s %s", marks[i], value);
    }
    return NULL;
}

char *bf_device_identity(const char *sysfs, unsigned major, unsigned minor)
{
    bf_auto_free char *directory = bf_xasprintf("%s/dev/block/%u:%u", sysfs, major, minor);
    bf_auto_free char *disk = bf_xasprintf("%s/..", directory);
    bf_auto_free char *partition = read_line(directory, "partition");
    bf_auto_free char *start = partition ? read_line(directory, "start") : NULL;
    char *mark = find_mark(start ? disk : directory);

    if (mark && start) {
        char *whole = bf_xasprintf("%s, from sector %s", mark, start);
        free(mark);
        mark = whole;
    }
    return mark ? mark : bf_xasprintf("device %u:%u", major, minor);
}

char *bf_file_identity(int fd, const char *name)
{
    struct statx st;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO | STATX_BTIME, &st))
        return bf_xstrdup(name);
    if (S_ISBLK(st.stx_mode)) {
        bf_auto_free char *device =
            bf_device_identity("/sys", st.stx_rdev_major, st.stx_rdev_minor);
        return bf_xasprintf("%s (%s)", name, device);
    }
    if (!(st.stx_mask & STATX_INO))
        return bf_xstrdup(name);
    if (!(st.stx_mask & STATX_BTIME))
        return bf_xasprintf("%s (inode %" PRIu64 ")", name, (uint64_t)st.stx_ino);
    return bf_xasprintf("%s (inode %" PRIu64 ", born %" PRId64 ".%09u)", name, (uint64_t)st.stx_ino,
                        (int64_t)st.stx_btime.tv_sec, (unsigned)st.stx_btime.tv_nsec);
}

char *bf_file_identity_at(const char *path, const char *name)
{
    bf_auto_fd int fd = open(path, O_PATH | O_CLOEXEC);

    if (fd >= 0)
        return bf_file_identity(fd, name);
    return errno == ENOENT ? NULL : bf_xstrdup(name);
}
