/* SPDX-License-Identifier: Apache-2.0 */
/* A mover of a vCenter: a virtual machine to which files of other machines' disks are hot-added
 * (docs/mover.md, connectors/mover.h).
 *
 * A file is attached as "independent_nonpersistent": what the mover would write goes to a redo log
 * that is thrown away, and the file itself, which is frozen, stays as it is.  It takes a free unit
 * of the mover's PVSCSI controllers on buses 1 to 3, which are there from the beginning: a
 * controller that is added to a running machine stuns it, and bus 0 has the mover's own disk.
 *
 * Whose it is: the same reconfiguration that adds the disk writes "TAG MACHINE FILE" into the
 * mover's extraConfig, under the slot's name; so there is no disk of ours without a note.  A disk
 * without one, or with another file than its note says, is somebody else's.
 *
 * Destroying a machine deletes the files of all its disks, whosever they are: nothing here ever
 * destroys a mover, and no request for removing a disk can be built that says anything of its file.
 */
#pragma once

#include "connectors/mover.h"
#include "connectors/vmware/machine.h"

/* Of the index-th of vw->conf.movers. */
struct bf_mover_conf bf_vmware_mover_conf(const struct bf_vmware *vw, size_t index);
/* The id of a file of a machine for connectors/mover.h.  Caller frees. */
char *bf_vmware_mover_disk_id(const char *machine, const char *file);
/* Its machine's moref.  Caller frees. */
char *bf_vmware_mover_disk_machine(const char *disk_id);

struct bf_vmware_mover {
    struct bf_vmware_machine *machine; /* its devices and disks, nothing else */
    struct json_object *notes;         /* "1:3" -> "TAG MACHINE FILE" */
    bool has_uuids;                    /* disk.EnableUUID: its guest sees the disks' uuids */
};
/* By its moref. */
int bf_vmware_mover_get(struct bf_vmware *vw, const char *id, struct bf_vmware_mover *ret_mover,
                        struct bf_error *err);
void bf_vmware_mover_done(struct bf_vmware_mover *mover);
#define bf_auto_vmware_mover __attribute__((cleanup(bf_vmware_mover_done))) struct bf_vmware_mover

/* "1:3" of a disk on one of the buses for others' disks, within its place; NULL: not one of those.
 */
const char *bf_vmware_mover_slot(const struct bf_vmware_disk *disk);
/* The disk with this id; NULL: none. */
const struct bf_vmware_disk *bf_vmware_mover_disk(const struct bf_vmware_mover *mover,
                                                  const char *disk_id);
/* The disk's tag; NULL: somebody else's. Caller frees. */
char *bf_vmware_mover_tag(const struct bf_vmware_mover *mover, const struct bf_vmware_disk *disk);
/* How many disks fit: 15 on each of its controllers. */
unsigned bf_vmware_mover_room(const struct bf_vmware_mover *mover);

/* Did the last call fail because the file is locked? */
bool bf_vmware_mover_locked(const struct bf_vmware *vw);
