/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a connection to an NBD server: a socket that does not block, with or without TLS.
 *
 * Threads: that of the connection.
 */
#pragma once

#include <netdb.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "base/error.h"
#include "nbd/nbd_tls.h"
#include "nbd/uri.h"

struct bf_nbd_stream {
    int fd;
    struct bf_nbd_tls *tls;      /* NULL: plain */
    struct addrinfo *addresses;  /* of a host; while it connects */
    const struct addrinfo *next; /* to try if the one in use refuses */
};

/* Begin to connect.  Looking up a host's name may wait. */
int bf_nbd_stream_open(const struct bf_uri *uri, struct bf_nbd_stream *stream, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* 1: connected; 0: wait until it is writable, then again; -1: it cannot be. */
int bf_nbd_stream_connected(struct bf_nbd_stream *stream, struct bf_error *err);
void bf_nbd_stream_close(struct bf_nbd_stream *stream);

/* Bytes; 0: not now, wait for poll; -1 with *err, also when the server closed (BF_E_ENDPOINT_OPEN).
 * Until it returned 0 or less than was asked for, there may be more. */
ssize_t bf_nbd_stream_receive(struct bf_nbd_stream *stream, const struct iovec *parts, int count,
                              struct bf_error *err);
/* After 0 the same data must be sent again. */
ssize_t bf_nbd_stream_send(struct bf_nbd_stream *stream, const struct iovec *parts, int count,
                           struct bf_error *err);
