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

#define BUILD_MS (UINT64_C(15) * 60 * 1000)
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
        bf_auto_json *network = NULL;
        bf_auto_json *port = NULL;

        if (!id) {
            if (bf_neutron_network(cloud, nic->network, &network, err) < 0)
                return -1;
            struct bf_neutron_port wanted = {.name = name,
                                             .network_id = bf_cloud_id(network, "id"),
                                             .mac = nic->nic->mac,
                                             .addresses = nic->nic->addresses,
                                             .security_groups = request->security_groups};
            if (bf_neutron_create_port(cloud, &wanted, &port, err) < 0)
                return bf_fail_in(err, "network '%s'", nic->network);
            id = bf_cloud_id(port, "id");
        }
        json_object_array_add(ids, json_object_new_string(id));
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

/* --- start --- */

int bf_cloud_launch_parse(const char *machine_ref, struct json_object **ret_ref,
                          const char **ret_tag, struct bf_error *err)
{
    if (bf_cloud_ref_parse(machine_ref, ret_ref, err) < 0)
        return -1;
    *ret_tag = bf_cloud_text(*ret_ref, "tag");
    if (!*ret_tag || !bf_tag_valid(*ret_tag))
        return bf_fail(err, BF_E_BAD_JSON, 0, "stored reference: no usable \"tag\"");
    return 0;
}

int bf_cloud_launch_server(struct bf_cloud *cloud, const char *machine_ref, char **ret_server_id,
                           struct bf_error *err)
{
    bf_auto_json *ref = NULL;
    bf_auto_json *servers = NULL;
    const char *tag;

    if (bf_cloud_launch_parse(machine_ref, &ref, &tag, err) < 0 ||
        bf_nova_tagged(cloud, tag, &servers, err) < 0)
        return -1;
    *ret_server_id = json_object_array_length(servers)
                         ? bf_xstrdup(bf_cloud_id(json_object_array_get_idx(servers, 0), "id"))
                         : NULL;
    return 0;
}

/* image NULL: the boot volume is booted itself. */
static struct json_object *block_devices(struct json_object *volumes, const char *image)
{
    struct json_object *devices = json_object_new_array();

    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        struct json_object *volume = json_object_array_get_idx(volumes, i);
        struct json_object *device = json_object_new_object();
        bool boot = bf_cloud_bool(volume, "boot"), local = boot && image;

        bf_json_add_string(device, "uuid", local ? image : bf_cloud_id(volume, "id"));
        bf_json_add_string(device, "source_type", local ? "image" : "volume");
        bf_json_add_string(device, "destination_type", local ? "local" : "volume");
        bf_json_add_string(device, "disk_bus", bf_cloud_text(volume, "bus"));
        bf_json_add_i64(device, "boot_index", boot ? 0 : -1);
        bf_json_add_bool(device, "delete_on_termination", local);
        json_object_array_add(devices, device);
    }
    return devices;
}

static struct json_object *networks(struct json_object *ports)
{
    struct json_object *list;

    if (json_object_array_length(ports) == 0)
        return json_object_new_string("none");
    list = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(ports); i++) {
        struct json_object *port = json_object_new_object();

        json_object_object_add(port, "port", json_object_get(json_object_array_get_idx(ports, i)));
        json_object_array_add(list, port);
    }
    return list;
}

static struct json_object *server_body(const struct bf_cloud *cloud, struct json_object *ref,
                                       const char *tag)
{
    struct json_object *body = json_object_new_object();
    struct json_object *server = json_object_new_object();
    struct json_object *metadata = bf_cloud_metadata(tag, BF_CLOUD_MACHINE_KIND);
    struct json_object *tags = json_object_new_array();
    const char *image = bf_cloud_id(ref, "image");

    json_object_object_add(body, "server", server);
    if (image)
        bf_json_add_string(server, "imageRef", image);
    bf_json_add_string(server, "name", bf_cloud_text(ref, "name"));
    bf_json_add_string(server, "flavorRef", bf_cloud_id(ref, "flavor"));
    if (bf_cloud_bool(ref, "drill"))
        bf_json_add_string(metadata, "blockferry_drill", "yes");
    json_object_object_add(server, "metadata", metadata);
    json_object_array_add(tags, json_object_new_string(tag));
    json_object_object_add(server, "tags", tags);
    json_object_object_add(server, "networks", networks(bf_cloud_at(ref, "ports")));
    json_object_object_add(server, "block_device_mapping_v2",
                           block_devices(bf_cloud_at(ref, "volumes"), image));
    if (cloud->conf.config_drive)
        bf_json_add_bool(server, "config_drive", true);
    return body;
}

static int boot(struct bf_cloud *cloud, struct json_object *ref, const char *tag, char **ret_id,
                struct bf_error *err)
{
    bf_auto_json *body = server_body(cloud, ref, tag);
    bf_auto_json *answer = NULL;
    const char *id;

    if (bf_cloud_call(cloud,
                      &(struct bf_cloud_request){.service = BF_CLOUD_COMPUTE,
                                                 .method = "POST",
                                                 .path = "/servers",
                                                 .minor = BF_NOVA_MINOR,
                                                 .body = body},
                      &answer, err) < 0 ||
        bf_cloud_need_id(answer, "server/id", &id, err) < 0) {
        if (err->code == BF_E_PLATFORM_ERROR || err->code == BF_E_IN_USE)
            bf_error_recode(err, BF_E_LAUNCH_FAILED);
        return -1;
    }
    *ret_id = bf_xstrdup(id);
    return 0;
}

/* A server in an error is of no use, and keeps its volumes. */
int bf_cloud_launch_remove_servers(struct bf_cloud *cloud, struct json_object *servers,
                                   const char *status, struct bf_error *err)
{
    for (size_t i = 0; i < json_object_array_length(servers); i++) {
        struct json_object *server = json_object_array_get_idx(servers, i);

        if ((!status || bf_streq(bf_cloud_text(server, "status"), status)) &&
            bf_nova_delete(cloud, bf_cloud_id(server, "id"), err) < 0)
            return -1;
    }
    return 0;
}

int bf_cloud_launch_start(struct bf_cloud *cloud, const char *machine_ref, struct bf_error *err)
{
    bf_auto_json *ref = NULL;
    bf_auto_json *servers = NULL;
    bf_auto_free char *id = NULL;
    const char *tag;

    if (bf_cloud_launch_parse(machine_ref, &ref, &tag, err) < 0 ||
        bf_nova_tagged(cloud, tag, &servers, err) < 0 ||
        bf_cloud_launch_remove_servers(cloud, servers, "ERROR", err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(servers) && !id; i++) {
        struct json_object *server = json_object_array_get_idx(servers, i);

        if (!bf_streq(bf_cloud_text(server, "status"), "ERROR"))
            id = bf_xstrdup(bf_cloud_id(server, "id"));
    }
    if (!id && boot(cloud, ref, tag, &id, err) < 0)
        return -1;
    if (bf_nova_wait(cloud, id, "ACTIVE", BUILD_MS, err) == 0)
        return 0;
    if (err->code == BF_E_PLATFORM_ERROR) {
        bf_auto_error ignored = BF_ERROR_INIT;

        bf_error_recode(err, BF_E_LAUNCH_FAILED);
        (void)bf_nova_delete(cloud, id, &ignored);
    }
    return -1;
}
