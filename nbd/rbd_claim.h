/* SPDX-License-Identifier: Apache-2.0 */
/* An image becomes ours: nobody else has it open, nobody else holds a lock on it, and nobody else
 * can write to it until it is closed.
 *
 * Who is in the way is told by his address, and waited for as long as waiting can help:
 *   a lock that somebody took by hand ("rbd lock add"): not at all, as it outlives its owner;
 *   a client that lives: a moment, in which one that is just ending ends;
 *   a client that died: until the cluster has forgotten it, 30 s.
 * A living client is told from a dead one by whether it acknowledges a notice that the image's
 * header has changed, as every librbd does.
 */
#pragma once

#include "nbd/rbd_call.h"

/* The cluster forgets a client that died after 30 s (osd_client_watch_timeout). */
#define BF_RBD_DEAD_CLIENT_MS 40000

/* The run() of a call.  In the way: BF_E_IN_USE. */
int bf_rbd_claim(struct bf_rbd_call *call, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
