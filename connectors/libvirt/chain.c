/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at the images of a volume: refs, headers, who lies on whom. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/libvirt/layers.h"

/* --- refs --- */

char *bf_libvirt_point_write(const struct bf_libvirt_volume *volume, const char *tag)
{
    bf_auto_json *json = json_object_new_object();
    bf_auto_free char *stem = bf_xasprintf("%s-of-%s", tag, volume->tag);

    bf_json_add_u64(json, "v", 1);
    bf_json_add_string(json, "directory", volume->directory);
    bf_json_add_string(json, "stem", stem);
    return bf_xstrdup(bf_json_text(json));
}

int bf_libvirt_point_read(const char *ref, const struct bf_libvirt_volume *volume,
                          struct bf_libvirt_point *ret_point, struct bf_error *err)
{
    bf_auto_json *json = NULL;
    const char *directory, *stem;
    char tag[BF_TAG_LENGTH + 1];

    if (bf_json_parse(ref, strlen(ref), &json, err) < 0 ||
        bf_json_get_string(json, "", "directory", &directory, err) < 0 ||
        bf_json_get_string(json, "", "stem", &stem, err) < 0)
        return bf_fail_in(err, "point ref");
    /* What is deleted by this ref must be a point of this volume. */
    if (!bf_tag_of(stem, tag) || !bf_starts_with(stem + BF_TAG_LENGTH, "-of-") ||
        !bf_streq(stem + BF_TAG_LENGTH + 4, volume->tag) || !bf_streq(directory, volume->directory))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "point ref: %s is not a point of volume %s", stem,
                       volume->tag);
    *ret_point = (struct bf_libvirt_point){bf_xstrdup(directory), bf_xstrdup(stem)};
    return 0;
}

void bf_libvirt_point_done(struct bf_libvirt_point *point)
{
    free(point->directory);
    free(point->stem);
    *point = (struct bf_libvirt_point){0};
}

char *bf_libvirt_clone_write(const struct bf_libvirt_clone *clone)
{
    bf_auto_json *json = json_object_new_object();

    bf_json_add_u64(json, "v", 1);
    bf_json_add_string(json, "pool", clone->pool);
    bf_json_add_string(json, "path", clone->path);
    bf_json_add_string(json, "tag", clone->tag);
    return bf_xstrdup(bf_json_text(json));
}

int bf_libvirt_clone_read(const char *ref, struct bf_libvirt_clone *ret_clone, struct bf_error *err)
{
    bf_auto_json *json = NULL;
    const char *pool, *path, *tag;
    struct bf_libvirt_file file = {0};

    if (bf_json_parse(ref, strlen(ref), &json, err) < 0 ||
        bf_json_get_string(json, "", "pool", &pool, err) < 0 ||
        bf_json_get_string(json, "", "path", &path, err) < 0 ||
        bf_json_get_string(json, "", "tag", &tag, err) < 0)
        return bf_fail_in(err, "clone ref");
    const char *slash = strrchr(path, '/');
    if (slash)
        bf_libvirt_file_parse(slash + 1, &file);
    if (file.kind != BF_LIBVIRT_FILE_CLONE || !bf_streq(file.tag, tag))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "clone ref: %s is not clone %s", path, tag);
    *ret_clone = (struct bf_libvirt_clone){bf_xstrdup(pool), bf_xstrdup(path), bf_xstrdup(tag)};
    return 0;
}

void bf_libvirt_clone_done(struct bf_libvirt_clone *clone)
{
    free(clone->pool);
    free(clone->path);
    free(clone->tag);
    *clone = (struct bf_libvirt_clone){0};
}

/* --- images --- */

/* qcow2 header, all big-endian (qemu docs/interop/qcow2.txt): 0 magic, 8 offset and 16 length of
 * the backing file's name (at most 1023 bytes), 24 size of the disk. */
/* qemu docs/interop/qcow2.txt: magic, version, backing file's place and length, virtual size. */
#define QCOW2_SIZE_MAX (UINT64_C(1) << 60)

int bf_libvirt_qcow2_header(const char *path, char **ret_backing, uint64_t *ret_size_bytes,
                            struct bf_error *err)
{
    bf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    unsigned char header[32];
    uint64_t offset, size;
    uint32_t version, length;

    if (fd < 0)
        return bf_fail(err, BF_E_ENDPOINT_OPEN, errno, "image %s", path);
    if (pread(fd, header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
        memcmp(header, "QFI\xfb", 4) != 0)
        return bf_fail(err, BF_E_PROTOCOL, 0, "image %s is no qcow2", path);
    memcpy(&version, header + 4, sizeof(version));
    memcpy(&offset, header + 8, sizeof(offset));
    memcpy(&length, header + 16, sizeof(length));
    memcpy(&size, header + 24, sizeof(size));
    offset = be64toh(offset);
    length = be32toh(length);
    if ((be32toh(version) != 2 && be32toh(version) != 3) || be64toh(size) > QCOW2_SIZE_MAX)
        return bf_fail(err, BF_E_PROTOCOL, 0, "image %s: malformed qcow2 header", path);
    *ret_size_bytes = be64toh(size);
    *ret_backing = NULL;
    if (offset == 0 || length == 0)
        return 0;
    if (length > 1023 || offset > (UINT64_C(1) << 30))
        return bf_fail(err, BF_E_PROTOCOL, 0, "image %s: malformed qcow2 header", path);
    bf_auto_free char *backing = bf_xcalloc(length + 1, 1);
    if (pread(fd, backing, length, (off_t)offset) != (ssize_t)length)
        return bf_fail(err, BF_E_PROTOCOL, 0, "image %s: truncated qcow2 header", path);
    *ret_backing = bf_steal(backing);
    return 0;
}

int bf_libvirt_point_resolve(const struct bf_libvirt_point *point,
                             struct bf_libvirt_point_file *ret_file, struct bf_error *err)
{
    bf_auto_free char *raw = bf_xasprintf("%s/%s.raw", point->directory, point->stem);
    bf_auto_free char *qcow2 = bf_xasprintf("%s/%s.qcow2", point->directory, point->stem);
    bf_auto_free char *backing = NULL;
    struct stat st;
    uint64_t size;

    /* Both are there in the middle of a merge: then the raw one is the base with the layer in it,
     * of equal content (points.c). */
    if (stat(raw, &st) == 0) {
        *ret_file = (struct bf_libvirt_point_file){
            .path = bf_steal(raw), .raw = true, .size_bytes = (uint64_t)st.st_size};
        return 0;
    }
    if (bf_file_access(qcow2, F_OK) < 0)
        return bf_fail(err, BF_E_VOLUME_GONE, errno, "point %s in %s", point->stem,
                       point->directory);
    if (bf_libvirt_qcow2_header(qcow2, &backing, &size, err) < 0)
        return -1;
    *ret_file = (struct bf_libvirt_point_file){.path = bf_steal(qcow2), .size_bytes = size};
    return 0;
}

void bf_libvirt_point_file_done(struct bf_libvirt_point_file *file)
{
    free(file->path);
    *file = (struct bf_libvirt_point_file){0};
}

static void add_name(char ***names, size_t *count, char *path)
{
    size_t capacity = *count;

    bf_xgrow(names, &capacity, *count + 1, sizeof(**names));
    (*names)[(*count)++] = path;
}

static int sort_child(const char *directory, const char *name, const char *parent,
                      struct bf_libvirt_children *children, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s", directory, name);
    bf_auto_free char *backing = NULL;
    struct bf_libvirt_file file;
    uint64_t size;

    bf_libvirt_file_parse(name, &file);
    if (file.raw || bf_libvirt_file_of_machine(file.kind))
        return 0;
    if (bf_libvirt_qcow2_header(path, &backing, &size, err) < 0) {
        /* Cut short at its creation, so it lies on nothing yet. */
        if (err->code == BF_E_PROTOCOL || bf_file_access(path, F_OK) < 0) {
            bf_error_clear(err);
            return 0;
        }
        return -1;
    }
    if (!bf_streq(backing, parent))
        return 0;
    if (file.kind == BF_LIBVIRT_FILE_POINT)
        add_name(&children->layers, &children->layer_count, bf_steal(path));
    else if (file.kind == BF_LIBVIRT_FILE_PART)
        add_name(&children->parts, &children->part_count, bf_steal(path));
    else
        add_name(&children->clones, &children->clone_count, bf_steal(path));
    return 0;
}

int bf_libvirt_children_find(const char *directory, const char *volume_tag, const char *path,
                             struct bf_libvirt_children *ret_children, struct bf_error *err)
{
    bf_auto_libvirt_children children = {0};
    char **names = NULL;
    size_t count = 0;
    int rc = 0;

    if (bf_libvirt_files(directory, volume_tag, &names, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = sort_child(directory, names[i], path, &children, err);
    bf_libvirt_files_free(names, count);
    if (rc < 0)
        return -1;
    *ret_children = children;
    children = (struct bf_libvirt_children){0};
    return 0;
}

void bf_libvirt_children_done(struct bf_libvirt_children *children)
{
    bf_libvirt_files_free(children->layers, children->layer_count);
    bf_libvirt_files_free(children->parts, children->part_count);
    bf_libvirt_files_free(children->clones, children->clone_count);
    *children = (struct bf_libvirt_children){0};
}

int bf_libvirt_guard(const char *path, bool shared, int *ret_fd, struct bf_error *err)
{
    bf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat opened, named;

    if (fd < 0)
        return bf_fail(err, errno == ENOENT ? BF_E_VOLUME_GONE : BF_E_ENDPOINT_OPEN, errno, "%s",
                       path);
    if (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
        return bf_fail(err, errno == EWOULDBLOCK ? BF_E_IN_USE : BF_E_SYSTEM, errno,
                       "%s is being used or merged", path);
    /* A merge that ended just now has put another file in its place. */
    if (fstat(fd, &opened) < 0 || stat(path, &named) < 0 || opened.st_ino != named.st_ino)
        return bf_fail(err, BF_E_IN_USE, 0, "%s was replaced by a merge just now", path);
    *ret_fd = bf_steal_fd(fd);
    return 0;
}

/* --- open handles --- */

struct bf_libvirt_open *bf_libvirt_open_new(struct bf_platform *platform, uint64_t size_bytes)
{
    struct bf_libvirt_open *opened = bf_xcalloc(1, sizeof(*opened));

    opened->base.platform = platform;
    opened->base.spec.size_bytes = size_bytes;
    opened->lock_fd = -1;
    opened->guard_fd = -1;
    return opened;
}

void bf_libvirt_open_free(struct bf_libvirt_open *opened)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    if (!opened)
        return;
    if (opened->server)
        (void)bf_server_stop(opened->server, BF_SERVER_FLUSH_MS, &ignored);
    if (opened->lock_fd >= 0)
        close(opened->lock_fd);
    if (opened->guard_fd >= 0)
        close(opened->guard_fd);
    bf_endpoint_spec_done(&opened->base.spec);
    free(opened);
}
