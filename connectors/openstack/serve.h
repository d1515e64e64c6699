/* SPDX-License-Identifier: Apache-2.0 */
/* qemu-storage-daemon that shows an RBD image over NBD on a socket, for the conversion: libguestfs
 * and virt-v2v know nothing of Ceph's users and configuration. */
#pragma once

#include "connectors/openstack/place.h"
#include "connectors/server.h"

/* Returns when it answers; bf_server_stop() flushes and closes the image. */
int bf_cloud_serve(struct bf_cloud *cloud, const struct bf_rbd_place *place,
                   struct bf_server **ret_server, struct bf_error *err);
