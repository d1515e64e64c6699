/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/ntfs.h"

#include <string.h>

#define SECTOR 512
#define VOLUME_RECORD 3
#define ATTRIBUTE_VOLUME_INFORMATION 0x70
#define FLAG_DIRTY 1

static uint64_t number_at(const unsigned char *bytes, size_t offset, size_t length)
{
    uint64_t value = 0;

    for (size_t i = length; i > 0; i--)
        value = value << 8 | bytes[offset + i - 1];
    return value;
}

bool bf_ntfs_is_bitlocker(const unsigned char *boot)
{
    return memcmp(boot + 3, "-FVE-FS-", 8) == 0;
}

bool bf_ntfs_volume_record(const unsigned char *boot, uint64_t *ret_offset, size_t *ret_size)
{
    uint64_t sector = number_at(boot, 11, 2), per_cluster = boot[13];
    uint64_t table = number_at(boot, 48, 8), size;
    signed char clusters_per_record = (signed char)boot[64];

    if (memcmp(boot + 3, "NTFS    ", 8) != 0 || sector < SECTOR || sector > 4096)
        return false;
    /* Above 128 it is a negative power of two (clusters above 64 KiB). */
    per_cluster = per_cluster > 128 ? UINT64_C(1) << (256 - per_cluster) % 32 : per_cluster;
    size = clusters_per_record > 0 ? (uint64_t)clusters_per_record * per_cluster * sector
                                   : UINT64_C(1) << -clusters_per_record % 32;
    if (size < SECTOR || size > BF_NTFS_RECORD_MAX || per_cluster == 0 || table >> 40)
        return false;
    *ret_offset = table * per_cluster * sector + VOLUME_RECORD * size;
    *ret_size = size;
    return true;
}

/* The last two bytes of every sector were swapped for a check number. */
static bool apply_fixups(unsigned char *record, size_t size)
{
    size_t at = number_at(record, 4, 2), count = number_at(record, 6, 2);

    if (count == 0 || count - 1 > size / SECTOR || at + 2 * count > size)
        return false;
    for (size_t i = 1; i < count; i++) {
        unsigned char *end = record + i * SECTOR - 2;

        if (memcmp(end, record + at, 2) != 0)
            return false;
        memmove(end, record + at + 2 * i, 2);
    }
    return true;
}

bool bf_ntfs_is_dirty(unsigned char *record, size_t size, bool *ret_dirty)
{
    size_t at;

    if (size < SECTOR || memcmp(record, "FILE", 4) != 0 || !apply_fixups(record, size))
        return false;
    at = number_at(record, 20, 2);
    while (at + 24 <= size) {
        uint64_t type = number_at(record, at, 4), length = number_at(record, at + 4, 4);
        size_t value = at + number_at(record, at + 20, 2);

        if (type == ATTRIBUTE_VOLUME_INFORMATION) {
            if (record[at + 8] != 0 || value + 12 > size)
                return false;
            *ret_dirty = number_at(record, value + 10, 2) & FLAG_DIRTY;
            return true;
        }
        if (type == UINT32_MAX || length < 24)
            return false;
        at += length;
    }
    return false;
}
