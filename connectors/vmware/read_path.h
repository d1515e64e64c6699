/* SPDX-License-Identifier: Apache-2.0 */
/* How a snapshot's disks are read: chosen by the platform's option read_path, what is there, and
 * the machine.  `auto` is the plugin of the options if there is one, else VDDK; without it the
 * mover if there is one, else the datastore for a machine that is off, and the export for others
 * and for what the datastore does not serve. */
#pragma once

#include "connectors/vmware/machine.h"

/* None can be used: BF_E_PLATFORM_UNSUPPORTED with the reason.  `machine` NULL: of none in
 * particular. */
int bf_vmware_read_path(const struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                        enum bf_vmware_path *ret_path, struct bf_error *err);
/* May this failure to read by the mover or from the datastore be answered by an export? */
bool bf_vmware_read_path_falls_back(const struct bf_vmware *vw, enum bf_vmware_path path,
                                    const struct bf_error *err);

/* "vmware-read-path" if none can be used, "vmware-plugin" if another plugin is,
 * "vmware-datastore-read" if the datastore is, "vmware-export" and "vmware-scratch-space" if disks
 * are exported, "vmware-nfc-budget" if the machine has more disks than are read at a time.  Asks
 * the platform. */
int bf_vmware_read_path_findings(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                                 struct bf_findings *findings, struct bf_error *err);
