/* SPDX-License-Identifier: Apache-2.0 */
/* What launch.c, launch_start.c and launch_end.c share of a launched machine. */
#pragma once

#include "connectors/openstack/cloud.h"

/* The ref, and its tag, which belongs to it. */
int bf_cloud_launch_parse(const char *machine_ref, struct json_object **ret_ref,
                          const char **ret_tag, struct bf_error *err);
/* All ports of the tag, also those of an earlier try.  An array. */
int bf_cloud_launch_ports(struct bf_cloud *cloud, const char *tag, struct json_object **ret_ports,
                          struct bf_error *err);
/* Those in this status (NULL: all).  A server in an error is of no use, and keeps its volumes. */
int bf_cloud_launch_remove_servers(struct bf_cloud *cloud, struct json_object *servers,
                                   const char *status, struct bf_error *err);
/* Does a server have one of the machine's volumes, or is one taking it or giving it back? */
int bf_cloud_launch_is_taken(struct bf_cloud *cloud, struct json_object *ref, bool *ret_taken,
                             struct bf_error *err);
