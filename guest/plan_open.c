/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/inspect_guest.h"
#include "guest/plan.h"

char *bf_plan_digest(struct bf_session *session, const char *path)
{
    if (guestfs_exists(session->g, path) != 1)
        return NULL;
    return guestfs_checksum(session->g, "sha256", path);
}

/* A device may have got another name; a file system of another UUID is another one. */
static char *mount_planned(struct bf_session *session, struct json_object *mount)
{
    const char *device = bf_plan_text(mount, "device");
    const char *mountpoint = bf_plan_text(mount, "mountpoint");
    const char *planned = bf_plan_text(mount, "uuid");
    bf_auto_free char *uuid = NULL;

    if (!device || !mountpoint || !planned)
        return bf_xasprintf("a file system is not described");
    uuid = guestfs_vfs_uuid(session->g, device);
    if (!bf_streq(uuid, planned))
        return bf_xasprintf("%s holds %s, not %s", device, uuid ? uuid : "nothing", planned);
    if (bf_session_mount_one(session, device, mountpoint) < 0)
        return bf_xasprintf("%s cannot be mounted: %s", device, guestfs_last_error(session->g));
    return NULL;
}

static size_t length_of(struct json_object *mount)
{
    const char *mountpoint = bf_plan_text(mount, "mountpoint");

    return mountpoint ? strlen(mountpoint) : 0;
}

/* The outer ones first: mount points are within them. */
static char *mount_all(struct bf_session *session, struct json_object *mounts)
{
    size_t count = json_object_array_length(mounts), done = 0;

    for (size_t length = 0; done < count && length <= 4096; length++)
        for (size_t i = 0; i < count; i++) {
            struct json_object *mount = json_object_array_get_idx(mounts, i);
            char *why;

            if (length_of(mount) != length)
                continue;
            done++;
            why = mount_planned(session, mount);
            if (why)
                return why;
        }
    return NULL;
}

/* What the mounting relies on must be what the plan saw. */
static char *compare_files(struct bf_session *session, struct json_object *facts)
{
    static const struct {
        const char *path;
        const char *key;
    } files[] = {{"/etc/os-release", "os_release_digest"}, {"/etc/fstab", "fstab_digest"}};

    for (size_t i = 0; i < bf_array_length(files); i++) {
        bf_auto_free char *now = bf_plan_digest(session, files[i].path);

        if (!bf_streq(now, bf_plan_text(facts, files[i].key)))
            return bf_xasprintf("%s has changed", files[i].path);
    }
    return NULL;
}

static char *open_planned(struct bf_session *session, struct json_object *plan)
{
    struct json_object *os = bf_plan_part(plan, "os");
    struct json_object *facts = bf_plan_part(plan, "facts");
    struct json_object *mounts = bf_plan_part(facts, "mounts");
    char *why;

    if (!bf_streq(bf_plan_text(os, "type"), "linux") ||
        !bf_streq(bf_plan_text(os, "arch"), "x86_64") || !bf_plan_text(plan, "root") ||
        !json_object_is_type(mounts, json_type_array) || json_object_array_length(mounts) == 0)
        return bf_xstrdup("the plan is of another kind of guest");
    why = mount_all(session, mounts);
    return why ? why : compare_files(session, facts);
}

bool bf_plan_open(struct bf_session *session, struct json_object *plan, char **ret_why)
{
    char *why = open_planned(session, plan);

    if (why) {
        guestfs_umount_all(session->g);
        *ret_why = why;
        return false;
    }
    session->root = bf_xstrdup(bf_plan_text(plan, "root"));
    session->product = bf_xstrdup(bf_plan_text(bf_plan_part(plan, "os"), "product"));
    session->selinux = guestfs_is_file(session->g, "/etc/selinux/config") == 1;
    return true;
}
