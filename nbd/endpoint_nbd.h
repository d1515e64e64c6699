/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the NBD endpoint share: endpoint_nbd.c (open, close, what the server offers),
 * endpoint_nbd_connections.c (requests over several connections, lost ones replaced),
 * endpoint_nbd_map.c (change maps, on a connection of their own).
 *
 * Threads: that of the endpoint.
 */
#pragma once

#include "nbd/endpoint.h"
#include "nbd/nbd_link.h"

#define BF_NBD_CONNECTIONS_MAX 16

enum bf_nbd_state { BF_NBD_UNUSED, BF_NBD_WAITING, BF_NBD_CONNECTING, BF_NBD_READY };

struct bf_nbd_connection {
    enum bf_nbd_state state;
    struct bf_nbd_link *link; /* NULL in UNUSED and WAITING */
    uint64_t since_ms;        /* of CONNECTING; in WAITING: when to try again */
    uint64_t pause_ms;        /* before the next try */
    struct bf_request *first; /* under way, oldest first */
    unsigned count;
    int poll_index; /* into this turn's fds; -1: not polled */
};

struct bf_nbd_endpoint {
    struct bf_endpoint base;
    struct bf_uri uri;
    struct bf_nbd_names names; /* of its host */
    struct bf_nbd_params params;
    struct bf_nbd_params map_params;
    struct bf_nbd_connection connections[BF_NBD_CONNECTIONS_MAX]; /* base.connections of them */
    unsigned depth;                                               /* requests per connection */
    uint64_t trouble_since_ms;                                    /* 0: none */
    unsigned breaches; /* of the protocol, since the last answer */
    struct bf_error last_loss;
    struct bf_nbd_link *map;     /* for base:allocation; NULL: not made yet */
    uint64_t asked;              /* bytes of all requests */
    struct bf_nbd_export export; /* as the first connection told of it */
    bool alone;                  /* the server takes one client at a time */
    bool cipher_told;
};

static inline struct bf_nbd_endpoint *bf_nbd_self(struct bf_endpoint *endpoint)
{
    return (struct bf_nbd_endpoint *)(void *)endpoint;
}

/* --- endpoint_nbd_connections.c --- */

/* Make the first connection; waits. */
int bf_nbd_connections_open(struct bf_nbd_endpoint *nbd, struct bf_error *err);
void bf_nbd_connections_close(struct bf_nbd_endpoint *nbd);
/* Close the first connection, if nothing is under way on it, until the loop begins. */
void bf_nbd_connections_rest(struct bf_nbd_endpoint *nbd);
/* As in bf_endpoint_ops. */
bool bf_nbd_connections_start(struct bf_endpoint *endpoint, struct bf_request *request);
unsigned bf_nbd_connections_prepare(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                                    uint64_t now_ms, uint64_t *wake_ms);
int bf_nbd_connections_handle(struct bf_endpoint *endpoint, const struct pollfd *fds,
                              unsigned count, uint64_t now_ms, struct bf_error *err);

/* --- endpoint_nbd_map.c: as in bf_endpoint_ops --- */

int bf_nbd_allocation(struct bf_endpoint *endpoint, uint64_t offset, uint64_t length,
                      struct bf_extent_list *list, struct bf_error *err);
int bf_nbd_dirty(struct bf_endpoint *endpoint, const char *bitmap, struct bf_extent_list *list,
                 struct bf_error *err);
