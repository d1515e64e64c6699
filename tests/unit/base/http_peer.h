/* SPDX-License-Identifier: Apache-2.0 */
/* A peer for the HTTP client's tests: a thread that answers each connection by
 * its request's path, rightly or not.  One connection at a time. */
#pragma once

#include <stdint.h>

struct http_peer; /* opaque */

/* `unix_path` NULL: on a free port of 127.0.0.1. */
struct http_peer *http_peer_start(const char *unix_path);
uint16_t http_peer_port(const struct http_peer *peer);
/* The last request, head and body; valid until the next one.  Ask after its answer came. */
const char *http_peer_request(struct http_peer *peer);
unsigned http_peer_connections(struct http_peer *peer);
void http_peer_stop(struct http_peer *peer);
