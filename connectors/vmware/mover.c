/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/mover.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/vmware/task.h"

#define CONTROLLER "ParaVirtualSCSIController"
#define NOTE "blockferry.scsi"
#define NONPERSISTENT "independent_nonpersistent"

enum {
    UNITS = 16,
    OWN_UNIT = 7, /* the controller's */
    SLOT_TRIES = 3,
    LOCK_PAUSE_MS = 3000,
    RECONFIGURE_MS = 300000,
};

/* --- what the mover has --- */

struct taking {
    struct bf_vmware_mover *mover;
    bool seen;
};

static void take_option(struct bf_vmware_mover *mover, xmlNodePtr option)
{
    bf_auto_free char *key = bf_vmware_text(option, "key");
    bf_auto_free char *value = bf_vmware_text(option, "value");

    if (!key || !value)
        return;
    if (bf_starts_with(key, NOTE) && *value)
        bf_json_add_string(mover->notes, key + strlen(NOTE), value);
    else if (strcasecmp(key, "disk.EnableUUID") == 0)
        mover->has_uuids = strcasecmp(value, "true") == 0 || bf_streq(value, "1");
}

static int take_mover(const char *id, xmlNodePtr object, void *user)
{
    struct taking *taking = user;
    xmlNodePtr devices = bf_vmware_property(object, "config.hardware.device");

    (void)id;
    taking->seen = devices != NULL;
    if (devices)
        bf_vmware_devices_parse(devices, taking->mover->machine);
    BF_VMWARE_EACH(option, bf_vmware_property(object, "config.extraConfig"), "OptionValue")
    take_option(taking->mover, option);
    return 0;
}

int bf_vmware_mover_get(struct bf_vmware *vw, const char *id, struct bf_vmware_mover *ret_mover,
                        struct bf_error *err)
{
    static const char *const paths[] = {"config.hardware.device", "config.extraConfig", NULL};
    bf_auto_vmware_mover mover = {.machine = bf_xcalloc(1, sizeof(*mover.machine)),
                                  .notes = json_object_new_object()};
    struct taking taking = {.mover = &mover};

    mover.machine->machine = bf_machine_new();
    if (bf_vmware_get(vw, "VirtualMachine", id, paths, take_mover, &taking, err) < 0) {
        if (bf_vmware_fault(vw, "ManagedObjectNotFound"))
            bf_error_recode(err, BF_E_NO_SUCH_MACHINE);
        return bf_fail_in(err, "mover %s", id);
    }
    if (!taking.seen)
        return bf_fail(err, BF_E_PLATFORM_PRIVILEGE, 0, "mover %s: its devices are not shown", id);
    *ret_mover = mover;
    mover = (struct bf_vmware_mover){0};
    return 0;
}

void bf_vmware_mover_done(struct bf_vmware_mover *mover)
{
    bf_vmware_machine_free(mover->machine);
    json_object_put(mover->notes);
    *mover = (struct bf_vmware_mover){0};
}

char *bf_vmware_mover_disk_id(const char *machine, const char *file)
{
    return bf_xasprintf("%s %s", machine, file);
}

char *bf_vmware_mover_disk_machine(const char *disk_id)
{
    return bf_xasprintf("%.*s", (int)strcspn(disk_id, " "), disk_id);
}

/* Places are CONTROLLER and "BUS:UNIT". */
const char *bf_vmware_mover_slot(const struct bf_vmware_disk *disk)
{
    const char *slot = disk->place && bf_starts_with(disk->place, CONTROLLER)
                           ? disk->place + strlen(CONTROLLER)
                           : NULL;

    return slot && slot[0] >= '1' && slot[0] <= '3' && slot[1] == ':' ? slot : NULL;
}

/* "TAG MACHINE FILE" of this disk; NULL: there is none, or it is of another file.  A redo log may
 * be on top of the file. */
static const char *note_of(const struct bf_vmware_mover *mover, const struct bf_vmware_disk *disk)
{
    const char *slot = bf_vmware_mover_slot(disk);
    struct json_object *value = NULL;
    char tag[BF_TAG_LENGTH + 1];

    if (!slot || !json_object_object_get_ex(mover->notes, slot, &value))
        return NULL;
    const char *note = json_object_get_string(value);
    const char *file = bf_tag_of(note, tag) && note[BF_TAG_LENGTH] == ' '
                           ? strchr(note + BF_TAG_LENGTH + 1, ' ')
                           : NULL;
    if (!file || (!bf_streq(file + 1, disk->file) && !bf_streq(file + 1, disk->parent_file)))
        return NULL;
    return note;
}

char *bf_vmware_mover_tag(const struct bf_vmware_mover *mover, const struct bf_vmware_disk *disk)
{
    const char *note = note_of(mover, disk);

    return note ? bf_xasprintf("%.*s", BF_TAG_LENGTH, note) : NULL;
}

const struct bf_vmware_disk *bf_vmware_mover_disk(const struct bf_vmware_mover *mover,
                                                  const char *disk_id)
{
    for (size_t i = 0; i < mover->machine->disk_count; i++) {
        const char *note = note_of(mover, &mover->machine->disks[i]);

        if (note && bf_streq(note + BF_TAG_LENGTH + 1, disk_id))
            return &mover->machine->disks[i];
    }
    return NULL;
}

static const struct bf_vmware_device *controller_of_bus(const struct bf_vmware_mover *mover,
                                                        int bus)
{
    for (size_t i = 0; i < mover->machine->device_count; i++) {
        const struct bf_vmware_device *device = &mover->machine->devices[i];

        if (bf_streq(device->type, CONTROLLER) && device->bus == bus)
            return device;
    }
    return NULL;
}

unsigned bf_vmware_mover_room(const struct bf_vmware_mover *mover)
{
    unsigned room = 0;

    for (int bus = 1; bus <= 3; bus++)
        room += controller_of_bus(mover, bus) ? UNITS - 1 : 0;
    return room;
}

/* --- attaching --- */

struct slot {
    int controller_key, bus, unit;
};

/* The lowest free one: of all devices on the controllers, not only of disks. */
static int find_slot(const struct bf_vmware_mover *mover, struct slot *ret_slot,
                     struct bf_error *err)
{
    for (int bus = 1; bus <= 3; bus++) {
        const struct bf_vmware_device *controller = controller_of_bus(mover, bus);
        unsigned used = 1U << OWN_UNIT;

        for (size_t i = 0; controller && i < mover->machine->device_count; i++) {
            const struct bf_vmware_device *device = &mover->machine->devices[i];

            if (device->controller_key == controller->key && device->unit >= 0 &&
                device->unit < UNITS)
                used |= 1U << device->unit;
        }
        for (int unit = 0; controller && unit < UNITS; unit++) {
            if (!(used & 1U << unit)) {
                *ret_slot =
                    (struct slot){.controller_key = controller->key, .bus = bus, .unit = unit};
                return 0;
            }
        }
    }
    return bf_fail(err, BF_E_MOVER_FULL, 0,
                   "no free unit on PVSCSI controllers 1 to 3 of the mover (it has room for %u)",
                   bf_vmware_mover_room(mover));
}

static void add_number(struct bf_xml_out *xml, const char *name, int number)
{
    bf_auto_free char *text = bf_xasprintf("%d", number);

    bf_xml_leaf(xml, name, text);
}

/* Where a disk hangs; the capacity is mandatory and not looked at. */
static void add_address(struct bf_xml_out *xml, const struct slot *slot)
{
    add_number(xml, "controllerKey", slot->controller_key);
    add_number(xml, "unitNumber", slot->unit);
    bf_xml_leaf(xml, "capacityInKB", "0");
}

/* "" removes the note. */
static void add_note(struct bf_xml_out *xml, const char *slot, const char *value)
{
    bf_auto_free char *key = bf_xasprintf(NOTE "%s", slot);

    bf_xml_open(xml, "extraConfig");
    bf_xml_leaf(xml, "key", key);
    bf_xml_open(xml, "value");
    bf_xml_attr(xml, "xsi:type", "xsd:string");
    bf_xml_content(xml, value);
    bf_xml_close(xml);
    bf_xml_close(xml);
}

/* No fileOperation: the file is there, and stays. */
static int add_disk(struct bf_vmware *vw, const char *mover, const struct slot *slot,
                    const char *disk_id, const char *tag, struct bf_error *err)
{
    bf_auto_free char *name = bf_xasprintf("%d:%d", slot->bus, slot->unit);
    bf_auto_free char *note = bf_xasprintf("%s %s", tag, disk_id);
    bf_auto_vmware_request request = {0};
    struct bf_xml_out *xml = &request.xml;

    bf_vmware_request_begin(&request, "ReconfigVM_Task", "VirtualMachine", mover);
    bf_xml_open(xml, "spec");
    bf_xml_open(xml, "deviceChange");
    bf_xml_leaf(xml, "operation", "add");
    bf_xml_open(xml, "device");
    bf_xml_attr(xml, "xsi:type", "VirtualDisk");
    bf_xml_leaf(xml, "key", "-1");
    bf_xml_open(xml, "backing");
    bf_xml_attr(xml, "xsi:type", "VirtualDiskFlatVer2BackingInfo");
    bf_xml_leaf(xml, "fileName", strchr(disk_id, ' ') + 1);
    bf_xml_leaf(xml, "diskMode", NONPERSISTENT);
    bf_xml_close(xml);
    add_address(xml, slot);
    bf_xml_close(xml);
    bf_xml_close(xml);
    add_note(xml, name, note);
    bf_xml_close(xml);
    return bf_vmware_task(vw, &request, mover, RECONFIGURE_MS, NULL, err);
}

bool bf_vmware_mover_locked(const struct bf_vmware *vw)
{
    return bf_vmware_fault(vw, "FileLocked") || bf_vmware_fault(vw, "GenericVmConfigFault") ||
           bf_vmware_fault(vw, "CannotAccessFile");
}

static int mover_attach(struct bf_platform *platform, const char *mover, const char *disk,
                        const char *tag, bool writable, struct bf_error *err)
{
    struct bf_vmware *vw = bf_vmware_of(platform);
    bool waited = false;

    (void)writable; /* never: not even where somebody asks */
    for (int try = 0;; try++) {
        bf_auto_vmware_mover now = {0};
        struct slot slot = {0};

        if (bf_vmware_mover_get(vw, mover, &now, err) < 0 || find_slot(&now, &slot, err) < 0)
            return -1;
        if (add_disk(vw, mover, &slot, disk, tag, err) == 0)
            return 0;
        /* Somebody else took the unit meanwhile. */
        bool taken = bf_vmware_fault(vw, "InvalidDeviceSpec") && try < SLOT_TRIES;
        bool locked = bf_vmware_mover_locked(vw) && !waited;
        if (!taken && !locked)
            return -1;
        bf_error_clear(err);
        waited = waited || locked;
        if (locked &&
            bf_platform_pause(platform, LOCK_PAUSE_MS, bf_deadline_in(LOCK_PAUSE_MS * 2), err) < 0)
            return -1;
    }
}

/* --- detaching --- */

static int remove_disk(struct bf_vmware *vw, const char *mover, const struct bf_vmware_mover *now,
                       const struct bf_vmware_disk *disk, struct bf_error *err)
{
    bf_auto_vmware_request request = {0};
    struct bf_xml_out *xml = &request.xml;
    struct slot slot = {0};

    for (size_t i = 0; i < now->machine->device_count; i++) {
        const struct bf_vmware_device *device = &now->machine->devices[i];
        bf_auto_free char *key = bf_xasprintf("%d", device->key);

        if (bf_streq(key, disk->key))
            slot = (struct slot){.controller_key = device->controller_key, .unit = device->unit};
    }
    bf_vmware_request_begin(&request, "ReconfigVM_Task", "VirtualMachine", mover);
    bf_xml_open(xml, "spec");
    bf_xml_open(xml, "deviceChange");
    bf_xml_leaf(xml, "operation", "remove");
    bf_xml_open(xml, "device");
    bf_xml_attr(xml, "xsi:type", "VirtualDisk");
    bf_xml_leaf(xml, "key", disk->key);
    add_address(xml, &slot);
    bf_xml_close(xml);
    bf_xml_close(xml);
    add_note(xml, bf_vmware_mover_slot(disk), "");
    bf_xml_close(xml);
    return bf_vmware_task(vw, &request, mover, RECONFIGURE_MS, NULL, err);
}

/* `attachment` is the disk's id: key and slot are looked up at the moment of the removal. */
static int mover_detach(struct bf_platform *platform, const char *mover, const char *attachment,
                        struct bf_error *err)
{
    struct bf_vmware *vw = bf_vmware_of(platform);
    bf_auto_vmware_mover before = {0};
    bf_auto_vmware_mover after = {0};
    const struct bf_vmware_disk *disk;

    if (bf_vmware_mover_get(vw, mover, &before, err) < 0)
        return -1;
    disk = bf_vmware_mover_disk(&before, attachment);
    if (!disk)
        return 0;
    if (remove_disk(vw, mover, &before, disk, err) < 0)
        return bf_fail_in(err, "%s", attachment);
    if (bf_vmware_mover_get(vw, mover, &after, err) < 0)
        return -1;
    if (bf_vmware_mover_disk(&after, attachment))
        return bf_fail(err, BF_E_BUSY, 0, "%s is still attached after its removal", attachment);
    return 0;
}

/* --- listing --- */

/* As the guest sees it: "6000C29a-bb..." is naa.6000c29abb...  NULL: it has none. */
static char *wwid_of(const char *uuid)
{
    bf_auto_buf text = {0};

    for (const char *at = uuid; at && *at; at++) {
        char lower = (char)(*at >= 'A' && *at <= 'F' ? *at - 'A' + 'a' : *at);

        if (*at != '-')
            bf_buf_add(&text, &lower, 1);
    }
    return text.text ? bf_xasprintf("naa.%s", text.text) : NULL;
}

static int mover_list(struct bf_platform *platform, const char *mover, bf_mover_disk_fn *fn,
                      void *user, struct bf_error *err)
{
    bf_auto_vmware_mover now = {0};
    bool stop = false;

    if (bf_vmware_mover_get(bf_vmware_of(platform), mover, &now, err) < 0)
        return -1;
    for (size_t i = 0; !stop && i < now.machine->disk_count; i++) {
        const struct bf_vmware_disk *disk = &now.machine->disks[i];
        const char *note = note_of(&now, disk);
        bf_auto_free char *tag = bf_vmware_mover_tag(&now, disk);
        bf_auto_free char *export_name = wwid_of(disk->uuid);
        const char *id = note ? note + BF_TAG_LENGTH + 1 : disk->file;

        if (!bf_vmware_mover_slot(disk))
            continue;
        stop = fn(
                   &(struct bf_mover_disk){
                       .attachment = id, .disk = id, .tag = tag, .export_name = export_name},
                   user) != 0;
    }
    return 0;
}

static const struct bf_mover_ops mover_ops = {
    .attach = mover_attach, .detach = mover_detach, .list = mover_list};

struct bf_mover_conf bf_vmware_mover_conf(const struct bf_vmware *vw, size_t index)
{
    const struct bf_mover_option *mover = &vw->conf.movers.list[index];

    return (struct bf_mover_conf){.ops = &mover_ops,
                                  .id = mover->id,
                                  .address = mover->address,
                                  .tls_directory = mover->certificates,
                                  .slots = mover->slots};
}
