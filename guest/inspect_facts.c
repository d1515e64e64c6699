/* SPDX-License-Identifier: Apache-2.0 */
/* What an admin wants to read of a Linux guest, and what the conversion needs to open it again.
 * Nothing here decides anything; what cannot be read is left out. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/inspect_guest.h"
#include "guest/interfaces.h"
#include "guest/linux.h"
#include "guest/plan.h"

static void strings_free_at(char ***at)
{
    bf_strings_free(*at);
}

static const struct bf_filesystem *listed(const struct bf_session *session, const char *device)
{
    for (size_t i = 0; i < session->filesystem_count; i++)
        if (bf_streq(session->filesystems[i].device, device))
            return &session->filesystems[i];
    return NULL;
}

void bf_inspect_mounts(struct bf_session *session, struct json_object *facts)
{
    bf_cleanup(strings_free_at) char **pairs = guestfs_mountpoints(session->g);
    struct json_object *mounts = json_object_new_array();

    for (size_t i = 0; pairs && pairs[i]; i += 2) {
        struct json_object *item = json_object_new_object();
        const struct bf_filesystem *known = listed(session, pairs[i]);
        bf_auto_free char *uuid =
            known ? bf_xstrdup(known->uuid) : guestfs_vfs_uuid(session->g, pairs[i]);
        bf_auto_free char *type =
            known ? bf_xstrdup(known->type) : guestfs_vfs_type(session->g, pairs[i]);

        bf_json_add_string(item, "mountpoint", pairs[i + 1]);
        bf_json_add_string(item, "device", pairs[i]);
        bf_json_add_string(item, "uuid", uuid);
        bf_json_add_string(item, "type", type);
        json_object_array_add(mounts, item);
    }
    json_object_object_add(facts, "mounts", mounts);
}

/* The words in column `field` (from 1) of the lines that are no comments. */
static struct json_object *column(struct bf_session *session, const char *path, unsigned field)
{
    bf_auto_free char *text = bf_session_read(session, path, NULL);
    struct json_object *words = json_object_new_array();
    char *save = NULL;

    for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        char *inner = NULL;
        char *word = strtok_r(line, " \t", &inner);

        if (!word || *word == '#')
            continue;
        for (unsigned i = 1; word && i < field; i++)
            word = strtok_r(NULL, " \t", &inner);
        if (word)
            json_object_array_add(words, json_object_new_string(word));
    }
    return words;
}

static bool has_word(struct json_object *words, const char *word)
{
    for (size_t i = 0; i < json_object_array_length(words); i++)
        if (bf_streq(json_object_get_string(json_object_array_get_idx(words, i)), word))
            return true;
    return false;
}

/* root= and resume= of the kernel's command lines, each once. */
static int add_boot_words(struct bf_session *session, const char *path, void *user,
                          struct bf_error *err)
{
    bf_auto_free char *text = bf_session_read(session, path, NULL);
    struct json_object *words = user;
    char *save = NULL;

    (void)err;
    for (char *word = text ? strtok_r(text, " \t\n\"'", &save) : NULL; word;
         word = strtok_r(NULL, " \t\n\"'", &save)) {
        /* GRUB's environment block. */
        if (bf_starts_with(word, "kernelopts="))
            word += strlen("kernelopts=");
        if ((bf_starts_with(word, "root=") || bf_starts_with(word, "resume=")) &&
            !has_word(words, word))
            json_object_array_add(words, json_object_new_string(word));
    }
    return 0;
}

static bool any(struct bf_session *session, const char *pattern)
{
    bf_cleanup(strings_free_at) char **paths = bf_session_glob(session, pattern);

    return paths[0] != NULL;
}

static void add_boot(struct bf_session *session, struct json_object *plan)
{
    static const struct {
        const char *pattern;
        const char *name;
    } loaders[] = {{"/boot/grub/grub.cfg", "grub2"},
                   {"/boot/grub2/grub.cfg", "grub2"},
                   {"/boot/efi/EFI/*/grub.cfg", "grub2"},
                   {"/boot/grub/menu.lst", "grub"},
                   {"/boot/grub/grub.conf", "grub"},
                   {"/boot/loader/loader.conf", "systemd-boot"},
                   {"/boot/efi/loader/loader.conf", "systemd-boot"},
                   {"/boot/extlinux/extlinux.conf", "extlinux"},
                   {"/etc/lilo.conf", "lilo"}};
    struct json_object *words = json_object_new_array();
    bf_auto_error none = BF_ERROR_INIT;
    const char *loader = NULL;
    bool uefi =
        bf_session_exists(session, "/boot/efi/EFI") || bf_session_exists(session, "/efi/EFI");

    for (size_t i = 0; i < bf_array_length(loaders) && !loader; i++)
        if (any(session, loaders[i].pattern))
            loader = loaders[i].name;
    bf_linux_each_boot_file(session, add_boot_words, words, &none);
    bf_json_add_string(plan, "bootloader", loader);
    bf_json_add_string(plan, "firmware", uefi ? "uefi" : "bios");
    json_object_object_add(bf_plan_part(plan, "facts"), "kernel_command_line", words);
}

static struct json_object *array_of(char *const *strings)
{
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; strings && strings[i]; i++)
        json_object_array_add(array, json_object_new_string(strings[i]));
    return array;
}

static void add_network(struct bf_session *session, struct json_object *facts)
{
    static const struct {
        const char *path;
        const char *style;
    } styles[] = {{"/etc/network/interfaces", "ifupdown"},
                  {"/etc/sysconfig/network-scripts", "ifcfg"},
                  {"/etc/sysconfig/network/config", "wicked"},
                  {"/etc/NetworkManager/system-connections", "networkmanager"},
                  {"/etc/netplan", "netplan"},
                  {"/etc/systemd/network", "networkd"}};
    bf_cleanup(bf_interfaces_done) struct bf_interfaces names = {0};
    struct json_object *found = json_object_new_array();
    struct json_object *interfaces = json_object_new_array();

    for (size_t i = 0; i < bf_array_length(styles); i++)
        if (bf_session_exists(session, styles[i].path))
            json_object_array_add(found, json_object_new_string(styles[i].style));
    bf_linux_interfaces(session, &names);
    for (size_t i = 0; i < names.count; i++)
        json_object_array_add(interfaces, json_object_new_string(names.names[i]));
    json_object_object_add(facts, "network", found);
    json_object_object_add(facts, "interfaces", interfaces);
}

void bf_inspect_linux_facts(struct bf_session *session, struct json_object *plan)
{
    struct json_object *facts = bf_plan_part(plan, "facts");
    bf_cleanup(strings_free_at) char **volumes = guestfs_lvs(session->g);
    bf_auto_free char *release = bf_plan_digest(session, "/etc/os-release");
    bf_auto_free char *fstab = bf_plan_digest(session, "/etc/fstab");

    bf_inspect_mounts(session, facts);
    bf_json_add_string(facts, "os_release_digest", release);
    bf_json_add_string(facts, "fstab_digest", fstab);
    json_object_object_add(facts, "fstab", column(session, "/etc/fstab", 1));
    json_object_object_add(facts, "crypttab", column(session, "/etc/crypttab", 2));
    json_object_object_add(facts, "lvm", array_of(volumes));
    add_boot(session, plan);
    add_network(session, facts);
    bf_json_add_bool(facts, "vmware_tools",
                     bf_session_exists(session, "/usr/bin/vmtoolsd") ||
                         bf_session_exists(session, "/usr/sbin/vmtoolsd"));
    bf_json_add_bool(facts, "guest_agent",
                     bf_session_exists(session, "/usr/sbin/qemu-ga") ||
                         bf_session_exists(session, "/usr/bin/qemu-ga"));
    bf_json_add_bool(facts, "cloud_init", bf_session_exists(session, "/etc/cloud"));
    bf_json_add_bool(facts, "selinux", session->selinux);
}
