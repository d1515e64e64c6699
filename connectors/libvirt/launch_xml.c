/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/launch_xml.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/xml.h"
#include "connectors/libvirt/domain_xml.h"

char *bf_libvirt_domain_name(const char *name)
{
    char *safe = bf_xstrdup(name);

    for (char *at = safe; *at; at++) {
        if (*at == '/' || (*at > 0 && *at < ' ') || *at == 0x7f)
            *at = '-';
    }
    /* A name of dots would be a path of libvirt's own files. */
    if (safe[0] == '.' || !safe[0]) {
        char *longer = bf_xasprintf("machine%s", safe);
        free(safe);
        return longer;
    }
    return safe;
}

/* "q35" where UEFI wants it; else what the source has, since a guest may depend on it. */
static const char *chipset(const struct bf_machine *machine)
{
    if (machine->firmware != BF_FIRMWARE_BIOS || !machine->chipset)
        return "q35";
    if (bf_streq(machine->chipset, "pc"))
        return "pc";
    return "q35";
}

static bool is_windows(const struct bf_machine *machine)
{
    return machine->guest_os &&
           (strcasestr(machine->guest_os, "windows") || strstr(machine->guest_os, "/win/") ||
            strstr(machine->guest_os, "microsoft"));
}

static void write_metadata(struct bf_xml_out *out, const struct bf_launch_request *request)
{
    bf_xml_open(out, "metadata");
    bf_xml_open(out, BF_LIBVIRT_METADATA_PREFIX ":launch");
    bf_xml_attr(out, "xmlns:" BF_LIBVIRT_METADATA_PREFIX, BF_LIBVIRT_METADATA_URI);
    bf_xml_attr(out, "tag", request->tag);
    bf_xml_attr(out, "kind", request->drill ? "drill" : "cutover");
    bf_xml_attr(out, "source", request->machine->id);
    bf_xml_close(out);
    bf_xml_close(out);
}

/* Code and variables that belong together. */
static void write_given_firmware(struct bf_xml_out *out, const struct bf_libvirt_launch_xml *launch,
                                 bool secure)
{
    bf_xml_open(out, "loader");
    bf_xml_attr(out, "readonly", "yes");
    bf_xml_attr(out, "secure", secure ? "yes" : "no");
    bf_xml_attr(out, "type", "pflash");
    bf_xml_content(out, launch->loader_path);
    bf_xml_close(out);
    bf_xml_leaf(out, "nvram", launch->nvram_path);
}

static void write_chosen_firmware(struct bf_xml_out *out, bool secure)
{
    bf_xml_open(out, "firmware");
    bf_xml_empty(out, "feature", "enabled", secure ? "yes" : "no", "name", "secure-boot", NULL);
    if (secure)
        bf_xml_empty(out, "feature", "enabled", "yes", "name", "enrolled-keys", NULL);
    bf_xml_close(out);
    if (secure)
        bf_xml_empty(out, "loader", "secure", "yes", NULL);
}

static void write_os(struct bf_xml_out *out, const struct bf_libvirt_launch_xml *launch)
{
    const struct bf_machine *machine = launch->request->machine;
    bool uefi = machine->firmware != BF_FIRMWARE_BIOS;
    bool secure = machine->firmware == BF_FIRMWARE_UEFI_SECURE;
    bool given = uefi && launch->nvram_path;
    const char *arch = machine->arch ? machine->arch : "x86_64";

    bf_xml_open(out, "os");
    if (uefi && !given)
        bf_xml_attr(out, "firmware", "efi");
    bf_xml_open(out, "type");
    bf_xml_attr(out, "arch", arch);
    if (bf_streq(arch, "x86_64") || bf_streq(arch, "i686"))
        bf_xml_attr(out, "machine", chipset(machine));
    bf_xml_content(out, "hvm");
    bf_xml_close(out);
    if (given)
        write_given_firmware(out, launch, secure);
    else if (uefi)
        write_chosen_firmware(out, secure);
    bf_xml_close(out);
}

static void write_features(struct bf_xml_out *out, const struct bf_machine *machine)
{
    bf_xml_open(out, "features");
    bf_xml_empty(out, "acpi", NULL);
    bf_xml_empty(out, "apic", NULL);
    if (machine->firmware == BF_FIRMWARE_UEFI_SECURE)
        bf_xml_empty(out, "smm", "state", "on", NULL);
    bf_xml_close(out);
}

/* vda, vdb, ... vdz, vdaa */
static char *device_name(const char *bus, size_t index)
{
    const char *prefix = bf_streq(bus, "virtio") ? "vd" : bf_streq(bus, "ide") ? "hd" : "sd";

    if (index < 26)
        return bf_xasprintf("%s%c", prefix, (char)('a' + index));
    return bf_xasprintf("%s%c%c", prefix, (char)('a' + index / 26 - 1), (char)('a' + index % 26));
}

/* The source's boot order; disks without a place in it come last, in their own order. */
static unsigned boot_order(const struct bf_launch_request *request, size_t index)
{
    unsigned place = 1;
    int own = request->disks[index].disk->boot_order;

    for (size_t i = 0; i < request->disk_count; i++) {
        int other = request->disks[i].disk->boot_order;
        bool before = other > 0 && (own == 0 || other < own || (other == own && i < index));
        if (i != index && (before || (other == 0 && own == 0 && i < index)))
            place++;
    }
    return place;
}

static void write_disk(struct bf_xml_out *out, const struct bf_libvirt_launch_xml *launch,
                       size_t index, const char *bus)
{
    bf_auto_free char *device = device_name(bus, index);

    bf_xml_open(out, "disk");
    bf_xml_attr(out, "type", "file");
    bf_xml_attr(out, "device", "disk");
    bf_xml_empty(out, "driver", "name", "qemu", "type", "qcow2", "cache",
                 launch->direct ? "none" : NULL, "discard", "unmap", NULL);
    bf_xml_empty(out, "source", "file", launch->disk_paths[index], NULL);
    bf_xml_empty(out, "target", "dev", device, "bus", bus, NULL);
    bf_xml_open(out, "boot");
    bf_xml_attrf(out, "order", "%u", boot_order(launch->request, index));
    bf_xml_close(out);
    bf_xml_close(out);
}

/* Nothing may be kept on it: it goes with the machine. */
static void write_companion(struct bf_xml_out *out, const char *path)
{
    bf_xml_open(out, "disk");
    bf_xml_attr(out, "type", "file");
    bf_xml_attr(out, "device", "disk");
    bf_xml_empty(out, "driver", "name", "qemu", "type", "raw", NULL);
    bf_xml_empty(out, "source", "file", path, NULL);
    bf_xml_empty(out, "target", "dev", "vdz", "bus", "virtio", NULL);
    bf_xml_empty(out, "readonly", NULL);
    bf_xml_leaf(out, "serial", "bf-companion");
    bf_xml_close(out);
}

static void write_nic(struct bf_xml_out *out, const struct bf_launch_nic *nic)
{
    bf_xml_open(out, "interface");
    bf_xml_attr(out, "type", "network");
    if (nic->nic->mac)
        bf_xml_empty(out, "mac", "address", nic->nic->mac, NULL);
    bf_xml_empty(out, "source", "network", nic->network, NULL);
    bf_xml_empty(out, "model", "type", "virtio", NULL);
    bf_xml_close(out);
}

static void write_devices(struct bf_xml_out *out, const struct bf_libvirt_launch_xml *launch)
{
    const struct bf_launch_request *request = launch->request;
    const char *bus = request->disk_bus ? request->disk_bus : "virtio";

    bf_xml_open(out, "devices");
    for (size_t i = 0; i < request->disk_count; i++)
        write_disk(out, launch, i, bus);
    if (launch->companion_path)
        write_companion(out, launch->companion_path);
    if (bf_streq(bus, "scsi"))
        bf_xml_empty(out, "controller", "type", "scsi", "model", "virtio-scsi", NULL);
    for (size_t i = 0; i < request->nic_count; i++)
        write_nic(out, &request->nics[i]);
    bf_xml_open(out, "serial");
    bf_xml_attr(out, "type", "file");
    bf_xml_empty(out, "source", "path", launch->console_path, "append", "on", NULL);
    bf_xml_empty(out, "target", "port", "0", NULL);
    bf_xml_close(out);
    bf_xml_open(out, "channel");
    bf_xml_attr(out, "type", "unix");
    bf_xml_empty(out, "target", "type", "virtio", "name", "org.qemu.guest_agent.0", NULL);
    bf_xml_close(out);
    bf_xml_empty(out, "input", "type", "tablet", "bus", "usb", NULL);
    bf_xml_empty(out, "graphics", "type", "vnc", "autoport", "yes", "listen", "127.0.0.1", NULL);
    bf_xml_open(out, "video");
    bf_xml_empty(out, "model", "type", "vga", NULL);
    bf_xml_close(out);
    bf_xml_open(out, "rng");
    bf_xml_attr(out, "model", "virtio");
    bf_xml_open(out, "backend");
    bf_xml_attr(out, "model", "random");
    bf_xml_content(out, "/dev/urandom");
    bf_xml_close(out);
    bf_xml_close(out);
    bf_xml_close(out);
}

char *bf_libvirt_launch_xml(const struct bf_libvirt_launch_xml *launch)
{
    bf_auto_xml out = {0};
    const struct bf_launch_request *request = launch->request;
    const struct bf_machine *machine = request->machine;
    uint64_t memory = request->memory_bytes ? request->memory_bytes : machine->memory_bytes;
    unsigned cpus = request->cpus ? request->cpus : machine->cpus;

    bf_xml_open(&out, "domain");
    bf_xml_attr(&out, "type", launch->kvm ? "kvm" : "qemu");
    bf_xml_leaf(&out, "name", launch->name);
    write_metadata(&out, request);
    bf_xml_open(&out, "memory");
    bf_xml_attr(&out, "unit", "KiB");
    bf_auto_free char *kib = bf_xasprintf("%llu", (unsigned long long)(memory / 1024));
    bf_xml_content(&out, kib);
    bf_xml_close(&out);
    bf_auto_free char *count = bf_xasprintf("%u", cpus ? cpus : 1);
    bf_xml_leaf(&out, "vcpu", count);
    write_os(&out, launch);
    write_features(&out, machine);
    /* The default model of QEMU lacks what current systems are built for (x86-64-v2). */
    bf_xml_empty(&out, "cpu", "mode", launch->kvm ? "host-model" : "maximum", NULL);
    bf_xml_empty(&out, "clock", "offset", is_windows(machine) ? "localtime" : "utc", NULL);
    bf_xml_leaf(&out, "on_poweroff", "destroy");
    bf_xml_leaf(&out, "on_reboot", "restart");
    bf_xml_leaf(&out, "on_crash", "destroy");
    write_devices(&out, launch);
    bf_xml_close(&out);
    return bf_xml_finish(&out);
}
