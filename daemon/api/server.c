/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd on the main loop, and the course of one request.
 *
 * libmicrohttpd's epoll descriptor is a source of the loop.  Its own timeout is not used: it is
 * one of inactivity, which a client that sends a byte now and then never meets, and it counts
 * our own time as the client's, so that an answer which took long (a disk that is slow to commit)
 * would be closed instead of sent.  Each connection has a deadline here, which is moved on when
 * the loop itself was held up, and is shut down when it passes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/api/api.h"
#include "daemon/api/api_private.h"
#include "daemon/api/listen.h"
#include "daemon/loop.h"

#define SWEEP_MS 1000

void bf_connection_due(struct MHD_Connection *mhd, uint64_t ms)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct bf_connection *connection = info ? info->socket_context : NULL;

    if (connection)
        connection->due = ms ? bf_deadline_in(ms) : (struct bf_deadline){0};
}

/* --- the course of a request --- */

struct query_walk {
    struct bf_request *request;
    struct bf_error *err;
};

static enum MHD_Result query_one(void *user, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    struct query_walk *walk = user;

    (void)kind;
    return bf_route_add_query(&walk->request->match, name, value, walk->err) < 0 ? MHD_NO : MHD_YES;
}

/* Route and query are known when the headers are: what is wrong with them is found before the body
 * is read. */
static void request_head(struct bf_request *request, const char *path, const char *method)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct query_walk walk = {request, &err};

    if (bf_route_find(method, path, &request->match, &request->reply.allow, &err) < 0) {
        bf_reply_error(request, &err);
        return;
    }
    if (!request->match.route) { /* OPTIONS */
        bf_reply_empty(request, 204);
        return;
    }
    MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, query_one, &walk);
    if (bf_error_is_set(&err))
        bf_reply_error(request, &err);
}

static void request_too_large(struct bf_request *request)
{
    bf_auto_error err = BF_ERROR_INIT;

    if (request->reply.ready)
        return;
    bf_fail(&err, BF_E_TOO_LARGE, 0, "the body is larger than %d bytes", BF_API_BODY_MAX);
    bf_reply_error(request, &err);
}

/* First call of a request.  Returns whether the reply can go out without reading the body. */
static bool request_begin(struct bf_request *request, const char *path, const char *method)
{
    const char *length_text = bf_request_header(request, "Content-Length");
    bool waits = bf_request_header(request, "Expect") != NULL;
    uint64_t length = 0;
    bf_auto_error ignored = BF_ERROR_INIT;

    request->head = bf_streq(method, "HEAD");
    request_head(request, path, method);
    if (length_text && bf_parse_u64(length_text, &length, &ignored) < 0)
        length = UINT64_MAX;
    if (length > BF_API_BODY_MAX)
        request_too_large(request);
    if (!request->reply.ready)
        return false;
    request->reply.close = waits || length > BF_API_DRAIN_MAX;
    return request->reply.close;
}

static enum MHD_Result request_upload(struct bf_request *request, const char *data, size_t length)
{
    request->body_seen += length;
    if (request->body_seen > BF_API_DRAIN_MAX)
        return MHD_NO;
    if (request->body_seen > BF_API_BODY_MAX)
        request_too_large(request);
    if (!request->reply.ready)
        bf_buf_add(&request->body_text, data, length);
    return MHD_YES;
}

static int request_body(struct bf_request *request, struct bf_error *err)
{
    const struct bf_route *route = request->match.route;

    if (!request->body_text.length)
        return route->fields ? bf_fields_check(NULL, route->fields, err) : 0;
    if (!route->fields)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s %s takes no body", route->method, route->path);
    if (bf_json_parse(request->body_text.text, request->body_text.length, &request->body, err) < 0)
        return -1;
    if (json_object_get_type(request->body) != json_type_object)
        return bf_fail(err, BF_E_BAD_JSON, 0, "the body: expected object");
    return bf_fields_check(request->body, route->fields, err);
}

static void request_run(struct bf_request *request)
{
    bf_auto_error err = BF_ERROR_INIT;

    if (request_body(request, &err) < 0 || request->match.route->handler(request, &err) < 0)
        bf_reply_error(request, &err);
}

/* Who asked for which change, and what came of it.  Reads are not worth a line. */
static void request_log(const struct bf_request *request, const char *path, const char *method)
{
    bf_auto_free char *shown = bf_xstrdup(path);

    if (bf_streq(method, "GET") || bf_streq(method, "HEAD"))
        return;
    bf_text_clean(shown, false);
    bf_log_info("api: %.20s %.300s by uid %u (pid %d): %d", method, shown, request->peer.uid,
                request->peer.pid, request->reply.status);
}

static enum MHD_Result request_reply(struct bf_request *request, const char *path,
                                     const char *method)
{
    request_log(request, path, method);
    bf_connection_due(request->connection, BF_API_REPLY_MS);
    return bf_reply_send(request);
}

static enum MHD_Result handle(void *user, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *data,
                              size_t *length, void **state)
{
    struct bf_api *api = user;
    struct bf_request *request = *state;

    (void)version;
    if (!request) {
        const struct bf_connection *from =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;

        request = bf_request_new(api, connection, &from->peer);
        if (!request)
            return MHD_NO;
        *state = request;
        bf_connection_due(connection, BF_API_TIMEOUT_MS);
        return request_begin(request, path, method) ? request_reply(request, path, method)
                                                    : MHD_YES;
    }
    if (*length) {
        size_t got = *length;

        *length = 0;
        return request_upload(request, data, got);
    }
    if (!request->reply.ready) {
        bf_connection_due(connection, 0); /* it is our turn now */
        request_run(request);
    }
    return request->reply.ready ? request_reply(request, path, method) : MHD_YES;
}

static void completed(void *user, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode code)
{
    (void)user;
    (void)code;
    bf_request_free(*state);
    *state = NULL;
    bf_connection_due(connection, BF_API_IDLE_MS);
}

/* --- connections --- */

static void sweep_soon(struct bf_api *api)
{
    if (!api->sweep)
        return;
    sd_event_source_set_time_relative(api->sweep, SWEEP_MS * 1000);
    sd_event_source_set_enabled(api->sweep, SD_EVENT_ONESHOT);
}

static void connection_add(struct bf_api *api, struct MHD_Connection *mhd, void **context)
{
    struct bf_connection *connection = bf_xcalloc(1, sizeof(*connection));
    socklen_t length = sizeof(connection->peer);

    connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    connection->peer = (struct ucred){.uid = (uid_t)-1, .gid = (gid_t)-1};
    getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &connection->peer, &length);
    connection->due = bf_deadline_in(BF_API_TIMEOUT_MS);
    connection->next = api->connections;
    connection->link = &api->connections;
    if (connection->next)
        connection->next->link = &connection->next;
    api->connections = connection;
    *context = connection;
    if (!connection->next) {
        api->swept_ms = bf_now_ms();
        sweep_soon(api);
    }
}

static void connection_notice(void *user, struct MHD_Connection *mhd, void **context,
                              enum MHD_ConnectionNotificationCode code)
{
    struct bf_connection *connection = *context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_add(user, mhd, context);
    } else if (connection) {
        *connection->link = connection->next;
        if (connection->next)
            connection->next->link = connection->link;
        free(connection);
        *context = NULL;
    }
}

/* --- the loop --- */

static void run(struct bf_api *api)
{
    MHD_UNSIGNED_LONG_LONG ms;

    MHD_run(api->daemon);
    if (!api->timer)
        return;
    if (MHD_get_timeout(api->daemon, &ms) == MHD_YES) {
        sd_event_source_set_time_relative(api->timer, ms * 1000);
        sd_event_source_set_enabled(api->timer, SD_EVENT_ONESHOT);
    } else {
        sd_event_source_set_enabled(api->timer, SD_EVENT_OFF);
    }
}

/* libmicrohttpd wakes a thread of its own for that, and has none here. */
void bf_api_run_soon(struct bf_api *api)
{
    if (!api->timer)
        return;
    sd_event_source_set_time_relative(api->timer, 0);
    sd_event_source_set_enabled(api->timer, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *user)
{
    (void)source;
    (void)fd;
    (void)events;
    run(user);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t now, void *user)
{
    (void)source;
    (void)now;
    run(user);
    return 0;
}

/* For how long the loop did nothing of this since the last sweep: not the clients' delay. */
static uint64_t held_up_ms(struct bf_api *api)
{
    uint64_t since = api->swept_ms;

    api->swept_ms = bf_now_ms();
    return api->swept_ms - since > SWEEP_MS ? api->swept_ms - since - SWEEP_MS : 0;
}

/* Shutting the socket down makes libmicrohttpd read the end and close it. */
static int on_sweep(sd_event_source *source, uint64_t scheduled, void *user)
{
    struct bf_api *api = user;
    uint64_t late = held_up_ms(api);

    (void)source;
    (void)scheduled;
    for (struct bf_connection *connection = api->connections; connection;
         connection = connection->next) {
        if (connection->due.at_ms)
            connection->due.at_ms += late;
        if (bf_deadline_passed(connection->due)) {
            connection->due = (struct bf_deadline){0};
            shutdown(connection->fd, SHUT_RDWR);
        }
    }
    bf_requests_tick(api);
    bf_streams_tick(api);
    if (api->connections)
        sweep_soon(api);
    run(api);
    return 0;
}

static void log_mhd(void *user, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static void log_mhd(void *user, const char *format, va_list args)
{
    char line[500];

    (void)user;
    vsnprintf(line, sizeof(line), format, args);
    bf_text_clean(line, false);
    bf_log_debug("api: %s", line);
}

/* Names are decoded after the path has been split, and strictly; see route.c. */
static size_t unescape_not(void *user, struct MHD_Connection *connection, char *text)
{
    (void)user;
    (void)connection;
    return strlen(text);
}

static int daemon_start(struct bf_api *api, int fd, struct bf_error *err)
{
    errno = 0;
    api->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle, api,
        MHD_OPTION_EXTERNAL_LOGGER, log_mhd, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)BF_API_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(64 * 1024), MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape_not, NULL, MHD_OPTION_NOTIFY_COMPLETED, completed,
        api, MHD_OPTION_NOTIFY_CONNECTION, connection_notice, api, MHD_OPTION_END);
    if (!api->daemon)
        return bf_fail(err, BF_E_SYSTEM, errno, "the HTTP server did not start");
    return 0;
}

static int loop_join(struct bf_api *api, struct bf_error *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(api->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int code = sd_event_add_io(api->event, &api->io, info->epoll_fd, EPOLLIN, on_io, api);

    /* Accuracy 1 us: by default sd-event may be 250 ms late, and "at once" is the usual case. */
    if (code >= 0)
        code = sd_event_add_time_relative(api->event, &api->timer, CLOCK_MONOTONIC, 0, 1, on_timer,
                                          api);
    if (code >= 0)
        code = sd_event_add_time_relative(api->event, &api->sweep, CLOCK_MONOTONIC, SWEEP_MS * 1000,
                                          0, on_sweep, api);
    if (code < 0)
        return bf_fail(err, BF_E_SYSTEM, -code, "event sources of the HTTP server");
    return 0;
}

int bf_api_start(struct bf_loop *loop, struct bf_service *service, int listen_fd,
                 const char *socket_path, const char *socket_group, struct bf_api **ret_api,
                 struct bf_error *err)
{
    struct bf_api *api = bf_xcalloc(1, sizeof(*api));
    int fd = -1;

    api->service = service;
    api->event = sd_event_ref(bf_loop_event(loop));
    api->metrics = bf_metrics_new();
    if (listen_fd >= 0) {
        /* libmicrohttpd closes its listening socket in the end: give it one of its own. */
        fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            bf_fail(err, BF_E_SYSTEM, errno, "the listening socket");
    } else if (bf_listen_unix(socket_path, socket_group, &fd, err) == 0) {
        api->socket_path = bf_xstrdup(socket_path);
    }
    if (fd < 0 || daemon_start(api, fd, err) < 0 || loop_join(api, err) < 0) {
        bf_api_stop(api);
        return -1;
    }
    *ret_api = api;
    return 0;
}

void bf_api_stop(struct bf_api *api)
{
    if (!api)
        return;
    sd_event_source_disable_unref(api->io);
    sd_event_source_disable_unref(api->timer);
    sd_event_source_disable_unref(api->sweep);
    api->timer = api->sweep = NULL;
    if (api->daemon) {
        /* It aborts when stopped with a suspended connection. */
        for (struct bf_request *request = api->requests; request; request = request->next)
            bf_request_resume(request);
        MHD_stop_daemon(api->daemon);
    }
    if (api->socket_path)
        unlink(api->socket_path);
    free(api->socket_path);
    bf_metrics_free(api->metrics);
    sd_event_unref(api->event);
    free(api);
}
