/* SPDX-License-Identifier: Apache-2.0 */
/* Linked clones of snapshots, for a mover (hotadd.h) that may not attach the snapshot's own files.
 *
 * A clone is never switched on and has no nics.  It is named "TAG blockferry MACHINE", is made in
 * the folder of the option mover_clone_folder (or the mover's own), the only places where the
 * account may delete machines, and lives as long as the snapshot of its tag.
 *
 * Destroying a machine deletes the files of all its disks: a clone is destroyed only if all of them
 * are in its own directory and none is attached to a mover.
 */
#pragma once

#include "connectors/vmware/machine.h"
#include "connectors/vmware/refs.h"

/* Its moref; NULL: there is none (also without the option). */
int bf_vmware_clone_find(struct bf_vmware *vw, const char *machine_id, const char *tag,
                         char **ret_clone, struct bf_error *err);
int bf_vmware_clone_make(struct bf_vmware *vw, const char *folder,
                         const struct bf_vmware_machine *machine,
                         const struct bf_vmware_moment *moment, char **ret_clone,
                         struct bf_error *err);
/* Gone already: success. */
int bf_vmware_clone_remove(struct bf_vmware *vw, const char *machine_id, const char *tag,
                           struct bf_error *err);
/* Is a machine of this name a clone of ours?  Of which machine, and for which tag; caller frees the
 * machine. */
bool bf_vmware_clone_named(const char *name, char ret_tag[BF_TAG_LENGTH + 1], char **ret_machine);
