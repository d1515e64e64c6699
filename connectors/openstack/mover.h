/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that are not on RBD: Nova attaches them to a mover (docs/mover.md), a server of the same
 * project, which serves them over NBD with TLS.
 *
 * A volume that is attached for a ledger row carries the row's tag in its metadata, as
 * blockferry_mover, from before the attachment until after it.  The mover's disks are virtio's:
 * their serial, and so the export's name, is what fits of the volume's id.
 */
#pragma once

#include "connectors/mover.h"
#include "connectors/openstack/cloud.h"

#define BF_CLOUD_MOVER_KEY "blockferry_mover"

/* Is there any: a server that runs a mover's image, or the one that this service runs on, where the
 * attached volume is a device of its own? */
bool bf_cloud_has_mover(const struct bf_cloud *cloud);
/* May this connection (of an attachment) be served by a mover only?  False without a mover. */
bool bf_cloud_needs_mover(const struct bf_cloud *cloud, struct json_object *connection);
/* The volume must be nobody's.  ret_spec: bf_endpoint_spec_done(). */
int bf_cloud_mover_attach(struct bf_cloud *cloud, const char *volume_id, const char *tag,
                          uint64_t size_bytes, struct bf_endpoint_spec *ret_spec,
                          struct bf_error *err);
/* Detach it if it is attached for whatever tag of ours, by its metadata.  `volume` as Cinder gives
 * it. */
int bf_cloud_mover_release(struct bf_cloud *cloud, struct json_object *volume,
                           struct bf_error *err);
/* The same by id; a volume that is gone is attached nowhere. */
int bf_cloud_mover_release_id(struct bf_cloud *cloud, const char *volume_id, struct bf_error *err);
/* Which server that is.  NULL: none. */
const char *bf_cloud_mover_server(const struct bf_cloud *cloud);
/* The server is there and runs; *ret_status: its status, "" when there is none. */
int bf_cloud_mover_status(struct bf_cloud *cloud, char **ret_status, struct bf_error *err);
