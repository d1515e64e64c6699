/* SPDX-License-Identifier: Apache-2.0 */
/* Making a clone independent of the replica: everything that it still reads from the point is
 * copied into it, by the running QEMU itself (a block pull) or, of a machine that is off, by
 * qemu-img. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/libvirt/launch.h"
#include "connectors/libvirt/layers.h"

#define POLL_MS 500

static const char *device_of(const struct bf_libvirt_domain *domain, const char *path)
{
    for (size_t i = 0; i < domain->disk_count; i++) {
        if (bf_streq(domain->disks[i].path, path))
            return domain->disks[i].dev;
    }
    return NULL;
}

/* A job that is under way already (a call before this one started it) is waited for. */
static int pull(struct bf_libvirt *lv, virDomainPtr vir, const char *device, struct bf_error *err)
{
    virDomainBlockJobInfo info;
    int running = virDomainGetBlockJobInfo(vir, device, &info, 0);

    if (running == 1)
        return 0;
    if (running < 0 || virDomainBlockPull(vir, device, 0, 0) < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "detaching disk %s of machine \"%s\"",
                               device, virDomainGetName(vir));
    return 0;
}

static int wait_for_pull(struct bf_libvirt *lv, virDomainPtr vir, const char *device,
                         struct bf_deadline deadline, struct bf_error *err)
{
    for (;;) {
        virDomainBlockJobInfo info;
        if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
            return -1;
        int running = virDomainGetBlockJobInfo(vir, device, &info, 0);
        if (running < 0)
            return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "detaching disk %s", device);
        if (running == 0)
            return 0;
        if (bf_platform_pause(&lv->base, POLL_MS, deadline, err) < 0) {
            /* What was pulled stays; the next call goes on from there. */
            (void)virDomainBlockJobAbort(vir, device, VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC);
            return bf_fail_in(err, "detaching disk %s: %llu of %llu bytes done", device, info.cur,
                              info.end);
        }
    }
}

static int detach_running(struct bf_libvirt *lv, virDomainPtr vir,
                          const struct bf_libvirt_domain *domain, const char *path,
                          struct bf_deadline deadline, struct bf_error *err)
{
    const char *device = device_of(domain, path);
    bf_auto_libvirt_domain after = {0};

    if (!device)
        return bf_fail(err, BF_E_VOLUME_GONE, 0, "machine \"%s\" does not use %s",
                       domain->machine->name, path);
    const struct bf_libvirt_disk *disk = bf_libvirt_domain_disk(domain, device);
    if (!disk->chain && !disk->mirror)
        return 0;
    if (pull(lv, vir, device, err) < 0 || wait_for_pull(lv, vir, device, deadline, err) < 0 ||
        bf_libvirt_describe(lv, vir, &after, err) < 0)
        return -1;
    /* A job that vanished without its work done has failed. */
    disk = bf_libvirt_domain_disk(&after, device);
    if (disk && disk->chain)
        return bf_fail(err, BF_E_PLATFORM_ERROR, 0,
                       "disk %s of machine \"%s\" still needs the replica; see libvirt's log",
                       device, domain->machine->name);
    return 0;
}

static int detach_off(struct bf_libvirt *lv, const char *path, struct bf_deadline deadline,
                      struct bf_error *err)
{
    const char *argv[] = {"qemu-img", "rebase", "-q", "-f", "qcow2", "-b", "", path, NULL};
    bf_auto_free char *backing = NULL;
    uint64_t size;

    if (bf_libvirt_qcow2_header(path, &backing, &size, err) < 0)
        return -1;
    if (!backing)
        return 0;
    if (bf_libvirt_tool(lv, argv, deadline, NULL, err) < 0)
        return bf_fail_in(err, "detaching %s", path);
    return bf_libvirt_sync(path, err);
}

int bf_libvirt_detach_clone(struct bf_platform *platform, const char *machine_ref,
                            const char *clone_ref, struct bf_deadline deadline,
                            struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_clone clone = {0};
    bf_auto_free char *uuid = NULL;
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    bf_auto_libvirt_domain domain = {0};

    if (bf_libvirt_machine_id(platform, machine_ref, &uuid, err) < 0 ||
        bf_libvirt_clone_read(clone_ref, &clone, err) < 0 ||
        bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_lookup(lv, uuid, BF_E_MACHINE_GONE, &vir, err) < 0 ||
        bf_libvirt_describe(lv, vir, &domain, err) < 0)
        return -1;
    if (domain.machine->power == BF_POWER_OFF)
        return detach_off(lv, clone.path, deadline, err);
    return detach_running(lv, vir, &domain, clone.path, deadline, err);
}
