/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/libvirt/serve.h"

#define TOOL_MS 60000

/* Bytes of QEMU's lock protocol. */
#define PERMISSION_BASE 100
#define SHARED_BASE 200
#define PERMISSION_WRITE 1
#define PERMISSION_RESIZE 3

void bf_libvirt_image_done(struct bf_libvirt_image *image)
{
    for (size_t i = 0; i < image->bitmap_count; i++)
        free(image->bitmaps[i].name);
    free(image->bitmaps);
    free(image->format);
    free(image->backing);
    free(image->backing_format);
    *image = (struct bf_libvirt_image){0};
}

const struct bf_libvirt_bitmap *bf_libvirt_image_bitmap(const struct bf_libvirt_image *image,
                                                        const char *name)
{
    for (size_t i = 0; i < image->bitmap_count; i++) {
        if (bf_streq(image->bitmaps[i].name, name))
            return &image->bitmaps[i];
    }
    return NULL;
}

static int parse_bitmap(struct json_object *json, struct bf_libvirt_bitmap *bitmap,
                        struct bf_error *err)
{
    const char *name;
    struct json_object *flags;

    if (bf_json_get_string(json, "bitmap", "name", &name, err) < 0 ||
        bf_json_get_array(json, "bitmap", "flags", &flags, err) < 0)
        return -1;
    bitmap->name = bf_xstrdup(name);
    for (size_t i = 0; i < json_object_array_length(flags); i++) {
        const char *flag = json_object_get_string(json_object_array_get_idx(flags, i));
        if (bf_streq(flag, "in-use"))
            bitmap->in_use = true;
        else if (bf_streq(flag, "auto"))
            bitmap->recording = true;
    }
    return 0;
}

static int parse_bitmaps(struct json_object *json, struct bf_libvirt_image *image,
                         struct bf_error *err)
{
    struct json_object *specific = NULL, *data = NULL, *bitmaps = NULL;

    if (bf_json_opt_object(json, "", "format-specific", &specific, err) < 0 ||
        (specific && bf_json_opt_object(specific, "format-specific", "data", &data, err) < 0) ||
        (data && bf_json_opt_array(data, "format-specific.data", "bitmaps", &bitmaps, err) < 0))
        return -1;
    size_t count = bitmaps ? json_object_array_length(bitmaps) : 0;
    image->bitmaps = bf_xcalloc(count + 1, sizeof(*image->bitmaps));
    for (size_t i = 0; i < count; i++) {
        image->bitmap_count = i + 1;
        if (parse_bitmap(json_object_array_get_idx(bitmaps, i), &image->bitmaps[i], err) < 0)
            return -1;
    }
    return 0;
}

static int parse_info(const char *text, struct bf_libvirt_image *image, struct bf_error *err)
{
    bf_auto_json *json = NULL;
    const char *format, *backing = NULL, *backing_format = NULL;

    if (bf_json_parse(text, strlen(text), &json, err) < 0 ||
        bf_json_get_string(json, "", "format", &format, err) < 0 ||
        bf_json_get_u64(json, "", "virtual-size", &image->size_bytes, err) < 0 ||
        bf_json_opt_string(json, "", "full-backing-filename", &backing, err) < 0 ||
        bf_json_opt_string(json, "", "backing-filename-format", &backing_format, err) < 0)
        return -1;
    if (!backing && bf_json_opt_string(json, "", "backing-filename", &backing, err) < 0)
        return -1;
    image->format = bf_xstrdup(format);
    image->backing = bf_xstrdup(backing);
    image->backing_format = bf_xstrdup(backing_format);
    return parse_bitmaps(json, image, err);
}

int bf_libvirt_image_read(struct bf_libvirt *lv, const char *path, const char *format,
                          struct bf_libvirt_image *ret_image, struct bf_error *err)
{
    bf_auto_libvirt_image image = {0};
    bf_auto_free char *text = NULL;
    /* -U: a machine may have it open; what is read is then of the moment, as said in image.h. */
    const char *argv[] = {"qemu-img", "info", "-U", "--output=json", "-f", format, path, NULL};

    if (bf_libvirt_tool(lv, argv, bf_deadline_in(TOOL_MS), &text, err) < 0 ||
        parse_info(text, &image, err) < 0)
        return bf_fail_in(err, "image %s", path);
    *ret_image = image;
    image = (struct bf_libvirt_image){0};
    return 0;
}

static int bitmap_tool(struct bf_libvirt *lv, const char *verb, const char *path, const char *name,
                       struct bf_error *err)
{
    const char *argv[] = {"qemu-img", "bitmap", verb, "-f", "qcow2", path, name, NULL};

    if (bf_libvirt_tool(lv, argv, bf_deadline_in(TOOL_MS), NULL, err) < 0)
        return bf_fail_in(err, "bitmap %s of image %s", name, path);
    return 0;
}

int bf_libvirt_image_add_bitmap(struct bf_libvirt *lv, const char *path, const char *name,
                                struct bf_error *err)
{
    bf_auto_libvirt_image image = {0};

    if (bf_libvirt_image_read(lv, path, "qcow2", &image, err) < 0)
        return -1;
    if (bf_libvirt_image_bitmap(&image, name))
        return 0;
    return bitmap_tool(lv, "--add", path, name, err);
}

int bf_libvirt_image_remove_bitmap(struct bf_libvirt *lv, const char *path, const char *name,
                                   struct bf_error *err)
{
    bf_auto_libvirt_image image = {0};

    if (bf_file_access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    if (bf_libvirt_image_read(lv, path, "qcow2", &image, err) < 0)
        return -1;
    if (!bf_libvirt_image_bitmap(&image, name))
        return 0;
    return bitmap_tool(lv, "--remove", path, name, err);
}

static int lock_byte(int fd, off_t byte)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock);
}

/* Is a permission in use by somebody? */
static bool byte_is_locked(int fd, off_t byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

int bf_libvirt_image_lock(const char *path, int *ret_fd, struct bf_error *err)
{
    bf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return bf_fail(err, errno == ENOENT ? BF_E_VOLUME_GONE : BF_E_ENDPOINT_OPEN, errno,
                       "image %s", path);
    if (lock_byte(fd, SHARED_BASE + PERMISSION_WRITE) < 0 ||
        lock_byte(fd, SHARED_BASE + PERMISSION_RESIZE) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "locking image %s", path);
    if (byte_is_locked(fd, PERMISSION_BASE + PERMISSION_WRITE))
        return bf_fail(err, BF_E_IN_USE, 0, "image %s is being written by another process", path);
    *ret_fd = bf_steal_fd(fd);
    return 0;
}
