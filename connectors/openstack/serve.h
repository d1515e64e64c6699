/* SPDX-License-Identifier: Apache-2.0 */
/* qemu-storage-daemon that shows a volume over NBD on a socket, for inspection and conversion:
 * libguestfs knows nothing of Ceph's users and configuration, nor of a mover's certificates. */
#pragma once

#include "connectors/openstack/place.h"
#include "connectors/server.h"

/* Returns when it answers; bf_server_stop() flushes and closes the image. */
int bf_cloud_serve(struct bf_cloud *cloud, const struct bf_rbd_place *place,
                   struct bf_server **ret_server, struct bf_error *err);
/* The same of a disk that a mover serves, as bf_cloud_mover_attach() gives it: *spec leads to the
 * socket then.  A connection that breaks is made again.  A device of this host is left as it is,
 * with *ret_server NULL. */
int bf_cloud_serve_attached(struct bf_cloud *cloud, bool read_only, struct bf_endpoint_spec *spec,
                            struct bf_server **ret_server, struct bf_error *err);
