/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/edit.h"
#include "guest/initrd.h"
#include "guest/linux.h"
#include "guest/linux_modules.h"
#include "guest/modules.h"

static void strings_free_at(char ***at)
{
    bf_strings_free(*at);
}

/* --- names in /boot --- */

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

/* systemd's layout: /boot/MACHINE-ID/VERSION/initrd. */
static char *find_entry(struct bf_session *session, const char *version)
{
    bf_auto_free char *pattern = bf_xasprintf("/boot/*/%s/initrd", version);
    bf_cleanup(strings_free_at) char **paths = bf_session_glob(session, pattern);

    return bf_xstrdup(paths[0]);
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

/* Arch names its images by the package: vmlinuz-linux, initramfs-linux.img. */
static char *read_package(struct bf_session *session, const char *version)
{
    bf_auto_free char *path = bf_xasprintf("/lib/modules/%s/pkgbase", version);
    char *text = bf_session_read(session, path, NULL);

    if (text)
        text[strcspn(text, "\r\n/")] = '\0';
    return text;
}

struct images {
    char *kernel, *initrd;
};

static void images_done(struct images *images)
{
    free(images->kernel);
    free(images->initrd);
}

static void find_images(struct bf_session *session, char *const *boot, const char *version,
                        struct images *ret_images)
{
    ret_images->kernel = find_kernel(boot, version);
    ret_images->initrd = find_initrd(boot, version);
    if (!ret_images->kernel && !ret_images->initrd) {
        bf_auto_free char *package = read_package(session, version);

        if (package) {
            ret_images->kernel = find_kernel(boot, package);
            ret_images->initrd = find_initrd(boot, package);
        }
    }
    if (!ret_images->initrd)
        ret_images->initrd = find_entry(session, version);
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

struct image {
    const char *data; /* borrowed from the session, or `own` */
    size_t size;
    char *own;
};

static void image_done(struct image *image)
{
    free(image->own);
}

static int fetch_image(struct bf_session *session, const char *path, struct image *image,
                       struct bf_error *err)
{
    bf_auto_free char *local = NULL;

    image->data = bf_session_file(session, path, &image->size);
    if (image->data)
        return 0;
    if (!session->g)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "%s is not there", path);
    local = bf_xasprintf("%s/initrd", session->tmp_directory);
    if (bf_session_download(session, path, local, BF_INITRD_IMAGE_MAX, err) < 0) {
        if (err->code == BF_E_TOO_LARGE)
            bf_error_recode(err, BF_E_GUEST_UNSUPPORTED);
        return -1;
    }
    if (bf_file_read(local, BF_INITRD_IMAGE_MAX, &image->own, &image->size, err) < 0)
        return -1;
    image->data = image->own;
    return 0;
}

static int inject(struct bf_session *session, const struct bf_kernel *kernel, const char *path,
                  const struct image *image, const struct bf_initrd *initrd, struct bf_error *err)
{
    static const char *const lvm_devices[] = {"/etc/lvm/devices/system.devices", NULL};
    bf_cleanup(bf_kernel_modules_done) struct bf_kernel_modules set = {0};
    bf_auto_free char *summary = NULL;
    bf_auto_buf archive = {0};

    if (bf_kernel_fetch_modules(session, kernel, image->data, image->size, &set, err) < 0 ||
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
static void plan_digest(struct bf_session *session, const struct bf_kernel *kernel,
                        const char *image)
{
    bf_auto_free char *path = bf_xasprintf("/var/lib/initramfs-tools/%s", kernel->version);

    if (bf_session_exists(session, "/etc/initramfs-tools") && bf_session_exists(session, path))
        bf_session_checksum(session, path, image, "the longer image's digest");
}

static bool has_virtio(const struct bf_kernel *kernel, const struct bf_initrd *initrd)
{
    return (initrd->virtio_pci || bf_module_is_builtin(kernel->builtin, "virtio_pci")) &&
           (initrd->virtio_blk || bf_module_is_builtin(kernel->builtin, "virtio_blk"));
}

static int plan_image(struct bf_session *session, const struct bf_kernel *kernel, const char *path,
                      struct bf_error *err)
{
    bf_cleanup(image_done) struct image image = {0};
    bf_auto_initrd initrd = {0};

    if (fetch_image(session, path, &image, err) < 0 ||
        bf_initrd_scan(image.data, image.size, &initrd, err) < 0)
        return bf_fail_in(err, "%s", path);
    if (initrd.injected || has_virtio(kernel, &initrd)) {
        note_kernel(session, kernel->version, path, initrd.injected ? "added" : "initramfs");
        return 0;
    }
    note_kernel(session, kernel->version, path, "missing");
    if (inject(session, kernel, path, &image, &initrd, err) < 0)
        return bf_fail_in(err, "%s", path);
    plan_digest(session, kernel, path);
    return 0;
}

/* --- kernels --- */

static int plan_kernel(struct bf_session *session, char *const *boot, const char *version,
                       bool *ret_seen, struct bf_error *err)
{
    bf_cleanup(images_done) struct images images = {0};
    bf_cleanup(bf_kernel_done) struct bf_kernel kernel = {0};

    find_images(session, boot, version, &images);
    /* Modules without a kernel: what an uninstalled package left. */
    if (!images.kernel && !images.initrd)
        return 0;
    if (strstr(version, "xen"))
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                       "kernel %s is made for Xen and runs on no other host", version);
    if (bf_kernel_open(session, version, &kernel, err) < 0)
        return -1;
    *ret_seen = true;
    if (bf_module_is_builtin(kernel.builtin, "virtio_pci") &&
        bf_module_is_builtin(kernel.builtin, "virtio_blk")) {
        note_kernel(session, version, images.initrd, "kernel");
        return 0;
    }
    if (!images.initrd)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "kernel %s has no known initramfs", version);
    return plan_image(session, &kernel, images.initrd, err);
}

static int check_unified_images(struct bf_session *session, struct bf_error *err)
{
    static const char *const places[] = {"/boot/efi/EFI/Linux", "/boot/EFI/Linux",
                                         "/efi/EFI/Linux"};

    for (size_t i = 0; i < bf_array_length(places); i++) {
        bf_cleanup(strings_free_at) char **names = NULL;

        if (!bf_session_exists(session, places[i]))
            continue;
        names = bf_session_list(session, places[i]);
        for (size_t j = 0; names[j]; j++)
            if (bf_ends_with(names[j], ".efi"))
                return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                               "the guest boots a unified kernel image, %s/%s", places[i],
                               names[j]);
    }
    return 0;
}

/* GRUB that checks signatures would refuse the longer image. */
static int check_signatures(struct bf_session *session, struct bf_error *err)
{
    static const char *const menus[] = {"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"};

    for (size_t i = 0; i < bf_array_length(menus); i++) {
        bf_auto_free char *text = bf_session_read(session, menus[i], NULL);

        if (text && strstr(text, "check_signatures=enforce"))
            return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                           "the guest's boot loader checks signatures (%s)", menus[i]);
    }
    return 0;
}

/* A boot loader or layout where a longer initramfs would not be read, or not be trusted. */
static int check_boot(struct bf_session *session, struct bf_error *err)
{
    static const char *const signs[] = {"/etc/lilo.conf", "/etc/elilo.conf", "/ostree"};

    for (size_t i = 0; i < bf_array_length(signs); i++)
        if (bf_session_exists(session, signs[i]))
            return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the guest has %s", signs[i]);
    if (check_unified_images(session, err) < 0)
        return -1;
    return check_signatures(session, err);
}

/* "/lib/modules/VERSION/modules.dep" -> "VERSION", in place. */
static char *version_of(char *path)
{
    char *version = path + strlen("/lib/modules/");

    version[strcspn(version, "/")] = '\0';
    return version;
}

int bf_linux_plan_initrd(struct bf_session *session, struct bf_error *err)
{
    bf_cleanup(strings_free_at) char **boot = bf_session_list(session, "/boot");
    bf_cleanup(strings_free_at) char **indexes =
        bf_session_glob(session, "/lib/modules/*/modules.dep");
    bool seen = false;

    if (check_boot(session, err) < 0)
        return -1;
    for (size_t i = 0; indexes[i]; i++)
        if (plan_kernel(session, boot, version_of(indexes[i]), &seen, err) < 0)
            return -1;
    if (!seen)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "no kernel with modules was found in /boot");
    return 0;
}
