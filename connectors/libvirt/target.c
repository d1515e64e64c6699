/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of this connector, and what belongs to the platform as a whole. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "base/xml.h"
#include "connectors/libvirt/firmware.h"
#include "connectors/libvirt/launch.h"
#include "connectors/libvirt/layers.h"
#include "connectors/libvirt/precheck.h"
#include "connectors/libvirt/snapshot.h"

/* --- info --- */

static int backup_supported(struct bf_libvirt *lv, bool *ret_supported, struct bf_error *err)
{
    bf_auto_free char *xml = NULL;
    bf_auto_xmldoc doc = NULL;

    if (bf_libvirt_domcaps(lv, NULL, "qemu", &xml, err) < 0 ||
        bf_xml_parse(xml, strlen(xml), "domain capabilities", &doc, err) < 0)
        return -1;
    bf_auto_free char *supported =
        bf_xml_text(doc, NULL, "/domainCapabilities/features/backup/@supported");
    *ret_supported = bf_streq(supported, "yes");
    return 0;
}

static char *version_text(unsigned long version)
{
    return bf_xasprintf("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);
}

static int libvirt_info(struct bf_platform *platform, struct bf_platform_info *ret_info,
                        struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    unsigned long library = 0, hypervisor = 0;
    bf_auto_error no_pool = BF_ERROR_INIT;
    bf_auto_libvirt_pool pool = {0};

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
        return -1;
    if (virConnectGetLibVersion(lv->conn, &library) < 0 ||
        virConnectGetVersion(lv->conn, &hypervisor) < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "version");
    if (backup_supported(lv, &ret_info->can_source, err) < 0)
        return -1;
    bf_auto_free char *library_text = version_text(library);
    bf_auto_free char *hypervisor_text = version_text(hypervisor);
    ret_info->version = bf_xasprintf("libvirt %s, QEMU %s", library_text, hypervisor_text);
    if (!ret_info->can_source)
        bf_libvirt_finding_no_backup(&ret_info->findings, BF_SEVERITY_WARN, ret_info->version);
    ret_info->can_target = bf_libvirt_pool_find(lv, NULL, &pool, &no_pool) == 0;
    if (!ret_info->can_target)
        bf_findings_add(&ret_info->findings, BF_SEVERITY_WARN, "libvirt-no-pool",
                        bf_libvirt_pool_default(lv), no_pool.message,
                        "an active directory pool on this host",
                        "replicas are written to files of a storage pool",
                        "define and start the pool, or name another one in option pool");
    return 0;
}

/* --- resources --- */

static int add_networks(struct bf_libvirt *lv, struct json_object *resources, struct bf_error *err)
{
    virNetworkPtr *networks = NULL;
    int count = virConnectListAllNetworks(lv->conn, &networks, VIR_CONNECT_LIST_NETWORKS_ACTIVE);
    struct json_object *array = json_object_new_array();

    json_object_object_add(resources, "networks", array);
    if (count < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "list of networks");
    for (int i = 0; i < count; i++) {
        bf_auto_free char *xml = virNetworkGetXMLDesc(networks[i], 0);
        bf_auto_error ignored = BF_ERROR_INIT;
        bf_auto_xmldoc doc = NULL;
        struct json_object *object = json_object_new_object();
        bf_json_add_string(object, "name", virNetworkGetName(networks[i]));
        /* Without <forward> libvirt lets nothing out of the network. */
        if (xml && bf_xml_parse(xml, strlen(xml), "network XML", &doc, &ignored) == 0)
            bf_json_add_bool(object, "isolated", !bf_xml_has(doc, NULL, "/network/forward"));
        json_object_array_add(array, object);
        virNetworkFree(networks[i]);
    }
    free(networks);
    return 0;
}

static int add_storages(struct bf_libvirt *lv, struct json_object *resources, struct bf_error *err)
{
    virStoragePoolPtr *pools = NULL;
    int count =
        virConnectListAllStoragePools(lv->conn, &pools, VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE);
    struct json_object *array = json_object_new_array();

    json_object_object_add(resources, "storages", array);
    if (count < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "list of storage pools");
    for (int i = 0; i < count; i++) {
        bf_auto_libvirt_pool pool = {0};
        bf_auto_error unusable = BF_ERROR_INIT;
        if (bf_libvirt_pool_find(lv, virStoragePoolGetName(pools[i]), &pool, &unusable) == 0) {
            struct json_object *object = json_object_new_object();
            bf_json_add_string(object, "name", pool.name);
            bf_json_add_u64(object, "free_bytes", pool.available_bytes);
            bf_json_add_u64(object, "size_bytes", pool.capacity_bytes);
            json_object_array_add(array, object);
        }
        virStoragePoolFree(pools[i]);
    }
    free(pools);
    return 0;
}

static int libvirt_resources(struct bf_platform *platform, struct json_object **ret_resources,
                             struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_json *resources = json_object_new_object();

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 || add_networks(lv, resources, err) < 0 ||
        add_storages(lv, resources, err) < 0)
        return -1;
    *ret_resources = bf_steal(resources);
    return 0;
}

/* --- janitor --- */

struct seen {
    char (*tags)[BF_TAG_LENGTH + 1]; /* told already */
    size_t count, capacity;
};

static bool seen_has(const struct seen *seen, const char *tag)
{
    for (size_t i = 0; i < seen->count; i++) {
        if (bf_streq(seen->tags[i], tag))
            return true;
    }
    return false;
}

static bool seen_add(struct seen *seen, const char *tag)
{
    if (seen_has(seen, tag))
        return false;
    bf_xgrow(&seen->tags, &seen->capacity, seen->count + 1, sizeof(*seen->tags));
    memcpy(seen->tags[seen->count++], tag, BF_TAG_LENGTH + 1);
    return true;
}

struct listing {
    struct bf_libvirt *lv;
    bf_tagged_fn *fn;
    void *user;
    struct seen volumes;
    struct seen machines;
    char **used; /* files of machines that are not ours */
    size_t used_count, used_capacity;
    bool stop;
};

static void tell(struct listing *listing, const char *kind, const char *tag, char *ref,
                 const char *name)
{
    if (!listing->stop)
        listing->stop = listing->fn(kind, tag, ref, name, listing->user) != 0;
    free(ref);
}

static bool used_by_others(const struct listing *listing, const char *path)
{
    for (size_t i = 0; i < listing->used_count; i++) {
        if (bf_streq(listing->used[i], path))
            return true;
    }
    return false;
}

static void tell_clone(struct listing *listing, const struct bf_libvirt_pool *pool,
                       const char *name, const struct bf_libvirt_file *file)
{
    bf_auto_libvirt_clone clone = {
        .pool = bf_xstrdup(pool->name),
        .path = bf_xasprintf("%s/%s", pool->directory, name),
        .tag = bf_xstrdup(file->tag),
    };
    bf_auto_free char *backing = NULL;
    bf_auto_error ignored = BF_ERROR_INIT;
    uint64_t size;

    /* Independent and used by a machine without our mark: it was handed over. */
    if (used_by_others(listing, clone.path) &&
        bf_libvirt_qcow2_header(clone.path, &backing, &size, &ignored) == 0 && !backing)
        return;
    tell(listing, "clone", file->tag, bf_libvirt_clone_write(&clone), name);
}

/* Made for a machine that was never defined, or left when it went. */
static void tell_machine_file(struct listing *listing, const struct bf_libvirt_pool *pool,
                              const char *name, const struct bf_libvirt_file *file)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s", pool->directory, name);

    if (seen_has(&listing->machines, file->tag) || used_by_others(listing, path))
        return;
    tell(listing, "machine", file->tag, bf_libvirt_machine_file_ref(file->tag, file->kind, path),
         name);
}

static void tell_file(struct listing *listing, const struct bf_libvirt_pool *pool, const char *name)
{
    struct bf_libvirt_file file;

    bf_libvirt_file_parse(name, &file);
    if (file.kind == BF_LIBVIRT_FILE_CLONE) {
        tell_clone(listing, pool, name, &file);
        return;
    }
    if (bf_libvirt_file_of_machine(file.kind)) {
        tell_machine_file(listing, pool, name, &file);
        return;
    }
    bf_auto_libvirt_volume volume = {
        .pool = bf_xstrdup(pool->name),
        .directory = bf_xstrdup(pool->directory),
        .tag = bf_xstrdup(file.volume),
        .name = file.kind == BF_LIBVIRT_FILE_NEW ? bf_xstrdup(name)
                                                 : bf_xasprintf("%s-volume.raw", file.volume),
    };
    if (seen_add(&listing->volumes, file.volume))
        tell(listing, "volume", file.volume, bf_libvirt_volume_write(&volume), name);
    if (file.kind == BF_LIBVIRT_FILE_POINT || file.kind == BF_LIBVIRT_FILE_PART)
        tell(listing, "layer", file.tag, bf_libvirt_point_write(&volume, file.tag), name);
}

static int list_pools(struct listing *listing, struct bf_error *err)
{
    struct bf_libvirt *lv = listing->lv;
    virStoragePoolPtr *pools = NULL;
    int count =
        virConnectListAllStoragePools(lv->conn, &pools, VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE);
    int rc = 0;

    if (count < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "list of storage pools");
    for (int i = 0; i < count; i++) {
        bf_auto_libvirt_pool pool = {0};
        bf_auto_error unusable = BF_ERROR_INIT;
        char **names = NULL;
        size_t name_count = 0;
        if (rc == 0 &&
            bf_libvirt_pool_find(lv, virStoragePoolGetName(pools[i]), &pool, &unusable) == 0)
            rc = bf_libvirt_files(pool.directory, NULL, &names, &name_count, err);
        for (size_t j = 0; j < name_count; j++)
            tell_file(listing, &pool, names[j]);
        bf_libvirt_files_free(names, name_count);
        virStoragePoolFree(pools[i]);
    }
    free(pools);
    return rc;
}

static void add_used(struct listing *listing, const char *path)
{
    if (!path)
        return;
    bf_xgrow(&listing->used, &listing->used_capacity, listing->used_count + 1,
             sizeof(*listing->used));
    listing->used[listing->used_count++] = bf_xstrdup(path);
}

static int list_domain(struct listing *listing, virDomainPtr vir, struct bf_error *err)
{
    struct bf_libvirt *lv = listing->lv;
    bf_auto_libvirt_domain domain = {0};
    bf_auto_free char *xml = NULL;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
        return -1;
    xml = virDomainGetXMLDesc(vir, 0);
    if (!xml && bf_libvirt_last() == VIR_ERR_NO_DOMAIN)
        return 0;
    if (!xml)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "description of a machine");
    if (bf_libvirt_domain_parse(xml, &domain, err) < 0)
        return -1;
    if (domain.tag && bf_tag_valid(domain.tag)) {
        seen_add(&listing->machines, domain.tag);
        tell(listing, "machine", domain.tag, bf_libvirt_machine_ref(&domain), domain.machine->name);
        return 0;
    }
    for (size_t i = 0; i < domain.disk_count; i++)
        add_used(listing, domain.disks[i].path);
    add_used(listing, domain.nvram);
    add_used(listing, domain.console);
    return bf_libvirt_source_tagged(lv, vir, listing->fn, listing->user, &listing->stop, err);
}

static int list_domains(struct listing *listing, struct bf_error *err)
{
    struct bf_libvirt *lv = listing->lv;
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(lv->conn, &domains, 0);
    int rc = 0;

    if (count < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "list of machines");
    for (int i = 0; i < count; i++) {
        if (rc == 0 && !listing->stop)
            rc = list_domain(listing, domains[i], err);
        virDomainFree(domains[i]);
    }
    free(domains);
    return rc;
}

static int libvirt_tagged(struct bf_platform *platform, bf_tagged_fn *fn, void *user,
                          struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    struct listing listing = {.lv = lv, .fn = fn, .user = user};

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
        return -1;
    /* Machines first: they tell which clones are no longer ours. */
    int rc = list_domains(&listing, err);
    if (rc == 0 && !listing.stop)
        rc = list_pools(&listing, err);
    free(listing.volumes.tags);
    free(listing.machines.tags);
    bf_libvirt_files_free(listing.used, listing.used_count);
    return rc;
}

/* --- tables --- */

static const struct bf_target_ops target_ops = {
    .precheck = bf_libvirt_target_precheck,
    .create_volume = bf_libvirt_create_volume,
    .resize_volume = bf_libvirt_resize_volume,
    .delete_volume = bf_libvirt_delete_volume,
    .open_volume = bf_libvirt_open_volume,
    .close_volume = bf_libvirt_close_volume,
    .drop_round = bf_libvirt_drop_round,
    .make_point = bf_libvirt_make_point,
    .delete_point = bf_libvirt_delete_point,
    .open_point = bf_libvirt_open_point,
    .clone_point = bf_libvirt_clone_point,
    .open_clone = bf_libvirt_open_clone,
    .delete_clone = bf_libvirt_delete_clone,
    .detach_clone = bf_libvirt_detach_clone,
    .create_machine = bf_libvirt_create_machine,
    .machine_id = bf_libvirt_machine_id,
    .console = bf_libvirt_console,
    .guest_agent = bf_libvirt_guest_agent,
    .delete_machine = bf_libvirt_delete_machine,
    .takes_firmware_vars = bf_libvirt_takes_firmware_vars,
    .takes_companion = true,
    .hand_over_machine = bf_libvirt_hand_over_machine,
};

extern const struct bf_connector_ops bf_libvirt_ops;
const struct bf_connector_ops bf_libvirt_ops = {
    .type = "libvirt",
    .open = bf_libvirt_open,
    .check_options = bf_libvirt_check_options,
    .close = bf_libvirt_close,
    .info = libvirt_info,
    .machines = bf_libvirt_machines,
    .machine = bf_libvirt_machine,
    .resources = libvirt_resources,
    .power = bf_libvirt_power,
    .shut_down = bf_libvirt_shut_down,
    .power_off = bf_libvirt_power_off,
    .power_on = bf_libvirt_power_on,
    .tagged = libvirt_tagged,
    .cancel = bf_libvirt_cancel,
    .source = &bf_libvirt_source_ops,
    .target = &target_ops,
};
