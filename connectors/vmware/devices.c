/* SPDX-License-Identifier: Apache-2.0 */
/* The hardware of a machine: controllers, disks, nics. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/machine.h"

/* clang-format off */
static const struct { const char *type, *bus; } controllers[] = {
    {"ParaVirtualSCSIController", "scsi"},  {"VirtualLsiLogicController", "scsi"},
    {"VirtualLsiLogicSASController", "scsi"}, {"VirtualBusLogicController", "scsi"},
    {"VirtualAHCIController", "sata"},      {"VirtualIDEController", "ide"},
    {"VirtualNVMEController", "nvme"},
};
static const struct { const char *type, *model; } nics[] = {
    {"VirtualE1000", "e1000"},     {"VirtualE1000e", "e1000e"}, {"VirtualVmxnet3", "vmxnet3"},
    {"VirtualVmxnet2", "vmxnet2"}, {"VirtualVmxnet", "vmxnet"}, {"VirtualPCNet32", "pcnet"},
    {"VirtualSriovEthernetCard", "sriov"},
};
/* clang-format on */

static int number(xmlNodePtr device, const char *path)
{
    bf_auto_free char *text = bf_vmware_text(device, path);

    return text ? (int)strtol(text, NULL, 10) : -1; /* keys of unfinished devices are negative */
}

static const struct bf_vmware_device *by_key(const struct bf_vmware_machine *machine, int key)
{
    for (size_t i = 0; i < machine->device_count; i++) {
        if (machine->devices[i].key == key)
            return &machine->devices[i];
    }
    return NULL;
}

static const char *bus_of(const struct bf_vmware_device *controller)
{
    for (size_t i = 0; controller && i < bf_array_length(controllers); i++) {
        if (bf_streq(controllers[i].type, controller->type))
            return controllers[i].bus;
    }
    return "scsi";
}

bool bf_vmware_device_is_nic(const char *type)
{
    for (size_t i = 0; i < bf_array_length(nics); i++) {
        if (bf_streq(nics[i].type, type))
            return true;
    }
    return false;
}

bool bf_vmware_disk_snapshots(const struct bf_vmware_disk *disk)
{
    return !(disk->mode && bf_starts_with(disk->mode, "independent")) &&
           !bf_streq(disk->compatibility, "physicalMode");
}

static char **parents_of(xmlNodePtr backing)
{
    char **list = NULL;
    size_t count = 0, capacity = 0;

    for (xmlNodePtr at = bf_vmware_child(backing, "parent"); at;
         at = bf_vmware_child(at, "parent")) {
        char *file = bf_vmware_text(at, "fileName");

        if (!file)
            continue;
        bf_xgrow(&list, &capacity, count + 2, sizeof(*list));
        list[count++] = file;
    }
    return list;
}

static void add_disk(struct bf_vmware_machine *machine, xmlNodePtr device)
{
    const struct bf_vmware_device *controller = by_key(machine, number(device, "controllerKey"));
    xmlNodePtr backing = bf_vmware_child(device, "backing");
    uint64_t kib = bf_vmware_number(device, "capacityInKB", 0);

    bf_xgrow(&machine->disks, &machine->disk_capacity, machine->disk_count + 1,
             sizeof(*machine->disks));
    struct bf_vmware_disk *disk = &machine->disks[machine->disk_count++];
    *disk = (struct bf_vmware_disk){
        .key = bf_xasprintf("%d", number(device, "key")),
        .file = bf_vmware_text(backing, "fileName"),
        .uuid = bf_vmware_text(backing, "uuid"),
        .change_id = bf_vmware_text(backing, "changeId"),
        .backing = backing ? bf_vmware_type(backing) : NULL,
        .mode = bf_vmware_text(backing, "diskMode"),
        .sharing = bf_vmware_text(backing, "sharing"),
        .compatibility = bf_vmware_text(backing, "compatibilityMode"),
        .key_id = bf_vmware_text(backing, "keyId/keyId"),
        .datastore = bf_vmware_text(backing, "datastore"),
        .controller = bf_xstrdup(controller ? controller->type : NULL),
        .shared_bus = bf_xstrdup(controller ? controller->shared_bus : NULL),
        .place = controller ? bf_xasprintf("%s%d:%d", controller->type ? controller->type : "",
                                           controller->bus, number(device, "unitNumber"))
                            : NULL,
        .content_id = bf_vmware_text(backing, "contentId"),
        .parent_file = bf_vmware_text(backing, "parent/fileName"),
        .parents = parents_of(backing),
        .parent_content_id = bf_vmware_text(backing, "parent/contentId"),
        .has_parent = bf_vmware_find(backing, "parent") != NULL,
        .size_bytes = bf_vmware_number(device, "capacityInBytes", kib * 1024),
    };
    struct bf_machine_disk *shown = bf_machine_add_disk(machine->machine);
    shown->key = bf_xstrdup(disk->key);
    shown->identity = bf_xstrdup(disk->uuid ? disk->uuid : disk->file);
    shown->bus = bf_xstrdup(bus_of(controller));
    shown->format = bf_xstrdup("vmdk");
    shown->source = bf_xstrdup(disk->file);
    shown->size_bytes = disk->size_bytes;
    shown->shared = bf_streq(disk->sharing, "sharingMultiWriter") ||
                    (disk->shared_bus && !bf_streq(disk->shared_bus, "noSharing"));
    /* What no snapshot holds cannot be replicated; the seam's word for "leave it out". */
    shown->read_only = bf_streq(disk->mode, "independent_nonpersistent");
}

static void add_nic(struct bf_vmware_machine *machine, xmlNodePtr device, const char *model)
{
    struct bf_machine_nic *nic = bf_machine_add_nic(machine->machine);
    xmlNodePtr backing = bf_vmware_child(device, "backing");

    nic->mac = bf_vmware_text(device, "macAddress");
    nic->model = bf_xstrdup(model);
    nic->network = bf_vmware_text(backing, "deviceName");
    if (!nic->network) /* of a distributed switch: named by its port group later */
        nic->network = bf_vmware_text(backing, "port/portgroupKey");
    if (!nic->network)
        nic->network = bf_vmware_text(backing, "opaqueNetworkId");
}

void bf_vmware_devices_parse(xmlNodePtr val, struct bf_vmware_machine *machine)
{
    /* Controllers may come after what hangs on them. */
    BF_VMWARE_EACH(device, val, "VirtualDevice")
    {
        bf_xgrow(&machine->devices, &machine->device_capacity, machine->device_count + 1,
                 sizeof(*machine->devices));
        machine->devices[machine->device_count++] =
            (struct bf_vmware_device){.type = bf_vmware_type(device),
                                      .key = number(device, "key"),
                                      .controller_key = number(device, "controllerKey"),
                                      .unit = number(device, "unitNumber"),
                                      .bus = number(device, "busNumber"),
                                      .shared_bus = bf_vmware_text(device, "sharedBus")};
    }
    BF_VMWARE_EACH(device, val, "VirtualDevice")
    {
        bf_auto_free char *type = bf_vmware_type(device);

        if (bf_streq(type, "VirtualDisk"))
            add_disk(machine, device);
        for (size_t i = 0; i < bf_array_length(nics); i++) {
            if (bf_streq(type, nics[i].type))
                add_nic(machine, device, nics[i].model);
        }
    }
}
