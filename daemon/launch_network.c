/* SPDX-License-Identifier: Apache-2.0 */
/* Where each nic of a launched machine goes. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/launch.h"

static struct json_object *find_network(struct json_object *resources, const char *name)
{
    struct json_object *networks = bf_context_array(resources, "networks");

    for (size_t i = 0; i < json_object_array_length(networks); i++) {
        struct json_object *network = json_object_array_get_idx(networks, i);

        if (bf_streq(bf_context_text(network, "name"), name) ||
            bf_streq(bf_context_text(network, "id"), name))
            return network;
    }
    return NULL;
}

/* A drill's guest has the source's addresses: on a network that others reach it would take the
 * running source's place. */
static int drill_network(struct bf_job *job, struct json_object *resources, const char **ret_name,
                         struct bf_error *err)
{
    const char *name = bf_context_text(bf_job_params(job), "network");
    struct json_object *network;

    if (!name)
        name = bf_job_inputs(job)->mapping.isolated_network;
    if (!name)
        return bf_fail(err, BF_E_ISOLATION, 0, "no isolated network is named for the drill");
    network = find_network(resources, name);
    if (!network)
        return bf_fail(err, BF_E_NO_SUCH_NETWORK, 0, "network '%s' of the drill", name);
    if (!bf_context_bool(network, "isolated"))
        return bf_fail(err, BF_E_ISOLATION, 0, "network '%s' is not isolated", name);
    *ret_name = name;
    return 0;
}

int bf_launch_map_networks(struct bf_job *job, const struct bf_machine *machine,
                           struct bf_launch_nic **ret_nics, struct bf_error *err)
{
    const struct bf_mapping *mapping = &bf_job_inputs(job)->mapping;
    bf_auto_free struct bf_launch_nic *nics = bf_xcalloc(machine->nic_count + 1, sizeof(*nics));
    bf_auto_json *resources = NULL;
    struct bf_platform *target;

    if (bf_job_target(job, &target, err) != 0)
        return -1;
    if (machine->nic_count > 0 && bf_platform_resources(target, &resources, err) != 0)
        return -1;
    for (size_t i = 0; i < machine->nic_count; i++) {
        const struct bf_machine_nic *nic = &machine->nics[i];

        nics[i].nic = nic;
        if (bf_launch_is_drill(job)) {
            if (drill_network(job, resources, &nics[i].network, err) != 0)
                return -1;
            continue;
        }
        nics[i].network = bf_mapping_network(mapping, nic->network);
        if (!nics[i].network)
            return bf_fail(err, BF_E_NO_SUCH_NETWORK, 0,
                           "network '%s' of nic %s is not mapped, and there is no default",
                           nic->network ? nic->network : "unknown", nic->mac ? nic->mac : "?");
        if (!find_network(resources, nics[i].network))
            return bf_fail(err, BF_E_NO_SUCH_NETWORK, 0, "network '%s', to which '%s' is mapped",
                           nics[i].network, nic->network ? nic->network : "unknown");
    }
    *ret_nics = bf_steal(nics);
    return 0;
}
