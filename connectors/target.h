/* SPDX-License-Identifier: Apache-2.0 */
/* The seam, part 3: a platform as a target.  Contract of threads, tags and refs: connector.h.
 *
 * volume:  holds the replica of one disk.  Written only by rounds.
 * point:   a consistent state of all volumes of a replication, never written again.
 * clone:   a writable volume made from a point, for one launch.
 */
#pragma once

#include "connectors/connector.h"
#include "connectors/endpoint_spec.h"

struct bf_volume_request {
    const char *tag;
    const char *name;    /* for people: replication and disk; made platform-safe by the connector */
    const char *storage; /* from the mapping; NULL: the platform's default */
    const char *disk_key;
    uint64_t size_bytes;
};

/* Findings about putting this machine there: space, networks, storage, firmware.
 * `mapping` is the replication's mapping (docs/openapi.yaml), and what the policy asks of the
 * target besides: "keep_points", and "companion": true if launches have a companion
 * (bf_launch_request). */
int bf_target_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                       struct json_object *mapping, struct bf_findings *findings,
                       struct bf_error *err);

int bf_target_create_volume(struct bf_platform *platform, const struct bf_volume_request *request,
                            char **ret_ref, struct bf_error *err);
/* Grow to at least this size; ret_ref is the ref from now on. */
int bf_target_resize_volume(struct bf_platform *platform, const char *volume_ref,
                            uint64_t size_bytes, char **ret_ref, struct bf_error *err);
/* With all its points. */
int bf_target_delete_volume(struct bf_platform *platform, const char *volume_ref,
                            struct bf_error *err);

/* The volume and its points are the admin's from now on: nobody holds them, without our tags.  Gone
 * already: success. */
int bf_target_hand_over_volume(struct bf_platform *platform, const char *volume_ref,
                               struct bf_error *err);

/* Open a volume for one round's writing.  `full`: the round will write every byte that is not zero
 * of the whole disk, and what the volume held may be discarded; otherwise it brings changes on top
 * of the last point.  `tag` names the round: after a crash the same tag reopens what the round
 * wrote so far. `last_point` is the point ref the changes go on top of; NULL with full.  What an
 * earlier round wrote cannot be taken back: BF_E_BASELINE_LOST, and the volume must be written in
 * full. */
struct bf_target_volume;
int bf_target_open_volume(struct bf_platform *platform, const char *volume_ref, const char *tag,
                          bool full, const char *last_point, struct bf_target_volume **ret_volume,
                          struct bf_error *err);
const struct bf_endpoint_spec *bf_target_volume_spec(const struct bf_target_volume *volume);
/* Stop serving it; what was written stays. */
int bf_target_close_volume(struct bf_target_volume *volume, struct bf_error *err);
/* Throw away what the round of this tag wrote (a failed delta).  After a failed full round the
 * volume's content is undefined, and the next round must be full. */
int bf_target_drop_round(struct bf_platform *platform, const char *volume_ref, const char *tag,
                         struct bf_error *err);

/* Declare what the round of this tag wrote on this volume a point.  Volumes are closed. */
int bf_target_make_point(struct bf_platform *platform, const char *volume_ref, const char *tag,
                         char **ret_point_ref, struct bf_error *err);
/* Retention.  In use by a clone: BF_E_IN_USE, and it is tried again later. */
int bf_target_delete_point(struct bf_platform *platform, const char *volume_ref,
                           const char *point_ref, struct bf_error *err);
/* Read a point (verify, inspection); closed by bf_target_close_volume(). */
int bf_target_open_point(struct bf_platform *platform, const char *volume_ref,
                         const char *point_ref, struct bf_target_volume **ret_volume,
                         struct bf_error *err);

/* The target makes clones of a volume's oldest point only: BF_E_POINT_NOT_OLDEST. */
int bf_target_clone_point(struct bf_platform *platform, const char *volume_ref,
                          const char *point_ref, const char *tag, char **ret_clone_ref,
                          struct bf_error *err);
/* Open a clone for the conversion (read and write); closed by bf_target_close_volume(). */
int bf_target_open_clone(struct bf_platform *platform, const char *clone_ref,
                         struct bf_target_volume **ret_volume, struct bf_error *err);
int bf_target_delete_clone(struct bf_platform *platform, const char *clone_ref,
                           struct bf_error *err);
/* Make a launch's clones independent of the replica (confirm); the machine may run. */
int bf_target_detach_clone(struct bf_platform *platform, const char *machine_ref,
                           const char *clone_ref, struct bf_deadline deadline,
                           struct bf_error *err);

/* Adoption: where source and target share the store, the target takes the source's own volume
 * instead of a copy of it.  The source machine is off from before until it gets the volume back.
 * An adopted volume is a launch's: its ref is used as a clone's. */
struct bf_adopt_request {
    const char *tag;      /* NULL: prechecks */
    const char *name;     /* for people */
    const char *storage;  /* from the mapping; NULL: what the volume lies on */
    const char *disk_key; /* of the source machine */
    const char *place;    /* of bf_source_locate_disk() */
};
bool bf_target_can_adopt(const struct bf_platform *platform);
/* Findings about adopting this disk.  Fallback of this and the next two:
 * BF_E_PLATFORM_UNSUPPORTED. */
int bf_target_adopt_precheck(struct bf_platform *platform, const struct bf_adopt_request *request,
                             struct bf_findings *findings, struct bf_error *err);
/* Take it, and note what it holds, so that it can be given back as it was.  At every moment the
 * volume is to be found by the tag or the place alone.  Somebody has it open: BF_E_IN_USE. */
int bf_target_adopt_volume(struct bf_platform *platform, const struct bf_adopt_request *request,
                           char **ret_ref, struct bf_error *err);
/* Give it back to the source as it was when it was adopted, from wherever an adoption or an earlier
 * call got to; never adopted: success.  Its machine here is gone (else BF_E_IN_USE). */
int bf_target_give_back_volume(struct bf_platform *platform, const char *tag, const char *place,
                               struct bf_error *err);

struct bf_launch_disk {
    const char *clone_ref;
    const struct bf_machine_disk *disk; /* of the source machine */
};
struct bf_launch_nic {
    const struct bf_machine_nic *nic; /* of the source machine */
    const char *network;              /* on the target */
};
struct bf_launch_request {
    const char *tag;
    const char *name; /* of the machine on the target */
    const struct bf_machine *machine;
    const struct bf_launch_disk *disks;
    size_t disk_count;
    const struct bf_launch_nic *nics;
    size_t nic_count;
    bool drill;            /* marked as such; never autostarted */
    unsigned cpus;         /* 0: as the source */
    uint64_t memory_bytes; /* 0: as the source */
    const char *disk_bus;  /* of all disks ("virtio", "sata", "scsi", "ide"); NULL: "virtio" */
    /* Beside them a small, empty disk on virtio, read-only where the platform can, so that a guest
     * which starts from another bus installs its driver.  It goes with the machine. */
    bool companion;
    const char *flavor; /* where the platform has such: a size by name; NULL: by cpus and memory */
    char *const *security_groups; /* of the nics, NULL-terminated; NULL: the platform's default */
    /* UEFI variables of the source (bf_source_firmware_vars()), which the target said it
     * takes; NULL: the firmware starts with its own. */
    const char *firmware_vars;
    size_t firmware_vars_size;
};
/* Can a machine be created with UEFI variables of this size?  *ret_why stays NULL if so; else it
 * says why not.  Caller frees.  Fallback: it cannot. */
int bf_target_takes_firmware_vars(struct bf_platform *platform, const struct bf_machine *machine,
                                  size_t size, char **ret_why, struct bf_error *err);
/* Does it know a request's `companion`?  Fallback: it does not. */
bool bf_target_takes_companion(const struct bf_platform *platform);
/* Create the machine, switched off.  A companion where there can be none:
 * BF_E_PLATFORM_UNSUPPORTED. */
int bf_target_create_machine(struct bf_platform *platform, const struct bf_launch_request *request,
                             char **ret_machine_ref, struct bf_error *err);
/* The machine's id for bf_platform_power*().  Caller frees. */
int bf_target_machine_id(struct bf_platform *platform, const char *machine_ref, char **ret_id,
                         struct bf_error *err);
/* Serial console's text so far, from the end, at most `max` bytes; NULL text: none yet. */
int bf_target_console(struct bf_platform *platform, const char *machine_ref, size_t max,
                      char **ret_text, struct bf_error *err);
/* Ask the agent in the guest of a launched machine: what it says of its system ("Debian GNU/Linux
 * 12 (bookworm)"), which shows that the guest has booted.  NULL: it gave no answer, which is no
 * error. Waits for some seconds at most.  Caller frees.  Fallback: no answer. */
int bf_target_guest_agent(struct bf_platform *platform, const char *machine_ref, char **ret_answer,
                          struct bf_error *err);
/* Powered off first; clones stay. */
int bf_target_delete_machine(struct bf_platform *platform, const char *machine_ref,
                             struct bf_error *err);
/* Rename/clean after confirm: the machine is the admin's from now on, without our tags. */
int bf_target_hand_over_machine(struct bf_platform *platform, const char *machine_ref,
                                struct bf_error *err);
