/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/neutron.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

/* The admin's word that a network is isolated, where its provider attributes are not shown. */
#define ISOLATED_TAG "blockferry-isolated"

static struct bf_cloud_request request_of(const char *method, const char *path,
                                          struct json_object *body)
{
    return (struct bf_cloud_request){
        .service = BF_CLOUD_NETWORK, .method = method, .path = path, .body = body};
}

static int collect(struct bf_cloud *cloud, const char *path, const char *collection,
                   struct json_object **ret_items, struct bf_error *err)
{
    struct bf_cloud_request request = request_of(NULL, path, NULL);

    return bf_cloud_collect(cloud, &request, collection, ret_items, err);
}

/* --- networks --- */

static bool has_tag(struct json_object *network, const char *tag)
{
    struct json_object *tags = bf_cloud_at(network, "tags");

    for (size_t i = 0;
         json_object_is_type(tags, json_type_array) && i < json_object_array_length(tags); i++)
        if (bf_streq(json_object_get_string(json_object_array_get_idx(tags, i)), tag))
            return true;
    return false;
}

/* On these the segment is the cloud's own: without a router nothing leaves it.  "flat" and "vlan"
 * are wires of the data centre. */
static bool is_own_segment(struct json_object *network)
{
    static const char *const types[] = {"local", "vxlan", "geneve", "gre"};
    const char *type = bf_cloud_text(network, "provider:network_type");

    for (size_t i = 0; i < bf_array_length(types); i++)
        if (bf_streq(types[i], type))
            return true;
    return false;
}

static bool has_router(struct json_object *router_ports, const char *network_id)
{
    for (size_t i = 0; i < json_object_array_length(router_ports); i++) {
        struct json_object *port = json_object_array_get_idx(router_ports, i);
        const char *owner = bf_cloud_text(port, "device_owner");

        if (owner &&
            (bf_starts_with(owner, "network:router") ||
             bf_starts_with(owner, "network:ha_router")) &&
            bf_streq(bf_cloud_text(port, "network_id"), network_id))
            return true;
    }
    return false;
}

/* An admin is shown the networks of all projects, among which names come again; a machine of a
 * project belongs on those that the project's members see. */
static int project_networks(struct bf_cloud *cloud, struct json_object **ret_networks,
                            struct bf_error *err)
{
    bf_auto_json *all = NULL;
    bf_auto_json *usable = json_object_new_array();

    if (collect(cloud, "/networks", "networks", &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *network = json_object_array_get_idx(all, i);
        const char *project = bf_cloud_text(network, "project_id");

        if (!cloud->admin || !project || bf_streq(project, cloud->project_id) ||
            bf_cloud_bool(network, "shared") || bf_cloud_bool(network, "router:external"))
            json_object_array_add(usable, json_object_get(network));
    }
    *ret_networks = bf_steal(usable);
    return 0;
}

int bf_neutron_networks(struct bf_cloud *cloud, struct json_object **ret_networks,
                        struct bf_error *err)
{
    bf_auto_json *networks = NULL;
    bf_auto_json *ports = NULL;

    if (project_networks(cloud, &networks, err) < 0 ||
        collect(cloud, "/ports?fields=device_owner&fields=network_id", "ports", &ports, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(networks); i++) {
        struct json_object *network = json_object_array_get_idx(networks, i);
        bool isolated = !bf_cloud_bool(network, "router:external") &&
                        !bf_cloud_bool(network, "shared") &&
                        !has_router(ports, bf_cloud_text(network, "id")) &&
                        (is_own_segment(network) || has_tag(network, ISOLATED_TAG));

        bf_json_add_bool(network, "blockferry_isolated", isolated);
    }
    *ret_networks = bf_steal(networks);
    return 0;
}

int bf_neutron_network(struct bf_cloud *cloud, const char *name, struct json_object **ret_network,
                       struct bf_error *err)
{
    bf_auto_json *networks = NULL;
    struct json_object *found = NULL;
    unsigned count = 0;

    if (project_networks(cloud, &networks, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(networks); i++) {
        struct json_object *network = json_object_array_get_idx(networks, i);

        if (bf_streq(bf_cloud_text(network, "id"), name)) {
            *ret_network = json_object_get(network);
            return 0;
        }
        if (bf_streq(bf_cloud_text(network, "name"), name) && bf_cloud_id(network, "id")) {
            found = network;
            count++;
        }
    }
    if (count != 1)
        return bf_fail(
            err, BF_E_NO_SUCH_NETWORK, 0,
            count ? "several networks are called '%s': name it by its id" : "network '%s'", name);
    *ret_network = json_object_get(found);
    return 0;
}

int bf_neutron_subnets(struct bf_cloud *cloud, const char *network_id,
                       struct json_object **ret_subnets, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/subnets?network_id=%s", network_id);

    return collect(cloud, path, "subnets", ret_subnets, err);
}

/* Both as text; "10.0.0.5" in "10.0.0.0/24". */
static bool is_within(const char *address, const char *cidr)
{
    unsigned char a[16], b[16];
    bf_auto_free char *network = bf_xstrdup(cidr);
    char *slash = strchr(network, '/');
    int family = strchr(address, ':') ? AF_INET6 : AF_INET;

    if (!slash)
        return false;
    *slash = '\0';
    unsigned long bits = strtoul(slash + 1, NULL, 10);
    if (bits > (family == AF_INET ? 32 : 128) || inet_pton(family, address, a) != 1 ||
        inet_pton(family, network, b) != 1)
        return false;
    for (unsigned long i = 0; i < bits; i++)
        if ((a[i / 8] ^ b[i / 8]) & (0x80 >> (i % 8)))
            return false;
    return true;
}

struct json_object *bf_neutron_subnet_of(struct json_object *subnets, const char *address)
{
    for (size_t i = 0; i < json_object_array_length(subnets); i++) {
        struct json_object *subnet = json_object_array_get_idx(subnets, i);
        const char *cidr = bf_cloud_text(subnet, "cidr");

        if (cidr && bf_cloud_id(subnet, "id") && is_within(address, cidr))
            return subnet;
    }
    return NULL;
}

/* --- ports --- */

int bf_neutron_ports(struct bf_cloud *cloud, const char *query, struct json_object **ret_ports,
                     struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/ports%s%s", query ? "?" : "", query ? query : "");

    return collect(cloud, path, "ports", ret_ports, err);
}

static struct json_object *fixed_ips(struct json_object *subnets, char *const *addresses)
{
    struct json_object *ips = json_object_new_array();

    for (; addresses && *addresses; addresses++) {
        struct json_object *subnet = bf_neutron_subnet_of(subnets, *addresses);
        struct json_object *ip;

        if (!subnet)
            continue;
        ip = json_object_new_object();
        bf_json_add_string(ip, "subnet_id", bf_cloud_id(subnet, "id"));
        bf_json_add_string(ip, "ip_address", *addresses);
        json_object_array_add(ips, ip);
    }
    return ips;
}

/* Neutron takes ids only. */
static int add_security_groups(struct bf_cloud *cloud, char *const *names,
                               struct json_object *content, struct bf_error *err)
{
    struct json_object *ids = json_object_new_array();
    bf_auto_json *all = NULL;

    json_object_object_add(content, "security_groups", ids);
    if (collect(cloud, "/security-groups?fields=id&fields=name", "security_groups", &all, err) < 0)
        return -1;
    for (; *names; names++) {
        const char *id = NULL;

        for (size_t i = 0; !id && i < json_object_array_length(all); i++) {
            struct json_object *group = json_object_array_get_idx(all, i);

            if (bf_streq(bf_cloud_text(group, "name"), *names) ||
                bf_streq(bf_cloud_text(group, "id"), *names))
                id = bf_cloud_id(group, "id");
        }
        if (!id)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "the project has no security group \"%s\"",
                           *names);
        json_object_array_add(ids, json_object_new_string(id));
    }
    return 0;
}

int bf_neutron_create_port(struct bf_cloud *cloud, const struct bf_neutron_port *port,
                           struct json_object **ret_port, struct bf_error *err)
{
    bf_auto_json *subnets = NULL;
    bf_auto_json *body = json_object_new_object();
    bf_auto_json *answer = NULL;
    struct json_object *content = json_object_new_object();
    const char *id;

    json_object_object_add(body, "port", content);
    if (bf_neutron_subnets(cloud, port->network_id, &subnets, err) < 0)
        return -1;
    bf_json_add_string(content, "name", port->name);
    bf_json_add_string(content, "network_id", port->network_id);
    if (port->mac)
        bf_json_add_string(content, "mac_address", port->mac);
    struct json_object *ips = fixed_ips(subnets, port->addresses);
    if (json_object_array_length(ips) > 0)
        json_object_object_add(content, "fixed_ips", ips);
    else
        json_object_put(ips);
    if (port->security_groups &&
        add_security_groups(cloud, port->security_groups, content, err) < 0)
        return -1;
    struct bf_cloud_request request = request_of("POST", "/ports", body);
    if (bf_cloud_call(cloud, &request, &answer, err) < 0 ||
        bf_cloud_need_id(answer, "port/id", &id, err) < 0)
        return bf_fail_in(err, "port for %s", port->mac ? port->mac : "a nic");
    *ret_port = json_object_get(bf_cloud_at(answer, "port"));
    return 0;
}

int bf_neutron_delete_port(struct bf_cloud *cloud, const char *id, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/ports/%s", id);
    struct bf_cloud_request request = request_of("DELETE", path, NULL);

    if (bf_cloud_call(cloud, &request, NULL, err) < 0) {
        if (cloud->status != 404)
            return -1;
        bf_error_clear(err);
    }
    return 0;
}

int bf_neutron_rename_port(struct bf_cloud *cloud, const char *id, const char *name,
                           struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/ports/%s", id);
    bf_auto_json *body = json_object_new_object();
    struct json_object *content = json_object_new_object();

    json_object_object_add(body, "port", content);
    bf_json_add_string(content, "name", name);
    struct bf_cloud_request request = request_of("PUT", path, body);
    return bf_cloud_call(cloud, &request, NULL, err);
}
