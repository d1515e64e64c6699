/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of /v1/replications. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "daemon/api/handlers.h"
#include "daemon/api/request.h"
#include "daemon/report.h"
#include "daemon/service.h"

/* Lists are paged by the caller; this only keeps one answer from being unbounded. */
#define LIMIT_MAX 100000

int bf_handle_replications(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_replications(bf_request_service(request), &answer, err) < 0)
        return -1;
    bf_reply_list(request, "replications", answer);
    return 0;
}

static int waive_check(struct json_object *body, struct bf_error *err)
{
    struct json_object *waive = json_object_object_get(body, "waive");

    for (size_t i = 0; waive && i < json_object_array_length(waive); i++)
        if (json_object_get_type(json_object_array_get_idx(waive, i)) != json_type_string)
            return bf_fail(err, BF_E_BAD_JSON, 0, "waive[%zu]: expected string", i);
    return 0;
}

int bf_handle_replicate(struct bf_request *request, struct bf_error *err)
{
    if (waive_check(request->body, err) < 0)
        return -1;
    return bf_request_ask(request, "replicate", request->body, 201, NULL, err);
}

int bf_handle_replication(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_replication(bf_request_service(request), bf_request_name(request, 0), &answer,
                               err) < 0)
        return -1;
    bf_reply_json(request, 200, answer);
    return 0;
}

int bf_handle_replication_change(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (!request->body)
        return bf_fail(err, BF_E_BAD_JSON, 0, "the body is missing: mapping or policy");
    if (bf_service_replication_change(bf_request_service(request), bf_request_name(request, 0),
                                      request->body, &answer, err) < 0)
        return -1;
    bf_reply_json(request, 200, answer);
    return 0;
}

int bf_handle_rounds(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;
    uint64_t limit = 100;

    if (bf_request_query_u64(request, "limit", LIMIT_MAX, &limit, err) < 0 ||
        bf_service_rounds(bf_request_service(request), bf_request_name(request, 0), limit, &answer,
                          err) < 0)
        return -1;
    bf_reply_list(request, "rounds", answer);
    return 0;
}

int bf_handle_points(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_points(bf_request_service(request), bf_request_name(request, 0), &answer, err) <
        0)
        return -1;
    bf_reply_list(request, "points", answer);
    return 0;
}

int bf_handle_launches(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_launches(bf_request_service(request), bf_request_name(request, 0), &answer,
                            err) < 0)
        return -1;
    bf_reply_list(request, "launches", answer);
    return 0;
}

int bf_handle_jobs(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;
    uint64_t limit = 100;

    if (bf_request_query_u64(request, "limit", LIMIT_MAX, &limit, err) < 0 ||
        bf_service_jobs(bf_request_service(request), bf_request_name(request, 0), limit, &answer,
                        err) < 0)
        return -1;
    bf_reply_list(request, "jobs", answer);
    return 0;
}

int bf_handle_plan(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_plan(bf_request_service(request), bf_request_name(request, 0), &answer, err) < 0)
        return -1;
    bf_reply_json(request, 200, answer);
    return 0;
}

int bf_handle_report(struct bf_request *request, struct bf_error *err)
{
    const char *format = bf_request_query(request, "format");
    struct json_object *report = NULL;

    if (format && !bf_streq(format, "json") && !bf_streq(format, "html"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "format: expected json or html");
    if (bf_service_report(bf_request_service(request), bf_request_name(request, 0), &report, err) <
        0)
        return -1;
    if (!bf_streq(format, "html")) {
        bf_reply_json(request, 200, report);
        return 0;
    }
    bf_auto_json *owned = report;
    bf_auto_free char *page = bf_report_html(owned);

    bf_reply_text(request, 200, "text/html; charset=utf-8", page, strlen(page));
    return 0;
}

/* The verb is the last piece of the route's path: the table says which there are. */
int bf_handle_verb(struct bf_request *request, struct bf_error *err)
{
    const char *verb = strrchr(request->match.route->path, '/') + 1;
    struct json_object *answer = NULL;

    if (bf_service_verb(bf_request_service(request), bf_request_name(request, 0), verb,
                        request->body, &answer, err) < 0)
        return -1;
    bf_reply_json(request, 202, answer);
    return 0;
}
