/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes and the writing of rounds. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "connectors/libvirt/image.h"
#include "connectors/libvirt/layers.h"

#define SLUG_MAX 40

static bool exists(const char *path)
{
    return bf_file_access(path, F_OK) == 0;
}

static int rename_file(const char *from, const char *to, struct bf_error *err)
{
    if (rename(from, to) < 0)
        return bf_fail(err, BF_E_WRITE_ERROR, errno, "renaming %s to %s", from, to);
    return 0;
}

int bf_libvirt_create_volume(struct bf_platform *platform, const struct bf_volume_request *request,
                             char **ret_ref, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_pool pool = {0};
    bf_auto_libvirt_volume volume = {0};
    bf_auto_free char *slug = bf_slug(request->name, SLUG_MAX);
    char **names = NULL;
    size_t count = 0;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_pool_find(lv, request->storage, &pool, err) < 0 ||
        bf_libvirt_files(pool.directory, request->tag, &names, &count, err) < 0)
        return -1;
    bf_libvirt_files_free(names, count);
    volume = (struct bf_libvirt_volume){
        .pool = bf_xstrdup(pool.name),
        .directory = bf_xstrdup(pool.directory),
        .tag = bf_xstrdup(request->tag),
        .name = bf_xasprintf("%s-%s.raw", request->tag, slug),
        .size_bytes = request->size_bytes,
    };
    /* Files of this volume are there: a call before this one made it, and rounds may have gone on.
     */
    if (count == 0 && bf_libvirt_pool_create(lv, pool.name, pool.directory, volume.name,
                                             volume.size_bytes, NULL, NULL, err) < 0)
        return -1;
    *ret_ref = bf_libvirt_volume_write(&volume);
    return 0;
}

/* A sparse file grows by its size alone; the qcow2 layers of later rounds get the new size. */
static int grow_file(const char *path, uint64_t size_bytes, struct bf_error *err)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return errno == ENOENT ? 0 : bf_fail(err, BF_E_SYSTEM, errno, "%s", path);
    if ((uint64_t)st.st_size < size_bytes && truncate(path, (off_t)size_bytes) < 0)
        return bf_fail(err, errno == ENOSPC ? BF_E_TARGET_FULL : BF_E_WRITE_ERROR, errno,
                       "growing %s", path);
    return 0;
}

int bf_libvirt_resize_volume(struct bf_platform *platform, const char *volume_ref,
                             uint64_t size_bytes, char **ret_ref, struct bf_error *err)
{
    bf_auto_libvirt_volume volume = {0};
    (void)platform;

    if (bf_libvirt_volume_read(volume_ref, &volume, err) < 0)
        return -1;
    if (size_bytes > volume.size_bytes)
        volume.size_bytes = size_bytes;
    bf_auto_free char *path = bf_xasprintf("%s/%s", volume.directory, volume.name);
    if (grow_file(path, volume.size_bytes, err) < 0)
        return -1;
    *ret_ref = bf_libvirt_volume_write(&volume);
    return 0;
}

/* --- deletion --- */

static int clone_in_use(const char *directory, const char *name, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s", directory, name);
    bf_auto_free char *backing = NULL;
    uint64_t size;

    if (bf_libvirt_qcow2_header(path, &backing, &size, err) < 0) {
        bf_error_clear(err);
        return 0;
    }
    if (!backing)
        return 0;
    return bf_fail(err, BF_E_IN_USE, 0, "clone %s still needs the volume", path);
}

static int delete_files(const struct bf_libvirt_volume *volume, char **names, size_t count,
                        struct bf_error *err)
{
    struct bf_libvirt_file file;

    for (size_t i = 0; i < count; i++) {
        bf_libvirt_file_parse(names[i], &file);
        if (file.kind == BF_LIBVIRT_FILE_CLONE &&
            clone_in_use(volume->directory, names[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < count; i++) {
        bf_auto_free char *path = bf_xasprintf("%s/%s", volume->directory, names[i]);
        bf_libvirt_file_parse(names[i], &file);
        /* A clone without a backing file is a launched machine's own. */
        if (file.kind != BF_LIBVIRT_FILE_CLONE && bf_file_remove(path, err) < 0)
            return -1;
    }
    return 0;
}

int bf_libvirt_delete_volume(struct bf_platform *platform, const char *volume_ref,
                             struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_volume volume = {0};
    char **names = NULL;
    size_t count = 0;

    if (bf_libvirt_volume_read(volume_ref, &volume, err) < 0)
        return -1;
    /* The whole pool is gone, and the volume with it. */
    if (!exists(volume.directory))
        return 0;
    if (bf_libvirt_files(volume.directory, volume.tag, &names, &count, err) < 0)
        return -1;
    int rc = delete_files(&volume, names, count, err);
    bf_libvirt_files_free(names, count);
    if (rc == 0 && count > 0 && bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) == 0)
        bf_libvirt_pool_refresh(lv, volume.pool);
    else if (rc == 0)
        bf_error_clear(err);
    return rc;
}

/* --- rounds --- */

struct round_files {
    char *part_raw;
    char *part_qcow2;
    char *raw;
    char *qcow2;
    char *fresh; /* the new volume's file */
};

static void round_files_make(const struct bf_libvirt_volume *volume, const char *tag,
                             struct round_files *ret)
{
    bf_auto_free char *stem = bf_xasprintf("%s/%s-of-%s", volume->directory, tag, volume->tag);

    *ret = (struct round_files){
        .part_raw = bf_xasprintf("%s.part.raw", stem),
        .part_qcow2 = bf_xasprintf("%s.part.qcow2", stem),
        .raw = bf_xasprintf("%s.raw", stem),
        .qcow2 = bf_xasprintf("%s.qcow2", stem),
        .fresh = bf_xasprintf("%s/%s", volume->directory, volume->name),
    };
}

static void round_files_done(struct round_files *files)
{
    free(files->part_raw);
    free(files->part_qcow2);
    free(files->raw);
    free(files->qcow2);
    free(files->fresh);
}
#define auto_round_files __attribute__((cleanup(round_files_done))) struct round_files

static const char *last_part(const char *path)
{
    const char *name = path;

    for (const char *at = path; *at; at++) {
        if (*at == '/')
            name = at + 1;
    }
    return name;
}

/* Only a file without one allocated block is known to read as zero; what the service believes to
 * have made may have been written since.  Both ways of asking must agree. */
static bool proven_zero(const char *path)
{
    bf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && st.st_blocks == 0 && lseek(fd, 0, SEEK_DATA) < 0 &&
           errno == ENXIO;
}

/* A full round never touches a point: its base is a new file until it is complete. */
static int open_full(struct bf_libvirt *lv, const struct bf_libvirt_volume *volume,
                     const struct round_files *files, struct bf_libvirt_open *opened,
                     struct bf_error *err)
{
    if (bf_file_remove(files->part_qcow2, err) < 0)
        return -1;
    if (!exists(files->part_raw)) {
        if (exists(files->fresh)) {
            if (rename_file(files->fresh, files->part_raw, err) < 0)
                return -1;
        } else if (bf_libvirt_pool_create(lv, volume->pool, volume->directory,
                                          last_part(files->part_raw), volume->size_bytes, NULL,
                                          NULL, err) < 0) {
            return -1;
        }
    }
    if (grow_file(files->part_raw, volume->size_bytes, err) < 0)
        return -1;
    opened->base.spec.uri = bf_xstrdup(files->part_raw);
    opened->base.spec.format = bf_xstrdup("raw");
    opened->base.spec.reads_as_zero = proven_zero(files->part_raw);
    return 0;
}

/* Does what is there already lie on the right image?  If not (cut short at its creation, or a
 * layer on a point that is no longer the last) it is of no use. */
static int check_layer(const char *path, const char *backing, struct bf_error *err)
{
    bf_auto_free char *found = NULL;
    bf_auto_error trouble = BF_ERROR_INIT;
    uint64_t size;

    if (!exists(path))
        return 0;
    if (bf_libvirt_qcow2_header(path, &found, &size, &trouble) == 0 && bf_streq(found, backing))
        return 0;
    return bf_file_remove(path, err);
}

static int open_delta(struct bf_libvirt *lv, const struct bf_libvirt_volume *volume,
                      const struct round_files *files, const char *last_point,
                      struct bf_libvirt_open *opened, struct bf_error *err)
{
    bf_auto_libvirt_point point = {0};
    bf_auto_libvirt_point_file last = {0};

    if (bf_libvirt_point_read(last_point, volume, &point, err) < 0 ||
        bf_libvirt_point_resolve(&point, &last, err) < 0 ||
        bf_libvirt_guard(last.path, true, &opened->guard_fd, err) < 0 ||
        bf_file_remove(files->part_raw, err) < 0 ||
        check_layer(files->part_qcow2, last.path, err) < 0 ||
        bf_libvirt_pool_create(lv, volume->pool, volume->directory, last_part(files->part_qcow2),
                               volume->size_bytes, last.path, last.raw ? "raw" : "qcow2", err) < 0)
        return -1;
    struct bf_libvirt_serve_request request = {
        .path = files->part_qcow2, .writable = true, .name = "volume"};
    if (bf_libvirt_serve(lv, &request, &opened->server, err) < 0)
        return -1;
    opened->base.spec.uri = bf_xstrdup(bf_server_uri(opened->server));
    opened->base.spec.format = bf_xstrdup("raw");
    return 0;
}

/* The service died after make_point() and before it knew: the point becomes a round again. */
static int reopen_point(const struct bf_libvirt_volume *volume, const struct round_files *files,
                        struct bf_error *err)
{
    const char *done = exists(files->raw) ? files->raw : files->qcow2;
    bf_auto_libvirt_children children = {0};

    if (!exists(done))
        return 0;
    if (bf_libvirt_children_find(volume->directory, volume->tag, done, &children, err) < 0)
        return -1;
    if (children.layer_count || children.part_count || children.clone_count)
        return bf_fail(err, BF_E_EXISTS, 0, "%s is a point already, and used", done);
    return rename_file(done, done == files->raw ? files->part_raw : files->part_qcow2, err);
}

int bf_libvirt_open_volume(struct bf_platform *platform, const char *volume_ref, const char *tag,
                           bool full, const char *last_point, struct bf_target_volume **ret_volume,
                           struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_volume volume = {0};
    auto_round_files files = {0};

    if (bf_libvirt_volume_read(volume_ref, &volume, err) < 0 ||
        bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
        return -1;
    round_files_make(&volume, tag, &files);
    struct bf_libvirt_open *opened = bf_libvirt_open_new(platform, volume.size_bytes);
    int rc = reopen_point(&volume, &files, err);
    if (rc == 0)
        rc = full ? open_full(lv, &volume, &files, opened, err)
                  : open_delta(lv, &volume, &files, last_point, opened, err);
    if (rc < 0) {
        bf_libvirt_open_free(opened);
        return bf_fail_in(err, "volume %s", volume.name);
    }
    *ret_volume = &opened->base;
    return 0;
}

int bf_libvirt_close_volume(struct bf_target_volume *volume, struct bf_error *err)
{
    struct bf_libvirt_open *opened = (struct bf_libvirt_open *)volume;
    int rc = 0;

    if (opened->server)
        rc = bf_server_stop(opened->server, BF_SERVER_FLUSH_MS, err);
    opened->server = NULL;
    bf_libvirt_open_free(opened);
    return rc;
}

int bf_libvirt_drop_round(struct bf_platform *platform, const char *volume_ref, const char *tag,
                          struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_volume volume = {0};
    auto_round_files files = {0};
    bf_auto_error ignored = BF_ERROR_INIT;

    if (bf_libvirt_volume_read(volume_ref, &volume, err) < 0)
        return -1;
    round_files_make(&volume, tag, &files);
    bool there = exists(files.part_raw) || exists(files.part_qcow2);
    if (bf_file_remove(files.part_raw, err) < 0 || bf_file_remove(files.part_qcow2, err) < 0)
        return -1;
    if (there && bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, &ignored) == 0)
        bf_libvirt_pool_refresh(lv, volume.pool);
    return 0;
}

int bf_libvirt_make_point(struct bf_platform *platform, const char *volume_ref, const char *tag,
                          char **ret_point_ref, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_volume volume = {0};
    auto_round_files files = {0};
    bf_auto_error ignored = BF_ERROR_INIT;

    if (bf_libvirt_volume_read(volume_ref, &volume, err) < 0)
        return -1;
    round_files_make(&volume, tag, &files);
    if (!exists(files.raw) && !exists(files.qcow2)) {
        bool raw = exists(files.part_raw);
        const char *part = raw ? files.part_raw : files.part_qcow2;
        const char *final = raw ? files.raw : files.qcow2;
        if (!exists(part))
            return bf_fail(err, BF_E_VOLUME_GONE, 0, "round %s wrote nothing to volume %s", tag,
                           volume.name);
        if (bf_libvirt_sync(part, err) < 0 || rename_file(part, final, err) < 0 ||
            bf_libvirt_sync(final, err) < 0)
            return -1;
    }
    *ret_point_ref = bf_libvirt_point_write(&volume, tag);
    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, &ignored) == 0)
        bf_libvirt_pool_refresh(lv, volume.pool);
    return 0;
}
