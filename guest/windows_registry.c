/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/windows_registry.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/hive.h"
#include "guest/windows.h"
#include "guest/windows_facts.h"

#define CLASS_SCSI "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
#define SERVICE_KERNEL_DRIVER 1
#define SERVICE_OWN_PROCESS 0x10
#define START_BOOT 0
#define START_AUTO 2
#define ERROR_NORMAL 1
#define DEVICE_PATH ";%SystemRoot%\\Drivers\\VirtIO"

/* clang-format off */
static const struct boot_driver {
    const char *name;
    uint32_t bus_type;  /* StorPort's: 1 SCSI, 10 SAS */
    const char *ids[2]; /* transitional, modern */
} boot_drivers[] = {
    {"viostor", 0x01, {"VEN_1AF4&DEV_1001&REV_00", "VEN_1AF4&DEV_1042&REV_01"}},
    {"vioscsi", 0x0a, {"VEN_1AF4&DEV_1004&REV_00", "VEN_1AF4&DEV_1048&REV_01"}},
};
/* clang-format on */

/* Make the key and set its values: texts and numbers, NULL at the end. */
struct value {
    const char *name;
    hive_type type;
    const char *text;
    uint32_t number;
};

static int set_values(struct bf_hive *hive, hive_node_h from, const char *path,
                      const struct value *values, size_t count, struct bf_error *err)
{
    hive_node_h node;

    if (bf_hive_make(hive, from, path, &node, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct value *value = &values[i];
        int result = value->text
                         ? bf_hive_set_text(hive, node, value->name, value->type, value->text, err)
                         : bf_hive_set_dword(hive, node, value->name, value->number, err);

        if (result < 0)
            return -1;
    }
    return 0;
}

static int add_service(struct bf_hive *system, hive_node_h set, const struct boot_driver *driver,
                       struct bf_error *err)
{
    bf_auto_free char *image = bf_xasprintf("system32\\drivers\\%s.sys", driver->name);
    bf_auto_free char *path = bf_xasprintf("Services\\%s", driver->name);
    bf_auto_free char *parameters = bf_xasprintf("%s\\Parameters", path);
    bf_auto_free char *pnp = bf_xasprintf("%s\\PnpInterface", parameters);
    bf_auto_free char *override = bf_xasprintf("%s\\StartOverride", path);
    const struct value service[] = {
        {"Type", hive_t_dword, NULL, SERVICE_KERNEL_DRIVER},
        {"Start", hive_t_dword, NULL, START_BOOT},
        {"ErrorControl", hive_t_dword, NULL, ERROR_NORMAL},
        {"Group", hive_t_string, "SCSI miniport", 0},
        {"ImagePath", hive_t_expand_string, image, 0},
    };
    const struct value bus[] = {{"BusType", hive_t_dword, NULL, driver->bus_type}};
    /* "5" is the bus type PCIBus: the port driver may report this device to Plug and Play. */
    const struct value on_pci[] = {{"5", hive_t_dword, NULL, 1}};

    if (set_values(system, set, path, service, bf_array_length(service), err) < 0 ||
        set_values(system, set, parameters, bus, bf_array_length(bus), err) < 0 ||
        set_values(system, set, pnp, on_pci, bf_array_length(on_pci), err) < 0)
        return -1;
    /* It would override Start once Windows has found the driver unused. */
    return bf_hive_remove(system, set, override, err);
}

static int add_critical(struct bf_hive *system, hive_node_h set, const struct boot_driver *driver,
                        struct bf_error *err)
{
    const struct value values[] = {{"Service", hive_t_string, driver->name, 0},
                                   {"ClassGUID", hive_t_string, CLASS_SCSI, 0}};

    for (size_t i = 0; i < bf_array_length(driver->ids); i++) {
        bf_auto_free char *path =
            bf_xasprintf("Control\\CriticalDeviceDatabase\\PCI#%s", driver->ids[i]);

        if (set_values(system, set, path, values, bf_array_length(values), err) < 0)
            return -1;
    }
    return 0;
}

/* The class {4D36E97B...}, a date and a version of zero: what Windows compares when it looks for
 * a better package, so that the signed one wins at the first boot. */
static const unsigned char package_version[48] = {0x00, 0xff, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00,
                                                  0x7b, 0xe9, 0x36, 0x4d, 0x25, 0xe3, 0xce, 0x11,
                                                  0xbf, 0xc1, 0x08, 0x00, 0x2b, 0xe1, 0x03, 0x18};
static const unsigned char id_rank[4] = {0x01, 0xff, 0x00, 0x00};

static int set_binary(struct bf_hive *system, hive_node_h from, const char *path, const char *name,
                      const void *data, size_t size, struct bf_error *err)
{
    hive_node_h node;

    if (bf_hive_make(system, from, path, &node, err) < 0)
        return -1;
    return bf_hive_set(system, node, name, hive_t_binary, data, size, err);
}

/* A REG_MULTI_SZ of one text. */
static int set_list(struct bf_hive *system, hive_node_h node, const char *name, const char *text,
                    struct bf_error *err)
{
    char wide[128] = "";
    size_t length = strlen(text);

    for (size_t i = 0; i < length && 2 * i < sizeof(wide) - 4; i++)
        wide[2 * i] = text[i];
    return bf_hive_set(system, node, name, hive_t_multiple_strings, wide, 2 * (length + 2), err);
}

static int add_inf(struct bf_hive *system, hive_node_h database, const char *inf, const char *label,
                   const char *configuration, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("DriverInfFiles\\%s", inf);
    hive_node_h node;

    if (bf_hive_make(system, database, path, &node, err) < 0 ||
        set_list(system, node, "", label, err) < 0 ||
        bf_hive_set_text(system, node, "Active", hive_t_string, label, err) < 0)
        return -1;
    return set_list(system, node, "Configurations", configuration, err);
}

/* One package a driver: a package's configuration names one service. */
static int add_package(struct bf_hive *system, const struct boot_driver *driver,
                       struct bf_error *err)
{
    bf_auto_free char *inf = bf_xasprintf("bf%s.inf", driver->name);
    bf_auto_free char *label = bf_xasprintf("%s_tmp", inf);
    bf_auto_free char *configuration = bf_xasprintf("bf%s_conf", driver->name);
    bf_auto_free char *package = bf_xasprintf("DriverPackages\\%s", label);
    bf_auto_free char *settings = bf_xasprintf("%s\\Configurations\\%s", package, configuration);
    const struct value values[] = {{"ConfigFlags", hive_t_dword, NULL, 0},
                                   {"Service", hive_t_string, driver->name, 0}};
    const struct value descriptor[] = {{"Configuration", hive_t_string, configuration, 0}};
    hive_node_h database = bf_hive_find(system, bf_hive_root(system), "DriverDatabase");

    if (add_inf(system, database, inf, label, configuration, err) < 0 ||
        set_binary(system, database, package, "Version", package_version, sizeof(package_version),
                   err) < 0 ||
        set_values(system, database, settings, values, bf_array_length(values), err) < 0)
        return -1;
    for (size_t i = 0; i < bf_array_length(driver->ids); i++) {
        bf_auto_free char *id = bf_xasprintf("DeviceIds\\PCI\\%s", driver->ids[i]);
        bf_auto_free char *described =
            bf_xasprintf("%s\\Descriptors\\PCI\\%s", package, driver->ids[i]);

        if (set_binary(system, database, id, inf, id_rank, sizeof(id_rank), err) < 0 ||
            set_values(system, database, described, descriptor, bf_array_length(descriptor), err) <
                0)
            return -1;
    }
    return 0;
}

static int add_first_boot(struct bf_hive *system, hive_node_h set, struct bf_error *err)
{
    const struct value values[] = {
        {"Type", hive_t_dword, NULL, SERVICE_OWN_PROCESS},
        {"Start", hive_t_dword, NULL, START_AUTO},
        {"ErrorControl", hive_t_dword, NULL, ERROR_NORMAL},
        {"ImagePath", hive_t_expand_string, "%SystemRoot%\\blockferry\\firstboot.exe", 0},
        {"DisplayName", hive_t_string, "blockferry first boot", 0},
        {"ObjectName", hive_t_string, "LocalSystem", 0},
    };

    return set_values(system, set, "Services\\" BF_FIRST_BOOT_SERVICE, values,
                      bf_array_length(values), err);
}

static bool wants(struct json_object *input, const char *name)
{
    for (size_t i = 0; i < bf_facts_count(input, "boot_drivers"); i++)
        if (bf_streq(json_object_get_string(bf_facts_item(input, "boot_drivers", i)), name))
            return true;
    return false;
}

static int edit_control_set(struct bf_hive *system, hive_node_h set, struct json_object *input,
                            bool database, struct bf_error *err)
{
    for (size_t i = 0; i < bf_array_length(boot_drivers); i++) {
        const struct boot_driver *driver = &boot_drivers[i];

        if (!wants(input, driver->name))
            continue;
        if (add_service(system, set, driver, err) < 0 ||
            (!database && add_critical(system, set, driver, err) < 0))
            return -1;
    }
    return bf_facts_flag(input, "first_boot") ? add_first_boot(system, set, err) : 0;
}

static int edit_system(struct bf_hive *system, struct json_object *input, struct bf_error *err)
{
    struct json_object *facts = bf_facts_get(input, "facts");
    bool database = bf_facts_flag(facts, "database");

    for (size_t i = 0; i < bf_facts_count(facts, "control_sets"); i++) {
        bf_auto_free char *name = bf_xasprintf(
            "ControlSet%03d", json_object_get_int(bf_facts_item(facts, "control_sets", i)));
        hive_node_h set = bf_hive_find(system, bf_hive_root(system), name);

        if (set && edit_control_set(system, set, input, database, err) < 0)
            return -1;
    }
    for (size_t i = 0; database && i < bf_array_length(boot_drivers); i++)
        if (wants(input, boot_drivers[i].name) && add_package(system, &boot_drivers[i], err) < 0)
            return -1;
    return 0;
}

static int edit_software(struct bf_hive *software, struct json_object *input, struct bf_error *err)
{
    hive_node_h node;

    if (!bf_facts_flag(input, "device_path"))
        return 0;
    if (bf_hive_make(software, bf_hive_root(software), "Microsoft\\Windows\\CurrentVersion", &node,
                     err) < 0)
        return -1;
    return bf_hive_append_text(software, node, "DevicePath", DEVICE_PATH, err);
}

static int edit_one(const char *name,
                    int (*edit)(struct bf_hive *, struct json_object *, struct bf_error *),
                    struct json_object *input, struct json_object *output,
                    struct json_object *changes, struct bf_error *err)
{
    bf_auto_hive hive = {0};

    if (bf_hive_open(&hive, name, changes, err) < 0 || edit(&hive, input, err) < 0 ||
        bf_hive_save(&hive, err) < 0)
        return -1;
    bf_json_add_bool(output, name, hive.change_count > 0);
    return 0;
}

int bf_windows_edit_hives(struct json_object *input, struct json_object *output,
                          struct bf_error *err)
{
    struct json_object *changes = json_object_new_array();

    json_object_object_add(output, "changes", changes);
    if (edit_one("SYSTEM", edit_system, input, output, changes, err) < 0)
        return -1;
    return edit_one("SOFTWARE", edit_software, input, output, changes, err);
}
