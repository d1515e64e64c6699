/* SPDX-License-Identifier: Apache-2.0 */
/* NBD exports: several connections, requests spread over them, lost ones replaced.
 *
 * A connection that dies, or on which an answer is overdue, is closed, its requests go back to the
 * queue and it is made again after a pause that grows from 0.1 to 5 s.  Trouble begins with a lost
 * connection and ends with the next answer; when it has lasted `reconnect_ms`, or when the
 * server broke the protocol several times in a row, the endpoint fails.
 *
 * Closing a libnbd handle ends its use of the requests' buffers, so starting a request again on
 * another connection cannot race with a late answer.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "nbd/endpoint.h"
#include "nbd/nbd_link.h"
#include "nbd/nbd_map.h"

#define CONNECTIONS_MAX 16
#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 5000
#define BREACHES_MAX 3
#define MAP_TRIES 4
#define MAP_PAUSE_MS 250 /* doubled each time */

enum state { WAITING, CONNECTING, READY };

struct connection {
    enum state state;
    struct nbd_handle *handle; /* NULL in WAITING */
    uint64_t since_ms;         /* of CONNECTING; in WAITING: when to try again */
    uint64_t pause_ms;         /* before the next try */
    struct bf_request *first;  /* under way, oldest first */
    unsigned count;
    int poll_index; /* into this turn's fds; -1: not polled */
};

struct nbd_endpoint {
    struct bf_endpoint base;
    struct bf_nbd_params params;
    struct connection connections[CONNECTIONS_MAX]; /* base.connections of them */
    unsigned depth;                                 /* requests per connection */
    uint64_t trouble_since_ms;                      /* 0: none */
    unsigned breaches;                              /* of the protocol, since the last answer */
    struct bf_error last_loss;
    struct nbd_handle *map; /* second handle, for base:allocation; NULL: not made yet */
    bool can_flush;
    bool cipher_told;
};

static struct nbd_endpoint *self(struct bf_endpoint *endpoint)
{
    return (struct nbd_endpoint *)(void *)endpoint;
}

static void unlink_request(struct connection *c, struct bf_request *request)
{
    struct bf_request **at = &c->first;

    while (*at != request)
        at = &(*at)->next;
    *at = request->next;
    c->count--;
}

static void link_last(struct connection *c, struct bf_request *request)
{
    struct bf_request **at = &c->first;

    while (*at)
        at = &(*at)->next;
    request->next = NULL;
    *at = request;
    c->count++;
}

/* Take what was answered without an error off the connection; the rest is started again. */
static void give_back_requests(struct nbd_endpoint *nbd, struct connection *c)
{
    while (c->first) {
        struct bf_request *request = c->first;
        unlink_request(c, request);
        if (request->answered && !request->answer)
            bf_endpoint_finish(&nbd->base, request, 0);
        else
            bf_endpoint_restart(&nbd->base, request);
    }
}

/* The connection is gone or given up; *why is kept for the final message. */
static void lose(struct nbd_endpoint *nbd, struct connection *c, uint64_t now_ms,
                 struct bf_error *why)
{
    bool was_ready = c->state == READY;

    bf_log_debug("connection %td of %s lost: %s", c - nbd->connections, nbd->base.name,
                 why->message ? why->message : "closed");
    if (why->code == BF_E_PROTOCOL)
        nbd->breaches++;
    bf_error_clear(&nbd->last_loss);
    bf_error_move(&nbd->last_loss, why);
    if (!nbd->trouble_since_ms)
        nbd->trouble_since_ms = now_ms;
    nbd_close(c->handle);
    c->handle = NULL;
    give_back_requests(nbd, c);
    if (was_ready && nbd->base.options.write)
        nbd->base.resets++;
    c->state = WAITING;
    c->since_ms = now_ms + c->pause_ms;
    c->pause_ms = c->pause_ms * 2 < PAUSE_MAX_MS ? c->pause_ms * 2 : PAUSE_MAX_MS;
}

static void lose_by_libnbd(struct nbd_endpoint *nbd, struct connection *c, uint64_t now_ms)
{
    bf_auto_error why = BF_ERROR_INIT;

    bf_nbd_fail(&nbd->params, "connection lost", &why);
    lose(nbd, c, now_ms, &why);
}

/* Called by libnbd, inside nbd_aio_*(): nothing of the handle may be used here. */
static int on_answer(void *user, int *error)
{
    struct bf_request *request = user;

    request->answered = true;
    request->answer = *error;
    return 1;
}

static int64_t issue(struct nbd_handle *h, struct bf_request *request)
{
    nbd_completion_callback callback = {.callback = on_answer, .user_data = request};

    switch (request->kind) {
    case BF_REQUEST_READ:
        return nbd_aio_pread(h, request->buffer, request->length, request->offset, callback, 0);
    case BF_REQUEST_WRITE:
        return nbd_aio_pwrite(h, request->buffer, request->length, request->offset, callback, 0);
    case BF_REQUEST_ZERO:
        return nbd_aio_zero(h, request->length, request->offset, callback, 0);
    case BF_REQUEST_FLUSH:
        return nbd_aio_flush(h, callback, 0);
    }
    return -1;
}

static bool nbd_start(struct bf_endpoint *endpoint, struct bf_request *request)
{
    struct nbd_endpoint *nbd = self(endpoint);
    struct connection *best = NULL;

    if (request->kind == BF_REQUEST_FLUSH && !nbd->can_flush) {
        bf_endpoint_finish(endpoint, request, 0);
        return true;
    }
    for (unsigned i = 0; i < endpoint->connections; i++) {
        struct connection *c = &nbd->connections[i];
        if (c->state == READY && c->count < nbd->depth && (!best || c->count < best->count))
            best = c;
    }
    if (!best)
        return false;
    request->answered = false;
    request->answer = 0;
    request->issued_ms = bf_now_ms();
    if (issue(best->handle, request) < 0) {
        lose_by_libnbd(nbd, best, request->issued_ms);
        return false;
    }
    link_last(best, request);
    return true;
}

/* Take in the answers that libnbd has for this connection. */
static void collect(struct nbd_endpoint *nbd, struct connection *c)
{
    for (struct bf_request *request = c->first, *next; request; request = next) {
        next = request->next;
        if (!request->answered)
            continue;
        unlink_request(c, request);
        /* ESHUTDOWN: the server is going; the connection will be lost and made again. */
        if (request->answer == ESHUTDOWN) {
            bf_endpoint_restart(&nbd->base, request);
            continue;
        }
        nbd->trouble_since_ms = 0;
        nbd->breaches = 0;
        c->pause_ms = PAUSE_FIRST_MS;
        bf_endpoint_finish(&nbd->base, request, request->answer);
    }
}

static unsigned nbd_prepare(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                            uint64_t now_ms, uint64_t *wake_ms)
{
    struct nbd_endpoint *nbd = self(endpoint);
    unsigned used = 0;

    for (unsigned i = 0; i < endpoint->connections; i++) {
        struct connection *c = &nbd->connections[i];
        uint64_t wake = UINT64_MAX;
        c->poll_index = -1;
        if (c->state == WAITING)
            wake = c->since_ms;
        else if (c->state == CONNECTING)
            wake = c->since_ms + endpoint->options.deadline_ms;
        else if (c->first)
            wake = c->first->issued_ms + endpoint->options.deadline_ms;
        if (wake < *wake_ms)
            *wake_ms = wake > now_ms ? wake : now_ms;
        if (c->state == WAITING || used == max)
            continue;
        unsigned direction = nbd_aio_get_direction(c->handle);
        short events = 0;
        if (direction & LIBNBD_AIO_DIRECTION_READ)
            events |= POLLIN;
        if (direction & LIBNBD_AIO_DIRECTION_WRITE)
            events |= POLLOUT;
        fds[used] = (struct pollfd){.fd = nbd_aio_get_fd(c->handle), .events = events};
        c->poll_index = (int)used++;
    }
    return used;
}

static void reconnect(struct nbd_endpoint *nbd, struct connection *c, uint64_t now_ms)
{
    bf_auto_error why = BF_ERROR_INIT;

    c->state = CONNECTING;
    c->since_ms = now_ms;
    if (bf_nbd_begin(&nbd->params, &c->handle, &why))
        lose(nbd, c, now_ms, &why);
}

/* The server is back.  It must still be the same disk. */
static int became_ready(struct nbd_endpoint *nbd, struct connection *c, struct bf_error *err)
{
    int64_t size = nbd_get_size(c->handle);

    if (size < 0 || (uint64_t)size != nbd->base.size)
        return bf_fail(err, BF_E_ENDPOINT_SIZE, 0,
                       "%s: after a reconnect the export has %" PRId64
                       " bytes, before it had %" PRIu64,
                       nbd->base.name, size, nbd->base.size);
    if (nbd->base.options.write && nbd_is_read_only(c->handle) > 0)
        return bf_fail(err, BF_E_ENDPOINT_READONLY, 0, "%s: after a reconnect it is read-only",
                       nbd->base.name);
    if (nbd->params.tls)
        nbd_set_debug(c->handle, false);
    c->state = READY;
    if (bf_endpoint_idle(&nbd->base))
        nbd->trouble_since_ms = 0;
    bf_log_debug("connection %td of %s is back", c - nbd->connections, nbd->base.name);
    return 0;
}

/* Returns false if the connection was lost. */
static bool drive(struct nbd_endpoint *nbd, struct connection *c, short revents, uint64_t now_ms)
{
    unsigned direction = nbd_aio_get_direction(c->handle);
    int rc = 0;

    if ((direction & LIBNBD_AIO_DIRECTION_READ) && (revents & (POLLIN | POLLHUP | POLLERR)))
        rc = nbd_aio_notify_read(c->handle);
    else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && (revents & (POLLOUT | POLLHUP | POLLERR)))
        rc = nbd_aio_notify_write(c->handle);
    /* A dead handle's answers may be the aborted ones: lose() sorts them. */
    if (rc || nbd_aio_is_dead(c->handle) || nbd_aio_is_closed(c->handle)) {
        lose_by_libnbd(nbd, c, now_ms);
        return false;
    }
    collect(nbd, c);
    return true;
}

static void check_overdue(struct nbd_endpoint *nbd, struct connection *c, uint64_t now_ms)
{
    uint64_t allowed = nbd->base.options.deadline_ms;
    bf_auto_error why = BF_ERROR_INIT;

    if (c->state == CONNECTING && now_ms >= c->since_ms + allowed)
        bf_fail(&why, BF_E_DEADLINE, 0, "%s: no connection in %" PRIu64 " s", nbd->base.name,
                allowed / 1000);
    else if (c->state == READY && c->first && now_ms >= c->first->issued_ms + allowed)
        bf_fail(&why, BF_E_DEADLINE, 0,
                "%s: no answer in %" PRIu64 " s to a request of %" PRIu64 " bytes at %" PRIu64,
                nbd->base.name, allowed / 1000, c->first->length, c->first->offset);
    if (bf_error_is_set(&why))
        lose(nbd, c, now_ms, &why);
}

static int handle_connection(struct nbd_endpoint *nbd, struct connection *c,
                             const struct pollfd *fds, uint64_t now_ms, struct bf_error *err)
{
    short revents = c->poll_index >= 0 ? fds[c->poll_index].revents : 0;

    if (c->state == WAITING) {
        if (now_ms >= c->since_ms)
            reconnect(nbd, c, now_ms);
        return 0;
    }
    c->poll_index = -1;
    if (revents && !drive(nbd, c, revents, now_ms))
        return 0;
    if (c->state == CONNECTING && nbd_aio_is_ready(c->handle) > 0)
        return became_ready(nbd, c, err);
    check_overdue(nbd, c, now_ms);
    return 0;
}

static int check_trouble(const struct nbd_endpoint *nbd, uint64_t now_ms, struct bf_error *err)
{
    uint64_t lasted = nbd->trouble_since_ms ? now_ms - nbd->trouble_since_ms : 0;

    if (!nbd->trouble_since_ms ||
        (lasted < nbd->base.options.reconnect_ms && nbd->breaches < BREACHES_MAX))
        return 0;
    enum bf_error_code code = nbd->last_loss.code;
    if (code != BF_E_PROTOCOL && code != BF_E_TLS && code != BF_E_DEADLINE)
        code = BF_E_ENDPOINT_OPEN;
    return bf_fail(err, code, 0, "gave up after %" PRIu64 " s of reconnecting: %s", lasted / 1000,
                   nbd->last_loss.message ? nbd->last_loss.message : nbd->base.name);
}

static int nbd_handle(struct bf_endpoint *endpoint, const struct pollfd *fds, unsigned count,
                      uint64_t now_ms, struct bf_error *err)
{
    struct nbd_endpoint *nbd = self(endpoint);

    (void)count;
    for (unsigned i = 0; i < endpoint->connections; i++)
        if (handle_connection(nbd, &nbd->connections[i], fds, now_ms, err))
            return -1;
    return check_trouble(nbd, now_ms, err);
}

static void nbd_set_depth(struct bf_endpoint *endpoint, unsigned requests)
{
    self(endpoint)->depth = requests;
}

static void nbd_endpoint_close(struct bf_endpoint *endpoint)
{
    struct nbd_endpoint *nbd = self(endpoint);

    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        if (nbd->connections[i].handle)
            bf_nbd_end(nbd->connections[i].handle);
    bf_nbd_end(nbd->map);
    bf_error_clear(&nbd->last_loss);
    free(nbd);
}

/* The map's handle is made when first asked for: many copies never need it. */
static int map_handle(struct nbd_endpoint *nbd, const char *context, struct nbd_handle **ret_handle,
                      struct bf_error *err)
{
    struct bf_nbd_params params = nbd->params;
    struct nbd_handle *h;

    params.simple_replies = false;
    params.context = context;
    if (bf_nbd_connect(&params, &h, err))
        return -1;
    int64_t size = nbd_get_size(h);
    if (size < 0 || (uint64_t)size != nbd->base.size) {
        bf_nbd_end(h);
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: the export's size changes between connections",
                       nbd->base.name);
    }
    *ret_handle = h;
    return 0;
}

/* One try to get a map over *handle, which is made if it is NULL. */
static int try_map(struct nbd_endpoint *nbd, struct nbd_handle **handle, const char *context,
                   uint64_t offset, uint64_t length, struct bf_extent_list *list,
                   struct bf_error *err)
{
    if (!*handle && map_handle(nbd, context, handle, err))
        return -1;
    if (nbd_can_meta_context(*handle, context) > 0)
        return bf_nbd_map(handle, &nbd->params, context, offset, length, list, err);
    if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0)
        return bf_extent_list_add(list, offset, length, BF_EXTENT_DATA, err);
    return bf_fail(err, BF_E_NO_BITMAP, 0, "%s: no meta context \"%s\"", nbd->base.name, context);
}

/* Wait, unless cancelled. */
static bool pause_before_retry(const struct nbd_endpoint *nbd, unsigned tries)
{
    struct pollfd cancel = {.fd = nbd->params.cancel_fd, .events = POLLIN};

    return poll(&cancel, 1, MAP_PAUSE_MS << tries) == 0;
}

/* A server that is just being restarted is asked again. */
static int get_map(struct nbd_endpoint *nbd, struct nbd_handle **handle, const char *context,
                   uint64_t offset, uint64_t length, struct bf_extent_list *list,
                   struct bf_error *err)
{
    struct bf_extent_list fresh = {0};
    int rc;

    for (unsigned tries = 0;; tries++) {
        rc = try_map(nbd, handle, context, offset, length, &fresh, err);
        bool lost = rc && (err->code == BF_E_ENDPOINT_OPEN || err->code == BF_E_DEADLINE);
        if (!lost || tries == MAP_TRIES || !pause_before_retry(nbd, tries))
            break;
        bf_log_debug("%s: asking for the map again: %s", nbd->base.name, err->message);
        bf_error_clear(err);
        bf_extent_list_done(&fresh);
    }
    for (size_t i = 0; !rc && i < fresh.count; i++)
        rc = bf_extent_list_add(list, fresh.items[i].offset, fresh.items[i].length,
                                fresh.items[i].type, err);
    bf_extent_list_done(&fresh);
    return rc;
}

static int nbd_allocation(struct bf_endpoint *endpoint, uint64_t offset, uint64_t length,
                          struct bf_extent_list *list, struct bf_error *err)
{
    struct nbd_endpoint *nbd = self(endpoint);

    return get_map(nbd, &nbd->map, LIBNBD_CONTEXT_BASE_ALLOCATION, offset, length, list, err);
}

static int nbd_dirty(struct bf_endpoint *endpoint, const char *bitmap, struct bf_extent_list *list,
                     struct bf_error *err)
{
    struct nbd_endpoint *nbd = self(endpoint);
    bf_auto_free char *context = bf_xasprintf("qemu:dirty-bitmap:%s", bitmap);
    struct nbd_handle *h = NULL;

    /* An empty disk has nothing to ask about. */
    int rc = endpoint->size ? get_map(nbd, &h, context, 0, endpoint->size, list, err) : 0;
    bf_nbd_end(h);
    return rc;
}

static const struct bf_endpoint_ops nbd_ops = {
    .name = "nbd",
    .close = nbd_endpoint_close,
    .start = nbd_start,
    .prepare = nbd_prepare,
    .handle = nbd_handle,
    .set_depth = nbd_set_depth,
    .allocation = nbd_allocation,
    .dirty = nbd_dirty,
};

/* What the first connection tells about the export. */
static int learn(struct nbd_endpoint *nbd, struct nbd_handle *h, struct bf_error *err)
{
    int64_t size = nbd_get_size(h);
    int64_t block_min = nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM);
    int64_t block_max = nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM);

    if (size < 0 || block_min < 0 || block_max < 0)
        return bf_nbd_fail(&nbd->params, "no size", err);
    if ((block_min & (block_min - 1)) || block_min > 65536 || (block_max && block_max < 65536))
        return bf_fail(err, BF_E_PROTOCOL, 0,
                       "%s: block sizes of %" PRId64 " to %" PRId64 " bytes cannot be served",
                       nbd->base.name, block_min, block_max);
    nbd->base.size = (uint64_t)size;
    nbd->base.block_min = block_min ? (uint64_t)block_min : 1;
    nbd->base.block_max = (uint64_t)block_max;
    nbd->base.can_zero = nbd_can_zero(h) > 0;
    nbd->base.volatile_cache = true;
    nbd->can_flush = nbd_can_flush(h) > 0;
    if (nbd->base.options.write && nbd_is_read_only(h) > 0)
        return bf_fail(err, BF_E_ENDPOINT_READONLY, 0, "%s: the export is read-only",
                       nbd->base.name);
    if (nbd->base.options.write && !nbd->can_flush)
        bf_log_warning("%s: the server has no flush: what is written may be lost with it",
                       nbd->base.name);
    /* Without multi-conn a flush on one connection says nothing about writes on another. */
    if (nbd_can_multi_conn(h) <= 0)
        nbd->base.connections = 1;
    return 0;
}

static int open_connections(struct nbd_endpoint *nbd, struct bf_error *err)
{
    for (unsigned i = 0; i < nbd->base.connections; i++) {
        struct connection *c = &nbd->connections[i];
        c->pause_ms = PAUSE_FIRST_MS;
        if (bf_nbd_connect(&nbd->params, &c->handle, err))
            return -1;
        c->state = READY;
        if (i == 0 && learn(nbd, c->handle, err))
            return -1;
        int64_t size = nbd_get_size(c->handle);
        if (size < 0 || (uint64_t)size != nbd->base.size)
            return bf_fail(err, BF_E_PROTOCOL, 0,
                           "%s: the export's size changes between connections", nbd->base.name);
    }
    return 0;
}

/* libnbd 1.14 verifies a certificate only when it finds a CA in the given directory (otherwise it
 * takes the system's authorities and does not verify) and knows a host name.  What it would not
 * verify is refused. */
static int check_tls(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                     struct bf_error *err)
{
    bf_auto_free char *ca = NULL;

    if (strstr(uri->text, "tls-verify-peer=") || strstr(uri->text, "tls-certificates="))
        return bf_fail(err, BF_E_URI, 0, "%s: certificates are given by --tls-certificates only",
                       uri->text);
    if (!uri->tls || options->tls_psk || strstr(uri->text, "tls-psk-file="))
        return 0;
    if (bf_starts_with(uri->text, "nbds+unix"))
        return bf_fail(err, BF_E_TLS, 0,
                       "%s: a certificate cannot be verified on a UNIX socket; use --tls-psk",
                       uri->text);
    if (!options->tls_certificates)
        return bf_fail(err, BF_E_TLS, 0, "%s: --tls-certificates or --tls-psk is needed",
                       uri->text);
    ca = bf_xasprintf("%s/ca-cert.pem", options->tls_certificates);
    if (bf_file_access(ca, R_OK))
        return bf_fail(err, BF_E_TLS, errno, "cannot read \"%s\"", ca);
    return 0;
}

int bf_endpoint_nbd_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                         struct bf_endpoint **ret_endpoint, struct bf_error *err)
{
    assert(options->connections && options->requests);
    if (check_tls(uri, options, err))
        return -1;
    struct nbd_endpoint *nbd = bf_xcalloc(1, sizeof(*nbd));
    bf_endpoint_init(&nbd->base, &nbd_ops, uri, options);
    nbd->params = (struct bf_nbd_params){
        .uri = nbd->base.name,
        .tls = uri->tls,
        .cipher_told = &nbd->cipher_told,
        .tls_certificates = options->tls_certificates,
        .tls_psk = options->tls_psk,
        /* Holes are known from the map, so the cheaper kind of answer will do. */
        .simple_replies = true,
        .deadline_ms = options->deadline_ms,
        .cancel_fd = options->cancel_fd,
    };
    nbd->depth = options->requests;
    nbd->base.connections =
        options->connections < CONNECTIONS_MAX ? options->connections : CONNECTIONS_MAX;
    if (open_connections(nbd, err)) {
        bf_endpoint_close(&nbd->base);
        return -1;
    }
    *ret_endpoint = &nbd->base;
    return 0;
}
