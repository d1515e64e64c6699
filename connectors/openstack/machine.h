/* SPDX-License-Identifier: Apache-2.0 */
/* Servers as machines.  A disk's key is its device name without "/dev/" ("vda"), its identity the
 * volume's id.  A root disk that is not a volume has the key "root" and cannot be replicated. */
#pragma once

#include "connectors/openstack/cloud.h"

#define BF_CLOUD_LOCAL_FORMAT "local" /* of a disk that is not a Cinder volume */

int bf_cloud_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                      struct bf_error *err);
int bf_cloud_machine(struct bf_platform *platform, const char *id_or_name,
                     struct bf_machine **ret_machine, struct bf_error *err);

/* The volumes of a server in the order of their devices, each {"key", "volume": Cinder's volume,
 * "attachment": id}. */
int bf_cloud_server_volumes(struct bf_cloud *cloud, struct json_object *server,
                            struct json_object **ret_volumes, struct bf_error *err);
