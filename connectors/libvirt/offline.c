/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot of a machine that is off: its images as they are.
 *
 * QEMU stores its dirty bitmaps in the images when it ends, so the baseline's bitmap tells
 * what changed until the machine was shut down.  The new baseline is a new bitmap that qemu-img
 * adds, recording from the machine's next start on; libvirt is told of it by a
 * redefinition, which it takes for a machine that is off (a normal checkpoint it refuses).
 *
 * Nothing freezes the images: the ref notes their time of change, and opening a disk fails
 * if a machine has touched them since, or runs.  Called again with the same tag the same ref
 * comes out as long as that has not happened.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/libvirt/image.h"
#include "connectors/libvirt/snapshot.h"

int64_t bf_libvirt_modified_ns(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    return (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

/* The bitmap must be in the top image alone: after an external snapshot each image
 * of the chain has a part of the changes, and only QEMU can merge them. */
static char *doubt_image(struct bf_libvirt *lv, const struct bf_libvirt_image *image,
                         const char *name)
{
    const struct bf_libvirt_bitmap *bitmap = bf_libvirt_image_bitmap(image, name);
    bf_auto_libvirt_image lower = {0};
    bf_auto_error trouble = BF_ERROR_INIT;

    if (!bitmap)
        return bf_xasprintf("the image has no dirty bitmap %s", name);
    if (bitmap->in_use)
        return bf_xasprintf("the dirty bitmap %s is incomplete: QEMU died while it was in use",
                            name);
    if (!bitmap->recording)
        return bf_xasprintf("the dirty bitmap %s was not recording", name);
    if (!image->backing || !bf_streq(image->backing_format, "qcow2"))
        return NULL;
    if (bf_libvirt_image_read(lv, image->backing, "qcow2", &lower, &trouble) < 0)
        return bf_xasprintf("the backing image cannot be read: %s", trouble.message);
    if (bf_libvirt_image_bitmap(&lower, name))
        return bf_xstrdup("an external snapshot was made since the last round");
    return NULL;
}

/* Look at one image, decide whether its bitmap serves, and start the new bitmap. */
static int prepare_disk(struct bf_libvirt *lv, const struct bf_libvirt_plan *plan,
                        struct bf_libvirt_plan_disk *disk, struct bf_libvirt_ref_disk *out,
                        struct bf_error *err)
{
    bf_auto_libvirt_image image = {0};
    const char *path = disk->disk->path;
    const char *format = disk->disk->format ? disk->disk->format : "raw";

    if (!path)
        return bf_fail(err, BF_E_DISK_UNSUPPORTED, 0,
                       "machine %s is off: disk %s (%s) is no file or device of this host",
                       plan->domain->machine->name, disk->disk->dev, disk->description->source);
    if (bf_libvirt_image_read(lv, path, format, &image, err) < 0)
        return -1;
    if (disk->delta) {
        disk->reason = doubt_image(lv, &image, plan->baseline.checkpoint);
        disk->delta = !disk->reason;
    }
    if (disk->tracks && bf_libvirt_image_add_bitmap(lv, path, plan->request->tag, err) < 0)
        return -1;
    *out = (struct bf_libvirt_ref_disk){
        .key = bf_xstrdup(disk->disk->dev),
        .path = bf_xstrdup(path),
        .format = bf_xstrdup(format),
        .bitmap = disk->delta ? bf_xstrdup(plan->baseline.checkpoint) : NULL,
        .size_bytes = image.size_bytes,
        .modified_ns = bf_libvirt_modified_ns(path),
    };
    return 0;
}

/* Tell libvirt of the bitmaps.  If it refuses, the next snapshot's redefinition tries again. */
static int register_checkpoint(struct bf_libvirt *lv, virDomainPtr vir,
                               const struct bf_libvirt_plan *plan, char **ret_xml,
                               struct bf_error *err)
{
    bf_auto_free struct bf_libvirt_checkpoint_disk *disks =
        bf_xcalloc(plan->domain->disk_count + 1, sizeof(*disks));
    size_t count = 0;

    if (bf_libvirt_checkpoint_xml(lv, vir, plan->request->tag, ret_xml, err) < 0)
        return -1;
    if (*ret_xml)
        return 0;
    for (size_t i = 0; i < plan->domain->disk_count; i++) {
        if (plan->domain->machine->disks[i].removable)
            continue;
        disks[count].dev = plan->domain->disks[i].dev;
        for (size_t j = 0; j < plan->disk_count; j++) {
            if (plan->disks[j].disk == &plan->domain->disks[i])
                disks[count].bitmap = plan->disks[j].tracks;
        }
        count++;
    }
    *ret_xml = bf_libvirt_checkpoint_write(plan->request->tag, "blockferry {\"off\":true}", disks,
                                           count, bf_utc_us() / 1000000);
    bf_auto_vir(checkpoint) virDomainCheckpointPtr checkpoint =
        virDomainCheckpointCreateXML(vir, *ret_xml, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE);
    if (!checkpoint)
        return 0;
    /* In libvirt's own words, so that a repeated call gives the same baseline. */
    free(bf_steal(*ret_xml));
    return bf_libvirt_checkpoint_xml(lv, vir, plan->request->tag, ret_xml, err);
}

static int64_t newest(const struct bf_libvirt_ref *ref)
{
    int64_t ns = 0;

    for (size_t i = 0; i < ref->disk_count; i++) {
        if (ref->disks[i].modified_ns > ns)
            ns = ref->disks[i].modified_ns;
    }
    return ns / 1000;
}

int bf_libvirt_snapshot_off(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_plan *plan,
                            struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    bf_auto_libvirt_ref ref = {
        .machine_id = bf_xstrdup(plan->domain->machine->id),
        .tag = bf_xstrdup(plan->request->tag),
        .off = true,
        .disks = bf_xcalloc(plan->disk_count, sizeof(*ref.disks)),
    };
    bf_auto_free char *xml = NULL;

    if (!lv->conf.local)
        return bf_fail(err, BF_E_MACHINE_STATE, 0,
                       "machine %s is off: libvirt serves disks of running machines only, and its "
                       "host is not this one",
                       plan->domain->machine->name);
    for (size_t i = 0; i < plan->disk_count; i++) {
        if (prepare_disk(lv, plan, &plan->disks[i], &ref.disks[i], err) < 0)
            return bf_fail_in(err, "machine %s, disk %s", plan->domain->machine->name,
                              plan->disks[i].disk->dev);
        ref.disk_count = i + 1;
    }
    if (bf_libvirt_plan_tracks(plan) && register_checkpoint(lv, vir, plan, &xml, err) < 0)
        return -1;
    ref.taken_us = newest(&ref);
    if (!ref.taken_us)
        ref.taken_us = bf_utc_us();
    *ret_snapshot = bf_libvirt_plan_snapshot(plan, &ref, xml);
    /* Nothing runs that could hold back writes: as consistent as the guest's last shutdown. */
    (*ret_snapshot)->quiesced = true;
    return 0;
}
