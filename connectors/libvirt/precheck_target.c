/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/xml.h"
#include "connectors/libvirt/launch.h"
#include "connectors/libvirt/launch_xml.h"
#include "connectors/libvirt/precheck.h"
#include "connectors/libvirt/storage.h"

/* Below this not even the images' metadata fits. */
#define FREE_MIN (UINT64_C(64) << 20)

/* What the prechecks need of the mapping; its form is checked by the service. */
struct wanted {
    const char *storage;
    const char *machine_name;
    const char *default_network;
    const char *isolated_network;
    struct json_object *networks;
    struct json_object *disks;
};

static int read_mapping(struct json_object *mapping, struct wanted *wanted, struct bf_error *err)
{
    if (!mapping)
        return 0;
    if (bf_json_opt_string(mapping, "mapping", "storage", &wanted->storage, err) < 0 ||
        bf_json_opt_string(mapping, "mapping", "machine_name", &wanted->machine_name, err) < 0 ||
        bf_json_opt_string(mapping, "mapping", "default_network", &wanted->default_network, err) <
            0 ||
        bf_json_opt_string(mapping, "mapping", "isolated_network", &wanted->isolated_network, err) <
            0 ||
        bf_json_opt_object(mapping, "mapping", "networks", &wanted->networks, err) < 0 ||
        bf_json_opt_array(mapping, "mapping", "disks", &wanted->disks, err) < 0)
        return -1;
    return 0;
}

static bool is_replicated(const struct wanted *wanted, const struct bf_machine_disk *disk)
{
    if (disk->removable)
        return false;
    if (!wanted->disks)
        return true;
    for (size_t i = 0; i < json_object_array_length(wanted->disks); i++) {
        if (bf_streq(json_object_get_string(json_object_array_get_idx(wanted->disks, i)),
                     disk->key))
            return true;
    }
    return false;
}

static void check_space(const struct bf_libvirt_pool *pool, const struct bf_machine *machine,
                        const struct wanted *wanted, struct bf_findings *findings)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < machine->disk_count; i++) {
        if (is_replicated(wanted, &machine->disks[i]))
            sum += machine->disks[i].size_bytes;
    }
    if (pool->available_bytes >= sum)
        return;
    bf_auto_free char *free_text = bf_format_bytes(pool->available_bytes);
    bf_auto_free char *sum_text = bf_format_bytes(sum);
    bf_auto_free char *found = bf_xasprintf("%s free in pool %s", free_text, pool->name);
    bf_auto_free char *needed =
        bf_xasprintf("%s if the disks were full, and room for changes", sum_text);
    bf_findings_add(findings,
                    pool->available_bytes < FREE_MIN ? BF_SEVERITY_BLOCK : BF_SEVERITY_WARN,
                    "libvirt-pool-space", pool->name, found, needed,
                    "volumes are sparse and grow with what the guest has written",
                    "free space, grow the pool, or choose another storage in the mapping");
}

static void pool_trouble(const struct bf_libvirt *lv, const struct wanted *wanted,
                         const struct bf_error *trouble, struct bf_findings *findings)
{
    const char *name = wanted->storage ? wanted->storage : bf_libvirt_pool_default(lv);
    const char *id = trouble->code == BF_E_PLATFORM_UNSUPPORTED ? "libvirt-pool-not-directory"
                                                                : "libvirt-no-pool";

    if (!lv->conf.local)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-target-not-local", name,
                        trouble->message, "a libvirt on this host",
                        "replicas are written to the pool's files directly",
                        "run blockferry on the target host, or use that host's blockferry");
    else
        bf_findings_add(
            findings, BF_SEVERITY_BLOCK, id, name, trouble->message,
            "an active directory pool on this host",
            "replicas are written to files of a storage pool",
            "start the pool (virsh pool-start), or name another storage in the mapping");
}

static void check_pool(struct bf_libvirt *lv, const struct bf_machine *machine,
                       const struct wanted *wanted, struct bf_findings *findings)
{
    bf_auto_libvirt_pool pool = {0};
    bf_auto_error trouble = BF_ERROR_INIT;

    if (bf_libvirt_pool_find(lv, wanted->storage, &pool, &trouble) < 0) {
        pool_trouble(lv, wanted, &trouble, findings);
        return;
    }
    if (bf_file_access(pool.directory, R_OK | W_OK | X_OK) < 0)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-pool-not-writable", pool.name,
                        pool.directory, "a directory that this service may write",
                        "finished rounds are renamed, and merged points removed, there",
                        "give the service's user access to the directory (setfacl)");
    check_space(&pool, machine, wanted, findings);
}

static void check_network(struct bf_libvirt *lv, const char *name, const char *subject,
                          struct bf_findings *findings)
{
    bf_auto_vir(network) virNetworkPtr network = virNetworkLookupByName(lv->conn, name);

    if (network && virNetworkIsActive(network) == 1)
        return;
    bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-no-network", subject,
                    network ? "a network that is not started" : "no such network", name,
                    "the launched machine could not be started",
                    "start or define the network, or change the network map");
}

static void check_networks(struct bf_libvirt *lv, const struct bf_machine *machine,
                           const struct wanted *wanted, struct bf_findings *findings)
{
    for (size_t i = 0; i < machine->nic_count; i++) {
        const struct bf_machine_nic *nic = &machine->nics[i];
        struct json_object *mapped = NULL;
        const char *name = wanted->default_network;
        if (wanted->networks && nic->network &&
            json_object_object_get_ex(wanted->networks, nic->network, &mapped) && mapped)
            name = json_object_get_string(mapped);
        if (!name)
            name = nic->network;
        if (name) {
            check_network(lv, name, nic->mac ? nic->mac : nic->network, findings);
            continue;
        }
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-no-network", nic->mac,
                        "a network adapter without a network in the map", "a network",
                        "the launched machine could not be started",
                        "name a default network in the mapping");
    }
    if (wanted->isolated_network)
        check_network(lv, wanted->isolated_network, "isolated_network", findings);
}

static void check_name(struct bf_libvirt *lv, const struct bf_machine *machine,
                       const struct wanted *wanted, struct bf_findings *findings)
{
    bf_auto_free char *name =
        bf_libvirt_domain_name(wanted->machine_name ? wanted->machine_name : machine->name);
    bf_auto_vir(domain) virDomainPtr vir = virDomainLookupByName(lv->conn, name);

    if (vir)
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-name-taken", name,
                        "a machine of this name exists on the target", "a free name",
                        "a machine of this name cannot be launched there",
                        "give another machine_name in the mapping");
}

static int check_hardware(struct bf_libvirt *lv, const struct bf_machine *machine,
                          struct bf_findings *findings, struct bf_error *err)
{
    bf_auto_free char *why = NULL;
    bf_auto_free char *caps = NULL;
    bf_auto_error trouble = BF_ERROR_INIT;
    bf_auto_xmldoc doc = NULL;
    bool kvm = false;

    if (bf_libvirt_kvm(lv, machine->arch, &kvm, &why, err) < 0)
        return -1;
    if (!kvm)
        bf_findings_add(findings, BF_SEVERITY_WARN, "libvirt-no-kvm", NULL, why, "KVM",
                        "machines are emulated: they work, many times slower",
                        "use a host with hardware virtualisation");
    if (bf_libvirt_domcaps(lv, machine->arch, kvm ? "kvm" : "qemu", &caps, &trouble) < 0) {
        bf_findings_add(
            findings, BF_SEVERITY_BLOCK, "libvirt-arch", machine->arch ? machine->arch : "unknown",
            trouble.message, "an emulator for the machine's architecture",
            "the launched machine could not be started", "install the emulator on the target host");
        return 0;
    }
    if (machine->firmware == BF_FIRMWARE_BIOS)
        return 0;
    if (bf_xml_parse(caps, strlen(caps), "domain capabilities", &doc, err) < 0)
        return -1;
    if (!bf_xml_has(doc, NULL, "/domainCapabilities/os/enum[@name='firmware']/value[.='efi']"))
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "libvirt-no-uefi", NULL, "no UEFI firmware",
                        "OVMF", "the machine boots by UEFI", "install OVMF on the target host");
    return 0;
}

int bf_libvirt_target_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                               struct json_object *mapping, struct bf_findings *findings,
                               struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    struct wanted wanted = {0};

    if (read_mapping(mapping, &wanted, err) < 0 ||
        bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
        return -1;
    check_pool(lv, machine, &wanted, findings);
    check_networks(lv, machine, &wanted, findings);
    check_name(lv, machine, &wanted, findings);
    return check_hardware(lv, machine, findings, err);
}
