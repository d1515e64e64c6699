/* SPDX-License-Identifier: Apache-2.0 */
/* The one thing of an NTFS volume that no tool of the appliance tells: is it marked dirty.
 *
 * Windows checks such a volume (chkdsk) at its next start.  Read from the raw volume: the boot
 * sector says where the file table begins, its fourth record ($Volume) has the flags in its
 * attribute 0x70.  Pure functions on bytes that a guest wrote. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BF_NTFS_BOOT_SIZE 512
#define BF_NTFS_RECORD_MAX 4096

/* Exit codes of ntfs-3g.probe.  An inconsistent volume may still be readable. */
#define BF_NTFS_PROBE_INCONSISTENT 13
#define BF_NTFS_PROBE_HIBERNATED 14
#define BF_NTFS_PROBE_UNCLEAN 15

/* False: no NTFS. */
bool bf_ntfs_volume_record(const unsigned char *boot, uint64_t *ret_offset, size_t *ret_size);
/* False: no such record.  The record's fixups are applied in place. */
bool bf_ntfs_is_dirty(unsigned char *record, size_t size, bool *ret_dirty);
/* The first bytes of a BitLocker volume. */
bool bf_ntfs_is_bitlocker(const unsigned char *boot);
