/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/appliance_kernel.h"

#include <elf.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "guest/compress.h"

#define IMAGE_MAX ((size_t)128 << 20)
#define KERNEL_MAX ((size_t)512 << 20)
/* Of the boot protocol's header. */
#define SETUP_SECTORS 0x1f1
#define MAGIC 0x202
#define PROTOCOL 0x206
#define PAYLOAD_OFFSET 0x248
#define PAYLOAD_LENGTH 0x24c
#define HEADER_SIZE 0x250
#define PROTOCOL_PAYLOAD 0x0208 /* the first that tells of the payload */
#define NOTE_PVH_ENTRY 18       /* XEN_ELFNOTE_PHYS32_ENTRY */

static int unsupported(struct bf_error *err, const char *why)
{
    return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the kernel %s", why);
}

/* --- where QEMU enters --- */

static size_t aligned(size_t length)
{
    return (length + 3) & ~(size_t)3;
}

static bool notes_have_entry(const char *at, size_t left)
{
    while (left >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        size_t name, whole;

        memcpy(&note, at, sizeof(note));
        name = sizeof(note);
        whole = name + aligned(note.n_namesz) + aligned(note.n_descsz);
        if (whole > left)
            return false;
        if (note.n_type == NOTE_PVH_ENTRY && note.n_namesz == 4 && memcmp(at + name, "Xen", 4) == 0)
            return true;
        at += whole;
        left -= whole;
    }
    return false;
}

static bool has_pvh_entry(const struct bf_buf *kernel)
{
    Elf64_Ehdr header;

    if (kernel->length < sizeof(header))
        return false;
    memcpy(&header, kernel->text, sizeof(header));
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_machine != EM_X86_64 || header.e_phoff > kernel->length ||
        header.e_phnum > (kernel->length - header.e_phoff) / sizeof(Elf64_Phdr))
        return false;
    for (size_t i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr part;

        memcpy(&part, kernel->text + header.e_phoff + i * sizeof(part), sizeof(part));
        if (part.p_type == PT_NOTE && part.p_offset <= kernel->length &&
            part.p_filesz <= kernel->length - part.p_offset &&
            notes_have_entry(kernel->text + part.p_offset, part.p_filesz))
            return true;
    }
    return false;
}

/* --- what is in an image --- */

static uint32_t number_at(const char *image, size_t offset, size_t size)
{
    uint32_t value = 0;

    memcpy(&value, image + offset, size); /* little-endian, as we are: x86 only */
    return value;
}

int bf_appliance_kernel_unpack(const void *image, size_t size, struct bf_buf *ret_kernel,
                               struct bf_error *err)
{
    const char *bytes = image;
    bf_auto_buf kernel = {0};
    enum bf_initrd_method method;
    uint64_t start, length;
    size_t used = 0;

    if (size < HEADER_SIZE || memcmp(bytes + MAGIC, "HdrS", 4) != 0 ||
        number_at(bytes, PROTOCOL, 2) < PROTOCOL_PAYLOAD)
        return unsupported(err, "is no bzImage");
    start = number_at(bytes, SETUP_SECTORS, 1);
    start = ((start ? start : 4) + 1) * 512 + number_at(bytes, PAYLOAD_OFFSET, 4);
    length = number_at(bytes, PAYLOAD_LENGTH, 4);
    if (start > size || length > size - start)
        return unsupported(err, "is cut");
    method = bf_compression_detect(bytes + start, length);
    if (method == BF_INITRD_METHOD_MAX)
        return unsupported(err, "is packed in an unknown way");
    if (bf_decompress(method, bytes + start, length, KERNEL_MAX, &kernel, &used, err) < 0)
        return -1;
    if (!has_pvh_entry(&kernel))
        return unsupported(err, "has no PVH entry");
    *ret_kernel = kernel;
    kernel = (struct bf_buf){0};
    return 0;
}

/* --- for supermin --- */

/* Version and path of the newest kernel that has modules. */
static char *newest(const char *boot_directory, const char *modules_directory, char **ret_path)
{
    bf_auto_free char *pattern = bf_xasprintf("%s/vmlinuz-*", boot_directory);
    size_t prefix = strlen(pattern) - 1;
    char *version = NULL;
    glob_t found = {0};

    *ret_path = NULL;
    if (glob(pattern, 0, NULL, &found) != 0)
        return NULL;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *name = found.gl_pathv[i] + prefix;
        bf_auto_free char *modules = bf_xasprintf("%s/%s/modules.dep", modules_directory, name);

        if (access(modules, R_OK) < 0 || (version && strverscmp(name, version) < 0))
            continue;
        free(version);
        free(*ret_path);
        version = bf_xstrdup(name);
        *ret_path = bf_xstrdup(found.gl_pathv[i]);
    }
    globfree(&found);
    return version;
}

/* Those of kernels that were here before. */
static void remove_others(const char *cache_directory, const char *but)
{
    bf_auto_free char *pattern = bf_xasprintf("%s/vmlinux-*", cache_directory);
    glob_t found = {0};

    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        if (!bf_streq(found.gl_pathv[i], but))
            unlink(found.gl_pathv[i]);
    globfree(&found);
}

static int unpack_file(const char *from, const char *to, struct bf_error *err)
{
    bf_auto_free char *image = NULL;
    bf_auto_buf kernel = {0};
    size_t size = 0;

    if (bf_file_read(from, IMAGE_MAX, &image, &size, err) < 0 ||
        bf_appliance_kernel_unpack(image, size, &kernel, err) < 0)
        return -1;
    return bf_file_replace(to, kernel.text, kernel.length, 0600, err);
}

void bf_appliance_kernel_offer(const char *boot_directory, const char *modules_directory,
                               const char *cache_directory)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_free char *image = NULL;
    bf_auto_free char *version = newest(boot_directory, modules_directory, &image);
    bf_auto_free char *modules = NULL;
    bf_auto_free char *kernel = NULL;
    struct stat status;

    if (!version || stat(image, &status) < 0)
        return;
    /* The same version may come again as another package. */
    kernel = bf_xasprintf("%s/vmlinux-%s-%llx", cache_directory, version,
                          (unsigned long long)status.st_mtime);
    if (access(kernel, R_OK) < 0) {
        if (unpack_file(image, kernel, &ignored) < 0)
            return;
        remove_others(cache_directory, kernel);
    }
    modules = bf_xasprintf("%s/%s", modules_directory, version);
    setenv("SUPERMIN_KERNEL", kernel, 1);
    setenv("SUPERMIN_KERNEL_VERSION", version, 1);
    setenv("SUPERMIN_MODULES", modules, 1);
}
