/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a snapshot's disk without VDDK: ExportSnapshot, a lease, and the disk as one stream.
 *
 * The stream cannot be read at random, and the engine does: the disk is decoded into a sparse file
 * of the scratch directory first, which needs room for what the disk holds.  The file is
 * named by tag, snapshot and disk, whole when it has its name, and taken again by a later open of
 * the same disk; it goes with the last of them, and with the snapshot (bf_vmware_export_sweep).
 *
 * The lease blocks power-on, migration and removal of the machine, so it is held for the transfer
 * only, and told of progress, without which the server takes it back.
 */
#pragma once

#include "connectors/vmware/refs.h"
#include "connectors/vmware/soap.h"

/* ret_path is where the disk is; bf_vmware_export_close() forgets it.  Caller frees the text. */
int bf_vmware_export(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                     const struct bf_vmware_ref_disk *disk, char **ret_path, struct bf_error *err);
void bf_vmware_export_close(struct bf_vmware *vw, const char *path);
/* Remove what is left of a round's exports. */
void bf_vmware_export_sweep(const struct bf_vmware *vw, const char *tag);
