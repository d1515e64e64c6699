/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/linux_modules.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/compress.h"
#include "guest/modules.h"

#define MODULE_MAX ((size_t)32 << 20)

int bf_kernel_open(struct bf_session *session, const char *version, struct bf_kernel *ret_kernel,
                   struct bf_error *err)
{
    bf_auto_free char *builtin = bf_xasprintf("/lib/modules/%s/modules.builtin", version);
    bf_auto_free char *dependencies = bf_xasprintf("/lib/modules/%s/modules.dep", version);
    struct bf_kernel kernel = {.version = version};

    kernel.dependencies = bf_session_read(session, dependencies, NULL);
    if (!kernel.dependencies)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "kernel %s has no index of its modules",
                       version);
    /* Kernels before 2.6.33 have none. */
    kernel.builtin = bf_session_read(session, builtin, NULL);
    if (!kernel.builtin)
        kernel.builtin = bf_xstrdup("");
    *ret_kernel = kernel;
    return 0;
}

void bf_kernel_done(struct bf_kernel *kernel)
{
    free(kernel->builtin);
    free(kernel->dependencies);
}

static int list_modules(const struct bf_kernel *kernel, struct bf_module_list *list,
                        struct bf_error *err)
{
    static const struct {
        const char *name;
        bool needed;
    } wanted[] = {
        {"virtio_pci", true}, {"virtio_blk", true}, {"virtio_scsi", false}, {"sd_mod", false}};

    for (size_t i = 0; i < bf_array_length(wanted); i++) {
        if (bf_module_is_builtin(kernel->builtin, wanted[i].name))
            continue;
        if (!bf_module_list_add(list, kernel->dependencies, wanted[i].name) && wanted[i].needed)
            return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "kernel %s has no module %s",
                           kernel->version, wanted[i].name);
    }
    if (list->count > BF_KERNEL_MODULES_MAX)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "kernel %s: virtio needs %zu modules",
                       kernel->version, list->count);
    return 0;
}

static void free_const(const void *at)
{
    void *plain;

    memcpy(&plain, &at, sizeof(at));
    free(plain);
}

void bf_kernel_modules_done(struct bf_kernel_modules *modules)
{
    for (size_t i = 0; i < modules->count; i++) {
        free_const(modules->modules[i].name);
        free_const(modules->modules[i].data);
    }
    *modules = (struct bf_kernel_modules){0};
}

/* The shim is for x86-64, and so must the kernel be. */
static bool is_module_for_us(const char *data, size_t size)
{
    Elf64_Ehdr header;

    if (size < sizeof(header))
        return false;
    memcpy(&header, data, sizeof(header));
    return memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
           header.e_machine == EM_X86_64;
}

/* As the kernel takes it: not compressed. */
static int accept(const char *path, const void *data, size_t size, struct bf_initrd_module *module,
                  struct bf_error *err)
{
    enum bf_initrd_method method = bf_compression_detect(data, size);
    bf_auto_buf plain = {0};
    size_t used;

    if (method == BF_INITRD_METHOD_MAX)
        bf_buf_add(&plain, data, size);
    else if (bf_decompress(method, data, size, MODULE_MAX, &plain, &used, err) < 0)
        return bf_fail_in(err, "%s", path);
    if (!is_module_for_us(plain.text, plain.length))
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the guest's %s is no module for x86-64",
                       path);
    module->size = plain.length;
    module->data = bf_steal(plain.text);
    return 0;
}

static int fetch_from_directory(struct bf_session *session, const struct bf_kernel *kernel,
                                const char *path, struct bf_initrd_module *module,
                                struct bf_error *err)
{
    bf_auto_free char *full = path[0] == '/'
                                  ? bf_xstrdup(path)
                                  : bf_xasprintf("/lib/modules/%s/%s", kernel->version, path);
    size_t size = 0;
    const char *known = bf_session_file(session, full, &size);
    bf_auto_free char *data = NULL;

    if (!known && session->g)
        known = data = guestfs_read_file(session->g, full, &size);
    if (!known)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "cannot read the guest's %s", full);
    return accept(full, known, size, module, err);
}

static int fetch(struct bf_session *session, const struct bf_kernel *kernel,
                 const struct bf_module_list *list, char *const *names, const struct bf_buf *held,
                 struct bf_kernel_modules *modules, struct bf_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        struct bf_initrd_module *module = &modules->modules[modules->count++];
        int result = held[i].length > 0
                         ? accept(list->paths[i], held[i].text, held[i].length, module, err)
                         : fetch_from_directory(session, kernel, list->paths[i], module, err);

        if (result < 0)
            return -1;
        module->name = bf_xstrdup(names[i]);
    }
    return 0;
}

int bf_kernel_fetch_modules(struct bf_session *session, const struct bf_kernel *kernel,
                            const void *image, size_t image_size, struct bf_kernel_modules *modules,
                            struct bf_error *err)
{
    bf_cleanup(bf_module_list_done) struct bf_module_list list = {0};
    struct bf_buf held[BF_KERNEL_MODULES_MAX] = {0};
    char *names[BF_KERNEL_MODULES_MAX] = {NULL};
    int result;

    if (list_modules(kernel, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.count; i++)
        names[i] = bf_module_file_name(list.paths[i]);
    result =
        bf_initrd_take_modules(image, image_size, kernel->version, names, list.count, held, err);
    if (result == 0)
        result = fetch(session, kernel, &list, names, held, modules, err);
    for (size_t i = 0; i < list.count; i++) {
        free(names[i]);
        bf_buf_done(&held[i]);
    }
    return result;
}
