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

int bf_handle_events(struct bf_request *request, struct bf_error *err)
{
    const char *replication = bf_request_query(request, "replication");
    const char *last = bf_request_header(request, "Last-Event-ID");
    bool stream = wants_stream(request);
    struct json_object *answer = NULL;
    uint64_t after = 0;
    uint64_t limit = 1000;

    if (bf_request_query_u64(request, "after", INT64_MAX, &after, err) < 0 ||
        bf_request_query_u64(request, "limit", LIMIT_MAX, &limit, err) < 0)
        return -1;
    if (replication) {
        bf_auto_json *found = NULL;

        if (bf_service_replication(bf_request_service(request), replication, &found, err) < 0)
            return -1;
    }
    if (stream && request->head) {
        bf_reply_text(request, 200, "text/event-stream; charset=utf-8", "", 0);
        return 0;
    }
    if (stream) {
        /* A browser repeats the query when it reconnects: what it saw last is newer. */
        if (last && *last && bf_parse_u64(last, &after, err) < 0)
            return bf_fail_in(err, "Last-Event-ID");
        return bf_stream_open(request, replication,
                              (last && *last) || bf_request_query(request, "after"), after, err);
    }
    if (bf_service_events(bf_request_service(request), replication, after, limit, &answer, err) < 0)
        return -1;
    bf_reply_list(request, "events", answer);
    return 0;
}
