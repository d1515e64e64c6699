/* SPDX-License-Identifier: Apache-2.0 */
/* What volumes.c and rounds.c share of a replica: who holds it, and its points. */
#pragma once

#include "connectors/openstack/cloud.h"

/* Nobody holds it, and it is available. */
int bf_cloud_volume_let_go(struct bf_cloud *cloud, const char *id, struct bf_error *err);
/* Off RBD, drivers want Nova's help with snapshots of a volume in use: it must be let go for a
 * moment. *ret_let_go: it was, and has to be held again. */
int bf_cloud_volume_ready(struct bf_cloud *cloud, const char *id, bool *ret_let_go,
                          struct bf_error *err);
int bf_cloud_volume_hold_again(struct bf_cloud *cloud, const char *id, bool was_let_go,
                               struct bf_error *err);
/* What else has the tag of a ref, and this kind: a request that the service sent when it was killed
 * may have been carried out, and have been sent again. */
int bf_cloud_delete_others(struct bf_cloud *cloud, const char *ref, const char *kind,
                           struct bf_error *err);
