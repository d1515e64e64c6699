/* SPDX-License-Identifier: Apache-2.0 */
/* Any nbdkit plugin that reads a disk of a snapshot, by the platform's options plugin and
 * plugin_parameters: the distribution's own "vddk", "nfc", or another.
 *
 * What such a plugin says is believed as little as may be: it must be served, and with the size
 * that the snapshot's disk has, before anybody is given the endpoint.
 */
#pragma once

#include "connectors/server.h"
#include "connectors/vmware/refs.h"
#include "connectors/vmware/soap.h"

/* The parameters that are used when there are none in the options; NULL: they are needed. */
const char *bf_vmware_plugin_default(const char *plugin);
/* Is it a plugin's name, and a good template? */
int bf_vmware_plugin_check(const char *plugin, const char *parameters, struct bf_error *err);
int bf_vmware_plugin_serve(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                           const struct bf_vmware_ref_disk *disk, const char *socket_path,
                           struct bf_server **ret_server, struct bf_error *err);
