/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/inspect_guest.h"

#include <stdlib.h>

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
        return bf_inspect_linux(session, wishes, plan, err);
    {
        bf_auto_free char *found = bf_xasprintf("%s for %s", session->product, arch ? arch : "?");

        bf_plan_finding(plan, "warn", "guest-unsupported", found, "Linux or Windows for x86-64",
                        "only virt-v2v may know this guest", bf_error_fix(BF_E_GUEST_UNSUPPORTED));
    }
    return 0;
}

int bf_inspect_guest(struct bf_session *session, const struct bf_inspect_wishes *wishes,
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
