/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/hive_file.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define SEQUENCE_AT 4
#define BINS_AT 40
#define CHECKSUM_AT 508
/* A run is one message to the appliance, which takes somewhat less than 4 MiB. */
#define RUN_MAX ((size_t)1 << 20)

static uint32_t u32_at(const unsigned char *bytes, size_t offset)
{
    uint32_t value;

    memcpy(&value, bytes + offset, sizeof(value));
    return le32toh(value);
}

static uint32_t checksum(const unsigned char *bytes)
{
    uint32_t sum = 0;

    for (size_t at = 0; at < CHECKSUM_AT; at += 4)
        sum ^= u32_at(bytes, at);
    if (sum == UINT32_MAX)
        return UINT32_MAX - 1;
    return sum == 0 ? 1 : sum;
}

int bf_hive_file_check(const char *name, const void *data, size_t size, struct bf_error *err)
{
    const unsigned char *bytes = data;
    uint32_t first, second;

    if (size < (size_t)2 * BF_HIVE_PAGE || memcmp(bytes, "regf", 4) != 0)
        return bf_fail(err, BF_E_GUEST_REGISTRY, 0, "%s (%zu bytes) is no registry hive", name,
                       size);
    if (u32_at(bytes, CHECKSUM_AT) != checksum(bytes))
        return bf_fail(err, BF_E_GUEST_REGISTRY, 0, "the header of %s has a wrong checksum", name);
    if (u32_at(bytes, BINS_AT) % BF_HIVE_PAGE != 0 || u32_at(bytes, BINS_AT) > size - BF_HIVE_PAGE)
        return bf_fail(err, BF_E_GUEST_REGISTRY, 0,
                       "%s is cut off: it has %zu bytes, its header tells of %u more", name, size,
                       u32_at(bytes, BINS_AT));
    first = u32_at(bytes, SEQUENCE_AT);
    second = u32_at(bytes, SEQUENCE_AT + 4);
    if (first != second)
        return bf_fail(err, BF_E_GUEST_REGISTRY_DIRTY, 0,
                       "%s has sequence numbers %u and %u: its newest changes are in its log files",
                       name, first, second);
    return 0;
}

/* Is the page at this offset the same in both? */
static bool same_page(const unsigned char *before, size_t before_size, const unsigned char *after,
                      size_t after_size, size_t offset)
{
    size_t length = after_size - offset < BF_HIVE_PAGE ? after_size - offset : BF_HIVE_PAGE;

    return offset + length <= before_size && memcmp(before + offset, after + offset, length) == 0;
}

int bf_hive_file_changes(const void *before, size_t before_size, const void *after,
                         size_t after_size,
                         int (*write)(size_t offset, const void *data, size_t size, void *user,
                                      struct bf_error *err),
                         void *user, struct bf_error *err)
{
    const unsigned char *old = before, *new = after;
    size_t at = 0;

    while (at < after_size) {
        size_t end = at;
        int result;

        while (end < after_size && end - at < RUN_MAX &&
               !same_page(old, before_size, new, after_size, end))
            end += BF_HIVE_PAGE;
        if (end == at) {
            at += BF_HIVE_PAGE;
            continue;
        }
        if (end > after_size)
            end = after_size;
        result = write(at, new + at, end - at, user, err);
        if (result < 0)
            return result;
        at = end;
    }
    return 0;
}
