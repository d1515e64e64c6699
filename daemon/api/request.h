/* SPDX-License-Identifier: Apache-2.0 */
/* One request: what a handler is given, and how it answers.
 *
 * A handler returns 0 after it has set a reply (bf_reply_*) or deferred it (bf_request_ask,
 * bf_stream_open), or -1 with an error, which the server turns into the JSON error
 * body and the status of the error's kind.
 *
 * Lifetime: from the request line to the last byte of the reply; a client that goes
 * away ends it early, also while an answer is being waited for.
 * Threads: the main loop thread only.
 */
#pragma once

#include <json-c/json.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "daemon/api/route.h"

struct bf_api;
struct bf_service;
struct bf_stream;
struct bf_pending;

struct bf_reply {
    bool ready;
    int status;
    const char *content_type; /* static text */
    char *allow;              /* NULL, or the value of an Allow header */
    bool close;               /* close the connection after it */
    struct bf_buf body;
};

struct bf_request {
    struct bf_api *api;
    struct MHD_Connection *connection;
    struct ucred peer;
    struct bf_route_match match; /* route NULL: none */
    bool head;                   /* the method is HEAD: libmicrohttpd leaves the body out */
    struct bf_buf body_text;
    uint64_t body_seen;       /* bytes, also those thrown away */
    struct json_object *body; /* parsed; NULL: none was sent */
    struct bf_reply reply;
    bool suspended;
    struct bf_pending *pending;   /* being asked; NULL: none */
    struct bf_deadline answer_by; /* of the question */
    struct bf_stream *stream;     /* it is an event stream; NULL: not */
    struct bf_request *next;      /* list of the api's requests */
    struct bf_request **link;
};

struct bf_service *bf_request_service(const struct bf_request *request);

/* The text that "{...}" number `index` of the route's path stood for, decoded. */
const char *bf_request_name(const struct bf_request *request, unsigned index);

/* A query parameter, decoded by the route's match; NULL: not given. */
const char *bf_request_query(const struct bf_request *request, const char *name);
/* Its number; not given: *value_io stays.  Not a number or above `max`: BF_E_BAD_INPUT. */
int bf_request_query_u64(const struct bf_request *request, const char *name, uint64_t max,
                         uint64_t *value_io, struct bf_error *err);
/* Its truth: "1", "true", "0", "false". */
int bf_request_query_bool(const struct bf_request *request, const char *name, bool *value_io,
                          struct bf_error *err);
/* A header; NULL: not sent. */
const char *bf_request_header(const struct bf_request *request, const char *name);

/* Takes over `value`. */
void bf_reply_json(struct bf_request *request, int status, struct json_object *value);
/* As above for a list: the API never answers a bare array, so that fields can be added beside it.
 * An array becomes {"KEY": [...]}, an object stays. */
void bf_reply_list(struct bf_request *request, const char *key, struct json_object *value);
void bf_reply_text(struct bf_request *request, int status, const char *content_type,
                   const char *text, size_t length);
void bf_reply_empty(struct bf_request *request, int status);
void bf_reply_error(struct bf_request *request, const struct bf_error *error);

/* Ask the service (bf_service_ask) and answer when it does: `status` on success.  The client may go
 * away meanwhile.  `list_key` NULL: the answer is sent as it is.  Borrows `body`. */
int bf_request_ask(struct bf_request *request, const char *kind, struct json_object *body,
                   int status, const char *list_key, struct bf_error *err);

/* Wake a suspended request's connection; what is ready goes out. */
void bf_request_resume(struct bf_request *request);
