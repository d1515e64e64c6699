/* SPDX-License-Identifier: Apache-2.0 */
/* blockferry replicate, set, list, check, and the verbs of rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

#define PLATFORM_TIMEOUT_MS 180000

/* Options that are a field of the policy or the mapping.  `none`: the word none takes back what was
 * set. */
static const struct {
    const char *option;
    const char *part;
    const char *field;
    enum { TEXT, NUMBER, SIZE, LIST, MAP, ON_OFF } kind;
    bool none;
} fields[] = {
    {"interval", "policy", "interval", TEXT, true},
    {"window", "policy", "windows", LIST, true},
    {"keep-points", "policy", "keep_points", NUMBER, false},
    {"quiesce", "policy", "quiesce", TEXT, false},
    {"verify", "policy", "verify", TEXT, false},
    {"convert", "policy", "convert", TEXT, false},
    {"virtio-win", "policy", "virtio_win", TEXT, true},
    {"grow", "policy", "grow", ON_OFF, false},
    {"serial-console", "policy", "serial_console", ON_OFF, false},
    {"transfer", "policy", "transfer", TEXT, false},
    {"boot-ladder", "policy", "boot_ladder", TEXT, false},
    {"shutdown", "policy", "shutdown", TEXT, false},
    {"shutdown-timeout", "policy", "shutdown_timeout", TEXT, false},
    {"boot-timeout", "policy", "boot_timeout", TEXT, false},
    {"boot-evidence", "policy", "boot_evidence", TEXT, false},
    {"boot-pattern", "policy", "boot_pattern", TEXT, true},
    {"drill-every", "policy", "drill_every", NUMBER, false},
    {"rate", "policy", "rate", TEXT, true},
    {"on-failure", "policy", "on_failure", TEXT, false},
    {"retries", "policy", "retries", NUMBER, false},
    {"storage", "mapping", "storage", TEXT, true},
    {"network", "mapping", "networks", MAP, true},
    {"default-network", "mapping", "default_network", TEXT, true},
    {"isolated-network", "mapping", "isolated_network", TEXT, true},
    {"machine-name", "mapping", "machine_name", TEXT, true},
    {"cpus", "mapping", "cpus", NUMBER, true},
    {"memory", "mapping", "memory_bytes", SIZE, true},
    {"disk", "mapping", "disks", LIST, true},
    {"flavor", "mapping", "flavor", TEXT, true},
    {"security-group", "mapping", "security_groups", LIST, true},
    {"disk-bus", "mapping", "disk_bus", TEXT, true},
};

static struct json_object *list_of(const struct bf_cli *cli, const char *option)
{
    struct json_object *list = json_object_new_array();
    const char *text;

    for (size_t i = 0; (text = bf_cli_option_at(cli, option, i)); i++)
        json_object_array_add(list, json_object_new_string(text));
    return list;
}

static int map_of(const struct bf_cli *cli, const char *option, struct json_object **ret,
                  struct bf_error *err)
{
    bf_auto_json *map = json_object_new_object();
    const char *text;

    for (size_t i = 0; (text = bf_cli_option_at(cli, option, i)); i++) {
        const char *equals = strchr(text, '=');

        if (!equals || equals == text || !equals[1])
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s %s: expected SOURCE=TARGET", option, text);
        bf_auto_free char *key = bf_xasprintf("%.*s", (int)(equals - text), text);

        if (json_object_object_get_ex(map, key, NULL))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s %s is given twice", option, key);
        bf_json_add_string(map, key, equals + 1);
    }
    *ret = bf_steal(map);
    return 0;
}

static int field_add(const struct bf_cli *cli, size_t f, struct json_object *part,
                     struct bf_error *err)
{
    const char *text = bf_cli_option(cli, fields[f].option);
    struct json_object *value = NULL;
    uint64_t number = 0;

    if (fields[f].none && bf_streq(text, "none")) {
        if (bf_cli_option_at(cli, fields[f].option, 1))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s: none stands alone", fields[f].option);
        json_object_object_add(part, fields[f].field, NULL);
        return 0;
    }
    switch (fields[f].kind) {
    case TEXT:
        value = json_object_new_string(text);
        break;
    case ON_OFF:
        if (!bf_streq(text, "on") && !bf_streq(text, "off"))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s %s: on or off", fields[f].option, text);
        value = json_object_new_boolean(bf_streq(text, "on"));
        break;
    case NUMBER:
    case SIZE:
        if ((fields[f].kind == SIZE ? bf_parse_bytes(text, &number, err)
                                    : bf_parse_u64(text, &number, err)) < 0)
            return bf_fail_in(err, "--%s", fields[f].option);
        value = json_object_new_uint64(number);
        break;
    case LIST:
        value = list_of(cli, fields[f].option);
        break;
    case MAP:
        if (map_of(cli, fields[f].option, &value, err) < 0)
            return -1;
        break;
    }
    json_object_object_add(part, fields[f].field, value);
    return 0;
}

/* Only what was given: the service fills in and checks the rest. */
static int settings_add(const struct bf_cli *cli, struct json_object *body, struct bf_error *err)
{
    for (size_t i = 0; i < bf_array_length(fields); i++) {
        struct json_object *part = bf_cli_object(body, fields[i].part);

        if (!bf_cli_has(cli, fields[i].option))
            continue;
        if (!part) {
            part = json_object_new_object();
            json_object_object_add(body, fields[i].part, part);
        }
        if (field_add(cli, i, part, err) < 0)
            return -1;
    }
    return 0;
}

int bf_cli_replicate(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *body = json_object_new_object();
    bf_auto_json *answer = NULL;
    bool start = !bf_cli_has(cli, "no-start");
    const char *name;

    if (!bf_cli_option(cli, "source") || !bf_cli_option(cli, "target"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "blockferry replicate: --%s is missing",
                       bf_cli_option(cli, "source") ? "target" : "source");
    if (!start && bf_cli_has(cli, "wait"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--wait has nothing to wait for with --no-start");
    bf_json_add_string(body, "source", bf_cli_option(cli, "source"));
    bf_json_add_string(body, "machine", cli->arguments[0]);
    bf_json_add_string(body, "target", bf_cli_option(cli, "target"));
    bf_json_add_string(body, "name", bf_cli_option(cli, "name"));
    bf_json_add_bool(body, "start", start);
    if (bf_cli_has(cli, "waive"))
        json_object_object_add(body, "waive", list_of(cli, "waive"));
    if (settings_add(cli, body, err) < 0 ||
        bf_cli_call(cli, "POST", "/v1/replications", body, PLATFORM_TIMEOUT_MS, &answer, err) < 0)
        return -1;
    name = bf_cli_text_or(answer, "name", bf_cli_option(cli, "name"));
    if (cli->json && !bf_cli_has(cli, "wait")) {
        bf_cli_print_json(answer);
        return 0;
    }
    if (!cli->json) {
        printf("%s: %s\n", name, bf_cli_text_or(answer, "state", "made"));
        bf_cli_print_findings(cli, bf_cli_array(answer, "findings"));
    }
    return bf_cli_has(cli, "wait") && name ? bf_cli_wait_seeded(cli, name, err) : 0;
}

int bf_cli_set(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_free char *path = bf_xasprintf("/v1/replications/%s", name);
    bf_auto_json *body = json_object_new_object();
    bf_auto_json *answer = NULL;

    if (settings_add(cli, body, err) < 0)
        return -1;
    if (json_object_object_length(body) == 0)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "nothing to change (see blockferry set --help for what can be set)");
    if (bf_cli_call(cli, "PATCH", path, body, 0, &answer, err) < 0)
        return -1;
    if (cli->json)
        bf_cli_print_json(answer);
    else
        printf("%s: changed\n", cli->arguments[0]);
    return 0;
}

/* "412 s" as "6 min"; a replication without a point has no lag. */
static char *lag_text(struct json_object *replication)
{
    double lag;

    return bf_cli_number(replication, "lag_s", &lag)
               ? bf_format_duration(bf_cli_u64(replication, "lag_s"))
               : NULL;
}

static char *state_text(struct json_object *replication)
{
    return bf_cli_shown(bf_cli_text(replication, "state"));
}

/* What an admin wants to know next: the running job, the error, the open launch. */
static char *note_text(struct json_object *replication)
{
    struct json_object *job = bf_cli_object(replication, "job");
    struct json_object *progress = bf_cli_object(job, "progress");
    struct json_object *launch = bf_cli_object(replication, "launch");
    struct json_object *error = bf_cli_object(replication, "error");
    double done, total;

    if (progress && bf_cli_number(progress, "done_bytes", &done) &&
        bf_cli_number(progress, "to_send_bytes", &total) && total > 0)
        return bf_xasprintf("%s: %.0f%%", bf_cli_text_or(job, "step", "running"),
                            done >= total ? 100 : done * 100 / total);
    if (job)
        return bf_xasprintf("%s: %s", bf_cli_text_or(job, "kind", "job"),
                            bf_cli_text_or(job, "step", "running"));
    if (error)
        return bf_xstrdup(bf_cli_text_or(error, "message", "failed"));
    if (launch)
        return bf_xasprintf("%s %s", bf_cli_text_or(launch, "kind", "launch"),
                            bf_cli_text_or(launch, "state", ""));
    return bf_xstrdup("");
}

static bool is_listed(const struct bf_cli *cli, struct json_object *one)
{
    const char *platform = bf_cli_option(cli, "platform");
    const char *state;
    bool any_state = !bf_cli_has(cli, "state");

    for (size_t i = 0; (state = bf_cli_option_at(cli, "state", i)); i++)
        any_state |= bf_streq(state, bf_cli_text(one, "state"));
    return any_state && (!platform || bf_streq(platform, bf_cli_text(one, "source")) ||
                         bf_streq(platform, bf_cli_text(one, "target")));
}

/* The replications wanted, as the API tells them. */
static int list_get(struct bf_cli *cli, struct json_object **ret_list, struct bf_error *err)
{
    bf_auto_json *answer = NULL;
    struct json_object *all;
    const char *state;

    for (size_t i = 0; (state = bf_cli_option_at(cli, "state", i)); i++)
        if (!bf_cli_is_choice(cli, "state", state))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--state %s: one of %s", state,
                           bf_cli_choices(cli, "state"));
    if (bf_cli_get(cli, &answer, err, "/v1/replications") < 0)
        return -1;
    *ret_list = json_object_new_array();
    all = bf_cli_array(answer, "replications");
    for (size_t i = 0; i < bf_cli_count(all); i++)
        if (is_listed(cli, json_object_array_get_idx(all, i)))
            json_object_array_add(*ret_list, json_object_get(json_object_array_get_idx(all, i)));
    return 0;
}

int bf_cli_list(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *list = NULL;
    struct bf_table *table;

    if (list_get(cli, &list, err) < 0)
        return -1;
    if (cli->json) {
        bf_auto_json *shown = json_object_new_object();

        json_object_object_add(shown, "replications", json_object_get(list));
        bf_cli_print_json(shown);
        return 0;
    }
    table = bf_table_new(cli, "NAME|STATE|~MACHINE|~FROM|~TO|>LAG|NEXT ROUND|>POINTS|~NOTE");
    for (size_t i = 0; i < bf_cli_count(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);

        bf_table_row(table, bf_cli_shown(bf_cli_text(one, "name")), state_text(one),
                     bf_cli_shown(bf_cli_text(bf_cli_object(one, "machine"), "name")),
                     bf_cli_shown(bf_cli_text(one, "source")),
                     bf_cli_shown(bf_cli_text(one, "target")), lag_text(one),
                     bf_cli_ago(one, "next_round_at"),
                     bf_xasprintf("%u", (unsigned)bf_cli_u64(one, "points")), note_text(one));
    }
    bf_table_print(table,
                   cli->given_count && (bf_cli_has(cli, "state") || bf_cli_has(cli, "platform"))
                       ? "No replication is so."
                       : "No replications yet: see blockferry replicate --help");
    return 0;
}

static bool findings_block(struct json_object *findings)
{
    for (size_t i = 0; i < bf_cli_count(findings); i++) {
        struct json_object *one = json_object_array_get_idx(findings, i);

        if (bf_streq(bf_cli_text(one, "severity"), "block") && !bf_cli_bool(one, "waived"))
            return true;
    }
    return false;
}

static int check_wait(struct bf_cli *cli, const char *name, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/v1/replications/%s/check", name);
    bf_auto_json *body = json_object_new_object();
    bf_auto_json *answer = NULL;
    const char *job;
    bool json = cli->json;
    int code;

    if (bf_cli_has(cli, "inspect"))
        bf_json_add_bool(body, "inspect", true);
    if (bf_cli_has(cli, "waive"))
        json_object_object_add(body, "waive", list_of(cli, "waive"));
    if (bf_cli_call(cli, "POST", path, body, PLATFORM_TIMEOUT_MS, &answer, err) < 0)
        return -1;
    job = bf_cli_text(answer, "job");
    if (!job)
        return 0;
    /* What this command prints is the findings, not the job; a check that blocks is told by them.
     */
    cli->quiet = true;
    cli->json = false;
    code = bf_cli_wait_job(cli, cli->arguments[0], job, false, err);
    cli->quiet = false;
    cli->json = json;
    if (code < 0 && err->code == BF_E_PRECHECK_BLOCKED) {
        bf_error_clear(err);
        code = 0;
    }
    return code;
}

int bf_cli_check(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_json *answer = NULL;
    bf_auto_json *plan = NULL;
    struct json_object *findings;

    if (check_wait(cli, name, err) < 0 ||
        bf_cli_get(cli, &answer, err, "/v1/replications/%s", name) < 0 ||
        bf_cli_get(cli, &plan, err, "/v1/replications/%s/plan", name) < 0)
        return -1;
    findings = bf_cli_array(answer, "findings");
    if (cli->json) {
        bf_auto_json *shown = json_object_new_object();

        bf_json_add_string(shown, "name", bf_cli_text(answer, "name"));
        bf_json_add_string(shown, "checked_at", bf_cli_text(answer, "checked_at"));
        json_object_object_add(shown, "findings", json_object_get(findings));
        json_object_object_add(shown, "plan", json_object_get(bf_cli_object(plan, "plan")));
        bf_cli_print_json(shown);
    } else {
        bf_cli_print_findings(cli, findings);
        if (!bf_cli_count(findings))
            printf("%s: nothing to object to\n", cli->arguments[0]);
        bf_cli_print_plan(cli, plan);
    }
    if (findings_block(findings))
        return bf_fail(err, BF_E_PRECHECK_BLOCKED, 0, "%s cannot be replicated as it is",
                       cli->arguments[0]);
    return 0;
}

int bf_cli_sync(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *body = json_object_new_object();

    if (bf_cli_has(cli, "full") && bf_cli_has(cli, "compare"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "give --full or --compare, not both");
    if (bf_cli_has(cli, "full") || bf_cli_has(cli, "compare"))
        bf_json_add_string(body, "kind", bf_cli_has(cli, "full") ? "full" : "compare");
    return bf_cli_verb(cli, "sync", body, bf_cli_has(cli, "wait"), err);
}

int bf_cli_pause(struct bf_cli *cli, struct bf_error *err)
{
    return bf_cli_verb(cli, "pause", NULL, false, err);
}

int bf_cli_resume(struct bf_cli *cli, struct bf_error *err)
{
    return bf_cli_verb(cli, "resume", NULL, false, err);
}

int bf_cli_cancel(struct bf_cli *cli, struct bf_error *err)
{
    return bf_cli_verb(cli, "cancel", NULL, false, err);
}
