/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of /v1/platforms. */
#include "base/json.h"
#include "daemon/api/handlers.h"
#include "daemon/api/request.h"
#include "daemon/service.h"

int bf_handle_platforms(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_platforms(bf_request_service(request), &answer, err) < 0)
        return -1;
    bf_reply_list(request, "platforms", answer);
    return 0;
}

int bf_handle_platform_add(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_platform_add(bf_request_service(request), request->body, &answer, err) < 0)
        return -1;
    bf_reply_json(request, 201, answer);
    return 0;
}

int bf_handle_platform(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (bf_service_platform(bf_request_service(request), bf_request_name(request, 0), &answer,
                            err) < 0)
        return -1;
    bf_reply_json(request, 200, answer);
    return 0;
}

int bf_handle_platform_change(struct bf_request *request, struct bf_error *err)
{
    struct json_object *answer = NULL;

    if (!request->body)
        return bf_fail(err, BF_E_BAD_JSON, 0,
                       "the body is missing: url, user, password or options");
    if (bf_service_platform_change(bf_request_service(request), bf_request_name(request, 0),
                                   request->body, &answer, err) < 0)
        return -1;
    bf_reply_json(request, 200, answer);
    return 0;
}

int bf_handle_platform_remove(struct bf_request *request, struct bf_error *err)
{
    if (bf_service_platform_remove(bf_request_service(request), bf_request_name(request, 0), err) <
        0)
        return -1;
    bf_reply_empty(request, 204);
    return 0;
}

int bf_handle_platform_test(struct bf_request *request, struct bf_error *err)
{
    bf_auto_json *question = json_object_new_object();

    bf_json_add_string(question, "name", bf_request_name(request, 0));
    return bf_request_ask(request, "platform-test", question, 200, NULL, err);
}

/* The platform is looked up first, so that a wrong name is told at once. */
static int ask_platform(struct bf_request *request, const char *kind, const char *list_key,
                        struct bf_error *err)
{
    const char *name = bf_request_name(request, 0);
    bf_auto_json *platform = NULL;
    bf_auto_json *question = json_object_new_object();

    if (bf_service_platform(bf_request_service(request), name, &platform, err) < 0)
        return -1;
    bf_json_add_string(question, "platform", name);
    if (bf_request_name(request, 1))
        bf_json_add_string(question, "machine", bf_request_name(request, 1));
    return bf_request_ask(request, kind, question, 200, list_key, err);
}

int bf_handle_machines(struct bf_request *request, struct bf_error *err)
{
    return ask_platform(request, "machines", "machines", err);
}

int bf_handle_machine(struct bf_request *request, struct bf_error *err)
{
    return ask_platform(request, "machine", NULL, err);
}

int bf_handle_resources(struct bf_request *request, struct bf_error *err)
{
    return ask_platform(request, "resources", NULL, err);
}
