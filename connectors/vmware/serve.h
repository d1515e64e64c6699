/* SPDX-License-Identifier: Apache-2.0 */
/* One nbdkit for one disk of a snapshot, read through VMware's VDDK library.
 *
 * The library is proprietary, brings its own OpenSSL and C++ library, and hangs or crashes at
 * times: it lives in a process of its own per disk, the only one whose library path leads to it.
 * The password goes to it by a descriptor.
 */
#pragma once

#include "connectors/vmware/refs.h"
#include "connectors/vmware/soap.h"

struct bf_vmware_server;

/* Returns when it answers.  The process dies with us. */
int bf_vmware_serve(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                    const struct bf_vmware_ref_disk *disk, struct bf_vmware_server **ret_server,
                    struct bf_error *err);
const char *bf_vmware_server_uri(const struct bf_vmware_server *server);
void bf_vmware_server_stop(struct bf_vmware_server *server); /* NULL allowed */

/* Is a library there?  If not, why: a text, caller frees. */
char *bf_vmware_vddk_missing(const struct bf_vmware_conf *conf);
