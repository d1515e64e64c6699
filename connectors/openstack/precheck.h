/* SPDX-License-Identifier: Apache-2.0 */
/* Prechecks of the target, by files: precheck_target.c (storage, quotas, flavor, networks),
 * precheck_path.c (how the replica is written). */
#pragma once

#include "connectors/openstack/target.h"

struct bf_cloud_check {
    struct bf_cloud *cloud;
    const struct bf_machine *machine;
    struct json_object *mapping;
    struct bf_findings *findings;
    struct json_object *networks;
    struct json_object *ports;
    uint64_t disks;
    uint64_t gigabytes;
    uint64_t largest;
    bool on_rbd, off_rbd; /* both false: it is not told */
    bool companion;       /* the launch's, of the boot ladder */
};

void bf_cloud_found(struct bf_cloud_check *check, enum bf_severity severity, const char *id,
                    const char *subject, const char *found, const char *needed, const char *why,
                    const char *fix);
/* After what is known of the volume type. */
int bf_cloud_check_path(struct bf_cloud_check *check, struct bf_error *err);
