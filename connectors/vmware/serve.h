/* SPDX-License-Identifier: Apache-2.0 */
/* One nbdkit for one disk of a snapshot, read through VMware's VDDK library (or, by
 * BF_VMWARE_PATH_PLUGIN, through a plugin of the admin's choice).
 *
 * The library is proprietary, brings its own OpenSSL and C++ library, and hangs or crashes at
 * times: it lives in a process of its own per disk, the only one whose library path leads to it.
 * The password goes to it by a descriptor.
 */
#pragma once

#include "connectors/server.h"
#include "connectors/vmware/refs.h"
#include "connectors/vmware/soap.h"

/* Returns when it answers.  bf_server_stop() with BF_VMWARE_STOP_MS ends it in order: it closes the
 * disk, so that no session of the library stays at the host. */
#define BF_VMWARE_STOP_MS 10000
int bf_vmware_serve(struct bf_vmware *vw, enum bf_vmware_path path,
                    const struct bf_vmware_moment *moment, const struct bf_vmware_ref_disk *disk,
                    struct bf_server **ret_server, struct bf_error *err);

/* A descriptor that reads as this text, for a child.  Caller closes. */
int bf_vmware_secret_fd(const char *text, int *ret_fd, struct bf_error *err);

/* Is a library there?  If not, why: a text, caller frees. */
char *bf_vmware_vddk_missing(const struct bf_vmware_conf *conf);
