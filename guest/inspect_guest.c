/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/inspect_guest.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/plan.h"
#include "guest/windows.h"

static void strings_free_at(char ***at)
{
    bf_strings_free(*at);
}

/* What libguestfs itself says of a system. */
static int describe(struct bf_session *session, struct json_object *plan, struct bf_error *err)
{
    struct json_object *os = bf_plan_part(plan, "os");
    bf_auto_free char *type = guestfs_inspect_get_type(session->g, session->root);
    bf_auto_free char *arch = guestfs_inspect_get_arch(session->g, session->root);
    bf_auto_free char *distro = guestfs_inspect_get_distro(session->g, session->root);
    bf_auto_free char *version = NULL;
    int major = guestfs_inspect_get_major_version(session->g, session->root);
    int minor = guestfs_inspect_get_minor_version(session->g, session->root);

    session->product = guestfs_inspect_get_product_name(session->g, session->root);
    if (!type || !session->product)
        return bf_session_fail(session, "inspection", err);
    version = bf_xasprintf("%d.%d", major, minor);
    bf_json_add_string(os, "type",
                       bf_streq(type, "linux") || bf_streq(type, "windows") ? type : "unknown");
    bf_json_add_string(os, "product", session->product);
    bf_json_add_string(os, "version", version);
    bf_json_add_string(os, "arch", arch);
    bf_json_add_string(os, "distro", distro);
    bf_json_add_string(plan, "root", session->root);
    return 0;
}

static int inspect_windows(struct bf_session *session, const struct bf_inspect_wishes *wishes,
                           struct json_object *plan, struct bf_error *err)
{
    struct bf_windows_options options = {
        .virtio_win = wishes->virtio_win, .macs = wishes->macs, .mac_count = wishes->mac_count};

    if (bf_windows_inspect(session, &options, plan, err) == 0)
        return 0;
    if (err->code == BF_E_CONVERT_FAILED)
        return -1;
    bf_plan_finding_of_error(plan, "block", err);
    bf_error_clear(err);
    return 0;
}

static int inspect_system(struct bf_session *session, const struct bf_inspect_wishes *wishes,
                          struct json_object *plan, struct bf_error *err)
{
    struct json_object *os = bf_plan_part(plan, "os");
    const char *type, *arch;

    if (describe(session, plan, err) < 0)
        return -1;
    type = bf_plan_text(os, "type");
    arch = bf_plan_text(os, "arch");
    if (bf_streq(type, "windows"))
        return inspect_windows(session, wishes, plan, err);
    if (bf_streq(type, "linux") && bf_streq(arch, "x86_64"))
        return bf_session_mount(session, err) < 0 ? -1
                                                  : bf_inspect_linux(session, wishes, plan, err);
    {
        bf_auto_free char *found = bf_xasprintf("%s for %s", session->product, arch ? arch : "?");

        bf_plan_finding(plan, "warn", "guest-unsupported", found, "Linux or Windows for x86-64",
                        "only virt-v2v may know this guest", bf_error_fix(BF_E_GUEST_UNSUPPORTED));
    }
    return 0;
}

/* --- nothing but a Linux --- */

/* What a Linux's disks hold; anything else may be another system. */
static bool is_only_linux(const struct bf_session *session)
{
    static const char *const plain[] = {"swap", "vfat", "LVM2_member", "linux_raid_member",
                                        "crypto_LUKS"};

    for (size_t i = 0; i < session->filesystem_count; i++) {
        const char *type = session->filesystems[i].type;
        bool known = !type || bf_session_is_linux_type(type);

        for (size_t j = 0; j < bf_array_length(plain); j++)
            known = known || bf_streq(type, plain[j]);
        if (!known)
            return false;
    }
    return session->filesystem_count > 0;
}

static bool runs_on_x86_64(struct bf_session *session)
{
    Elf64_Ehdr header;
    size_t size = 0;
    bf_auto_free char *head = guestfs_pread(session->g, "/bin/ls", sizeof(header), 0, &size);

    if (!head || size < sizeof(header))
        return false;
    memcpy(&header, head, sizeof(header));
    return memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
           header.e_machine == EM_X86_64;
}

/* The conversion's own search: libguestfs's inspection looks for every system there is, which takes
 * seconds more under emulation.  What it is not sure of is left to that one. */
static bool open_only_linux(struct bf_session *session, struct json_object *plan)
{
    struct json_object *os = bf_plan_part(plan, "os");
    bf_auto_error other = BF_ERROR_INIT;
    bf_auto_free char *release = NULL;
    bf_auto_free char *version = NULL;
    bf_auto_free char *distro = NULL;

    if (bf_session_list_filesystems(session, &other) < 0 || !is_only_linux(session))
        return false;
    if (bf_session_open_guest(session, &other) == 0 && runs_on_x86_64(session))
        release = bf_session_read(session, "/etc/os-release", NULL);
    if (!release) {
        guestfs_umount_all(session->g);
        free(bf_steal(session->root));
        free(bf_steal(session->product));
        return false;
    }
    version = bf_inspect_value(release, "VERSION_ID");
    distro = bf_inspect_value(release, "ID");
    bf_json_add_string(os, "type", "linux");
    bf_json_add_string(os, "product", session->product);
    bf_json_add_string(os, "version", version);
    bf_json_add_string(os, "arch", "x86_64");
    bf_json_add_string(os, "distro", distro);
    bf_json_add_string(plan, "root", session->root);
    return true;
}

static int inspect_any(struct bf_session *session, const struct bf_inspect_wishes *wishes,
                       struct json_object *plan, struct bf_error *err)
{
    bf_cleanup(strings_free_at) char **roots = guestfs_inspect_os(session->g);
    bf_auto_error none = BF_ERROR_INIT;

    if (!roots)
        return bf_session_fail(session, "inspection", err);
    if (!roots[0]) {
        bf_session_explain_no_root(session, &none);
        bf_plan_finding_of_error(plan, "block", &none);
        return 0;
    }
    if (roots[1]) {
        bf_plan_finding(plan, "block", "guest-several-systems",
                        "there is more than one operating system on the disks", "one system",
                        "which of them the machine starts is not known",
                        bf_error_fix(BF_E_GUEST_UNSUPPORTED));
        return 0;
    }
    session->root = bf_xstrdup(roots[0]);
    return inspect_system(session, wishes, plan, err);
}

int bf_inspect_guest(struct bf_session *session, const struct bf_inspect_wishes *wishes,
                     struct json_object *plan, struct bf_error *err)
{
    return open_only_linux(session, plan) ? bf_inspect_linux(session, wishes, plan, err)
                                          : inspect_any(session, wishes, plan, err);
}
