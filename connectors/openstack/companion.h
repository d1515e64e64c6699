/* SPDX-License-Identifier: Apache-2.0 */
/* The small disk on virtio beside a machine that starts from another bus (bf_launch_request's
 * `companion`): an empty volume of 1 GiB, the least that Cinder makes, of the boot volume's type
 * and zone.  On RBD it takes no room.  The guest could write to it: Nova attaches read-write, also
 * a volume that Cinder calls read-only (seen with Zed on RBD).
 *
 * It carries the machine's tag, and is listed, deleted and handed over with the machine. */
#pragma once

#include "connectors/openstack/cloud.h"

#define BF_CLOUD_COMPANION_GIB 1

/* Made, or found from an earlier try.  ret_id: caller frees. */
int bf_cloud_companion_make(struct bf_cloud *cloud, const char *tag, const char *boot_volume_id,
                            char **ret_id, struct bf_error *err);
/* None: success. */
int bf_cloud_companion_delete(struct bf_cloud *cloud, const char *tag, struct bf_error *err);
