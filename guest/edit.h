/* SPDX-License-Identifier: Apache-2.0 */
/* Edits of a Linux guest's configuration files, on their text.
 *
 * Every function returns the new text (caller frees), or NULL when nothing is to be changed, so
 * that a second conversion changes nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Where a device name counts in a file. */
enum bf_edit_place {
    BF_EDIT_FIELD_1,   /* fstab */
    BF_EDIT_FIELD_2,   /* crypttab */
    BF_EDIT_BOOT_LINE, /* root= and resume= of boot loaders and their defaults */
};

/* Replace /dev/sdXN, /dev/hdXN, /dev/xvdXN, /dev/nvme... and the links by controller, bus or serial
 * number (/dev/disk/by-id, by-path) by UUID=...: these names are others on virtio. `resolve`
 * returns the file system's UUID of the name, or NULL: then the name stays and *ret_unresolved
 * becomes true. */
char *bf_edit_device_names(const char *text, enum bf_edit_place place,
                           char *(*resolve)(const char *device, void *user), void *user,
                           bool *ret_unresolved);

/* Append each word that no line of the file consists of. */
char *bf_edit_add_lines(const char *text, const char *const *lines);

/* Add the words to a shell assignment NAME="a b" or NAME=(a b); NULL also when there is no such
 * assignment. */
char *bf_edit_add_words(const char *text, const char *name, const char *const *words);

/* Add BF_EDIT_SERIAL to every kernel's command line in a boot loader's file. */
#define BF_EDIT_SERIAL "console=ttyS0,115200"
char *bf_edit_serial_console(const char *text);

/* GRUB's environment block is a file of this size, filled up by "#".  NULL: it does not fit. */
#define BF_EDIT_ENVIRONMENT 1024
char *bf_edit_environment_fit(const char *text);
