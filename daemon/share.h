/* SPDX-License-Identifier: Apache-2.0 */
/* Who may use how much of the rate limits just now: the running copies of the whole service, and
 * the limits of its three levels (service, platform, replication).
 *
 * The shares are made anew each second, and at once when a copy comes or goes or a limit changes.
 * A platform's limit counts for what is read from it and for what is written to it.  A
 * copy that does not use what it was given (a slow source, a busy target) is taken to need
 * little more than it uses, so that the others get the rest; its part grows back by doubling.
 *
 * Threads: any; one lock inside.  Ownership: what is given is copied.
 */
#pragma once

#include <stdint.h>

#include "daemon/limits.h"

struct bf_share;      /* one per service */
struct bf_share_copy; /* one running copy */

struct bf_share *bf_share_new(void);
void bf_share_free(struct bf_share *share); /* no copies are left; NULL allowed */

/* The limits of a scope: "service", a platform's id, a replication's id.  None: no limit. */
#define BF_SHARE_SERVICE "service"
void bf_share_set(struct bf_share *share, const char *scope, const struct bf_limits *limits);

struct bf_share_scopes {
    const char *source; /* platform ids */
    const char *target;
    const char *replication; /* id */
};
struct bf_share_copy *bf_share_join(struct bf_share *share, const struct bf_share_scopes *scopes);
void bf_share_leave(struct bf_share_copy *copy); /* NULL allowed */

/* What the copy may use now, in bytes a second; BF_RATE_UNLIMITED: no limit.  `used` is what it
 * uses at present (0: not known yet), `own` what all copies of its replication may use together by
 * its policy (0: no limit). */
uint64_t bf_share_ask(struct bf_share_copy *copy, uint64_t used, uint64_t own);

/* For people: what a scope may use now (BF_RATE_UNLIMITED: no limit), uses, and by how many. */
struct bf_share_use {
    uint64_t limit;
    uint64_t used;
    unsigned copies;
};
struct bf_share_use bf_share_look(struct bf_share *share, const char *scope);
