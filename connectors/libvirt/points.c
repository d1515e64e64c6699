/* SPDX-License-Identifier: Apache-2.0 */
/* Points: retention, reading, clones.
 *
 * Removing a point P whose file has a layer N (the next point) on top keeps N's content and gives
 * P's up: what N holds is written down into P's file, and that file takes N's place.
 *
 *   P is a qcow2 layer:  commit N into P;  rename P over N.
 *   P is a raw base:     commit N into P;  link P as N's raw form;  put the images that lie on
 *                        N's qcow2 form onto the raw one;  remove N's qcow2 form, then P.
 *
 * Each step leaves N and everything above it with the same content, whether it is done, half done
 * (a commit writes into P only what N shows anyway) or not done, so a crash costs nothing and the
 * call is repeated.  What must not happen is that anybody reads P meanwhile:
 *   - clones and rounds that lie on P forbid the removal;
 *   - a running machine or server above has the images locked (QEMU's locks), the commit fails;
 *   - a clone that is just being made holds a guard on its point (bf_libvirt_guard).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "connectors/libvirt/image.h"
#include "connectors/libvirt/layers.h"

/* A commit writes at most the disk once; nothing slower than 1 MiB/s is waited for. */
#define COMMIT_MS_PER_MIB 1000
#define COMMIT_MS_MIN 600000
#define TOOL_MS 60000

struct merge {
    struct bf_libvirt *lv;
    const struct bf_libvirt_volume *volume;
    const char *lower; /* the point that goes */
    bool lower_raw;
    const char *upper;     /* the next point: a qcow2 layer */
    const char *upper_raw; /* its path in raw form */
};

static int commit(const struct merge *merge, struct bf_error *err)
{
    const char *argv[] = {"qemu-img", "commit", "-q",        "-d",         "-f",
                          "qcow2",    "-t",     "writeback", merge->upper, NULL};
    uint64_t ms = (merge->volume->size_bytes >> 20) * COMMIT_MS_PER_MIB;

    if (bf_libvirt_tool(merge->lv, argv, bf_deadline_in(ms > COMMIT_MS_MIN ? ms : COMMIT_MS_MIN),
                        NULL, err) < 0)
        return bf_fail_in(err, "merging %s into %s", merge->upper, merge->lower);
    return bf_libvirt_sync(merge->lower, err);
}

static int rebase(struct bf_libvirt *lv, const char *path, const char *backing,
                  struct bf_error *err)
{
    const char *argv[] = {"qemu-img", "rebase", "-q", "-u",    "-f", "qcow2",
                          "-F",       "raw",    "-b", backing, path, NULL};

    if (bf_libvirt_tool(lv, argv, bf_deadline_in(TOOL_MS), NULL, err) < 0)
        return bf_fail_in(err, "putting %s onto %s", path, backing);
    return bf_libvirt_sync(path, err);
}

static int rebase_all(struct bf_libvirt *lv, char **paths, size_t count, const char *backing,
                      struct bf_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (rebase(lv, paths[i], backing, err) < 0)
            return -1;
    }
    return 0;
}

/* A point that has both forms: move what lies on the qcow2 form over, and remove it. */
static int settle(struct bf_libvirt *lv, const struct bf_libvirt_volume *volume, const char *raw,
                  const char *qcow2, struct bf_error *err)
{
    bf_auto_libvirt_children children = {0};

    if (bf_file_access(raw, F_OK) < 0 || bf_file_access(qcow2, F_OK) < 0)
        return 0;
    if (bf_libvirt_children_find(volume->directory, volume->tag, qcow2, &children, err) < 0 ||
        rebase_all(lv, children.layers, children.layer_count, raw, err) < 0 ||
        rebase_all(lv, children.parts, children.part_count, raw, err) < 0 ||
        rebase_all(lv, children.clones, children.clone_count, raw, err) < 0)
        return -1;
    return bf_file_remove(qcow2, err);
}

static int take_place_raw(const struct merge *merge, struct bf_error *err)
{
    if (link(merge->lower, merge->upper_raw) < 0 && errno != EEXIST)
        return bf_fail(err, BF_E_WRITE_ERROR, errno, "linking %s as %s", merge->lower,
                       merge->upper_raw);
    if (bf_libvirt_sync(merge->upper_raw, err) < 0 ||
        settle(merge->lv, merge->volume, merge->upper_raw, merge->upper, err) < 0 ||
        bf_file_remove(merge->lower, err) < 0)
        return -1;
    return 0;
}

static int take_place_qcow2(const struct merge *merge, struct bf_error *err)
{
    if (rename(merge->lower, merge->upper) < 0)
        return bf_fail(err, BF_E_WRITE_ERROR, errno, "renaming %s to %s", merge->lower,
                       merge->upper);
    return bf_libvirt_sync(merge->upper, err);
}

static int merge_up(struct bf_libvirt *lv, const struct bf_libvirt_volume *volume,
                    const char *lower, bool lower_raw, const char *upper, struct bf_error *err)
{
    bf_auto_free char *upper_raw =
        bf_xasprintf("%.*s.raw", (int)(strlen(upper) - strlen(".qcow2")), upper);
    struct merge merge = {lv, volume, lower, lower_raw, upper, upper_raw};
    bf_auto_fd int guard = -1;

    if (bf_libvirt_guard(upper, false, &guard, err) < 0 || commit(&merge, err) < 0)
        return -1;
    return lower_raw ? take_place_raw(&merge, err) : take_place_qcow2(&merge, err);
}

static int delete_file(struct bf_libvirt *lv, const struct bf_libvirt_volume *volume,
                       const struct bf_libvirt_point_file *file, struct bf_error *err)
{
    bf_auto_libvirt_children children = {0};
    bf_auto_fd int guard = -1;

    if (bf_libvirt_guard(file->path, false, &guard, err) < 0 ||
        bf_libvirt_children_find(volume->directory, volume->tag, file->path, &children, err) < 0)
        return -1;
    if (children.clone_count)
        return bf_fail(err, BF_E_IN_USE, 0, "clone %s lies on point %s", children.clones[0],
                       file->path);
    if (children.part_count || children.layer_count > 1)
        return bf_fail(err, BF_E_IN_USE, 0, "a round in progress lies on point %s", file->path);
    if (children.layer_count == 1)
        return merge_up(lv, volume, file->path, file->raw, children.layers[0], err);
    return bf_file_remove(file->path, err);
}

int bf_libvirt_delete_point(struct bf_platform *platform, const char *volume_ref,
                            const char *point_ref, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_volume volume = {0};
    bf_auto_libvirt_point point = {0};
    bf_auto_libvirt_point_file file = {0};
    bf_auto_error ignored = BF_ERROR_INIT;

    if (bf_libvirt_volume_read(volume_ref, &volume, err) < 0 ||
        bf_libvirt_point_read(point_ref, &volume, &point, err) < 0)
        return -1;
    bf_auto_free char *raw = bf_xasprintf("%s/%s.raw", point.directory, point.stem);
    bf_auto_free char *qcow2 = bf_xasprintf("%s/%s.qcow2", point.directory, point.stem);
    if (bf_file_access(raw, F_OK) < 0 && bf_file_access(qcow2, F_OK) < 0)
        return 0;
    if (settle(lv, &volume, raw, qcow2, err) < 0 ||
        bf_libvirt_point_resolve(&point, &file, err) < 0 ||
        delete_file(lv, &volume, &file, err) < 0)
        return bf_fail_in(err, "point %s", point.stem);
    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, &ignored) == 0)
        bf_libvirt_pool_refresh(lv, volume.pool);
    return 0;
}

/* --- reading --- */

static int open_image(struct bf_libvirt *lv, const struct bf_libvirt_point_file *file,
                      struct bf_libvirt_open *opened, struct bf_error *err)
{
    struct bf_libvirt_serve_request request = {.path = file->path, .name = "point"};

    if (file->raw) {
        opened->base.spec.uri = bf_xstrdup(file->path);
        return bf_libvirt_image_lock(file->path, &opened->lock_fd, err);
    }
    if (bf_libvirt_serve(lv, &request, &opened->server, err) < 0)
        return -1;
    opened->base.spec.uri = bf_xstrdup(bf_server_uri(opened->server));
    return 0;
}

int bf_libvirt_open_point(struct bf_platform *platform, const char *volume_ref,
                          const char *point_ref, struct bf_target_volume **ret_volume,
                          struct bf_error *err)
{
    struct bf_libvirt *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_volume volume = {0};
    bf_auto_libvirt_point point = {0};
    bf_auto_libvirt_point_file file = {0};

    if (bf_libvirt_volume_read(volume_ref, &volume, err) < 0 ||
        bf_libvirt_point_read(point_ref, &volume, &point, err) < 0 ||
        bf_libvirt_point_resolve(&point, &file, err) < 0)
        return -1;
    struct bf_libvirt_open *opened = bf_libvirt_open_new(platform, file.size_bytes);
    if (bf_libvirt_guard(file.path, true, &opened->guard_fd, err) < 0 ||
        open_image(lv, &file, opened, err) < 0) {
        bf_libvirt_open_free(opened);
        return bf_fail_in(err, "point %s", point.stem);
    }
    opened->base.spec.format = bf_xstrdup("raw");
    *ret_volume = &opened->base;
    return 0;
}

/* --- clones --- */

int bf_libvirt_clone_point(struct bf_platform *platform, const char *volume_ref,
                           const char *point_ref, const char *tag, char **ret_clone_ref,
                           struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_volume volume = {0};
    bf_auto_libvirt_point point = {0};
    bf_auto_libvirt_point_file file = {0};
    bf_auto_fd int guard = -1;

    if (bf_libvirt_volume_read(volume_ref, &volume, err) < 0 ||
        bf_libvirt_point_read(point_ref, &volume, &point, err) < 0 ||
        bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_point_resolve(&point, &file, err) < 0 ||
        bf_libvirt_guard(file.path, true, &guard, err) < 0)
        return -1;
    bf_auto_free char *name = bf_xasprintf("%s-clone-of-%s.qcow2", tag, volume.tag);
    bf_auto_libvirt_clone clone = {
        .pool = bf_xstrdup(volume.pool),
        .path = bf_xasprintf("%s/%s", volume.directory, name),
        .tag = bf_xstrdup(tag),
    };
    const char *path = clone.path;
    bf_auto_free char *backing = NULL;
    bf_auto_error broken = BF_ERROR_INIT;
    uint64_t size;
    /* Cut short at its creation: nobody has used it. */
    if (bf_file_access(path, F_OK) == 0 &&
        bf_libvirt_qcow2_header(path, &backing, &size, &broken) < 0 &&
        bf_file_remove(path, err) < 0)
        return -1;
    if (bf_libvirt_pool_create(lv, volume.pool, volume.directory, name, file.size_bytes, file.path,
                               file.raw ? "raw" : "qcow2", err) < 0)
        return -1;
    *ret_clone_ref = bf_libvirt_clone_write(&clone);
    return 0;
}

int bf_libvirt_open_clone(struct bf_platform *platform, const char *clone_ref,
                          struct bf_target_volume **ret_volume, struct bf_error *err)
{
    bf_auto_libvirt_clone clone = {0};
    bf_auto_free char *backing = NULL;
    uint64_t size;

    if (bf_libvirt_clone_read(clone_ref, &clone, err) < 0)
        return -1;
    if (bf_libvirt_qcow2_header(clone.path, &backing, &size, err) < 0) {
        if (err->code == BF_E_ENDPOINT_OPEN)
            bf_error_recode(err, BF_E_VOLUME_GONE);
        return -1;
    }
    struct bf_libvirt_open *opened = bf_libvirt_open_new(platform, size);
    opened->base.spec.uri = bf_xstrdup(clone.path);
    opened->base.spec.format = bf_xstrdup("qcow2");
    *ret_volume = &opened->base;
    return 0;
}

int bf_libvirt_delete_clone(struct bf_platform *platform, const char *clone_ref,
                            struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_clone clone = {0};
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_fd int lock = -1;

    if (bf_libvirt_clone_read(clone_ref, &clone, err) < 0)
        return -1;
    if (bf_file_access(clone.path, F_OK) < 0 && errno == ENOENT)
        return 0;
    if (bf_libvirt_image_lock(clone.path, &lock, err) < 0 || bf_file_remove(clone.path, err) < 0)
        return bf_fail_in(err, "clone %s", clone.tag);
    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, &ignored) == 0)
        bf_libvirt_pool_refresh(lv, clone.pool);
    return 0;
}
