/* SPDX-License-Identifier: Apache-2.0 */
/* One libguestfs session of blockferry-convert: the appliance, the guest found in it, and the
 * changes to make.
 *
 * Two phases.  First everything is read and decided, and collected as changes; until
 * bf_session_apply() nothing is written to a file of the guest, so that "this guest is none for
 * us" still leaves the disks to virt-v2v.  (Mounting replays the file systems' journals.)
 *
 * The guest's code is never run.  One thread.  Errors of the guestfs calls become
 * BF_E_CONVERT_FAILED with libguestfs's text. */
#pragma once

#include <guestfs.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "guest/tree.h"

#define BF_SESSION_BUNDLES 3

enum bf_change_kind {
    BF_CHANGE_WRITE = 0, /* the whole content; owner, mode and label stay */
    BF_CHANGE_CREATE,    /* the file is not there yet, perhaps not its directory either */
    BF_CHANGE_APPEND,    /* put behind `offset`, the file's present end */
    BF_CHANGE_REMOVE,
    BF_CHANGE_DONE,     /* made already; only to be told */
    BF_CHANGE_CHECKSUM, /* the content becomes "SHA1  DATA": the digest of the file named in data */
};

struct bf_change {
    char *path;
    char *data;
    size_t size;
    enum bf_change_kind kind;
    uint64_t offset;
    char *summary; /* for people */
};

/* What holds a file system, swap space, an LVM volume or an encrypted container. */
struct bf_filesystem {
    char *device; /* "/dev/sda1", "/dev/vg/root" */
    char *type, *uuid, *label, *part_uuid;
};

struct bf_session {
    guestfs_h *g; /* NULL: all that is known stands in `tree` (tests) */
    const char *tmp_directory;
    char *root;    /* device of the root file system */
    char *product; /* "Debian GNU/Linux 12 (bookworm)" */
    bool selinux;
    bool read_only; /* set before the disks are added: nothing reaches them */
    /* Array of {"version", "initramfs", "virtio"} as planned; NULL: nobody asks. */
    struct json_object *kernels;
    char **devices; /* whole disks: "/dev/sda" ... */
    struct bf_filesystem *filesystems;
    size_t filesystem_count, filesystem_capacity;
    struct bf_tree tree;
    bool bundle_tried[BF_SESSION_BUNDLES];
    struct bf_change *changes;
    size_t change_count, change_capacity;
    struct json_object *warnings;
};

/* A disk for the appliance, in the machine's order. */
int bf_session_add_disk(struct bf_session *session, const char *uri, const char *format,
                        struct bf_error *err);
int bf_session_launch(struct bf_session *session, struct bf_error *err);
/* Find the one Linux and mount what its conversion needs of it (session_open.c).
 * BF_E_GUEST_UNKNOWN, _ENCRYPTED, _DAMAGED; any other guest is BF_E_GUEST_UNSUPPORTED, which here
 * means: let virt-v2v try. */
int bf_session_open_guest(struct bf_session *session, struct bf_error *err);
/* The parts of it, for who opens a guest otherwise.  The second mounts `root`, once that is set. */
int bf_session_explain_no_root(struct bf_session *session, struct bf_error *err); /* always -1 */
int bf_session_mount(struct bf_session *session, struct bf_error *err);
bool bf_session_is_linux_type(const char *type); /* may be NULL */
int bf_session_mount_one(struct bf_session *session, const char *device, const char *mountpoint);
void bf_session_read_product(struct bf_session *session);
/* Fill `devices` and `filesystems`, unless they are. */
int bf_session_list_filesystems(struct bf_session *session, struct bf_error *err);
/* The device that an fstab or boot line names ("UUID=...", "/dev/hda1",
 * "/dev/disk/by-id/...-part1"), on the old host or this one; NULL: none that is known. */
const struct bf_filesystem *bf_session_resolve(struct bf_session *session, const char *name);

/* Text of a file of the guest, NULL if it is not there (or not a readable file, or one with NUL
 * bytes, which is a warning).  Caller frees. */
char *bf_session_read(struct bf_session *session, const char *path, size_t *ret_size);
/* The content of a file of /boot, /etc or /lib/modules, borrowed until the session ends; NULL: it
 * is not there, or not known without a call of its own. */
const char *bf_session_file(struct bf_session *session, const char *path, size_t *ret_size);
/* A file of the guest into a file of ours; BF_E_TOO_LARGE before a byte of it is taken: a file with
 * holes can be larger than any disk of this host. */
int bf_session_download(struct bf_session *session, const char *path, const char *local, size_t max,
                        struct bf_error *err);
bool bf_session_exists(struct bf_session *session, const char *path);
/* Names in a directory, NULL-terminated (an empty list if there is none); bf_strings_free(). */
char **bf_session_list(struct bf_session *session, const char *path);
/* Paths that match; the part before the first wildcard ends behind a directory's name. */
char **bf_session_glob(struct bf_session *session, const char *pattern);
void bf_strings_free(char **strings);
bool bf_strings_have(char *const *strings, const char *text);

/* Collect changes; `data` is copied.  Reading a file afterwards gives the new content, and writing
 * it again replaces that. */
void bf_session_write(struct bf_session *session, const char *path, const char *text, bool fresh,
                      const char *summary);
void bf_session_append(struct bf_session *session, const char *path, uint64_t offset,
                       const void *data, size_t size, const char *summary);
void bf_session_checksum(struct bf_session *session, const char *path, const char *of,
                         const char *summary);
void bf_session_did(struct bf_session *session, const char *path, const char *summary);
void bf_session_remove(struct bf_session *session, const char *path, const char *summary);
/* The collected change of a file's whole content; NULL: none. */
const struct bf_change *bf_session_change_of(const struct bf_session *session, const char *path);
/* Each text once, and no more of them than can be read. */
void bf_session_warn(struct bf_session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

int bf_session_apply(struct bf_session *session, struct bf_error *err);
/* Write everything back and end the appliance. */
int bf_session_close(struct bf_session *session, struct bf_error *err);
void bf_session_done(struct bf_session *session);

int bf_session_fail(struct bf_session *session, const char *what, struct bf_error *err);
