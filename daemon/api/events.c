/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/events: a page of stored events, or a live stream. */
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "daemon/api/api_private.h"
#include "daemon/api/handlers.h"
#include "daemon/service.h"

#define LIMIT_MAX 10000

static bool wants_stream(const struct bf_request *request)
{
    const char *accept = bf_request_header(request, "Accept");

    return accept && strstr(accept, "text/event-stream");
}

/* Which events are wanted: those of one replication, by its name also when its id is given ... */
static int events_of(struct bf_request *request, struct json_object **ret_replication,
                     struct bf_error *err)
{
    const char *name = bf_request_query(request, "replication");

    return name ? bf_service_replication(bf_request_service(request), name, ret_replication, err)
                : 0;
}

/* ... and those behind this one. */
static int events_after(struct bf_request *request, const char *replication, uint64_t *ret_after,
                        struct bf_error *err)
{
    uint64_t after = 0, last = 0, before_last = 0;

    if (bf_request_query_u64(request, "after", INT64_MAX, &after, err) < 0 ||
        bf_request_query_u64(request, "last", INT64_MAX, &last, err) < 0)
        return -1;
    if (bf_request_query(request, "last") &&
        bf_service_events_last(bf_request_service(request), replication, last, &before_last, err) <
            0)
        return -1;
    *ret_after = after > before_last ? after : before_last;
    return 0;
}

int bf_handle_events(struct bf_request *request, struct bf_error *err)
{
    const char *last_seen = bf_request_header(request, "Last-Event-ID");
    bool stream = wants_stream(request);
    struct json_object *answer = NULL;
    bf_auto_json *found = NULL;
    const char *replication;
    uint64_t after = 0;
    uint64_t limit = 1000;

    if (bf_request_query_u64(request, "limit", LIMIT_MAX, &limit, err) < 0 ||
        events_of(request, &found, err) < 0)
        return -1;
    replication = found ? json_object_get_string(json_object_object_get(found, "name")) : NULL;
    if (events_after(request, replication, &after, err) < 0)
        return -1;
    if (stream && request->head) {
        bf_reply_text(request, 200, "text/event-stream; charset=utf-8", "", 0);
        return 0;
    }
    if (stream) {
        bool seen = last_seen && *last_seen;

        /* A browser repeats the query when it reconnects: what it saw last is newer. */
        if (seen && bf_parse_u64(last_seen, &after, err) < 0)
            return bf_fail_in(err, "Last-Event-ID");
        return bf_stream_open(request, replication,
                              seen || bf_request_query(request, "after") ||
                                  bf_request_query(request, "last"),
                              after, err);
    }
    if (bf_service_events(bf_request_service(request), replication, after, limit, &answer, err) < 0)
        return -1;
    bf_reply_list(request, "events", answer);
    return 0;
}
