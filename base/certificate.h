/* SPDX-License-Identifier: Apache-2.0 */
/* A TLS server's certificate, looked at before it is trusted.
 *
 * Shakes hands and sends nothing: to show an admin what to compare, and for peers that
 * identify a server by a hash of their own.
 *
 * Threads: any; nothing is shared.  Blocks up to the timeout.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct bf_certificate {
    char *fingerprint; /* base64 of the public key's SHA-256: what bf_http_conf.pin_sha256 takes */
    char *thumbprint;  /* SHA-1 of the certificate as "AA:BB:..." */
    char *subject;     /* one line */
};

/* `verify`: by the CA file (NULL: the system's CAs) and the host's name, and BF_E_TLS if it does
 * not hold.  No connection: BF_E_PLATFORM_UNREACHABLE. */
int bf_certificate_fetch(const char *url, const char *ca_file, bool verify, uint64_t timeout_ms,
                         struct bf_certificate *ret_certificate, struct bf_error *err);
void bf_certificate_done(struct bf_certificate *certificate);
#define bf_auto_certificate __attribute__((cleanup(bf_certificate_done))) struct bf_certificate
