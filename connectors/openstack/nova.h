/* SPDX-License-Identifier: Apache-2.0 */
/* Nova: servers and flavors.  Answers are JSON as Nova gives it, freed by the caller. */
#pragma once

#include "connectors/openstack/cloud.h"

#define BF_NOVA_MINOR 88     /* what the answers here are read as */
#define BF_NOVA_MINOR_MIN 52 /* tags when a server is created */

int bf_nova_server(struct bf_cloud *cloud, const char *id, struct json_object **ret_server,
                   struct bf_error *err); /* gone: BF_E_NO_SUCH_MACHINE */
/* All with our tag, also those in an error.  An array. */
int bf_nova_tagged(struct bf_cloud *cloud, const char *tag, struct json_object **ret_servers,
                   struct bf_error *err);
int bf_nova_list(struct bf_cloud *cloud, bf_cloud_item_fn *fn, void *user, struct bf_error *err);
int bf_nova_action(struct bf_cloud *cloud, const char *id, const char *name,
                   struct json_object *arguments, struct json_object **ret_json,
                   struct bf_error *err); /* takes `arguments` */
enum bf_power bf_nova_power_of(struct json_object *server);
/* Wait for "ACTIVE", "SHUTOFF", ...; not there in time: BF_E_DEADLINE. */
int bf_nova_wait(struct bf_cloud *cloud, const char *id, const char *wanted, uint64_t ms,
                 struct bf_error *err);
int bf_nova_delete(struct bf_cloud *cloud, const char *id, struct bf_error *err);

/* The flavor of this name or id (NULL: the smallest that holds so much), with a local disk of at
 * least so many GiB.  None: BF_E_PLATFORM_UNSUPPORTED. */
struct bf_nova_size {
    unsigned cpus;
    uint64_t memory_bytes;
    uint64_t disk_gib; /* 0: no local disk is needed */
};
int bf_nova_flavor(struct bf_cloud *cloud, const char *name, const struct bf_nova_size *size,
                   struct json_object **ret_flavor, struct bf_error *err);

/* The seam's power functions; an id is a server's, or the ref of a launch (launch.c). */
int bf_cloud_power(struct bf_platform *platform, const char *machine_id, enum bf_power *ret_power,
                   struct bf_error *err);
int bf_cloud_shut_down(struct bf_platform *platform, const char *machine_id,
                       struct bf_deadline deadline, struct bf_error *err);
int bf_cloud_power_off(struct bf_platform *platform, const char *machine_id, struct bf_error *err);
int bf_cloud_power_on(struct bf_platform *platform, const char *machine_id, struct bf_error *err);

/* launch_start.c: the server of a launch, or NULL when it was not started yet. */
int bf_cloud_launch_server(struct bf_cloud *cloud, const char *machine_ref, char **ret_server_id,
                           struct bf_error *err);
int bf_cloud_launch_start(struct bf_cloud *cloud, const char *machine_ref, struct bf_error *err);
