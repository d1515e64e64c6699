/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

/* --- one table: property path -> what it fills --- */

typedef void take_fn(struct bf_vmware_machine *machine, xmlNodePtr val);

static char *text_of(xmlNodePtr val)
{
    return bf_vmware_text(val, "");
}

static void take_name(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    bf_auto_free char *name = text_of(val);

    machine->machine->name = bf_vmware_unescape(name);
    bf_text_clean(machine->machine->name, false);
}

static void take_power(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    bf_auto_free char *state = text_of(val);

    machine->machine->power = bf_streq(state, "poweredOn")    ? BF_POWER_ON
                              : bf_streq(state, "poweredOff") ? BF_POWER_OFF
                              : bf_streq(state, "suspended")  ? BF_POWER_PAUSED
                                                              : BF_POWER_UNKNOWN;
}

static void take_cpus(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->machine->cpus = (unsigned)bf_vmware_number(val, "", 1);
}

static void take_memory(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->machine->memory_bytes = bf_vmware_number(val, "", 0) << 20;
}

static void take_firmware(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    if (bf_vmware_is(val, "", "efi") && machine->machine->firmware == BF_FIRMWARE_BIOS)
        machine->machine->firmware = BF_FIRMWARE_UEFI;
}

static void take_secure_boot(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    if (bf_vmware_true(val, ""))
        machine->machine->firmware = BF_FIRMWARE_UEFI_SECURE;
}

static void take_guest_os(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->machine->guest_os = text_of(val);
}

static void take_tools(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->tools = text_of(val);
    machine->machine->agent = machine->tools && !bf_streq(machine->tools, "guestToolsNotRunning");
}

static void take_version(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->version = text_of(val);
}

static void take_template(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->template = bf_vmware_true(val, "");
}

static void take_tracking(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->tracking = bf_vmware_true(val, "");
}

static void take_supported(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->tracking_supported = bf_vmware_true(val, "");
}

static void take_consolidation(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->consolidation = bf_vmware_true(val, "");
}

static void take_host(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->host = text_of(val);
}

static void take_connection(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->connection = text_of(val);
}

static void take_fault_tolerance(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->fault_tolerance = text_of(val);
}

static void take_key_id(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->key_id = bf_vmware_text(val, "keyId");
}

static void take_question(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->question = bf_vmware_text(val, "text");
}

static void take_datastores(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    size_t count = 0, capacity = 0;

    BF_VMWARE_EACH(ref, val, "ManagedObjectReference")
    {
        bf_xgrow(&machine->datastores, &capacity, count + 2, sizeof(*machine->datastores));
        machine->datastores[count++] = text_of(ref);
    }
}

static void take_tree(struct bf_vmware_machine *machine, xmlNodePtr tree, const char *list,
                      const char *parent)
{
    BF_VMWARE_EACH(node, tree, list)
    {
        bf_auto_free char *ref = bf_vmware_text(node, "snapshot");
        char tag[BF_TAG_LENGTH + 1];

        bf_xgrow(&machine->snapshots, &machine->snapshot_capacity, machine->snapshot_count + 1,
                 sizeof(*machine->snapshots));
        struct bf_vmware_snapshot *snapshot = &machine->snapshots[machine->snapshot_count++];
        *snapshot = (struct bf_vmware_snapshot){.ref = bf_xstrdup(ref),
                                                .parent = bf_xstrdup(parent),
                                                .name = bf_vmware_text(node, "name"),
                                                .created = bf_vmware_text(node, "createTime"),
                                                .quiesced = bf_vmware_true(node, "quiesced")};
        snapshot->ours = bf_tag_of(snapshot->name, tag);
        take_tree(machine, node, "childSnapshotList", ref);
    }
}

static void take_snapshots(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    machine->current = bf_vmware_text(val, "currentSnapshot");
    take_tree(machine, val, "rootSnapshotList", NULL);
}

static void take_devices(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    bf_vmware_devices_parse(val, machine);
}

/* Of every nic, by MAC; devices come before. */
static void take_addresses(struct bf_vmware_machine *machine, xmlNodePtr val)
{
    BF_VMWARE_EACH(info, val, "GuestNicInfo")
    {
        bf_auto_free char *mac = bf_vmware_text(info, "macAddress");
        size_t count = 0, capacity = 0;

        for (size_t i = 0; i < machine->machine->nic_count; i++) {
            struct bf_machine_nic *nic = &machine->machine->nics[i];

            if (!mac || !bf_streq(nic->mac, mac) || nic->addresses)
                continue;
            BF_VMWARE_EACH(address, info, "ipAddress")
            {
                bf_xgrow(&nic->addresses, &capacity, count + 2, sizeof(*nic->addresses));
                nic->addresses[count++] = text_of(address);
            }
        }
    }
}

/* In this order: what refers to something comes after it. */
static const struct {
    const char *path;
    take_fn *take;
} table[] = {
    {"name", take_name},
    {"runtime.powerState", take_power},
    {"runtime.connectionState", take_connection},
    {"runtime.host", take_host},
    {"runtime.consolidationNeeded", take_consolidation},
    {"runtime.faultToleranceState", take_fault_tolerance},
    {"runtime.question", take_question},
    {"config.hardware.numCPU", take_cpus},
    {"config.hardware.memoryMB", take_memory},
    {"config.firmware", take_firmware},
    {"config.bootOptions.efiSecureBootEnabled", take_secure_boot},
    {"config.guestFullName", take_guest_os},
    {"config.version", take_version},
    {"config.template", take_template},
    {"config.keyId", take_key_id},
    {"config.changeTrackingEnabled", take_tracking},
    {"capability.changeTrackingSupported", take_supported},
    {"guest.toolsRunningStatus", take_tools},
    {"datastore", take_datastores},
    {"snapshot", take_snapshots},
    {"config.hardware.device", take_devices},
    {"guest.net", take_addresses},
};

static const char *const *paths_of_table(void)
{
    static const char *paths[bf_array_length(table) + 1];

    /* Every caller writes the same values, so threads need no lock. */
    for (size_t i = 0; i < bf_array_length(table); i++)
        paths[i] = table[i].path;
    return paths;
}

/* --- networks by name --- */

static int take_network(const char *id, xmlNodePtr object, void *user)
{
    struct bf_vmware *vw = user;
    bf_auto_free char *name = bf_vmware_text(bf_vmware_property(object, "name"), "");
    bf_auto_free char *plain = bf_vmware_unescape(name);

    bf_json_add_string(vw->network_names, id, plain);
    return 0;
}

/* A port group's key is the moref of the object that has its name. */
static int name_networks(struct bf_vmware *vw, struct bf_machine *machine, struct bf_error *err)
{
    static const char *const paths[] = {"name", NULL};

    for (size_t i = 0; i < machine->nic_count; i++) {
        struct bf_machine_nic *nic = &machine->nics[i];
        struct json_object *name = NULL;

        if (!nic->network || !bf_starts_with(nic->network, "dvportgroup-"))
            continue;
        if (!vw->network_names) {
            vw->network_names = json_object_new_object();
            if (bf_vmware_list(vw, "DistributedVirtualPortgroup", paths, take_network, vw, err) < 0)
                return -1;
        }
        if (json_object_object_get_ex(vw->network_names, nic->network, &name) && name) {
            free(nic->network);
            nic->network = bf_xstrdup(json_object_get_string(name));
        }
    }
    return 0;
}

/* --- parsing --- */

static struct bf_vmware_machine *parse(const char *id, xmlNodePtr object)
{
    struct bf_vmware_machine *machine = bf_xcalloc(1, sizeof(*machine));

    machine->machine = bf_machine_new();
    machine->machine->id = bf_xstrdup(id);
    machine->machine->arch = bf_xstrdup("x86_64");
    machine->machine->cpus = 1;
    for (size_t i = 0; i < bf_array_length(table); i++) {
        xmlNodePtr val = bf_vmware_property(object, table[i].path);

        if (val)
            table[i].take(machine, val);
    }
    if (!machine->machine->name) /* the server is still reading it in */
        machine->machine->name = bf_xstrdup(id);
    return machine;
}

void bf_vmware_machine_free(struct bf_vmware_machine *machine)
{
    if (!machine)
        return;
    for (size_t i = 0; i < machine->device_count; i++) {
        free(machine->devices[i].type);
        free(machine->devices[i].shared_bus);
    }
    for (size_t i = 0; i < machine->disk_count; i++) {
        struct bf_vmware_disk *disk = &machine->disks[i];
        char *texts[] = {
            disk->key,     disk->file,       disk->uuid,        disk->change_id,
            disk->backing, disk->mode,       disk->sharing,     disk->compatibility,
            disk->key_id,  disk->datastore,  disk->controller,  disk->shared_bus,
            disk->place,   disk->content_id, disk->parent_file, disk->parent_content_id};
        for (size_t t = 0; t < bf_array_length(texts); t++)
            free(texts[t]);
        for (char **at = disk->parents; at && *at; at++)
            free(*at);
        free(disk->parents);
    }
    for (size_t i = 0; i < machine->snapshot_count; i++) {
        free(machine->snapshots[i].ref);
        free(machine->snapshots[i].parent);
        free(machine->snapshots[i].name);
        free(machine->snapshots[i].created);
    }
    for (char **at = machine->datastores; at && *at; at++)
        free(*at);
    char *texts[] = {machine->host,       machine->version,        machine->tools,
                     machine->connection, machine->key_id,         machine->current,
                     machine->question,   machine->fault_tolerance};
    for (size_t t = 0; t < bf_array_length(texts); t++)
        free(texts[t]);
    free(machine->datastores);
    free(machine->devices);
    free(machine->disks);
    free(machine->snapshots);
    bf_machine_free(machine->machine);
    free(machine);
}

const struct bf_vmware_disk *bf_vmware_machine_disk(const struct bf_vmware_machine *machine,
                                                    const char *key)
{
    for (size_t i = 0; i < machine->disk_count; i++) {
        if (bf_streq(machine->disks[i].key, key))
            return &machine->disks[i];
    }
    return NULL;
}

static int take_machine(const char *id, xmlNodePtr object, void *user)
{
    struct bf_vmware_machine **ret_machine = user;

    *ret_machine = parse(id, object);
    return 1;
}

int bf_vmware_machine_get(struct bf_vmware *vw, const char *id, enum bf_error_code gone,
                          struct bf_vmware_machine **ret_machine, struct bf_error *err)
{
    bf_auto_vmware_machine *machine = NULL;

    if (bf_vmware_get(vw, "VirtualMachine", id, paths_of_table(), take_machine, &machine, err) <
        0) {
        if (bf_vmware_fault(vw, "ManagedObjectNotFound"))
            bf_error_recode(err, gone);
        return bf_fail_in(err, "machine %s", id);
    }
    if (!machine)
        return bf_fail(err, gone, 0, "machine %s: the server does not show it", id);
    if (name_networks(vw, machine->machine, err) < 0)
        return -1;
    *ret_machine = bf_steal(machine);
    return 0;
}

/* --- the seam's operations --- */

struct listing {
    struct bf_vmware *vw;
    bf_machine_fn *fn;
    void *user;
    struct bf_error *err;
    bool failed;
};

static int list_machine(const char *id, xmlNodePtr object, void *user)
{
    struct listing *listing = user;
    bf_auto_vmware_machine *machine = parse(id, object);

    if (name_networks(listing->vw, machine->machine, listing->err) < 0) {
        listing->failed = true;
        return 1;
    }
    return listing->fn(machine->machine, listing->user);
}

int bf_vmware_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                       struct bf_error *err)
{
    struct bf_vmware *vw = bf_vmware_of(platform);
    struct listing listing = {.vw = vw, .fn = fn, .user = user, .err = err};

    if (bf_vmware_list(vw, "VirtualMachine", paths_of_table(), list_machine, &listing, err) < 0 ||
        listing.failed)
        return -1;
    return 0;
}

struct search {
    const char *name;
    char *id;
    unsigned found;
};

static int match_name(const char *id, xmlNodePtr object, void *user)
{
    struct search *search = user;
    bf_auto_free char *name = bf_vmware_text(bf_vmware_property(object, "name"), "");
    bf_auto_free char *plain = bf_vmware_unescape(name);

    if (!bf_streq(plain, search->name) && !bf_streq(id, search->name))
        return 0;
    free(search->id);
    search->id = bf_xstrdup(id);
    if (bf_streq(id, search->name)) { /* an id is never ambiguous */
        search->found = 1;
        return 1;
    }
    search->found++;
    return 0;
}

int bf_vmware_machine(struct bf_platform *platform, const char *id_or_name,
                      struct bf_machine **ret_machine, struct bf_error *err)
{
    static const char *const paths[] = {"name", NULL};
    struct bf_vmware *vw = bf_vmware_of(platform);
    struct search search = {.name = id_or_name};
    bf_auto_vmware_machine *machine = NULL;
    bf_auto_free char *id = NULL;

    if (bf_vmware_machine_get(vw, id_or_name, BF_E_NO_SUCH_MACHINE, &machine, err) == 0) {
        *ret_machine = bf_steal(machine->machine);
        return 0;
    }
    if (err->code != BF_E_NO_SUCH_MACHINE)
        return -1;
    bf_error_clear(err);
    int rc = bf_vmware_list(vw, "VirtualMachine", paths, match_name, &search, err);
    id = search.id;
    if (rc < 0)
        return -1;
    if (search.found > 1)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%u machines are named \"%s\": give the id",
                       search.found, id_or_name);
    if (!id)
        return bf_fail(err, BF_E_NO_SUCH_MACHINE, 0, "no machine \"%s\" at %s", id_or_name,
                       vw->conf.origin);
    if (bf_vmware_machine_get(vw, id, BF_E_NO_SUCH_MACHINE, &machine, err) < 0)
        return -1;
    *ret_machine = bf_steal(machine->machine);
    return 0;
}
