/* SPDX-License-Identifier: Apache-2.0 */
/* The API's server on a stub of the service, for tests of the server and of the command line.
 *
 *   api-stub SOCKET WORLD.json [GROUP]   serve until SIGTERM; "ready" on standard output
 *   api-stub --routes                    print the table of routes as JSON
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/api/api.h"
#include "daemon/api/route.h"
#include "daemon/loop.h"
#include "stub_service.h"

static int print_routes(void)
{
    bf_auto_json *list = json_object_new_array();

    for (size_t i = 0; i < bf_route_count; i++) {
        struct json_object *route = json_object_new_object();
        struct json_object *fields = bf_routes[i].fields ? json_object_new_object() : NULL;

        bf_json_add_string(route, "method", bf_routes[i].method);
        bf_json_add_string(route, "path", bf_routes[i].path);
        bf_json_add_string(route, "summary", bf_routes[i].summary);
        bf_json_add_string(route, "query", bf_routes[i].query);
        for (const struct bf_field *field = bf_routes[i].fields; field && field->name; field++) {
            struct json_object *one = json_object_new_object();

            bf_json_add_string(one, "type", bf_field_type_to_string(field->type));
            bf_json_add_bool(one, "required", field->required);
            json_object_object_add(fields, field->name, one);
        }
        json_object_object_add(route, "fields", fields);
        json_object_array_add(list, route);
    }
    puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
    return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *user)
{
    (void)info;
    (void)user;
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int serve(const char *socket_path, const char *world_path, const char *group)
{
    struct bf_loop *loop = stub_loop_new();
    bf_auto_error err = BF_ERROR_INIT;
    sd_event_source *term = NULL;
    struct bf_service *service = stub_service_new(loop, world_path, &err);
    struct bf_api *api = NULL;
    int code = 1;

    if (sd_event_add_signal(bf_loop_event(loop), &term, SIGTERM, on_signal, NULL) < 0)
        abort();
    if (service && bf_api_start(loop, service, -1, socket_path, group, &api, &err) == 0) {
        puts("ready");
        fflush(stdout);
        code = sd_event_loop(bf_loop_event(loop)) < 0;
    } else {
        bf_log_error(BF_LOG_ERROR, &err, "api-stub");
    }
    bf_api_stop(api);
    stub_service_free(service);
    sd_event_source_disable_unref(term);
    stub_loop_free(loop);
    return code;
}

int main(int argc, char **argv)
{
    sigset_t signals;

    if (argc == 2 && bf_streq(argv[1], "--routes"))
        return print_routes();
    if (argc != 3 && argc != 4) {
        fputs("usage: api-stub SOCKET WORLD.json [GROUP] | --routes\n", stderr);
        return 2;
    }
    bf_log_open("api-stub", getenv("API_STUB_DEBUG") ? BF_LOG_DEBUG : BF_LOG_WARNING);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return serve(argv[1], argv[2], argc == 4 ? argv[3] : NULL);
}
