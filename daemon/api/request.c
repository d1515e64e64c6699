/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/api/request.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "daemon/api/api_private.h"
#include "daemon/service.h"

/* What is being asked lives apart from the request: the service answers exactly once, but the
 * client may be gone by then. */
struct bf_pending {
    struct bf_request *request; /* NULL: gone */
    int status;
    const char *list_key; /* static text */
};

struct bf_request *bf_request_new(struct bf_api *api, struct MHD_Connection *connection,
                                  const struct ucred *peer)
{
    struct bf_request *request = calloc(1, sizeof(*request));

    if (!request)
        return NULL;
    request->api = api;
    request->connection = connection;
    request->peer = *peer;
    request->next = api->requests;
    request->link = &api->requests;
    if (request->next)
        request->next->link = &request->next;
    api->requests = request;
    return request;
}

void bf_request_free(struct bf_request *request)
{
    if (!request)
        return;
    *request->link = request->next;
    if (request->next)
        request->next->link = request->link;
    if (request->pending)
        request->pending->request = NULL;
    bf_stream_close(request->stream);
    bf_route_match_done(&request->match);
    bf_buf_done(&request->body_text);
    json_object_put(request->body);
    bf_buf_done(&request->reply.body);
    free(request->reply.allow);
    free(request);
}

struct bf_service *bf_request_service(const struct bf_request *request)
{
    return request->api->service;
}

const char *bf_request_name(const struct bf_request *request, unsigned index)
{
    assert(index < BF_ROUTE_NAMES_MAX);
    return request->match.names[index];
}

const char *bf_request_query(const struct bf_request *request, const char *name)
{
    for (unsigned i = 0; i < request->match.query_count; i++)
        if (bf_streq(request->match.query[i].name, name))
            return request->match.query[i].value;
    return NULL;
}

int bf_request_query_u64(const struct bf_request *request, const char *name, uint64_t max,
                         uint64_t *value_io, struct bf_error *err)
{
    const char *text = bf_request_query(request, name);
    uint64_t value = 0;

    if (!text)
        return 0;
    if (bf_parse_u64(text, &value, err) < 0)
        return bf_fail_in(err, "query parameter %s", name);
    if (value > max)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "query parameter %s: %llu is more than the allowed %llu", name,
                       (unsigned long long)value, (unsigned long long)max);
    *value_io = value;
    return 0;
}

int bf_request_query_bool(const struct bf_request *request, const char *name, bool *value_io,
                          struct bf_error *err)
{
    const char *text = bf_request_query(request, name);

    if (!text)
        return 0;
    if (bf_streq(text, "1") || bf_streq(text, "true"))
        *value_io = true;
    else if (bf_streq(text, "0") || bf_streq(text, "false"))
        *value_io = false;
    else
        return bf_fail(err, BF_E_BAD_INPUT, 0, "query parameter %s: expected 1 or 0", name);
    return 0;
}

const char *bf_request_header(const struct bf_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

void bf_reply_text(struct bf_request *request, int status, const char *content_type,
                   const char *text, size_t length)
{
    assert(!request->reply.ready);
    request->reply.ready = true;
    request->reply.status = status;
    request->reply.content_type = content_type;
    bf_buf_add(&request->reply.body, text, length);
}

void bf_reply_json(struct bf_request *request, int status, struct json_object *value)
{
    bf_auto_json *owned = value;
    const char *text = json_object_to_json_string_ext(owned, JSON_C_TO_STRING_PLAIN |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE);

    bf_reply_text(request, status, "application/json", text, strlen(text));
    bf_buf_add(&request->reply.body, "\n", 1);
}

void bf_reply_list(struct bf_request *request, const char *key, struct json_object *value)
{
    if (json_object_get_type(value) == json_type_array) {
        struct json_object *list = json_object_new_object();

        json_object_object_add(list, key, value);
        value = list;
    }
    bf_reply_json(request, 200, value);
}

void bf_reply_empty(struct bf_request *request, int status)
{
    assert(!request->reply.ready);
    request->reply.ready = true;
    request->reply.status = status;
}

void bf_reply_error(struct bf_request *request, const struct bf_error *error)
{
    struct json_object *body = json_object_new_object();
    int status = bf_kind_http_status(bf_error_kind(error->code));

    /* Two codes of kind "input" have a status of their own in HTTP. */
    if (error->code == BF_E_TOO_LARGE)
        status = 413;
    if (error->code == BF_E_METHOD_NOT_ALLOWED)
        status = 405;
    json_object_object_add(body, "error", bf_json_error(error));
    bf_reply_json(request, status, body);
}

void bf_reply_headers(struct MHD_Response *response, const char *content_type)
{
    if (content_type)
        MHD_add_response_header(response, "Content-Type", content_type);
    if (content_type && bf_starts_with(content_type, "text/html"))
        MHD_add_response_header(response, "Content-Security-Policy",
                                "default-src 'none'; style-src 'unsafe-inline'; img-src data:");
    MHD_add_response_header(response, "Blockferry-Version", BF_VERSION);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
}

enum MHD_Result bf_reply_send(struct bf_request *request)
{
    struct bf_reply *reply = &request->reply;
    size_t length = reply->body.length;
    struct MHD_Response *response;
    enum MHD_Result result;

    if (length)
        response = MHD_create_response_from_buffer(length, bf_steal(reply->body.text),
                                                   MHD_RESPMEM_MUST_FREE);
    else
        response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    bf_buf_done(&reply->body);
    bf_reply_headers(response, reply->content_type);
    if (reply->allow)
        MHD_add_response_header(response, "Allow", reply->allow);
    if (reply->close)
        MHD_add_response_header(response, "Connection", "close");
    result = MHD_queue_response(request->connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    if (reply->status / 100 < 6)
        request->api->replies[reply->status / 100]++;
    return result;
}

void bf_request_resume(struct bf_request *request)
{
    if (!request->suspended)
        return;
    request->suspended = false;
    MHD_resume_connection(request->connection);
    bf_api_run_soon(request->api);
}

static void question_answered(struct json_object *answer, struct bf_error *err, void *user)
{
    struct bf_pending *pending = user;
    struct bf_request *request = pending->request;

    if (request) {
        request->pending = NULL;
        if (err && bf_error_is_set(err))
            bf_reply_error(request, err);
        else if (pending->list_key)
            bf_reply_list(request, pending->list_key, json_object_get(answer));
        else
            bf_reply_json(request, pending->status, json_object_get(answer));
        bf_request_resume(request);
    }
    free(pending);
}

int bf_request_ask(struct bf_request *request, const char *kind, struct json_object *body,
                   int status, const char *list_key, struct bf_error *err)
{
    struct bf_pending *pending = bf_xcalloc(1, sizeof(*pending));

    *pending = (struct bf_pending){request, status, list_key};
    request->pending = pending;
    request->answer_by = bf_deadline_in(BF_API_QUESTION_MS);
    if (bf_service_ask(request->api->service, kind, body, question_answered, pending, err) < 0) {
        request->pending = NULL;
        free(pending);
        return -1;
    }
    if (!request->reply.ready) {
        request->suspended = true;
        MHD_suspend_connection(request->connection);
    }
    return 0;
}

void bf_requests_tick(struct bf_api *api)
{
    for (struct bf_request *request = api->requests; request; request = request->next) {
        bf_auto_error late = BF_ERROR_INIT;

        if (!request->pending || !bf_deadline_passed(request->answer_by))
            continue;
        request->pending->request = NULL;
        request->pending = NULL;
        bf_fail(&late, BF_E_DEADLINE, 0, "the platform did not answer within %d s",
                BF_API_QUESTION_MS / 1000);
        bf_reply_error(request, &late);
        bf_request_resume(request);
    }
}
