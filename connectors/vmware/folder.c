/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "connectors/vmware/datacenter.h"
#include "connectors/vmware/descriptor.h"
#include "connectors/vmware/serve.h"

#define PLUGIN "nbdkit-bffolder-plugin.so"
#define START_MS 30000
#define REQUEST_MS 60000
#define PROBE_BYTES 512

/* `name` replaces the last part of the path; NULL: it stays. */
static char *make_url(const struct bf_vmware *vw, const char *datacenter, const char *file,
                      const char *name)
{
    const char *end = strstr(file, "] ");
    const char *slash = strrchr(end + 2, '/');
    int directory = (int)(slash && name ? slash + 1 - (end + 2) : 0);
    bf_auto_free char *store = strndup(file + 1, (size_t)(end - file - 1));
    bf_auto_free char *path =
        name ? bf_xasprintf("%.*s%s", directory, end + 2, name) : bf_xstrdup(end + 2);
    bf_auto_free char *escaped_path = bf_url_escape(path, "/");
    bf_auto_free char *escaped_store = bf_url_escape(store ? store : "", "");
    bf_auto_free char *escaped_datacenter = bf_url_escape(datacenter, "");

    return bf_xasprintf("%s/folder/%s?dcPath=%s&dsName=%s", vw->conf.origin, escaped_path,
                        escaped_datacenter, escaped_store);
}

/* --- one request --- */

struct answer {
    size_t max; /* no more is taken */
    struct bf_buf body;
    bool more; /* there was more */
};

static int on_data(const char *data, size_t length, void *user)
{
    struct answer *answer = user;
    size_t room = answer->max - answer->body.length;

    bf_buf_add(&answer->body, data, length < room ? length : room);
    answer->more |= length > room;
    return answer->more;
}

static int fail_status(int status, const char *what, struct bf_error *err)
{
    if (status == 401 || status == 403)
        return bf_fail(err, BF_E_PLATFORM_PRIVILEGE, 0,
                       "%s: HTTP status %d: Datastore.Browse and Datastore.FileManagement are "
                       "needed on the datastore",
                       what, status);
    if (status == 404)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "%s: the server has no such file", what);
    return bf_fail(err,
                   status == 502 || status == 503 ? BF_E_PLATFORM_UNREACHABLE : BF_E_PLATFORM_ERROR,
                   0, "%s: HTTP status %d", what, status);
}

static int ask(struct bf_vmware *vw, const char *method, const char *url, const char *range,
               struct answer *answer, struct bf_http_response *response, struct bf_error *err)
{
    for (int try = 0;; try++) {
        const char *headers[] = {vw->cookie, range, NULL};
        struct bf_http_request request = {.method = method,
                                          .url = url,
                                          .headers = headers,
                                          .timeout_ms = REQUEST_MS,
                                          .on_data = on_data,
                                          .user = answer};

        bf_http_set_cancel_fd(vw->http, bf_platform_cancel_fd(&vw->base));
        if (bf_http_perform(vw->http, &request, response, err) < 0)
            return -1;
        if (response->status != 401 || try > 0)
            return 0;
        bf_http_response_done(response);
        if (bf_vmware_login_again(vw, err) < 0)
            return -1;
    }
}

static int read_descriptor(struct bf_vmware *vw, const char *url, struct answer *answer,
                           struct bf_error *err)
{
    struct bf_http_response response = {0};
    int status;

    /* Some servers send the disk itself by this name: no more than a descriptor is taken. */
    if (ask(vw, "GET", url, NULL, answer, &response, err) < 0)
        return bf_fail_in(err, "descriptor");
    status = response.status;
    bf_http_response_done(&response);
    if (status != 200)
        return fail_status(status, "descriptor", err);
    bf_buf_add(&answer->body, "", 0);
    return 0;
}

static int check_length(struct bf_vmware *vw, const char *url, uint64_t size_bytes,
                        struct bf_error *err)
{
    struct answer answer = {.max = 0};
    struct bf_http_response response = {0};
    uint64_t length = 0;

    if (ask(vw, "HEAD", url, NULL, &answer, &response, err) < 0)
        return bf_fail_in(err, "flat file");
    bf_auto_free char *text = bf_http_header(&response, "Content-Length");
    int status = response.status;
    bf_http_response_done(&response);
    if (status != 200)
        return fail_status(status, "flat file", err);
    if (!text || bf_parse_u64(text, &length, err) < 0 || length != size_bytes) {
        bf_error_clear(err);
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "the flat file has %s bytes, the disk %llu",
                       text ? text : "no known number of", (unsigned long long)size_bytes);
    }
    return 0;
}

static int check_range(struct bf_vmware *vw, const char *url, uint64_t size_bytes,
                       struct bf_error *err)
{
    struct answer answer = {.max = PROBE_BYTES};
    struct bf_http_response response = {0};
    bf_auto_free char *range = bf_xasprintf("Range: bytes=0-%d", PROBE_BYTES - 1);
    bf_auto_free char *want =
        bf_xasprintf("bytes 0-%d/%llu", PROBE_BYTES - 1, (unsigned long long)size_bytes);

    int rc = ask(vw, "GET", url, range, &answer, &response, err);
    bf_auto_buf body = answer.body;
    if (rc < 0)
        return bf_fail_in(err, "flat file");
    bf_auto_free char *got = bf_http_header(&response, "Content-Range");
    int status = response.status;
    bf_http_response_done(&response);
    if (status != 200 && status != 206)
        return fail_status(status, "flat file", err);
    if (status != 206 || answer.more || body.length != PROBE_BYTES || !bf_streq(got, want))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "the server sends no ranges of the flat file (HTTP status %d)", status);
    return 0;
}

int bf_vmware_folder_find(struct bf_vmware *vw, const struct bf_vmware_folder_file *file,
                          char **ret_url, struct bf_error *err)
{
    struct answer answer = {.max = BF_VMWARE_DESCRIPTOR_MAX};
    bf_auto_free char *datacenter = NULL;
    bf_auto_free char *name = NULL;

    if (!file->file || file->file[0] != '[' || !strstr(file->file, "] ") || !file->datastore)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "the disk is no file on a datastore");
    if (bf_vmware_datacenter_path(vw, "Datastore", file->datastore, &datacenter, err) < 0)
        return -1;
    bf_auto_free char *descriptor_url = make_url(vw, datacenter, file->file, NULL);
    int rc = read_descriptor(vw, descriptor_url, &answer, err);
    bf_auto_buf descriptor = answer.body;
    if (rc < 0 || bf_vmware_descriptor_flat(descriptor.text ? descriptor.text : "",
                                            file->size_bytes, &name, err) < 0)
        return bf_fail_in(err, "%s", file->file);
    bf_auto_free char *url = make_url(vw, datacenter, file->file, name);
    if (check_length(vw, url, file->size_bytes, err) < 0 ||
        check_range(vw, url, file->size_bytes, err) < 0)
        return bf_fail_in(err, "%s", file->file);
    *ret_url = bf_steal(url);
    return 0;
}

/* --- the machine --- */

static int check_off(const struct bf_vmware_machine *machine, struct bf_error *err)
{
    if (machine->machine->power == BF_POWER_OFF)
        return 0;
    return bf_fail(err, BF_E_MACHINE_STATE, 0,
                   "machine %s is not off: its disks cannot be read from the datastore",
                   machine->machine->name);
}

int bf_vmware_folder_check(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                           struct bf_error *err)
{
    if (check_off(machine, err) < 0)
        return -1;
    for (size_t i = 0; i < machine->disk_count; i++) {
        const struct bf_vmware_disk *disk = &machine->disks[i];
        struct bf_vmware_folder_file file = {
            .file = disk->file, .datastore = disk->datastore, .size_bytes = disk->size_bytes};
        bf_auto_free char *url = NULL;

        if (bf_vmware_disk_snapshots(disk) && bf_vmware_folder_find(vw, &file, &url, err) < 0)
            return bf_fail_in(err, "disk %s", disk->key);
    }
    return 0;
}

int bf_vmware_folder_serve(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                           const struct bf_vmware_folder_file *file, struct bf_server **ret_server,
                           struct bf_error *err)
{
    const struct bf_vmware_conf *conf = &vw->conf;
    bf_auto_free char *url = NULL;
    bf_auto_free char *plugin = NULL;
    bf_auto_free char *socket_path = NULL;
    bf_auto_fd int fd = -1;

    if (check_off(machine, err) < 0 || bf_vmware_folder_find(vw, file, &url, err) < 0 ||
        bf_program_find(PLUGIN, &plugin, err) < 0 ||
        bf_vmware_secret_fd(vw->cookie, &fd, err) < 0 ||
        bf_server_socket(conf->work_directory, "folder", vw->serial++, &socket_path, err) < 0)
        return -1;
    bf_auto_free char *url_word = bf_xasprintf("url=%s", url);
    bf_auto_free char *size_word = bf_xasprintf("size=%llu", (unsigned long long)file->size_bytes);
    bf_auto_free char *trust_word =
        conf->fingerprint ? bf_xasprintf("fingerprint=%s", conf->fingerprint)
                          : bf_xasprintf("ca_file=%s", conf->ca_file ? conf->ca_file : "");
    const char *argv[] = {"nbdkit",  "--foreground", "--readonly", "--exit-with-parent",
                          "--unix",  socket_path,    plugin,       url_word,
                          size_word, trust_word,     "cookie=-3",  NULL};
    struct bf_server_spec spec = {.argv = argv,
                                  .pass_fds = &fd,
                                  .pass_fd_count = 1,
                                  .socket_path = socket_path,
                                  .start_ms = START_MS};
    if (bf_server_start(&vw->base, &spec, ret_server, err) < 0)
        return bf_fail_in(err, "nbdkit could not serve %s", file->file);
    return 0;
}
