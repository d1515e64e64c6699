/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of what makes an initramfs, so that the guest's next one has virtio, too. */
#include "base/cleanup.h"
#include "base/text.h"
#include "guest/edit.h"
#include "guest/linux.h"

#define SUMMARY "virtio in every initramfs made from now on"

static const char *const modules[] = {"virtio_pci", "virtio_blk", "virtio_scsi", NULL};

static void plan_initramfs_tools(struct bf_session *session)
{
    static const char path[] = "/etc/initramfs-tools/modules";
    bf_auto_free char *text = bf_session_read(session, path, NULL);
    bf_auto_free char *edited = text ? bf_edit_add_lines(text, modules) : NULL;

    if (edited)
        bf_session_write(session, path, edited, false, SUMMARY);
}

static void plan_dracut(struct bf_session *session)
{
    static const char path[] = "/etc/dracut.conf.d/90-blockferry-virtio.conf";
    static const char text[] = "add_drivers+=\" virtio_pci virtio_blk virtio_scsi \"\n";
    bf_auto_free char *present = NULL;

    if (!bf_session_exists(session, "/etc/dracut.conf.d"))
        return;
    present = bf_session_read(session, path, NULL);
    if (!bf_streq(present, text))
        bf_session_write(session, path, text, present == NULL, SUMMARY);
}

/* An assignment of a shell file: SUSE's old mkinitrd, Arch's mkinitcpio. */
static void plan_words(struct bf_session *session, const char *path, const char *name)
{
    bf_auto_free char *text = bf_session_read(session, path, NULL);
    bf_auto_free char *edited = text ? bf_edit_add_words(text, name, modules) : NULL;

    if (edited)
        bf_session_write(session, path, edited, false, SUMMARY);
}

int bf_linux_plan_generators(struct bf_session *session, struct bf_error *err)
{
    (void)err;
    /* Each that has a configuration: one that was replaced by another leaves its own behind. */
    plan_initramfs_tools(session);
    plan_dracut(session);
    plan_words(session, "/etc/sysconfig/kernel", "INITRD_MODULES");
    plan_words(session, "/etc/mkinitcpio.conf", "MODULES");
    return 0;
}
