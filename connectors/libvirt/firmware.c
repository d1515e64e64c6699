/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/firmware.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "base/xml.h"
#include "connectors/libvirt/machines.h"

/* UEFI PI specification, volume 3, firmware volume header: 16 bytes of zeroes, a GUID, the length,
 * then this signature. */
#define VOLUME_SIGNATURE "_FVH"
#define VOLUME_SIGNATURE_AT 40

/* --- source --- */

/* The note, or NULL and the content. */
static char *read_nvram(const char *path, char **ret_data, size_t *ret_size)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *data = NULL;
    size_t size;

    if (bf_file_read(path, BF_FIRMWARE_VARS_MAX, &data, &size, &err) < 0)
        return bf_xasprintf("%s cannot be read: %s", path, err.message);
    if (size < VOLUME_SIGNATURE_AT + 4 ||
        memcmp(data + VOLUME_SIGNATURE_AT, VOLUME_SIGNATURE, 4) != 0)
        return bf_xasprintf("%s is not in the raw format", path);
    *ret_data = bf_steal(data);
    *ret_size = size;
    return NULL;
}

int bf_libvirt_firmware_vars(struct bf_platform *platform, const struct bf_machine *machine,
                             char **ret_data, size_t *ret_size, char **ret_note,
                             struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    bf_auto_libvirt_domain domain = {0};

    if (!lv->conf.local) {
        *ret_note = bf_xstrdup("the source is not the host that blockferry runs on");
        return 0;
    }
    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_lookup(lv, machine->id, BF_E_MACHINE_GONE, &vir, err) < 0 ||
        bf_libvirt_describe(lv, vir, &domain, err) < 0)
        return -1;
    *ret_note = domain.nvram ? read_nvram(domain.nvram, ret_data, ret_size)
                             : bf_xstrdup("the machine has no NVRAM file yet");
    return 0;
}

/* --- target --- */

char *bf_libvirt_loader_template(const char *loader)
{
    static const char *const variants[] = {".secboot", ".secure"};
    const char *slash = strrchr(loader, '/');
    const char *code = strstr(slash ? slash : loader, "CODE");
    bf_auto_free char *path = NULL;

    if (!code)
        return NULL;
    path = bf_xasprintf("%.*sVARS%s", (int)(code - loader), loader, code + 4);
    for (size_t i = 0; i < bf_array_length(variants); i++) {
        char *at = strstr(path, variants[i]);
        if (at)
            memmove(at, at + strlen(variants[i]), strlen(at + strlen(variants[i])) + 1);
    }
    return bf_steal(path);
}

static bool is_secure(const char *loader)
{
    return strstr(loader, ".ms.") || strstr(loader, "secboot") || strstr(loader, ".secure");
}

static bool fits(const char *loader, const struct bf_machine *machine, size_t size)
{
    bf_auto_free char *template = bf_libvirt_loader_template(loader);
    struct stat st;

    return template && is_secure(loader) == (machine->firmware == BF_FIRMWARE_UEFI_SECURE) &&
           stat(loader, &st) == 0 && stat(template, &st) == 0 && (uint64_t)st.st_size == size;
}

int bf_libvirt_loader_find(struct bf_libvirt *lv, const struct bf_machine *machine, size_t size,
                           char **ret_loader, struct bf_error *err)
{
    bf_auto_free char *caps =
        virConnectGetDomainCapabilities(lv->conn, NULL, machine->arch, "q35", "qemu", 0);
    bf_auto_xmldoc doc = NULL;
    bf_auto_free xmlNodePtr *values = NULL;
    size_t count;

    *ret_loader = NULL;
    if (!caps)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "capabilities for UEFI machines");
    if (bf_xml_parse(caps, strlen(caps), "domain capabilities", &doc, err) < 0)
        return -1;
    count = bf_xml_nodes(doc, NULL, "/domainCapabilities/os/loader/value", &values);
    for (size_t i = 0; i < count; i++) {
        bf_auto_free char *loader = bf_xml_text(doc, values[i], ".");

        if (loader && fits(loader, machine, size)) {
            *ret_loader = bf_steal(loader);
            return 0;
        }
    }
    return 0;
}

int bf_libvirt_takes_firmware_vars(struct bf_platform *platform, const struct bf_machine *machine,
                                   size_t size, char **ret_why, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_free char *loader = NULL;

    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_loader_find(lv, machine, size, &loader, err) < 0)
        return -1;
    if (!loader)
        *ret_why =
            bf_xasprintf("the target host has no %sUEFI firmware for %zu bytes of variables",
                         machine->firmware == BF_FIRMWARE_UEFI_SECURE ? "Secure Boot " : "", size);
    return 0;
}
