/* SPDX-License-Identifier: Apache-2.0 */
/* Neutron: networks, subnets, ports. */
#pragma once

#include "connectors/openstack/cloud.h"

/* Every network the project sees (an admin: no other project's), each with a member
 * "blockferry_isolated": nothing but its own ports is reached from it. */
int bf_neutron_networks(struct bf_cloud *cloud, struct json_object **ret_networks,
                        struct bf_error *err);
/* By name or id; none or several of the name: BF_E_NO_SUCH_NETWORK. */
int bf_neutron_network(struct bf_cloud *cloud, const char *name, struct json_object **ret_network,
                       struct bf_error *err);
int bf_neutron_subnets(struct bf_cloud *cloud, const char *network_id,
                       struct json_object **ret_subnets, struct bf_error *err);
/* The subnet that holds the address; NULL: none. Borrowed from `subnets`. */
struct json_object *bf_neutron_subnet_of(struct json_object *subnets, const char *address);
/* Ports by a query ("name=...", "device_id=..."). */
int bf_neutron_ports(struct bf_cloud *cloud, const char *query, struct json_object **ret_ports,
                     struct bf_error *err);

struct bf_neutron_port {
    const char *name;
    const char *network_id;
    const char *mac;        /* NULL: Neutron's choice */
    char *const *addresses; /* NULL-terminated; those that no subnet holds are left out; or NULL */
    char *const *security_groups; /* names or ids, NULL-terminated; NULL: the project's default */
};
/* A MAC or address that is taken: BF_E_EXISTS. */
int bf_neutron_create_port(struct bf_cloud *cloud, const struct bf_neutron_port *port,
                           struct json_object **ret_port, struct bf_error *err);
int bf_neutron_delete_port(struct bf_cloud *cloud, const char *id, struct bf_error *err);
int bf_neutron_rename_port(struct bf_cloud *cloud, const char *id, const char *name,
                           struct bf_error *err);
