/* SPDX-License-Identifier: Apache-2.0 */
/* Launched machines.
 *
 * Nova has no server that is switched off from the start: POST /servers boots it.  So "create"
 * makes the ports, marks the volumes, chooses the flavor, and writes down in the ref what is to be
 * asked; the ref is the machine's id for the power functions, and the first "power on" asks for the
 * server. Until then the machine is off, as the seam promises, and a crash in between leaves ports.
 *
 * The server carries the tag as a Nova tag and in its metadata; a port has the name
 * "<tag>-<number>".
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/boot_image.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/companion.h"
#include "connectors/openstack/launch.h"
#include "connectors/openstack/neutron.h"
#include "connectors/openstack/nova.h"
#include "connectors/openstack/refs.h"
#include "connectors/openstack/target.h"

#define NAME_MAX_BYTES 200

/* --- ports --- */

/* All of this tag, also those of an earlier try. */
int bf_cloud_launch_ports(struct bf_cloud *cloud, const char *tag, struct json_object **ret_ports,
                          struct bf_error *err)
{
    bf_auto_free char *prefix = bf_xasprintf("%s-", tag);
    bf_auto_json *all = NULL;
    bf_auto_json *ours = json_object_new_array();

    if (bf_neutron_ports(cloud, NULL, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *port = json_object_array_get_idx(all, i);
        const char *name = bf_cloud_text(port, "name");

        if (name && bf_starts_with(name, prefix) && bf_cloud_id(port, "id"))
            json_object_array_add(ours, json_object_get(port));
    }
    *ret_ports = bf_steal(ours);
    return 0;
}

static const char *port_named(struct json_object *ports, const char *name)
{
    for (size_t i = 0; i < json_object_array_length(ports); i++) {
        struct json_object *port = json_object_array_get_idx(ports, i);

        if (bf_streq(bf_cloud_text(port, "name"), name))
            return bf_cloud_id(port, "id");
    }
    return NULL;
}

/* The address of a port that was asked for by a process that was killed is taken as soon as the
 * port is listed. */
static int need_port(struct bf_cloud *cloud, const struct bf_launch_request *request,
                     const struct bf_launch_nic *nic, const char *name, struct json_object *ids,
                     struct bf_error *err)
{
    bf_auto_error refused = BF_ERROR_INIT;
    bf_auto_json *network = NULL;
    bf_auto_json *port = NULL;
    bf_auto_json *present = NULL;

    if (bf_neutron_network(cloud, nic->network, &network, err) < 0)
        return -1;
    struct bf_neutron_port wanted = {.name = name,
                                     .network_id = bf_cloud_id(network, "id"),
                                     .mac = nic->nic->mac,
                                     .addresses = nic->nic->addresses,
                                     .security_groups = request->security_groups};
    if (bf_neutron_create_port(cloud, &wanted, &port, &refused) == 0) {
        json_object_array_add(ids, json_object_new_string(bf_cloud_id(port, "id")));
        return 0;
    }
    if (refused.code == BF_E_EXISTS &&
        bf_cloud_launch_ports(cloud, request->tag, &present, err) < 0)
        return -1;
    const char *id = present ? port_named(present, name) : NULL;
    if (!id) {
        bf_error_move(err, &refused);
        return bf_fail_in(err, "network '%s'", nic->network);
    }
    json_object_array_add(ids, json_object_new_string(id));
    return 0;
}

static int create_ports(struct bf_cloud *cloud, const struct bf_launch_request *request,
                        struct json_object *ref, struct bf_error *err)
{
    struct json_object *ids = json_object_new_array();
    bf_auto_json *present = NULL;

    json_object_object_add(ref, "ports", ids);
    if (bf_cloud_launch_ports(cloud, request->tag, &present, err) < 0)
        return -1;
    for (size_t i = 0; i < request->nic_count; i++) {
        const struct bf_launch_nic *nic = &request->nics[i];
        bf_auto_free char *name = bf_xasprintf("%s-%zu", request->tag, i);
        const char *id = port_named(present, name);

        if (id)
            json_object_array_add(ids, json_object_new_string(id));
        else if (need_port(cloud, request, nic, name, ids, err) < 0)
            return -1;
    }
    return 0;
}

/* --- volumes --- */

static size_t boot_disk(const struct bf_launch_request *request)
{
    size_t best = 0;

    for (size_t i = 0; i < request->disk_count; i++) {
        int order = request->disks[i].disk ? request->disks[i].disk->boot_order : 0;
        int best_order = request->disks[best].disk ? request->disks[best].disk->boot_order : 0;

        if (order > 0 && (best_order == 0 || order < best_order))
            best = i;
    }
    return best;
}

/* What Nova builds the virtual hardware by. */
static struct json_object *hardware(const struct bf_launch_request *request)
{
    const struct bf_machine *machine = request->machine;
    struct json_object *metadata = json_object_new_object();
    bool uefi = machine->firmware != BF_FIRMWARE_BIOS;
    bool windows = machine->guest_os && strcasestr(machine->guest_os, "win") &&
                   !strcasestr(machine->guest_os, "darwin");

    bf_json_add_string(metadata, "hw_firmware_type", uefi ? "uefi" : "bios");
    bf_json_add_string(metadata, "hw_machine_type",
                       uefi || bf_streq(machine->chipset, "q35") ? "q35" : "pc");
    if (machine->firmware == BF_FIRMWARE_UEFI_SECURE)
        bf_json_add_string(metadata, "os_secure_boot", "required");
    bf_json_add_string(metadata, "hw_disk_bus", request->disk_bus ? request->disk_bus : "virtio");
    if (bf_streq(request->disk_bus, "scsi")) /* else QEMU's LSI, which few guests know */
        bf_json_add_string(metadata, "hw_scsi_model", "virtio-scsi");
    bf_json_add_string(metadata, "hw_vif_model", "virtio");
    if (machine->guest_os)
        bf_json_add_string(metadata, "os_type", windows ? "windows" : "linux");
    if (machine->agent)
        bf_json_add_string(metadata, "hw_qemu_guest_agent", "yes");
    return metadata;
}

static int mark_boot_volume(struct bf_cloud *cloud, const char *id,
                            const struct bf_launch_request *request, struct bf_error *err)
{
    struct json_object *bootable = json_object_new_object();
    struct json_object *metadata = json_object_new_object();

    json_object_object_add(metadata, "metadata", hardware(request));
    bf_json_add_bool(bootable, "bootable", true);
    if (bf_cinder_action(cloud, id, "os-set_image_metadata", metadata, BF_CINDER_MINOR, err) < 0) {
        json_object_put(bootable);
        return -1;
    }
    return bf_cinder_action(cloud, id, "os-set_bootable", bootable, BF_CINDER_MINOR, err);
}

static void add_volume(struct json_object *volumes, const char *id, const char *bus, bool boot)
{
    struct json_object *volume = json_object_new_object();

    bf_json_add_string(volume, "id", id);
    bf_json_add_string(volume, "bus", bus);
    bf_json_add_bool(volume, "boot", boot);
    json_object_array_add(volumes, volume);
}

static int add_companion(struct bf_cloud *cloud, const char *tag, const char *boot_id,
                         struct json_object *volumes, struct bf_error *err)
{
    bf_auto_free char *id = NULL;

    if (bf_cloud_companion_make(cloud, tag, boot_id, &id, err) < 0)
        return -1;
    add_volume(volumes, id, "virtio", false);
    return 0;
}

static int ready_volumes(struct bf_cloud *cloud, const struct bf_launch_request *request,
                         struct json_object *ref, struct bf_error *err)
{
    struct json_object *volumes = json_object_new_array();
    size_t boot = boot_disk(request);
    bf_auto_free char *boot_id = NULL;

    json_object_object_add(ref, "volumes", volumes);
    for (size_t i = 0; i < request->disk_count; i++) {
        bf_auto_free char *id = NULL;

        /* A conversion that was killed may hold it still. */
        if (bf_cloud_ref_id(request->disks[i].clone_ref, "volume", &id, err) < 0 ||
            bf_cinder_let_go(cloud, id, err) < 0 ||
            bf_cinder_wait_available(cloud, id, NULL, err) < 0 ||
            (i == boot && mark_boot_volume(cloud, id, request, err) < 0))
            return -1;
        add_volume(volumes, id, request->disk_bus ? request->disk_bus : "virtio", i == boot);
        if (i == boot)
            boot_id = bf_steal(id);
    }
    return request->companion ? add_companion(cloud, request->tag, boot_id, volumes, err) : 0;
}

/* --- create --- */

static int choose_flavor(struct bf_cloud *cloud, const struct bf_launch_request *request,
                         uint64_t disk_gib, struct json_object *ref, struct bf_error *err)
{
    const struct bf_machine *machine = request->machine;
    const char *name = request->flavor ? request->flavor : cloud->conf.flavor;
    struct bf_nova_size size = {.cpus = request->cpus ? request->cpus : machine->cpus,
                                .memory_bytes = request->memory_bytes ? request->memory_bytes
                                                                      : machine->memory_bytes,
                                .disk_gib = disk_gib};
    bf_auto_json *flavor = NULL;

    if (bf_nova_flavor(cloud, name, &size, &flavor, err) < 0)
        return -1;
    bf_json_add_string(ref, "flavor", bf_cloud_id(flavor, "id"));
    return 0;
}

/* Where servers cannot boot from a volume. */
static int make_image(struct bf_cloud *cloud, struct json_object *ref, uint64_t *ret_gib,
                      struct bf_error *err)
{
    struct json_object *volumes = bf_cloud_at(ref, "volumes");

    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        struct json_object *volume = json_object_array_get_idx(volumes, i);
        bf_auto_free char *image = NULL;

        if (!bf_cloud_bool(volume, "boot"))
            continue;
        if (bf_cloud_boot_image(cloud, bf_cloud_text(ref, "tag"), bf_cloud_text(ref, "name"),
                                bf_cloud_id(volume, "id"), &image, ret_gib, err) < 0)
            return -1;
        bf_json_add_string(ref, "image", image);
    }
    return 0;
}

int bf_cloud_create_machine(struct bf_platform *platform, const struct bf_launch_request *request,
                            char **ret_machine_ref, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *ref = json_object_new_object();
    bf_auto_free char *name = bf_xasprintf("%.*s", NAME_MAX_BYTES, request->name);

    uint64_t disk_gib = 0;

    if (request->companion && cloud->conf.boot_from_image)
        return bf_fail(
            err, BF_E_PLATFORM_UNSUPPORTED, 0,
            "boot_ladder sata-first: with option boot \"image\" each machine of a launch "
            "has a copy of its own, and what the first boot installs is lost");
    bf_text_clean(name, false);
    bf_json_add_string(ref, "tag", request->tag);
    bf_json_add_string(ref, "name", name);
    bf_json_add_bool(ref, "drill", request->drill);
    if (ready_volumes(cloud, request, ref, err) < 0 ||
        (cloud->conf.boot_from_image && make_image(cloud, ref, &disk_gib, err) < 0) ||
        choose_flavor(cloud, request, disk_gib, ref, err) < 0 ||
        create_ports(cloud, request, ref, err) < 0)
        return -1;
    *ret_machine_ref = bf_xstrdup(bf_json_text(ref));
    return 0;
}

int bf_cloud_machine_id(struct bf_platform *platform, const char *machine_ref, char **ret_id,
                        struct bf_error *err)
{
    (void)platform;
    (void)err;
    *ret_id = bf_xstrdup(machine_ref);
    return 0;
}
