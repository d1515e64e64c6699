/* SPDX-License-Identifier: Apache-2.0 */
/* A machine's disks at one point in time: by a backup job while it runs, by its images while it
 * is off.  Parts of the source that are shared between files. */
#pragma once

#include "connectors/libvirt/backup_xml.h"
#include "connectors/libvirt/machines.h"
#include "connectors/libvirt/refs.h"

/* What is to be done with one disk that was asked for. */
struct bf_libvirt_plan_disk {
    const struct bf_libvirt_disk *disk;        /* of the domain */
    const struct bf_machine_disk *description; /* of the domain's machine */
    bool tracks;                               /* its image can record changes */
    bool delta;
    char *reason; /* why not, although a baseline was given; NULL otherwise */
};

struct bf_libvirt_plan {
    const struct bf_snapshot_request *request;
    const struct bf_libvirt_domain *domain;
    struct bf_libvirt_baseline baseline; /* .checkpoint NULL: none, or not readable */
    struct bf_libvirt_plan_disk *disks;  /* in the order of the request */
    size_t disk_count;
};
int bf_libvirt_plan_make(const struct bf_snapshot_request *request,
                         const struct bf_libvirt_domain *domain, struct bf_libvirt_plan *ret_plan,
                         struct bf_error *err);
void bf_libvirt_plan_done(struct bf_libvirt_plan *plan);
#define bf_auto_libvirt_plan __attribute__((cleanup(bf_libvirt_plan_done))) struct bf_libvirt_plan
/* No delta for any disk that has one, for this reason. */
void bf_libvirt_plan_make_full(struct bf_libvirt_plan *plan, const char *reason);
bool bf_libvirt_plan_has_delta(const struct bf_libvirt_plan *plan);
bool bf_libvirt_plan_tracks(const struct bf_libvirt_plan *plan);
/* The baseline that the checkpoint of this round gives; NULL if no disk is tracked. */
char *bf_libvirt_plan_baseline(const struct bf_libvirt_plan *plan, const char *checkpoint_xml);
/* The seam's snapshot; takes over nothing. */
struct bf_snapshot *bf_libvirt_plan_snapshot(const struct bf_libvirt_plan *plan,
                                             const struct bf_libvirt_ref *ref,
                                             const char *checkpoint_xml);

/* The running backup job; *ret_found false: none. */
int bf_libvirt_job_get(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_job *ret_job,
                       bool *ret_found, struct bf_error *err);
/* As above, after a job that is just being made or ended has come so far that it can be told
 * from none, and be ended. */
int bf_libvirt_job_settle(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_job *ret_job,
                          bool *ret_found, struct bf_error *err);
/* End the job if it carries the tag, and wait until it is gone. */
int bf_libvirt_job_end(struct bf_libvirt *lv, virDomainPtr vir, const char *tag,
                       struct bf_error *err);
/* It is just being made: by a service that died in that call, or by another tool. */
bool bf_libvirt_job_in_making(virDomainPtr vir);
/* The ref of a running job of ours. */
void bf_libvirt_job_ref(const struct bf_libvirt_domain *domain, const struct bf_libvirt_job *job,
                        const char *tag, struct bf_libvirt_ref *ret_ref);

int bf_libvirt_snapshot_running(struct bf_libvirt *lv, virDomainPtr vir,
                                struct bf_libvirt_plan *plan, struct bf_snapshot **ret_snapshot,
                                struct bf_error *err);
int bf_libvirt_snapshot_off(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_plan *plan,
                            struct bf_snapshot **ret_snapshot, struct bf_error *err);
/* Time of change of an image file; 0: not known (a device). */
int64_t bf_libvirt_modified_ns(const char *path);

/* --- checkpoint.c --- */
/* Make libvirt know the baseline's checkpoint; *ret_known false with the reason: it cannot. */
int bf_libvirt_checkpoint_ensure(struct bf_libvirt *lv, virDomainPtr vir,
                                 const struct bf_libvirt_baseline *baseline, bool *ret_known,
                                 char **ret_reason, struct bf_error *err);
/* XML without the domain; NULL (with success): there is no such checkpoint. */
int bf_libvirt_checkpoint_xml(struct bf_libvirt *lv, virDomainPtr vir, const char *name,
                              char **ret_xml, struct bf_error *err);
/* Delete a checkpoint and its bitmaps; none is success.  `baseline` (may be NULL) names images
 * that the domain may not have any more. */
int bf_libvirt_checkpoint_delete(struct bf_libvirt *lv, virDomainPtr vir,
                                 const struct bf_libvirt_domain *domain, const char *name,
                                 const struct bf_libvirt_baseline *baseline, struct bf_error *err);

/* --- quiesce.c --- */
int bf_libvirt_freeze(struct bf_libvirt *lv, virDomainPtr vir,
                      const struct bf_libvirt_domain *domain, enum bf_quiesce mode,
                      bool *ret_frozen, char **ret_note, struct bf_error *err);
int bf_libvirt_thaw(struct bf_libvirt *lv, virDomainPtr vir, struct bf_error *err);
/* After a crash between freeze and thaw nobody else would thaw the guest. */
void bf_libvirt_thaw_quietly(virDomainPtr vir, const struct bf_libvirt_domain *domain);

extern const struct bf_source_ops bf_libvirt_source_ops;
int bf_libvirt_source_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                               struct bf_findings *findings, struct bf_error *err);
/* Names of checkpoints, jobs of one domain that carry a tag of ours. */
int bf_libvirt_source_tagged(struct bf_libvirt *lv, virDomainPtr vir, bf_tagged_fn *fn, void *user,
                             bool *ret_stop, struct bf_error *err);
