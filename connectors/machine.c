/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/machine.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

static const char *const power_names[BF_POWER_MAX] = {
    [BF_POWER_UNKNOWN] = "unknown",
    [BF_POWER_ON] = "on",
    [BF_POWER_OFF] = "off",
    [BF_POWER_PAUSED] = "paused",
};

static const char *const firmware_names[BF_FIRMWARE_MAX] = {
    [BF_FIRMWARE_BIOS] = "bios",
    [BF_FIRMWARE_UEFI] = "uefi",
    [BF_FIRMWARE_UEFI_SECURE] = "uefi-secure",
};

struct bf_machine *bf_machine_new(void)
{
    return bf_xcalloc(1, sizeof(struct bf_machine));
}

void bf_machine_free(struct bf_machine *machine)
{
    if (!machine)
        return;
    for (size_t i = 0; i < machine->disk_count; i++) {
        struct bf_machine_disk *disk = &machine->disks[i];
        free(disk->key);
        free(disk->identity);
        free(disk->bus);
        free(disk->format);
        free(disk->source);
    }
    for (size_t i = 0; i < machine->nic_count; i++) {
        struct bf_machine_nic *nic = &machine->nics[i];
        free(nic->mac);
        free(nic->network);
        free(nic->model);
        for (size_t j = 0; nic->addresses && nic->addresses[j]; j++)
            free(nic->addresses[j]);
        free(nic->addresses);
    }
    free(machine->disks);
    free(machine->nics);
    free(machine->id);
    free(machine->name);
    free(machine->arch);
    free(machine->chipset);
    free(machine->guest_os);
    free(machine);
}

/* The count is the capacity too: machines have few disks, growth by one is cheap enough. */
struct bf_machine_disk *bf_machine_add_disk(struct bf_machine *machine)
{
    size_t capacity = machine->disk_count;

    bf_xgrow(&machine->disks, &capacity, machine->disk_count + 1, sizeof(*machine->disks));
    machine->disks[machine->disk_count] = (struct bf_machine_disk){0};
    return &machine->disks[machine->disk_count++];
}

struct bf_machine_nic *bf_machine_add_nic(struct bf_machine *machine)
{
    size_t capacity = machine->nic_count;

    bf_xgrow(&machine->nics, &capacity, machine->nic_count + 1, sizeof(*machine->nics));
    machine->nics[machine->nic_count] = (struct bf_machine_nic){0};
    return &machine->nics[machine->nic_count++];
}

const struct bf_machine_disk *bf_machine_disk(const struct bf_machine *machine, const char *key)
{
    for (size_t i = 0; i < machine->disk_count; i++) {
        if (bf_streq(machine->disks[i].key, key))
            return &machine->disks[i];
    }
    return NULL;
}

static struct json_object *disk_to_json(const struct bf_machine_disk *disk)
{
    struct json_object *object = json_object_new_object();

    bf_json_add_string(object, "key", disk->key);
    bf_json_add_string(object, "identity", disk->identity);
    bf_json_add_string(object, "bus", disk->bus);
    bf_json_add_string(object, "format", disk->format);
    bf_json_add_string(object, "source", disk->source);
    bf_json_add_u64(object, "size_bytes", disk->size_bytes);
    bf_json_add_u64(object, "boot_order", disk->boot_order > 0 ? (uint64_t)disk->boot_order : 0);
    bf_json_add_bool(object, "read_only", disk->read_only);
    bf_json_add_bool(object, "shared", disk->shared);
    bf_json_add_bool(object, "removable", disk->removable);
    return object;
}

static struct json_object *nic_to_json(const struct bf_machine_nic *nic)
{
    struct json_object *object = json_object_new_object();

    bf_json_add_string(object, "mac", nic->mac);
    bf_json_add_string(object, "network", nic->network);
    bf_json_add_string(object, "model", nic->model);
    struct json_object *addresses = NULL;
    if (nic->addresses) {
        addresses = json_object_new_array();
        for (size_t i = 0; nic->addresses[i]; i++)
            json_object_array_add(addresses, json_object_new_string(nic->addresses[i]));
    }
    json_object_object_add(object, "addresses", addresses);
    return object;
}

struct json_object *bf_machine_to_json(const struct bf_machine *machine)
{
    struct json_object *object = json_object_new_object();

    bf_json_add_string(object, "id", machine->id);
    bf_json_add_string(object, "name", machine->name);
    bf_json_add_string(object, "power", bf_power_to_string(machine->power));
    bf_json_add_u64(object, "cpus", machine->cpus);
    bf_json_add_u64(object, "memory_bytes", machine->memory_bytes);
    bf_json_add_string(object, "firmware", bf_firmware_to_string(machine->firmware));
    bf_json_add_string(object, "arch", machine->arch);
    bf_json_add_string(object, "chipset", machine->chipset);
    bf_json_add_string(object, "guest_os", machine->guest_os);
    bf_json_add_bool(object, "agent", machine->agent);
    struct json_object *disks = json_object_new_array();
    for (size_t i = 0; i < machine->disk_count; i++)
        json_object_array_add(disks, disk_to_json(&machine->disks[i]));
    json_object_object_add(object, "disks", disks);
    struct json_object *nics = json_object_new_array();
    for (size_t i = 0; i < machine->nic_count; i++)
        json_object_array_add(nics, nic_to_json(&machine->nics[i]));
    json_object_object_add(object, "nics", nics);
    return object;
}

static int disk_from_json(struct json_object *json, const char *path, struct bf_machine_disk *disk,
                          struct bf_error *err)
{
    const char *key, *identity = NULL, *bus = NULL, *format = NULL, *source = NULL;
    uint64_t boot_order = 0;

    if (bf_json_get_string(json, path, "key", &key, err) < 0 ||
        bf_json_opt_string(json, path, "identity", &identity, err) < 0 ||
        bf_json_opt_string(json, path, "bus", &bus, err) < 0 ||
        bf_json_opt_string(json, path, "format", &format, err) < 0 ||
        bf_json_opt_string(json, path, "source", &source, err) < 0 ||
        bf_json_get_u64(json, path, "size_bytes", &disk->size_bytes, err) < 0 ||
        bf_json_opt_u64(json, path, "boot_order", &boot_order, err) < 0 ||
        bf_json_opt_bool(json, path, "read_only", &disk->read_only, err) < 0 ||
        bf_json_opt_bool(json, path, "shared", &disk->shared, err) < 0 ||
        bf_json_opt_bool(json, path, "removable", &disk->removable, err) < 0)
        return -1;
    if (boot_order > 1000)
        return bf_fail(err, BF_E_BAD_JSON, 0, "%s.boot_order: at most 1000", path);
    disk->boot_order = (int)boot_order;
    disk->key = bf_xstrdup(key);
    disk->identity = bf_xstrdup(identity);
    disk->bus = bf_xstrdup(bus);
    disk->format = bf_xstrdup(format);
    disk->source = bf_xstrdup(source);
    return 0;
}

static int addresses_from_json(struct json_object *array, const char *path,
                               struct bf_machine_nic *nic, struct bf_error *err)
{
    size_t count = json_object_array_length(array);

    nic->addresses = bf_xcalloc(count + 1, sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        struct json_object *item = json_object_array_get_idx(array, i);
        if (!json_object_is_type(item, json_type_string))
            return bf_fail(err, BF_E_BAD_JSON, 0, "%s.addresses[%zu]: expected string", path, i);
        nic->addresses[i] = bf_xstrdup(json_object_get_string(item));
    }
    return 0;
}

static int nic_from_json(struct json_object *json, const char *path, struct bf_machine_nic *nic,
                         struct bf_error *err)
{
    const char *mac = NULL, *network = NULL, *model = NULL;
    struct json_object *addresses = NULL;

    if (bf_json_opt_string(json, path, "mac", &mac, err) < 0 ||
        bf_json_opt_string(json, path, "network", &network, err) < 0 ||
        bf_json_opt_string(json, path, "model", &model, err) < 0 ||
        bf_json_opt_array(json, path, "addresses", &addresses, err) < 0)
        return -1;
    nic->mac = bf_xstrdup(mac);
    nic->network = bf_xstrdup(network);
    nic->model = bf_xstrdup(model);
    return addresses ? addresses_from_json(addresses, path, nic, err) : 0;
}

static int lists_from_json(struct json_object *json, struct bf_machine *machine,
                           struct bf_error *err)
{
    struct json_object *disks, *nics;

    if (bf_json_get_array(json, "", "disks", &disks, err) < 0 ||
        bf_json_get_array(json, "", "nics", &nics, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(disks); i++) {
        bf_auto_free char *path = bf_xasprintf("disks[%zu]", i);
        if (disk_from_json(json_object_array_get_idx(disks, i), path, bf_machine_add_disk(machine),
                           err) < 0)
            return -1;
    }
    for (size_t i = 0; i < json_object_array_length(nics); i++) {
        bf_auto_free char *path = bf_xasprintf("nics[%zu]", i);
        if (nic_from_json(json_object_array_get_idx(nics, i), path, bf_machine_add_nic(machine),
                          err) < 0)
            return -1;
    }
    return 0;
}

int bf_machine_from_json(struct json_object *json, struct bf_machine **ret_machine,
                         struct bf_error *err)
{
    bf_auto_machine *machine = bf_machine_new();
    const char *id, *name, *power = NULL, *firmware = "bios";
    const char *arch = NULL, *chipset = NULL, *guest_os = NULL;
    uint64_t cpus;

    if (bf_json_get_string(json, "", "id", &id, err) < 0 ||
        bf_json_get_string(json, "", "name", &name, err) < 0 ||
        bf_json_opt_string(json, "", "power", &power, err) < 0 ||
        bf_json_get_u64(json, "", "cpus", &cpus, err) < 0 ||
        bf_json_get_u64(json, "", "memory_bytes", &machine->memory_bytes, err) < 0 ||
        bf_json_opt_string(json, "", "firmware", &firmware, err) < 0 ||
        bf_json_opt_string(json, "", "arch", &arch, err) < 0 ||
        bf_json_opt_string(json, "", "chipset", &chipset, err) < 0 ||
        bf_json_opt_string(json, "", "guest_os", &guest_os, err) < 0 ||
        bf_json_opt_bool(json, "", "agent", &machine->agent, err) < 0 ||
        bf_firmware_from_string(firmware, &machine->firmware, err) < 0)
        return -1;
    if (cpus > 65536)
        return bf_fail(err, BF_E_BAD_JSON, 0, "cpus: at most 65536");
    machine->cpus = (unsigned)cpus;
    machine->power = bf_power_from_string(power);
    machine->id = bf_xstrdup(id);
    machine->name = bf_xstrdup(name);
    machine->arch = bf_xstrdup(arch);
    machine->chipset = bf_xstrdup(chipset);
    machine->guest_os = bf_xstrdup(guest_os);
    if (lists_from_json(json, machine, err) < 0)
        return -1;
    *ret_machine = bf_steal(machine);
    return 0;
}

const char *bf_power_to_string(enum bf_power power)
{
    return (unsigned)power < BF_POWER_MAX ? power_names[power] : power_names[BF_POWER_UNKNOWN];
}

enum bf_power bf_power_from_string(const char *text)
{
    for (unsigned i = 0; i < BF_POWER_MAX; i++) {
        if (bf_streq(text, power_names[i]))
            return (enum bf_power)i;
    }
    return BF_POWER_UNKNOWN;
}

const char *bf_firmware_to_string(enum bf_firmware firmware)
{
    return (unsigned)firmware < BF_FIRMWARE_MAX ? firmware_names[firmware] : "unknown";
}

int bf_firmware_from_string(const char *text, enum bf_firmware *ret_firmware, struct bf_error *err)
{
    for (unsigned i = 0; i < BF_FIRMWARE_MAX; i++) {
        if (bf_streq(text, firmware_names[i])) {
            *ret_firmware = (enum bf_firmware)i;
            return 0;
        }
    }
    return bf_fail(err, BF_E_BAD_INPUT, 0, "unknown firmware \"%s\"", text ? text : "");
}
