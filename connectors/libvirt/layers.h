/* SPDX-License-Identifier: Apache-2.0 */
/* A volume's points as a chain of images: a raw base that full rounds write, and qcow2 layers, one
 * a delta round.  Shared between volumes.c and points.c. */
#pragma once

#include "connectors/libvirt/serve.h"
#include "connectors/libvirt/storage.h"

/* An open volume, point or clone. */
struct bf_libvirt_open {
    struct bf_target_volume base;
    struct bf_server *server; /* NULL: the file itself is read or written */
    int lock_fd;              /* -1: none */
    int guard_fd;             /* -1: none */
};
struct bf_libvirt_open *bf_libvirt_open_new(struct bf_platform *platform, uint64_t size_bytes);
void bf_libvirt_open_free(struct bf_libvirt_open *open);

/* A point's ref. */
struct bf_libvirt_point {
    char *directory;
    char *stem; /* "ROUND-of-VOLUME" */
};
char *bf_libvirt_point_write(const struct bf_libvirt_volume *volume, const char *tag);
int bf_libvirt_point_read(const char *ref, const struct bf_libvirt_volume *volume,
                          struct bf_libvirt_point *ret_point, struct bf_error *err);
void bf_libvirt_point_done(struct bf_libvirt_point *point);
#define bf_auto_libvirt_point                                                                      \
    __attribute__((cleanup(bf_libvirt_point_done))) struct bf_libvirt_point

/* A point's file, in whichever form it has. */
struct bf_libvirt_point_file {
    char *path;
    bool raw;
    uint64_t size_bytes; /* of the disk */
};
/* Not there: BF_E_VOLUME_GONE. */
int bf_libvirt_point_resolve(const struct bf_libvirt_point *point,
                             struct bf_libvirt_point_file *ret_file, struct bf_error *err);
void bf_libvirt_point_file_done(struct bf_libvirt_point_file *file);
#define bf_auto_libvirt_point_file                                                                 \
    __attribute__((cleanup(bf_libvirt_point_file_done))) struct bf_libvirt_point_file

/* A qcow2's header: its backing file (NULL: none) and the disk's size.  A file that is no qcow2,
 * such as one whose creation was cut short: BF_E_PROTOCOL. */
int bf_libvirt_qcow2_header(const char *path, char **ret_backing, uint64_t *ret_size_bytes,
                            struct bf_error *err);

/* Names of the volume's images that have `path` as their backing file. */
struct bf_libvirt_children {
    char **layers; /* points */
    size_t layer_count;
    char **parts; /* rounds in progress */
    size_t part_count;
    char **clones;
    size_t clone_count;
};
int bf_libvirt_children_find(const char *directory, const char *volume_tag, const char *path,
                             struct bf_libvirt_children *ret_children, struct bf_error *err);
void bf_libvirt_children_done(struct bf_libvirt_children *children);
#define bf_auto_libvirt_children                                                                   \
    __attribute__((cleanup(bf_libvirt_children_done))) struct bf_libvirt_children

/* Keep a point from being merged or removed (shared), or everybody else from using it (not
 * shared): flock() on its file.  Taken: BF_E_IN_USE. */
int bf_libvirt_guard(const char *path, bool shared, int *ret_fd, struct bf_error *err);

/* Members of bf_target_ops. */
int bf_libvirt_create_volume(struct bf_platform *platform, const struct bf_volume_request *request,
                             char **ret_ref, struct bf_error *err);
int bf_libvirt_resize_volume(struct bf_platform *platform, const char *volume_ref,
                             uint64_t size_bytes, char **ret_ref, struct bf_error *err);
int bf_libvirt_delete_volume(struct bf_platform *platform, const char *volume_ref,
                             struct bf_error *err);
int bf_libvirt_open_volume(struct bf_platform *platform, const char *volume_ref, const char *tag,
                           bool full, const char *last_point, struct bf_target_volume **ret_volume,
                           struct bf_error *err);
int bf_libvirt_close_volume(struct bf_target_volume *volume, struct bf_error *err);
int bf_libvirt_drop_round(struct bf_platform *platform, const char *volume_ref, const char *tag,
                          struct bf_error *err);
int bf_libvirt_make_point(struct bf_platform *platform, const char *volume_ref, const char *tag,
                          char **ret_point_ref, struct bf_error *err);
int bf_libvirt_delete_point(struct bf_platform *platform, const char *volume_ref,
                            const char *point_ref, struct bf_error *err);
int bf_libvirt_open_point(struct bf_platform *platform, const char *volume_ref,
                          const char *point_ref, struct bf_target_volume **ret_volume,
                          struct bf_error *err);
int bf_libvirt_clone_point(struct bf_platform *platform, const char *volume_ref,
                           const char *point_ref, const char *tag, char **ret_clone_ref,
                           struct bf_error *err);
int bf_libvirt_open_clone(struct bf_platform *platform, const char *clone_ref,
                          struct bf_target_volume **ret_volume, struct bf_error *err);
int bf_libvirt_delete_clone(struct bf_platform *platform, const char *clone_ref,
                            struct bf_error *err);

/* A clone's ref. */
struct bf_libvirt_clone {
    char *pool;
    char *path;
    char *tag;
};
char *bf_libvirt_clone_write(const struct bf_libvirt_clone *clone);
int bf_libvirt_clone_read(const char *ref, struct bf_libvirt_clone *ret_clone,
                          struct bf_error *err);
void bf_libvirt_clone_done(struct bf_libvirt_clone *clone);
#define bf_auto_libvirt_clone                                                                      \
    __attribute__((cleanup(bf_libvirt_clone_done))) struct bf_libvirt_clone
