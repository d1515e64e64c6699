/* SPDX-License-Identifier: Apache-2.0 */
/* blockferry limit ...: how fast the service may copy, and when. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

/* "50M", "50M Mon-Fri 08:00-18:00" */
static struct json_object *limit_json(const char *text)
{
    struct json_object *json = json_object_new_object();
    size_t length = strcspn(text, " ");
    const char *window = text + length + strspn(text + length, " ");
    bf_auto_free char *rate = bf_xasprintf("%.*s", (int)length, text);

    bf_json_add_string(json, "rate", rate);
    if (*window) {
        struct json_object *windows = json_object_new_array();

        json_object_array_add(windows, json_object_new_string(window));
        json_object_object_add(json, "windows", windows);
    }
    return json;
}

static char *limits_text(struct json_object *limits)
{
    bf_auto_buf out = {0};

    for (size_t i = 0; i < bf_cli_count(limits); i++) {
        struct json_object *one = json_object_array_get_idx(limits, i);
        struct json_object *windows = bf_cli_array(one, "windows");
        uint64_t rate = 0;
        bf_auto_error ignored = BF_ERROR_INIT;
        bf_auto_free char *shown = NULL;

        (void)bf_parse_u64(bf_cli_text_or(one, "rate", "0"), &rate, &ignored);
        shown = bf_format_bytes(rate);
        bf_buf_addf(&out, "%s%s/s", i ? "; " : "", shown);
        for (size_t w = 0; w < bf_cli_count(windows); w++)
            bf_buf_addf(&out, "%s%s", w ? ", " : " ",
                        json_object_get_string(json_object_array_get_idx(windows, w)));
    }
    return out.length ? bf_steal(out.text) : bf_xstrdup("none");
}

static char *rate_text(struct json_object *one, const char *key, const char *otherwise)
{
    double rate;
    bf_auto_free char *bytes = NULL;

    if (!bf_cli_number(one, key, &rate))
        return bf_xstrdup(otherwise);
    bytes = bf_format_bytes((uint64_t)rate);
    return bf_xasprintf("%s/s", bytes);
}

int bf_cli_limit_list(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *answer = NULL;
    struct json_object *list;
    struct bf_table *table;

    if (bf_cli_get(cli, &answer, err, "/v1/limits") < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    table = bf_table_new(cli, "SCOPE|NAME|LIMITS|>NOW|>USED|>COPIES");
    list = bf_cli_array(answer, "limits");
    for (size_t i = 0; i < bf_cli_count(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);

        bf_table_row(table, bf_cli_shown(bf_cli_text(one, "scope")),
                     bf_cli_shown(bf_cli_text(one, "name")),
                     limits_text(bf_cli_array(one, "limits")),
                     rate_text(one, "limit_now", "no limit"), rate_text(one, "used", "-"),
                     bf_xasprintf("%llu", (unsigned long long)bf_cli_u64(one, "copies")));
    }
    bf_table_print(table, "No limits");
    return 0;
}

int bf_cli_limit_set(struct bf_cli *cli, struct bf_error *err)
{
    const char *platform = bf_cli_option(cli, "platform");
    const char *replication = bf_cli_option(cli, "replication");
    bf_auto_json *body = json_object_new_object();
    bf_auto_json *answer = NULL;
    struct json_object *limits = json_object_new_array();
    bf_auto_free char *shown = NULL;
    const char *text;

    json_object_object_add(body, "limits", limits);
    if (platform && replication)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "give --platform or --replication, not both");
    if (!bf_cli_option_at(cli, "limit", 0))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "--limit is missing: such as '50M Mon-Fri 08:00-18:00', or none");
    for (size_t i = 0; (text = bf_cli_option_at(cli, "limit", i)); i++) {
        if (!bf_streq(text, "none"))
            json_object_array_add(limits, limit_json(text));
    }
    bf_json_add_string(body, "scope",
                       platform      ? "platform"
                       : replication ? "replication"
                                     : "service");
    if (platform || replication)
        bf_json_add_string(body, "name", platform ? platform : replication);
    if (bf_cli_call(cli, "PATCH", "/v1/limits", body, 0, &answer, err) < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    shown = limits_text(bf_cli_array(answer, "limits"));
    printf("%s: %s\n", platform ? platform : replication ? replication : "service", shown);
    return 0;
}
