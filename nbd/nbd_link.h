/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to an NBD server: the handshake, then requests and their answers.
 *
 * Why not libnbd: for its URIs it brings libxml2, ICU and libstdc++ into every copy (2 ms at its
 * start), it takes each answer by several system calls, and it has no word on TLS ciphers.
 *
 * Answers are simple replies (NBD_SIMPLE_REPLY), which cost less: holes are known from the map. The
 * data of an answer goes from the socket straight into its request's buffer, together with the head
 * of the next one.  Requests are sent together with the turn's others, data and all, by one call.
 *
 * A connection that was opened for a meta context (params->context) is for bf_nbd_map() only.
 *
 * Threads: one, the loop's.  Nothing waits but what says so.
 * (NBD protocol, doc/proto.md: "Transmission phase".)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "nbd/endpoint.h"
#include "nbd/nbd_hello.h"

/* Requests under way on one connection, at most. */
#define BF_NBD_LINK_REQUESTS 64u

struct bf_nbd_link; /* opaque */

/* Begin to connect; drive it until it is ready.  `params` must outlive the link. */
int bf_nbd_link_begin(const struct bf_nbd_params *params, struct bf_nbd_link **ret_link,
                      struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* Begin and wait until it is ready: at most so long, and not once cancelled. */
int bf_nbd_link_connect(const struct bf_nbd_params *params, uint64_t patience_ms,
                        struct bf_nbd_link **ret_link, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* Free; the requests' buffers are not touched any more.  Says goodbye if no request is under way:
 * an nbdkit 1.32 does not bear a client that leaves with some, so finish them where possible.  NULL
 * is fine. */
void bf_nbd_link_close(struct bf_nbd_link *link);

bool bf_nbd_link_ready(const struct bf_nbd_link *link);
/* Valid when it is ready. */
const struct bf_nbd_export *bf_nbd_link_export(const struct bf_nbd_link *link);

/* Take a request; at most BF_NBD_LINK_REQUESTS are under way.  When it is answered, drive() sets
 * its `answered` and its `answer`. */
void bf_nbd_link_submit(struct bf_nbd_link *link, struct bf_request *request);
/* Send what was submitted, as far as the socket takes it.  -1: the connection is lost. */
int bf_nbd_link_send(struct bf_nbd_link *link, struct bf_error *err);

/* What to poll; it changes while it connects. */
int bf_nbd_link_fd(const struct bf_nbd_link *link);
short bf_nbd_link_events(const struct bf_nbd_link *link); /* for poll() */
/* After poll().  -1: the connection is lost, *err says why. */
int bf_nbd_link_drive(struct bf_nbd_link *link, short revents, struct bf_error *err);

/* For bf_nbd_map(): send or receive all of it, until the deadline.  get() reads ahead, so nothing
 * else may receive on this link. */
int bf_nbd_link_put(struct bf_nbd_link *link, const void *data, size_t length,
                    struct bf_deadline deadline, struct bf_error *err);
int bf_nbd_link_get(struct bf_nbd_link *link, void *data, size_t length,
                    struct bf_deadline deadline, struct bf_error *err);

/* An errno for the error number of an answer. */
int bf_nbd_errno(uint32_t error);
