/* SPDX-License-Identifier: Apache-2.0 */
/* GnuTLS, loaded when the first nbds connection or SHA-256 needs it.
 *
 * Linked in it would cost every copy a dozen libraries: 2 ms at its start and 2 MiB.  The types
 * come from GnuTLS' own headers, so a function that changes is seen by the compiler.
 *
 * Threads: bf_gnutls_load() by the loop's thread only; afterwards bf_gnutls is constant.
 */
#pragma once

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "base/error.h"

/* clang-format off */
#define BF_GNUTLS_FUNCTIONS(X) \
    X(gnutls_bye) \
    X(gnutls_certificate_allocate_credentials) \
    X(gnutls_certificate_free_credentials) \
    X(gnutls_certificate_set_x509_crl_file) \
    X(gnutls_certificate_set_x509_key_file) \
    X(gnutls_certificate_set_x509_trust_file) \
    X(gnutls_certificate_verification_status_print) \
    X(gnutls_cipher_get) \
    X(gnutls_cipher_get_name) \
    X(gnutls_credentials_set) \
    X(gnutls_deinit) \
    X(gnutls_error_is_fatal) \
    X(gnutls_handshake) \
    X(gnutls_hash) \
    X(gnutls_hash_deinit) \
    X(gnutls_hash_init) \
    X(gnutls_init) \
    X(gnutls_priority_set_direct) \
    X(gnutls_protocol_get_name) \
    X(gnutls_protocol_get_version) \
    X(gnutls_psk_allocate_client_credentials) \
    X(gnutls_psk_free_client_credentials) \
    X(gnutls_psk_set_client_credentials) \
    X(gnutls_record_get_direction) \
    X(gnutls_record_recv) \
    X(gnutls_record_send) \
    X(gnutls_server_name_set) \
    X(gnutls_session_get_verify_cert_status) \
    X(gnutls_session_set_verify_cert) \
    X(gnutls_strerror) \
    X(gnutls_transport_set_errno) \
    X(gnutls_transport_set_ptr) \
    X(gnutls_transport_set_pull_function) \
    X(gnutls_transport_set_pull_timeout_function) \
    X(gnutls_transport_set_vec_push_function)
/* clang-format on */

struct bf_gnutls {
#define X(name) __typeof__(name) *name;
    BF_GNUTLS_FUNCTIONS(X)
#undef X
};

extern struct bf_gnutls bf_gnutls;

/* Again: nothing.  Not installed: BF_E_CHILD_MISSING with the package's name. */
int bf_gnutls_load(struct bf_error *err) __attribute__((nonnull, warn_unused_result));
