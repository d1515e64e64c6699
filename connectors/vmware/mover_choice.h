/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the platform's movers can be used for a machine: those that run and reach all of its
 * disks.  What a mover has to be for that is said by precheck_reach.c alone, for prechecks and
 * rounds alike. */
#pragma once

#include "connectors/finding.h"
#include "connectors/vmware/machine.h"

struct bf_vmware_fit {
    struct bf_vmware_machine *mover; /* NULL: there is no such machine */
    struct bf_findings findings;     /* fits: none of them blocks */
};

/* Of the index-th mover. */
int bf_vmware_mover_fit(struct bf_vmware *vw, const struct bf_vmware_machine *machine, size_t index,
                        struct bf_vmware_fit *ret_fit, struct bf_error *err);
/* Mark those that are used: of those that fit all, but those that would hold up the machine (NFS 3,
 * on another host) only if there are no others.  False: none fits. */
bool bf_vmware_fits_choose(const struct bf_vmware_fit *fits, size_t count, bool *used);
void bf_vmware_fit_done(struct bf_vmware_fit *fit);

/* All that fit, by their indexes; `list` has room for BF_MOVERS_MAX.  A single mover is taken as it
 * is: what is wrong with it is told by the attempt.  None: BF_E_PLATFORM_UNSUPPORTED says why each
 * does not.  The answer may be half a minute old. */
int bf_vmware_movers_choose(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                            size_t *list, size_t *ret_count, struct bf_error *err);
