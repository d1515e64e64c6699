/* SPDX-License-Identifier: Apache-2.0 */
/* qemu-storage-daemon that shows an RBD image over NBD on a socket, for the conversion: libguestfs
 * and virt-v2v know nothing of Ceph's users and configuration. */
#pragma once

#include "connectors/openstack/place.h"

struct bf_cloud_server;

/* Returns when it answers.  The process dies with us. */
int bf_cloud_serve(struct bf_cloud *cloud, const struct bf_rbd_place *place,
                   struct bf_cloud_server **ret_server, struct bf_error *err);
const char *bf_cloud_server_uri(const struct bf_cloud_server *server);
/* Flushes, closes the image and ends.  Frees the handle also on failure. */
int bf_cloud_server_stop(struct bf_cloud_server *server, struct bf_error *err);
