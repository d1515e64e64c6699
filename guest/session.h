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

enum bf_change_kind {
    BF_CHANGE_WRITE = 0, /* the whole content; owner, mode and label stay */
    BF_CHANGE_CREATE,    /* the file is not there yet */
    BF_CHANGE_APPEND,    /* put behind `offset`, the file's present end */
    BF_CHANGE_REMOVE,
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

struct bf_session {
    guestfs_h *g;
    const char *tmp_directory;
    char *root;    /* device of the root file system */
    char *product; /* "Debian GNU/Linux 12 (bookworm)" */
    bool selinux;
    bool read_only; /* set before the disks are added: nothing reaches them */
    struct json_object
        *kernels; /* array of {"version", "initramfs", "virtio"} as planned; or NULL */
    struct bf_change *changes;
    size_t change_count, change_capacity;
    struct json_object *warnings;
};

/* A disk for the appliance, in the machine's order. */
int bf_session_add_disk(struct bf_session *session, const char *uri, const char *format,
                        struct bf_error *err);
int bf_session_launch(struct bf_session *session, struct bf_error *err);
/* Find the one Linux for x86-64 and mount it.  BF_E_GUEST_UNKNOWN, _ENCRYPTED; any other guest is
 * BF_E_GUEST_UNSUPPORTED, which here means: let virt-v2v try. */
int bf_session_open_guest(struct bf_session *session, struct bf_error *err);
/* The parts of it, for who opens a guest otherwise (inspect_guest.c, plan_open.c). */
int bf_session_explain_no_root(struct bf_session *session, struct bf_error *err); /* always -1 */
int bf_session_mount(struct bf_session *session, struct bf_error *err);
int bf_session_mount_one(struct bf_session *session, const char *device, const char *mountpoint);
void bf_session_read_product(struct bf_session *session);

/* Text of a file of the guest, NULL if it is not there (or not a readable file).  Caller frees. */
char *bf_session_read(struct bf_session *session, const char *path, size_t *ret_size);
/* Names in a directory, NULL-terminated (an empty list if there is none); bf_strings_free(). */
char **bf_session_list(struct bf_session *session, const char *path);
void bf_strings_free(char **strings);
bool bf_strings_have(char *const *strings, const char *text);

/* Collect changes; `data` is copied. */
void bf_session_write(struct bf_session *session, const char *path, const char *text, bool fresh,
                      const char *summary);
void bf_session_append(struct bf_session *session, const char *path, uint64_t offset,
                       const void *data, size_t size, const char *summary);
void bf_session_checksum(struct bf_session *session, const char *path, const char *of,
                         const char *summary);
void bf_session_remove(struct bf_session *session, const char *path, const char *summary);
void bf_session_warn(struct bf_session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

int bf_session_apply(struct bf_session *session, struct bf_error *err);
/* Write everything back and end the appliance. */
int bf_session_close(struct bf_session *session, struct bf_error *err);
void bf_session_done(struct bf_session *session);

int bf_session_fail(struct bf_session *session, const char *what, struct bf_error *err);
