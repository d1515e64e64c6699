/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/windows_facts.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/windows.h"

#define LIST_MAX 200
#define CLASS_SCSI "{4d36e97b-e325-11ce-bfc1-08002be10318}"
#define CLASS_NET "{4d36e972-e325-11ce-bfc1-08002be10318}"
#define VIRTIO_ID "PCI\\VEN_1AF4"
#define FIRST_WINDOWS_11 22000

static void read_version(struct bf_hive *software, struct json_object *facts)
{
    hive_node_h node =
        bf_hive_find(software, bf_hive_root(software), "Microsoft\\Windows NT\\CurrentVersion");
    bf_auto_free char *product = bf_hive_string(software, node, "ProductName");
    bf_auto_free char *version = bf_hive_string(software, node, "CurrentVersion");
    bf_auto_free char *build = bf_hive_string(software, node, "CurrentBuildNumber");
    bf_auto_free char *kind = bf_hive_string(software, node, "InstallationType");
    bf_auto_free char *display = bf_hive_string(software, node, "DisplayVersion");
    uint32_t major = 0, minor = 0;
    unsigned long number = build ? strtoul(build, NULL, 10) : 0;
    bool client = kind && strcasecmp(kind, "Client") == 0;

    /* "6.3" is what Windows 10 and its successors still call themselves here. */
    if (bf_hive_dword(software, node, "CurrentMajorVersionNumber", &major) &&
        bf_hive_dword(software, node, "CurrentMinorVersionNumber", &minor)) {
        free(version);
        version = bf_xasprintf("%u.%u", major, minor);
    }
    /* Windows 11 is named "Windows 10 Pro" in its own registry. */
    if (product && client && number >= FIRST_WINDOWS_11 && bf_starts_with(product, "Windows 10"))
        memcpy(product, "Windows 11", strlen("Windows 11"));
    bf_json_add_string(facts, "product", product);
    bf_json_add_string(facts, "version", version);
    bf_json_add_u64(facts, "build", number);
    bf_json_add_bool(facts, "client", client);
    bf_json_add_string(facts, "display_version", display);
}

/* The values "1", "2", ... of a policy's list: does one of them (begin with) the text? */
static bool list_names(struct bf_hive *hive, hive_node_h list, const char *text)
{
    for (unsigned i = 1; list && i <= LIST_MAX; i++) {
        bf_auto_free char *name = bf_xasprintf("%u", i);
        bf_auto_free char *value = bf_hive_string(hive, list, name);

        if (!value)
            return false;
        if (strncasecmp(value, text, strlen(text)) == 0)
            return true;
    }
    return false;
}

static bool list_is_on(struct bf_hive *hive, hive_node_h node, const char *name, const char *text)
{
    uint32_t on = 0;

    return bf_hive_dword(hive, node, name, &on) && on &&
           list_names(hive, bf_hive_find(hive, node, name), text);
}

static void read_policies(struct bf_hive *software, struct json_object *facts)
{
    static const struct {
        const char *class, *name;
    } classes[] = {{CLASS_SCSI, "disk controllers"}, {CLASS_NET, "network adapters"}};
    hive_node_h node = bf_hive_find(software, bf_hive_root(software),
                                    "Policies\\Microsoft\\Windows\\DeviceInstall\\Restrictions");
    struct json_object *denied = json_object_new_array();
    uint32_t unspecified = 0;

    bf_hive_dword(software, node, "DenyUnspecified", &unspecified);
    for (size_t i = 0; i < bf_array_length(classes); i++) {
        bf_auto_free char *text = NULL;

        if (list_is_on(software, node, "DenyDeviceClasses", classes[i].class))
            text = bf_xasprintf("DenyDeviceClasses names %s", classes[i].name);
        else if (unspecified &&
                 !list_is_on(software, node, "AllowDeviceClasses", classes[i].class) &&
                 !list_is_on(software, node, "AllowDeviceIDs", VIRTIO_ID))
            text = bf_xasprintf("DenyUnspecified, and %s are not allowed", classes[i].name);
        if (text)
            json_object_array_add(denied, json_object_new_string(text));
    }
    if (list_is_on(software, node, "DenyDeviceIDs", VIRTIO_ID))
        json_object_array_add(denied, json_object_new_string("DenyDeviceIDs names virtio devices"));
    json_object_object_add(facts, "denied", denied);
}

/* It becomes part of a command line. */
static bool is_product_code(const char *text)
{
    if (strlen(text) != 38 || text[0] != '{' || text[37] != '}')
        return false;
    for (size_t i = 1; i < 37; i++)
        if (!isxdigit((unsigned char)text[i]) && text[i] != '-')
            return false;
    return true;
}

static void look_at_program(struct bf_hive *hive, hive_node_h key, const char *name, void *user)
{
    bf_auto_free char *shown = bf_hive_string(hive, key, "DisplayName");

    if (shown && bf_streq(shown, "VMware Tools") && is_product_code(name))
        json_object_array_add(user, json_object_new_string(name));
}

static void read_programs(struct bf_hive *software, struct json_object *facts)
{
    static const char *const paths[] = {
        "Microsoft\\Windows\\CurrentVersion\\Uninstall",
        "Wow6432Node\\Microsoft\\Windows\\CurrentVersion\\Uninstall"};
    struct json_object *codes = json_object_new_array();

    for (size_t i = 0; i < bf_array_length(paths); i++)
        bf_hive_each(software, bf_hive_find(software, bf_hive_root(software), paths[i]),
                     look_at_program, codes);
    json_object_object_add(facts, "vmware_tools", codes);
}

/* The sets that Windows may start with; returns the current one's key. */
static hive_node_h read_control_sets(struct bf_hive *system, struct json_object *facts)
{
    static const char *const names[] = {"Current", "Default", "LastKnownGood"};
    hive_node_h root = bf_hive_root(system), select = bf_hive_find(system, root, "Select");
    struct json_object *sets = json_object_new_array();
    hive_node_h current = 0;
    uint32_t numbers[bf_array_length(names)] = {0};

    for (size_t i = 0; i < bf_array_length(names); i++) {
        bf_auto_free char *name = NULL;
        hive_node_h node;
        bool seen = !bf_hive_dword(system, select, names[i], &numbers[i]) || numbers[i] > 999;

        for (size_t j = 0; j < i; j++)
            seen = seen || numbers[j] == numbers[i];
        if (seen)
            continue;
        name = bf_xasprintf("ControlSet%03u", numbers[i]);
        node = bf_hive_find(system, root, name);
        if (!node)
            continue;
        json_object_array_add(sets, json_object_new_int64(numbers[i]));
        current = current ? current : node;
    }
    json_object_object_add(facts, "control_sets", sets);
    return current;
}

static void read_services(struct bf_hive *system, hive_node_h set, struct json_object *facts)
{
    static const char *const names[] = {"viostor", "vioscsi", "netkvm", "balloon"};
    hive_node_h services = bf_hive_find(system, set, "Services");
    struct json_object *found = json_object_new_object();

    for (size_t i = 0; i < bf_array_length(names); i++) {
        hive_node_h node = bf_hive_find(system, services, names[i]);
        bf_auto_free char *image = bf_hive_string(system, node, "ImagePath");
        struct json_object *service;
        uint32_t start = 3;

        if (!node)
            continue;
        service = json_object_new_object();
        bf_hive_dword(system, node, "Start", &start);
        bf_json_add_u64(service, "start", start);
        bf_json_add_string(service, "image", image);
        json_object_object_add(found, names[i], service);
    }
    json_object_object_add(facts, "services", found);
    bf_json_add_bool(facts, "first_boot",
                     bf_hive_find(system, services, BF_FIRST_BOOT_SERVICE) != 0);
}

static int read_system(struct bf_hive *system, struct json_object *facts, struct bf_error *err)
{
    hive_node_h set = read_control_sets(system, facts);
    hive_node_h power = bf_hive_find(system, set, "Control\\Session Manager\\Power");
    uint32_t fast = 0;

    if (!set)
        return bf_fail(err, BF_E_GUEST_REGISTRY, 0,
                       "the hive SYSTEM names no control set that is there");
    bf_json_add_bool(facts, "database",
                     bf_hive_find(system, bf_hive_root(system), "DriverDatabase") != 0);
    bf_hive_dword(system, power, "HiberbootEnabled", &fast);
    bf_json_add_bool(facts, "fast_startup", fast != 0);
    read_services(system, set, facts);
    bf_windows_read_adapters(system, set, facts);
    return 0;
}

int bf_windows_read_hives(struct json_object *input, struct json_object *output,
                          struct bf_error *err)
{
    bf_auto_hive system = {0};
    bf_auto_hive software = {0};

    (void)input;
    if (bf_hive_open(&software, "SOFTWARE", NULL, err) < 0 ||
        bf_hive_open(&system, "SYSTEM", NULL, err) < 0)
        return -1;
    read_version(&software, output);
    if (!bf_facts_text(output, "product") || !bf_facts_text(output, "version"))
        return bf_fail(err, BF_E_GUEST_REGISTRY, 0,
                       "the hive SOFTWARE names no version of Windows");
    read_policies(&software, output);
    read_programs(&software, output);
    return read_system(&system, output, err);
}

/* --- on the facts --- */

struct json_object *bf_facts_get(struct json_object *facts, const char *key)
{
    struct json_object *value = NULL;

    if (!json_object_is_type(facts, json_type_object))
        return NULL;
    json_object_object_get_ex(facts, key, &value);
    return value;
}

const char *bf_facts_text(struct json_object *facts, const char *key)
{
    struct json_object *value = bf_facts_get(facts, key);

    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

uint64_t bf_facts_number(struct json_object *facts, const char *key)
{
    struct json_object *value = bf_facts_get(facts, key);

    return json_object_is_type(value, json_type_int) ? json_object_get_uint64(value) : 0;
}

bool bf_facts_flag(struct json_object *facts, const char *key)
{
    struct json_object *value = bf_facts_get(facts, key);

    return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

size_t bf_facts_count(struct json_object *facts, const char *key)
{
    struct json_object *value = bf_facts_get(facts, key);

    return json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;
}

struct json_object *bf_facts_item(struct json_object *facts, const char *key, size_t index)
{
    return index < bf_facts_count(facts, key)
               ? json_object_array_get_idx(bf_facts_get(facts, key), index)
               : NULL;
}

const char *bf_windows_driver_folder(struct json_object *facts)
{
    /* The newest first; a build between two belongs to the older one (Server 1709 is of 2016). */
    static const struct {
        unsigned long version, build; /* version: major * 100 + minor */
        const char *server, *client;
    } folders[] = {
        {1000, 26100, "2k25", "w11"}, {1000, 22000, "2k22", "w11"}, {1000, 20348, "2k22", "w10"},
        {1000, 17763, "2k19", "w10"}, {1000, 0, "2k16", "w10"},     {603, 0, "2k12R2", "w8.1"},
        {602, 0, "2k12", "w8"},       {601, 0, "2k8R2", "w7"},
    };
    const char *version = bf_facts_text(facts, "version");
    unsigned long major, minor = 0, build = bf_facts_number(facts, "build");
    char *end = NULL;

    if (!version)
        return NULL;
    major = strtoul(version, &end, 10);
    if (*end == '.')
        minor = strtoul(end + 1, NULL, 10);
    for (size_t i = 0; i < bf_array_length(folders); i++)
        if (major * 100 + minor >= folders[i].version &&
            (folders[i].build == 0 || build >= folders[i].build))
            return bf_facts_flag(facts, "client") ? folders[i].client : folders[i].server;
    return NULL;
}

bool bf_windows_has_service(struct json_object *facts, const char *name)
{
    return bf_facts_get(bf_facts_get(facts, "services"), name) != NULL;
}

bool bf_windows_has_boot_driver(struct json_object *facts, const char *name)
{
    struct json_object *service = bf_facts_get(bf_facts_get(facts, "services"), name);

    return service && bf_facts_number(service, "start") == 0;
}

size_t bf_windows_missing_drivers(struct json_object *facts,
                                  const char *ret_names[BF_WINDOWS_DRIVERS + 1])
{
    static const char *const boot[] = {"viostor", "vioscsi"};
    static const char *const later[] = {"netkvm", "balloon"};
    size_t count = 0;

    for (size_t i = 0; i < bf_array_length(boot); i++)
        if (!bf_windows_has_boot_driver(facts, boot[i]))
            ret_names[count++] = boot[i];
    for (size_t i = 0; i < bf_array_length(later); i++)
        if (!bf_windows_has_service(facts, later[i]))
            ret_names[count++] = later[i];
    ret_names[count] = NULL;
    return count;
}
