/* SPDX-License-Identifier: Apache-2.0 */
/* How many disks are read at a time through the hosts' NFC service.
 *
 * Each open disk is a connection to its ESXi host, of which a host has few for everybody (about 50,
 * or as many as fit into its 48 MiB of buffers), and so has a vCenter.  Beyond that opening fails,
 * for other users of the host as well.  So a ticket is needed for each disk: at most `per_host` for
 * one host and `in_all` for one vCenter, in this process.
 *
 * Who comes when there is none waits, first come first served among those who could go, until its
 * deadline or a cancel.  Nobody waits while it holds one: two rounds that each hold some and wait
 * for more would wait for ever.  Such a caller is told BF_E_SOURCE_FULL at once; it is to copy what
 * it has open, close it, and ask again (connectors/source.h).
 *
 * Threads: any.  Nothing is locked while anything but the queue is looked at.
 */
#pragma once

#include "connectors/ops.h"

struct bf_vmware_ticket;

struct bf_vmware_admission {
    const char *server; /* of the platform: vCenters do not share hosts */
    const char *host;   /* moref; NULL: unknown, one more host */
    unsigned per_host, in_all;
    uint64_t wait_ms;
    bool holding; /* the caller has disks open */
};

int bf_vmware_admit(struct bf_platform *platform, const struct bf_vmware_admission *admission,
                    struct bf_vmware_ticket **ret_ticket, struct bf_error *err);
void bf_vmware_ticket_free(struct bf_vmware_ticket *ticket); /* NULL allowed */
/* How many wait; for tests. */
unsigned bf_vmware_admission_waiting(void);
