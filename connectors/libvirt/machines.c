/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/machines.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/libvirt/sizes.h"

/* Asked once a second for a few seconds, a guest that just boots misses the power button. */
#define PRESS_AGAIN_MS 30000

int bf_libvirt_lookup_maybe(struct bf_libvirt *lv, const char *uuid, virDomainPtr *ret_domain,
                            struct bf_error *err)
{
    virDomainPtr vir = virDomainLookupByUUIDString(lv->conn, uuid);

    if (!vir && bf_libvirt_last() != VIR_ERR_NO_DOMAIN)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "machine %s", uuid);
    *ret_domain = vir;
    return 0;
}

int bf_libvirt_lookup(struct bf_libvirt *lv, const char *uuid, enum bf_error_code gone,
                      virDomainPtr *ret_domain, struct bf_error *err)
{
    virDomainPtr vir = NULL;

    if (bf_libvirt_lookup_maybe(lv, uuid, &vir, err) < 0)
        return -1;
    if (!vir)
        return bf_fail(err, gone, 0, "libvirt at %s has no machine %s", lv->conf.url, uuid);
    *ret_domain = vir;
    return 0;
}

static enum bf_power power_of(int state)
{
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
    case VIR_DOMAIN_SHUTDOWN: /* on its way down, but its disks are still open */
        return BF_POWER_ON;
    case VIR_DOMAIN_PAUSED:
    case VIR_DOMAIN_PMSUSPENDED:
        return BF_POWER_PAUSED;
    case VIR_DOMAIN_SHUTOFF:
    case VIR_DOMAIN_CRASHED:
        return BF_POWER_OFF;
    default:
        return BF_POWER_UNKNOWN;
    }
}

static int get_power(struct bf_libvirt *lv, virDomainPtr vir, enum bf_power *ret_power,
                     struct bf_error *err)
{
    int state, reason;

    if (virDomainGetState(vir, &state, &reason, 0) < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "power of machine %s",
                               virDomainGetName(vir));
    *ret_power = power_of(state);
    return 0;
}

int bf_libvirt_is_active(struct bf_libvirt *lv, virDomainPtr vir, bool *ret_active,
                         struct bf_error *err)
{
    int active = virDomainIsActive(vir);

    if (active < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "power of machine %s",
                               virDomainGetName(vir));
    *ret_active = active == 1;
    return 0;
}

/* --- description --- */

static void resolve_volumes(struct bf_libvirt *lv, struct bf_libvirt_domain *domain)
{
    for (size_t i = 0; i < domain->disk_count; i++) {
        struct bf_libvirt_disk *disk = &domain->disks[i];
        if (disk->path || !disk->pool || !disk->volume)
            continue;
        bf_auto_vir(pool) virStoragePoolPtr pool = virStoragePoolLookupByName(lv->conn, disk->pool);
        bf_auto_vir(vol) virStorageVolPtr vol =
            pool ? virStorageVolLookupByName(pool, disk->volume) : NULL;
        if (vol)
            disk->path = virStorageVolGetPath(vol);
    }
}

static void add_addresses(virDomainPtr vir, struct bf_machine *machine)
{
    virDomainInterfacePtr *found = NULL;
    int count =
        virDomainInterfaceAddresses(vir, &found, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, 0);

    for (int i = 0; i < count; i++) {
        for (size_t j = 0; j < machine->nic_count; j++) {
            struct bf_machine_nic *nic = &machine->nics[j];
            if (!found[i]->hwaddr || !nic->mac || strcasecmp(found[i]->hwaddr, nic->mac) != 0 ||
                nic->addresses || found[i]->naddrs == 0)
                continue;
            nic->addresses = bf_xcalloc(found[i]->naddrs + 1, sizeof(char *));
            for (unsigned k = 0; k < found[i]->naddrs; k++)
                nic->addresses[k] = bf_xstrdup(found[i]->addrs[k].addr);
        }
        virDomainInterfaceFree(found[i]);
    }
    free(found);
}

static int parse_description(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_domain *ret,
                             struct bf_error *err)
{
    bf_auto_free char *xml = virDomainGetXMLDesc(vir, 0);

    if (!xml)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "description of machine %s",
                               virDomainGetName(vir));
    if (bf_libvirt_domain_parse(xml, ret, err) < 0)
        return bf_fail_in(err, "machine %s", virDomainGetName(vir));
    return 0;
}

int bf_libvirt_describe(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_domain *ret,
                        struct bf_error *err)
{
    bf_auto_libvirt_domain domain = {0};

    if (parse_description(lv, vir, &domain, err) < 0 ||
        get_power(lv, vir, &domain.machine->power, err) < 0)
        return -1;
    resolve_volumes(lv, &domain);
    bf_libvirt_sizes(lv, vir, &domain);
    if (domain.machine->power == BF_POWER_ON)
        add_addresses(vir, domain.machine);
    /* A size that could not be had because nobody answers is not a missing image. */
    if (bf_libvirt_check(lv, err) < 0)
        return bf_fail_in(err, "machine %s", domain.machine->name);
    *ret = domain;
    domain = (struct bf_libvirt_domain){0};
    return 0;
}

/* --- listing --- */

/* One that vanished meanwhile is left out, which is right. */
static int list_one(struct bf_libvirt *lv, virDomainPtr vir, bf_machine_fn *fn, void *user,
                    bool *ret_stop, struct bf_error *err)
{
    bf_auto_libvirt_domain domain = {0};
    bf_auto_error trouble = BF_ERROR_INIT;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
        return -1;
    if (parse_description(lv, vir, &domain, &trouble) < 0 ||
        get_power(lv, vir, &domain.machine->power, &trouble) < 0) {
        if (trouble.code == BF_E_NO_SUCH_MACHINE)
            return 0;
        bf_error_move(err, &trouble);
        return -1;
    }
    bf_libvirt_sizes_quickly(lv, vir, &domain);
    *ret_stop = fn(domain.machine, user) != 0;
    return 0;
}

int bf_libvirt_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                        struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    virDomainPtr *machines = NULL;
    bool stop = false;
    int rc = 0;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
        return -1;
    int count = virConnectListAllDomains(lv->conn, &machines, 0);
    if (count < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "list of machines");
    for (int i = 0; i < count; i++) {
        if (rc == 0 && !stop)
            rc = list_one(lv, machines[i], fn, user, &stop, err);
        virDomainFree(machines[i]);
    }
    free(machines);
    return rc;
}

int bf_libvirt_machine(struct bf_platform *platform, const char *id_or_name,
                       struct bf_machine **ret_machine, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_domain domain = {0};
    bf_auto_vir(domain) virDomainPtr vir = NULL;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
        return -1;
    if (strlen(id_or_name) == VIR_UUID_STRING_BUFLEN - 1)
        vir = virDomainLookupByUUIDString(lv->conn, id_or_name);
    if (!vir)
        vir = virDomainLookupByName(lv->conn, id_or_name);
    if (!vir)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "machine \"%s\"", id_or_name);
    if (bf_libvirt_describe(lv, vir, &domain, err) < 0)
        return -1;
    *ret_machine = bf_steal(domain.machine);
    return 0;
}

/* --- power --- */

int bf_libvirt_power(struct bf_platform *platform, const char *machine_id, enum bf_power *ret_power,
                     struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_vir(domain) virDomainPtr vir = NULL;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_lookup(lv, machine_id, BF_E_MACHINE_GONE, &vir, err) < 0)
        return -1;
    return get_power(lv, vir, ret_power, err);
}

/* A transient domain vanishes when it is off. */
static int is_off(struct bf_libvirt *lv, const char *machine_id, bool *ret_off,
                  struct bf_error *err)
{
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    bool active = false;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_lookup_maybe(lv, machine_id, &vir, err) < 0)
        return -1;
    if (!vir) {
        *ret_off = true;
        return 0;
    }
    if (bf_libvirt_is_active(lv, vir, &active, err) < 0)
        return -1;
    *ret_off = !active;
    return 0;
}

static int press_button(struct bf_libvirt *lv, virDomainPtr vir, struct bf_error *err)
{
    if (virDomainShutdownFlags(vir, 0) == 0)
        return 0;
    int code = bf_libvirt_last();
    /* It went off by itself, or is just doing it. */
    if (code == VIR_ERR_OPERATION_INVALID || code == VIR_ERR_NO_DOMAIN)
        return 0;
    /* A guest agent that does not answer makes the default fail; the button remains. */
    if (virDomainShutdownFlags(vir, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) == 0)
        return 0;
    return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "shutting down machine %s",
                           virDomainGetName(vir));
}

int bf_libvirt_shut_down(struct bf_platform *platform, const char *machine_id,
                         struct bf_deadline deadline, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    uint64_t pressed_ms = 0;
    bool off = false;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_lookup(lv, machine_id, BF_E_MACHINE_GONE, &vir, err) < 0 ||
        bf_libvirt_is_active(lv, vir, &off, err) < 0)
        return -1;
    off = !off;
    while (!off) {
        if (bf_deadline_passed(deadline))
            return bf_fail(err, BF_E_SHUTDOWN_REFUSED, 0,
                           "machine %s did not shut down by the deadline", machine_id);
        if (pressed_ms == 0 || bf_now_ms() - pressed_ms >= PRESS_AGAIN_MS) {
            bf_auto_vir(domain) virDomainPtr now = NULL;
            if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
                bf_libvirt_lookup_maybe(lv, machine_id, &now, err) < 0 ||
                (now && press_button(lv, now, err) < 0))
                return -1;
            pressed_ms = bf_now_ms();
        }
        if (is_off(lv, machine_id, &off, err) < 0)
            return -1;
        if (!off && bf_platform_pause(platform, 250, (struct bf_deadline){0}, err) < 0)
            return -1;
    }
    return 0;
}

int bf_libvirt_destroy(struct bf_libvirt *lv, virDomainPtr vir, struct bf_error *err)
{
    /* GRACEFUL: SIGTERM only, so that QEMU stores its dirty bitmaps and flushes its images. */
    if (virDomainDestroyFlags(vir, VIR_DOMAIN_DESTROY_GRACEFUL) == 0)
        return 0;
    int code = bf_libvirt_last();
    if (code == VIR_ERR_OPERATION_INVALID || code == VIR_ERR_NO_DOMAIN)
        return 0;
    if (code == VIR_ERR_SYSTEM_ERROR && virDomainDestroy(vir) == 0)
        return 0;
    return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "switching off machine %s",
                           virDomainGetName(vir));
}

int bf_libvirt_power_off(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_vir(domain) virDomainPtr vir = NULL;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_lookup(lv, machine_id, BF_E_MACHINE_GONE, &vir, err) < 0)
        return -1;
    return bf_libvirt_destroy(lv, vir, err);
}

int bf_libvirt_power_on(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    enum bf_power power;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_lookup(lv, machine_id, BF_E_MACHINE_GONE, &vir, err) < 0 ||
        get_power(lv, vir, &power, err) < 0)
        return -1;
    if (power == BF_POWER_ON)
        return 0;
    int rc = power == BF_POWER_PAUSED ? virDomainResume(vir) : virDomainCreate(vir);
    if (rc == 0)
        return 0;
    bf_libvirt_keep_reason(lv);
    /* Somebody else may have been quicker. */
    if (get_power(lv, vir, &power, err) < 0)
        return -1;
    if (power == BF_POWER_ON)
        return 0;
    return bf_libvirt_fail_for_reason(lv, err, BF_E_PLATFORM_ERROR, "starting machine %s",
                                      virDomainGetName(vir));
}
