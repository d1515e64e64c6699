/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about a machine; docs/platforms/vmware.md lists them all by id. */
#pragma once

#include "connectors/source.h"
#include "connectors/vmware/machine.h"

int bf_vmware_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                       struct bf_findings *findings, struct bf_error *err);

/* --- within the prechecks --- */

/* Of single disks. */
void bf_vmware_precheck_disks(const struct bf_vmware_machine *machine,
                              struct bf_findings *findings);
/* Of datastores, the host and the account: these ask the platform. */
int bf_vmware_precheck_around(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                              struct bf_findings *findings, struct bf_error *err);
/* Of the movers, if disks are read through them. */
int bf_vmware_precheck_mover(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                             struct bf_findings *findings, struct bf_error *err);
/* Does this mover run, and reach the machine's disks?  Whatever blocks says why not. */
int bf_vmware_precheck_reach(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                             const struct bf_vmware_machine *mover, struct bf_findings *findings,
                             struct bf_error *err);
/* What the account may do with it; `folder`: of linked clones, NULL: none. */
int bf_vmware_precheck_rights(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                              const struct bf_vmware_machine *mover, const char *folder,
                              struct bf_findings *findings, struct bf_error *err);
/* May DRS move it by itself?  Of a mover (subject is its id) or of the machine to replicate. */
int bf_vmware_precheck_drs(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                           bool is_mover, struct bf_findings *findings, struct bf_error *err);
/* May Storage DRS move its files?  The same. */
int bf_vmware_precheck_storage_drs(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                                   bool is_mover, struct bf_findings *findings,
                                   struct bf_error *err);
/* Of files that two of its disks have. */
void bf_vmware_precheck_same_file(const struct bf_vmware_machine *machine,
                                  struct bf_findings *findings);
/* Of files that other machines have as well, of those on the same datastores. */
int bf_vmware_precheck_elsewhere(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                                 struct bf_findings *findings, struct bf_error *err);
/* After a failure to look at something that the account need not see: then it is not known, which
 * is no error (0); any other failure is told with "WHAT ID". */
int bf_vmware_unless_hidden(struct bf_vmware *vw, const char *what, const char *id,
                            struct bf_error *err);
/* Does nothing answer at "HOST:PORT"?  *ret_why: why not, NULL if something does; caller frees. The
 * answer may be a minute old. */
int bf_vmware_port_silent(struct bf_vmware *vw, const char *place, char **ret_why,
                          struct bf_error *err);
