/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels made by hand: what is unpacked for the appliance, and what is left to supermin. */
#include <elf.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "guest/appliance_kernel.h"
#include "guest/compress.h"
#include "tests/unit/tap.h"

/* An ELF file of one note; type 18 is the PVH entry. */
static size_t make_kernel(char *out, uint32_t type, uint64_t note_offset)
{
    Elf64_Ehdr header = {.e_machine = EM_X86_64, .e_phoff = sizeof(header), .e_phnum = 1};
    Elf64_Nhdr note = {.n_namesz = 4, .n_descsz = 8, .n_type = type};
    Elf64_Phdr part = {.p_type = PT_NOTE,
                       .p_offset = note_offset ? note_offset : sizeof(header) + sizeof(part),
                       .p_filesz = sizeof(note) + 12};
    size_t at = 0;

    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    memcpy(out + at, &header, sizeof(header));
    memcpy(out + (at += sizeof(header)), &part, sizeof(part));
    memcpy(out + (at += sizeof(part)), &note, sizeof(note));
    memcpy(out + (at += sizeof(note)), "Xen\0entry...", 12);
    return at + 12;
}

/* One sector of setup, and the payload 16 bytes behind it. */
static void make_image(const struct bf_buf *payload, struct bf_buf *image)
{
    char setup[1040] = {0};
    uint32_t offset = 16, length = (uint32_t)payload->length;

    setup[0x1f1] = 1;
    memcpy(setup + 0x202, "HdrS\x0f\x02", 6);
    memcpy(setup + 0x248, &offset, 4);
    memcpy(setup + 0x24c, &length, 4);
    bf_buf_add(image, setup, sizeof(setup));
    bf_buf_add(image, payload->text, payload->length);
}

static void pack(enum bf_initrd_method method, uint32_t type, uint64_t note_offset,
                 struct bf_buf *image)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_buf payload = {0};
    char kernel[512];
    size_t size = make_kernel(kernel, type, note_offset);

    if (bf_compress(method, kernel, size, &payload, &err) < 0)
        exit(1);
    make_image(&payload, image);
}

static void is_refused(const struct bf_buf *image, size_t size, const char *why)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_buf kernel = {0};

    ok(bf_appliance_kernel_unpack(image->text, size, &kernel, &err) < 0 && !kernel.text,
       "refused: %s", why);
    has_string(err.message, why, "why");
}

static void test_unpack(void)
{
    static const enum bf_initrd_method methods[] = {BF_INITRD_GZIP, BF_INITRD_XZ, BF_INITRD_ZSTD};
    char wanted[512];
    size_t size = make_kernel(wanted, 18, 0);

    for (size_t i = 0; i < bf_array_length(methods); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_buf image = {0}, kernel = {0};

        pack(methods[i], 18, 0, &image);
        ok(bf_appliance_kernel_unpack(image.text, image.length, &kernel, &err) == 0 &&
               kernel.length == size && memcmp(kernel.text, wanted, size) == 0,
           "unpacked, method %zu", i);
    }
}

static void test_odd(void)
{
    bf_auto_buf good = {0}, other = {0}, outside = {0}, plain = {0}, unknown = {0};
    bf_auto_buf text = {0};

    pack(BF_INITRD_XZ, 18, 0, &good);
    is_refused(&good, 100, "is no bzImage");
    is_refused(&good, good.length - 1, "is cut");
    pack(BF_INITRD_XZ, 4, 0, &other);
    is_refused(&other, other.length, "has no PVH entry");
    pack(BF_INITRD_XZ, 18, UINT64_MAX - 8, &outside);
    is_refused(&outside, outside.length, "has no PVH entry");
    bf_buf_addf(&text, "LZ4 or what");
    make_image(&text, &unknown);
    is_refused(&unknown, unknown.length, "packed in an unknown way");
    bf_buf_addf(&plain, "%s", "\x1f\x8b no gzip stream");
    bf_buf_done(&unknown);
    make_image(&plain, &unknown);
    is_refused(&unknown, unknown.length, "damaged or cut");
}

static void put(const char *directory, const char *name, const void *data, size_t size)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *path = bf_xasprintf("%s/%s", directory, name);

    if (bf_file_replace(path, data, size, 0600, &err) < 0)
        ok(false, "%s: %s", path, err.message);
}

static bool there(const char *directory, const char *name)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s", directory, name);

    return access(path, F_OK) == 0;
}

/* The newest with modules; what was there of an older one goes. */
static void test_offer(void)
{
    static const char *const made[] = {"6.1.0-9", "6.1.0-50"};
    char directory[] = "/tmp/bf-kernel-XXXXXX";
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_buf image = {0};

    ok(mkdtemp(directory) != NULL, "a directory");
    unsetenv("SUPERMIN_KERNEL");
    bf_appliance_kernel_offer(directory, directory, directory);
    ok(!getenv("SUPERMIN_KERNEL"), "no kernel, no offer");
    pack(BF_INITRD_XZ, 18, 0, &image);
    put(directory, "vmlinuz-6.1.0-60", image.text, image.length);
    put(directory, "vmlinux-6.0-1", "old", 3);
    for (size_t i = 0; i < bf_array_length(made); i++) {
        bf_auto_free char *name = bf_xasprintf("vmlinuz-%s", made[i]);
        bf_auto_free char *modules = bf_xasprintf("%s/%s", directory, made[i]);

        put(directory, name, image.text, image.length);
        ok(bf_directory_make(modules, 0700, &err) == 0, "%s has modules", made[i]);
        put(modules, "modules.dep", "", 0);
    }
    bf_appliance_kernel_offer(directory, directory, directory);
    is_string(getenv("SUPERMIN_KERNEL_VERSION"), "6.1.0-50", "the newest that has modules");
    ok(bf_ends_with(getenv("SUPERMIN_MODULES"), "/6.1.0-50"), "its modules");
    ok(access(getenv("SUPERMIN_KERNEL"), R_OK) == 0, "it is there");
    ok(!there(directory, "vmlinux-6.0-1"), "the old one is gone");
    ok(bf_directory_remove(directory, &err) == 0, "removed");
}

int main(void)
{
    test_unpack();
    test_odd();
    test_offer();
    return done();
}
