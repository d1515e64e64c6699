/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/firstboot_image.h"
#include "guest/hive_box.h"
#include "guest/hive_file.h"
#include "guest/ustar.h"
#include "guest/virtio_win.h"
#include "guest/windows.h"
#include "guest/windows_disk.h"
#include "guest/windows_facts.h"
#include "guest/windows_registry.h"
#include "guest/windows_steps.h"

#define DRIVERS_DIRECTORY "Drivers/VirtIO"
#define FIRST_BOOT_DIRECTORY "blockferry"
#define TEXT_MAX ((size_t)1 << 20)
#define FALLBACK_LOADER BF_WINDOWS_MOUNT "/EFI/Boot/bootx64.efi"

/* One conversion: what is known, and what is to be written. */
struct conversion {
    struct bf_session *session;
    const struct bf_windows_options *options;
    struct bf_windows_guest windows;
    struct bf_drivers drivers;
    char *drivers_directory;     /* System32/drivers, in the guest's own case */
    char *steps;                 /* of the first boot; NULL: none */
    struct bf_buf archive;       /* new and changed files, below the Windows directory */
    bool files;                  /* the archive has some */
    struct json_object *changes; /* texts */
    struct json_object *edited;  /* windows_registry.h's output */
};

static void conversion_done(struct conversion *conversion)
{
    bf_windows_guest_done(&conversion->windows);
    bf_drivers_done(&conversion->drivers);
    free(conversion->drivers_directory);
    free(conversion->steps);
    bf_buf_done(&conversion->archive);
    json_object_put(conversion->changes);
    json_object_put(conversion->edited);
}

static void note(struct conversion *conversion, const char *path, const char *what)
{
    bf_auto_free char *text = bf_xasprintf("%s: %s", path, what);

    json_object_array_add(conversion->changes, json_object_new_string(text));
}

/* --- may it be converted --- */

static int check(struct conversion *conversion, struct bf_error *err)
{
    const struct bf_windows_guest *windows = &conversion->windows;

    if (windows->hibernated)
        return bf_fail(err, BF_E_GUEST_HIBERNATED, 0,
                       "%s is hibernated or was shut down by Fast Startup", windows->device);
    if (windows->damaged)
        return bf_fail(err, BF_E_GUEST_DAMAGED, 0, "the NTFS volume %s is inconsistent",
                       windows->device);
    if (!bf_streq(windows->arch, "x86_64"))
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "this Windows is for %s",
                       windows->arch ? windows->arch : "an unknown processor");
    if (bf_hive_file_check("SYSTEM", windows->system.data, windows->system.size, err) < 0)
        return -1;
    return bf_hive_file_check("SOFTWARE", windows->software.data, windows->software.size, err);
}

static void warn(struct conversion *conversion)
{
    const struct bf_windows_guest *windows = &conversion->windows;

    if (windows->unclean)
        bf_session_warn(conversion->session, "NTFS's log of %s held changes, which were dropped",
                        windows->device);
    for (size_t i = 0; i < bf_facts_count(windows->facts, "denied"); i++)
        bf_session_warn(conversion->session, "a group policy may forbid the drivers: %s",
                        json_object_get_string(bf_facts_item(windows->facts, "denied", i)));
}

/* --- what is to be done --- */

static int choose_drivers(struct conversion *conversion, struct bf_error *err)
{
    struct json_object *facts = conversion->windows.facts;
    const char *folder = bf_windows_driver_folder(facts);
    const char *missing[BF_WINDOWS_DRIVERS + 1];

    if (!folder)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "%s is older than Server 2008 R2",
                       bf_facts_text(facts, "product"));
    if (bf_windows_missing_drivers(facts, missing) == 0)
        return 0;
    return bf_virtio_win_find(conversion->session, conversion->options->virtio_win, missing, folder,
                              true, &conversion->drivers, err);
}

static void plan_first_boot(struct conversion *conversion)
{
    struct bf_windows_cards cards = {conversion->options->macs, conversion->options->mac_count};

    if (!conversion->session->warnings)
        conversion->session->warnings = json_object_new_array();
    conversion->steps =
        bf_windows_steps(conversion->windows.facts, &cards, conversion->drivers.count > 0,
                         conversion->session->warnings);
    if (!conversion->steps || bf_firstboot_image_size > 0)
        return;
    bf_session_warn(conversion->session,
                    "built without the first boot's program: packages, addresses and VMware Tools "
                    "are left to the admin");
    free(bf_steal(conversion->steps));
}

/* --- files --- */

static char *real_path(struct conversion *conversion, const char *below)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s", conversion->windows.directory, below);
    char *real = guestfs_case_sensitive_path(conversion->session->g, path);

    /* Fails when a directory before the last element is missing, too. */
    return real ? real : bf_steal(path);
}

/* SHA-256 of the files of a directory, as lines "DIGEST  ./NAME"; "" when there is none. */
static char *digests_of(struct conversion *conversion, const char *directory)
{
    bf_auto_free char *local = bf_xasprintf("%s/sums", conversion->session->tmp_directory);
    bf_auto_error ignored = BF_ERROR_INIT;
    char *text = NULL;

    if (guestfs_checksums_out(conversion->session->g, "sha256", directory, local) < 0 ||
        bf_file_read(local, TEXT_MAX, &text, NULL, &ignored) < 0)
        return bf_xstrdup("");
    return text;
}

static bool is_there(const char *digests, const char *name, const void *data, size_t size)
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    char hex[2 * sizeof(digest) + 1];
    bf_auto_free char *line = NULL;

    crypto_hash_sha256(digest, data, size);
    sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
    line = bf_xasprintf("%s  ./%s\n", hex, name);
    return strcasestr(digests, line) != NULL;
}

/* Put a file into the archive unless the guest has it so. */
static int add_file(struct conversion *conversion, const char *directory, const char *digests,
                    const char *name, const void *data, size_t size, struct bf_error *err)
{
    bf_auto_free char *path =
        bf_xasprintf("%s/%s", directory + strlen(conversion->windows.directory) + 1, name);
    bf_auto_free char *shown = bf_xasprintf("Windows/%s", path);

    if (digests && is_there(digests, name, data, size))
        return 0;
    if (!bf_ustar_add(&conversion->archive, path, data, size))
        return bf_fail(err, BF_E_CONVERT_FAILED, 0, "%s: the name is too long", shown);
    conversion->files = true;
    note(conversion, shown, digests ? "written" : "the boot driver's program");
    return 0;
}

/* Boot drivers are loaded from system32\drivers. */
static int add_boot_program(struct conversion *conversion, const struct bf_driver *driver,
                            struct bf_error *err)
{
    const char *directory = conversion->drivers_directory;
    bf_auto_free char *name = bf_xasprintf("%s.sys", driver->name);
    bf_auto_free char *path = bf_xasprintf("%s/%s", directory, name);
    bf_auto_free char *sum = NULL;
    bf_auto_free char *line = NULL;

    for (size_t i = 0; i < driver->count; i++) {
        if (!bf_streq(driver->files[i].name, name))
            continue;
        sum = guestfs_checksum(conversion->session->g, "sha256", path);
        line = sum ? bf_xasprintf("%s  ./%s\n", sum, name) : bf_xstrdup("");
        if (is_there(line, name, driver->files[i].data, driver->files[i].size))
            return 0;
        return add_file(conversion, directory, NULL, name, driver->files[i].data,
                        driver->files[i].size, err);
    }
    return bf_fail(err, BF_E_CONVERT_NO_DRIVERS, 0, "%s has no %s", driver->folder, name);
}

static bool starts_at_boot(const char *driver)
{
    return bf_streq(driver, "viostor") || bf_streq(driver, "vioscsi");
}

static int add_driver_files(struct conversion *conversion, struct bf_error *err)
{
    bf_auto_free char *directory = real_path(conversion, DRIVERS_DIRECTORY);
    bf_auto_free char *digests = NULL;

    if (conversion->drivers.count == 0)
        return 0;
    digests = digests_of(conversion, directory);
    conversion->drivers_directory = real_path(conversion, "System32/drivers");
    for (size_t i = 0; i < conversion->drivers.count; i++) {
        const struct bf_driver *driver = &conversion->drivers.list[i];
        bool signature = false;

        for (size_t j = 0; j < driver->count; j++) {
            const struct bf_driver_file *file = &driver->files[j];

            signature = signature || bf_ends_with(file->name, ".cat");
            if (add_file(conversion, directory, digests, file->name, file->data, file->size, err) <
                0)
                return -1;
        }
        if (!signature)
            bf_session_warn(conversion->session,
                            "%s has no signature (.cat); Windows may refuse it", driver->folder);
        if (starts_at_boot(driver->name) && add_boot_program(conversion, driver, err) < 0)
            return -1;
    }
    return 0;
}

static int add_first_boot_files(struct conversion *conversion, struct bf_error *err)
{
    bf_auto_free char *directory = real_path(conversion, FIRST_BOOT_DIRECTORY);
    bf_auto_free char *digests = NULL;

    if (!conversion->steps)
        return 0;
    digests = digests_of(conversion, directory);
    if (add_file(conversion, directory, digests, "firstboot.exe", bf_firstboot_image,
                 bf_firstboot_image_size, err) < 0)
        return -1;
    return add_file(conversion, directory, digests, "steps.txt", conversion->steps,
                    strlen(conversion->steps), err);
}

/* --- the registry --- */

static int edit_registry(struct conversion *conversion, struct bf_error *err)
{
    bf_auto_json *input = json_object_new_object();
    struct json_object *boot = json_object_new_array();

    for (size_t i = 0; i < conversion->drivers.count; i++)
        if (starts_at_boot(conversion->drivers.list[i].name))
            json_object_array_add(boot, json_object_new_string(conversion->drivers.list[i].name));
    json_object_object_add(input, "facts", json_object_get(conversion->windows.facts));
    json_object_object_add(input, "boot_drivers", boot);
    bf_json_add_bool(input, "device_path", conversion->drivers.count > 0);
    bf_json_add_bool(input, "first_boot", conversion->steps != NULL);
    return bf_hive_box_run(conversion->windows.hive_directory, bf_windows_edit_hives, input,
                           &conversion->edited, err);
}

struct page_writer {
    struct conversion *conversion;
    const struct bf_windows_hive *hive;
};

static int write_pages(size_t offset, const void *data, size_t size, void *user,
                       struct bf_error *err)
{
    const struct page_writer *writer = user;
    struct bf_session *session = writer->conversion->session;

    if (guestfs_pwrite(session->g, writer->hive->path, data, size, (int64_t)offset) != (int)size)
        return bf_session_fail(session, writer->hive->path, err);
    return 0;
}

/* Only changed pages, in place: the file keeps its place on the disk and its rights. */
static int write_hive(struct conversion *conversion, const char *name,
                      const struct bf_windows_hive *hive, struct bf_error *err)
{
    struct page_writer writer = {conversion, hive};
    bf_auto_free char *local = bf_xasprintf("%s/%s", conversion->windows.hive_directory, name);
    bf_auto_free char *data = NULL;
    size_t size = 0;

    if (!bf_facts_flag(conversion->edited, name))
        return 0;
    if (bf_file_read(local, 2 * BF_HIVE_MAX, &data, &size, err) < 0 ||
        bf_hive_file_check(name, data, size, err) < 0)
        return -1;
    return bf_hive_file_changes(hive->data, hive->size, data, size, write_pages, &writer, err);
}

/* --- writing --- */

static int mount_for_writing(struct conversion *conversion, struct bf_error *err)
{
    guestfs_h *g = conversion->session->g;

    if (guestfs_umount(g, BF_WINDOWS_MOUNT) < 0 ||
        guestfs_mount_options(g, "noatime", conversion->windows.device, BF_WINDOWS_MOUNT) < 0)
        return bf_session_fail(conversion->session, conversion->windows.device, err);
    return 0;
}

/* ntfs-3g mounts a volume read-only that it thinks unsafe, and says so to nobody. */
static int explain_write(struct conversion *conversion, struct bf_error *err)
{
    if (guestfs_last_errno(conversion->session->g) == EROFS)
        return bf_fail(err, BF_E_GUEST_HIBERNATED, 0, "%s cannot be mounted for writing",
                       conversion->windows.device);
    return bf_session_fail(conversion->session, "writing files", err);
}

static int write_files(struct conversion *conversion, struct bf_error *err)
{
    bf_auto_free char *local = bf_xasprintf("%s/files.tar", conversion->session->tmp_directory);
    guestfs_h *g = conversion->session->g;

    if (!conversion->files)
        return 0;
    bf_ustar_end(&conversion->archive);
    if (bf_file_replace(local, conversion->archive.text, conversion->archive.length, 0600, err) < 0)
        return -1;
    /* tar makes the directories. */
    if (guestfs_tar_in(g, local, conversion->windows.directory) < 0)
        return explain_write(conversion, err);
    return 0;
}

/* Firmware that has lost its list of loaders starts this one. */
static int add_fallback_loader(struct conversion *conversion, struct bf_error *err)
{
    guestfs_h *g = conversion->session->g;
    bf_auto_free char *loader = NULL;
    bf_auto_free char *fallback = NULL;
    int result = 0;

    if (!conversion->windows.esp)
        return 0;
    if (guestfs_umount(g, BF_WINDOWS_MOUNT) < 0 ||
        guestfs_mount_options(g, "noatime", conversion->windows.esp, BF_WINDOWS_MOUNT) < 0)
        return bf_session_fail(conversion->session, conversion->windows.esp, err);
    loader = guestfs_case_sensitive_path(g, BF_WINDOWS_MOUNT "/EFI/Microsoft/Boot/bootmgfw.efi");
    fallback = guestfs_case_sensitive_path(g, FALLBACK_LOADER);
    if (!fallback)
        fallback = bf_xstrdup(FALLBACK_LOADER);
    if (guestfs_exists(g, fallback) == 1)
        return 0;
    if (!loader || guestfs_mkdir_p(g, BF_WINDOWS_MOUNT "/EFI/Boot") < 0 ||
        guestfs_cp(g, loader, fallback) < 0)
        result = bf_session_fail(conversion->session, "the EFI fallback loader", err);
    note(conversion, "EFI/Boot/bootx64.efi", "a copy of Windows's boot loader");
    return result;
}

static int write_all(struct conversion *conversion, struct bf_error *err)
{
    bool registry = bf_facts_flag(conversion->edited, "SYSTEM") ||
                    bf_facts_flag(conversion->edited, "SOFTWARE");

    if (conversion->files || registry) {
        if (mount_for_writing(conversion, err) < 0 || write_files(conversion, err) < 0 ||
            write_hive(conversion, "SYSTEM", &conversion->windows.system, err) < 0 ||
            write_hive(conversion, "SOFTWARE", &conversion->windows.software, err) < 0)
            return -1;
    }
    return add_fallback_loader(conversion, err);
}

static int plan(struct conversion *conversion, struct bf_error *err)
{
    if (bf_windows_fetch_hives(conversion->session, &conversion->windows, err) < 0 ||
        check(conversion, err) < 0 || bf_windows_fetch_facts(&conversion->windows, err) < 0 ||
        choose_drivers(conversion, err) < 0)
        return -1;
    plan_first_boot(conversion);
    if (add_driver_files(conversion, err) < 0 || add_first_boot_files(conversion, err) < 0)
        return -1;
    warn(conversion);
    return edit_registry(conversion, err);
}

static void tell(struct conversion *conversion, struct json_object *report)
{
    struct json_object *edits = bf_facts_get(conversion->edited, "changes");
    struct json_object *drivers = json_object_new_array();

    for (size_t i = 0; i < json_object_array_length(edits); i++)
        json_object_array_add(conversion->changes,
                              json_object_get(json_object_array_get_idx(edits, i)));
    for (size_t i = 0; i < conversion->drivers.count; i++) {
        bf_auto_free char *text = bf_xasprintf("%s from %s", conversion->drivers.list[i].name,
                                               conversion->drivers.list[i].folder);

        json_object_array_add(drivers, json_object_new_string(text));
    }
    bf_json_add_string(report, "guest_os", bf_facts_text(conversion->windows.facts, "product"));
    json_object_object_add(report, "changes", json_object_get(conversion->changes));
    json_object_object_add(report, "drivers", drivers);
    json_object_object_add(report, "warnings", json_object_get(conversion->session->warnings));
}

int bf_windows_convert(struct bf_session *session, const struct bf_windows_options *options,
                       struct json_object *report, struct bf_error *err)
{
    bf_cleanup(conversion_done) struct conversion conversion = {
        .session = session, .options = options, .changes = json_object_new_array()};

    if (bf_windows_guest_open(session, &conversion.windows, err) < 0)
        return -1;
    if (plan(&conversion, err) == 0 && write_all(&conversion, err) == 0)
        tell(&conversion, report);
    guestfs_umount_all(session->g);
    return bf_error_is_set(err) ? -1 : 0;
}
