/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/export.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/certificate.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/vmware/property.h"
#include "connectors/vmware/vmdk.h"

#define READY_MS 300000
#define POLL_MS 200
#define PROGRESS_MS 15000 /* leases end after minutes without a word */
#define STALL_S 120
#define CERTIFICATE_MS 10000

struct lease {
    struct bf_vmware *vw;
    const struct bf_vmware_ref_disk *disk;
    char *id;
    char *state;
    char *url;
    char *thumbprint; /* of the host behind the URL; NULL: the server we talk to */
    char *trouble;
    unsigned disks; /* URLs of disks seen */
    struct bf_vmdk *vmdk;
    uint64_t told_ms;
    struct bf_error *err;
};

static void lease_done(struct lease *lease)
{
    free(lease->id);
    free(lease->state);
    free(lease->url);
    free(lease->thumbprint);
    free(lease->trouble);
    bf_vmdk_free(lease->vmdk);
}

/* --- the lease --- */

static int call_lease(struct lease *lease, const char *method, const char *percent,
                      struct bf_error *err)
{
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};

    bf_vmware_request_begin(&request, method, "HttpNfcLease", lease->id);
    bf_xml_leaf(&request.xml, "percent", percent);
    return bf_vmware_send(lease->vw, &request, &reply, err);
}

/* ".../ParaVirtualSCSIController0:2": the place of the disk on its machine. */
static bool is_place(const char *key, const char *place)
{
    const char *slash = key ? strrchr(key, '/') : NULL;

    return slash && place && bf_streq(slash + 1, place);
}

static int take_lease(const char *id, xmlNodePtr object, void *user)
{
    struct lease *lease = user;
    xmlNodePtr info = bf_vmware_property(object, "info");

    (void)id;
    free(lease->state);
    lease->state = bf_vmware_text(bf_vmware_property(object, "state"), "");
    lease->trouble = bf_vmware_text(bf_vmware_property(object, "error"), "localizedMessage");
    BF_VMWARE_EACH(device, info, "deviceUrl")
    {
        bf_auto_free char *key = bf_vmware_text(device, "key");

        if (!bf_vmware_true(device, "disk"))
            continue;
        lease->disks++;
        if (!is_place(key, lease->disk->place))
            continue;
        free(lease->url);
        free(lease->thumbprint);
        lease->url = bf_vmware_text(device, "url");
        lease->thumbprint = bf_vmware_text(device, "sslThumbprint");
    }
    return 0;
}

static int begin_lease(struct lease *lease, const char *snapshot, struct bf_error *err)
{
    static const char *const paths[] = {"state", "error", "info", NULL};
    struct bf_deadline deadline = bf_deadline_in(READY_MS);
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};

    bf_vmware_request_begin(&request, "ExportSnapshot", "VirtualMachineSnapshot", snapshot);
    if (bf_vmware_send(lease->vw, &request, &reply, err) < 0)
        return -1;
    lease->id = bf_vmware_text(reply.node, "returnval");
    if (!lease->id)
        return bf_fail(err, BF_E_PROTOCOL, 0, "ExportSnapshot: no lease in the answer");
    for (;;) {
        lease->disks = 0;
        free(bf_steal(lease->trouble));
        if (bf_vmware_get(lease->vw, "HttpNfcLease", lease->id, paths, take_lease, lease, err) < 0)
            return -1;
        if (bf_streq(lease->state, "ready"))
            break;
        if (!bf_streq(lease->state, "initializing"))
            return bf_fail(err, BF_E_PLATFORM_ERROR, 0, "ExportSnapshot: the lease is %s: %s",
                           lease->state ? lease->state : "without a state",
                           lease->trouble ? lease->trouble : "no reason given");
        if (bf_platform_pause(&lease->vw->base, POLL_MS, deadline, err) < 0)
            return bf_fail_in(err, "ExportSnapshot: the lease is not ready");
    }
    if (!lease->url)
        return bf_fail(err, BF_E_PROTOCOL, 0, "the export has %u disks, none of them at %s",
                       lease->disks, lease->disk->place ? lease->disk->place : "?");
    return 0;
}

/* --- the stream --- */

/* "*" in the URL is the server that is spoken to. */
static char *real_url(const struct lease *lease, bool *ret_same)
{
    *ret_same = bf_starts_with(lease->url, "https://*/");
    if (*ret_same)
        return bf_xasprintf("%s%s", lease->vw->conf.origin, lease->url + strlen("https://*"));
    *ret_same = bf_starts_with(lease->url, lease->vw->conf.origin) &&
                lease->url[strlen(lease->vw->conf.origin)] == '/';
    return bf_xstrdup(lease->url);
}

/* Another host is known by the thumbprint that the verified server gave for it. */
static int pin_host(const struct lease *lease, const char *url, char **ret_pin,
                    struct bf_error *err)
{
    bf_auto_certificate certificate = {0};

    if (!lease->thumbprint)
        return bf_fail(err, BF_E_TLS, 0, "%s: vCenter tells no thumbprint of this host", url);
    if (bf_certificate_fetch(url, NULL, false, CERTIFICATE_MS, &certificate, err) < 0)
        return -1;
    if (strcasecmp(certificate.thumbprint, lease->thumbprint) != 0)
        return bf_fail(err, BF_E_TLS, 0, "%s: thumbprint %s, but vCenter knows the host by %s", url,
                       certificate.thumbprint, lease->thumbprint);
    *ret_pin = bf_steal(certificate.fingerprint);
    return 0;
}

static int on_data(const char *data, size_t length, void *user)
{
    struct lease *lease = user;

    if (bf_vmdk_feed(lease->vmdk, data, length, lease->err) < 0)
        return 1;
    if (bf_now_ms() - lease->told_ms >= PROGRESS_MS) {
        /* The stream tells no length, so the number means nothing; the call does. */
        lease->told_ms = bf_now_ms();
        if (call_lease(lease, "HttpNfcLeaseProgress", "50", lease->err) < 0)
            return 1;
    }
    return 0;
}

static int transfer(struct lease *lease, int fd, struct bf_error *err)
{
    const struct bf_vmware_conf *conf = &lease->vw->conf;
    bool same = false;
    bf_auto_free char *url = real_url(lease, &same);
    bf_auto_free char *pin = NULL;
    struct bf_http_response response = {0};
    struct bf_http *http = NULL;
    const char *headers[] = {same ? lease->vw->cookie : NULL, NULL};

    if (!same && pin_host(lease, url, &pin, err) < 0)
        return -1;
    struct bf_http_conf http_conf = {.ca_file = same ? conf->ca_file : NULL,
                                     .pin_sha256 = same ? conf->fingerprint : pin,
                                     .cancel_fd = bf_platform_cancel_fd(&lease->vw->base)};
    struct bf_http_request request = {.method = "GET",
                                      .url = url,
                                      .headers = headers,
                                      .timeout_ms = UINT64_MAX,
                                      .stall_s = STALL_S,
                                      .on_data = on_data,
                                      .user = lease};
    if (bf_http_new(&http_conf, &http, err) < 0)
        return -1;
    lease->vmdk = bf_vmdk_new(fd, lease->disk->size_bytes);
    lease->told_ms = bf_now_ms();
    int rc = bf_http_perform(http, &request, &response, err);
    if (rc == 0 && bf_error_is_set(err))
        rc = -1; /* the callback stopped it */
    if (rc == 0 && response.status != 200)
        rc = bf_fail(err, BF_E_PROTOCOL, 0, "export: HTTP status %d", response.status);
    if (rc == 0)
        rc = bf_vmdk_finish(lease->vmdk, err);
    bf_http_response_done(&response);
    bf_http_free(http);
    return rc;
}

/* --- the file --- */

static int fetch(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                 const struct bf_vmware_ref_disk *disk, const char *part, struct bf_error *err)
{
    __attribute__((cleanup(lease_done))) struct lease lease = {.vw = vw, .disk = disk, .err = err};
    bf_auto_fd int fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "%s", part);
    if (ftruncate(fd, (off_t)disk->size_bytes) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "%s", part);
    int rc = begin_lease(&lease, moment->snapshot, err);
    if (rc == 0)
        rc = transfer(&lease, fd, err);
    /* Its name says that it is whole, also after the host's power has failed. */
    if (rc == 0 && fdatasync(fd) < 0)
        rc = bf_fail(err, BF_E_SYSTEM, errno, "%s", part);
    if (lease.id) {
        bf_auto_error ignored = BF_ERROR_INIT;
        bool removing = atomic_exchange(&vw->base.removing, true); /* this must get out */

        (void)call_lease(&lease, rc == 0 ? "HttpNfcLeaseComplete" : "HttpNfcLeaseAbort", NULL,
                         &ignored);
        atomic_store(&vw->base.removing, removing);
    }
    return rc;
}

static uint64_t users(struct bf_vmware *vw, const char *path, int change)
{
    struct json_object *value = NULL;
    uint64_t count = 0;

    if (!vw->exports)
        vw->exports = json_object_new_object();
    if (json_object_object_get_ex(vw->exports, path, &value))
        count = json_object_get_uint64(value);
    count = change > 0 ? count + 1 : count > 0 ? count - 1 : 0;
    bf_json_add_u64(vw->exports, path, count);
    return count;
}

int bf_vmware_export(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                     const struct bf_vmware_ref_disk *disk, char **ret_path, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s/export-%s-%s-%s.raw", vw->conf.scratch_directory,
                                           moment->tag, moment->snapshot, disk->key);
    bf_auto_free char *part = bf_xasprintf("%s.part", path);

    if (strchr(moment->snapshot, '/') || strchr(disk->key, '/'))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "snapshot %s, disk %s: no names for a file",
                       moment->snapshot, disk->key);
    if (access(path, R_OK) != 0) {
        bf_auto_error ignored = BF_ERROR_INIT;

        if (fetch(vw, moment, disk, part, err) < 0) {
            (void)bf_file_remove(part, &ignored);
            return bf_fail_in(err, "exporting %s", disk->file ? disk->file : disk->key);
        }
        if (rename(part, path) < 0)
            return bf_fail(err, BF_E_SYSTEM, errno, "%s", path);
    }
    users(vw, path, 1);
    *ret_path = bf_steal(path);
    return 0;
}

void bf_vmware_export_close(struct bf_vmware *vw, const char *path)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    if (users(vw, path, -1) == 0)
        (void)bf_file_remove(path, &ignored);
}

void bf_vmware_export_sweep(const struct bf_vmware *vw, const char *tag)
{
    bf_auto_free char *prefix = bf_xasprintf("export-%s-", tag);
    DIR *dir = opendir(vw->conf.scratch_directory);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        bf_auto_error ignored = BF_ERROR_INIT;
        bf_auto_free char *path = bf_xasprintf("%s/%s", vw->conf.scratch_directory, entry->d_name);

        if (bf_starts_with(entry->d_name, prefix))
            (void)bf_file_remove(path, &ignored);
    }
    if (dir)
        closedir(dir);
}
