/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake with an NBD server, step by step, without waiting.
 *
 * Fixed newstyle negotiation with NBD_OPT_GO, which every server since 2017 has; with
 * NBD_OPT_STARTTLS before all else where TLS is demanded.  Every answer is read to its last byte
 * and not beyond, so nothing that was sent in the clear can be taken for what came by TLS. (NBD
 * protocol, doc/proto.md: "Newstyle negotiation", "Option types", "Option reply types".)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "nbd/nbd_stream.h"

struct bf_nbd_params {
    const struct bf_uri *uri;
    struct bf_nbd_names *names; /* of its host; NULL if the URI names a socket */
    const char *tls_certificates;
    const char *tls_psk;
    const char *context; /* NULL or the one meta context to negotiate; NULL: simple replies */
    bool *cipher_told;   /* whether the cipher was said before */
    uint64_t deadline_ms;
    int cancel_fd;
};

/* What the server says of the export. */
struct bf_nbd_export {
    uint64_t size;
    uint16_t flags;                /* BF_NBD_... */
    uint32_t block_min, block_max; /* 0: not said */
    bool has_context;
    uint32_t context_id;
};

#define BF_NBD_READ_ONLY 0x02u
#define BF_NBD_FLUSH 0x04u
#define BF_NBD_WRITE_ZEROES 0x40u
#define BF_NBD_MULTI_CONN 0x100u

struct bf_nbd_hello; /* opaque */

struct bf_nbd_hello *bf_nbd_hello_new(const struct bf_nbd_params *params);
void bf_nbd_hello_free(struct bf_nbd_hello *hello);
/* 1: the export is open and the stream ready for requests; 0: poll for its events, then again;
 * -1: BF_E_ENDPOINT_OPEN, BF_E_TLS or BF_E_PROTOCOL. */
int bf_nbd_hello_step(struct bf_nbd_hello *hello, struct bf_nbd_stream *stream,
                      struct bf_nbd_export *export, struct bf_error *err);
short bf_nbd_hello_events(const struct bf_nbd_hello *hello, const struct bf_nbd_stream *stream);
