/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/nbd_link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#define GOODBYE_MS 2000

int bf_nbd_fail(const struct bf_nbd_params *params, const char *doing, struct bf_error *err)
{
    const char *text = nbd_get_error();
    int number = nbd_get_errno();
    enum bf_error_code code = BF_E_ENDPOINT_OPEN;

    if (!text)
        text = "unknown reason";
    /* libnbd has no other sign of a handshake that TLS refused. */
    if (params->tls && (strstr(text, "gnutls") || strstr(text, "TLS") || strstr(text, "tls")))
        code = BF_E_TLS;
    else if (number == EINVAL && strstr(text, "URI"))
        code = BF_E_URI;
    /* A network error has an errno; a reply that libnbd does not accept has none. */
    else if (number == EPROTO || (!number && (strstr(text, "invalid") || strstr(text, " bug") ||
                                              strstr(text, "unexpected structured"))))
        code = BF_E_PROTOCOL;
    return bf_fail(err, code, 0, "%s: %s: %s", params->uri, doing, text);
}

struct cipher_log {
    bool *told;
    char *uri;
};

static void free_cipher_log(void *user)
{
    struct cipher_log *log = user;

    free(log->uri);
    free(log);
}

/* The handshake's cipher is only in libnbd's debug messages.  The first is always said. */
static int log_cipher(void *user, const char *context, const char *message)
{
    const struct cipher_log *log = user;
    bool again = !log->told || *log->told;

    (void)context;
    if (!strstr(message, "connection is using TLS"))
        return 0;
    if (again)
        bf_log_debug("%s: %s", log->uri, message);
    else
        bf_log_notice("%s: %s", log->uri, message);
    if (log->told)
        *log->told = true;
    return 0;
}

static int configure(struct nbd_handle *h, const struct bf_nbd_params *params)
{
    if (nbd_set_uri_allow_local_file(h, true) || nbd_set_pread_initialize(h, false) ||
        nbd_set_full_info(h, false))
        return -1;
    if (params->tls_certificates && nbd_set_tls_certificates(h, params->tls_certificates))
        return -1;
    if (params->tls_psk && nbd_set_tls_psk_file(h, params->tls_psk))
        return -1;
    if (params->simple_replies && nbd_set_request_structured_replies(h, false))
        return -1;
    if (params->context && nbd_add_meta_context(h, params->context))
        return -1;
    if (params->tls) {
        struct cipher_log *log = bf_xcalloc(1, sizeof(*log));
        log->told = params->cipher_told;
        log->uri = bf_xstrdup(params->uri);
        nbd_debug_callback callback = {
            .callback = log_cipher, .user_data = log, .free = free_cipher_log};
        if (nbd_set_debug_callback(h, callback) || nbd_set_debug(h, true))
            return -1;
    }
    return 0;
}

int bf_nbd_begin(const struct bf_nbd_params *params, struct nbd_handle **ret_handle,
                 struct bf_error *err)
{
    struct nbd_handle *h = nbd_create();

    if (!h)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "no NBD handle");
    if (configure(h, params) || nbd_aio_connect_uri(h, params->uri)) {
        int rc = bf_nbd_fail(params, "cannot connect", err);
        nbd_close(h);
        return rc;
    }
    *ret_handle = h;
    return 0;
}

/* One poll of the handle; -1 with *err. */
static int step(struct nbd_handle *h, const struct bf_nbd_params *params,
                struct bf_deadline deadline, struct bf_error *err)
{
    unsigned direction = nbd_aio_get_direction(h);
    struct pollfd fds[2] = {{.fd = nbd_aio_get_fd(h)}, {.fd = params->cancel_fd, .events = POLLIN}};

    if (direction & LIBNBD_AIO_DIRECTION_READ)
        fds[0].events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        fds[0].events |= POLLOUT;
    int n = poll(fds, 2, bf_deadline_left(deadline));
    if (n < 0 && errno != EINTR)
        return bf_fail(err, BF_E_SYSTEM, errno, "poll");
    if (n > 0 && fds[1].revents)
        return bf_fail(err, BF_E_CANCELLED, 0, "cancelled");
    if (bf_deadline_passed(deadline))
        return bf_fail(err, BF_E_DEADLINE, 0, "%s: no answer in %llu s", params->uri,
                       (unsigned long long)params->deadline_ms / 1000);
    int rc = 0;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) && (fds[0].revents & (POLLIN | POLLHUP | POLLERR)))
        rc = nbd_aio_notify_read(h);
    else if (fds[0].revents & (POLLOUT | POLLHUP | POLLERR))
        rc = nbd_aio_notify_write(h);
    return rc ? bf_nbd_fail(params, "connection failed", err) : 0;
}

int bf_nbd_wait(struct nbd_handle *h, const struct bf_nbd_params *params, const bool *until,
                struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(params->deadline_ms);

    while (!*until) {
        if (nbd_aio_is_dead(h) || nbd_aio_is_closed(h))
            return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "%s: the server closed the connection",
                           params->uri);
        if (step(h, params, deadline, err))
            return -1;
    }
    return 0;
}

int bf_nbd_connect(const struct bf_nbd_params *params, struct nbd_handle **ret_handle,
                   struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(params->deadline_ms);
    struct nbd_handle *h;

    if (bf_nbd_begin(params, &h, err))
        return -1;
    while (!nbd_aio_is_ready(h)) {
        int rc = 0;
        if (nbd_aio_is_dead(h) || nbd_aio_is_closed(h))
            rc = bf_nbd_fail(params, "cannot connect", err);
        if (rc || step(h, params, deadline, err)) {
            nbd_close(h);
            return -1;
        }
    }
    if (params->tls)
        nbd_set_debug(h, false);
    *ret_handle = h;
    return 0;
}

void bf_nbd_end(struct nbd_handle *h)
{
    if (!h)
        return;
    if (nbd_aio_is_ready(h) > 0 && nbd_aio_disconnect(h, 0) == 0) {
        struct bf_nbd_params params = {.uri = "", .deadline_ms = GOODBYE_MS, .cancel_fd = -1};
        struct bf_deadline deadline = bf_deadline_in(GOODBYE_MS);
        bf_auto_error ignored = BF_ERROR_INIT;
        while (!nbd_aio_is_dead(h) && !nbd_aio_is_closed(h) &&
               !step(h, &params, deadline, &ignored))
            ;
    }
    nbd_close(h);
}
