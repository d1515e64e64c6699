/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/companion.h"
#include "connectors/openstack/mover.h"
#include "connectors/openstack/neutron.h"
#include "connectors/openstack/nova.h"
#include "connectors/openstack/pools.h"
#include "connectors/openstack/precheck.h"

#define GIB (UINT64_C(1) << 30)

void bf_cloud_found(struct bf_cloud_check *check, enum bf_severity severity, const char *id,
                    const char *subject, const char *found, const char *needed, const char *why,
                    const char *fix)
{
    bf_findings_add(check->findings, severity, id, subject, found, needed, why, fix);
}

/* --- disks --- */

static bool is_replicated(const struct bf_cloud_check *check, const struct bf_machine_disk *disk)
{
    struct json_object *wanted = bf_cloud_at(check->mapping, "disks");

    if (disk->removable)
        return false;
    if (!json_object_is_type(wanted, json_type_array))
        return true;
    for (size_t i = 0; i < json_object_array_length(wanted); i++)
        if (bf_streq(json_object_get_string(json_object_array_get_idx(wanted, i)), disk->key))
            return true;
    return false;
}

static void count_disks(struct bf_cloud_check *check)
{
    for (size_t i = 0; i < check->machine->disk_count; i++) {
        const struct bf_machine_disk *disk = &check->machine->disks[i];
        uint64_t size = (disk->size_bytes + GIB - 1) / GIB;

        if (!is_replicated(check, disk))
            continue;
        check->disks++;
        check->gigabytes += size;
        if (size > check->largest)
            check->largest = size;
        if (disk->size_bytes % GIB == 0)
            continue;
        bf_auto_free char *found = bf_format_bytes(disk->size_bytes);
        bf_auto_free char *needed = bf_xasprintf("%llu GiB", (unsigned long long)size);
        bf_cloud_found(check, BF_SEVERITY_INFO, "openstack-size-rounded", disk->key, found, needed,
                       "Cinder's volumes are of whole GiB: the disk will be larger on the target",
                       "nothing; the added part is empty");
    }
}

static int check_type(struct bf_cloud_check *check, struct bf_error *err)
{
    bf_auto_free char *type = NULL;
    bf_auto_free char *zone = NULL;
    bf_auto_json *types = NULL;
    bf_auto_json *pools = NULL;
    struct json_object *found = NULL;

    bf_cloud_storage_split(check->cloud, bf_cloud_text(check->mapping, "storage"), &type, &zone);
    if (bf_cloud_collect(check->cloud,
                         &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                                    .path = "/types",
                                                    .minor = BF_CINDER_MINOR},
                         "volume_types", &types, err) < 0 ||
        bf_cinder_pools(check->cloud, &pools, err) < 0)
        return -1;
    for (size_t i = 0; type && i < json_object_array_length(types); i++)
        if (bf_streq(bf_cloud_text(json_object_array_get_idx(types, i), "name"), type))
            found = json_object_array_get_idx(types, i);
    if (type && !found)
        bf_cloud_found(
            check, BF_SEVERITY_BLOCK, "openstack-no-volume-type", type, "no such volume type",
            "a volume type on Ceph RBD", "the replica's volumes are of it",
            "correct storage (TYPE or TYPE@ZONE) in the mapping; see openstack volume type list");
    const char *backend = bf_cloud_text(found, "extra_specs/volume_backend_name");
    struct json_object *pool = backend ? bf_cinder_pool_of(pools, backend) : NULL;
    const char *protocol = bf_cloud_text(pool, "capabilities/storage_protocol");
    check->off_rbd = protocol && !bf_streq(protocol, "ceph");
    check->on_rbd = protocol && !check->off_rbd;
    if (check->off_rbd && !bf_cloud_has_mover(check->cloud))
        bf_cloud_found(
            check, BF_SEVERITY_BLOCK, "openstack-type-not-rbd", type, protocol, "ceph",
            "replicas are written by librbd, or through a mover",
            "choose a volume type on Ceph RBD, or give the platform a mover (docs/mover.md)");
    uint64_t room = bf_cloud_number(pool, "capabilities/free_capacity_gb");
    if (pool && room < check->gigabytes) {
        bf_auto_free char *is = bf_xasprintf("%llu GiB free", (unsigned long long)room);
        bf_auto_free char *must =
            bf_xasprintf("%llu GiB if the disks were full", (unsigned long long)check->gigabytes);
        bf_cloud_found(check, room == 0 ? BF_SEVERITY_BLOCK : BF_SEVERITY_WARN,
                       "openstack-pool-space", type, is, must,
                       "volumes are thin and grow with what the guest has written",
                       "free space or choose another volume type");
    }
    return 0;
}

static int check_zone(struct bf_cloud_check *check, struct bf_error *err)
{
    bf_auto_free char *type = NULL;
    bf_auto_free char *zone = NULL;
    bf_auto_json *zones = NULL;
    bool found = false;

    bf_cloud_storage_split(check->cloud, bf_cloud_text(check->mapping, "storage"), &type, &zone);
    if (!zone)
        return 0;
    if (bf_cloud_collect(check->cloud,
                         &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                                    .path = "/os-availability-zone",
                                                    .minor = BF_CINDER_MINOR},
                         "availabilityZoneInfo", &zones, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(zones); i++) {
        struct json_object *one = json_object_array_get_idx(zones, i);

        found = found || (bf_streq(bf_cloud_text(one, "zoneName"), zone) &&
                          bf_cloud_bool(one, "zoneState/available"));
    }
    if (!found)
        bf_cloud_found(check, BF_SEVERITY_BLOCK, "openstack-no-zone", zone,
                       "no such availability zone", "a zone of the volume service",
                       "volumes are made in it",
                       "correct storage (TYPE@ZONE) in the mapping, or option availability_zone");
    return 0;
}

/* --- quotas --- */

static void check_limit(struct bf_cloud_check *check, struct json_object *limits, const char *id,
                        const char *name, uint64_t more, const char *why)
{
    struct json_object *limit = bf_cloud_at(limits, name);
    uint64_t most = bf_cloud_number(limit, "limit"), used = bf_cloud_number(limit, "used");

    if (!limit || used + more <= most)
        return;
    bf_auto_free char *found =
        bf_xasprintf("%llu of %llu used", (unsigned long long)used, (unsigned long long)most);
    bf_auto_free char *needed = bf_xasprintf("%llu more", (unsigned long long)more);
    bf_cloud_found(check, BF_SEVERITY_BLOCK, id, name, found, needed, why,
                   "raise the project's quota (openstack quota set), or free what is not needed");
}

static int check_limits(struct bf_cloud_check *check, struct json_object *flavor,
                        struct bf_error *err)
{
    bf_auto_json *limits = NULL;

    if (bf_cloud_limits(check->cloud, &limits, err) < 0)
        return -1;
    /* The replica, and one launch. */
    check_limit(check, limits, "openstack-quota-volumes", "volumes",
                2 * check->disks + check->companion,
                check->companion ? "each disk has a volume for its replica and one for a launch, "
                                   "and the boot ladder's first machine one more"
                                 : "each disk has a volume for its replica and one for a launch");
    check_limit(check, limits, "openstack-quota-gigabytes", "gigabytes",
                3 * check->gigabytes + check->companion * BF_CLOUD_COMPANION_GIB,
                "replica, launch and one point are counted in full");
    check_limit(check, limits, "openstack-quota-snapshots", "snapshots", check->disks,
                "each point is a snapshot of every disk");
    check_limit(check, limits, "openstack-quota-volume-size", "per_volume_gigabytes",
                check->largest, "the largest disk is one volume");
    check_limit(check, limits, "openstack-quota-ports", "ports", check->machine->nic_count,
                "each nic has a port");
    check_limit(check, limits, "openstack-quota-instances", "instances", 1, "a launch is a server");
    check_limit(check, limits, "openstack-quota-cores", "cores", bf_cloud_number(flavor, "vcpus"),
                "the launch's flavor needs so many");
    check_limit(check, limits, "openstack-quota-ram", "ram", bf_cloud_number(flavor, "ram"),
                "the launch's flavor needs so many MiB");
    return 0;
}

/* --- flavor --- */

/* The local disk that a launch needs, in GiB: none where servers boot from volumes. */
static uint64_t check_boot(struct bf_cloud_check *check)
{
    const struct bf_machine_disk *boot = NULL;

    if (!check->cloud->conf.boot_from_image)
        return 0;
    for (size_t i = 0; i < check->machine->disk_count; i++) {
        const struct bf_machine_disk *disk = &check->machine->disks[i];

        if (is_replicated(check, disk) &&
            (!boot || (disk->boot_order > 0 &&
                       (boot->boot_order == 0 || disk->boot_order < boot->boot_order))))
            boot = disk;
    }
    if (!bf_cloud_has(check->cloud, BF_CLOUD_IMAGE))
        bf_cloud_found(check, BF_SEVERITY_BLOCK, "openstack-boot-image", NULL,
                       "no image service in the catalogue", "Glance",
                       "option boot is image: a launch boots from an image of its boot volume",
                       "see image_endpoint in the platform's options, or set boot to volume");
    else
        bf_cloud_found(check, BF_SEVERITY_INFO, "openstack-boot-image", NULL, "boot from an image",
                       "nothing but time",
                       "each launch uploads its whole boot volume to Glance first, and runs "
                       "on a local disk of the compute host",
                       "set option boot to volume where the cloud's servers can boot from volumes");
    if (check->companion)
        bf_cloud_found(
            check, BF_SEVERITY_BLOCK, "openstack-boot-ladder", NULL,
            "option boot is image, policy boot_ladder is sata-first", "one of them at most",
            "both machines of the ladder boot from a copy: what the first boot installs is lost",
            "set boot_ladder to virtio, or disk_bus to sata to stay on SATA, or option boot to "
            "volume");
    return boot ? (boot->size_bytes + GIB - 1) / GIB : 0;
}

static int check_flavor(struct bf_cloud_check *check, struct json_object **ret_flavor,
                        struct bf_error *err)
{
    const char *name = bf_cloud_text(check->mapping, "flavor");
    uint64_t cpus = bf_cloud_number(check->mapping, "cpus");
    uint64_t memory = bf_cloud_number(check->mapping, "memory_bytes");
    bf_auto_error trouble = BF_ERROR_INIT;
    bf_auto_json *flavor = NULL;

    if (!name)
        name = check->cloud->conf.flavor;
    if (!cpus)
        cpus = check->machine->cpus;
    if (!memory)
        memory = check->machine->memory_bytes;
    struct bf_nova_size size = {
        .cpus = (unsigned)cpus, .memory_bytes = memory, .disk_gib = check_boot(check)};
    if (bf_nova_flavor(check->cloud, name, &size, &flavor, &trouble) < 0) {
        if (trouble.code != BF_E_PLATFORM_UNSUPPORTED) {
            bf_error_move(err, &trouble);
            return -1;
        }
        bf_cloud_found(check, BF_SEVERITY_BLOCK, "openstack-no-flavor", name, trouble.message,
                       "a flavor that is large enough", "a launch is a server of a flavor",
                       "make one (openstack flavor create), or name one in the mapping (flavor)");
        return 0;
    }
    uint64_t ram = bf_cloud_number(flavor, "ram") << 20;
    if (ram != memory || bf_cloud_number(flavor, "vcpus") != cpus) {
        bf_auto_free char *is = bf_format_bytes(ram);
        bf_auto_free char *found =
            bf_xasprintf("%s: %llu cpus, %s", bf_cloud_text(flavor, "name"),
                         (unsigned long long)bf_cloud_number(flavor, "vcpus"), is);
        bf_auto_free char *must = bf_format_bytes(memory);
        bf_auto_free char *needed = bf_xasprintf("%llu cpus, %s", (unsigned long long)cpus, must);
        bool smaller = ram < memory || bf_cloud_number(flavor, "vcpus") < cpus;
        bf_cloud_found(check, smaller ? BF_SEVERITY_WARN : BF_SEVERITY_INFO,
                       "openstack-flavor-differs", NULL, found, needed, "flavors come in steps",
                       "name another one in the mapping (flavor)");
    }
    *ret_flavor = bf_steal(flavor);
    return 0;
}

/* --- networks --- */

static struct json_object *find_network(struct bf_cloud_check *check, const char *name,
                                        unsigned *ret_count)
{
    struct json_object *found = NULL;

    *ret_count = 0;
    for (size_t i = 0; i < json_object_array_length(check->networks); i++) {
        struct json_object *network = json_object_array_get_idx(check->networks, i);

        if (bf_streq(bf_cloud_text(network, "id"), name)) {
            *ret_count = 1;
            return network;
        }
        if (bf_streq(bf_cloud_text(network, "name"), name)) {
            found = network;
            (*ret_count)++;
        }
    }
    return found;
}

static struct json_object *port_with(struct bf_cloud_check *check, const char *network_id,
                                     const char *mac, const char *address)
{
    for (size_t i = 0; i < json_object_array_length(check->ports); i++) {
        struct json_object *port = json_object_array_get_idx(check->ports, i);
        struct json_object *ips = bf_cloud_at(port, "fixed_ips");
        const char *name = bf_cloud_text(port, "name");
        char tag[BF_TAG_LENGTH + 1];

        if (!bf_streq(bf_cloud_text(port, "network_id"), network_id) ||
            (name && bf_tag_of(name, tag))) /* of a launch of ours */
            continue;
        if (mac && bf_streq(bf_cloud_text(port, "mac_address"), mac))
            return port;
        for (size_t j = 0; address && json_object_is_type(ips, json_type_array) &&
                           j < json_object_array_length(ips);
             j++)
            if (bf_streq(bf_cloud_text(json_object_array_get_idx(ips, j), "ip_address"), address))
                return port;
    }
    return NULL;
}

static int check_addresses(struct bf_cloud_check *check, const struct bf_machine_nic *nic,
                           struct json_object *network, struct bf_error *err)
{
    const char *id = bf_cloud_id(network, "id");
    bf_auto_json *subnets = NULL;

    if (bf_neutron_subnets(check->cloud, id, &subnets, err) < 0)
        return -1;
    if (nic->mac && port_with(check, id, nic->mac, NULL))
        bf_cloud_found(check, BF_SEVERITY_BLOCK, "openstack-mac-taken", nic->mac,
                       "a port has it already", "a MAC address that is free on the network",
                       "the machine keeps its MAC address",
                       "delete that port, or map the nic to another network");
    for (char *const *address = nic->addresses; address && *address; address++) {
        if (!bf_neutron_subnet_of(subnets, *address)) {
            bf_cloud_found(
                check, BF_SEVERITY_WARN, "openstack-address-outside", *address,
                bf_cloud_text(network, "name"), "a subnet that holds the address",
                "the port gets an address of Neutron's choice, and the guest must take it",
                "map the nic to a network with that subnet, or let the guest use DHCP");
            continue;
        }
        if (port_with(check, id, NULL, *address))
            bf_cloud_found(check, BF_SEVERITY_BLOCK, "openstack-address-taken", *address,
                           "a port has it already", "an address that is free on the network",
                           "the machine keeps its address",
                           "delete that port, or map the nic to another network");
    }
    return 0;
}

static int check_network(struct bf_cloud_check *check, const struct bf_machine_nic *nic,
                         const char *name, struct bf_error *err)
{
    unsigned count;
    struct json_object *network = find_network(check, name, &count);

    if (count == 0)
        bf_cloud_found(check, BF_SEVERITY_BLOCK, "openstack-no-network", name, "no such network",
                       "a network of the project", "a nic is mapped to it",
                       "correct networks in the mapping; see openstack network list");
    else if (count > 1)
        bf_cloud_found(check, BF_SEVERITY_BLOCK, "openstack-network-ambiguous", name,
                       "several networks have this name", "one network", "a nic is mapped to it",
                       "name it by its id in the mapping");
    else
        return nic ? check_addresses(check, nic, network, err) : 0;
    return 0;
}

static int check_nics(struct bf_cloud_check *check, struct bf_error *err)
{
    struct json_object *map = bf_cloud_at(check->mapping, "networks");
    const char *isolated = bf_cloud_text(check->mapping, "isolated_network");

    for (size_t i = 0; i < check->machine->nic_count; i++) {
        const struct bf_machine_nic *nic = &check->machine->nics[i];
        struct json_object *target = NULL;
        const char *name = NULL;

        if (nic->network && json_object_is_type(map, json_type_object) &&
            json_object_object_get_ex(map, nic->network, &target))
            name = json_object_get_string(target);
        if (!name)
            name = bf_cloud_text(check->mapping, "default_network");
        if (!name)
            bf_cloud_found(check, BF_SEVERITY_BLOCK, "openstack-nic-unmapped", nic->mac,
                           nic->network ? nic->network : "an unknown network",
                           "networks or default_network in the mapping",
                           "every nic goes to a network", "map it (blockferry set ... networks)");
        else if (check_network(check, nic, name, err) < 0)
            return -1;
    }
    unsigned count;
    struct json_object *network = isolated ? find_network(check, isolated, &count) : NULL;
    if (isolated && !network)
        return check_network(check, NULL, isolated, err);
    if (network && !bf_cloud_bool(network, "blockferry_isolated"))
        bf_cloud_found(
            check, BF_SEVERITY_WARN, "openstack-not-isolated", isolated,
            "shared, external, with a router, or on a wire of the data centre",
            "a network that nothing else is reached from",
            "a drill's guest has the source's addresses",
            "take another one, or tag it blockferry-isolated where its type is not shown");
    return 0;
}

static int check_groups(struct bf_cloud_check *check, struct bf_error *err)
{
    struct json_object *wanted = bf_cloud_at(check->mapping, "security_groups");
    bf_auto_json *all = NULL;

    if (!json_object_is_type(wanted, json_type_array))
        return 0;
    if (bf_cloud_collect(
            check->cloud,
            &(struct bf_cloud_request){.service = BF_CLOUD_NETWORK,
                                       .path = "/security-groups?fields=id&fields=name"},
            "security_groups", &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(wanted); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(wanted, i));
        bool found = false;

        for (size_t j = 0; !found && j < json_object_array_length(all); j++) {
            struct json_object *group = json_object_array_get_idx(all, j);

            found = bf_streq(bf_cloud_text(group, "name"), name) ||
                    bf_streq(bf_cloud_text(group, "id"), name);
        }
        if (!found)
            bf_cloud_found(check, BF_SEVERITY_BLOCK, "openstack-no-security-group", name,
                           "no such security group", "a security group of the project",
                           "the launch's ports are put into it",
                           "correct security_groups in the mapping, or make it");
    }
    return 0;
}

/* --- firmware --- */

static void check_firmware(struct bf_cloud_check *check)
{
    if (check->machine->firmware != BF_FIRMWARE_BIOS)
        bf_cloud_found(check, BF_SEVERITY_WARN, "openstack-uefi-fallback", NULL,
                       "the machine boots by UEFI", "EFI/BOOT/BOOTX64.EFI on its disk",
                       "Nova makes new UEFI variables: the machine's boot entries are lost",
                       "make sure that the boot loader is installed as the fallback, too");
    if (check->machine->arch && !bf_streq(check->machine->arch, "x86_64"))
        bf_cloud_found(check, BF_SEVERITY_WARN, "openstack-architecture", NULL,
                       check->machine->arch, "x86_64", "nothing else was tried",
                       "make sure that the cloud has hosts of this architecture");
}

int bf_cloud_target_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                             struct json_object *mapping, struct bf_findings *findings,
                             struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *networks = NULL;
    bf_auto_json *ports = NULL;
    bf_auto_json *flavor = NULL;
    struct bf_cloud_check check = {
        .cloud = cloud, .machine = machine, .mapping = mapping, .findings = findings};

    if (bf_neutron_networks(cloud, &networks, err) < 0 ||
        bf_neutron_ports(cloud, NULL, &ports, err) < 0)
        return -1;
    check.companion = bf_cloud_bool(mapping, "companion");
    check.networks = networks;
    check.ports = ports;
    count_disks(&check);
    check_firmware(&check);
    if (check_type(&check, err) < 0 || bf_cloud_check_path(&check, err) < 0 ||
        check_zone(&check, err) < 0 || check_flavor(&check, &flavor, err) < 0 ||
        check_limits(&check, flavor, err) < 0 || check_nics(&check, err) < 0 ||
        check_groups(&check, err) < 0)
        return -1;
    return 0;
}
