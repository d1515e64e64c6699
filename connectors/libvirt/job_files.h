/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a backup job: its socket, and per disk a scratch file in which QEMU keeps the old
 * content of what the guest overwrites.
 *
 * Why we make the scratch files ourselves: told to make one, libvirt has QEMU run blockdev-create
 * on it, and while that job runs QEMU has a qcow2 node that is only half open.  Any question for
 * the block nodes in that time (virDomainListGetStats(), virDomainGetBlockInfo(): what every
 * monitoring tool asks all the time) ends QEMU, and so the machine, with an assertion in
 * qcow2_get_specific_info() (seen with QEMU 7.2 under libvirt 9.0).  A file that is there and
 * reused is opened in one step that no question can come into.
 *
 * Files can be made on this host only.  For a libvirt elsewhere QEMU makes them, and at least
 * this process asks nothing meanwhile: that is the gate.
 */
#pragma once

#include "connectors/libvirt/backup_xml.h"
#include "connectors/libvirt/domain_xml.h"
#include "connectors/libvirt/session.h"

/* Caller frees both. */
char *bf_libvirt_job_socket(const struct bf_libvirt *lv, const char *tag);
char *bf_libvirt_scratch_path(const struct bf_libvirt *lv, const struct bf_libvirt_disk *disk,
                              const char *tag);
/* An empty file for each disk of the job, of exactly the disk's size, as the job wants it. */
int bf_libvirt_scratch_make(struct bf_libvirt *lv, const struct bf_libvirt_domain *domain,
                            const struct bf_libvirt_job *job, struct bf_error *err);
/* Remove the files of a job of this tag, which is gone; no other job has such names. */
void bf_libvirt_job_sweep(const struct bf_libvirt *lv, const struct bf_libvirt_domain *domain,
                          const char *tag);

/* Any number of askers are in the gate at once, or one that begins a job.  Any thread; both wait
 * for the others' calls, which have deadlines of their own. */
void bf_libvirt_gate_enter(void);
void bf_libvirt_gate_leave(void);
void bf_libvirt_gate_close(void);
void bf_libvirt_gate_open(void);
