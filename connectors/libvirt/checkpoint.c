/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: libvirt's records of dirty bitmaps in qcow2 images.
 *
 * What was learnt of libvirt 9.0 (each held by a test): deleting a checkpoint of a machine that
 * is off is refused except for its metadata, so the bitmaps are then removed by qemu-img first;
 * redefining works on and off, also of bitmaps that qemu-img made; a checkpoint whose bitmap QEMU
 * left inconsistent can be deleted while the machine runs.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/libvirt/image.h"
#include "connectors/libvirt/snapshot.h"

static int lookup(struct bf_libvirt *lv, virDomainPtr vir, const char *name,
                  virDomainCheckpointPtr *ret, struct bf_error *err)
{
    virDomainCheckpointPtr checkpoint = virDomainCheckpointLookupByName(vir, name, 0);

    if (!checkpoint && bf_libvirt_last() != VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "checkpoint %s", name);
    *ret = checkpoint;
    return 0;
}

static virDomainCheckpointPtr redefine(virDomainPtr vir, const char *xml)
{
    return virDomainCheckpointCreateXML(vir, xml, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE);
}

int bf_libvirt_checkpoint_xml(struct bf_libvirt *lv, virDomainPtr vir, const char *name,
                              char **ret_xml, struct bf_error *err)
{
    bf_auto_vir(checkpoint) virDomainCheckpointPtr checkpoint = NULL;

    if (lookup(lv, vir, name, &checkpoint, err) < 0)
        return -1;
    if (!checkpoint) {
        *ret_xml = NULL;
        return 0;
    }
    char *xml = virDomainCheckpointGetXMLDesc(checkpoint, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN);
    if (!xml)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "checkpoint %s", name);
    *ret_xml = xml;
    return 0;
}

int bf_libvirt_checkpoint_ensure(struct bf_libvirt *lv, virDomainPtr vir,
                                 const struct bf_libvirt_baseline *baseline, bool *ret_known,
                                 char **ret_reason, struct bf_error *err)
{
    bf_auto_vir(checkpoint) virDomainCheckpointPtr checkpoint = NULL;

    *ret_reason = NULL;
    if (lookup(lv, vir, baseline->checkpoint, &checkpoint, err) < 0)
        return -1;
    if (!checkpoint)
        checkpoint =
            virDomainCheckpointCreateXML(vir, baseline->xml, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE);
    *ret_known = checkpoint;
    if (!checkpoint) {
        if (virConnectIsAlive(lv->conn) != 1)
            return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "checkpoint %s",
                                   baseline->checkpoint);
        *ret_reason = bf_xasprintf("libvirt lost checkpoint %s and refuses to take it back: %s",
                                   baseline->checkpoint, bf_libvirt_last_text());
    }
    return 0;
}

/* --- deletion --- */

static int delete_metadata(struct bf_libvirt *lv, virDomainCheckpointPtr checkpoint,
                           const char *name, struct bf_error *err)
{
    if (virDomainCheckpointDelete(checkpoint, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) < 0 &&
        bf_libvirt_last() != VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "deleting checkpoint %s", name);
    return 0;
}

/* libvirt refuses to delete a checkpoint if one of its bitmaps is missing (QEMU was killed before
 * it ever stored it).  So its record is removed, and made again for each disk alone: where that
 * disk has the bitmap, the deletion then works. */
static int delete_disk_by_disk(struct bf_libvirt *lv, virDomainPtr vir,
                               const struct bf_libvirt_domain *domain, const char *name,
                               struct bf_error *err)
{
    for (size_t i = 0; i < domain->disk_count; i++) {
        struct bf_libvirt_checkpoint_disk disk = {.dev = domain->disks[i].dev, .bitmap = true};
        if (!bf_streq(domain->disks[i].format, "qcow2") || domain->machine->disks[i].removable)
            continue;
        bf_auto_free char *xml =
            bf_libvirt_checkpoint_write(name, NULL, &disk, 1, bf_utc_us() / 1000000);
        bf_auto_vir(checkpoint) virDomainCheckpointPtr checkpoint = redefine(vir, xml);
        if (checkpoint && virDomainCheckpointDelete(checkpoint, 0) < 0 &&
            delete_metadata(lv, checkpoint, name, err) < 0)
            return -1;
    }
    return 0;
}

static int delete_running(struct bf_libvirt *lv, virDomainPtr vir,
                          const struct bf_libvirt_domain *domain, const char *name,
                          const struct bf_libvirt_baseline *baseline, struct bf_error *err)
{
    bf_auto_vir(checkpoint) virDomainCheckpointPtr checkpoint = NULL;

    if (lookup(lv, vir, name, &checkpoint, err) < 0)
        return -1;
    /* Its bitmaps may still record: only through a checkpoint does libvirt remove them. */
    if (!checkpoint && baseline)
        checkpoint = redefine(vir, baseline->xml);
    if (!checkpoint || virDomainCheckpointDelete(checkpoint, 0) == 0)
        return 0;
    int code = bf_libvirt_last();
    if (code == VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return 0;
    if (code != VIR_ERR_INTERNAL_ERROR || !strstr(bf_libvirt_last_text(), "not found"))
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "deleting checkpoint %s", name);
    if (delete_metadata(lv, checkpoint, name, err) < 0)
        return -1;
    return delete_disk_by_disk(lv, vir, domain, name, err);
}

static bool seen_before(const char *path, const struct bf_libvirt_domain *domain)
{
    for (size_t i = 0; i < domain->disk_count; i++) {
        if (bf_streq(domain->disks[i].path, path))
            return true;
    }
    return false;
}

static int remove_bitmaps(struct bf_libvirt *lv, const struct bf_libvirt_domain *domain,
                          const char *name, const struct bf_libvirt_baseline *baseline,
                          struct bf_error *err)
{
    for (size_t i = 0; i < domain->disk_count; i++) {
        const struct bf_libvirt_disk *disk = &domain->disks[i];
        if (disk->path && bf_streq(disk->format, "qcow2") && !domain->machine->disks[i].removable &&
            bf_libvirt_image_remove_bitmap(lv, disk->path, name, err) < 0)
            return -1;
    }
    /* An image that was taken out of the machine may be in another one now, or be no qcow2 any
     * more: then its bitmap is only a waste, not an obstacle. */
    for (size_t i = 0; baseline && i < baseline->disk_count; i++) {
        const struct bf_libvirt_baseline_disk *disk = &baseline->disks[i];
        bf_auto_error ignored = BF_ERROR_INIT;
        if (disk->path && disk->tracked && !seen_before(disk->path, domain))
            (void)bf_libvirt_image_remove_bitmap(lv, disk->path, name, &ignored);
    }
    return 0;
}

/* Bitmaps first: as long as the metadata is there, a repeated call finds what is left to do. */
static int delete_off(struct bf_libvirt *lv, virDomainPtr vir,
                      const struct bf_libvirt_domain *domain, const char *name,
                      const struct bf_libvirt_baseline *baseline, struct bf_error *err)
{
    bf_auto_vir(checkpoint) virDomainCheckpointPtr checkpoint = NULL;

    if (!lv->conf.local)
        return bf_fail(err, BF_E_MACHINE_STATE, 0,
                       "machine %s is off: the dirty bitmap %s in its images can be removed only "
                       "on its host, or when it runs",
                       domain->machine->name, name);
    if (remove_bitmaps(lv, domain, name, baseline, err) < 0 ||
        lookup(lv, vir, name, &checkpoint, err) < 0)
        return -1;
    return checkpoint ? delete_metadata(lv, checkpoint, name, err) : 0;
}

int bf_libvirt_checkpoint_delete(struct bf_libvirt *lv, virDomainPtr vir,
                                 const struct bf_libvirt_domain *domain, const char *name,
                                 const struct bf_libvirt_baseline *baseline, struct bf_error *err)
{
    bool active = false;

    if (bf_libvirt_is_active(lv, vir, &active, err) < 0)
        return -1;
    if (active)
        return delete_running(lv, vir, domain, name, baseline, err);
    return delete_off(lv, vir, domain, name, baseline, err);
}
