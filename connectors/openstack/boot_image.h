/* SPDX-License-Identifier: Apache-2.0 */
/* For clouds whose servers cannot boot from a volume (platform option boot: image): Cinder uploads
 * a launch's boot volume to Glance, and Nova boots a server from that image on a local disk.  Other
 * disks stay volumes.
 *
 * An image belongs to its machine's tag, which begins its name: "<tag> NAME".  It goes with the
 * machine, and is kept at confirm, as Nova may look for it again when the server is moved or
 * rebuilt.
 */
#pragma once

#include "connectors/openstack/cloud.h"

/* The image of the tag, made from this volume, ready to boot from; *ret_gib: the local disk that it
 * needs.  The volume is available before and after. */
int bf_cloud_boot_image(struct bf_cloud *cloud, const char *tag, const char *name,
                        const char *volume_id, char **ret_image_id, uint64_t *ret_gib,
                        struct bf_error *err);
/* Every image of the project whose name is the tag, or begins with it. */
int bf_cloud_delete_images(struct bf_cloud *cloud, const char *tag, struct bf_error *err);
