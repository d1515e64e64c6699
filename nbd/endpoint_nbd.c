/* SPDX-License-Identifier: Apache-2.0 */
/* NBD exports: several connections, requests spread over them, lost ones replaced.
 *
 * A connection that dies, or on which an answer is overdue, is closed, its requests go back to the
 * queue and it is made again after a pause that grows from 0.1 to 5 s.  Trouble begins with a lost
 * connection and ends with the next answer; when it has lasted `reconnect_ms`, or when the
 * server broke the protocol several times in a row, the endpoint fails.
 *
 * The first connection is made at once, each other when so much was asked of the server that it is
 * worth it: most disks' deltas are through before.
 *
 * Closing a link ends its use of the requests' buffers, so starting a request again on another
 * connection cannot race with a late answer.
 *
 * A change map is asked for on a connection of its own.  A server that takes only one client at a
 * time gets them one after the other.
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
#define WORTH_A_CONNECTION ((uint64_t)32 << 20)
#define MAP_TRIES 4
#define MAP_PAUSE_MS 250 /* doubled each time */
#define SECOND_CLIENT_MS 2000
#define FLUSH_DEADLINES 10                    /* the server's caches may hold much */
#define BLOCK_MAX_UNSAID ((uint32_t)32 << 20) /* what a server takes that says nothing of it */

enum state { UNUSED, WAITING, CONNECTING, READY };

struct connection {
    enum state state;
    struct bf_nbd_link *link; /* NULL in UNUSED and WAITING */
    uint64_t since_ms;        /* of CONNECTING; in WAITING: when to try again */
    uint64_t pause_ms;        /* before the next try */
    struct bf_request *first; /* under way, oldest first */
    unsigned count;
    int poll_index; /* into this turn's fds; -1: not polled */
};

struct nbd_endpoint {
    struct bf_endpoint base;
    struct bf_uri uri;
    struct bf_nbd_names names; /* of its host */
    struct bf_nbd_params params;
    struct bf_nbd_params map_params;
    struct connection connections[CONNECTIONS_MAX]; /* base.connections of them */
    unsigned depth;                                 /* requests per connection */
    uint64_t trouble_since_ms;                      /* 0: none */
    unsigned breaches;                              /* of the protocol, since the last answer */
    struct bf_error last_loss;
    struct bf_nbd_link *map;     /* for base:allocation; NULL: not made yet */
    uint64_t asked;              /* bytes of all requests */
    struct bf_nbd_export export; /* as the first connection told of it */
    bool alone;                  /* the server takes one client at a time */
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
    bf_nbd_link_close(c->link);
    c->link = NULL;
    give_back_requests(nbd, c);
    if (was_ready && nbd->base.options.write)
        nbd->base.resets++;
    c->state = WAITING;
    c->since_ms = now_ms + c->pause_ms;
    c->pause_ms = c->pause_ms * 2 < PAUSE_MAX_MS ? c->pause_ms * 2 : PAUSE_MAX_MS;
}

static bool nbd_start(struct bf_endpoint *endpoint, struct bf_request *request)
{
    struct nbd_endpoint *nbd = self(endpoint);
    struct connection *best = NULL;

    for (unsigned i = 0; i < endpoint->connections; i++) {
        struct connection *c = &nbd->connections[i];
        if (c->state == READY && c->count < nbd->depth && (!best || c->count < best->count))
            best = c;
        else if (c->state == UNUSED && nbd->asked >= i * WORTH_A_CONNECTION)
            c->state = WAITING; /* until now */
    }
    if (!best)
        return false;
    request->answered = false;
    request->answer = 0;
    request->issued_ms = bf_now_ms();
    nbd->asked += request->length;
    bf_nbd_link_submit(best->link, request);
    link_last(best, request);
    return true;
}

/* Take in the answers that came on this connection; false: the server says that it is going. */
static bool collect(struct nbd_endpoint *nbd, struct connection *c)
{
    bool stays = true;

    for (struct bf_request *request = c->first, *next; request; request = next) {
        next = request->next;
        if (!request->answered)
            continue;
        if (request->answer == ESHUTDOWN) {
            stays = false; /* and the request is given back with the rest */
            continue;
        }
        unlink_request(c, request);
        nbd->trouble_since_ms = 0;
        nbd->breaches = 0;
        c->pause_ms = PAUSE_FIRST_MS;
        bf_endpoint_finish(&nbd->base, request, request->answer);
    }
    return stays;
}

static void send_all(struct nbd_endpoint *nbd, struct connection *c, uint64_t now_ms)
{
    bf_auto_error why = BF_ERROR_INIT;

    if (bf_nbd_link_send(c->link, &why))
        lose(nbd, c, now_ms, &why);
}

/* The first request that will be overdue, and when; NULL: none under way.  They are in the order of
 * their start, so only flushes have others behind them that are due earlier. */
static const struct bf_request *next_due(const struct nbd_endpoint *nbd, const struct connection *c,
                                         uint64_t *ret_due_ms)
{
    const struct bf_request *next = NULL;
    uint64_t deadline_ms = nbd->base.options.deadline_ms;

    for (const struct bf_request *at = c->first; at; at = at->next) {
        bool flush = at->kind == BF_REQUEST_FLUSH;
        uint64_t due_ms = at->issued_ms + (flush ? FLUSH_DEADLINES : 1) * deadline_ms;
        if (!next || due_ms < *ret_due_ms) {
            next = at;
            *ret_due_ms = due_ms;
        }
        if (!flush)
            break;
    }
    return next;
}

static unsigned nbd_prepare(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                            uint64_t now_ms, uint64_t *wake_ms)
{
    struct nbd_endpoint *nbd = self(endpoint);
    unsigned used = 0;

    if (nbd->alone && nbd->map) {
        bf_nbd_link_close(nbd->map);
        nbd->map = NULL;
    }
    for (unsigned i = 0; i < endpoint->connections; i++) {
        struct connection *c = &nbd->connections[i];
        uint64_t wake = UINT64_MAX;
        c->poll_index = -1;
        if (c->state == READY)
            send_all(nbd, c, now_ms);
        if (c->state == WAITING)
            wake = c->since_ms;
        else if (c->state == CONNECTING)
            wake = c->since_ms + endpoint->options.deadline_ms;
        else
            (void)next_due(nbd, c, &wake);
        if (wake < *wake_ms)
            *wake_ms = wake > now_ms ? wake : now_ms;
        if (c->state == UNUSED || c->state == WAITING || used == max)
            continue;
        fds[used] =
            (struct pollfd){.fd = bf_nbd_link_fd(c->link), .events = bf_nbd_link_events(c->link)};
        c->poll_index = (int)used++;
    }
    return used;
}

static void reconnect(struct nbd_endpoint *nbd, struct connection *c, uint64_t now_ms)
{
    bf_auto_error why = BF_ERROR_INIT;

    c->state = CONNECTING;
    c->since_ms = now_ms;
    if (bf_nbd_link_begin(&nbd->params, &c->link, &why))
        lose(nbd, c, now_ms, &why);
}

/* What was learned from the first connection is relied on: above all that a flush is one, and holds
 * for the writes on all connections. */
static bool offers_less(const struct nbd_endpoint *nbd, const struct bf_nbd_export *now)
{
    const struct bf_nbd_export *then = &nbd->export;
    unsigned needed = 0;

    if (nbd->base.options.write)
        needed = BF_NBD_FLUSH | BF_NBD_WRITE_ZEROES;
    if (nbd->base.options.write && nbd->base.connections > 1)
        needed |= BF_NBD_MULTI_CONN;
    uint32_t most = then->block_max ? then->block_max : BLOCK_MAX_UNSAID;
    return (then->flags & needed & ~(unsigned)now->flags) || now->block_min > nbd->base.block_min ||
           (now->block_max && now->block_max < most);
}

/* The server is back.  It must still be the same disk. */
static int became_ready(struct nbd_endpoint *nbd, struct connection *c, struct bf_error *err)
{
    const struct bf_nbd_export *export = bf_nbd_link_export(c->link);

    if (export->size != nbd->base.size)
        return bf_fail(err, BF_E_ENDPOINT_SIZE, 0,
                       "%s: after a reconnect the export has %" PRIu64
                       " bytes, before it had %" PRIu64,
                       nbd->base.name, export->size, nbd->base.size);
    if (nbd->base.options.write && export->flags & BF_NBD_READ_ONLY)
        return bf_fail(err, BF_E_ENDPOINT_READONLY, 0, "%s: after a reconnect it is read-only",
                       nbd->base.name);
    if (offers_less(nbd, export))
        return bf_fail(err, BF_E_PROTOCOL, 0,
                       "%s: the server offers less than on the connection before (flush, zeroes, "
                       "several connections or block sizes)",
                       nbd->base.name);
    c->state = READY;
    if (bf_endpoint_idle(&nbd->base))
        nbd->trouble_since_ms = 0;
    bf_log_debug("connection %td of %s is back", c - nbd->connections, nbd->base.name);
    return 0;
}

/* Returns false if the connection was lost. */
static bool drive(struct nbd_endpoint *nbd, struct connection *c, short revents, uint64_t now_ms)
{
    bf_auto_error why = BF_ERROR_INIT;

    int rc = bf_nbd_link_drive(c->link, revents, &why);
    /* What was answered before the connection was lost counts. */
    if (!collect(nbd, c) && !rc)
        rc = bf_fail(&why, BF_E_ENDPOINT_OPEN, 0, "the server is shutting down");
    if (rc)
        lose(nbd, c, now_ms, &why);
    return rc == 0;
}

static void check_overdue(struct nbd_endpoint *nbd, struct connection *c, uint64_t now_ms)
{
    uint64_t allowed = nbd->base.options.deadline_ms, due_ms = UINT64_MAX;
    const struct bf_request *next = next_due(nbd, c, &due_ms);
    bf_auto_error why = BF_ERROR_INIT;

    if (c->state == CONNECTING && now_ms >= c->since_ms + allowed)
        bf_fail(&why, BF_E_DEADLINE, 0, "%s: no connection in %" PRIu64 " s", nbd->base.name,
                allowed / 1000);
    else if (c->state == READY && next && now_ms >= due_ms)
        bf_fail(&why, BF_E_DEADLINE, 0,
                "%s: no answer in %" PRIu64 " s to a %s of %" PRIu64 " bytes at %" PRIu64,
                nbd->base.name, (now_ms - next->issued_ms) / 1000,
                next->kind == BF_REQUEST_FLUSH ? "flush" : "request", next->length, next->offset);
    if (bf_error_is_set(&why))
        lose(nbd, c, now_ms, &why);
}

static int handle_connection(struct nbd_endpoint *nbd, struct connection *c,
                             const struct pollfd *fds, uint64_t now_ms, struct bf_error *err)
{
    short revents = c->poll_index >= 0 ? fds[c->poll_index].revents : 0;

    if (c->state == UNUSED)
        return 0;
    if (c->state == WAITING) {
        if (now_ms >= c->since_ms)
            reconnect(nbd, c, now_ms);
        return 0;
    }
    c->poll_index = -1;
    if (revents && !drive(nbd, c, revents, now_ms))
        return 0;
    if (c->state == CONNECTING && bf_nbd_link_ready(c->link))
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
        bf_nbd_link_close(nbd->connections[i].link);
    bf_nbd_link_close(nbd->map);
    bf_nbd_names_done(&nbd->names);
    bf_error_clear(&nbd->last_loss);
    bf_uri_done(&nbd->uri);
    free(nbd);
}

/* The data's connection makes room for the map's: nothing is asked or unflushed when a map is asked
 * for. */
static void make_room(struct nbd_endpoint *nbd)
{
    struct connection *c = &nbd->connections[0];

    if (!nbd->alone)
        bf_log_info("%s: the server takes one client at a time", nbd->base.name);
    nbd->alone = true;
    if (c->first)
        return;
    bf_nbd_link_close(c->link);
    c->link = NULL;
    c->state = WAITING; /* until the loop begins, which ends the map's */
    c->since_ms = 0;
}

/* A server without multi-conn may be one that lets a second client wait until the first leaves. */
static int connect_map(struct nbd_endpoint *nbd, const struct bf_nbd_params *params,
                       struct bf_nbd_link **ret_link, struct bf_error *err)
{
    uint64_t deadline_ms = params->deadline_ms;

    if (!nbd->alone && !(nbd->export.flags & BF_NBD_MULTI_CONN)) {
        bf_auto_error why = BF_ERROR_INIT;
        uint64_t patience_ms = deadline_ms < SECOND_CLIENT_MS ? deadline_ms : SECOND_CLIENT_MS;
        if (!bf_nbd_link_connect(params, patience_ms, ret_link, &why))
            return 0;
        if (why.code == BF_E_CANCELLED) {
            bf_error_move(err, &why);
            return -1;
        }
        make_room(nbd);
    }
    return bf_nbd_link_connect(params, deadline_ms, ret_link, err);
}

/* The map's link is made when first asked for: many copies never need it. */
static int map_link(struct nbd_endpoint *nbd, const struct bf_nbd_params *params,
                    struct bf_nbd_link **ret_link, struct bf_error *err)
{
    struct bf_nbd_link *link;

    if (nbd->alone)
        make_room(nbd);
    if (connect_map(nbd, params, &link, err))
        return -1;
    if (bf_nbd_link_export(link)->size != nbd->base.size) {
        bf_nbd_link_close(link);
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: the export's size changes between connections",
                       nbd->base.name);
    }
    *ret_link = link;
    return 0;
}

/* One try to get a map over *link, which is made if it is NULL. */
static int try_map(struct nbd_endpoint *nbd, struct bf_nbd_link **link,
                   const struct bf_nbd_params *params, uint64_t offset, uint64_t length,
                   struct bf_extent_list *list, struct bf_error *err)
{
    if (!*link && map_link(nbd, params, link, err))
        return -1;
    if (bf_nbd_link_export(*link)->has_context)
        return bf_nbd_map(link, params, offset, length, list, err);
    if (strcmp(params->context, BF_NBD_ALLOCATION) == 0)
        return bf_extent_list_add(list, offset, length, BF_EXTENT_DATA, err);
    return bf_fail(err, BF_E_NO_BITMAP, 0, "%s: no meta context \"%s\"", nbd->base.name,
                   params->context);
}

/* Wait, unless cancelled. */
static bool pause_before_retry(const struct nbd_endpoint *nbd, unsigned tries)
{
    struct pollfd cancel = {.fd = nbd->params.cancel_fd, .events = POLLIN};

    return poll(&cancel, 1, MAP_PAUSE_MS << tries) == 0;
}

/* Append what `from` says of [offset, end). */
static int append_within(const struct bf_extent_list *from, uint64_t offset, uint64_t end,
                         struct bf_extent_list *list, struct bf_error *err)
{
    for (size_t i = bf_extent_list_find(from, offset);
         i < from->count && from->items[i].offset < end; i++) {
        const struct bf_extent *item = &from->items[i];
        uint64_t start = bf_max_u64(item->offset, offset);
        uint64_t stop = bf_min_u64(item->offset + item->length, end);
        if (bf_extent_list_add(list, start, stop - start, item->type, err))
            return -1;
    }
    return 0;
}

/* A server that is just being restarted is asked again.  It is asked for whole blocks. */
static int get_map(struct nbd_endpoint *nbd, struct bf_nbd_link **link,
                   const struct bf_nbd_params *params, uint64_t offset, uint64_t length,
                   struct bf_extent_list *list, struct bf_error *err)
{
    uint64_t mask = nbd->base.block_min - 1, from = offset & ~mask;
    uint64_t end = bf_min_u64((offset + length + mask) & ~mask, nbd->base.size);
    struct bf_extent_list fresh = {0};
    int rc;

    for (unsigned tries = 0;; tries++) {
        rc = try_map(nbd, link, params, from, end - from, &fresh, err);
        bool lost = rc && (err->code == BF_E_ENDPOINT_OPEN || err->code == BF_E_DEADLINE);
        if (!lost || tries == MAP_TRIES || !pause_before_retry(nbd, tries))
            break;
        bf_log_debug("%s: asking for the map again: %s", nbd->base.name, err->message);
        bf_error_clear(err);
        bf_extent_list_done(&fresh);
    }
    if (!rc)
        rc = append_within(&fresh, offset, offset + length, list, err);
    bf_extent_list_done(&fresh);
    return rc;
}

static int nbd_allocation(struct bf_endpoint *endpoint, uint64_t offset, uint64_t length,
                          struct bf_extent_list *list, struct bf_error *err)
{
    struct nbd_endpoint *nbd = self(endpoint);

    return get_map(nbd, &nbd->map, &nbd->map_params, offset, length, list, err);
}

static int nbd_dirty(struct bf_endpoint *endpoint, const char *bitmap, struct bf_extent_list *list,
                     struct bf_error *err)
{
    struct nbd_endpoint *nbd = self(endpoint);
    bf_auto_free char *context = bf_xasprintf("qemu:dirty-bitmap:%s", bitmap);
    struct bf_nbd_params params = nbd->params;
    struct bf_nbd_link *link = NULL;

    params.context = context;
    /* An empty disk has nothing to ask about. */
    int rc = endpoint->size ? get_map(nbd, &link, &params, 0, endpoint->size, list, err) : 0;
    bf_nbd_link_close(link);
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
static int learn(struct nbd_endpoint *nbd, const struct bf_nbd_export *export, struct bf_error *err)
{
    uint64_t block_min = export->block_min, block_max = export->block_max;

    if ((block_min & (block_min - 1)) || block_min > 65536 || (block_max && block_max < 65536))
        return bf_fail(err, BF_E_PROTOCOL, 0,
                       "%s: block sizes of %" PRIu64 " to %" PRIu64 " bytes cannot be served",
                       nbd->base.name, block_min, block_max);
    nbd->base.size = export->size;
    nbd->base.block_min = block_min ? block_min : 1;
    nbd->base.block_max = block_max;
    nbd->base.can_zero = export->flags & BF_NBD_WRITE_ZEROES;
    nbd->base.volatile_cache = true;
    nbd->export = *export;
    if (nbd->base.options.write && export->flags & BF_NBD_READ_ONLY)
        return bf_fail(err, BF_E_ENDPOINT_READONLY, 0, "%s: the export is read-only",
                       nbd->base.name);
    if (nbd->base.options.write && !(export->flags & BF_NBD_FLUSH))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "%s: the server has no flush, so nothing that is written is ever safe",
                       nbd->base.name);
    /* Without multi-conn a flush on one connection says nothing about writes on another. */
    if (!(export->flags & BF_NBD_MULTI_CONN))
        nbd->base.connections = 1;
    return 0;
}

static int open_first(struct nbd_endpoint *nbd, struct bf_error *err)
{
    struct connection *first = &nbd->connections[0];

    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        nbd->connections[i].pause_ms = PAUSE_FIRST_MS;
    if (bf_nbd_link_connect(&nbd->params, nbd->params.deadline_ms, &first->link, err))
        return -1;
    first->state = READY;
    return learn(nbd, bf_nbd_link_export(first->link), err);
}

/* What could not be verified is refused before the server hears of us. */
static int check_tls(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                     struct bf_error *err)
{
    bf_auto_free char *ca = NULL;

    if (!uri->tls || options->tls_psk || uri->nbd_psk_file)
        return 0;
    if (uri->nbd_socket)
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

static void fill_params(struct nbd_endpoint *nbd, const struct bf_endpoint_options *options)
{
    nbd->names = (struct bf_nbd_names){.host = nbd->uri.nbd_host, .port = nbd->uri.nbd_port};
    nbd->params = (struct bf_nbd_params){
        .uri = &nbd->uri,
        .names = nbd->uri.nbd_host ? &nbd->names : NULL,
        .cipher_told = &nbd->cipher_told,
        .tls_certificates = options->tls_certificates,
        .tls_psk = options->tls_psk,
        .deadline_ms = options->deadline_ms,
        .cancel_fd = options->cancel_fd,
    };
    nbd->map_params = nbd->params;
    nbd->map_params.context = BF_NBD_ALLOCATION;
}

int bf_endpoint_nbd_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                         struct bf_endpoint **ret_endpoint, struct bf_error *err)
{
    assert(options->connections && options->requests);
    if (check_tls(uri, options, err))
        return -1;
    struct nbd_endpoint *nbd = bf_xcalloc(1, sizeof(*nbd));
    bf_endpoint_init(&nbd->base, &nbd_ops, uri, options);
    if (bf_uri_parse(uri->text, &nbd->uri, err)) {
        bf_endpoint_close(&nbd->base);
        return -1;
    }
    fill_params(nbd, options);
    nbd->depth = options->requests;
    nbd->base.connections =
        options->connections < CONNECTIONS_MAX ? options->connections : CONNECTIONS_MAX;
    if (open_first(nbd, err)) {
        bf_endpoint_close(&nbd->base);
        return -1;
    }
    *ret_endpoint = &nbd->base;
    return 0;
}
