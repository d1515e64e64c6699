/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to an NBD server: made, waited for and ended with deadlines.
 *
 * libnbd's synchronous calls wait for ever; these wait at most `deadline_ms` and heed `cancel_fd`.
 * A handle belongs to one thread.
 */
#pragma once

#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct bf_nbd_params {
    const char *uri;
    bool tls; /* the URI demands it */
    const char *tls_certificates;
    const char *tls_psk;
    const char *context; /* NULL or the one meta context to negotiate */
    bool simple_replies; /* cheaper for reads; no meta context then */
    bool *cipher_told;   /* NULL, or whether the cipher was said before */
    uint64_t deadline_ms;
    int cancel_fd;
};

/* Begin to connect; the caller drives the handle until it is ready or dead. */
int bf_nbd_begin(const struct bf_nbd_params *params, struct nbd_handle **ret_handle,
                 struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* Begin and wait until it is ready. */
int bf_nbd_connect(const struct bf_nbd_params *params, struct nbd_handle **ret_handle,
                   struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* Drive the handle until *until is true. */
int bf_nbd_wait(struct nbd_handle *handle, const struct bf_nbd_params *params, const bool *until,
                struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* Why libnbd's last call on this thread failed, as an error of the catalogue. */
int bf_nbd_fail(const struct bf_nbd_params *params, const char *doing, struct bf_error *err);
/* Say goodbye (at most 2 s) and free.  NULL is fine.  With requests under way the server just sees
 * the connection close, which kills an nbdkit 1.32: finish them first where possible. */
void bf_nbd_end(struct nbd_handle *handle);
