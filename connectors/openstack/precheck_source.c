/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/machine.h"
#include "connectors/openstack/nova.h"
#include "connectors/openstack/place.h"
#include "connectors/openstack/pools.h"
#include "connectors/openstack/source.h"

/* --- the server --- */

static void check_state(struct json_object *server, struct bf_findings *findings)
{
    const char *status = bf_cloud_text(server, "status");
    enum bf_power power = bf_nova_power_of(server);

    if (power == BF_POWER_UNKNOWN || bf_starts_with(status, "SHELVED"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-server-status", NULL, status,
                        "ACTIVE, SHUTOFF, PAUSED or SUSPENDED",
                        "in other states its volumes are not attached, or change under way",
                        "bring the server into one of these states");
    if (bf_cloud_bool(server, "locked"))
        bf_findings_add(findings, BF_SEVERITY_WARN, "openstack-server-locked", NULL,
                        "the server is locked", "a server that this account may stop",
                        "a cutover stops it; only an admin can stop a locked server",
                        "unlock it (openstack server unlock) before the cutover");
}

static void check_machine(const struct bf_machine *machine, struct bf_findings *findings)
{
    for (size_t i = 0; i < machine->disk_count; i++)
        if (bf_streq(machine->disks[i].format, BF_CLOUD_LOCAL_FORMAT))
            bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-root-on-image",
                            machine->disks[i].key,
                            "the root disk lies on the compute host, not in a volume",
                            "a server that boots from a volume",
                            "Nova has no snapshots with change maps of local disks",
                            "rebuild it on a volume made from an image of the server");
    if (machine->firmware != BF_FIRMWARE_BIOS)
        bf_findings_add(
            findings, BF_SEVERITY_WARN, "openstack-uefi-variables", NULL,
            "the server boots by UEFI", "EFI/BOOT/BOOTX64.EFI on its disk",
            "Nova gives its UEFI variables to nobody: boot entries are not carried along",
            "make sure that the guest's boot loader is installed as the fallback, too "
            "(grub-install --removable)");
}

/* Is one point in time of all disks to be had? */
static void check_consistency(const struct bf_cloud *cloud, const struct bf_machine *machine,
                              struct json_object *hardware, struct bf_findings *findings)
{
    if (!bf_cloud_bool(hardware, "hw_qemu_guest_agent"))
        bf_findings_add(findings, BF_SEVERITY_INFO, "openstack-no-agent", NULL,
                        "no hw_qemu_guest_agent in the boot volume's image metadata",
                        "hw_qemu_guest_agent=yes, set before the server was started",
                        "only then Nova freezes the file systems; rounds hold what a power cut "
                        "would leave",
                        "set it and os_require_quiesce=yes on the boot volume, install "
                        "qemu-guest-agent, stop and start the server");
    else if (!bf_cloud_bool(hardware, "os_require_quiesce"))
        bf_findings_add(findings, BF_SEVERITY_INFO, "openstack-quiesce-unsure", NULL,
                        "no os_require_quiesce in the boot volume's image metadata",
                        "os_require_quiesce=yes",
                        "without it Nova does not tell whether the guest was frozen",
                        "set it on the boot volume, stop and start the server");
    if (machine->disk_count > 1 && cloud->conf.multi_disk == BF_CLOUD_SEQUENTIAL &&
        !bf_cloud_bool(hardware, "hw_qemu_guest_agent"))
        bf_findings_add(
            findings, BF_SEVERITY_WARN, "openstack-disks-apart", NULL,
            "several disks, no guest agent", "one point in time of all disks",
            "Cinder takes snapshots one after the other, some tenths of a second apart: "
            "a volume group or database over several disks may not be consistent",
            "use the guest agent, or option multi_disk \"pause\"; the last round of a "
            "cutover is consistent in any case");
}

/* --- its volumes --- */

static void check_volume(struct json_object *item, struct bf_findings *findings)
{
    struct json_object *volume = bf_cloud_at(item, "volume");
    const char *key = bf_cloud_text(item, "key");
    const char *status = bf_cloud_text(volume, "status");

    if (!bf_streq(status, "in-use"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-volume-status", key,
                        status ? status : "no status", "in-use",
                        "a volume that is being moved, extended or is in an error has no snapshots",
                        "wait for the operation's end, or see openstack volume show");
    if (bf_cloud_bool(volume, "encrypted"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-encrypted", key,
                        "the volume is encrypted by Cinder", "a volume type without encryption",
                        "its image holds cipher text, whose key is Barbican's",
                        "retype the volume to a type without encryption");
    if (bf_cloud_bool(volume, "multiattach"))
        bf_findings_add(findings, BF_SEVERITY_WARN, "openstack-multiattach", key,
                        "the volume may be attached to several servers", "one writer",
                        "what other servers write is not consistent with this one's shutdown",
                        "stop the other servers before the cutover");
}

/* Its RBD image, as this service sees it. */
static void check_place(struct bf_cloud *cloud, struct json_object *item, const char *fsid,
                        struct bf_findings *findings)
{
    const char *key = bf_cloud_text(item, "key");
    const char *attachment = bf_cloud_id(item, "attachment");
    bf_auto_json *connection = NULL;
    bf_auto_rbd_place place = {0};
    bf_auto_error trouble = BF_ERROR_INIT;
    struct bf_rbd_info info = {0};

    if (!attachment)
        return; /* its status was found fault with */
    if (bf_cinder_connection(cloud, attachment, &connection, &trouble) < 0) {
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-connection-hidden", key,
                        trouble.message, "the attachment's connection_info",
                        "it tells in which pool and image the volume is",
                        "use an account whose role sees it (docs/platforms/openstack.md)");
        return;
    }
    if (bf_rbd_place_read(cloud, connection, &place, &trouble) < 0) {
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-not-rbd", key, trouble.message,
                        "a volume on Ceph RBD", "snapshots are read by librbd",
                        "retype the volume to a type on RBD");
        return;
    }
    bf_auto_free char *uri = bf_rbd_place_uri(cloud, &place, NULL);
    if (bf_rbd_place_info(cloud, uri, &info, &trouble) < 0) {
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-ceph-access", key, trouble.message,
                        "a ceph.conf and a key that read the pool",
                        "the volume's bytes are read from the cluster itself",
                        "see ceph_conf and ceph_user in the platform's options, and the caps in "
                        "docs/platforms/openstack.md");
        return;
    }
    if (fsid && !bf_streq(fsid, info.fsid))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-other-cluster", key, info.fsid,
                        fsid, "the ceph.conf names another cluster than Cinder's",
                        "give the ceph.conf of the cluster that Cinder uses");
    if (!info.fast_diff)
        bf_findings_add(
            findings, BF_SEVERITY_WARN, "openstack-no-fast-diff", key,
            "the image has no valid object map", "features object-map and fast-diff",
            "each round asks every object of the disk for its changes",
            "rbd feature enable POOL/IMAGE object-map fast-diff; rbd object-map rebuild");
}

/* The fsid that Cinder names for a volume's backend, where that is told. */
static char *fsid_of(struct json_object *pools, struct json_object *volume)
{
    const char *host = bf_cloud_text(volume, "os-vol-host-attr:host");

    for (size_t i = 0; host && i < json_object_array_length(pools); i++) {
        struct json_object *pool = json_object_array_get_idx(pools, i);

        if (bf_streq(bf_cloud_text(pool, "name"), host))
            return bf_cinder_pool_fsid(pool);
    }
    return NULL;
}

static void check_quota(struct json_object *limits, const char *name, uint64_t more,
                        struct bf_findings *findings)
{
    struct json_object *limit = bf_cloud_at(limits, name);
    uint64_t most = bf_cloud_number(limit, "limit"), used = bf_cloud_number(limit, "used");

    if (!limit || used + more <= most)
        return;
    bf_auto_free char *found =
        bf_xasprintf("%llu of %llu used", (unsigned long long)used, (unsigned long long)most);
    bf_auto_free char *needed = bf_xasprintf("%llu more", (unsigned long long)more);
    bf_findings_add(findings, BF_SEVERITY_BLOCK, "openstack-source-quota", name, found, needed,
                    "each round has a snapshot of every disk, and keeps it to the next one",
                    "raise the project's quota, or remove snapshots");
}

int bf_cloud_source_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                             struct bf_findings *findings, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *server = NULL;
    bf_auto_json *volumes = NULL;
    bf_auto_json *pools = NULL;
    bf_auto_json *limits = NULL;
    struct json_object *hardware = NULL;
    uint64_t gigabytes = 0;

    if (bf_nova_server(cloud, machine->id, &server, err) < 0 ||
        bf_cloud_server_volumes(cloud, server, &volumes, err) < 0 ||
        bf_cinder_pools(cloud, &pools, err) < 0 || bf_cloud_limits(cloud, &limits, err) < 0)
        return -1;
    check_state(server, findings);
    check_machine(machine, findings);
    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        struct json_object *item = json_object_array_get_idx(volumes, i);
        struct json_object *volume = bf_cloud_at(item, "volume");
        bf_auto_free char *fsid = fsid_of(pools, volume);

        if (bf_platform_check_cancel(platform, err) < 0)
            return -1;
        if (bf_cloud_bool(volume, "bootable"))
            hardware = bf_cloud_at(volume, "volume_image_metadata");
        gigabytes += bf_cloud_number(volume, "size");
        check_volume(item, findings);
        check_place(cloud, item, fsid, findings);
    }
    check_consistency(cloud, machine, hardware, findings);
    /* Two sets while one round hands over to the next. */
    check_quota(limits, "snapshots", 2 * json_object_array_length(volumes), findings);
    check_quota(limits, "gigabytes", 2 * gigabytes, findings);
    return 0;
}
