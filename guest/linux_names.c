/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/edit.h"
#include "guest/linux.h"

static void strings_free_at(char ***at)
{
    bf_strings_free(*at);
}

/* The guest's disks were given in its own order, so the appliance's /dev/sdX is the guest's; old
 * kernels' /dev/hdX and Xen's /dev/xvdX count the same. */
static char *uuid_of(const char *device, void *user)
{
    struct bf_session *session = user;
    const char *name = device + strlen("/dev/");
    bf_auto_free char *canonical =
        bf_xasprintf("/dev/sd%s", name + (bf_starts_with(name, "xvd") ? 3 : 2));
    bf_auto_free char *uuid = guestfs_vfs_uuid(session->g, canonical);

    return uuid && *uuid ? bf_steal(uuid) : NULL;
}

static int edit_file(struct bf_session *session, const char *path, enum bf_edit_place place,
                     struct bf_error *err)
{
    bf_auto_free char *text = bf_session_read(session, path, NULL);
    bf_auto_free char *edited = NULL;
    bool unresolved = false;

    if (!text)
        return 0;
    /* These name the old controller and disk. */
    if (place == BF_EDIT_FIELD_1 &&
        (strstr(text, "/dev/disk/by-id/") || strstr(text, "/dev/disk/by-path/")))
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "%s names disks by id or by path", path);
    edited = bf_edit_device_names(text, place, uuid_of, session, &unresolved);
    if (unresolved && place == BF_EDIT_BOOT_LINE)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                       "%s names a device that is not on the given disks", path);
    if (unresolved)
        bf_session_warn(session,
                        "%s names a device that is not on the given disks; it was left as it is",
                        path);
    if (edited)
        bf_session_write(session, path, edited, false, "device names by UUID");
    return 0;
}

/* Boot loader files: their directories are listed once, so that each missing file costs nothing. */
static int edit_boot(struct bf_session *session, struct bf_error *err)
{
    static const char *const names[] = {"grub/grub.cfg", "grub2/grub.cfg", "grub/grub.conf",
                                        "grub/menu.lst"};
    bf_cleanup(strings_free_at) char **entries =
        guestfs_glob_expand(session->g, "/boot/loader/entries/*.conf");
    bf_cleanup(strings_free_at) char **efi =
        guestfs_glob_expand(session->g, "/boot/efi/EFI/*/grub.cfg");
    char **lists[2] = {entries, efi};

    for (size_t i = 0; i < bf_array_length(names); i++) {
        bf_auto_free char *path = bf_xasprintf("/boot/%s", names[i]);

        if (edit_file(session, path, BF_EDIT_BOOT_LINE, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < bf_array_length(lists); i++)
        for (size_t j = 0; lists[i] && lists[i][j]; j++)
            if (edit_file(session, lists[i][j], BF_EDIT_BOOT_LINE, err) < 0)
                return -1;
    return edit_file(session, "/etc/default/grub", BF_EDIT_BOOT_LINE, err);
}

/* Its entries name disks by the old controller's ids: no volume would be found on virtio.  An
 * empty file would hide all disks, so LVM is told in lvm.conf's own way: by the file's absence. */
static void drop_lvm_devices(struct bf_session *session)
{
    static const char path[] = "/etc/lvm/devices/system.devices";

    if (guestfs_is_file(session->g, path) == 1)
        bf_session_remove(session, path, "LVM finds its disks by scanning again");
}

int bf_linux_plan_names(struct bf_session *session, struct bf_error *err)
{
    if (edit_file(session, "/etc/fstab", BF_EDIT_FIELD_1, err) < 0 ||
        edit_file(session, "/etc/crypttab", BF_EDIT_FIELD_2, err) < 0 ||
        edit_boot(session, err) < 0)
        return -1;
    drop_lvm_devices(session);
    return 0;
}
