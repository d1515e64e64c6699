/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/cpio.h"

#include <string.h>

#include "base/cleanup.h"

#define HEADER 110
#define NAME_MAX_LENGTH 4096
static const char trailer[] = "TRAILER!!!";

bool bf_cpio_begins(const void *data, size_t size)
{
    return size >= HEADER && (memcmp(data, "070701", 6) == 0 || memcmp(data, "070702", 6) == 0);
}

/* Field n of a header: eight hex digits. */
static bool field(const char *header, unsigned index, uint32_t *ret_value)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 8; i++) {
        char digit = header[6 + index * 8 + i];

        if (digit >= '0' && digit <= '9')
            value = value << 4 | (uint32_t)(digit - '0');
        else if ((digit | 32) >= 'a' && (digit | 32) <= 'f')
            value = value << 4 | (uint32_t)((digit | 32) - 'a' + 10);
        else
            return false;
    }
    *ret_value = value;
    return true;
}

static size_t padded(size_t size)
{
    return (size + 3) & ~(size_t)3;
}

/* The entry at `at`; ret_next is where the following one begins.  False: malformed. */
static bool read_entry(const char *data, size_t size, size_t at, struct bf_cpio_entry *ret_entry,
                       size_t *ret_next)
{
    const char *header = data + at;
    uint32_t name_size, file_size;
    size_t data_at, end;

    if (!bf_cpio_begins(header, size - at) || !field(header, 0, &ret_entry->inode) ||
        !field(header, 1, &ret_entry->mode) || !field(header, 4, &ret_entry->links) ||
        !field(header, 6, &file_size) || !field(header, 11, &name_size))
        return false;
    if (name_size == 0 || name_size > NAME_MAX_LENGTH || name_size > size - at - HEADER ||
        header[HEADER + name_size - 1] != '\0')
        return false;
    data_at = at + padded(HEADER + name_size);
    if (data_at > size || file_size > size - data_at)
        return false;
    end = data_at + padded(file_size);
    ret_entry->name = header + HEADER;
    ret_entry->data = data + data_at;
    ret_entry->size = file_size;
    while (bf_starts_with(ret_entry->name, "./") || ret_entry->name[0] == '/')
        ret_entry->name += ret_entry->name[0] == '/' ? 1 : 2;
    *ret_next = end < size ? end : size;
    return true;
}

int bf_cpio_walk(const void *data, size_t size, bool all,
                 void (*each)(const struct bf_cpio_entry *entry, void *user), void *user,
                 size_t *ret_used, struct bf_error *err)
{
    const char *bytes = data;
    size_t at = 0;

    while (at < size) {
        struct bf_cpio_entry entry;
        size_t next;

        if (!read_entry(bytes, size, at, &entry, &next))
            return bf_fail(err, BF_E_GUEST_INITRAMFS, 0,
                           "a cpio archive is damaged or cut at byte %zu", at);
        at = next;
        if (!bf_streq(entry.name, trailer)) {
            each(&entry, user);
            continue;
        }
        if (!all) {
            *ret_used = at;
            return 0;
        }
        while (at < size && bytes[at] == '\0')
            at++;
    }
    if (!all)
        return bf_fail(err, BF_E_GUEST_INITRAMFS, 0, "a cpio archive has no end");
    *ret_used = at;
    return 0;
}

static void pad(struct bf_buf *cpio)
{
    bf_buf_add(cpio, "\0\0\0", padded(cpio->length) - cpio->length);
}

void bf_cpio_add(struct bf_buf *cpio, const char *name, uint32_t mode, const void *data,
                 size_t size)
{
    /* The inode number must differ between entries, no more: the length so far does. */
    unsigned inode = (unsigned)cpio->length + 1;

    /* number, mode, user, group, links, time, size, device (2), special device (2), name's length
     */
    bf_buf_addf(cpio, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", inode, mode, 0u,
                0u, 1u, 0u, (unsigned)size, 0u, 0u, 0u, 0u, (unsigned)strlen(name) + 1, 0u);
    bf_buf_add(cpio, name, strlen(name) + 1);
    pad(cpio);
    if (size > 0)
        bf_buf_add(cpio, data, size);
    pad(cpio);
}

void bf_cpio_end(struct bf_buf *cpio)
{
    bf_cpio_add(cpio, trailer, 0, NULL, 0);
}
