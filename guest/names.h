/* SPDX-License-Identifier: Apache-2.0 */
/* Names of disks and file systems as a Linux guest's files use them.  Pure text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The appliance's name of a disk or partition by the guest's own name.  The appliance has the
 * disks in the machine's order as /dev/sda, /dev/sdb ..., so the guest's /dev/sdXN, and old
 * kernels' /dev/hdXN, Xen's /dev/xvdXN and /dev/nvmeKn1pN are told by their place.  by-id and
 * by-path name the old controller or a serial number, so they are told only when there is one disk.
 * `devices`: the whole disks.  NULL: the name is of no such kind.  Caller frees. */
char *bf_names_device(const char *name, char *const *devices);

/* Does a by-id or by-path name (behind /dev/disk/) tell a thing that is the same everywhere: a
 * device mapper's, RAID's or LVM's own? */
bool bf_names_is_stable(const char *name);

/* Is it KEY=value, KEY="value" or /dev/disk/by-key/value?  value may be NULL: no. */
bool bf_names_tag(const char *name, const char *key, const char *value);

struct bf_fstab_entry {
    char *device, *mountpoint, *type, *options;
};
struct bf_fstab {
    struct bf_fstab_entry *entries;
    size_t count, capacity;
};
/* Entries of file systems on disks, in order; no swap, no bind mount, nothing virtual. */
void bf_fstab_parse(const char *text, struct bf_fstab *table);
void bf_fstab_done(struct bf_fstab *table);
/* What to mount: the device, or its subvolume; caller frees. */
char *bf_fstab_mountable(const struct bf_fstab_entry *entry, const char *device);
