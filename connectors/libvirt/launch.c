/* SPDX-License-Identifier: Apache-2.0 */
/* Launched machines: domains that carry our metadata element. */
#include "connectors/libvirt/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/xml.h"
#include "connectors/libvirt/firmware.h"
#include "connectors/libvirt/launch_xml.h"
#include "connectors/libvirt/layers.h"

#define COMPANION_BYTES ((off_t)8 << 20)

/* --- what the host can do --- */

int bf_libvirt_domcaps(struct bf_libvirt *lv, const char *arch, const char *type, char **ret_xml,
                       struct bf_error *err)
{
    char *xml = virConnectGetDomainCapabilities(lv->conn, NULL, arch, NULL, type, 0);

    if (!xml)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "capabilities for %s machines",
                               arch ? arch : "host");
    *ret_xml = xml;
    return 0;
}

/* Whether /dev/kvm opens tells nothing: there are hosts where it does and no ordinary guest runs.
 */
static bool cpu_virtualises(void)
{
    bf_auto_free char *text = NULL;
    bf_auto_error ignored = BF_ERROR_INIT;

    if (bf_file_read("/proc/cpuinfo", (size_t)64 << 20, &text, NULL, &ignored) < 0)
        return false;
    for (const char *at = text; (at = strstr(at, "flags")); at++) {
        const char *end = strchrnul(at, '\n');
        bf_auto_free char *line = strndup(at, (size_t)(end - at));
        if (strstr(line, " vmx ") || strstr(line, " svm ") || bf_ends_with(line, " vmx") ||
            bf_ends_with(line, " svm"))
            return true;
    }
    return false;
}

int bf_libvirt_kvm(struct bf_libvirt *lv, const char *arch, bool *ret_kvm, char **ret_why,
                   struct bf_error *err)
{
    bf_auto_free char *caps = NULL;
    bf_auto_error trouble = BF_ERROR_INIT;

    *ret_why = NULL;
    *ret_kvm = false;
    if (lv->conf.accel == BF_LIBVIRT_ACCEL_QEMU) {
        *ret_why = bf_xstrdup("option accel is qemu");
        return 0;
    }
    if (bf_libvirt_domcaps(lv, arch, "kvm", &caps, &trouble) < 0) {
        if (lv->conf.accel == BF_LIBVIRT_ACCEL_KVM) {
            bf_error_move(err, &trouble);
            return -1;
        }
        *ret_why = bf_xasprintf("libvirt offers no KVM: %s", trouble.message);
        return 0;
    }
    if (lv->conf.accel == BF_LIBVIRT_ACCEL_AUTO && lv->conf.local &&
        (!arch || bf_streq(arch, "x86_64")) && !cpu_virtualises()) {
        *ret_why = bf_xstrdup("the host's CPU shows neither vmx nor svm");
        return 0;
    }
    *ret_kvm = true;
    return 0;
}

/* --- refs --- */

struct machine_ref {
    char *uuid;
    char *tag;
    char *console;   /* NULL: none */
    char *nvram;     /* NULL: none that we made */
    char *companion; /* NULL: none */
};

static void machine_ref_done(struct machine_ref *ref)
{
    free(ref->uuid);
    free(ref->tag);
    free(ref->console);
    free(ref->nvram);
    free(ref->companion);
}
#define auto_machine_ref __attribute__((cleanup(machine_ref_done))) struct machine_ref

/* Files that are made beside the clones for this machine. */
struct machine_files {
    const char *console;
    const char *nvram;     /* NULL: none */
    const char *companion; /* NULL: none */
};

static char *write_ref(const char *uuid, const char *tag, const struct machine_files *files)
{
    bf_auto_json *json = json_object_new_object();

    bf_json_add_u64(json, "v", 1);
    bf_json_add_string(json, "machine", uuid);
    bf_json_add_string(json, "tag", tag);
    bf_json_add_string(json, "console", files->console);
    if (files->nvram)
        bf_json_add_string(json, "nvram", files->nvram);
    if (files->companion)
        bf_json_add_string(json, "companion", files->companion);
    return bf_xstrdup(bf_json_text(json));
}

/* The path if its name says that we made it for this machine; NULL otherwise. */
static const char *ours(const char *path, enum bf_libvirt_file_kind kind, const char *tag)
{
    struct bf_libvirt_file file = {0};
    const char *slash = path ? strrchr(path, '/') : NULL;

    if (slash)
        bf_libvirt_file_parse(slash + 1, &file);
    return slash && file.kind == kind && bf_streq(file.tag, tag) ? path : NULL;
}

char *bf_libvirt_machine_ref(const struct bf_libvirt_domain *domain)
{
    struct machine_files files = {.console =
                                      ours(domain->console, BF_LIBVIRT_FILE_CONSOLE, domain->tag),
                                  .nvram = ours(domain->nvram, BF_LIBVIRT_FILE_NVRAM, domain->tag)};

    for (size_t i = 0; i < domain->disk_count && !files.companion; i++)
        files.companion = ours(domain->disks[i].path, BF_LIBVIRT_FILE_COMPANION, domain->tag);
    return write_ref(domain->machine->id, domain->tag, &files);
}

char *bf_libvirt_machine_file_ref(const char *tag, enum bf_libvirt_file_kind kind, const char *path)
{
    struct machine_files files = {
        .console = kind == BF_LIBVIRT_FILE_CONSOLE ? path : NULL,
        .nvram = kind == BF_LIBVIRT_FILE_NVRAM ? path : NULL,
        .companion = kind == BF_LIBVIRT_FILE_COMPANION ? path : NULL,
    };

    return write_ref("00000000-0000-0000-0000-000000000000", tag, &files);
}

static int read_ref(const char *text, struct machine_ref *ret, struct bf_error *err)
{
    bf_auto_json *json = NULL;
    const char *uuid, *tag, *console = NULL, *nvram = NULL, *companion = NULL;

    if (bf_json_parse(text, strlen(text), &json, err) < 0 ||
        bf_json_get_string(json, "", "machine", &uuid, err) < 0 ||
        bf_json_get_string(json, "", "tag", &tag, err) < 0 ||
        bf_json_opt_string(json, "", "console", &console, err) < 0 ||
        bf_json_opt_string(json, "", "nvram", &nvram, err) < 0 ||
        bf_json_opt_string(json, "", "companion", &companion, err) < 0)
        return bf_fail_in(err, "machine ref");
    /* What a ref names is removed. */
    if ((console && !ours(console, BF_LIBVIRT_FILE_CONSOLE, tag)) ||
        (nvram && !ours(nvram, BF_LIBVIRT_FILE_NVRAM, tag)) ||
        (companion && !ours(companion, BF_LIBVIRT_FILE_COMPANION, tag)))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "machine ref: a file is not of %s", tag);
    *ret = (struct machine_ref){bf_xstrdup(uuid), bf_xstrdup(tag), bf_xstrdup(console),
                                bf_xstrdup(nvram), bf_xstrdup(companion)};
    return 0;
}

/* --- creation --- */

/* QEMU, or libvirt's log daemon, writes it as another user; we must be able to read it. */
static int make_console(const char *path, struct bf_error *err)
{
    bf_auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (fd < 0)
        return bf_fail(err, errno == ENOSPC ? BF_E_TARGET_FULL : BF_E_SYSTEM, errno,
                       "console file %s", path);
    return 0;
}

static bool takes_direct(const char *path)
{
    bf_auto_fd int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

    return fd >= 0;
}

/* 1: ours of this tag (its ref is returned), 0: there is none of this name, -1 error */
static int find_existing(struct bf_libvirt *lv, const char *name, const char *tag, char **ret_ref,
                         struct bf_error *err)
{
    bf_auto_vir(domain) virDomainPtr vir = virDomainLookupByName(lv->conn, name);
    bf_auto_libvirt_domain domain = {0};

    if (!vir) {
        if (bf_libvirt_last() == VIR_ERR_NO_DOMAIN)
            return 0;
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "machine \"%s\"", name);
    }
    if (bf_libvirt_describe(lv, vir, &domain, err) < 0)
        return -1;
    if (!bf_streq(domain.tag, tag))
        return bf_fail(err, BF_E_EXISTS, 0,
                       "a machine named \"%s\" exists on the target already; give another name in "
                       "the mapping",
                       name);
    *ret_ref = bf_libvirt_machine_ref(&domain);
    return 1;
}

/* The firmware's variables, where the launch brings some: beside the clones. */
static int make_nvram(struct bf_libvirt *lv, const struct bf_launch_request *request,
                      const char *beside, struct bf_libvirt_launch_xml *launch, char **ret_loader,
                      char **ret_nvram, struct bf_error *err)
{
    bf_auto_free char *nvram = NULL;

    if (!request->firmware_vars || request->machine->firmware == BF_FIRMWARE_BIOS)
        return 0;
    if (bf_libvirt_loader_find(lv, request->machine, request->firmware_vars_size, ret_loader, err) <
        0)
        return -1;
    if (!*ret_loader)
        return bf_fail(err, BF_E_LAUNCH_FAILED, 0, "no firmware for %zu bytes of UEFI variables",
                       request->firmware_vars_size);
    nvram = bf_xasprintf("%.*s/%s-nvram.fd", (int)(strrchr(beside, '/') - beside), beside,
                         request->tag);
    if (bf_file_replace(nvram, request->firmware_vars, request->firmware_vars_size, 0600, err) < 0)
        return bf_fail_in(err, "UEFI variables");
    launch->loader_path = *ret_loader;
    launch->nvram_path = nvram;
    *ret_nvram = bf_steal(nvram);
    return 0;
}

/* Sparse, and nothing in it. */
static int make_companion(const char *beside, const char *tag, char **ret_path,
                          struct bf_error *err)
{
    bf_auto_free char *path =
        bf_xasprintf("%.*s/%s-companion.img", (int)(strrchr(beside, '/') - beside), beside, tag);
    bf_auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0 || ftruncate(fd, COMPANION_BYTES) < 0)
        return bf_fail(err, errno == ENOSPC ? BF_E_TARGET_FULL : BF_E_SYSTEM, errno, "%s", path);
    *ret_path = bf_steal(path);
    return 0;
}

static int define(struct bf_libvirt *lv, const struct bf_launch_request *request, const char *name,
                  const char *const *paths, const char *console, char **ret_ref,
                  struct bf_error *err)
{
    bf_auto_free char *loader = NULL;
    bf_auto_free char *nvram = NULL;
    bf_auto_free char *companion = NULL;
    struct bf_libvirt_launch_xml launch = {.request = request,
                                           .disk_paths = paths,
                                           .console_path = console,
                                           .name = name,
                                           .direct = takes_direct(paths[0])};
    bf_auto_free char *why = NULL;
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (bf_libvirt_kvm(lv, request->machine->arch, &launch.kvm, &why, err) < 0 ||
        make_console(console, err) < 0 ||
        make_nvram(lv, request, paths[0], &launch, &loader, &nvram, err) < 0 ||
        (request->companion && make_companion(paths[0], request->tag, &companion, err) < 0))
        return -1;
    launch.companion_path = companion;
    bf_auto_free char *xml = bf_libvirt_launch_xml(&launch);
    bf_auto_vir(domain) virDomainPtr vir =
        virDomainDefineXMLFlags(lv->conn, xml, VIR_DOMAIN_DEFINE_VALIDATE);
    if (!vir || virDomainGetUUIDString(vir, uuid) < 0)
        return bf_libvirt_fail(lv, err, BF_E_LAUNCH_FAILED, "creating machine \"%s\"", name);
    (void)virDomainSetAutostart(vir, 0);
    *ret_ref = write_ref(uuid, request->tag, &(struct machine_files){console, nvram, companion});
    return 0;
}

int bf_libvirt_create_machine(struct bf_platform *platform, const struct bf_launch_request *request,
                              char **ret_machine_ref, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_free char *name = bf_libvirt_domain_name(request->name);
    struct bf_libvirt_clone *clones = bf_xcalloc(request->disk_count, sizeof(*clones));
    bf_auto_free struct bf_libvirt_clone *free_clones = clones;
    bf_auto_free const char **paths = bf_xcalloc(request->disk_count + 1, sizeof(*paths));
    bf_auto_free char *console = NULL;
    int rc = 0;
    (void)free_clones;

    for (size_t i = 0; i < request->disk_count && rc == 0; i++) {
        rc = bf_libvirt_clone_read(request->disks[i].clone_ref, &clones[i], err);
        paths[i] = clones[i].path;
    }
    if (rc == 0) {
        const char *slash = strrchr(paths[0], '/');
        console = lv->conf.console_directory
                      ? bf_xasprintf("%s/%s-console.log", lv->conf.console_directory, request->tag)
                      : bf_xasprintf("%.*s/%s-console.log", (int)(slash - paths[0]), paths[0],
                                     request->tag);
        rc = bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err);
    }
    if (rc == 0)
        rc = find_existing(lv, name, request->tag, ret_machine_ref, err);
    if (rc == 0)
        rc = define(lv, request, name, paths, console, ret_machine_ref, err);
    for (size_t i = 0; i < request->disk_count; i++)
        bf_libvirt_clone_done(&clones[i]);
    return rc < 0 ? -1 : 0;
}

int bf_libvirt_machine_id(struct bf_platform *platform, const char *machine_ref, char **ret_id,
                          struct bf_error *err)
{
    auto_machine_ref ref = {0};
    (void)platform;

    if (read_ref(machine_ref, &ref, err) < 0)
        return -1;
    *ret_id = bf_steal(ref.uuid);
    return 0;
}

/* --- console --- */

/* A screen's worth of control bytes is no text: NUL and the like would cut or break JSON. */
static char *clean_text(const char *bytes, size_t length)
{
    struct bf_buf out = {0};

    while (length) {
        unsigned char c = (unsigned char)bytes[0];
        size_t take = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (take > length || !bf_utf8_valid(bytes, take)) {
            take = 1;
            bf_buf_add(&out, "?", 1);
        } else if (take > 1 || c >= ' ' || c == '\n' || c == '\t' || c == 0x1b) {
            bf_buf_add(&out, bytes, take);
        }
        bytes += take;
        length -= take;
    }
    return out.text;
}

int bf_libvirt_console(struct bf_platform *platform, const char *machine_ref, size_t max,
                       char **ret_text, struct bf_error *err)
{
    auto_machine_ref ref = {0};
    bf_auto_fd int fd = -1;
    bf_auto_free char *bytes = NULL;
    struct stat st;
    size_t length = 0;
    (void)platform;

    if (read_ref(machine_ref, &ref, err) < 0)
        return -1;
    if (ref.console)
        fd = open(ref.console, O_RDONLY | O_CLOEXEC);
    if (ref.console && fd < 0 && errno != ENOENT)
        return bf_fail(err, BF_E_SYSTEM, errno, "console file %s", ref.console);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
        *ret_text = NULL;
        return 0;
    }
    if ((uint64_t)st.st_size < max)
        max = (size_t)st.st_size;
    bytes = calloc(max, 1);
    if (!bytes)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "%zu bytes of console text", max);
    while (length < max) {
        ssize_t got =
            pread(fd, bytes + length, max - length, st.st_size - (off_t)max + (off_t)length);
        if (got < 0)
            return bf_fail(err, BF_E_SYSTEM, errno, "console file %s", ref.console);
        if (got == 0)
            break;
        length += (size_t)got;
    }
    *ret_text = clean_text(bytes, length);
    return 0;
}

/* --- removal --- */

static int undefine(struct bf_libvirt *lv, virDomainPtr vir, struct bf_error *err)
{
    unsigned flags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                     VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_NVRAM;

    if (virDomainUndefineFlags(vir, flags) < 0 && bf_libvirt_last() != VIR_ERR_NO_DOMAIN)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "removing machine \"%s\"",
                               virDomainGetName(vir));
    return 0;
}

int bf_libvirt_delete_machine(struct bf_platform *platform, const char *machine_ref,
                              struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    auto_machine_ref ref = {0};
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    bf_auto_libvirt_domain domain = {0};

    if (read_ref(machine_ref, &ref, err) < 0 ||
        bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS * 2, err) < 0 ||
        bf_libvirt_lookup_maybe(lv, ref.uuid, &vir, err) < 0)
        return -1;
    if (vir) {
        if (bf_libvirt_describe(lv, vir, &domain, err) < 0)
            return -1;
        /* Handed over: it is the admin's now. */
        if (!bf_streq(domain.tag, ref.tag))
            return bf_fail(err, BF_E_IN_USE, 0, "machine \"%s\" does not carry the tag %s",
                           domain.machine->name, ref.tag);
        if (bf_libvirt_destroy(lv, vir, err) < 0 || undefine(lv, vir, err) < 0)
            return -1;
    }
    if ((ref.nvram && bf_file_remove(ref.nvram, err) < 0) ||
        (ref.companion && bf_file_remove(ref.companion, err) < 0))
        return -1;
    return ref.console ? bf_file_remove(ref.console, err) : 0;
}

int bf_libvirt_hand_over_machine(struct bf_platform *platform, const char *machine_ref,
                                 struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    auto_machine_ref ref = {0};
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    bool active = false;

    if (read_ref(machine_ref, &ref, err) < 0 || bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_lookup(lv, ref.uuid, BF_E_MACHINE_GONE, &vir, err) < 0 ||
        bf_libvirt_is_active(lv, vir, &active, err) < 0)
        return -1;
    unsigned flags = VIR_DOMAIN_AFFECT_CONFIG | (active ? (unsigned)VIR_DOMAIN_AFFECT_LIVE : 0);
    if (virDomainSetMetadata(vir, VIR_DOMAIN_METADATA_ELEMENT, NULL, NULL, BF_LIBVIRT_METADATA_URI,
                             flags) < 0 &&
        bf_libvirt_last() != VIR_ERR_NO_DOMAIN_METADATA)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "machine \"%s\"",
                               virDomainGetName(vir));
    return 0;
}
