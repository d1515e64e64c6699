/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/neutron.h"
#include "connectors/openstack/nova.h"

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

/* --- volumes of a server --- */

/* The attachment of this server among a volume's. */
static struct json_object *attachment_of(struct json_object *volume, const char *server_id)
{
    struct json_object *attachments = bf_cloud_at(volume, "attachments");

    for (size_t i = 0; json_object_is_type(attachments, json_type_array) &&
                       i < json_object_array_length(attachments);
         i++) {
        struct json_object *attachment = json_object_array_get_idx(attachments, i);

        if (bf_streq(bf_cloud_text(attachment, "server_id"), server_id))
            return attachment;
    }
    return NULL;
}

static char *key_of(struct json_object *attachment, const char *volume_id)
{
    const char *device = bf_cloud_text(attachment, "device");

    if (device && bf_starts_with(device, "/dev/") && device[5])
        return bf_xstrdup(device + 5);
    return bf_xstrdup(volume_id);
}

/* "vda" before "vdb" before "vdaa". */
static int compare_disks(const void *a, const void *b)
{
    const char *key_a = bf_cloud_text(*(struct json_object *const *)a, "key");
    const char *key_b = bf_cloud_text(*(struct json_object *const *)b, "key");
    size_t length_a = strlen(key_a), length_b = strlen(key_b);

    if (length_a != length_b)
        return length_a < length_b ? -1 : 1;
    return strcmp(key_a, key_b);
}

/* known: volumes by id that were listed already, or NULL. */
static int get_volume(struct bf_cloud *cloud, struct json_object *known, const char *id,
                      struct json_object **ret_volume, struct bf_error *err)
{
    struct json_object *volume = NULL;

    if (known && json_object_object_get_ex(known, id, &volume)) {
        *ret_volume = json_object_get(volume);
        return 0;
    }
    return bf_cinder_volume(cloud, id, ret_volume, err);
}

static int server_volumes(struct bf_cloud *cloud, struct json_object *server,
                          struct json_object *known, struct json_object **ret_volumes,
                          struct bf_error *err)
{
    struct json_object *attached = bf_cloud_at(server, "os-extended-volumes:volumes_attached");
    bf_auto_json *volumes = json_object_new_array();

    for (size_t i = 0;
         json_object_is_type(attached, json_type_array) && i < json_object_array_length(attached);
         i++) {
        const char *id = bf_cloud_id(json_object_array_get_idx(attached, i), "id");
        bf_auto_json *volume = NULL;

        if (!id)
            continue;
        if (get_volume(cloud, known, id, &volume, err) < 0) {
            if (err->code != BF_E_VOLUME_GONE)
                return -1;
            bf_error_clear(err); /* just being detached */
            continue;
        }
        struct json_object *attachment = attachment_of(volume, bf_cloud_text(server, "id"));
        struct json_object *item = json_object_new_object();
        bf_auto_free char *key = key_of(attachment, id);
        bf_json_add_string(item, "key", key);
        bf_json_add_string(item, "attachment", bf_cloud_id(attachment, "attachment_id"));
        json_object_object_add(item, "volume", bf_steal(volume));
        json_object_array_add(volumes, item);
    }
    json_object_array_sort(volumes, compare_disks);
    *ret_volumes = bf_steal(volumes);
    return 0;
}

int bf_cloud_server_volumes(struct bf_cloud *cloud, struct json_object *server,
                            struct json_object **ret_volumes, struct bf_error *err)
{
    return server_volumes(cloud, server, NULL, ret_volumes, err);
}

/* --- to the seam's words --- */

static const char *bus_of(const char *key, struct json_object *hardware)
{
    const char *bus = bf_cloud_text(hardware, "hw_disk_bus");

    if (bf_starts_with(key, "vd"))
        return "virtio";
    return bus ? bus : bf_starts_with(key, "hd") ? "ide" : "scsi";
}

static void add_disks(struct bf_machine *machine, struct json_object *server,
                      struct json_object *volumes, struct json_object *hardware)
{
    const char *root = bf_cloud_text(server, "OS-EXT-SRV-ATTR:root_device_name");
    bool from_image = bf_cloud_id(server, "image/id") != NULL;

    if (from_image) {
        struct bf_machine_disk *disk = bf_machine_add_disk(machine);

        disk->key = bf_xstrdup("root");
        disk->bus = bf_xstrdup("virtio");
        disk->format = bf_xstrdup(BF_CLOUD_LOCAL_FORMAT);
        disk->size_bytes = bf_cloud_number(server, "flavor/disk") * GIB;
        disk->boot_order = 1;
    }
    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        struct json_object *item = json_object_array_get_idx(volumes, i);
        struct json_object *volume = bf_cloud_at(item, "volume");
        struct bf_machine_disk *disk = bf_machine_add_disk(machine);
        const char *type = bf_cloud_text(volume, "volume_type");
        const char *name = bf_cloud_text(volume, "name");

        disk->key = bf_xstrdup(bf_cloud_text(item, "key"));
        disk->identity = bf_xstrdup(bf_cloud_text(volume, "id"));
        disk->bus = bf_xstrdup(bus_of(disk->key, hardware));
        disk->source =
            bf_xasprintf("%s (%s)", name && *name ? name : disk->identity, type ? type : "no type");
        disk->size_bytes = bf_cloud_number(volume, "size") * GIB;
        disk->shared = bf_cloud_bool(volume, "multiattach");
        bool boots = root ? bf_starts_with(root, "/dev/") && bf_streq(root + 5, disk->key) : i == 0;
        disk->boot_order = boots && !from_image ? 1 : 0;
    }
}

static const char *network_name(struct json_object *networks, const char *id)
{
    for (size_t i = 0; networks && i < json_object_array_length(networks); i++) {
        struct json_object *network = json_object_array_get_idx(networks, i);

        if (bf_streq(bf_cloud_text(network, "id"), id))
            return bf_cloud_text(network, "name");
    }
    return NULL;
}

static void add_nic(struct bf_machine *machine, struct json_object *port,
                    struct json_object *networks, const char *model)
{
    struct bf_machine_nic *nic = bf_machine_add_nic(machine);
    struct json_object *ips = bf_cloud_at(port, "fixed_ips");
    size_t count = json_object_is_type(ips, json_type_array) ? json_object_array_length(ips) : 0;
    size_t used = 0;

    nic->mac = bf_xstrdup(bf_cloud_text(port, "mac_address"));
    nic->network = bf_xstrdup(network_name(networks, bf_cloud_text(port, "network_id")));
    nic->model = bf_xstrdup(model);
    nic->addresses = bf_xcalloc(count + 1, sizeof(*nic->addresses));
    for (size_t i = 0; i < count; i++) {
        const char *address = bf_cloud_text(json_object_array_get_idx(ips, i), "ip_address");

        if (address)
            nic->addresses[used++] = bf_xstrdup(address);
    }
}

static void add_nics(struct bf_machine *machine, const char *server_id, struct json_object *ports,
                     struct json_object *networks, const char *model)
{
    for (size_t i = 0; ports && i < json_object_array_length(ports); i++) {
        struct json_object *port = json_object_array_get_idx(ports, i);

        if (bf_streq(bf_cloud_text(port, "device_id"), server_id) &&
            bf_cloud_text(port, "mac_address"))
            add_nic(machine, port, networks, model);
    }
}

/* Boot volumes tell the virtual hardware. */
static struct json_object *hardware_of(struct json_object *volumes)
{
    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        struct json_object *volume = bf_cloud_at(json_object_array_get_idx(volumes, i), "volume");

        if (bf_cloud_bool(volume, "bootable"))
            return bf_cloud_at(volume, "volume_image_metadata");
    }
    return NULL;
}

static enum bf_firmware firmware_of(struct json_object *hardware)
{
    if (!bf_streq(bf_cloud_text(hardware, "hw_firmware_type"), "uefi"))
        return BF_FIRMWARE_BIOS;
    return bf_streq(bf_cloud_text(hardware, "os_secure_boot"), "required") ? BF_FIRMWARE_UEFI_SECURE
                                                                           : BF_FIRMWARE_UEFI;
}

static const char *guest_of(struct json_object *hardware)
{
    const char *distro = bf_cloud_text(hardware, "os_distro");

    return distro ? distro : bf_cloud_text(hardware, "os_type");
}

static struct bf_machine *machine_of(struct json_object *server, struct json_object *volumes,
                                     struct json_object *ports, struct json_object *networks)
{
    struct bf_machine *machine = bf_machine_new();
    struct json_object *hardware = hardware_of(volumes);
    const char *type = bf_cloud_text(hardware, "hw_machine_type");
    const char *model = bf_cloud_text(hardware, "hw_vif_model");
    const char *name = bf_cloud_text(server, "name");
    const char *arch = bf_cloud_text(hardware, "hw_architecture");

    machine->id = bf_xstrdup(bf_cloud_text(server, "id"));
    machine->name = bf_xstrdup(name ? name : machine->id);
    machine->power = bf_nova_power_of(server);
    machine->cpus = (unsigned)bf_cloud_number(server, "flavor/vcpus");
    machine->memory_bytes = bf_cloud_number(server, "flavor/ram") * MIB;
    machine->firmware = firmware_of(hardware);
    machine->arch = bf_xstrdup(arch ? arch : "x86_64");
    machine->chipset = type ? bf_xstrdup(strstr(type, "q35") ? "q35" : "pc") : NULL;
    machine->guest_os = bf_xstrdup(guest_of(hardware));
    machine->agent = bf_cloud_bool(hardware, "hw_qemu_guest_agent");
    add_disks(machine, server, volumes, hardware);
    add_nics(machine, machine->id, ports, networks, model ? model : "virtio");
    return machine;
}

/* --- list --- */

struct listing {
    struct bf_cloud *cloud;
    struct json_object *volumes; /* id -> volume */
    struct json_object *ports;
    struct json_object *networks;
    bf_machine_fn *fn;
    void *user;
    struct bf_error *err;
    bool failed;
};

static int keep_volume(struct json_object *volume, void *user)
{
    const char *id = bf_cloud_id(volume, "id");

    if (id)
        json_object_object_add(user, id, json_object_get(volume));
    return 0;
}

static int on_server(struct json_object *server, void *user)
{
    struct listing *listing = user;
    bf_auto_json *volumes = NULL;

    if (!bf_cloud_id(server, "id"))
        return 0;
    if (server_volumes(listing->cloud, server, listing->volumes, &volumes, listing->err) < 0) {
        listing->failed = true;
        return 1;
    }
    bf_auto_machine *machine = machine_of(server, volumes, listing->ports, listing->networks);
    return listing->fn(machine, listing->user);
}

static int list_networks(struct bf_cloud *cloud, struct json_object **ret_networks,
                         struct bf_error *err)
{
    return bf_cloud_collect(
        cloud, &(struct bf_cloud_request){.service = BF_CLOUD_NETWORK, .path = "/networks"},
        "networks", ret_networks, err);
}

int bf_cloud_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                      struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *volumes = json_object_new_object();
    bf_auto_json *ports = NULL;
    bf_auto_json *networks = NULL;
    struct bf_cloud_request request = {
        .service = BF_CLOUD_VOLUME, .path = "/volumes/detail", .minor = BF_CINDER_MINOR};

    if (bf_cloud_list(cloud, &request, "volumes", keep_volume, volumes, err) < 0 ||
        bf_neutron_ports(cloud, NULL, &ports, err) < 0 || list_networks(cloud, &networks, err) < 0)
        return -1;
    struct listing listing = {.cloud = cloud,
                              .volumes = volumes,
                              .ports = ports,
                              .networks = networks,
                              .fn = fn,
                              .user = user,
                              .err = err};
    if (bf_nova_list(cloud, on_server, &listing, err) < 0 || listing.failed)
        return -1;
    return 0;
}

/* --- one --- */

struct search {
    const char *name;
    char *id;
    unsigned count;
};

static int match_name(struct json_object *server, void *user)
{
    struct search *search = user;

    if (bf_streq(bf_cloud_text(server, "name"), search->name) && bf_cloud_id(server, "id")) {
        free(search->id);
        search->id = bf_xstrdup(bf_cloud_id(server, "id"));
        search->count++;
    }
    return 0;
}

static int find_by_name(struct bf_cloud *cloud, const char *name, char **ret_id,
                        struct bf_error *err)
{
    struct search search = {.name = name};

    if (bf_nova_list(cloud, match_name, &search, err) < 0 || search.count != 1) {
        free(search.id);
        if (bf_error_is_set(err))
            return -1;
        if (search.count)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "%u servers are called %s: name it by its id",
                           search.count, name);
        return bf_fail(err, BF_E_NO_SUCH_MACHINE, 0, "server %s", name);
    }
    *ret_id = search.id;
    return 0;
}

static bool looks_like_id(const char *text)
{
    return strlen(text) == BF_UUID_LENGTH && strspn(text, "0123456789abcdef-") == BF_UUID_LENGTH;
}

static int find(struct bf_cloud *cloud, const char *id_or_name, struct json_object **ret_server,
                struct bf_error *err)
{
    bf_auto_free char *id = NULL;

    if (looks_like_id(id_or_name)) {
        if (bf_nova_server(cloud, id_or_name, ret_server, err) == 0)
            return 0;
        if (err->code != BF_E_NO_SUCH_MACHINE)
            return -1;
        bf_error_clear(err);
    }
    if (find_by_name(cloud, id_or_name, &id, err) < 0)
        return -1;
    return bf_nova_server(cloud, id, ret_server, err);
}

int bf_cloud_machine(struct bf_platform *platform, const char *id_or_name,
                     struct bf_machine **ret_machine, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *server = NULL;
    bf_auto_json *volumes = NULL;
    bf_auto_json *ports = NULL;
    bf_auto_json *networks = NULL;

    if (find(cloud, id_or_name, &server, err) < 0 ||
        server_volumes(cloud, server, NULL, &volumes, err) < 0)
        return -1;
    bf_auto_free char *query = bf_xasprintf("device_id=%s", bf_cloud_text(server, "id"));
    if (bf_neutron_ports(cloud, query, &ports, err) < 0 || list_networks(cloud, &networks, err) < 0)
        return -1;
    *ret_machine = machine_of(server, volumes, ports, networks);
    return 0;
}
