/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/initrd.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "guest/compress.h"
#include "guest/cpio.h"
#include "guest/modules.h"
#include "guest/shim_image.h"

#define UNPACKED_MAX ((size_t)1 << 30)
#define OURS ".bfi"

static const char *const method_names[] = {
    [BF_INITRD_PLAIN] = "plain",
    [BF_INITRD_GZIP] = "gzip",
    [BF_INITRD_XZ] = "xz",
    [BF_INITRD_ZSTD] = "zstd",
};
_Static_assert(bf_array_length(method_names) == BF_INITRD_METHOD_MAX, "a method has no name");

const char *bf_initrd_method_to_string(enum bf_initrd_method method)
{
    return (unsigned)method < BF_INITRD_METHOD_MAX ? method_names[method] : "unknown";
}

void bf_initrd_done(struct bf_initrd *initrd)
{
    free(initrd->init_data);
    *initrd = (struct bf_initrd){0};
}

/* Does the path's last part name this module, however it is compressed and spelled? */
static bool is_module(const char *path, const char *module)
{
    const char *name = strrchr(path, '/');
    size_t length = strlen(module);

    name = name ? name + 1 : path;
    for (size_t i = 0; i < length; i++)
        if ((name[i] == '-' ? '_' : name[i]) != module[i])
            return false;
    return strncmp(name + length, ".ko", 3) == 0;
}

struct scan {
    void (*each)(const struct bf_cpio_entry *entry, void *user);
    struct bf_initrd *initrd;
    size_t archive_at; /* where the archive being read begins in the image */
    uint32_t init_inode, init_links;
    bool init_has_data;
};

static void note_init(struct scan *scan, const struct bf_cpio_entry *entry)
{
    struct bf_initrd *initrd = scan->initrd;

    free(initrd->init_data);
    initrd->init_data = bf_xcalloc(1, entry->size + 1);
    memcpy(initrd->init_data, entry->data, entry->size);
    initrd->init_size = entry->size;
    initrd->init_mode = entry->mode;
    scan->init_inode = entry->inode;
    scan->init_links = entry->links;
    scan->init_has_data = entry->size > 0;
}

static void note_entry(const struct bf_cpio_entry *entry, void *user)
{
    struct scan *scan = user;
    struct bf_initrd *initrd = scan->initrd;

    if (bf_streq(entry->name, "init")) {
        note_init(scan, entry);
    } else if (bf_streq(entry->name, OURS)) {
        if (!initrd->injected)
            initrd->injected_at = scan->archive_at;
        initrd->injected = true;
    } else if (is_module(entry->name, "virtio_pci")) {
        initrd->virtio_pci = true;
    } else if (is_module(entry->name, "virtio_blk")) {
        initrd->virtio_blk = true;
    } else if (bf_starts_with(entry->name, "etc/lvm/devices/") && S_ISREG(entry->mode)) {
        initrd->lvm_devices = true;
    }
}

/* One archive from *at_io on; sets the method. */
static int scan_archive(struct scan *scan, const char *image, size_t size, size_t *at_io,
                        struct bf_error *err)
{
    const char *data = image + *at_io;
    size_t left = size - *at_io, used = 0;
    bf_auto_buf plain = {0};
    enum bf_initrd_method method;

    scan->archive_at = *at_io;
    scan->initrd->archives++;
    if (bf_cpio_begins(data, left)) {
        if (bf_cpio_walk(data, left, false, scan->each, scan, &used, err) < 0)
            return -1;
        scan->initrd->method = BF_INITRD_PLAIN;
        *at_io += used;
        return 0;
    }
    method = bf_compression_detect(data, left);
    if (method == BF_INITRD_METHOD_MAX)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                       "the initramfs has an archive of unknown kind at byte %zu", *at_io);
    if (bf_decompress(method, data, left, UNPACKED_MAX, &plain, &used, err) < 0)
        return -1;
    *at_io += used;
    scan->initrd->method = method;
    /* A compressed archive may hold several cpio archives, with zeros between. */
    return bf_cpio_walk(plain.text, plain.length, true, scan->each, scan, &used, err);
}

/* A hard link's data is in another entry: that file cannot be taken over by this entry alone. */
static int check_init(const struct scan *scan, struct bf_error *err)
{
    if (S_ISREG(scan->initrd->init_mode) && scan->init_links > 1 && !scan->init_has_data)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                       "the initramfs's /init is a hard link without its data");
    return 0;
}

static int walk_image(struct scan *scan, const char *image, size_t size, struct bf_error *err)
{
    size_t at = 0;

    if (size > BF_INITRD_IMAGE_MAX)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the initramfs is too large");
    for (;;) {
        while (at < size && image[at] == '\0')
            at++;
        if (at == size)
            return 0;
        if (scan_archive(scan, image, size, &at, err) < 0)
            return -1;
    }
}

int bf_initrd_scan(const void *image, size_t size, struct bf_initrd *ret_initrd,
                   struct bf_error *err)
{
    bf_auto_initrd initrd = {.size = size};
    struct scan scan = {.each = note_entry, .initrd = &initrd};

    if (walk_image(&scan, image, size, err) < 0)
        return -1;
    if (initrd.archives == 0)
        return bf_fail(err, BF_E_GUEST_INITRAMFS, 0, "the initramfs is empty");
    if (check_init(&scan, err) < 0)
        return -1;
    *ret_initrd = initrd;
    initrd = (struct bf_initrd){0};
    return 0;
}

struct take {
    struct scan scan; /* first: what the walk knows */
    const char *directory;
    char *const *names;
    size_t count;
    struct bf_buf *data;
};

static bool is_same_module(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !(strchr("-_", *a) && strchr("-_", *b)))
            return false;
    return *a == *b;
}

static void take_entry(const struct bf_cpio_entry *entry, void *user)
{
    struct take *take = user;
    bf_auto_free char *name = NULL;

    if (!S_ISREG(entry->mode) || !strstr(entry->name, take->directory) ||
        !strstr(entry->name, ".ko"))
        return;
    name = bf_module_file_name(entry->name);
    for (size_t i = 0; i < take->count; i++)
        if (take->data[i].length == 0 && is_same_module(name, take->names[i]))
            bf_buf_add(&take->data[i], entry->data, entry->size);
}

int bf_initrd_take_modules(const void *image, size_t size, const char *version, char *const *names,
                           size_t count, struct bf_buf *ret_data, struct bf_error *err)
{
    bf_auto_initrd initrd = {.size = size};
    bf_auto_free char *directory = bf_xasprintf("lib/modules/%s/", version);
    struct take take = {.scan = {.each = take_entry, .initrd = &initrd},
                        .directory = directory,
                        .names = names,
                        .count = count,
                        .data = ret_data};

    return walk_image(&take.scan, image, size, err);
}

static void add_commands(struct bf_buf *cpio, const struct bf_initrd_module *modules,
                         size_t module_count, const char *const *remove)
{
    bf_auto_buf list = {0};

    for (size_t i = 0; i < module_count; i++)
        bf_buf_addf(&list, "m /" OURS "/%02zu-%s\n", i, modules[i].name);
    for (size_t i = 0; remove && remove[i]; i++)
        bf_buf_addf(&list, "u %s\n", remove[i]);
    bf_cpio_add(cpio, OURS "/list", S_IFREG | 0644, list.text ? list.text : "", list.length);
}

int bf_initrd_build(const struct bf_initrd *initrd, const struct bf_initrd_module *modules,
                    size_t module_count, const char *const *remove, struct bf_buf *ret_archive,
                    struct bf_error *err)
{
    static const char away[] = OURS "/init.orig";
    bf_auto_buf cpio = {0};

    if (!S_ISREG(initrd->init_mode) && !S_ISLNK(initrd->init_mode))
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the initramfs has no /init");
    bf_cpio_add(&cpio, OURS, S_IFDIR | 0755, NULL, 0);
    for (size_t i = 0; i < module_count; i++) {
        bf_auto_free char *name = bf_xasprintf(OURS "/%02zu-%s", i, modules[i].name);

        bf_cpio_add(&cpio, name, S_IFREG | 0644, modules[i].data, modules[i].size);
    }
    add_commands(&cpio, modules, module_count, remove);
    bf_cpio_add(&cpio, away, initrd->init_mode, initrd->init_data, initrd->init_size);
    /* First of another type, so that the kernel removes the old node: a hard-linked /init
     * must not be written through its link. */
    bf_cpio_add(&cpio, "init", S_IFLNK | 0777, away, strlen(away));
    bf_cpio_add(&cpio, "init", S_IFREG | 0755, bf_shim_image, bf_shim_image_size);
    bf_cpio_end(&cpio);
    if (initrd->method != BF_INITRD_PLAIN)
        return bf_compress(initrd->method, cpio.text, cpio.length, ret_archive, err);
    /* A plain archive begins at a multiple of four; compressed it may stand anywhere. */
    bf_buf_add(ret_archive, "\0\0\0", (4 - initrd->size % 4) % 4);
    return bf_compress(BF_INITRD_GZIP, cpio.text, cpio.length, ret_archive, err);
}
