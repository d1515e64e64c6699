/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/v2v.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "base/xml.h"
#include "guest/appliance.h"
#include "guest/child.h"
#include "guest/export.h"
#include "guest/v2v_log.h"

#define LOG_MAX ((size_t)4 << 20)
#define STOP_MS 60000

/* One run: its directory and what lives in it. */
struct run {
    const struct bf_convert_request *request;
    char *directory;
    struct bf_export **exports;
    const char **paths; /* of the exports, borrowed */
};

static void run_done(struct run *run)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    for (size_t i = 0; run->exports && i < run->request->disk_count; i++)
        bf_export_free(run->exports[i]);
    free(run->exports);
    free(run->paths);
    if (run->directory)
        bf_directory_remove(run->directory, &ignored);
    free(run->directory);
}

/* sda ... sdz, sdaa ...: only their order counts. */
static char *disk_name(size_t index)
{
    char letters[16];
    size_t at = sizeof(letters) - 1;

    letters[at] = '\0';
    for (index++; index > 0; index = (index - 1) / 26)
        letters[--at] = (char)('a' + (index - 1) % 26);
    return bf_xasprintf("sd%s", letters + at);
}

static void add_disk(struct bf_xml_out *out, const char *path, size_t index)
{
    bf_auto_free char *name = disk_name(index);

    bf_xml_open(out, "disk");
    bf_xml_attr(out, "type", "file");
    bf_xml_attr(out, "device", "disk");
    bf_xml_empty(out, "driver", "name", "qemu", "type", "raw", NULL);
    bf_xml_empty(out, "source", "file", path, NULL);
    bf_xml_empty(out, "target", "dev", name, "bus", "scsi", NULL);
    bf_xml_close(out);
}

char *bf_v2v_domain_xml(const char *name, bool uefi, const char *const *paths, size_t path_count)
{
    bf_auto_xml out = {0};

    bf_xml_open(&out, "domain");
    bf_xml_attr(&out, "type", "kvm");
    bf_xml_leaf(&out, "name", name);
    bf_xml_leaf(&out, "memory", "1048576");
    bf_xml_leaf(&out, "vcpu", "1");
    bf_xml_open(&out, "os");
    if (uefi)
        bf_xml_attr(&out, "firmware", "efi");
    bf_xml_open(&out, "type");
    bf_xml_attr(&out, "arch", "x86_64");
    bf_xml_attr(&out, "machine", uefi ? "q35" : "pc");
    bf_xml_content(&out, "hvm");
    bf_xml_close(&out);
    bf_xml_close(&out);
    bf_xml_open(&out, "features");
    bf_xml_empty(&out, "acpi", NULL);
    bf_xml_empty(&out, "apic", NULL);
    bf_xml_close(&out);
    bf_xml_open(&out, "devices");
    for (size_t i = 0; i < path_count; i++)
        add_disk(&out, paths[i], i);
    bf_xml_close(&out);
    bf_xml_close(&out);
    return bf_xml_finish(&out);
}

static int open_disks(struct run *run, struct bf_error *err)
{
    const struct bf_convert_request *request = run->request;

    run->exports = bf_xcalloc(request->disk_count, sizeof(*run->exports));
    run->paths = bf_xcalloc(request->disk_count, sizeof(*run->paths));
    for (size_t i = 0; i < request->disk_count; i++) {
        bf_auto_free char *name = bf_xasprintf("disk%zu", i);

        if (bf_export_start(request->disks[i], run->directory, name, request->deadline,
                            request->cancel_fd, &run->exports[i], err) < 0)
            return -1;
        run->paths[i] = bf_export_path(run->exports[i]);
    }
    return 0;
}

static int close_disks(struct run *run, struct bf_error *err)
{
    struct bf_deadline stop = bf_deadline_in(STOP_MS);

    for (size_t i = 0; i < run->request->disk_count; i++)
        if (bf_export_stop(run->exports[i], stop, run->request->cancel_fd, err) < 0)
            return bf_fail_in(err, "disk %s", run->request->disks[i]->uri);
    return 0;
}

/* "[  16.2] Inspecting the source": the text behind the clock is for people. */
static void show_line(const char *line, void *user)
{
    const struct run *run = user;
    const struct bf_convert_request *request = run->request;
    const char *text;

    if (!request->progress || line[0] != '[')
        return;
    text = strstr(line, "] ");
    if (text)
        request->progress(text + 2, request->user);
}

/* Start the program and collect what it said. */
static int call_v2v(struct run *run, struct bf_v2v_log *ret_log, int *ret_status, char **ret_output,
                    struct bf_error *err)
{
    const struct bf_convert_request *request = run->request;
    bf_auto_free char *xml =
        bf_v2v_domain_xml(request->name, request->uefi, run->paths, request->disk_count);
    bf_auto_free char *xml_path = bf_xasprintf("%s/machine.xml", run->directory);
    bf_auto_free char *log_path = bf_xasprintf("%s/messages", run->directory);
    bf_auto_free char *log_option = bf_xasprintf("--machine-readable=file:%s", log_path);
    const char *const argv[] = {"virt-v2v-in-place", log_option, "-i",
                                "libvirtxml",        xml_path,   NULL};
    struct bf_appliance_env env;
    struct bf_guest_child child = {.argv = argv,
                                   .deadline = request->deadline,
                                   .cancel_fd = request->cancel_fd,
                                   .line = show_line,
                                   .user = run};
    bf_auto_error no_log = BF_ERROR_INIT;
    bf_auto_free char *text = NULL;
    size_t length = 0;
    int result;

    if (bf_file_replace(xml_path, xml, strlen(xml), 0600, err) < 0 ||
        bf_appliance_env_init(request, run->directory, &env, err) < 0)
        return -1;
    child.env = env.list;
    result = bf_guest_child_run(&child, ret_status, ret_output, err);
    bf_appliance_env_done(&env);
    if (result < 0)
        return -1;
    /* No messages at all: the verdict says so. */
    bf_file_read(log_path, LOG_MAX, &text, &length, &no_log);
    bf_v2v_log_parse(text ? text : "", length, ret_log);
    return 0;
}

/* A disk that is encrypted as a whole looks like a blank one to virt-v2v. */
static bool is_encrypted_disk(const char *path)
{
    /* A child reads: a disk whose server hangs would hold us. */
    const char *const argv[] = {"head", "-c", "16", path, NULL};
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_free char *bytes = NULL;

    if (bf_process_run(argv, NULL, bf_deadline_in(10000), -1, 64, &bytes, &ignored) < 0)
        return false;
    return bf_starts_with(bytes, "LUKS\xba\xbe") || bf_starts_with(bytes, "\xeb\x58\x90-FVE-FS-");
}

static int judge(const struct run *run, const struct bf_v2v_log *log, int status,
                 const char *output, struct bf_error *err)
{
    if (bf_v2v_verdict(log, status, output, err) == 0)
        return 0;
    if (err->code != BF_E_GUEST_UNKNOWN)
        return -1;
    for (size_t i = 0; i < run->request->disk_count; i++)
        if (is_encrypted_disk(run->paths[i])) {
            bf_error_recode(err, BF_E_GUEST_ENCRYPTED);
            return bf_fail_in(err, "disk %s is encrypted", run->request->disks[i]->uri);
        }
    return -1;
}

static int convert(struct run *run, struct bf_convert_report *report, struct bf_error *err)
{
    bf_auto_v2v_log log = {0};
    bf_auto_free char *output = NULL;
    int status = 0;

    if (open_disks(run, err) < 0 || call_v2v(run, &log, &status, &output, err) < 0 ||
        judge(run, &log, status, output, err) < 0 || close_disks(run, err) < 0)
        return -1;
    report->method = bf_xstrdup("v2v");
    report->virtio = true;
    report->guest_os = bf_steal(log.guest_os);
    report->warnings = bf_steal(log.warnings);
    report->log_tail = bf_steal(output);
    return 0;
}

int bf_v2v_run(const struct bf_convert_request *request, struct bf_convert_report *ret_report,
               struct bf_error *err)
{
    bf_cleanup(run_done) struct run run = {.request = request};

    run.directory = bf_xasprintf("%s/v2v", request->work_directory);
    /* What a killed run of this launch left. */
    bf_export_sweep(run.directory);
    if (bf_directory_remove(run.directory, err) < 0 ||
        bf_directory_make(run.directory, 0700, err) < 0)
        return -1;
    return convert(&run, ret_report, err);
}
