/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a connection to an NBD server: a socket that does not block, with or without TLS.
 *
 * A host's name is looked up beside the loop, see nbd_lookup.h.
 *
 * Threads: that of the connection.
 */
#pragma once

#include <stdbool.h>
#include <sys/uio.h>

#include "base/error.h"
#include "nbd/nbd_lookup.h"
#include "nbd/nbd_tls.h"
#include "nbd/uri.h"

struct bf_nbd_stream {
    int fd;                       /* -1: the host's name is being looked up */
    struct bf_nbd_tls *tls;       /* NULL: plain */
    struct bf_nbd_names *names;   /* of a host; NULL: a socket's path */
    struct bf_nbd_lookup *lookup; /* holds the addresses; NULL: a socket's path */
    const struct addrinfo *next;  /* to try if the one in use refuses */
};

/* Begin to connect.  `names` is asked for a host's address and must outlive the stream; NULL if the
 * URI names a socket. */
int bf_nbd_stream_open(const struct bf_uri *uri, struct bf_nbd_names *names,
                       struct bf_nbd_stream *stream, struct bf_error *err)
    __attribute__((nonnull(1, 3, 4), warn_unused_result));
/* 1: connected; 0: poll for bf_nbd_stream_connect_event(), then again; -1: it cannot be. */
int bf_nbd_stream_connected(struct bf_nbd_stream *stream, struct bf_error *err);
short bf_nbd_stream_connect_event(const struct bf_nbd_stream *stream);
/* What to poll; it changes while it connects. */
int bf_nbd_stream_fd(const struct bf_nbd_stream *stream);
void bf_nbd_stream_close(struct bf_nbd_stream *stream);

/* Bytes; 0: not now, wait for poll; -1 with *err, also when the server closed (BF_E_ENDPOINT_OPEN).
 * Until it returned 0 or less than was asked for, there may be more. */
ssize_t bf_nbd_stream_receive(struct bf_nbd_stream *stream, const struct iovec *parts, int count,
                              struct bf_error *err);
/* After 0 the same data must be sent again. */
ssize_t bf_nbd_stream_send(struct bf_nbd_stream *stream, const struct iovec *parts, int count,
                           struct bf_error *err);
