/* SPDX-License-Identifier: Apache-2.0 */
/* One disk as a plain file: a qemu-storage-daemon with a FUSE export.
 *
 * virt-v2v-in-place opens files only; a qcow2 overlay or an NBD server is shown to it as a
 * raw file by FUSE.  One qemu-storage-daemon per disk, so that a hang of one server does
 * not hold up another; it holds the image's write lock while it runs and dies with us.
 *
 * The mount is seen by its own user only.  A daemon that was killed leaves a dead mount
 * behind ("Transport endpoint is not connected"): bf_export_sweep() removes those.
 *
 * Needs /dev/fuse, and root or fusermount3.  Blocking; one thread at a time per export.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "connectors/endpoint_spec.h"

struct bf_export; /* opaque */

/* Start and wait until the file is there.  `directory` is ours; `name` is a file name in it. */
int bf_export_start(const struct bf_endpoint_spec *disk, const char *directory, const char *name,
                    struct bf_deadline deadline, int cancel_fd, struct bf_export **ret_export,
                    struct bf_error *err);
/* The raw file; borrowed. */
const char *bf_export_path(const struct bf_export *export);
/* Flush everything to the disk, then end the daemon.  On failure writes may be missing. */
int bf_export_stop(struct bf_export *export, struct bf_deadline deadline, int cancel_fd,
                   struct bf_error *err);
/* Ends it without a flush if it still runs; removes the mount and the file.  NULL allowed. */
void bf_export_free(struct bf_export *export);

/* Detach every FUSE mount below the directory that a killed run left. */
void bf_export_sweep(const char *directory);

/* The qemu block device of an endpoint as the JSON of --blockdev, node name "disk".
 * ret_tls_directory: NULL, or where the certificates for object "tls" are (borrowed). */
int bf_export_blockdev(const struct bf_endpoint_spec *disk, char **ret_json,
                       const char **ret_tls_directory, struct bf_error *err);

static inline void bf_export_free_at(struct bf_export **at)
{
    bf_export_free(*at);
}
#define bf_auto_export __attribute__((cleanup(bf_export_free_at))) struct bf_export
