/* SPDX-License-Identifier: Apache-2.0 */
/* The connections to an NBD server: requests spread over them, lost ones replaced.
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
 */
#include <errno.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "nbd/endpoint_nbd.h"

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 5000
#define BREACHES_MAX 3
#define WORTH_A_CONNECTION ((uint64_t)32 << 20)
#define FLUSH_DEADLINES 10                    /* the server's caches may hold much */
#define BLOCK_MAX_UNSAID ((uint32_t)32 << 20) /* what a server takes that says nothing of it */

static void unlink_request(struct bf_nbd_connection *c, struct bf_request *request)
{
    struct bf_request **at = &c->first;

    while (*at != request)
        at = &(*at)->next;
    *at = request->next;
    c->count--;
}

static void link_last(struct bf_nbd_connection *c, struct bf_request *request)
{
    struct bf_request **at = &c->first;

    while (*at)
        at = &(*at)->next;
    request->next = NULL;
    *at = request;
    c->count++;
}

/* Take what was answered without an error off the connection; the rest is started again. */
static void give_back_requests(struct bf_nbd_endpoint *nbd, struct bf_nbd_connection *c)
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
static void lose(struct bf_nbd_endpoint *nbd, struct bf_nbd_connection *c, uint64_t now_ms,
                 struct bf_error *why)
{
    bool was_ready = c->state == BF_NBD_READY;

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
    c->state = BF_NBD_WAITING;
    c->since_ms = now_ms + c->pause_ms;
    c->pause_ms = c->pause_ms * 2 < PAUSE_MAX_MS ? c->pause_ms * 2 : PAUSE_MAX_MS;
}

bool bf_nbd_connections_start(struct bf_endpoint *endpoint, struct bf_request *request)
{
    struct bf_nbd_endpoint *nbd = bf_nbd_self(endpoint);
    struct bf_nbd_connection *best = NULL;

    for (unsigned i = 0; i < endpoint->connections; i++) {
        struct bf_nbd_connection *c = &nbd->connections[i];
        if (c->state == BF_NBD_READY && c->count < nbd->depth && (!best || c->count < best->count))
            best = c;
        else if (c->state == BF_NBD_UNUSED && nbd->asked >= i * WORTH_A_CONNECTION)
            c->state = BF_NBD_WAITING; /* until now */
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
static bool collect(struct bf_nbd_endpoint *nbd, struct bf_nbd_connection *c)
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

static void send_all(struct bf_nbd_endpoint *nbd, struct bf_nbd_connection *c, uint64_t now_ms)
{
    bf_auto_error why = BF_ERROR_INIT;

    if (bf_nbd_link_send(c->link, &why))
        lose(nbd, c, now_ms, &why);
}

/* The first request that will be overdue, and when; NULL: none under way.  They are in the order of
 * their start, so only flushes have others behind them that are due earlier. */
static const struct bf_request *next_due(const struct bf_nbd_endpoint *nbd,
                                         const struct bf_nbd_connection *c, uint64_t *ret_due_ms)
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

unsigned bf_nbd_connections_prepare(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                                    uint64_t now_ms, uint64_t *wake_ms)
{
    struct bf_nbd_endpoint *nbd = bf_nbd_self(endpoint);
    unsigned used = 0;

    if (nbd->alone && nbd->map) {
        bf_nbd_link_close(nbd->map);
        nbd->map = NULL;
    }
    for (unsigned i = 0; i < endpoint->connections; i++) {
        struct bf_nbd_connection *c = &nbd->connections[i];
        uint64_t wake = UINT64_MAX;
        c->poll_index = -1;
        if (c->state == BF_NBD_READY)
            send_all(nbd, c, now_ms);
        if (c->state == BF_NBD_WAITING)
            wake = c->since_ms;
        else if (c->state == BF_NBD_CONNECTING)
            wake = c->since_ms + endpoint->options.deadline_ms;
        else
            (void)next_due(nbd, c, &wake);
        if (wake < *wake_ms)
            *wake_ms = wake > now_ms ? wake : now_ms;
        if (c->state == BF_NBD_UNUSED || c->state == BF_NBD_WAITING || used == max)
            continue;
        fds[used] =
            (struct pollfd){.fd = bf_nbd_link_fd(c->link), .events = bf_nbd_link_events(c->link)};
        c->poll_index = (int)used++;
    }
    return used;
}

static void reconnect(struct bf_nbd_endpoint *nbd, struct bf_nbd_connection *c, uint64_t now_ms)
{
    bf_auto_error why = BF_ERROR_INIT;

    c->state = BF_NBD_CONNECTING;
    c->since_ms = now_ms;
    if (bf_nbd_link_begin(&nbd->params, &c->link, &why))
        lose(nbd, c, now_ms, &why);
}

/* What was learned from the first connection is relied on: above all that a flush is one, and holds
 * for the writes on all connections. */
static bool offers_less(const struct bf_nbd_endpoint *nbd, const struct bf_nbd_export *now)
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
static int became_ready(struct bf_nbd_endpoint *nbd, struct bf_nbd_connection *c,
                        struct bf_error *err)
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
    c->state = BF_NBD_READY;
    if (bf_endpoint_idle(&nbd->base))
        nbd->trouble_since_ms = 0;
    bf_log_debug("connection %td of %s is back", c - nbd->connections, nbd->base.name);
    return 0;
}

/* Returns false if the connection was lost. */
static bool drive(struct bf_nbd_endpoint *nbd, struct bf_nbd_connection *c, short revents,
                  uint64_t now_ms)
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

static void check_overdue(struct bf_nbd_endpoint *nbd, struct bf_nbd_connection *c, uint64_t now_ms)
{
    uint64_t allowed = nbd->base.options.deadline_ms, due_ms = UINT64_MAX;
    const struct bf_request *next = next_due(nbd, c, &due_ms);
    bf_auto_error why = BF_ERROR_INIT;

    if (c->state == BF_NBD_CONNECTING && now_ms >= c->since_ms + allowed)
        bf_fail(&why, BF_E_DEADLINE, 0, "%s: no connection in %" PRIu64 " s", nbd->base.name,
                allowed / 1000);
    else if (c->state == BF_NBD_READY && next && now_ms >= due_ms)
        bf_fail(&why, BF_E_DEADLINE, 0,
                "%s: no answer in %" PRIu64 " s to a %s of %" PRIu64 " bytes at %" PRIu64,
                nbd->base.name, (now_ms - next->issued_ms) / 1000,
                next->kind == BF_REQUEST_FLUSH ? "flush" : "request", next->length, next->offset);
    if (bf_error_is_set(&why))
        lose(nbd, c, now_ms, &why);
}

static int handle_connection(struct bf_nbd_endpoint *nbd, struct bf_nbd_connection *c,
                             const struct pollfd *fds, uint64_t now_ms, struct bf_error *err)
{
    short revents = c->poll_index >= 0 ? fds[c->poll_index].revents : 0;

    if (c->state == BF_NBD_UNUSED)
        return 0;
    if (c->state == BF_NBD_WAITING) {
        if (now_ms >= c->since_ms)
            reconnect(nbd, c, now_ms);
        return 0;
    }
    c->poll_index = -1;
    if (revents && !drive(nbd, c, revents, now_ms))
        return 0;
    if (c->state == BF_NBD_CONNECTING && bf_nbd_link_ready(c->link))
        return became_ready(nbd, c, err);
    check_overdue(nbd, c, now_ms);
    return 0;
}

static int check_trouble(const struct bf_nbd_endpoint *nbd, uint64_t now_ms, struct bf_error *err)
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

int bf_nbd_connections_handle(struct bf_endpoint *endpoint, const struct pollfd *fds,
                              unsigned count, uint64_t now_ms, struct bf_error *err)
{
    struct bf_nbd_endpoint *nbd = bf_nbd_self(endpoint);

    (void)count;
    for (unsigned i = 0; i < endpoint->connections; i++)
        if (handle_connection(nbd, &nbd->connections[i], fds, now_ms, err))
            return -1;
    return check_trouble(nbd, now_ms, err);
}

int bf_nbd_connections_open(struct bf_nbd_endpoint *nbd, struct bf_error *err)
{
    struct bf_nbd_connection *first = &nbd->connections[0];

    for (unsigned i = 0; i < BF_NBD_CONNECTIONS_MAX; i++)
        nbd->connections[i].pause_ms = PAUSE_FIRST_MS;
    if (bf_nbd_link_connect(&nbd->params, nbd->params.deadline_ms, &first->link, err))
        return -1;
    first->state = BF_NBD_READY;
    return 0;
}

void bf_nbd_connections_close(struct bf_nbd_endpoint *nbd)
{
    for (unsigned i = 0; i < BF_NBD_CONNECTIONS_MAX; i++)
        bf_nbd_link_close(nbd->connections[i].link);
}

void bf_nbd_connections_rest(struct bf_nbd_endpoint *nbd)
{
    struct bf_nbd_connection *first = &nbd->connections[0];

    if (first->first)
        return;
    bf_nbd_link_close(first->link);
    first->link = NULL;
    first->state = BF_NBD_WAITING;
    first->since_ms = 0;
}
