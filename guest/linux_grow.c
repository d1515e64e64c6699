/* SPDX-License-Identifier: Apache-2.0 */
/* A volume may be larger than the disk was: the last partition and what it holds take the room.
 *
 * Runs last, with nothing mounted; or only looks, and tells the same.  A partition that cannot grow
 * (swap, a logical one, an unknown content) stays as it is and is told; the guest boots all the
 * same. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/linux.h"

#define SECTOR 512
#define ALIGNMENT 2048             /* sectors */
#define GPT_END 34                 /* sectors of the second header and table */
#define MBR_MAX ((int64_t)1 << 32) /* sectors */
#define WORTH_BYTES ((int64_t)16 << 20)

static void free_partitions_at(struct guestfs_partition_list **at)
{
    if (*at)
        guestfs_free_partition_list(*at);
}

static void free_volumes_at(struct guestfs_lvm_pv_list **at)
{
    if (*at)
        guestfs_free_lvm_pv_list(*at);
}

static const struct bf_filesystem *content_of(const struct bf_session *session, const char *device)
{
    for (size_t i = 0; i < session->filesystem_count; i++)
        if (bf_streq(session->filesystems[i].device, device))
            return &session->filesystems[i];
    return NULL;
}

/* XFS's tools are a package of their own (libguestfs-xfs). */
static bool can_grow(const struct bf_session *session, const struct bf_filesystem *content)
{
    char name[] = "xfs";
    char *const xfs[] = {name, NULL};

    if (!content || !content->type)
        return false;
    if (bf_streq(content->type, "xfs"))
        return guestfs_feature_available(session->g, xfs) == 1;
    return bf_starts_with(content->type, "ext") || bf_streq(content->type, "btrfs") ||
           bf_streq(content->type, "LVM2_member");
}

/* File systems grow while they are mounted; ext would want a full check otherwise. */
static int grow_mounted(struct bf_session *session, const struct bf_filesystem *content,
                        struct bf_error *err)
{
    int result;

    if (bf_session_mount_one(session, content->device, "/") < 0)
        return bf_session_fail(session, content->device, err);
    if (bf_streq(content->type, "xfs"))
        result = guestfs_xfs_growfs(session->g, "/", -1);
    else if (bf_streq(content->type, "btrfs"))
        result = guestfs_btrfs_filesystem_resize(session->g, "/", -1);
    else
        result = guestfs_resize2fs(session->g, content->device);
    if (result < 0)
        return bf_session_fail(session, content->device, err);
    return guestfs_umount_all(session->g) < 0 ? bf_session_fail(session, "unmount", err) : 0;
}

static void tell_volume(struct bf_session *session, const char *device)
{
    bf_session_did(session, device, "its volume group has the new room");
}

/* By UUID: LVM has the appliance's names of devices, in which the disks may stand in another order
 * than they were given in (libguestfs translates names, but not those of this call). */
static bool is_volume(const struct guestfs_lvm_pv *volume, const char *uuid)
{
    size_t length = 0;

    for (; uuid && *uuid; uuid++) {
        if (*uuid == '-')
            continue;
        if (length == sizeof(volume->pv_uuid) || *uuid != volume->pv_uuid[length++])
            return false;
    }
    return length == sizeof(volume->pv_uuid);
}

static int grow_volume(struct bf_session *session, const struct bf_filesystem *content,
                       bool only_look, struct bf_error *err)
{
    const char *device = content->device;
    bf_cleanup(free_volumes_at) struct guestfs_lvm_pv_list *volumes = guestfs_pvs_full(session->g);

    if (!volumes)
        return bf_session_fail(session, device, err);
    for (size_t i = 0; i < volumes->len; i++) {
        const struct guestfs_lvm_pv *volume = &volumes->val[i];

        if (!is_volume(volume, content->uuid))
            continue;
        if ((int64_t)(volume->dev_size - volume->pv_size) < WORTH_BYTES)
            return 0;
        if (!only_look && guestfs_pvresize(session->g, device) < 0)
            return bf_session_fail(session, device, err);
        tell_volume(session, device);
        return 0;
    }
    bf_session_warn(session, "%s: LVM does not list it; its volume group has no new room", device);
    return 0;
}

/* When only looked at, the partition has not grown: what it holds cannot be asked for its room. */
static int grow_content(struct bf_session *session, const struct bf_filesystem *content,
                        bool only_look, struct bf_error *err)
{
    if (bf_streq(content->type, "LVM2_member") && only_look) {
        tell_volume(session, content->device);
        return 0;
    }
    if (bf_streq(content->type, "LVM2_member"))
        return grow_volume(session, content, false, err);
    if (!only_look && grow_mounted(session, content, err) < 0)
        return -1;
    bf_session_did(session, content->device, "the file system fills it");
    return 0;
}

/* Where the last partition may end, in sectors. */
static int64_t last_end(const char *table, int64_t sectors)
{
    int64_t end = sectors - (bf_streq(table, "gpt") ? GPT_END : 0);

    if (!bf_streq(table, "gpt") && end > MBR_MAX - 1)
        end = MBR_MAX - 1;
    return end / ALIGNMENT * ALIGNMENT - 1;
}

static int move_end(struct bf_session *session, const char *device, const char *table,
                    const struct guestfs_partition *last, int64_t end, struct bf_error *err)
{
    if ((bf_streq(table, "gpt") && guestfs_part_expand_gpt(session->g, device) < 0) ||
        guestfs_part_resize(session->g, device, last->part_num, end) < 0)
        return bf_session_fail(session, device, err);
    return 0;
}

static int grow_partition(struct bf_session *session, const char *device, const char *table,
                          const struct guestfs_partition *last, int64_t end, bool only_look,
                          struct bf_error *err)
{
    bf_auto_free char *name = bf_xasprintf("%s%d", device, last->part_num);
    const struct bf_filesystem *content = content_of(session, name);

    if (!can_grow(session, content) || (!bf_streq(table, "gpt") && last->part_num > 4)) {
        bf_session_warn(session, "%s, the last partition, cannot grow (%s)", name,
                        content && content->type ? content->type : "unknown content");
        return 0;
    }
    if (!only_look && move_end(session, device, table, last, end, err) < 0)
        return -1;
    bf_session_did(session, name, "the partition ends where the disk does");
    return grow_content(session, content, only_look, err);
}

static int grow_disk(struct bf_session *session, const char *device, bool only_look,
                     struct bf_error *err)
{
    const struct bf_filesystem *whole = content_of(session, device);
    bf_auto_free char *table = NULL;
    bf_cleanup(free_partitions_at) struct guestfs_partition_list *list = NULL;
    const struct guestfs_partition *last = NULL;
    int64_t end;

    if (whole)
        return bf_streq(whole->type, "LVM2_member") ? grow_volume(session, whole, only_look, err)
                                                    : 0;
    table = guestfs_part_get_parttype(session->g, device);
    list = guestfs_part_list(session->g, device);
    if (!table || !list || (!bf_streq(table, "gpt") && !bf_streq(table, "msdos")))
        return 0;
    for (size_t i = 0; i < list->len; i++)
        if (!last || list->val[i].part_end > last->part_end)
            last = &list->val[i];
    end = last_end(table, guestfs_blockdev_getsz(session->g, device));
    if (!last || (end + 1) * SECTOR - (int64_t)last->part_end < WORTH_BYTES)
        return 0;
    return grow_partition(session, device, table, last, end, only_look, err);
}

/* A guest that was opened by its plan has listed nothing yet. */
static int grow_disks(struct bf_session *session, bool only_look, struct bf_error *err)
{
    if (bf_session_list_filesystems(session, err) < 0)
        return -1;
    for (size_t i = 0; session->devices && session->devices[i]; i++)
        if (grow_disk(session, session->devices[i], only_look, err) < 0)
            return -1;
    return 0;
}

int bf_linux_grow(struct bf_session *session, struct bf_error *err)
{
    if (guestfs_umount_all(session->g) < 0)
        return bf_session_fail(session, "unmount", err);
    return grow_disks(session, false, err);
}

int bf_linux_plan_grow(struct bf_session *session, struct bf_error *err)
{
    return grow_disks(session, true, err);
}
