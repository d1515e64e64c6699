/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of what concerns the service as a whole. */
#include "daemon/api/handlers.h"
#include "daemon/api/request.h"
#include "daemon/service.h"

int bf_handle_status(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_status(bf_request_service(request), &answer, err) < 0)
        return -1;
    bf_reply_json(request, 200, answer);
    return 0;
}

int bf_handle_ledger(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;
    bool all = false;

    if (bf_request_query_bool(request, "all", &all, err) < 0 ||
        bf_service_ledger(bf_request_service(request), all, &answer, err) < 0)
        return -1;
    bf_reply_list(request, "ledger", answer);
    return 0;
}

int bf_handle_reconcile(struct bf_request *request, struct bf_error *err)
{
    return bf_request_ask(request, "reconcile", request->body, 200, "found", err);
}
