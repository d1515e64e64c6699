/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP client on libcurl: one place for TLS, deadlines, limits and cancel.
 *
 * TLS is verified by CA (system's or given) and host name, or pinned by the
 * SHA-256 of the certificate's public key; there is no way to switch both off.
 * Redirects are not followed, proxies of the environment not used.  Bodies are
 * limited.  No retry is made here: the caller knows what is safe to repeat.
 *
 * Errors: BF_E_PLATFORM_UNREACHABLE (no connection, or it broke), BF_E_DEADLINE,
 * BF_E_CANCELLED, BF_E_TLS, BF_E_PROTOCOL (not HTTP), BF_E_TOO_LARGE (the answer),
 * BF_E_BAD_INPUT (URL, header, fingerprint; also a CA or pin for a URL without TLS).
 * Messages hold no query and no user of the URL.  An HTTP status is no error here.
 *
 * Threads: one thread at a time per client; cancel_fd may be signalled from any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/secret.h"

struct bf_http;

struct bf_http_conf {
    const char *unix_socket; /* NULL, or talk over this UNIX socket */
    const char *ca_file;     /* NULL: the system's CAs */
    const char *pin_sha256; /* NULL, or base64 of the public key's SHA-256: replaces the CA check */
    const char *user_agent;
    uint64_t connect_timeout_ms; /* 0: 10 s */
    size_t max_body;             /* 0: 64 MiB */
    int cancel_fd;               /* readable = cancel; -1: none */
};

int bf_http_new(const struct bf_http_conf *conf, struct bf_http **ret_http, struct bf_error *err);
void bf_http_free(struct bf_http *http);
/* Another cancel descriptor from now on (-1: none), for an owner whose own one comes or goes. */
void bf_http_set_cancel_fd(struct bf_http *http, int cancel_fd);

struct bf_http_request {
    const char *method; /* "GET" ... */
    const char *url;
    const char *const *headers; /* "Name: value", NULL-terminated; NULL: none */
    const char *body;           /* NULL: none */
    size_t body_length;
    /* Never sent twice: on a connection kept from an earlier request that turns out to be dead,
     * libcurl sends it again by itself, though the peer may have carried it out. */
    bool once;
    unsigned stall_s;    /* BF_E_DEADLINE after so many seconds without a byte; 0: none */
    uint64_t timeout_ms; /* whole request; 0: 60 s; UINT64_MAX: no limit (event streams) */
    /* NULL: body collected into the response.  Else called per piece of a 2xx answer (any other
     * body is collected all the same); a non-zero return stops, which is no error. */
    int (*on_data)(const char *data, size_t length, void *user);
    void *user;
};

struct bf_http_response {
    int status;
    char *body; /* NUL-terminated */
    size_t body_length;
    char *headers; /* raw header lines */
};

int bf_http_perform(struct bf_http *http, const struct bf_http_request *request,
                    struct bf_http_response *ret_response, struct bf_error *err);
/* Value of a header (first match, case ignored), caller frees; NULL: absent. */
char *bf_http_header(const struct bf_http_response *response, const char *name);
void bf_http_response_done(struct bf_http_response *response);
