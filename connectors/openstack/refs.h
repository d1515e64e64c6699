/* SPDX-License-Identifier: Apache-2.0 */
/* What the service stores about the things made: JSON, read by this connector only.
 *
 *   volume, clone  {"volume": id, "tag"}
 *   point          {"snapshot": id, "volume": id, "tag"}
 *   machine        {"tag", "name", "flavor": id, "ports": [id], "volumes": [{"id", "bus", "boot"}],
 *                   "image": id to boot from instead of the boot volume, "drill": bool}: all that
 *                   POST /servers needs; of what is found by its tag alone only some of it
 *   snapshot       {"tag", "machine", "disks": {key: {"volume", "snapshot", "uri", "size",
 *                   "since"}}}
 *   baseline       {"tag", "machine", "disks": {key: {"volume", "snapshot", "image", "size"}}}
 */
#pragma once

#include "connectors/openstack/cloud.h"

/* Caller frees. */
char *bf_cloud_volume_ref(const char *volume_id, const char *tag);
char *bf_cloud_point_ref(const char *snapshot_id, const char *volume_id, const char *tag);

int bf_cloud_ref_parse(const char *ref, struct json_object **ret_ref, struct bf_error *err);
/* One member that is an id; caller frees. */
int bf_cloud_ref_id(const char *ref, const char *member, char **ret_id, struct bf_error *err);
