/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel knows a file or block device by, beyond its path: for the journal, which must not
 * go on with another disk of the same name and size.
 *
 * A file: its inode number and, where the file system tells it, its time of birth, which a number
 * that is used again does not share.  Both outlast a restart and a renaming.  The number of the
 * file system's device does not (NFS, btrfs and LVM get another one), so it is left out; and so are
 * size and times of change, which a copy changes.
 *
 * A block device: what the storage calls itself, if it does (dm's UUID, a WWID, a serial number, a
 * loop device's file; for a partition that of its disk, and where it starts).  Else the kernel's
 * device number, which can be another one after a restart, and another disk's.
 * (Linux: statx(2), Documentation/ABI/stable/sysfs-block, .../testing/sysfs-block-dm.)
 *
 * Threads: any.
 */
#pragma once

/* "NAME (inode 12, born 1700000000.123456789)", or NAME alone if the kernel tells nothing.  The
 * descriptor may be of O_PATH.  The caller frees. */
char *bf_file_identity(int fd, const char *name) __attribute__((nonnull, warn_unused_result));
/* The same without opening it; NULL: there is no such file. */
char *bf_file_identity_at(const char *path, const char *name)
    __attribute__((nonnull, warn_unused_result));

/* The part for a device: "dm/uuid LVM-..." or "device 8:16".  `sysfs` is "/sys" but for tests. */
char *bf_device_identity(const char *sysfs, unsigned major, unsigned minor)
    __attribute__((nonnull, warn_unused_result));
