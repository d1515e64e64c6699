/* SPDX-License-Identifier: Apache-2.0 */
/* The source side of the seam. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "connectors/libvirt/firmware.h"
#include "connectors/libvirt/image.h"
#include "connectors/libvirt/job_files.h"
#include "connectors/libvirt/serve.h"
#include "connectors/libvirt/snapshot.h"

/* Freezing, the job's start with its bitmaps and the thaw together. */
#define SNAPSHOT_MS 180000

struct source_disk {
    struct bf_source_disk base;
    struct bf_server *server; /* NULL: libvirt's job or the image itself is read */
    int lock_fd;              /* -1: none */
};

static int find(struct bf_libvirt *lv, const char *machine_id, enum bf_error_code gone,
                virDomainPtr *ret_vir, struct bf_libvirt_domain *ret_domain, struct bf_error *err)
{
    bf_auto_vir(domain) virDomainPtr vir = NULL;

    if (bf_libvirt_lookup(lv, machine_id, gone, &vir, err) < 0 ||
        bf_libvirt_describe(lv, vir, ret_domain, err) < 0)
        return -1;
    *ret_vir = bf_steal(vir);
    return 0;
}

static int source_snapshot(struct bf_platform *platform, const struct bf_snapshot_request *request,
                           struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_domain domain = {0};
    bf_auto_libvirt_plan plan = {0};
    bf_auto_vir(domain) virDomainPtr vir = NULL;

    if (bf_libvirt_begin(lv, SNAPSHOT_MS, err) < 0 ||
        find(lv, request->machine_id, BF_E_MACHINE_GONE, &vir, &domain, err) < 0 ||
        bf_libvirt_plan_make(request, &domain, &plan, err) < 0)
        return -1;
    if (domain.machine->power == BF_POWER_OFF)
        return bf_libvirt_snapshot_off(lv, vir, &plan, ret_snapshot, err);
    return bf_libvirt_snapshot_running(lv, vir, &plan, ret_snapshot, err);
}

/* --- opening a disk --- */

static int open_job_disk(struct bf_libvirt *lv, const struct bf_libvirt_ref *ref,
                         struct source_disk *disk, const char *key, struct bf_error *err)
{
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    bf_auto_libvirt_job job = {0};
    char tag[BF_TAG_LENGTH + 1];
    bool found = false;

    if (bf_libvirt_lookup(lv, ref->machine_id, BF_E_MACHINE_GONE, &vir, err) < 0 ||
        bf_libvirt_job_get(lv, vir, &job, &found, err) < 0)
        return -1;
    if (!found || !bf_streq(bf_libvirt_job_tag(&job, tag), ref->tag))
        return bf_fail(err, BF_E_SNAPSHOT_FAILED, 0,
                       "backup job %s is gone: the machine was switched off, or somebody ended it",
                       ref->tag);
    if (ref->socket) {
        disk->base.spec.uri = bf_server_uri_of(ref->socket, key);
    } else {
        disk->base.spec.uri =
            bf_xasprintf("%s://%s:%llu/%s", ref->tls ? "nbds" : "nbd",
                         ref->address ? ref->address : "", (unsigned long long)ref->port, key);
        disk->base.spec.tls_directory = ref->tls ? bf_xstrdup(lv->conf.tls_directory) : NULL;
    }
    return 0;
}

static int check_untouched(struct bf_libvirt *lv, const struct bf_libvirt_ref *ref,
                           const struct bf_libvirt_ref_disk *wanted, struct bf_error *err)
{
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    bool active = false;

    if (bf_libvirt_lookup(lv, ref->machine_id, BF_E_MACHINE_GONE, &vir, err) < 0 ||
        bf_libvirt_is_active(lv, vir, &active, err) < 0)
        return -1;
    if (active || bf_libvirt_modified_ns(wanted->path) != wanted->modified_ns)
        return bf_fail(err, BF_E_MACHINE_STATE, 0,
                       "machine %s was started since snapshot %s; a new snapshot is needed",
                       virDomainGetName(vir), ref->tag);
    return 0;
}

static int open_off_disk(struct bf_libvirt *lv, const struct bf_libvirt_ref *ref,
                         struct source_disk *disk, const struct bf_libvirt_ref_disk *wanted,
                         struct bf_error *err)
{
    struct bf_libvirt_serve_request request = {
        .path = wanted->path, .name = wanted->key, .bitmap = wanted->bitmap};

    if (bf_streq(wanted->format, "qcow2")) {
        /* QEMU's lock on a qcow2 keeps a machine from starting as long as it is served. */
        if (bf_libvirt_serve(lv, &request, &disk->server, err) < 0) {
            if (err->code == BF_E_IN_USE)
                bf_error_recode(err, BF_E_MACHINE_STATE);
            return -1;
        }
        disk->base.spec.uri = bf_xstrdup(bf_server_uri(disk->server));
    } else {
        if (bf_libvirt_image_lock(wanted->path, &disk->lock_fd, err) < 0)
            return -1;
        disk->base.spec.uri = bf_xstrdup(wanted->path);
    }
    /* Only now, with the image locked, what is seen stays true. */
    return check_untouched(lv, ref, wanted, err);
}

static void free_disk(struct source_disk *disk)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    if (disk->server)
        (void)bf_server_stop(disk->server, BF_SERVER_FLUSH_MS, &ignored);
    if (disk->lock_fd >= 0)
        close(disk->lock_fd);
    free(disk);
}

static int source_open_disk(struct bf_platform *platform, const char *snapshot_ref, const char *key,
                            struct bf_source_disk **ret_disk, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_ref ref = {0};
    const struct bf_libvirt_ref_disk *wanted = NULL;

    if (bf_libvirt_ref_read(snapshot_ref, &ref, err) < 0 ||
        bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0)
        return -1;
    for (size_t i = 0; i < ref.disk_count; i++) {
        if (bf_streq(ref.disks[i].key, key))
            wanted = &ref.disks[i];
    }
    if (!wanted)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "snapshot %s has no disk %s", ref.tag, key);
    struct source_disk *disk = bf_xcalloc(1, sizeof(*disk));
    disk->lock_fd = -1;
    disk->base.platform = platform;
    int rc = ref.off ? open_off_disk(lv, &ref, disk, wanted, err)
                     : open_job_disk(lv, &ref, disk, key, err);
    if (rc < 0) {
        bf_endpoint_spec_done(&disk->base.spec);
        free_disk(disk);
        return bf_fail_in(err, "disk %s", key);
    }
    disk->base.spec.format = bf_xstrdup("raw");
    disk->base.spec.size_bytes = wanted->size_bytes;
    disk->base.spec.map = wanted->bitmap ? BF_MAP_BITMAP : BF_MAP_ALLOCATION;
    disk->base.spec.map_name = bf_xstrdup(wanted->bitmap);
    *ret_disk = &disk->base;
    return 0;
}

static void source_close_disk(struct bf_source_disk *disk)
{
    free_disk((struct source_disk *)disk);
}

/* --- removal --- */

static int source_release(struct bf_platform *platform, const char *machine_id,
                          const char *snapshot_ref, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_ref ref = {0};
    bf_auto_libvirt_domain domain = {0};
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    (void)machine_id;

    if (bf_libvirt_ref_read(snapshot_ref, &ref, err) < 0)
        return -1;
    if (ref.off)
        return 0; /* nothing but the baseline was made */
    if (bf_libvirt_begin(lv, SNAPSHOT_MS, err) < 0 ||
        bf_libvirt_lookup_maybe(lv, ref.machine_id, &vir, err) < 0)
        return -1;
    if (vir) {
        if (bf_libvirt_describe(lv, vir, &domain, err) < 0 ||
            bf_libvirt_job_end(lv, vir, ref.tag, err) < 0)
            return -1;
        bf_libvirt_job_sweep(lv, &domain, ref.tag);
    }
    return ref.socket && lv->conf.local ? bf_file_remove(ref.socket, err) : 0;
}

static int source_release_tag(struct bf_platform *platform, const char *machine_id, const char *tag,
                              struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_domain domain = {0};
    bf_auto_vir(domain) virDomainPtr vir = NULL;

    if (bf_libvirt_begin(lv, SNAPSHOT_MS, err) < 0 ||
        bf_libvirt_lookup_maybe(lv, machine_id, &vir, err) < 0)
        return -1;
    if (!vir)
        return 0;
    if (bf_libvirt_describe(lv, vir, &domain, err) < 0)
        return -1;
    bf_libvirt_thaw_quietly(vir, &domain);
    if (bf_libvirt_job_end(lv, vir, tag, err) < 0)
        return -1;
    bf_libvirt_job_sweep(lv, &domain, tag);
    return bf_libvirt_checkpoint_delete(lv, vir, &domain, tag, NULL, err);
}

static int source_drop_baseline(struct bf_platform *platform, const char *machine_id,
                                const char *text, struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_libvirt_baseline baseline = {0};
    bf_auto_libvirt_domain domain = {0};
    bf_auto_vir(domain) virDomainPtr vir = NULL;
    (void)machine_id;

    if (bf_libvirt_baseline_read(text, &baseline, err) < 0)
        return -1;
    if (!bf_tag_valid(baseline.checkpoint))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "checkpoint %s is not one of ours",
                       baseline.checkpoint);
    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS * 2, err) < 0 ||
        bf_libvirt_lookup_maybe(lv, baseline.machine_id, &vir, err) < 0)
        return -1;
    if (!vir)
        return 0;
    if (bf_libvirt_describe(lv, vir, &domain, err) < 0)
        return -1;
    return bf_libvirt_checkpoint_delete(lv, vir, &domain, baseline.checkpoint, &baseline, err);
}

/* --- janitor --- */

static bool tagged_job(struct bf_libvirt *lv, virDomainPtr vir,
                       const struct bf_libvirt_domain *domain, bf_tagged_fn *fn, void *user)
{
    bf_auto_libvirt_job job = {0};
    bf_auto_libvirt_ref ref = {0};
    bf_auto_error ignored = BF_ERROR_INIT;
    char tag[BF_TAG_LENGTH + 1];
    bool found = false;

    if (bf_libvirt_job_get(lv, vir, &job, &found, &ignored) < 0 || !found ||
        !bf_libvirt_job_tag(&job, tag))
        return false;
    bf_libvirt_job_ref(domain, &job, tag, &ref);
    bf_auto_free char *text = bf_libvirt_ref_write(&ref);
    return fn("snapshot", tag, text, domain->machine->name, user) != 0;
}

static bool tagged_checkpoint(virDomainCheckpointPtr checkpoint,
                              const struct bf_libvirt_domain *domain, bf_tagged_fn *fn, void *user)
{
    const char *name = virDomainCheckpointGetName(checkpoint);

    if (!name || !bf_tag_valid(name))
        return false;
    bf_auto_free char *xml =
        virDomainCheckpointGetXMLDesc(checkpoint, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN);
    bf_auto_libvirt_baseline baseline = {
        .machine_id = bf_xstrdup(domain->machine->id),
        .checkpoint = bf_xstrdup(name),
        .xml = bf_xstrdup(xml ? xml : ""),
    };
    bf_auto_free char *ref = bf_libvirt_baseline_write(&baseline);
    return fn("baseline", name, ref, domain->machine->name, user) != 0;
}

int bf_libvirt_source_tagged(struct bf_libvirt *lv, virDomainPtr vir, bf_tagged_fn *fn, void *user,
                             bool *ret_stop, struct bf_error *err)
{
    bf_auto_libvirt_domain domain = {0};
    bf_auto_free char *xml = virDomainGetXMLDesc(vir, 0);
    virDomainCheckpointPtr *checkpoints = NULL;

    if (!xml) {
        if (bf_libvirt_last() == VIR_ERR_NO_DOMAIN)
            return 0;
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "description of a machine");
    }
    if (bf_libvirt_domain_parse(xml, &domain, err) < 0)
        return -1;
    *ret_stop = tagged_job(lv, vir, &domain, fn, user);
    int count = virDomainListAllCheckpoints(vir, &checkpoints, 0);
    for (int i = 0; i < count; i++) {
        if (!*ret_stop)
            *ret_stop = tagged_checkpoint(checkpoints[i], &domain, fn, user);
        virDomainCheckpointFree(checkpoints[i]);
    }
    free(checkpoints);
    return 0;
}

const struct bf_source_ops bf_libvirt_source_ops = {
    .precheck = bf_libvirt_source_precheck,
    .snapshot = source_snapshot,
    .open_disk = source_open_disk,
    .close_disk = source_close_disk,
    .release = source_release,
    .release_tag = source_release_tag,
    .drop_baseline = source_drop_baseline,
    .firmware_vars = bf_libvirt_firmware_vars,
};
