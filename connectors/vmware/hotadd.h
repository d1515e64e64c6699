/* SPDX-License-Identifier: Apache-2.0 */
/* Disks of a snapshot read through a mover (mover.h): no VDDK, no port 902.
 *
 * First the snapshot's own files are attached (variant A).  Where the host refuses that because it
 * holds a lock on them, a linked clone of the snapshot is made (clone.h) and its files are attached
 * instead (variant B); the other disks of that snapshot then go the same way.
 *
 * A disk is given out only when it is proven to be the snapshot's: the mover's device has the file,
 * uuid, size and content id that the snapshot's has (variant B: its parent has), and the mover
 * serves, under the name that comes from the uuid, a disk of that size.  Anything else is
 * BF_E_DISK_CHANGED, and it is detached.
 *
 * Which mover, is said by mover_choice.h and connectors/mover.h; disks of one machine may hang on
 * several.
 *
 * A disk that is opened again by the same handle is shared; the last to close it detaches it.  What
 * a crash leaves attached carries the tag of its snapshot and goes with it, before it.
 */
#pragma once

#include "connectors/vmware/mover.h"
#include "connectors/vmware/refs.h"

struct bf_vmware_hotadd;

int bf_vmware_hotadd_open(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                          const struct bf_vmware_moment *moment,
                          const struct bf_vmware_ref_disk *disk,
                          struct bf_vmware_hotadd **ret_hotadd, struct bf_error *err);
/* Its URI, certificates and size. */
const struct bf_endpoint_spec *bf_vmware_hotadd_spec(const struct bf_vmware_hotadd *hotadd);
void bf_vmware_hotadd_close(struct bf_vmware *vw, struct bf_vmware_hotadd *hotadd); /* NULL: none */

/* Detach all disks of this tag and remove its linked clone; nothing there: success.  A snapshot is
 * removed only after that. */
int bf_vmware_hotadd_release(struct bf_vmware *vw, const char *machine_id, const char *tag,
                             struct bf_error *err);
/* Disks that are attached for tags of ours, as the snapshots that they belong to. */
int bf_vmware_hotadd_tagged(struct bf_vmware *vw, bf_tagged_fn *fn, void *user,
                            struct bf_error *err);
