/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/machines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/libvirt/job_files.h"
#include "connectors/libvirt/snapshot.h"

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

/* Longer than a job takes to be made. */
#define MAKING_MS 30000
#define LIST_MAKING_MS 2000

/* --- description --- */

/* Sizes from the bulk statistics: "block.N.name" and "block.N.capacity".  Backing files are
 * not among them unless asked for (a backingIndex alone says nothing: the top has one too). */
static void sizes_from_stats(struct bf_libvirt_domain *domain, virDomainStatsRecordPtr record)
{
    unsigned count = 0;

    if (virTypedParamsGetUInt(record->params, record->nparams, "block.count", &count) != 1)
        return;
    for (unsigned i = 0; i < count; i++) {
        char name_field[64], size_field[64];
        const char *name;
        unsigned long long capacity;
        snprintf(name_field, sizeof(name_field), "block.%u.name", i);
        snprintf(size_field, sizeof(size_field), "block.%u.capacity", i);
        if (virTypedParamsGetString(record->params, record->nparams, name_field, &name) != 1 ||
            virTypedParamsGetULLong(record->params, record->nparams, size_field, &capacity) != 1)
            continue;
        for (size_t j = 0; j < domain->disk_count; j++) {
            if (bf_streq(domain->disks[j].dev, name))
                domain->machine->disks[j].size_bytes = capacity;
        }
    }
}

/* What the statistics did not have; a disk whose image is missing keeps size 0. */
static void sizes_one_by_one(virDomainPtr vir, struct bf_libvirt_domain *domain)
{
    for (size_t i = 0; i < domain->disk_count; i++) {
        struct bf_machine_disk *disk = &domain->machine->disks[i];
        virDomainBlockInfo info;
        if (disk->size_bytes || disk->removable || !disk->source)
            continue;
        if (virDomainGetBlockInfo(vir, disk->key, &info, 0) == 0)
            disk->size_bytes = info.capacity;
    }
}

static void sizes_of_one(virDomainPtr vir, struct bf_libvirt_domain *domain)
{
    virDomainPtr one[2] = {vir, NULL};
    virDomainStatsRecordPtr *records = NULL;

    int count = virDomainListGetStats(one, VIR_DOMAIN_STATS_BLOCK, &records, 0);
    if (count == 1)
        sizes_from_stats(domain, records[0]);
    if (count >= 0)
        virDomainStatsRecordListFree(records);
    sizes_one_by_one(vir, domain);
}

/* Asking for sizes while a backup job is being made may end the machine (see job_files.h), and the
 * one who makes it may be another tool, or a call of a service that died.  False: it still is; of a
 * libvirtd that was killed in that moment it will be for ever, and then it does no harm. */
static bool wait_until_made(struct bf_libvirt *lv, virDomainPtr vir, int64_t ms)
{
    struct bf_deadline deadline = bf_deadline_in(ms);
    bf_auto_error ignored = BF_ERROR_INIT;

    while (bf_libvirt_job_in_making(vir)) {
        if (bf_deadline_passed(deadline) ||
            bf_platform_pause(&lv->base, 50, (struct bf_deadline){0}, &ignored) < 0)
            return false;
    }
    return true;
}

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
    wait_until_made(lv, vir, MAKING_MS);
    bf_libvirt_gate_enter();
    sizes_of_one(vir, &domain);
    bf_libvirt_gate_leave();
    resolve_volumes(lv, &domain);
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

/* One domain of the listing; `record` NULL: without sizes.  One that vanished meanwhile is left
 * out, which is right. */
static int list_one(struct bf_libvirt *lv, virDomainPtr vir, virDomainStatsRecordPtr record,
                    bf_machine_fn *fn, void *user, bool *ret_stop, struct bf_error *err)
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
    if (record)
        sizes_from_stats(&domain, record);
    *ret_stop = fn(domain.machine, user) != 0;
    return 0;
}

/* The machines that may be asked for sizes come first; returns how many those are. */
static size_t quiet_first(struct bf_libvirt *lv, virDomainPtr *machines, size_t count)
{
    size_t quiet = 0;

    for (size_t i = 0; i < count; i++) {
        virDomainPtr vir = machines[i];
        if (!wait_until_made(lv, vir, LIST_MAKING_MS))
            continue;
        machines[i] = machines[quiet];
        machines[quiet++] = vir;
    }
    return quiet;
}

static int list_all(struct bf_libvirt *lv, virDomainPtr *machines, size_t count, bf_machine_fn *fn,
                    void *user, struct bf_error *err)
{
    virDomainStatsRecordPtr *records = NULL;
    bool stop = false;
    int rc = 0, known = 0;
    size_t quiet = quiet_first(lv, machines, count);

    if (quiet) {
        virDomainPtr other = machines[quiet]; /* the list ends with NULL */
        machines[quiet] = NULL;
        bf_libvirt_gate_enter();
        /* NOWAIT: a machine whose monitor is busy must not hold up the list of thousands. */
        known = virDomainListGetStats(machines, VIR_DOMAIN_STATS_BLOCK, &records,
                                      VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
        bf_libvirt_gate_leave();
        machines[quiet] = other;
    }
    if (known < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "list of machines");
    for (int i = 0; i < known && rc == 0 && !stop; i++)
        rc = list_one(lv, records[i]->dom, records[i], fn, user, &stop, err);
    for (size_t i = quiet; i < count && rc == 0 && !stop; i++)
        rc = list_one(lv, machines[i], NULL, fn, user, &stop, err);
    virDomainStatsRecordListFree(records);
    return rc;
}

int bf_libvirt_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                        struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    virDomainPtr *machines = NULL;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
        return -1;
    int count = virConnectListAllDomains(lv->conn, &machines, 0);
    if (count < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "list of machines");
    int rc = list_all(lv, machines, (size_t)count, fn, user, err);
    for (int i = 0; i < count; i++)
        virDomainFree(machines[i]);
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
