/* SPDX-License-Identifier: Apache-2.0 */
/* TLS on a socket that does not block: one session of GnuTLS.
 *
 * A server is verified by the CA in `certificates` (ca-cert.pem; ca-crl.pem if it is there) and by
 * its name, or both sides prove that they know a pre-shared key; never neither.  With
 * client-cert.pem and client-key.pem the client proves who it is, too.
 *
 * Ciphers: with a pre-shared key TLS 1.3 rules AES-256-GCM out (the key is tied to SHA-256), and
 * the next in GnuTLS' order is ChaCha20-Poly1305, which GnuTLS 3.7 does at a tenth of the speed of
 * AES-128-GCM.  So ChaCha20 is not offered, unless the administrator has a word of his own on
 * ciphers (GNUTLS_SYSTEM_PRIORITY_FILE or /etc/gnutls/config), which then holds alone.
 *
 * Threads: that of the connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct bf_nbd_tls; /* opaque */

struct bf_nbd_tls_params {
    const char *certificates; /* NULL or a directory */
    const char *psk_file;     /* NULL or a file of lines USER:HEX; goes before certificates */
    const char *user;         /* whose key; NULL: the user's that runs the program */
    const char *host;         /* name in the server's certificate; NULL with a key only */
};

int bf_nbd_tls_new(const struct bf_nbd_tls_params *params, int fd, struct bf_nbd_tls **ret_tls,
                   struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* Does not close the descriptor.  NULL is fine. */
void bf_nbd_tls_free(struct bf_nbd_tls *tls);

/* 1: done; 0: wait for bf_nbd_tls_wants_write() or for input, then again; -1: BF_E_TLS. */
int bf_nbd_tls_handshake(struct bf_nbd_tls *tls, struct bf_error *err);
bool bf_nbd_tls_wants_write(const struct bf_nbd_tls *tls);
/* "AES-128-GCM (TLS1.3)" */
void bf_nbd_tls_describe(const struct bf_nbd_tls *tls, char *ret_text, size_t size);

/* Bytes; 0: not now; -1 with *err, also when the server closed.  After a receive that filled its
 * buffer there may be more without the socket being readable: receive until 0.  A send that
 * returned 0 must be repeated with the same data. */
ssize_t bf_nbd_tls_receive(struct bf_nbd_tls *tls, void *data, size_t length, struct bf_error *err);
ssize_t bf_nbd_tls_send(struct bf_nbd_tls *tls, const void *data, size_t length,
                        struct bf_error *err);
/* Tell the server that no more comes; does not wait. */
void bf_nbd_tls_bye(struct bf_nbd_tls *tls);
