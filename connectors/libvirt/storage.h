/* SPDX-License-Identifier: Apache-2.0 */
/* A directory pool of this host, and the names of our files in it.
 *
 *   VOLUME-SLUG.raw                  a new volume, no round yet: VOLUME is its tag
 *   ROUND-of-VOLUME.part.raw         a full round is being written: ROUND is its tag
 *   ROUND-of-VOLUME.part.qcow2       a delta round is being written: a layer on the last point
 *   ROUND-of-VOLUME.raw, .qcow2      a point
 *   CLONE-clone-of-VOLUME.qcow2      an overlay on a point, for a launch
 *   MACHINE-console.log              serial console of a launched machine
 *
 * The name says what a file is, and renaming it is how it becomes something else: one atomic step
 * that a crash either did or did not.  A point's ref holds "ROUND-of-VOLUME"; which of the two
 * forms it has is looked up, since retention may change it (see layers.c).
 */
#pragma once

#include "connectors/libvirt/session.h"

struct bf_libvirt_pool {
    char *name;
    char *directory;
    uint64_t capacity_bytes;
    uint64_t available_bytes;
};
/* `name` NULL: the default pool.  Not there: BF_E_NO_SUCH_STORAGE; not a directory that this host
 * has: BF_E_PLATFORM_UNSUPPORTED. */
int bf_libvirt_pool_find(struct bf_libvirt *lv, const char *name, struct bf_libvirt_pool *ret_pool,
                         struct bf_error *err);
void bf_libvirt_pool_done(struct bf_libvirt_pool *pool);
#define bf_auto_libvirt_pool __attribute__((cleanup(bf_libvirt_pool_done))) struct bf_libvirt_pool
/* Let libvirt see what we renamed or removed.  Best effort: its view is for people only. */
void bf_libvirt_pool_refresh(struct bf_libvirt *lv, const char *name);
const char *bf_libvirt_pool_default(const struct bf_libvirt *lv);

/* Make an image through libvirt: raw (backing NULL: sparse) or a qcow2 overlay on `backing`.
 * A file of this name that exists already is success: the caller looks at it. */
int bf_libvirt_pool_create(struct bf_libvirt *lv, const char *pool_name, const char *directory,
                           const char *file_name, uint64_t size_bytes, const char *backing,
                           const char *backing_format, struct bf_error *err);

/* A volume's ref. */
struct bf_libvirt_volume {
    char *pool;
    char *directory;
    char *tag;
    char *name; /* "TAG-SLUG.raw": of the new volume's file */
    uint64_t size_bytes;
};
char *bf_libvirt_volume_write(const struct bf_libvirt_volume *volume);
int bf_libvirt_volume_read(const char *ref, struct bf_libvirt_volume *ret_volume,
                           struct bf_error *err);
void bf_libvirt_volume_done(struct bf_libvirt_volume *volume);
#define bf_auto_libvirt_volume                                                                     \
    __attribute__((cleanup(bf_libvirt_volume_done))) struct bf_libvirt_volume

/* What a file name of ours means. */
enum bf_libvirt_file_kind {
    BF_LIBVIRT_FILE_OTHER = 0, /* not ours */
    BF_LIBVIRT_FILE_NEW,
    BF_LIBVIRT_FILE_PART,
    BF_LIBVIRT_FILE_POINT,
    BF_LIBVIRT_FILE_CLONE,
    BF_LIBVIRT_FILE_CONSOLE,
    BF_LIBVIRT_FILE_NVRAM,
    BF_LIBVIRT_FILE_COMPANION,
};
/* Made for a machine, not for a volume. */
static inline bool bf_libvirt_file_of_machine(enum bf_libvirt_file_kind kind)
{
    return kind >= BF_LIBVIRT_FILE_CONSOLE;
}
struct bf_libvirt_file {
    enum bf_libvirt_file_kind kind;
    char tag[BF_TAG_LENGTH + 1];    /* of who made it */
    char volume[BF_TAG_LENGTH + 1]; /* part, point, clone: its volume */
    bool raw;                       /* else qcow2 */
};
void bf_libvirt_file_parse(const char *name, struct bf_libvirt_file *ret_file);
/* Names of the pool's files that are ours; of one volume's unless volume_tag is NULL. */
int bf_libvirt_files(const char *directory, const char *volume_tag, char ***ret_names,
                     size_t *ret_count, struct bf_error *err);
void bf_libvirt_files_free(char **names, size_t count);

/* fsync a file and the directory that names it. */
int bf_libvirt_sync(const char *path, struct bf_error *err);
