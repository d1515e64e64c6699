/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/sizes.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/libvirt/job_files.h"
#include "connectors/libvirt/layers.h"
#include "connectors/libvirt/snapshot.h"

/* Longer than a job takes to be made. */
#define MAKING_MS 30000
#define LIST_MAKING_MS 2000

/* --- from the images --- */

static uint64_t image_size(const struct bf_libvirt_disk *disk)
{
    bf_auto_free char *backing = NULL;
    bf_auto_error ignored = BF_ERROR_INIT;
    struct stat st;
    uint64_t size = 0;

    if (stat(disk->path, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
        return 0;
    if (bf_streq(disk->format, "qcow2"))
        return bf_libvirt_qcow2_header(disk->path, &backing, &size, &ignored) == 0 ? size : 0;
    if (!bf_streq(disk->format, "raw"))
        return 0;
    bf_auto_fd int fd = open(disk->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    return end > 0 ? (uint64_t)end : 0;
}

/* True: none is left to ask for. */
static bool sizes_from_images(const struct bf_libvirt *lv, struct bf_libvirt_domain *domain)
{
    bool all = true;

    for (size_t i = 0; i < domain->disk_count; i++) {
        struct bf_machine_disk *disk = &domain->machine->disks[i];
        if (lv->conf.local && domain->disks[i].plain && domain->disks[i].path)
            disk->size_bytes = image_size(&domain->disks[i]);
        all = all && (disk->size_bytes || disk->removable || !disk->source);
    }
    return all;
}

/* --- from libvirt --- */

/* Sizes from the bulk statistics: "block.N.name" and "block.N.capacity".  Backing files are
 * not among them unless asked for (a backingIndex alone says nothing: the top has one too). */
static void sizes_from_stats(struct bf_libvirt_domain *domain, virDomainStatsRecordPtr record)
{
    unsigned count = 0;

    if (virTypedParamsGetUInt(record->params, record->nparams, "block.count", &count) != 1)
        return;
    for (unsigned i = 0; i < count; i++) {
        char name_field[64], size_field[64];
        const char *name;
        unsigned long long capacity;
        snprintf(name_field, sizeof(name_field), "block.%u.name", i);
        snprintf(size_field, sizeof(size_field), "block.%u.capacity", i);
        if (virTypedParamsGetString(record->params, record->nparams, name_field, &name) != 1 ||
            virTypedParamsGetULLong(record->params, record->nparams, size_field, &capacity) != 1)
            continue;
        for (size_t j = 0; j < domain->disk_count; j++) {
            if (bf_streq(domain->disks[j].dev, name))
                domain->machine->disks[j].size_bytes = capacity;
        }
    }
}

/* What the statistics did not have; a disk whose image is missing keeps size 0. */
static void sizes_one_by_one(virDomainPtr vir, struct bf_libvirt_domain *domain)
{
    for (size_t i = 0; i < domain->disk_count; i++) {
        struct bf_machine_disk *disk = &domain->machine->disks[i];
        virDomainBlockInfo info;
        if (disk->size_bytes || disk->removable || !disk->source)
            continue;
        if (virDomainGetBlockInfo(vir, disk->key, &info, 0) == 0)
            disk->size_bytes = info.capacity;
    }
}

static void sizes_from_libvirt(virDomainPtr vir, struct bf_libvirt_domain *domain, unsigned flags)
{
    virDomainPtr one[2] = {vir, NULL};
    virDomainStatsRecordPtr *records = NULL;

    int count = virDomainListGetStats(one, VIR_DOMAIN_STATS_BLOCK, &records, flags);
    if (count == 1)
        sizes_from_stats(domain, records[0]);
    if (count >= 0)
        virDomainStatsRecordListFree(records);
    if (!flags)
        sizes_one_by_one(vir, domain);
}

/* The one who makes a job may be another tool, or a call of a service that died.  False: it still
 * is in the making; of a libvirtd that was killed in that moment it will be for ever, and then it
 * does no harm. */
static bool wait_until_made(struct bf_libvirt *lv, virDomainPtr vir, int64_t ms)
{
    struct bf_deadline deadline = bf_deadline_in(ms);
    bf_auto_error ignored = BF_ERROR_INIT;

    while (bf_libvirt_job_in_making(vir)) {
        if (bf_deadline_passed(deadline) ||
            bf_platform_pause(&lv->base, 50, (struct bf_deadline){0}, &ignored) < 0)
            return false;
    }
    return true;
}

void bf_libvirt_sizes(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_domain *domain)
{
    if (sizes_from_images(lv, domain))
        return;
    (void)wait_until_made(lv, vir, MAKING_MS);
    bf_libvirt_gate_enter();
    sizes_from_libvirt(vir, domain, 0);
    bf_libvirt_gate_leave();
}

void bf_libvirt_sizes_quickly(struct bf_libvirt *lv, virDomainPtr vir,
                              struct bf_libvirt_domain *domain)
{
    if (sizes_from_images(lv, domain) || !wait_until_made(lv, vir, LIST_MAKING_MS))
        return;
    bf_libvirt_gate_enter();
    sizes_from_libvirt(vir, domain, VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    bf_libvirt_gate_leave();
}
