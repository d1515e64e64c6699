/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the API over the service's socket. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

#define ORIGIN "http://blockferry"

char *bf_cli_encode(const char *name)
{
    bf_auto_buf out = {0};

    bf_buf_add(&out, "", 0);
    for (; *name; name++) {
        if ((*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
            (*name >= '0' && *name <= '9') || strchr("-_.~", *name))
            bf_buf_add(&out, name, 1);
        else
            bf_buf_addf(&out, "%%%02X", (unsigned char)*name);
    }
    return out.text ? bf_steal(out.text) : bf_xstrdup("");
}

/* Whether somebody answers is tried once by hand: the reason then is the kernel's, not the HTTP
 * library's paraphrase. */
static int socket_try(const char *path, struct bf_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bf_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "the socket's path is too long: %s", path);
    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "socket");
    strcpy(address.sun_path, path);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return 0;
    if (errno == EACCES || errno == EPERM)
        return bf_fail(err, BF_E_SERVICE_DENIED, errno, "%s", path);
    return bf_fail(err, BF_E_SERVICE_UNREACHABLE, errno, "%s", path);
}

static int http_open(struct bf_cli *cli, struct bf_error *err)
{
    struct bf_http_conf conf = {
        .unix_socket = cli->socket_path, .user_agent = "blockferry/" BF_VERSION, .cancel_fd = -1};

    if (cli->http)
        return 0;
    if (socket_try(cli->socket_path, err) < 0)
        return -1;
    return bf_http_new(&conf, &cli->http, err);
}

int bf_cli_reach(struct bf_cli *cli, struct bf_error *err)
{
    return http_open(cli, err);
}

/* An answer that is an error becomes one here, with the service's own words. */
static int answer_check(const struct bf_http_response *response, struct bf_error *err)
{
    bf_auto_json *body = NULL;
    bf_auto_error ignored = BF_ERROR_INIT;
    struct bf_error told = BF_ERROR_INIT;

    if (response->status >= 200 && response->status < 300)
        return 0;
    if (response->body &&
        bf_json_parse(response->body, response->body_length, &body, &ignored) == 0 &&
        bf_json_to_error(bf_cli_object(body, "error"), &told) == 0) {
        bf_error_move(err, &told);
        return -1;
    }
    return bf_fail(err, BF_E_PROTOCOL, 0, "the service answered with HTTP status %d and no reason",
                   response->status);
}

/* The HTTP client knows platforms only; here the peer is the service. */
static int service_lost(struct bf_error *err)
{
    if (err->code == BF_E_PLATFORM_UNREACHABLE)
        bf_error_recode(err, BF_E_SERVICE_UNREACHABLE);
    return -1;
}

static int perform(struct bf_cli *cli, const char *method, const char *path, const char *body,
                   uint64_t timeout_ms, struct bf_http_response *ret_response, struct bf_error *err)
{
    static const char *const json_header[] = {"Content-Type: application/json", "Expect:", NULL};
    bf_auto_free char *url = bf_xasprintf(ORIGIN "%s", path);
    struct bf_http_request request = {.method = method,
                                      .url = url,
                                      .headers = body ? json_header : NULL,
                                      .body = body,
                                      .body_length = body ? strlen(body) : 0,
                                      .timeout_ms = timeout_ms};

    if (http_open(cli, err) < 0)
        return -1;
    if (bf_http_perform(cli->http, &request, ret_response, err) < 0)
        return service_lost(err);
    if (answer_check(ret_response, err) < 0) {
        bf_http_response_done(ret_response);
        return -1;
    }
    return 0;
}

int bf_cli_call(struct bf_cli *cli, const char *method, const char *path, struct json_object *body,
                uint64_t timeout_ms, struct json_object **ret, struct bf_error *err)
{
    struct bf_http_response response = {0};
    int code = 0;

    if (perform(cli, method, path, body ? bf_json_text(body) : NULL, timeout_ms, &response, err) <
        0)
        return -1;
    if (ret) {
        *ret = NULL;
        if (response.body_length &&
            bf_json_parse(response.body, response.body_length, ret, err) < 0)
            code = bf_fail_in(err, "the service's answer");
    }
    bf_http_response_done(&response);
    return code;
}

int bf_cli_get(struct bf_cli *cli, struct json_object **ret, struct bf_error *err,
               const char *format, ...)
{
    bf_auto_free char *path = NULL;
    va_list args;

    va_start(args, format);
    path = bf_xvasprintf(format, args);
    va_end(args);
    return bf_cli_call(cli, "GET", path, NULL, 0, ret, err);
}

int bf_cli_get_text(struct bf_cli *cli, const char *path, char **ret_text, size_t *ret_length,
                    struct bf_error *err)
{
    struct bf_http_response response = {0};

    if (perform(cli, "GET", path, NULL, 0, &response, err) < 0)
        return -1;
    *ret_text = bf_steal(response.body);
    *ret_length = response.body_length;
    bf_http_response_done(&response);
    return 0;
}

/* --- the event stream --- */

struct follow {
    struct bf_buf text;
    bf_cli_event_fn *fn;
    void *user;
    bool stopped;
};

/* One block of the stream: its data lines are an event; comments have none. */
static int follow_block(struct follow *follow, char *block)
{
    char *rest = NULL;

    for (char *line = strtok_r(block, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        bf_auto_json *event = NULL;
        bf_auto_error ignored = BF_ERROR_INIT;

        if (!bf_starts_with(line, "data: ") ||
            bf_json_parse(line + 6, strlen(line + 6), &event, &ignored) < 0)
            continue;
        if (follow->fn(event, follow->user) != 0) {
            follow->stopped = true;
            return 1;
        }
    }
    return 0;
}

static int on_stream(const char *data, size_t length, void *user)
{
    struct follow *follow = user;
    char *end;

    bf_buf_add(&follow->text, data, length);
    while ((end = strstr(follow->text.text, "\n\n"))) {
        bf_auto_free char *block =
            bf_xasprintf("%.*s", (int)(end - follow->text.text), follow->text.text);
        size_t used = (size_t)(end - follow->text.text) + 2;

        memmove(follow->text.text, follow->text.text + used, follow->text.length - used + 1);
        follow->text.length -= used;
        if (follow_block(follow, block) != 0)
            return 1;
    }
    return 0;
}

int bf_cli_follow(struct bf_cli *cli, const char *replication, const char *after,
                  bf_cli_event_fn *fn, void *user, struct bf_error *err)
{
    static const char *const headers[] = {"Accept: text/event-stream", NULL};
    bf_auto_free char *name = bf_cli_encode(replication ? replication : "");
    bf_auto_free char *url = bf_xasprintf(
        ORIGIN "/v1/events%s%s%s%s%s", after || replication ? "?" : "", after ? "after=" : "",
        after ? after : "", replication ? (after ? "&replication=" : "replication=") : "", name);
    struct follow follow = {.fn = fn, .user = user};
    struct bf_http_request request = {.method = "GET",
                                      .url = url,
                                      .headers = headers,
                                      .timeout_ms = UINT64_MAX,
                                      .on_data = on_stream,
                                      .user = &follow};
    struct bf_http_response response = {0};
    int code;

    if (http_open(cli, err) < 0)
        return -1;
    code = bf_http_perform(cli->http, &request, &response, err);
    if (code < 0)
        service_lost(err);
    if (follow.stopped) {
        bf_error_clear(err);
        code = 0;
    } else if (code == 0 && response.status / 100 != 2) {
        code = answer_check(&response, err); /* on_data is given the body of a success only */
    } else if (code == 0) {
        code = bf_fail(err, BF_E_SERVICE_UNREACHABLE, 0, "the service ended the event stream");
    }
    bf_http_response_done(&response);
    bf_buf_done(&follow.text);
    return code;
}
