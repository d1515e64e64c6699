/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/hive_file.h"
#include "guest/plan.h"
#include "guest/virtio_win.h"
#include "guest/windows.h"
#include "guest/windows_disk.h"
#include "guest/windows_facts.h"
#include "guest/windows_steps.h"

static void describe(struct json_object *plan, const struct bf_windows_guest *windows)
{
    struct json_object *os = bf_plan_part(plan, "os");
    bf_auto_free char *version =
        bf_xasprintf("%s.%llu", bf_facts_text(windows->facts, "version"),
                     (unsigned long long)bf_facts_number(windows->facts, "build"));

    bf_json_add_string(os, "type", "windows");
    bf_json_add_string(os, "product", bf_facts_text(windows->facts, "product"));
    bf_json_add_string(os, "version", version);
    bf_json_add_string(os, "arch", windows->arch);
    bf_json_add_string(plan, "root", windows->device);
    bf_json_add_string(plan, "firmware", windows->esp ? "uefi" : "bios");
    bf_json_add_string(plan, "bootloader", windows->esp ? "bootmgfw.efi" : "bootmgr");
}

static void look_at_disk(struct json_object *plan, const struct bf_windows_guest *windows)
{
    if (windows->hibernated)
        bf_plan_finding(
            plan, "warn", "guest-hibernated", "the system is hibernated or in Fast Startup",
            "a full shutdown", "its volume cannot be written; a launch from this point fails",
            "switch Fast Startup off (powercfg /h off); a cutover shuts the guest down first");
    if (windows->damaged)
        bf_plan_finding(plan, "block", "guest-ntfs", "the system's NTFS volume is inconsistent",
                        "a sound file system", "it cannot be written",
                        "run chkdsk /f in the guest");
    if (windows->dirty)
        bf_plan_finding(plan, "warn", "guest-ntfs-dirty",
                        "the system's NTFS volume is marked for a check", "a clean volume",
                        "Windows runs chkdsk at its next start, which takes time",
                        "run chkdsk in the guest and shut it down before the cutover");
    if (windows->unclean)
        bf_plan_finding(plan, "info", "guest-ntfs-unclean", "NTFS's log holds changes", NULL,
                        "usual in a snapshot of a running guest; the conversion's mount drops them",
                        NULL);
    for (size_t i = 0; i < json_object_array_length(windows->encrypted); i++)
        bf_plan_finding(plan, "warn", "guest-encrypted-volume",
                        json_object_get_string(json_object_array_get_idx(windows->encrypted, i)),
                        NULL, "the conversion cannot look into it; the guest must open it itself",
                        "have the recovery key at hand: a changed machine may ask for it");
}

static void look_at_hives(struct json_object *plan, const struct bf_windows_guest *windows)
{
    const struct {
        const char *name;
        const struct bf_windows_hive *hive;
    } hives[] = {{"SYSTEM", &windows->system}, {"SOFTWARE", &windows->software}};

    for (size_t i = 0; i < bf_array_length(hives); i++) {
        bf_auto_error err = BF_ERROR_INIT;

        /* A running guest's snapshot has this often; the shutdown of a cutover ends it. */
        if (bf_hive_file_check(hives[i].name, hives[i].hive->data, hives[i].hive->size, &err) < 0)
            bf_plan_finding_of_error(plan, err.code == BF_E_GUEST_REGISTRY_DIRTY ? "warn" : "block",
                                     &err);
    }
}

static void look_at_policies(struct json_object *plan, struct json_object *facts)
{
    for (size_t i = 0; i < bf_facts_count(facts, "denied"); i++)
        bf_plan_finding(
            plan, "block", "guest-driver-policy",
            json_object_get_string(bf_facts_item(facts, "denied", i)),
            "a policy that lets virtio drivers be installed",
            "a group policy of the domain (Device Installation Restrictions) forbids them, so "
            "the guest would have no network or no disk",
            "allow the drivers in that policy, or install them in the guest before");
    if (bf_facts_flag(facts, "fast_startup"))
        bf_plan_finding(
            plan, "info", "guest-fast-startup", "Fast Startup is switched on", NULL,
            "a shutdown from the menu then leaves the system hibernated; one asked for by the "
            "platform does not",
            "powercfg /h off");
    for (size_t i = 0; i < bf_facts_count(facts, "vmware_tools"); i++)
        bf_plan_finding(plan, "info", "guest-vmware-tools", "VMware Tools are installed", NULL,
                        "they are removed at the first boot by the own conversion and by virt-v2v",
                        NULL);
}

/* The addresses that nobody could give back. */
static void look_at_addresses(struct json_object *plan, const struct bf_windows_options *options,
                              struct json_object *facts)
{
    struct bf_windows_cards cards = {options->macs, options->mac_count};
    bf_auto_json *warnings = json_object_new_array();
    bf_auto_free char *steps = bf_windows_steps(facts, &cards, false, warnings);

    (void)steps;
    for (size_t i = 0; i < json_object_array_length(warnings); i++)
        bf_plan_finding(plan, "warn", "guest-address",
                        json_object_get_string(json_object_array_get_idx(warnings, i)), NULL,
                        "its static address is lost with the old adapter",
                        "note it, and set it after the launch");
}

static void plan_drivers(struct bf_session *session, const struct bf_windows_options *options,
                         struct json_object *plan, const struct bf_windows_guest *windows,
                         const char *const *names)
{
    const char *folder = bf_windows_driver_folder(windows->facts);
    struct bf_drivers drivers = {0};
    bf_auto_error err = BF_ERROR_INIT;

    if (!folder)
        return;
    if (bf_virtio_win_find(session, options->virtio_win, names, folder, false, &drivers, &err) <
        0) {
        bf_plan_finding_of_error(plan, "block", &err);
        return;
    }
    for (size_t i = 0; i < drivers.count; i++)
        bf_plan_driver(plan, drivers.list[i].name, drivers.list[i].folder,
                       "Windows\\Drivers\\VirtIO");
    bf_drivers_done(&drivers);
}

static void plan_changes(struct bf_session *session, const struct bf_windows_options *options,
                         struct json_object *plan, const struct bf_windows_guest *windows)
{
    const char *missing[BF_WINDOWS_DRIVERS + 1];

    if (bf_windows_missing_drivers(windows->facts, missing) == 0) {
        bf_json_add_string(plan, "method", "none");
        return;
    }
    if (!bf_windows_has_boot_driver(windows->facts, "viostor"))
        bf_plan_change(plan, "viostor starts at boot", "SYSTEM\\ControlSet001\\Services\\viostor",
                       "the disk is on virtio-blk");
    if (!bf_windows_has_boot_driver(windows->facts, "vioscsi"))
        bf_plan_change(plan, "vioscsi starts at boot (method windows)",
                       "SYSTEM\\ControlSet001\\Services\\vioscsi", "or on virtio-scsi");
    bf_plan_change(plan, "driver packages", "Windows\\Drivers\\VirtIO",
                   "installed at the first boot");
    bf_plan_change(plan, "a service for the first boot", "SYSTEM\\ControlSet001\\Services",
                   "what only a running Windows can do");
    plan_drivers(session, options, plan, windows, missing);
}

static void look(struct bf_session *session, const struct bf_windows_options *options,
                 struct json_object *plan, const struct bf_windows_guest *windows)
{
    struct json_object *kept = NULL;

    describe(plan, windows);
    look_at_disk(plan, windows);
    look_at_hives(plan, windows);
    look_at_policies(plan, windows->facts);
    look_at_addresses(plan, options, windows->facts);
    if (!bf_windows_driver_folder(windows->facts) || !bf_streq(windows->arch, "x86_64"))
        bf_plan_finding(plan, "warn", "guest-unsupported", bf_facts_text(windows->facts, "product"),
                        "Windows 7 or Server 2008 R2 or later, for x86-64",
                        "the own conversion does not know it; virt-v2v may", NULL);
    plan_changes(session, options, plan, windows);
    json_object_deep_copy(windows->facts, &kept, NULL);
    json_object_object_add(bf_plan_part(plan, "facts"), "windows", kept);
}

int bf_windows_inspect(struct bf_session *session, const struct bf_windows_options *options,
                       struct json_object *plan, struct bf_error *err)
{
    bf_cleanup(bf_windows_guest_done) struct bf_windows_guest windows = {0};

    if (bf_windows_guest_open(session, &windows, err) < 0)
        return -1;
    bf_windows_read_dirty(session, &windows);
    if (bf_windows_fetch_hives(session, &windows, err) == 0 &&
        bf_windows_fetch_facts(&windows, err) == 0)
        look(session, options, plan, &windows);
    guestfs_umount_all(session->g);
    return bf_error_is_set(err) ? -1 : 0;
}
