/* SPDX-License-Identifier: Apache-2.0 */
/* OpenStack's login as its own tools take it from the environment (OS_*, an "openrc" file). */
#pragma once

#include "cli/cli.h"

/* Is there one, and is the platform to be of type openstack without a URL? */
bool bf_cli_openrc_given(const struct bf_cli *cli);
/* URL, user, password and options out of OS_*, where the body has none.  OS_CLOUD, which names an
 * entry of the service's clouds.yaml, stands for all of them. */
void bf_cli_openrc_add(struct json_object *body);
