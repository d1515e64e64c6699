/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/windows_disk.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/hive_box.h"
#include "guest/hive_file.h"
#include "guest/ntfs.h"
#include "guest/virtio_win.h"
#include "guest/windows_facts.h"

#define LOOK_MOUNT "/look" /* for volumes beside the one with the Windows */
#define PE_HEAD 4096

/* Every call costs a tenth of a second under emulation: the usual spelling is tried first. */
static char *find_file(struct bf_session *session, const char *path)
{
    char *real;

    if (guestfs_exists(session->g, path) == 1)
        return bf_xstrdup(path);
    /* The last element may be missing: the answer is no proof that it is there. */
    real = guestfs_case_sensitive_path(session->g, path);

    if (real && guestfs_exists(session->g, real) == 1)
        return real;
    free(real);
    return NULL;
}

/* A file of a volume that is not mounted; NULL: not there, or no volume to be mounted.  The volume
 * stays mounted if it has the file and `keep`; one that was kept before is not in the way. */
static char *find_on(struct bf_session *session, const char *device,
                     const struct bf_windows_guest *windows, bool keep, const char *path)
{
    const char *mountpoint = windows->device ? LOOK_MOUNT : BF_WINDOWS_MOUNT;
    bf_auto_free char *below = bf_xasprintf("%s%s", mountpoint, path);
    char *found;

    if (guestfs_mount_ro(session->g, device, mountpoint) < 0)
        return NULL;
    found = find_file(session, below);
    if (!found || !keep)
        guestfs_umount(session->g, mountpoint);
    return found;
}

static void note_encrypted(struct bf_windows_guest *windows, const char *device, const char *type)
{
    bf_auto_free char *text = bf_xasprintf("%s (%s)", device, type);

    json_object_array_add(windows->encrypted, json_object_new_string(text));
}

/* blkid knows these by name; a volume whose header it does not trust is looked at once more. */
static void look_for_encryption(struct bf_session *session, const char *device, const char *type,
                                struct bf_windows_guest *windows)
{
    bf_auto_free char *boot = NULL;
    size_t size = 0;

    if (bf_streq(type, "BitLocker") || bf_streq(type, "crypto_LUKS")) {
        note_encrypted(windows, device, type);
        return;
    }
    if (type)
        return;
    boot = guestfs_pread_device(session->g, device, BF_NTFS_BOOT_SIZE, 0, &size);
    if (boot && size == BF_NTFS_BOOT_SIZE && bf_ntfs_is_bitlocker((const unsigned char *)boot))
        note_encrypted(windows, device, "BitLocker");
    else if (boot && size == BF_NTFS_BOOT_SIZE && memcmp(boot, "LUKS\xba\xbe", 6) == 0)
        note_encrypted(windows, device, "crypto_LUKS");
}

static int look_at_ntfs(struct bf_session *session, const char *device,
                        struct bf_windows_guest *windows, struct bf_error *err)
{
    /* The probe needs the volume to itself. */
    int code = guestfs_ntfs_3g_probe(session->g, 1, device);
    bf_auto_free char *system =
        find_on(session, device, windows, true, "/Windows/System32/config/SYSTEM");

    if (!system)
        return 0;
    if (windows->device)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                       "there is a Windows on %s and another one on %s", windows->device, device);
    windows->hibernated = code == BF_NTFS_PROBE_HIBERNATED;
    windows->unclean = code == BF_NTFS_PROBE_UNCLEAN;
    windows->damaged = code == BF_NTFS_PROBE_INCONSISTENT;
    windows->device = bf_xstrdup(device);
    windows->directory = bf_xasprintf("%.*s", (int)strlen(BF_WINDOWS_MOUNT "/Windows"), system);
    windows->config = bf_xasprintf("%.*s", (int)(strrchr(system, '/') - system), system);
    windows->system.path = bf_steal(system);
    return 0;
}

static void look_at_vfat(struct bf_session *session, const char *device,
                         struct bf_windows_guest *windows)
{
    bf_auto_free char *loader =
        find_on(session, device, windows, false, "/EFI/Microsoft/Boot/bootmgfw.efi");

    if (loader && !windows->esp)
        windows->esp = bf_xstrdup(device);
}

static int find(struct bf_session *session, struct bf_windows_guest *windows, struct bf_error *err)
{
    if (bf_session_list_filesystems(session, err) < 0)
        return -1;
    for (size_t i = 0; i < session->filesystem_count; i++) {
        const struct bf_filesystem *filesystem = &session->filesystems[i];

        if (bf_streq(filesystem->type, "vfat"))
            look_at_vfat(session, filesystem->device, windows);
        else if (!bf_streq(filesystem->type, "ntfs"))
            look_for_encryption(session, filesystem->device, filesystem->type, windows);
        else if (look_at_ntfs(session, filesystem->device, windows, err) < 0)
            return -1;
    }
    if (windows->device)
        return 0;
    if (json_object_array_length(windows->encrypted) > 0)
        return bf_fail(err, BF_E_GUEST_ENCRYPTED, 0, "%s is encrypted",
                       json_object_get_string(json_object_array_get_idx(windows->encrypted, 0)));
    if (bf_session_explain_no_root(session, err) < 0 && err->code == BF_E_GUEST_UNKNOWN)
        return bf_fail_in(err, "no Windows");
    return -1;
}

void bf_windows_read_dirty(struct bf_session *session, struct bf_windows_guest *windows)
{
    size_t size = 0, record_size = 0;
    uint64_t offset = 0;
    bf_auto_free char *boot =
        guestfs_pread_device(session->g, windows->device, BF_NTFS_BOOT_SIZE, 0, &size);
    bf_auto_free char *record = NULL;

    if (!boot || size != BF_NTFS_BOOT_SIZE ||
        !bf_ntfs_volume_record((const unsigned char *)boot, &offset, &record_size))
        return;
    record =
        guestfs_pread_device(session->g, windows->device, (int)record_size, (int64_t)offset, &size);
    if (record && size == record_size)
        bf_ntfs_is_dirty((unsigned char *)record, size, &windows->dirty);
}

static int make_mountpoint(struct bf_session *session, const char *mountpoint, struct bf_error *err)
{
    if (guestfs_mkmountpoint(session->g, mountpoint) == 0 ||
        guestfs_last_errno(session->g) == EEXIST)
        return 0;
    return bf_session_fail(session, "a mount point", err);
}

int bf_windows_guest_open(struct bf_session *session, struct bf_windows_guest *ret_windows,
                          struct bf_error *err)
{
    struct bf_windows_guest windows = {.encrypted = json_object_new_array()};

    guestfs_umount_all(session->g);
    if (make_mountpoint(session, BF_WINDOWS_MOUNT, err) == 0 &&
        make_mountpoint(session, LOOK_MOUNT, err) == 0 && find(session, &windows, err) == 0) {
        *ret_windows = windows;
        return 0;
    }
    bf_windows_guest_done(&windows);
    guestfs_umount_all(session->g);
    return -1;
}

static int fetch(struct bf_session *session, struct bf_windows_guest *windows, const char *name,
                 struct bf_windows_hive *hive, struct bf_error *err)
{
    bf_auto_free char *local = bf_xasprintf("%s/%s", windows->hive_directory, name);
    bf_auto_free char *wanted = bf_xasprintf("%s/%s", windows->config, name);

    if (!hive->path)
        hive->path = find_file(session, wanted);
    if (!hive->path)
        return bf_fail(err, BF_E_GUEST_REGISTRY, 0, "the hive %s is not there", name);
    if (bf_session_download(session, hive->path, local, BF_HIVE_MAX, err) < 0) {
        bf_error_recode(err, BF_E_GUEST_REGISTRY);
        return bf_fail_in(err, "the hive %s cannot be read", name);
    }
    return bf_file_read(local, BF_HIVE_MAX, &hive->data, &hive->size, err);
}

/* A program of the system tells what processor it is for: the machine field of its header, whose
 * place is at 0x3c. */
static const char *read_arch(struct bf_session *session, const struct bf_windows_guest *windows)
{
    static const struct {
        uint16_t machine;
        const char *arch;
    } known[] = {{0x8664, "x86_64"}, {0x014c, "i386"}, {0xaa64, "aarch64"}};
    bf_auto_free char *wanted = bf_xasprintf("%s/System32/cmd.exe", windows->directory);
    bf_auto_free char *path = NULL;
    size_t size = 0;
    bf_auto_free char *head = guestfs_pread(session->g, wanted, PE_HEAD, 0, &size);
    uint32_t at;
    uint16_t machine;

    /* The usual spelling is not the only one. */
    if (!head && (path = find_file(session, wanted)))
        head = guestfs_pread(session->g, path, PE_HEAD, 0, &size);
    if (!head || size < 0x40)
        return NULL;
    memcpy(&at, head + 0x3c, sizeof(at));
    at = le32toh(at);
    if (at > size - 6 || memcmp(head + at, "PE\0\0", 4) != 0)
        return NULL;
    memcpy(&machine, head + at + 4, sizeof(machine));
    for (size_t i = 0; i < bf_array_length(known); i++)
        if (le16toh(machine) == known[i].machine)
            return known[i].arch;
    return NULL;
}

int bf_windows_fetch_hives(struct bf_session *session, struct bf_windows_guest *windows,
                           struct bf_error *err)
{
    windows->hive_directory = bf_xasprintf("%s/hives", session->tmp_directory);
    if (bf_directory_remove(windows->hive_directory, err) < 0 ||
        bf_directory_make(windows->hive_directory, 0700, err) < 0)
        return -1;
    windows->arch = read_arch(session, windows);
    if (fetch(session, windows, "SYSTEM", &windows->system, err) < 0)
        return -1;
    return fetch(session, windows, "SOFTWARE", &windows->software, err);
}

int bf_windows_fetch_facts(struct bf_windows_guest *windows, struct bf_error *err)
{
    return bf_hive_box_run(windows->hive_directory, bf_windows_read_hives, NULL, &windows->facts,
                           err);
}

void bf_windows_guest_done(struct bf_windows_guest *windows)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    if (windows->hive_directory)
        bf_directory_remove(windows->hive_directory, &ignored);
    free(windows->device);
    free(windows->esp);
    free(windows->directory);
    free(windows->config);
    free(windows->hive_directory);
    free(windows->system.path);
    free(windows->system.data);
    free(windows->software.path);
    free(windows->software.data);
    json_object_put(windows->encrypted);
    json_object_put(windows->facts);
    *windows = (struct bf_windows_guest){0};
}
