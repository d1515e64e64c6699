/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/domain_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/xml.h"

/* Far more than a domain has, but a bound on what a hostile platform can make us allocate. */
#define DISKS_MAX 1024
#define CHAIN_MAX 256

/* Elements in a namespace are found by local name: their prefix is the writer's choice. */
#define OSINFO_XPATH "string(/domain/metadata/*[local-name()='libosinfo']/*[local-name()='os']/@id)"

static bool attr_is(xmlDocPtr doc, xmlNodePtr node, const char *xpath, const char *value)
{
    bf_auto_free char *text = bf_xml_text(doc, node, xpath);

    return bf_streq(text, value);
}

/* libvirt writes KiB; other units only in XML written by hand. */
static int read_memory(xmlDocPtr doc, uint64_t *ret_bytes, struct bf_error *err)
{
    bf_auto_free char *unit = bf_xml_text(doc, NULL, "/domain/memory/@unit");
    uint64_t value, factor = 1024;

    if (bf_xml_u64(doc, NULL, "/domain/memory", &value, err) < 0)
        return -1;
    if (bf_streq(unit, "b") || bf_streq(unit, "bytes"))
        factor = 1;
    else if (bf_streq(unit, "MiB") || bf_streq(unit, "M"))
        factor = UINT64_C(1) << 20;
    else if (bf_streq(unit, "GiB") || bf_streq(unit, "G"))
        factor = UINT64_C(1) << 30;
    if (value > UINT64_MAX / factor)
        return bf_fail(err, BF_E_PROTOCOL, 0, "domain XML: memory of %llu %s",
                       (unsigned long long)value, unit ? unit : "KiB");
    *ret_bytes = value * factor;
    return 0;
}

static int read_cpus(xmlDocPtr doc, unsigned *ret_cpus, struct bf_error *err)
{
    uint64_t cpus;
    const char *path =
        bf_xml_has(doc, NULL, "/domain/vcpu/@current") ? "/domain/vcpu/@current" : "/domain/vcpu";

    if (bf_xml_u64(doc, NULL, path, &cpus, err) < 0)
        return -1;
    *ret_cpus = cpus > 65536 ? 65536 : (unsigned)cpus;
    return 0;
}

static enum bf_firmware read_firmware(xmlDocPtr doc)
{
    if (!attr_is(doc, NULL, "/domain/os/@firmware", "efi") &&
        !attr_is(doc, NULL, "/domain/os/loader/@type", "pflash"))
        return BF_FIRMWARE_BIOS;
    if (attr_is(doc, NULL, "/domain/os/loader/@secure", "yes") ||
        attr_is(doc, NULL, "/domain/os/firmware/feature[@name='secure-boot']/@enabled", "yes"))
        return BF_FIRMWARE_UEFI_SECURE;
    return BF_FIRMWARE_UEFI;
}

/* As libvirt writes it since 8.5 where it is no plain file, and as it always did. */
static char *read_nvram(xmlDocPtr doc)
{
    bf_auto_free char *path = bf_xml_has(doc, NULL, "/domain/os/nvram/source")
                                  ? bf_xml_text(doc, NULL, "/domain/os/nvram/source/@file")
                                  : bf_xml_text(doc, NULL, "/domain/os/nvram");

    return path && *path ? bf_steal(path) : NULL;
}

/* The label of a running machine is "+UID:+GID"; names, which an admin can give, are left to him.
 */
static int64_t read_qemu_user(xmlDocPtr doc)
{
    bf_auto_free char *label = bf_xml_text(doc, NULL, "/domain/seclabel[@model='dac']/label");
    unsigned user;

    return label && sscanf(label, "+%u:", &user) == 1 ? (int64_t)user : -1;
}

/* "pc-q35-7.2" -> "q35", "pc-i440fx-7.2" -> "pc" */
static char *read_chipset(xmlDocPtr doc)
{
    bf_auto_free char *type = bf_xml_text(doc, NULL, "/domain/os/type/@machine");

    if (!type)
        return NULL;
    if (strstr(type, "q35"))
        return bf_xstrdup("q35");
    if (bf_streq(type, "pc") || bf_starts_with(type, "pc-"))
        return bf_xstrdup("pc");
    return bf_xstrdup(type);
}

static void read_chain(xmlDocPtr doc, xmlNodePtr node, struct bf_libvirt_disk *disk)
{
    bf_auto_free xmlNodePtr *nodes = NULL;
    size_t count =
        bf_xml_nodes(doc, node, "backingStore/descendant-or-self::backingStore/source", &nodes);

    if (count == 0)
        return;
    if (count > CHAIN_MAX)
        count = CHAIN_MAX;
    disk->chain = bf_xcalloc(count + 1, sizeof(char *));
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        char *path = bf_xml_text(doc, nodes[i], "@file|@dev|@name");
        if (path)
            disk->chain[used++] = path;
    }
}

static void read_source(xmlDocPtr doc, xmlNodePtr node, struct bf_libvirt_disk *disk,
                        struct bf_machine_disk *out)
{
    disk->path = bf_xml_text(doc, node, "source/@file|source/@dev");
    disk->plain = !bf_xml_has(doc, node, "source/slices|source/encryption|encryption");
    disk->pool = bf_xml_text(doc, node, "source/@pool");
    disk->volume = bf_xml_text(doc, node, "source/@volume");
    if (disk->path) {
        out->source = bf_xstrdup(disk->path);
    } else if (bf_streq(disk->type, "volume") && disk->pool && disk->volume) {
        out->source = bf_xasprintf("%s/%s", disk->pool, disk->volume);
    } else if (bf_streq(disk->type, "network")) {
        bf_auto_free char *protocol = bf_xml_text(doc, node, "source/@protocol");
        bf_auto_free char *name = bf_xml_text(doc, node, "source/@name");
        out->source = bf_xasprintf("%s:%s", protocol ? protocol : "network", name ? name : "");
    }
    out->identity = bf_xstrdup(out->source);
}

static int read_disk(xmlDocPtr doc, xmlNodePtr node, struct bf_libvirt_disk *disk,
                     struct bf_machine_disk *out, struct bf_error *err)
{
    bf_auto_free char *order = bf_xml_text(doc, node, "boot/@order");

    if (bf_xml_need_text(doc, node, "target/@dev", &disk->dev, err) < 0)
        return -1;
    disk->type = bf_xml_text(doc, node, "@type");
    disk->device = bf_xml_text(doc, node, "@device");
    if (!disk->device)
        disk->device = bf_xstrdup("disk");
    disk->format = bf_xml_text(doc, node, "driver/@type");
    disk->mirror = bf_xml_has(doc, node, "mirror");
    disk->transient = bf_xml_has(doc, node, "transient");
    read_source(doc, node, disk, out);
    out->key = bf_xstrdup(disk->dev);
    out->bus = bf_xml_text(doc, node, "target/@bus");
    if (!out->bus)
        out->bus = bf_xstrdup("unknown");
    out->format = bf_xstrdup(disk->format);
    out->removable = bf_streq(disk->device, "cdrom") || bf_streq(disk->device, "floppy");
    out->read_only = bf_xml_has(doc, node, "readonly");
    out->shared = bf_xml_has(doc, node, "shareable");
    out->boot_order = order ? atoi(order) : 0;
    if (out->boot_order < 0 || out->boot_order > 1000)
        out->boot_order = 0;
    read_chain(doc, node, disk);
    return 0;
}

/* Without an order on the devices, <boot dev='hd'/> means the first disk. */
static void default_boot_order(struct bf_machine *machine)
{
    for (size_t i = 0; i < machine->disk_count; i++) {
        if (machine->disks[i].boot_order > 0)
            return;
    }
    for (size_t i = 0; i < machine->disk_count; i++) {
        if (!machine->disks[i].removable) {
            machine->disks[i].boot_order = 1;
            return;
        }
    }
}

static int read_disks(xmlDocPtr doc, struct bf_libvirt_domain *domain, struct bf_error *err)
{
    bf_auto_free xmlNodePtr *nodes = NULL;
    size_t count = bf_xml_nodes(doc, NULL, "/domain/devices/disk", &nodes);

    if (count > DISKS_MAX)
        return bf_fail(err, BF_E_PROTOCOL, 0, "domain XML: %zu disks", count);
    domain->disks = bf_xcalloc(count ? count : 1, sizeof(*domain->disks));
    for (size_t i = 0; i < count; i++) {
        struct bf_machine_disk *out = bf_machine_add_disk(domain->machine);
        domain->disk_count = i + 1;
        if (read_disk(doc, nodes[i], &domain->disks[i], out, err) < 0)
            return -1;
    }
    default_boot_order(domain->machine);
    return 0;
}

static int read_nics(xmlDocPtr doc, struct bf_machine *machine, struct bf_error *err)
{
    bf_auto_free xmlNodePtr *nodes = NULL;
    size_t count = bf_xml_nodes(doc, NULL, "/domain/devices/interface", &nodes);

    if (count > DISKS_MAX)
        return bf_fail(err, BF_E_PROTOCOL, 0, "domain XML: %zu interfaces", count);
    for (size_t i = 0; i < count; i++) {
        struct bf_machine_nic *nic = bf_machine_add_nic(machine);
        nic->mac = bf_xml_text(doc, nodes[i], "mac/@address");
        nic->network = bf_xml_text(doc, nodes[i], "source/@network");
        if (!nic->network)
            nic->network = bf_xml_text(doc, nodes[i], "source/@bridge|source/@dev");
        nic->model = bf_xml_text(doc, nodes[i], "model/@type");
    }
    return 0;
}

static int read_domain(xmlDocPtr doc, struct bf_libvirt_domain *domain, struct bf_error *err)
{
    struct bf_machine *machine = domain->machine;

    if (!bf_xml_has(doc, NULL, "/domain"))
        return bf_fail(err, BF_E_PROTOCOL, 0, "domain XML: no <domain> element");
    if (bf_xml_need_text(doc, NULL, "/domain/uuid", &machine->id, err) < 0 ||
        bf_xml_need_text(doc, NULL, "/domain/name", &machine->name, err) < 0 ||
        read_cpus(doc, &machine->cpus, err) < 0 ||
        read_memory(doc, &machine->memory_bytes, err) < 0 || read_disks(doc, domain, err) < 0 ||
        read_nics(doc, machine, err) < 0)
        return -1;
    machine->firmware = read_firmware(doc);
    machine->arch = bf_xml_text(doc, NULL, "/domain/os/type/@arch");
    machine->chipset = read_chipset(doc);
    machine->guest_os = bf_xml_text(doc, NULL, OSINFO_XPATH);
    if (machine->guest_os && !machine->guest_os[0]) {
        free(machine->guest_os);
        machine->guest_os = NULL;
    }
    machine->agent =
        bf_xml_has(doc, NULL, "/domain/devices/channel/target[@name='org.qemu.guest_agent.0']");
    domain->agent_connected =
        attr_is(doc, NULL, "/domain/devices/channel/target[@name='org.qemu.guest_agent.0']/@state",
                "connected");
    domain->host_devices = bf_xml_has(doc, NULL, "/domain/devices/hostdev");
    domain->tpm = bf_xml_has(doc, NULL, "/domain/devices/tpm");
    domain->cpu_mode = bf_xml_text(doc, NULL, "/domain/cpu/@mode");
    domain->console = bf_xml_text(doc, NULL, "/domain/devices/serial[@type='file']/source/@path");
    domain->nvram = read_nvram(doc);
    domain->qemu_user = read_qemu_user(doc);
    domain->tag = bf_xml_text(
        doc, NULL,
        "/domain/metadata/*[local-name()='launch' and namespace-uri()='" BF_LIBVIRT_METADATA_URI
        "']/@tag");
    return 0;
}

int bf_libvirt_domain_parse(const char *xml, struct bf_libvirt_domain *ret_domain,
                            struct bf_error *err)
{
    bf_auto_xmldoc doc = NULL;
    bf_auto_libvirt_domain domain = {.machine = bf_machine_new()};

    if (bf_xml_parse(xml, strlen(xml), "domain XML", &doc, err) < 0 ||
        read_domain(doc, &domain, err) < 0)
        return -1;
    *ret_domain = domain;
    domain = (struct bf_libvirt_domain){0};
    return 0;
}

void bf_libvirt_domain_done(struct bf_libvirt_domain *domain)
{
    for (size_t i = 0; i < domain->disk_count; i++) {
        struct bf_libvirt_disk *disk = &domain->disks[i];
        free(disk->dev);
        free(disk->type);
        free(disk->path);
        free(disk->pool);
        free(disk->volume);
        free(disk->format);
        free(disk->device);
        for (size_t j = 0; disk->chain && disk->chain[j]; j++)
            free(disk->chain[j]);
        free(disk->chain);
    }
    free(domain->disks);
    free(domain->cpu_mode);
    free(domain->tag);
    free(domain->nvram);
    free(domain->console);
    bf_machine_free(domain->machine);
    *domain = (struct bf_libvirt_domain){0};
}

const struct bf_libvirt_disk *bf_libvirt_domain_disk(const struct bf_libvirt_domain *domain,
                                                     const char *dev)
{
    for (size_t i = 0; i < domain->disk_count; i++) {
        if (bf_streq(domain->disks[i].dev, dev))
            return &domain->disks[i];
    }
    return NULL;
}
