/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/compress.h"
#include "guest/edit.h"
#include "guest/initrd.h"
#include "guest/linux.h"
#include "guest/modules.h"

#define MODULE_MAX ((size_t)32 << 20)
#define MODULES_MAX 32

/* One kernel of the guest. */
struct kernel {
    const char *version;
    char *directory;    /* /lib/modules/VERSION */
    char *builtin;      /* text of modules.builtin */
    char *dependencies; /* text of modules.dep */
};

static void kernel_done(struct kernel *kernel)
{
    free(kernel->directory);
    free(kernel->builtin);
    free(kernel->dependencies);
}

static void strings_free_at(char ***at)
{
    bf_strings_free(*at);
}

/* The first name of the patterns (with %s for the version) that /boot has. */
static char *find_name(char *const *boot, const char *const *before, const char *const *behind,
                       size_t count, const char *version)
{
    for (size_t i = 0; i < count; i++) {
        bf_auto_free char *name = bf_xasprintf("%s%s%s", before[i], version, behind[i]);

        if (bf_strings_have(boot, name))
            return bf_xasprintf("/boot/%s", name);
    }
    return NULL;
}

static char *find_kernel(char *const *boot, const char *version)
{
    static const char *const before[] = {"vmlinuz-", "vmlinux-", "kernel-", "bzImage-"};
    static const char *const behind[] = {"", "", "", ""};

    return find_name(boot, before, behind, bf_array_length(before), version);
}

static char *find_initrd(char *const *boot, const char *version)
{
    static const char *const before[] = {"initrd.img-", "initramfs-", "initrd-", "initrd-",
                                         "initramfs-"};
    static const char *const behind[] = {"", ".img", "", ".img", ""};

    return find_name(boot, before, behind, bf_array_length(before), version);
}

/* --- modules --- */

static int list_modules(const struct kernel *kernel, struct bf_module_list *list,
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
    if (list->count > MODULES_MAX)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "kernel %s: virtio needs %zu modules",
                       kernel->version, list->count);
    return 0;
}

/* A module as the kernel takes it: not compressed. */
static int fetch_module(struct bf_session *session, const struct kernel *kernel, const char *path,
                        struct bf_initrd_module *module, struct bf_error *err)
{
    bf_auto_free char *full =
        path[0] == '/' ? bf_xstrdup(path) : bf_xasprintf("%s/%s", kernel->directory, path);
    size_t size = 0, used = 0;
    bf_auto_free char *data = guestfs_read_file(session->g, full, &size);
    enum bf_initrd_method method;
    bf_auto_buf plain = {0};

    if (!data)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "cannot read the guest's %s", full);
    method = bf_compression_detect(data, size);
    if (method != BF_INITRD_METHOD_MAX) {
        if (bf_decompress(method, data, size, MODULE_MAX, &plain, &used, err) < 0)
            return bf_fail_in(err, "%s", full);
        module->size = plain.length;
        module->data = bf_steal(plain.text);
    } else {
        module->size = size;
        module->data = bf_steal(data);
    }
    module->name = bf_module_file_name(path);
    if (module->size < 4 || memcmp(module->data, "\177ELF", 4) != 0)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the guest's %s is no module", full);
    return 0;
}

struct module_set {
    struct bf_initrd_module modules[MODULES_MAX];
    size_t count;
};

static void free_const(const void *at)
{
    void *plain;

    memcpy(&plain, &at, sizeof(at));
    free(plain);
}

static void module_set_done(struct module_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        free_const(set->modules[i].name);
        free_const(set->modules[i].data);
    }
}

static int fetch_modules(struct bf_session *session, const struct kernel *kernel,
                         struct module_set *set, struct bf_error *err)
{
    bf_cleanup(bf_module_list_done) struct bf_module_list list = {0};

    if (list_modules(kernel, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        set->count++;
        if (fetch_module(session, kernel, list.paths[i], &set->modules[i], err) < 0)
            return -1;
    }
    return 0;
}

/* What an inspection shows of the kernel: virtio is in the kernel, in its initramfs, put there by
 * us, or missing. */
static void note_kernel(struct bf_session *session, const char *version, const char *initramfs,
                        const char *virtio)
{
    struct json_object *item;

    if (!session->kernels)
        return;
    item = json_object_new_object();
    bf_json_add_string(item, "version", version);
    bf_json_add_string(item, "initramfs", initramfs);
    bf_json_add_string(item, "virtio", virtio);
    json_object_array_add(session->kernels, item);
}

/* --- the image --- */

static int fetch_image(struct bf_session *session, const char *path, char **ret_data,
                       size_t *ret_size, struct bf_error *err)
{
    bf_auto_free char *local = bf_xasprintf("%s/initrd", session->tmp_directory);

    if (guestfs_download(session->g, path, local) < 0)
        return bf_session_fail(session, path, err);
    return bf_file_read(local, BF_INITRD_IMAGE_MAX, ret_data, ret_size, err);
}

static int inject(struct bf_session *session, const struct kernel *kernel, const char *path,
                  const struct bf_initrd *initrd, struct bf_error *err)
{
    static const char *const lvm_devices[] = {"/etc/lvm/devices/system.devices", NULL};
    bf_cleanup(module_set_done) struct module_set set = {0};
    bf_auto_free char *summary = NULL;
    bf_auto_buf archive = {0};

    if (fetch_modules(session, kernel, &set, err) < 0 ||
        bf_initrd_build(initrd, set.modules, set.count, initrd->lvm_devices ? lvm_devices : NULL,
                        &archive, err) < 0)
        return -1;
    summary = bf_xasprintf("%zu virtio modules of kernel %s (%zu bytes, %s) behind byte %zu",
                           set.count, kernel->version, archive.length,
                           bf_initrd_method_to_string(initrd->method), initrd->size);
    bf_session_append(session, path, initrd->size, archive.text, archive.length, summary);
    return 0;
}

/* Older initramfs-tools keep a digest of each image they made and refuse to renew one that differs.
 */
static void plan_digest(struct bf_session *session, const struct kernel *kernel, const char *image)
{
    bf_auto_free char *path = bf_xasprintf("/var/lib/initramfs-tools/%s", kernel->version);

    if (guestfs_is_file(session->g, path) == 1)
        bf_session_checksum(session, path, image, "the longer image's digest");
}

static int plan_image(struct bf_session *session, const struct kernel *kernel, const char *path,
                      struct bf_error *err)
{
    bf_auto_free char *image = NULL;
    bf_auto_initrd initrd = {0};
    size_t size = 0;

    if (fetch_image(session, path, &image, &size, err) < 0 ||
        bf_initrd_scan(image, size, &initrd, err) < 0)
        return bf_fail_in(err, "%s", path);
    if (initrd.injected || (initrd.virtio_blk && initrd.virtio_pci)) {
        note_kernel(session, kernel->version, path, initrd.injected ? "added" : "initramfs");
        return 0;
    }
    note_kernel(session, kernel->version, path, "missing");
    if (inject(session, kernel, path, &initrd, err) < 0)
        return -1;
    plan_digest(session, kernel, path);
    return 0;
}

/* --- kernels --- */

static int plan_kernel(struct bf_session *session, char *const *boot, const char *version,
                       bool *ret_seen, struct bf_error *err)
{
    bf_auto_free char *image = find_kernel(boot, version);
    bf_auto_free char *initrd = find_initrd(boot, version);
    bf_cleanup(kernel_done) struct kernel kernel = {.version = version};
    bf_auto_free char *builtin = NULL;
    bf_auto_free char *dependencies = NULL;

    /* Modules without a kernel: what an uninstalled package left. */
    if (!image && !initrd)
        return 0;
    kernel.directory = bf_xasprintf("/lib/modules/%s", version);
    builtin = bf_xasprintf("%s/modules.builtin", kernel.directory);
    dependencies = bf_xasprintf("%s/modules.dep", kernel.directory);
    kernel.builtin = bf_session_read(session, builtin, NULL);
    kernel.dependencies = bf_session_read(session, dependencies, NULL);
    if (!kernel.builtin || !kernel.dependencies)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "kernel %s has no index of its modules",
                       version);
    *ret_seen = true;
    if (bf_module_is_builtin(kernel.builtin, "virtio_pci") &&
        bf_module_is_builtin(kernel.builtin, "virtio_blk")) {
        note_kernel(session, version, initrd, "kernel");
        return 0;
    }
    if (!initrd)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "kernel %s has no known initramfs", version);
    return plan_image(session, &kernel, initrd, err);
}

/* A boot loader or layout where a longer initramfs would not be read, or not be trusted. */
static int check_boot(struct bf_session *session, struct bf_error *err)
{
    static const char *const signs[] = {"/etc/lilo.conf", "/etc/elilo.conf", "/ostree",
                                        "/boot/efi/EFI/Linux", "/efi/EFI/Linux"};

    for (size_t i = 0; i < bf_array_length(signs); i++)
        if (guestfs_exists(session->g, signs[i]) == 1)
            return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the guest has %s", signs[i]);
    return 0;
}

int bf_linux_plan_initrd(struct bf_session *session, struct bf_error *err)
{
    bf_cleanup(strings_free_at) char **boot = bf_session_list(session, "/boot");
    bf_cleanup(strings_free_at) char **versions = bf_session_list(session, "/lib/modules");
    bool seen = false;

    if (check_boot(session, err) < 0)
        return -1;
    for (size_t i = 0; versions[i]; i++)
        if (plan_kernel(session, boot, versions[i], &seen, err) < 0)
            return -1;
    if (!seen)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "no kernel with modules was found in /boot");
    return 0;
}

/* --- generators --- */

static void plan_text(struct bf_session *session, const char *path, const char *text,
                      const char *summary)
{
    if (text)
        bf_session_write(session, path, text, false, summary);
}

int bf_linux_plan_generators(struct bf_session *session, struct bf_error *err)
{
    static const char *const modules[] = {"virtio_pci", "virtio_blk", "virtio_scsi", NULL};
    static const char tools[] = "/etc/initramfs-tools/modules";
    static const char suse[] = "/etc/sysconfig/kernel";
    static const char dracut[] = "/etc/dracut.conf.d/90-blockferry-virtio.conf";
    static const char dracut_text[] = "add_drivers+=\" virtio_pci virtio_blk virtio_scsi \"\n";
    bf_auto_free char *tools_text = bf_session_read(session, tools, NULL);

    (void)err;
    if (tools_text) {
        bf_auto_free char *edited = bf_edit_add_lines(tools_text, modules);

        plan_text(session, tools, edited, "virtio in every initramfs made from now on");
        return 0;
    }
    if (guestfs_is_dir(session->g, "/etc/dracut.conf.d") == 1) {
        bf_auto_free char *present = bf_session_read(session, dracut, NULL);

        if (!bf_streq(present, dracut_text))
            bf_session_write(session, dracut, dracut_text, present == NULL,
                             "virtio in every initramfs made from now on");
    }
    {
        bf_auto_free char *text = bf_session_read(session, suse, NULL);
        bf_auto_free char *edited =
            text ? bf_edit_add_words(text, "INITRD_MODULES", modules) : NULL;

        plan_text(session, suse, edited, "virtio in every initramfs made from now on");
    }
    return 0;
}
