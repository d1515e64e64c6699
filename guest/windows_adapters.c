/* SPDX-License-Identifier: Apache-2.0 */
/* The network adapters that a Windows guest's registry knows, and their addresses. */
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/windows_facts.h"

#define CLASS_NET "Control\\Class\\{4d36e972-e325-11ce-bfc1-08002be10318}"
#define NETWORK "Control\\Network\\{4D36E972-E325-11CE-BFC1-08002BE10318}"
#define ADAPTERS_MAX 64

struct reading {
    hive_node_h set;
    struct json_object *list;
};

/* Of hardware: not tunnels, bridges or loopbacks. */
static bool is_hardware(const char *instance)
{
    static const char *const buses[] = {"PCI\\", "VMBUS\\", "XENVIF\\", "XEN\\"};

    for (size_t i = 0; instance && i < bf_array_length(buses); i++)
        if (strncasecmp(instance, buses[i], strlen(buses[i])) == 0)
            return true;
    return false;
}

static struct json_object *text_list(char **texts)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; texts[i]; i++)
        if (texts[i][0])
            json_object_array_add(list, json_object_new_string(texts[i]));
    return list;
}

static struct json_object *value_list(struct bf_hive *system, hive_node_h node, const char *value)
{
    char **texts = bf_hive_strings(system, node, value);
    struct json_object *list = text_list(texts);

    bf_hive_strings_free(texts);
    return list;
}

/* NameServer is one text: servers with commas or blanks between. */
static struct json_object *server_list(struct bf_hive *system, hive_node_h node)
{
    bf_auto_free char *text = bf_hive_string(system, node, "NameServer");
    struct json_object *list = json_object_new_array();
    char *rest = text;

    for (char *word; rest && (word = strsep(&rest, ", "));)
        if (*word)
            json_object_array_add(list, json_object_new_string(word));
    return list;
}

static struct json_object *address_list(struct bf_hive *system, hive_node_h node)
{
    char **addresses = bf_hive_strings(system, node, "IPAddress");
    char **masks = bf_hive_strings(system, node, "SubnetMask");
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; addresses[i] && masks[i]; i++) {
        struct json_object *pair;

        if (bf_streq(addresses[i], "0.0.0.0") || !addresses[i][0])
            continue;
        pair = json_object_new_object();
        bf_json_add_string(pair, "address", addresses[i]);
        bf_json_add_string(pair, "mask", masks[i]);
        json_object_array_add(list, pair);
    }
    bf_hive_strings_free(addresses);
    bf_hive_strings_free(masks);
    return list;
}

static void add_addresses(struct bf_hive *system, hive_node_h set, const char *guid,
                          struct json_object *adapter)
{
    bf_auto_free char *path = bf_xasprintf("Services\\Tcpip\\Parameters\\Interfaces\\%s", guid);
    hive_node_h node = bf_hive_find(system, set, path);
    uint32_t dhcp = 1;

    bf_hive_dword(system, node, "EnableDHCP", &dhcp);
    bf_json_add_bool(adapter, "dhcp", dhcp != 0);
    /* With DHCP on, these are what it had before. */
    if (dhcp) {
        json_object_object_add(adapter, "addresses", json_object_new_array());
        json_object_object_add(adapter, "gateways", json_object_new_array());
    } else {
        json_object_object_add(adapter, "addresses", address_list(system, node));
        json_object_object_add(adapter, "gateways", value_list(system, node, "DefaultGateway"));
    }
    json_object_object_add(adapter, "dns", server_list(system, node));
}

static void look_at_adapter(struct bf_hive *system, hive_node_h key, const char *name, void *user)
{
    struct reading *reading = user;
    bf_auto_free char *guid = bf_hive_string(system, key, "NetCfgInstanceId");
    bf_auto_free char *mac = bf_hive_string(system, key, "NetworkAddress");
    bf_auto_free char *instance = bf_hive_string(system, key, "DeviceInstanceID");
    bf_auto_free char *path = guid ? bf_xasprintf(NETWORK "\\%s\\Connection", guid) : NULL;
    hive_node_h connection = path ? bf_hive_find(system, reading->set, path) : 0;
    bf_auto_free char *shown = bf_hive_string(system, connection, "Name");
    struct json_object *adapter;

    (void)name;
    if (!instance)
        instance = bf_hive_string(system, connection, "PnpInstanceID");
    if (!guid || !is_hardware(instance) || json_object_array_length(reading->list) >= ADAPTERS_MAX)
        return;
    adapter = json_object_new_object();
    bf_json_add_string(adapter, "guid", guid);
    bf_json_add_string(adapter, "name", shown);
    bf_json_add_string(adapter, "instance", instance);
    bf_json_add_string(adapter, "mac", mac);
    add_addresses(system, reading->set, guid, adapter);
    json_object_array_add(reading->list, adapter);
}

void bf_windows_read_adapters(struct bf_hive *system, hive_node_h control_set,
                              struct json_object *facts)
{
    struct reading reading = {.set = control_set, .list = json_object_new_array()};

    /* Keys are sorted by name: 0000, 0001, ... */
    bf_hive_each(system, bf_hive_find(system, control_set, CLASS_NET), look_at_adapter, &reading);
    json_object_object_add(facts, "adapters", reading.list);
}
