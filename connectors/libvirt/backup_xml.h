/* SPDX-License-Identifier: Apache-2.0 */
/* XML of backup jobs and checkpoints, written and read.  Pure.
 *
 * libvirt's job has no name of its own.  Ours is known by its scratch files, "TAG-DEV.scratch":
 * they are in the job's XML for every transport, and a libvirtd that was restarted still knows
 * them. (libvirt: formatbackup.html, formatcheckpoint.html)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bf_libvirt_job_disk {
    char *dev;
    bool included;
    bool full;     /* included: everything, not only what changed since `incremental` */
    char *scratch; /* included */
};

struct bf_libvirt_job {
    char *incremental; /* checkpoint; NULL: all disks are full */
    char *socket;      /* NULL: TCP */
    char *address;
    uint64_t port;
    bool tls;
    struct bf_libvirt_job_disk *disks;
    size_t disk_count;
};
char *bf_libvirt_job_write(const struct bf_libvirt_job *job);
int bf_libvirt_job_read(const char *xml, struct bf_libvirt_job *ret_job, struct bf_error *err);
void bf_libvirt_job_done(struct bf_libvirt_job *job);
#define bf_auto_libvirt_job __attribute__((cleanup(bf_libvirt_job_done))) struct bf_libvirt_job
/* NULL: not of ours.  Otherwise the tag, in `ret_tag` of BF_TAG_LENGTH + 1 bytes. */
const char *bf_libvirt_job_tag(const struct bf_libvirt_job *job, char *ret_tag);

struct bf_libvirt_checkpoint_disk {
    const char *dev;
    bool bitmap;
};

/* `created_s` 0: for a new checkpoint; otherwise for a redefinition of bitmaps that exist, which
 * are named as the checkpoint is. */
char *bf_libvirt_checkpoint_write(const char *name, const char *description,
                                  const struct bf_libvirt_checkpoint_disk *disks, size_t disk_count,
                                  int64_t created_s);
/* What we noted in a checkpoint when it was made; NULL: no description. */
char *bf_libvirt_checkpoint_description(const char *xml);
