/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the guest on its disks and mounting it.
 *
 * libguestfs's own inspection looks for every system it knows and takes 8 to 16 s under emulation;
 * this looks for one Linux: what is on each partition and volume (one call each), which of them
 * has the directories of a root, and that one's fstab. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/names.h"
#include "guest/ntfs.h"
#include "guest/session.h"

static void free_strings_at(char ***at)
{
    bf_strings_free(*at);
}

/* --- what there is --- */

static const char *value_of(char *const *pairs, const char *key)
{
    for (size_t i = 0; pairs && pairs[i] && pairs[i + 1]; i += 2)
        if (bf_streq(pairs[i], key))
            return pairs[i + 1];
    return NULL;
}

static struct bf_filesystem *add_filesystem(struct bf_session *session, const char *device)
{
    bf_cleanup(free_strings_at) char **pairs = guestfs_blkid(session->g, device);
    struct bf_filesystem *filesystem;

    bf_xgrow(&session->filesystems, &session->filesystem_capacity, session->filesystem_count + 1,
             sizeof(*session->filesystems));
    filesystem = &session->filesystems[session->filesystem_count++];
    filesystem->device = bf_xstrdup(device);
    filesystem->type = bf_xstrdup(value_of(pairs, "TYPE"));
    filesystem->uuid = bf_xstrdup(value_of(pairs, "UUID"));
    filesystem->label = bf_xstrdup(value_of(pairs, "LABEL"));
    filesystem->part_uuid = bf_xstrdup(value_of(pairs, "PART_ENTRY_UUID"));
    return filesystem;
}

static bool have_type(const struct bf_session *session, const char *type)
{
    for (size_t i = 0; i < session->filesystem_count; i++)
        if (bf_streq(session->filesystems[i].type, type))
            return true;
    return false;
}

static bool is_partitioned(char *const *partitions, const char *device)
{
    size_t length = strlen(device);

    for (; *partitions; partitions++)
        if (strncmp(*partitions, device, length) == 0 &&
            strchr("0123456789", (*partitions)[length]))
            return true;
    return false;
}

static void add_all(struct bf_session *session, char **devices)
{
    for (size_t i = 0; devices && devices[i]; i++)
        add_filesystem(session, devices[i]);
}

int bf_session_list_filesystems(struct bf_session *session, struct bf_error *err)
{
    bf_cleanup(free_strings_at) char **partitions = NULL;

    if (session->devices)
        return 0;
    session->devices = guestfs_list_devices(session->g);
    partitions = guestfs_list_partitions(session->g);
    if (!session->devices || !partitions)
        return bf_session_fail(session, "the disks", err);
    for (size_t i = 0; session->devices[i]; i++)
        if (!is_partitioned(partitions, session->devices[i]))
            add_filesystem(session, session->devices[i]);
    add_all(session, partitions);
    if (have_type(session, "linux_raid_member")) {
        bf_cleanup(free_strings_at) char **arrays = guestfs_list_md_devices(session->g);

        add_all(session, arrays);
    }
    if (have_type(session, "LVM2_member")) {
        bf_cleanup(free_strings_at) char **volumes = guestfs_lvs(session->g);

        add_all(session, volumes);
    }
    return 0;
}

const struct bf_filesystem *bf_session_resolve(struct bf_session *session, const char *name)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_free char *device = NULL;

    if (session->g)
        bf_session_list_filesystems(session, &ignored);
    device = bf_names_device(name, session->devices);

    for (size_t i = 0; i < session->filesystem_count; i++) {
        const struct bf_filesystem *filesystem = &session->filesystems[i];

        if (bf_streq(filesystem->device, device ? device : name) ||
            bf_names_tag(name, "UUID", filesystem->uuid) ||
            bf_names_tag(name, "LABEL", filesystem->label) ||
            bf_names_tag(name, "PARTUUID", filesystem->part_uuid))
            return filesystem;
    }
    return NULL;
}

/* --- none of ours --- */

int bf_session_explain_no_root(struct bf_session *session, struct bf_error *err)
{
    bf_auto_buf found = {0};

    if (bf_session_list_filesystems(session, err) < 0)
        return -1;
    for (size_t i = 0; i < session->filesystem_count; i++) {
        const struct bf_filesystem *filesystem = &session->filesystems[i];
        const char *type = filesystem->type;

        if (bf_streq(type, "crypto_LUKS") || bf_streq(type, "BitLocker"))
            return bf_fail(err, BF_E_GUEST_ENCRYPTED, 0, "%s is encrypted (%s)", filesystem->device,
                           type);
        /* Nothing can be mounted, so nothing is found: not for want of a system. */
        if (bf_streq(type, "ntfs") &&
            guestfs_ntfs_3g_probe(session->g, 0, filesystem->device) == BF_NTFS_PROBE_INCONSISTENT)
            return bf_fail(err, BF_E_GUEST_DAMAGED, 0,
                           "the NTFS volume %s is inconsistent and cannot be mounted",
                           filesystem->device);
        if (type)
            bf_buf_addf(&found, "%s%s on %s", found.length ? ", " : "", type, filesystem->device);
    }
    if (have_type(session, "ntfs"))
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "no Linux was found on the disks (%s)",
                       found.text);
    return bf_fail(err, BF_E_GUEST_UNKNOWN, 0, "no operating system was found on the disks (%s)",
                   found.text ? found.text : "they are empty or have no known file system");
}

/* --- the root --- */

bool bf_session_is_linux_type(const char *type)
{
    return type &&
           (bf_starts_with(type, "ext") || bf_streq(type, "xfs") || bf_streq(type, "btrfs") ||
            bf_streq(type, "jfs") || bf_streq(type, "reiserfs") || bf_streq(type, "f2fs"));
}

/* ext4 would begin to initialise its inode tables in the background: megabytes of writes. */
static int mount_with(struct bf_session *session, const char *device, const char *mountpoint,
                      bool read_only, const char *type)
{
    const char *options = read_only                             ? "ro,noatime"
                          : type && bf_starts_with(type, "ext") ? "noatime,noinit_itable"
                                                                : "noatime";

    return guestfs_mount_options(session->g, options, device, mountpoint);
}

static const char *known_type(const struct bf_session *session, const char *device)
{
    for (size_t i = 0; i < session->filesystem_count; i++)
        if (bf_streq(session->filesystems[i].device, device))
            return session->filesystems[i].type;
    return NULL;
}

int bf_session_mount_one(struct bf_session *session, const char *device, const char *mountpoint)
{
    const char *known = known_type(session, device);
    bf_auto_free char *type = known ? bf_xstrdup(known) : guestfs_vfs_type(session->g, device);

    return mount_with(session, device, mountpoint, session->read_only, type);
}

/* Which of these names stand in the mounted root directory? */
static bool have_names(struct bf_session *session, const char *const *wanted)
{
    bf_cleanup(free_strings_at) char **names = guestfs_ls(session->g, "/");

    for (; names && *wanted; wanted++)
        if (!bf_strings_have(names, *wanted))
            return false;
    return names != NULL;
}

static bool is_root(struct bf_session *session)
{
    static const char *const wanted[] = {"etc", "usr", "dev", NULL};

    return have_names(session, wanted) && (guestfs_exists(session->g, "/etc/fstab") == 1 ||
                                           guestfs_exists(session->g, "/etc/os-release") == 1);
}

/* Distributions put the root into a subvolume; a default subvolume (SUSE) is mounted anyway. */
static char *find_subvolume(struct bf_session *session, const char *device, bool read_only)
{
    static const char *const usual[] = {"@", "@rootfs", "root", NULL};
    bf_cleanup(free_strings_at) char **names = guestfs_ls(session->g, "/");

    for (size_t i = 0; names && usual[i]; i++) {
        bf_auto_free char *mountable = NULL;

        if (!bf_strings_have(names, usual[i]))
            continue;
        mountable = bf_xasprintf("btrfsvol:%s/%s", device, usual[i]);
        if (guestfs_umount_all(session->g) < 0 ||
            mount_with(session, mountable, "/", read_only, "btrfs") < 0)
            return NULL;
        if (is_root(session))
            return bf_steal(mountable);
    }
    return NULL;
}

struct search {
    bool only; /* one candidate: it is mounted as it will be needed */
    unsigned roots;
    bool damaged;
    struct bf_error err; /* of what cannot be mounted */
};

/* Mounts it and looks; a root stays mounted. */
static int look_at(struct bf_session *session, const struct bf_filesystem *filesystem,
                   struct search *search, struct bf_error *err)
{
    bool read_only = !search->only || session->read_only;
    bf_auto_free char *root = NULL;

    if (mount_with(session, filesystem->device, "/", read_only, filesystem->type) < 0) {
        if (!search->damaged)
            bf_fail(&search->err, BF_E_GUEST_DAMAGED, 0, "%s (%s) cannot be mounted: %s",
                    filesystem->device, filesystem->type, guestfs_last_error(session->g));
        search->damaged = true;
        return 0;
    }
    if (is_root(session))
        root = bf_xstrdup(filesystem->device);
    else if (bf_streq(filesystem->type, "btrfs"))
        root = find_subvolume(session, filesystem->device, read_only);
    if (root && ++search->roots == 1)
        session->root = bf_steal(root);
    if (search->only && search->roots == 1)
        return 0;
    if (guestfs_umount_all(session->g) < 0)
        return bf_session_fail(session, "unmount", err);
    return 0;
}

static int find_root(struct bf_session *session, struct search *search, struct bf_error *err)
{
    size_t candidates = 0;

    for (size_t i = 0; i < session->filesystem_count; i++)
        candidates += bf_session_is_linux_type(session->filesystems[i].type);
    search->only = candidates == 1;
    for (size_t i = 0; i < session->filesystem_count; i++)
        if (bf_session_is_linux_type(session->filesystems[i].type) &&
            look_at(session, &session->filesystems[i], search, err) < 0)
            return -1;
    if (search->roots > 1)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                       "there is more than one operating system on the disks");
    if (search->roots == 1)
        return 0;
    if (search->damaged) {
        bf_error_move(err, &search->err);
        return -1;
    }
    return bf_session_explain_no_root(session, err);
}

/* --- the rest of its tree --- */

static bool is_needed(const char *mountpoint)
{
    static const char *const needed[] = {"/boot", "/boot/efi", "/efi", "/usr", "/var", "/etc"};

    for (size_t i = 0; i < bf_array_length(needed); i++)
        if (bf_streq(mountpoint, needed[i]))
            return true;
    return false;
}

/* Its kernels, or its programs, are there: not to be done without. */
static bool is_vital(const char *mountpoint)
{
    return bf_streq(mountpoint, "/boot") || bf_streq(mountpoint, "/usr") ||
           bf_streq(mountpoint, "/etc");
}

static int mount_entry(struct bf_session *session, const struct bf_fstab_entry *entry,
                       struct bf_error *err)
{
    const struct bf_filesystem *filesystem = bf_session_resolve(session, entry->device);
    bf_auto_free char *mountable = NULL;

    if (!filesystem && !is_vital(entry->mountpoint)) {
        bf_session_warn(session, "%s (%s) is on none of the disks and was left alone",
                        entry->mountpoint, entry->device);
        return 0;
    }
    if (!filesystem)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                       "/etc/fstab has %s on %s, which is on none of the disks", entry->mountpoint,
                       entry->device);
    mountable = bf_fstab_mountable(entry, filesystem->device);
    if (mount_with(session, mountable, entry->mountpoint, session->read_only, filesystem->type) ==
        0)
        return 0;
    if (is_vital(entry->mountpoint))
        return bf_fail(err, BF_E_GUEST_DAMAGED, 0, "%s (%s) cannot be mounted: %s",
                       filesystem->device, entry->mountpoint, guestfs_last_error(session->g));
    bf_session_warn(session, "%s cannot be mounted and was left alone: %s", entry->mountpoint,
                    guestfs_last_error(session->g));
    return 0;
}

/* The outer mount points first: shorter ones. */
static int mount_rest(struct bf_session *session, struct bf_error *err)
{
    size_t size = 0;
    bf_auto_free char *text = guestfs_read_file(session->g, "/etc/fstab", &size);
    bf_auto_free char *fstab = text ? bf_xasprintf("%.*s", (int)size, text) : NULL;
    bf_cleanup(bf_fstab_done) struct bf_fstab table = {0};

    if (fstab)
        bf_fstab_parse(fstab, &table);
    for (size_t length = 1; length <= strlen("/boot/efi"); length++)
        for (size_t i = 0; i < table.count; i++)
            if (strlen(table.entries[i].mountpoint) == length &&
                is_needed(table.entries[i].mountpoint) &&
                mount_entry(session, &table.entries[i], err) < 0)
                return -1;
    return 0;
}

int bf_session_mount(struct bf_session *session, struct bf_error *err)
{
    if (bf_session_list_filesystems(session, err) < 0)
        return -1;
    if (bf_session_mount_one(session, session->root, "/") < 0)
        return bf_fail(err, BF_E_GUEST_DAMAGED, 0, "%s cannot be mounted: %s", session->root,
                       guestfs_last_error(session->g));
    return mount_rest(session, err);
}

/* What the system calls itself. */
void bf_session_read_product(struct bf_session *session)
{
    static const char key[] = "PRETTY_NAME=";
    static const char *const older[] = {"/etc/redhat-release", "/etc/SuSE-release"};
    bf_auto_free char *text = bf_session_read(session, "/etc/os-release", NULL);
    const char *name = text ? strstr(text, key) : NULL;

    for (size_t i = 0; i < bf_array_length(older) && !name; i++) {
        free(text);
        text = bf_session_read(session, older[i], NULL);
        name = text;
    }
    if (!name)
        name = "Linux";
    else if (bf_starts_with(name, key))
        name += sizeof(key) - 1;
    name += strspn(name, "\"'");
    free(session->product);
    session->product = bf_xasprintf("%.*s", (int)strcspn(name, "\"'\n"), name);
    bf_text_clean(session->product, false);
}

int bf_session_open_guest(struct bf_session *session, struct bf_error *err)
{
    struct search search = {.err = BF_ERROR_INIT};
    int result = bf_session_list_filesystems(session, err);

    if (result == 0)
        result = find_root(session, &search, err);
    bf_error_clear(&search.err);
    if (result == 0)
        result = search.only ? mount_rest(session, err) : bf_session_mount(session, err);
    if (result < 0)
        return -1;
    bf_session_read_product(session);
    session->selinux = bf_session_exists(session, "/etc/selinux/config");
    return 0;
}
