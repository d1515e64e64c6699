/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that are read through NFC: a server each, and the ticket to have it (admission.h).
 *
 * A disk of a snapshot that is opened again by the same handle (the service looks whether it is
 * still there) shares the server that there is: no second connection to the host.
 */
#pragma once

#include "connectors/vmware/refs.h"
#include "connectors/vmware/soap.h"

struct bf_vmware_reader;

/* By BF_VMWARE_PATH_VDDK or _PLUGIN.  `host` is the machine's.  Waits for its turn if no disk of
 * this handle is open, else BF_E_SOURCE_FULL. */
int bf_vmware_reader_open(struct bf_vmware *vw, enum bf_vmware_path path, const char *host,
                          const struct bf_vmware_moment *moment,
                          const struct bf_vmware_ref_disk *disk,
                          struct bf_vmware_reader **ret_reader, struct bf_error *err);
const char *bf_vmware_reader_uri(const struct bf_vmware_reader *reader);
void bf_vmware_reader_close(struct bf_vmware *vw, struct bf_vmware_reader *reader); /* NULL: none */
