/* SPDX-License-Identifier: Apache-2.0 */
/* Keep GnuTLS from choosing a slow cipher.
 *
 * With a pre-shared key TLS 1.3 rules AES-256-GCM out (the key is tied to SHA-256), and the next in
 * GnuTLS' order is ChaCha20-Poly1305, which GnuTLS 3.7 does at a tenth of the speed of AES-128-GCM.
 * libnbd offers no way to set the order, and GnuTLS reads its settings before main(): so the
 * program starts itself again with GNUTLS_SYSTEM_PRIORITY_FILE set.
 *
 * What the administrator has set (that variable, or /etc/gnutls/config) is left alone.
 */
#pragma once

/* Returns if nothing has to be done or it cannot be done. */
void bf_tls_priority_apply(char *argv[]);
