/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses of a host, found without making the event loop wait.
 *
 * getaddrinfo() waits for name servers, half a minute and more, and cannot be ended.  So it runs on
 * a thread of its own, and what waits for the addresses polls a descriptor.  One lookup is under
 * way at a time: who asks meanwhile joins it, so a name server that is silent costs one thread.
 *
 * Every connection asks anew, since a server may come back with another address.  When a name
 * cannot be looked up any more, the addresses found before are tried: name servers often go with
 * the server that was lost.
 *
 * A lookup that nobody waits for any more ends by itself and then frees what it has.
 *
 * Threads: that of the connections.
 */
#pragma once

#include <netdb.h>

#include "base/error.h"

struct bf_nbd_lookup; /* opaque; shared: each holder drops it once */

struct bf_nbd_names {
    const char *host;             /* the owner's, as is the port */
    const char *port;             /* a number */
    struct bf_nbd_lookup *latest; /* under way, or its result not looked at; NULL: none */
    struct bf_nbd_lookup *good;   /* the last that found an address; NULL: none yet */
};

/* Begin a lookup or join the one under way.  An address instead of a name is found at once. */
int bf_nbd_names_ask(struct bf_nbd_names *names, struct bf_nbd_lookup **ret_lookup,
                     struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* 1: *ret_addresses is valid as long as *lookup, which may now be an earlier one, is held;
 * 0: poll for bf_nbd_lookup_fd() to be readable, then again; -1: there is none
 * (BF_E_ENDPOINT_OPEN). */
int bf_nbd_names_answer(struct bf_nbd_names *names, struct bf_nbd_lookup **lookup,
                        const struct addrinfo **ret_addresses, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
void bf_nbd_names_done(struct bf_nbd_names *names);

int bf_nbd_lookup_fd(const struct bf_nbd_lookup *lookup);
void bf_nbd_lookup_drop(struct bf_nbd_lookup *lookup); /* NULL is fine */
