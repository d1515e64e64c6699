/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/job_files.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "connectors/libvirt/serve.h"

#define CREATE_MS 60000

static pthread_rwlock_t gate = PTHREAD_RWLOCK_INITIALIZER;

void bf_libvirt_gate_enter(void)
{
    pthread_rwlock_rdlock(&gate);
}

void bf_libvirt_gate_leave(void)
{
    pthread_rwlock_unlock(&gate);
}

void bf_libvirt_gate_close(void)
{
    pthread_rwlock_wrlock(&gate);
}

void bf_libvirt_gate_open(void)
{
    pthread_rwlock_unlock(&gate);
}

char *bf_libvirt_job_socket(const struct bf_libvirt *lv, const char *tag)
{
    const struct bf_libvirt_conf *conf = &lv->conf;

    return bf_xasprintf(
        "%s/%s.sock", conf->socket_directory ? conf->socket_directory : conf->work_directory, tag);
}

char *bf_libvirt_scratch_path(const struct bf_libvirt *lv, const struct bf_libvirt_disk *disk,
                              const char *tag)
{
    const char *slash = disk->path ? strrchr(disk->path, '/') : NULL;

    if (lv->conf.scratch_directory)
        return bf_xasprintf("%s/%s-%s.scratch", lv->conf.scratch_directory, tag, disk->dev);
    if (slash && bf_streq(disk->type, "file"))
        return bf_xasprintf("%.*s/%s-%s.scratch", (int)(slash - disk->path), disk->path, tag,
                            disk->dev);
    /* A disk that is a device or on the network has no directory beside it. */
    return bf_xasprintf("/var/lib/libvirt/images/%s-%s.scratch", tag, disk->dev);
}

static int make_one(struct bf_libvirt *lv, const char *path, uint64_t size_bytes,
                    struct bf_error *err)
{
    bf_auto_free char *size = bf_xasprintf("%" PRIu64, size_bytes);
    const char *argv[] = {"qemu-img", "create", "-q", "-f", "qcow2", path, size, NULL};

    if (bf_libvirt_tool(lv, argv, bf_deadline_in(CREATE_MS), NULL, err) < 0)
        return bf_fail_in(err, "scratch file %s", path);
    /* libvirt gives the file to QEMU's user.  Where it is told not to, a default access list of the
     * directory does, which takes a mode that doesn't mask it. */
    if (chmod(path, 0660) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "mode of scratch file %s", path);
    return 0;
}

int bf_libvirt_scratch_make(struct bf_libvirt *lv, const struct bf_libvirt_domain *domain,
                            const struct bf_libvirt_job *job, struct bf_error *err)
{
    for (size_t i = 0; i < job->disk_count; i++) {
        const struct bf_machine_disk *disk = bf_machine_disk(domain->machine, job->disks[i].dev);
        if (job->disks[i].scratch && disk &&
            make_one(lv, job->disks[i].scratch, disk->size_bytes, err) < 0)
            return -1;
    }
    return 0;
}

void bf_libvirt_job_sweep(const struct bf_libvirt *lv, const struct bf_libvirt_domain *domain,
                          const char *tag)
{
    bf_auto_free char *socket = bf_libvirt_job_socket(lv, tag);
    bf_auto_error ignored = BF_ERROR_INIT;

    if (!lv->conf.local)
        return;
    (void)bf_file_remove(socket, &ignored);
    for (size_t i = 0; i < domain->disk_count; i++) {
        bf_auto_free char *scratch = bf_libvirt_scratch_path(lv, &domain->disks[i], tag);
        bf_error_clear(&ignored);
        (void)bf_file_remove(scratch, &ignored);
    }
}
