/* SPDX-License-Identifier: Apache-2.0 */
/* blockferry status, events, ledger, reconcile, report: the service and its books. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

#define PLATFORM_TIMEOUT_MS 180000
#define PAGE 1000

int bf_cli_status(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *answer = NULL;

    if (bf_cli_get(cli, &answer, err, "/v1/status") < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    bf_cli_heading(cli, "blockferryd %s", bf_cli_text_or(answer, "version", "?"));
    json_object_object_del(answer, "version");
    json_object_object_del(answer, "now");
    bf_cli_print_object(answer);
    return 0;
}

/* --- events --- */

static void print_event(const struct bf_cli *cli, struct json_object *event)
{
    const char *level = bf_cli_text_or(event, "level", "info");
    const char *style = bf_streq(level, "error")     ? "red"
                        : bf_streq(level, "warning") ? "yellow"
                                                     : "";
    bf_auto_free char *when = bf_cli_when(event, "at");
    bf_auto_free char *replication = bf_cli_shown(bf_cli_text_or(event, "replication", "service"));
    bf_auto_free char *message = bf_cli_shown(bf_cli_text(event, "message"));

    printf("%-16s  %s%-7s%s  %-16s  %s\n", when, bf_cli_style(cli, style), level,
           *style ? bf_cli_style(cli, "plain") : "", replication, message);
    fflush(stdout);
}

static int on_event(struct json_object *event, void *user)
{
    const struct bf_cli *cli = user;

    if (cli->json)
        puts(bf_json_text(event)); /* one a line: a stream has no end */
    else if (!bf_streq(bf_cli_text(event, "type"), "progress"))
        print_event(cli, event);
    fflush(stdout);
    return ferror(stdout);
}

/* The newest `last`, page by page: what comes meanwhile belongs to them. */
static int events_get(struct bf_cli *cli, const char *replication, uint64_t last,
                      struct json_object **ret_list, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(replication ? replication : "");
    bf_auto_json *all = json_object_new_array();
    uint64_t after = 0;
    size_t count;

    do {
        bf_auto_json *answer = NULL;
        struct json_object *list;

        if (bf_cli_get(cli, &answer, err, "/v1/events?limit=%d&%s=%" PRIu64 "%s%s", PAGE,
                       after ? "after" : "last", after ? after : last,
                       replication ? "&replication=" : "", name) < 0)
            return -1;
        list = bf_cli_array(answer, "events");
        count = bf_cli_count(list);
        for (size_t i = 0; i < count; i++) {
            struct json_object *event = json_object_array_get_idx(list, i);

            after = bf_cli_u64(event, "id");
            json_object_array_add(all, json_object_get(event));
        }
    } while (count == PAGE);
    *ret_list = bf_steal(all);
    return 0;
}

int bf_cli_events(struct bf_cli *cli, struct bf_error *err)
{
    const char *replication = bf_cli_option(cli, "replication");
    bool follow = bf_cli_has(cli, "follow");
    uint64_t last = follow ? 20 : 100;
    bf_auto_json *list = NULL;
    bf_auto_free char *after = NULL;

    if (bf_cli_has(cli, "last") && bf_parse_u64(bf_cli_option(cli, "last"), &last, err) < 0)
        return bf_fail_in(err, "--last");
    if (events_get(cli, replication, last, &list, err) < 0)
        return -1;
    size_t count = bf_cli_count(list);

    if (cli->json && !follow) {
        bf_auto_json *shown = json_object_new_object();

        json_object_object_add(shown, "events", json_object_get(list));
        bf_cli_print_json(shown);
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        on_event(json_object_array_get_idx(list, i), cli);
    if (!follow && !count)
        puts("Nothing has happened.");
    if (!follow)
        return 0;
    if (count)
        after =
            bf_xasprintf("%" PRIu64, bf_cli_u64(json_object_array_get_idx(list, count - 1), "id"));
    return bf_cli_follow(cli, replication, after, on_event, cli, err);
}

/* --- ledger --- */

static int print_ledger(struct bf_cli *cli, struct json_object *answer, const char *key,
                        const char *if_empty)
{
    struct json_object *list = bf_cli_array(answer, key);
    struct bf_table *table;

    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    table = bf_table_new(cli, "TAG|~PLATFORM|~REPLICATION|KIND|STATE|AGE|~NAME");
    for (size_t i = 0; i < bf_cli_count(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);

        bf_table_row(table, bf_cli_shown(bf_cli_text(one, "tag")),
                     bf_cli_shown(bf_cli_text(one, "platform")),
                     bf_cli_shown(bf_cli_text(one, "replication")),
                     bf_cli_shown(bf_cli_text(one, "kind")),
                     bf_cli_shown(bf_cli_text(one, "state")), bf_cli_ago(one, "created_at"),
                     bf_cli_shown(bf_cli_text(one, "name")));
    }
    bf_table_print(table, if_empty);
    return 0;
}

int bf_cli_ledger(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *answer = NULL;

    if (bf_cli_get(cli, &answer, err, "/v1/ledger%s", bf_cli_has(cli, "all") ? "?all=1" : "") < 0)
        return -1;
    return print_ledger(cli, answer, "ledger", "The service has nothing on any platform.");
}

int bf_cli_reconcile(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *body = json_object_new_object();
    bf_auto_json *answer = NULL;

    if (bf_cli_has(cli, "platform"))
        bf_json_add_string(body, "platform", bf_cli_option(cli, "platform"));
    if (bf_cli_call(cli, "POST", "/v1/reconcile", body, PLATFORM_TIMEOUT_MS, &answer, err) < 0)
        return -1;
    return print_ledger(cli, answer, "found",
                        "Nothing of ours is there that the ledger does not know.");
}

/* --- report --- */

static mode_t mask_of_user(void)
{
    mode_t mask = umask(077);

    umask(mask);
    return mask;
}

int bf_cli_report(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    const char *file = bf_cli_option(cli, "html");
    bf_auto_free char *path =
        bf_xasprintf("/v1/replications/%s/report?format=%s", name, file ? "html" : "json");
    bf_auto_free char *text = NULL;
    bf_auto_json *answer = NULL;
    size_t length = 0;

    if (file && cli->json)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "give --json or --html, not both");
    if (!file) {
        if (bf_cli_call(cli, "GET", path, NULL, 0, &answer, err) < 0)
            return -1;
        if (cli->json)
            bf_cli_print_json(answer);
        else
            bf_cli_print_report(cli, answer);
        return 0;
    }
    if (bf_cli_get_text(cli, path, &text, &length, err) < 0)
        return -1;
    if (!*file || bf_streq(file, "-"))
        return bf_fd_write_all(STDOUT_FILENO, text, length, err);
    /* Consoles of guests are in it: who may read it is the user's own say. */
    if (bf_file_replace(file, text, length, 0666 & ~mask_of_user(), err) < 0)
        return bf_fail_in(err, "report %s", file);
    printf("%s\n", file);
    return 0;
}
