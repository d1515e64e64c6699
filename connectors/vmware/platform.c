/* SPDX-License-Identifier: Apache-2.0 */
/* The connector's table, and what is asked of the platform as a whole. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/vmware/machine.h"
#include "connectors/vmware/power.h"
#include "connectors/vmware/privilege.h"
#include "connectors/vmware/read_path.h"
#include "connectors/vmware/snapshot.h"

extern const struct bf_connector_ops bf_vmware_ops;
extern const struct bf_source_ops bf_vmware_source_ops;

static int vmware_info(struct bf_platform *platform, struct bf_platform_info *ret_info,
                       struct bf_error *err)
{
    struct bf_vmware *vw = bf_vmware_of(platform);
    bf_auto_free char *missing = NULL;

    /* The root folder: what is granted there is granted for all machines.  Less is no error, the
     * prechecks of each machine look at it. */
    if (bf_vmware_privileges_missing(vw, "Folder", vw->root_folder, &missing, err) < 0)
        return -1;
    ret_info->version =
        bf_xasprintf("%s, API %s", vw->full_name ? vw->full_name : "vSphere", vw->version);
    ret_info->can_source = true;
    if (missing)
        bf_findings_add(&ret_info->findings, BF_SEVERITY_WARN, "vmware-privilege", NULL, missing,
                        "these privileges on the machines to replicate",
                        "the account lacks them at the top of the inventory",
                        "grant them there, or on the folders whose machines are replicated");
    return bf_vmware_read_path_findings(vw, NULL, &ret_info->findings, err);
}

/* --- resources --- */

static int take_network(const char *id, xmlNodePtr object, void *user)
{
    struct json_object *list = user, *json = json_object_new_object();
    bf_auto_free char *name = bf_vmware_text(bf_vmware_property(object, "name"), "");
    bf_auto_free char *plain = bf_vmware_unescape(name ? name : id);

    bf_json_add_string(json, "name", plain);
    bf_json_add_bool(json, "isolated", false);
    json_object_array_add(list, json);
    return 0;
}

static int take_datastore(const char *id, xmlNodePtr object, void *user)
{
    struct json_object *list = user, *json = json_object_new_object();
    bf_auto_free char *name = bf_vmware_text(bf_vmware_property(object, "name"), "");
    bf_auto_free char *plain = bf_vmware_unescape(name ? name : id);

    bf_json_add_string(json, "name", plain);
    bf_json_add_u64(json, "free_bytes",
                    bf_vmware_number(bf_vmware_property(object, "summary.freeSpace"), "", 0));
    bf_json_add_u64(json, "size_bytes",
                    bf_vmware_number(bf_vmware_property(object, "summary.capacity"), "", 0));
    json_object_array_add(list, json);
    return 0;
}

static int vmware_resources(struct bf_platform *platform, struct json_object **ret_resources,
                            struct bf_error *err)
{
    static const char *const name[] = {"name", NULL};
    static const char *const store[] = {"name", "summary.freeSpace", "summary.capacity", NULL};
    struct bf_vmware *vw = bf_vmware_of(platform);
    bf_auto_json *resources = json_object_new_object();
    struct json_object *networks = json_object_new_array(), *storages = json_object_new_array();

    json_object_object_add(resources, "networks", networks);
    json_object_object_add(resources, "storages", storages);
    if (bf_vmware_list(vw, "Network", name, take_network, networks, err) < 0 ||
        bf_vmware_list(vw, "Datastore", store, take_datastore, storages, err) < 0)
        return -1;
    *ret_resources = bf_steal(resources);
    return 0;
}

const struct bf_connector_ops bf_vmware_ops = {
    .type = "vmware",
    .open = bf_vmware_open,
    .check_options = bf_vmware_check_options,
    .close = bf_vmware_close,
    .info = vmware_info,
    .machines = bf_vmware_machines,
    .machine = bf_vmware_machine,
    .resources = vmware_resources,
    .power = bf_vmware_power,
    .shut_down = bf_vmware_shut_down,
    .power_off = bf_vmware_power_off,
    .power_on = bf_vmware_power_on,
    .tagged = bf_vmware_tagged,
    .source = &bf_vmware_source_ops,
};
