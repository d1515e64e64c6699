/* SPDX-License-Identifier: Apache-2.0 */
/* Initramfs images made here, scanned and extended; odd and cut ones. */
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/compress.h"
#include "guest/cpio.h"
#include "guest/initrd.h"
#include "tests/unit/tap.h"

static const struct bf_initrd_module modules[] = {{"virtio.ko", "\177ELF1", 5},
                                                  {"virtio_blk.ko", "\177ELF22", 6}};

/* A cpio with an /init and a driver. */
static void make_cpio(struct bf_buf *cpio, const char *module)
{
    bf_cpio_add(cpio, "./init", S_IFREG | 0750, "#!/bin/sh\n", 10);
    bf_cpio_add(cpio, module, S_IFREG | 0644, "x", 1);
    bf_cpio_end(cpio);
}

static void make_image(struct bf_buf *image, enum bf_initrd_method method, const char *module)
{
    bf_auto_buf cpio = {0};
    bf_auto_error err = BF_ERROR_INIT;

    make_cpio(&cpio, module);
    if (method == BF_INITRD_PLAIN)
        bf_buf_add(image, cpio.text, cpio.length);
    else
        ok(bf_compress(method, cpio.text, cpio.length, image, &err) == 0, "compressed");
}

static void inject_and_rescan(enum bf_initrd_method method, bool early)
{
    static const char *const remove[] = {"/etc/lvm/devices/system.devices", NULL};
    const char *name = bf_initrd_method_to_string(method);
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_initrd before = {0}, after = {0};
    bf_auto_buf image = {0}, archive = {0}, again = {0};

    if (early) {
        make_image(&image, BF_INITRD_PLAIN, "kernel/x86/microcode/GenuineIntel.bin");
        bf_buf_add(&image, "\0\0\0\0\0\0\0", 7);
    }
    make_image(&image, method, "lib/modules/6.1/kernel/drivers/ata/ahci.ko");
    ok(bf_initrd_scan(image.text, image.length, &before, &err) == 0, "%s: scanned", name);
    is_int(before.method, method, "%s: the last archive's method", name);
    is_int(before.archives, early ? 2 : 1, "%s: archives", name);
    ok(!before.injected && !before.virtio_blk && !before.virtio_pci, "%s: nothing of ours", name);
    is_int(before.init_mode, S_IFREG | 0750, "%s: mode of /init", name);
    ok(bf_initrd_build(&before, modules, 2, remove, &archive, &err) == 0, "%s: built", name);
    ok(bf_initrd_build(&before, modules, 2, remove, &again, &err) == 0, "%s: built again", name);
    ok(archive.length == again.length && memcmp(archive.text, again.text, again.length) == 0,
       "%s: same input, same bytes", name);
    bf_buf_add(&image, archive.text, archive.length);
    ok(bf_initrd_scan(image.text, image.length, &after, &err) == 0, "%s: scanned again", name);
    ok(after.injected, "%s: found again", name);
    if (method != BF_INITRD_PLAIN)
        is_u64(after.injected_at, before.size, "%s: the former size is known", name);
    is_int(after.init_mode, S_IFREG | 0755, "%s: the shim is /init", name);
}

/* What the kernel will find in the appended archive, in its order. */
static void note(const struct bf_cpio_entry *entry, void *user)
{
    bf_buf_addf(user, "%s %o %.*s|", entry->name, entry->mode,
                entry->size < 100 ? (int)entry->size : 0, entry->data);
}

static void content(void)
{
    static const char link[] = "usr/lib/systemd/systemd";
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_initrd initrd = {.method = BF_INITRD_GZIP, .init_mode = S_IFLNK | 0777};
    bf_auto_buf archive = {0}, plain = {0}, names = {0};
    size_t used = 0;

    initrd.init_data = bf_xstrdup(link);
    initrd.init_size = strlen(link);
    ok(bf_initrd_build(&initrd, modules, 2, NULL, &archive, &err) == 0, "built");
    ok(bf_decompress(BF_INITRD_GZIP, archive.text, archive.length, 1 << 20, &plain, &used, &err) ==
           0,
       "unpacked");
    is_u64(used, archive.length, "all of it is one stream");
    ok(bf_cpio_walk(plain.text, plain.length, true, note, &names, &used, &err) == 0, "walked");
    is_string(names.text,
              ".bfi 40755 |.bfi/00-virtio.ko 100644 \177ELF1|"
              ".bfi/01-virtio_blk.ko 100644 \177ELF22|"
              ".bfi/list 100644 m /.bfi/00-virtio.ko\nm /.bfi/01-virtio_blk.ko\n|"
              ".bfi/init.orig 120777 usr/lib/systemd/systemd|init 120777 .bfi/init.orig|"
              "init 100755 |",
              "entries and their order");
}

static void refuse(const char *what, const void *data, size_t size, enum bf_error_code code)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_initrd initrd;

    ok(bf_initrd_scan(data, size, &initrd, &err) == -1, "%s is refused", what);
    is_error(&err, code, "%s: its error", what);
}

static void odd_images(void)
{
    static const char hard_link[] = "070701000000070000"
                                    "81ed00000000000000000000000200000000000000000000000000000000"
                                    "000000000000000000000005"
                                    "00000000"
                                    "init";
    bf_auto_buf gzip = {0}, plain = {0}, linked = {0};
    bf_auto_buf zeros = {0};

    make_image(&gzip, BF_INITRD_GZIP, "a.ko");
    make_image(&plain, BF_INITRD_PLAIN, "a.ko");
    refuse("an empty image", "", 0, BF_E_GUEST_INITRAMFS);
    bf_buf_add(&zeros, "\0\0\0\0\0\0\0\0", 8);
    refuse("zeros only", zeros.text, zeros.length, BF_E_GUEST_INITRAMFS);
    refuse("text", "hello world, this is no initramfs at all", 40, BF_E_GUEST_UNSUPPORTED);
    refuse("lz4", "\x02\x21\x4c\x18 and so on ............", 24, BF_E_GUEST_UNSUPPORTED);
    refuse("one byte", gzip.text, 1, BF_E_GUEST_UNSUPPORTED);
    for (size_t cut = 2; cut < gzip.length; cut += 7)
        refuse("a cut gzip", gzip.text, cut, BF_E_GUEST_INITRAMFS);
    for (size_t cut = 110; cut < plain.length; cut += 13)
        refuse("a cut cpio", plain.text, cut, BF_E_GUEST_INITRAMFS);
    bf_buf_add(&linked, hard_link, sizeof(hard_link));
    while (linked.length % 4)
        bf_buf_add(&linked, "", 1);
    bf_cpio_end(&linked);
    refuse("a hard link without data", linked.text, linked.length, BF_E_GUEST_UNSUPPORTED);
}

/* What the image holds of the wanted modules, of this kernel only. */
static void modules_of_the_image(void)
{
    char scsi[] = "scsi_mod.ko", virtio[] = "virtio.ko", *names[] = {scsi, virtio};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_buf cpio = {0}, image = {0};
    struct bf_buf found[2] = {{0}};

    bf_cpio_add(&cpio, "usr/lib/modules/2/kernel/scsi-mod.ko", S_IFREG | 0644, "old", 3);
    bf_cpio_add(&cpio, "usr/lib/modules/1/kernel/scsi-mod.ko.xz", S_IFREG | 0644, "new!", 4);
    bf_cpio_add(&cpio, "lib/modules/1/virtio_ring.ko", S_IFREG | 0644, "x", 1);
    bf_cpio_end(&cpio);
    ok(bf_compress(BF_INITRD_XZ, cpio.text, cpio.length, &image, &err) == 0, "an image");
    ok(bf_initrd_take_modules(image.text, image.length, "1", names, 2, found, &err) == 0, "taken");
    ok(found[0].length == 4 && memcmp(found[0].text, "new!", 4) == 0, "of the kernel's version");
    is_u64(found[1].length, 0, "a longer name is another module");
    bf_buf_done(&found[0]);
}

/* Damaged at random places: any answer is fine, only a wild access is not (sanitizer builds). */
static void damage(enum bf_initrd_method method)
{
    uint32_t random = 12345;
    unsigned refused = 0;
    bf_auto_buf image = {0};

    make_image(&image, method, "kernel/virtio_pci.ko");
    for (unsigned i = 0; i < 2000; i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_initrd initrd = {0};
        bf_auto_free char *copy = malloc(image.length);

        memcpy(copy, image.text, image.length);
        for (unsigned j = 0; j < 1 + i % 3; j++) {
            random = random * 1664525 + 1013904223;
            copy[(random >> 8) % image.length] = (char)(random >> 24);
        }
        if (bf_initrd_scan(copy, image.length, &initrd, &err) < 0)
            refused++;
    }
    ok(refused > 500, "%s: %u of 2000 damaged images refused", bf_initrd_method_to_string(method),
       refused);
}

static void bomb(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_buf packed = {0}, plain = {0};
    size_t size = 8 << 20, used = 0;
    bf_auto_free char *zeros = calloc(1, size);

    ok(bf_compress(BF_INITRD_ZSTD, zeros, size, &packed, &err) == 0, "packed");
    ok(bf_decompress(BF_INITRD_ZSTD, packed.text, packed.length, 1 << 20, &plain, &used, &err) ==
           -1,
       "too much is refused");
    is_error(&err, BF_E_GUEST_UNSUPPORTED, "its error");
    ok(plain.length < 2 << 20, "and memory stays bounded");
}

int main(void)
{
    for (unsigned method = 0; method < BF_INITRD_METHOD_MAX; method++) {
        inject_and_rescan((enum bf_initrd_method)method, false);
        inject_and_rescan((enum bf_initrd_method)method, true);
    }
    content();
    odd_images();
    modules_of_the_image();
    damage(BF_INITRD_PLAIN);
    damage(BF_INITRD_GZIP);
    bomb();
    return done();
}
