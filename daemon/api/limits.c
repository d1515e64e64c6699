/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of /v1/limits. */
#include "base/json.h"
#include "daemon/api/handlers.h"
#include "daemon/api/request.h"
#include "daemon/service.h"

int bf_handle_limits(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_limits(bf_request_service(request), &answer, err) < 0)
        return -1;
    bf_reply_list(request, "limits", answer);
    return 0;
}

int bf_handle_limits_set(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_limits_set(bf_request_service(request), request->body, &answer, err) < 0)
        return -1;
    bf_reply_json(request, 200, answer);
    return 0;
}
