/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/edit.h"
#include "guest/linux.h"
#include "guest/names.h"

#define ENVIRONMENT_HEAD "# GRUB Environment Block\n"

static void strings_free_at(char ***at)
{
    bf_strings_free(*at);
}

struct naming {
    struct bf_session *session;
    const char *linked; /* a by-id or by-path name that cannot be told: which kind; or NULL */
};

static char *uuid_of(const char *device, void *user)
{
    struct naming *naming = user;
    const struct bf_filesystem *filesystem = bf_session_resolve(naming->session, device);

    if (filesystem && filesystem->uuid && *filesystem->uuid)
        return bf_xstrdup(filesystem->uuid);
    if (bf_starts_with(device, "/dev/disk/by-"))
        naming->linked = device + strlen("/dev/disk/");
    return NULL;
}

/* What cannot be resolved is fatal in what boots the machine, and everywhere for links: they name
 * disks that are there, but which of several is not known. */
static int judge(struct bf_session *session, const char *path, enum bf_edit_place place,
                 const struct naming *naming, struct bf_error *err)
{
    if (naming->linked && place != BF_EDIT_FIELD_2)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "%s names disks by id or by path", path);
    if (place == BF_EDIT_BOOT_LINE)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                       "%s names a device that is not on the given disks", path);
    bf_session_warn(session,
                    "%s names a device that is not on the given disks; it was left as it is", path);
    return 0;
}

/* GRUB's environment block keeps its size. */
static int write_text(struct bf_session *session, const char *path, const char *text,
                      const char *summary, struct bf_error *err)
{
    bf_auto_free char *fitted = NULL;

    if (!bf_starts_with(text, ENVIRONMENT_HEAD)) {
        bf_session_write(session, path, text, false, summary);
        return 0;
    }
    fitted = bf_edit_environment_fit(text);
    if (!fitted)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "%s has no room for the change", path);
    bf_session_write(session, path, fitted, false, summary);
    return 0;
}

static int edit_file(struct bf_session *session, const char *path, enum bf_edit_place place,
                     struct bf_error *err)
{
    bf_auto_free char *text = bf_session_read(session, path, NULL);
    struct naming naming = {.session = session};
    bf_auto_free char *edited = NULL;
    bool unresolved = false;

    if (!text)
        return 0;
    edited = bf_edit_device_names(text, place, uuid_of, &naming, &unresolved);
    if (unresolved && judge(session, path, place, &naming, err) < 0)
        return -1;
    return edited ? write_text(session, path, edited, "device names by UUID", err) : 0;
}

/* --- what boots the machine --- */

static int edit_boot_names(struct bf_session *session, const char *path, void *user,
                           struct bf_error *err)
{
    (void)user;
    return edit_file(session, path, BF_EDIT_BOOT_LINE, err);
}

static int add_console(struct bf_session *session, const char *path, void *user,
                       struct bf_error *err)
{
    bf_auto_free char *text = bf_session_read(session, path, NULL);
    bf_auto_free char *edited = text ? bf_edit_serial_console(text) : NULL;

    (void)user;
    return edited ? write_text(session, path, edited, "serial console", err) : 0;
}

int bf_linux_each_boot_file(struct bf_session *session,
                            int (*look)(struct bf_session *session, const char *path, void *user,
                                        struct bf_error *err),
                            void *user, struct bf_error *err)
{
    static const char *const patterns[] = {
        "/boot/grub/grub.cfg",          "/boot/grub2/grub.cfg",
        "/boot/grub/grub.conf",         "/boot/grub/menu.lst",
        "/boot/grub/grubenv",           "/boot/grub2/grubenv",
        "/boot/loader/entries/*.conf",  "/boot/efi/loader/entries/*.conf",
        "/boot/efi/EFI/*/grub.cfg",     "/boot/efi/EFI/*/grubenv",
        "/boot/extlinux/extlinux.conf", "/boot/syslinux/syslinux.cfg",
        "/etc/kernel/cmdline",
    };

    for (size_t i = 0; i < bf_array_length(patterns); i++) {
        bf_cleanup(strings_free_at) char **paths = bf_session_glob(session, patterns[i]);

        for (size_t j = 0; paths[j]; j++)
            if (look(session, paths[j], user, err) < 0)
                return -1;
    }
    return 0;
}

/* Its entries name disks by the old controller's ids: no volume would be found on virtio.  An
 * empty file would hide all disks, so LVM is told in lvm.conf's own way: by the file's absence. */
static void drop_lvm_devices(struct bf_session *session)
{
    static const char path[] = "/etc/lvm/devices/system.devices";

    if (bf_session_exists(session, path))
        bf_session_remove(session, path, "LVM finds its disks by scanning again");
}

/* Does a filter let in ("a" and a delimiter) a disk by the old controller's name? */
static bool names_disk(const char *line)
{
    static const char *const names[] = {"/dev/sd",   "/dev/hd",          "/dev/xvd",
                                        "/dev/nvme", "/dev/disk/by-id/", "/dev/disk/by-path/"};

    line += strspn(line, " \t");
    if (!bf_starts_with(line, "filter") && !bf_starts_with(line, "global_filter"))
        return false;
    for (const char *at = strstr(line, "\"a"); at && at[2]; at = strstr(at + 1, "\"a")) {
        const char *name = at + 3 + (at[3] == '^');

        for (size_t i = 0; i < bf_array_length(names); i++)
            if (bf_starts_with(name, names[i]))
                return true;
    }
    return false;
}

/* The initramfs has its copy of it, so changing the file would not help the first boot. */
static void look_at_lvm_filter(struct bf_session *session)
{
    static const char path[] = "/etc/lvm/lvm.conf";
    bf_auto_free char *text = bf_session_read(session, path, NULL);
    char *rest = text;

    for (char *line; rest && (line = strsep(&rest, "\n"));)
        if (names_disk(line))
            bf_session_warn(session,
                            "a filter in %s lets LVM see disks by their old names; on virtio it "
                            "may find none",
                            path);
}

static bool holds_root(const struct bf_session *session, const struct bf_filesystem *filesystem)
{
    bf_auto_free char *volume = bf_xasprintf("btrfsvol:%s/", filesystem->device);

    if (bf_streq(session->root, filesystem->device) || bf_starts_with(session->root, volume))
        return true;
    /* A file system of several disks is named by any of them. */
    for (size_t i = 0; i < session->filesystem_count; i++)
        if (filesystem->uuid && bf_streq(session->filesystems[i].device, session->root) &&
            bf_streq(session->filesystems[i].uuid, filesystem->uuid))
            return true;
    return false;
}

/* The appliance names the disks in the machine's order.  When the guest's own "/" does not lead to
 * the root that was found, its names follow another one (two kinds of controllers), and each would
 * be told wrong. */
static int check_order(struct bf_session *session, struct bf_error *err)
{
    bf_auto_free char *text = bf_session_read(session, "/etc/fstab", NULL);
    bf_cleanup(bf_fstab_done) struct bf_fstab table = {0};

    if (text && session->root)
        bf_fstab_parse(text, &table);
    for (size_t i = 0; i < table.count; i++) {
        const struct bf_fstab_entry *entry = &table.entries[i];
        const struct bf_filesystem *filesystem = NULL;

        if (bf_streq(entry->mountpoint, "/") && bf_starts_with(entry->device, "/dev/"))
            filesystem = bf_session_resolve(session, entry->device);
        if (filesystem && !holds_root(session, filesystem))
            return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                           "/etc/fstab has the root on %s, it was found on %s: the guest counts "
                           "its disks in another order",
                           entry->device, session->root);
    }
    return 0;
}

int bf_linux_plan_names(struct bf_session *session, struct bf_error *err)
{
    if (check_order(session, err) < 0 ||
        edit_file(session, "/etc/fstab", BF_EDIT_FIELD_1, err) < 0 ||
        edit_file(session, "/etc/crypttab", BF_EDIT_FIELD_2, err) < 0 ||
        bf_linux_each_boot_file(session, edit_boot_names, NULL, err) < 0 ||
        edit_file(session, "/etc/default/grub", BF_EDIT_BOOT_LINE, err) < 0 ||
        edit_file(session, "/etc/sysconfig/bootloader", BF_EDIT_BOOT_LINE, err) < 0)
        return -1;
    drop_lvm_devices(session);
    look_at_lvm_filter(session);
    return 0;
}

int bf_linux_plan_console(struct bf_session *session, struct bf_error *err)
{
    static const char path[] = "/etc/default/grub";
    static const char *const words[] = {BF_EDIT_SERIAL, NULL};
    bf_auto_free char *text = bf_session_read(session, path, NULL);
    bf_auto_free char *edited = NULL;

    if (bf_linux_each_boot_file(session, add_console, NULL, err) < 0)
        return -1;
    if (!text || strstr(text, "console=ttyS0"))
        return 0;
    edited = bf_edit_add_words(text, "GRUB_CMDLINE_LINUX", words);
    if (edited)
        bf_session_write(session, path, edited, false, "serial console");
    return 0;
}
