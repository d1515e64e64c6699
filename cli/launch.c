/* SPDX-License-Identifier: Apache-2.0 */
/* blockferry drill, cutover and what ends them; remove. */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

/* On a terminal somebody is looking: show how it goes. */
static bool wants_wait(const struct bf_cli *cli)
{
    return !bf_cli_has(cli, "no-wait") &&
           (bf_cli_has(cli, "wait") || (cli->terminal && !cli->json));
}

static int point_add(const struct bf_cli *cli, struct json_object *body, struct bf_error *err)
{
    uint64_t number = 0;

    if (!bf_cli_has(cli, "point"))
        return 0;
    if (bf_parse_u64(bf_cli_option(cli, "point"), &number, err) < 0)
        return bf_fail_in(err, "--point");
    bf_json_add_u64(body, "point", number);
    return 0;
}

/* What a launch came to: where the machine is and how long each part took. */
static int launch_print(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_json *answer = NULL;
    struct json_object *launch;

    if (cli->json)
        return 0;
    if (bf_cli_get(cli, &answer, err, "/v1/replications/%s", name) < 0)
        return -1;
    launch = bf_cli_object(answer, "launch");
    if (launch)
        bf_cli_print_launch(cli, launch);
    return 0;
}

int bf_cli_drill(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *body = json_object_new_object();

    if (point_add(cli, body, err) < 0)
        return -1;
    if (bf_cli_has(cli, "network"))
        bf_json_add_string(body, "network", bf_cli_option(cli, "network"));
    if (bf_cli_has(cli, "convert"))
        bf_json_add_string(body, "convert", bf_cli_option(cli, "convert"));
    if (bf_cli_verb(cli, "drill", body, wants_wait(cli), err) < 0)
        return -1;
    return wants_wait(cli) ? launch_print(cli, err) : 0;
}

int bf_cli_drill_end(struct bf_cli *cli, struct bf_error *err)
{
    return bf_cli_verb(cli, "drill-end", NULL, wants_wait(cli), err);
}

/* Tell what will happen, with the names and numbers of this very machine. */
static int cutover_confirm(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_json *answer = NULL;
    bf_auto_free char *question = NULL;
    bf_auto_free char *downtime = NULL;
    double seconds;

    if (bf_cli_get(cli, &answer, err, "/v1/replications/%s", name) < 0)
        return -1;
    if (bf_cli_number(bf_cli_object(answer, "forecast"), "downtime_s", &seconds))
        downtime = bf_cli_seconds(seconds);
    question = bf_xasprintf(
        "The cutover of %s shuts %s down on %s and starts it on %s.%s%s%s", cli->arguments[0],
        bf_cli_text_or(bf_cli_object(answer, "machine"), "name", "the machine"),
        bf_cli_text_or(answer, "source", "the source"),
        bf_cli_text_or(answer, "target", "the target"), downtime ? "\nExpected downtime: " : "",
        downtime ? downtime : "", downtime ? "." : "");
    bf_text_clean(question, true);
    return bf_cli_confirm(cli, question, cli->arguments[0], err);
}

int bf_cli_cutover(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *body = json_object_new_object();

    if (point_add(cli, body, err) < 0)
        return -1;
    if (bf_cli_has(cli, "shutdown"))
        bf_json_add_string(body, "shutdown", bf_cli_option(cli, "shutdown"));
    if (!bf_cli_has(cli, "yes") && cutover_confirm(cli, err) < 0)
        return -1;
    bf_json_add_bool(body, "yes", true);
    if (bf_cli_verb(cli, "cutover", body, wants_wait(cli), err) < 0)
        return -1;
    if (!wants_wait(cli))
        return 0;
    if (launch_print(cli, err) < 0)
        return -1;
    if (!cli->json)
        printf("\nLook at the machine, then: blockferry confirm %s, or blockferry rollback %s\n",
               cli->arguments[0], cli->arguments[0]);
    return 0;
}

int bf_cli_confirm_launch(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *body = json_object_new_object();

    if (bf_cli_has(cli, "keep-replica"))
        bf_json_add_bool(body, "keep_replica", true);
    if (bf_cli_has(cli, "force"))
        bf_json_add_bool(body, "force", true);
    return bf_cli_verb(cli, "confirm", body, wants_wait(cli), err);
}

int bf_cli_rollback(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *body = json_object_new_object();

    if (bf_cli_has(cli, "leave-off") && bf_cli_has(cli, "start"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--start and --leave-off exclude each other");
    if (bf_cli_has(cli, "leave-off") || bf_cli_has(cli, "start"))
        bf_json_add_bool(body, "start_source", bf_cli_has(cli, "start"));
    return bf_cli_verb(cli, "rollback", body, wants_wait(cli), err);
}

int bf_cli_remove(struct bf_cli *cli, struct bf_error *err)
{
    bool volumes = bf_cli_has(cli, "delete-volumes");
    bf_auto_json *body = json_object_new_object();
    bf_auto_free char *question = bf_xasprintf(
        "This ends the replication %s and %s.", cli->arguments[0],
        volumes ? "deletes its volumes and points on the target" : "hands its volumes over to you");

    if (bf_cli_confirm(cli, question, cli->arguments[0], err) < 0)
        return -1;
    bf_json_add_bool(body, "delete_volumes", volumes);
    if (bf_cli_has(cli, "force"))
        bf_json_add_bool(body, "force", true);
    return bf_cli_verb(cli, "remove", body, wants_wait(cli), err);
}
