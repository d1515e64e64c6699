/* SPDX-License-Identifier: Apache-2.0 */
/* blockferry show, rounds, points: one replication in full. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

static char *number_text(struct json_object *object, const char *key)
{
    return bf_xasprintf("%u", (unsigned)bf_cli_u64(object, key));
}

static char *seconds_text(struct json_object *object, const char *key)
{
    double seconds;

    return bf_cli_number(object, key, &seconds) ? bf_cli_seconds(seconds) : NULL;
}

/* "0.34 %": what a round carried, against the disks it is about. */
static char *share_text(struct json_object *round)
{
    struct json_object *disks = bf_cli_array(round, "disks");
    uint64_t size = bf_cli_u64(round, "size_bytes");

    for (size_t i = 0; i < bf_cli_count(disks); i++)
        size += bf_cli_u64(json_object_array_get_idx(disks, i), "size_bytes");
    if (!size)
        return NULL;
    return bf_xasprintf("%.2f%%", 100.0 * (double)bf_cli_u64(round, "sent_bytes") / (double)size);
}

static char *error_or_note(struct json_object *object)
{
    const char *note = bf_cli_text(bf_cli_object(object, "error"), "message");

    return bf_cli_shown(note ? note : bf_cli_text_or(object, "note", ""));
}

/* --- show --- */

static void print_list(const char *label, struct json_object *list)
{
    bf_auto_buf words = {0};

    for (size_t i = 0; i < bf_cli_count(list); i++)
        bf_buf_addf(&words, "%s%s", i ? ", " : "",
                    json_object_get_string(json_object_array_get_idx(list, i)));
    if (words.text)
        bf_cli_pair(label, "%s", words.text);
}

/* What a launch and a cutover will do. */
static void print_launches(struct json_object *policy)
{
    const char *pattern = bf_cli_text(policy, "boot_pattern");

    if (bf_streq(bf_cli_text(policy, "transfer"), "adopt"))
        bf_cli_pair("transfer", "adopt: no copy, the target takes the source's own volumes over");
    if (bf_cli_bool(policy, "grow") || bf_cli_bool(policy, "serial_console"))
        bf_cli_pair("converts with", "%s%s%s", bf_cli_bool(policy, "grow") ? "grow" : "",
                    bf_cli_bool(policy, "grow") && bf_cli_bool(policy, "serial_console") ? ", "
                                                                                         : "",
                    bf_cli_bool(policy, "serial_console") ? "serial console" : "");
    if (bf_cli_text(policy, "virtio_win"))
        bf_cli_pair("drivers", "%s", bf_cli_text(policy, "virtio_win"));
    bf_cli_pair("boot", "shown by %s within %s, disks %s%s%s",
                bf_cli_text_or(policy, "boot_evidence", "try"),
                bf_cli_text_or(policy, "boot_timeout", "-"),
                bf_cli_text_or(policy, "boot_ladder", "virtio"), pattern ? ", pattern " : "",
                pattern ? pattern : "");
    bf_cli_pair(
        "shutdown", "%s within %s, after a failure %s", bf_cli_text_or(policy, "shutdown", "-"),
        bf_cli_text_or(policy, "shutdown_timeout", "-"), bf_cli_text_or(policy, "on_failure", "-"));
    bf_cli_pair("retries", "%u", (unsigned)bf_cli_u64(policy, "retries"));
    if (bf_cli_u64(policy, "drill_every"))
        bf_cli_pair("drills", "after each %u rounds", (unsigned)bf_cli_u64(policy, "drill_every"));
}

static void print_order(struct json_object *row)
{
    struct json_object *policy = bf_cli_object(row, "policy");
    bf_auto_free char *next = bf_cli_when_ago(row, "next_round_at");
    bf_auto_free char *lag = bf_format_duration(bf_cli_u64(row, "lag_s"));
    double seconds;
    bf_auto_free char *since = bf_cli_when_ago(row, "changed_at");

    bf_cli_pair("machine", "%s", bf_cli_text_or(bf_cli_object(row, "machine"), "name", "-"));
    bf_cli_pair("from, to", "%s, %s", bf_cli_text_or(row, "source", "-"),
                bf_cli_text_or(row, "target", "-"));
    bf_cli_pair("state since", "%s", since);
    bf_cli_pair("rounds", "%s%s", bf_cli_text(policy, "interval") ? "every " : "",
                bf_cli_text_or(policy, "interval", "by hand"));
    print_list("only in", bf_cli_array(policy, "windows"));
    bf_cli_pair("next round", "%s", next);
    bf_cli_pair("lag", "%s", bf_cli_number(row, "lag_s", &seconds) ? lag : "no point yet");
    bf_cli_pair("points", "%u (keeps %u)", (unsigned)bf_cli_u64(row, "points"),
                (unsigned)bf_cli_u64(policy, "keep_points"));
    bf_cli_pair("quiesce", "%s, verify %s, convert %s", bf_cli_text_or(policy, "quiesce", "-"),
                bf_cli_text_or(policy, "verify", "-"), bf_cli_text_or(policy, "convert", "-"));
    if (bf_cli_text(policy, "rate"))
        bf_cli_pair("rate", "at most %s/s", bf_cli_text(policy, "rate"));
    print_launches(policy);
    if (bf_cli_u64(row, "failures"))
        bf_cli_pair("failures", "%u in a row", (unsigned)bf_cli_u64(row, "failures"));
}

/* What the machine on the target gets that the source has not, or not so. */
static void print_machine(struct json_object *mapping)
{
    static const char *const texts[][2] = {
        {"machine_name", "called"}, {"flavor", "flavor"}, {"disk_bus", "disk bus"}};

    for (size_t i = 0; i < bf_array_length(texts); i++)
        if (bf_cli_text(mapping, texts[i][0]))
            bf_cli_pair(texts[i][1], "%s", bf_cli_text(mapping, texts[i][0]));
    if (bf_cli_u64(mapping, "cpus"))
        bf_cli_pair("cpus", "%u", (unsigned)bf_cli_u64(mapping, "cpus"));
    if (bf_cli_u64(mapping, "memory_bytes")) {
        bf_auto_free char *memory = bf_cli_size(mapping, "memory_bytes");

        bf_cli_pair("memory", "%s", memory);
    }
    print_list("only disks", bf_cli_array(mapping, "disks"));
    print_list("groups", bf_cli_array(mapping, "security_groups"));
}

static void print_mapping(struct json_object *mapping)
{
    struct json_object *networks = bf_cli_object(mapping, "networks");
    bf_auto_buf words = {0};

    if (networks) {
        json_object_object_foreach(networks, from, to)
        {
            bf_buf_addf(&words, "%s%s to %s", words.length ? ", " : "", from,
                        json_object_get_string(to));
        }
    }
    if (bf_cli_text(mapping, "default_network"))
        bf_buf_addf(&words, "%sothers to %s", words.length ? ", " : "",
                    bf_cli_text(mapping, "default_network"));
    if (words.text)
        bf_cli_pair("networks", "%s", words.text);
    if (bf_cli_text(mapping, "isolated_network"))
        bf_cli_pair("drills on", "%s", bf_cli_text(mapping, "isolated_network"));
    if (bf_cli_text(mapping, "storage"))
        bf_cli_pair("storage", "%s", bf_cli_text(mapping, "storage"));
    print_machine(mapping);
}

static void print_volumes(const struct bf_cli *cli, struct json_object *volumes)
{
    struct bf_table *table = bf_table_new(cli, "DISK|>SIZE|SEEDED");

    for (size_t i = 0; i < bf_cli_count(volumes); i++) {
        struct json_object *one = json_object_array_get_idx(volumes, i);

        bf_table_row(table, bf_cli_shown(bf_cli_text(one, "disk")), bf_cli_size(one, "size_bytes"),
                     bf_xstrdup(bf_cli_bool(one, "seeded") ? "yes" : "no"));
    }
    if (bf_cli_count(volumes))
        putchar('\n');
    bf_table_print(table, "");
}

static void print_round(const struct bf_cli *cli, struct json_object *round)
{
    bf_auto_free char *ended = bf_cli_when_ago(round, "ended_at");
    bf_auto_free char *took = seconds_text(round, "seconds");
    bf_auto_free char *sent = bf_cli_size(round, "sent_bytes");

    putchar('\n');
    bf_cli_heading(cli, "Last round: %u, %s, %s", (unsigned)bf_cli_u64(round, "number"),
                   bf_cli_text_or(round, "kind", "?"), bf_cli_text_or(round, "state", "?"));
    bf_cli_pair("sent", "%s in %s", sent, took ? took : "-");
    bf_cli_pair("ended", "%s", ended);
    bf_cli_pair("quiesced", "%s", bf_cli_bool(round, "quiesced") ? "yes" : "no");
    if (bf_cli_text(round, "note"))
        bf_cli_pair("note", "%s", bf_cli_text(round, "note"));
}

void bf_cli_print_launch(const struct bf_cli *cli, struct json_object *launch)
{
    struct json_object *timing = bf_cli_object(launch, "timing");
    bf_auto_free char *booted = bf_cli_when_ago(launch, "booted_at");
    struct json_object *evidence = bf_cli_object(launch, "evidence");
    const char *by = bf_cli_text(evidence, "by");
    bf_auto_free char *text =
        bf_cli_text(evidence, "text") ? bf_cli_shown(bf_cli_text(evidence, "text")) : NULL;

    putchar('\n');
    bf_cli_heading(cli, "Launch: %s, %s", bf_cli_text_or(launch, "kind", "?"),
                   bf_cli_text_or(launch, "state", "?"));
    bf_cli_pair("machine", "%s", bf_cli_text_or(launch, "machine_name", "-"));
    bf_cli_pair("point", "%u", (unsigned)bf_cli_u64(launch, "point"));
    bf_cli_pair("booted", "%s", booted);
    if (evidence)
        bf_cli_pair("shown by", "%s%s%s", by ? by : "nothing: not proven", text ? ": " : "",
                    text ? text : "");
    if (timing) {
        json_object_object_foreach(timing, part, milliseconds)
        {
            bf_auto_free char *took =
                bf_cli_seconds((double)json_object_get_int64(milliseconds) / 1000);

            bf_cli_pair(part, "%s", took);
        }
    }
    if (bf_cli_object(launch, "error"))
        bf_cli_print_stored_error(cli, bf_cli_object(launch, "error"));
}

static void print_job(const struct bf_cli *cli, struct json_object *job)
{
    struct json_object *steps = bf_cli_array(job, "steps");

    putchar('\n');
    bf_cli_heading(cli, "Job: %s, %s", bf_cli_text_or(job, "kind", "?"),
                   bf_cli_text_or(job, "state", "?"));
    for (size_t i = 0; i < bf_cli_count(steps); i++) {
        struct json_object *step = json_object_array_get_idx(steps, i);
        const char *state = bf_cli_text_or(step, "state", "?");
        bf_auto_free char *name = bf_cli_shown(bf_cli_text(step, "name"));
        bf_auto_free char *took = seconds_text(step, "seconds");
        const char *mark = bf_streq(state, "done")      ? "+"
                           : bf_streq(state, "running") ? ">"
                           : bf_streq(state, "undone")  ? "-"
                                                        : " ";

        printf("  %s %s%s%s\n", mark, name, took ? "  " : "", took ? took : "");
    }
}

static void print_forecast(struct json_object *forecast)
{
    double seconds;
    struct json_object *parts = bf_cli_object(forecast, "parts");
    bf_auto_buf words = {0};

    if (!bf_cli_number(forecast, "downtime_s", &seconds))
        return;
    if (parts) {
        json_object_object_foreach(parts, part, value)
        {
            bf_auto_free char *took = bf_cli_seconds(json_object_get_double(value) / 1000);

            bf_buf_addf(&words, "%s%s %s", words.length ? ", " : "", part, took);
        }
    }
    bf_auto_free char *all = bf_cli_seconds(seconds);

    bf_cli_pair("cutover takes", "about %s%s%s%s", all, words.length ? " (" : "",
                words.text ? words.text : "", words.length ? ")" : "");
}

int bf_cli_show(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_json *row = NULL;

    if (bf_cli_get(cli, &row, err, "/v1/replications/%s", name) < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(row);
        return 0;
    }
    bf_cli_heading(cli, "%s: %s", bf_cli_text_or(row, "name", cli->arguments[0]),
                   bf_cli_text_or(row, "state", "?"));
    print_order(row);
    print_mapping(bf_cli_object(row, "mapping"));
    print_forecast(bf_cli_object(row, "forecast"));
    print_list("allowed now", bf_cli_array(row, "verbs"));
    print_volumes(cli, bf_cli_array(row, "volumes"));
    if (bf_cli_object(row, "last_round"))
        print_round(cli, bf_cli_object(row, "last_round"));
    if (bf_cli_object(row, "job"))
        print_job(cli, bf_cli_object(row, "job"));
    if (bf_cli_object(row, "launch"))
        bf_cli_print_launch(cli, bf_cli_object(row, "launch"));
    if (bf_cli_count(bf_cli_array(row, "findings"))) {
        putchar('\n');
        bf_cli_heading(cli, "Findings");
        bf_cli_print_findings(cli, bf_cli_array(row, "findings"));
    }
    if (bf_cli_object(row, "error"))
        bf_cli_print_stored_error(cli, bf_cli_object(row, "error"));
    return 0;
}

/* --- rounds and points --- */

int bf_cli_rounds(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    const char *limit = bf_cli_option(cli, "limit");
    bf_auto_json *answer = NULL;
    struct json_object *list;
    struct bf_table *table;
    uint64_t count = 100;

    if (limit && bf_parse_u64(limit, &count, err) < 0)
        return bf_fail_in(err, "--limit");
    if (bf_cli_get(cli, &answer, err, "/v1/replications/%s/rounds?limit=%" PRIu64, name, count) < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    table =
        bf_table_new(cli, ">ROUND|KIND|~WHY|~STATE|~STARTED|>TIME|>SENT|>OF DISKS|~QUIESCED|~NOTE");
    list = bf_cli_array(answer, "rounds");
    for (size_t i = 0; i < bf_cli_count(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);

        bf_table_row(table, number_text(one, "number"), bf_cli_shown(bf_cli_text(one, "kind")),
                     bf_cli_shown(bf_cli_text(one, "trigger")),
                     bf_cli_shown(bf_cli_text(one, "state")), bf_cli_when(one, "started_at"),
                     seconds_text(one, "seconds"), bf_cli_size(one, "sent_bytes"), share_text(one),
                     bf_xstrdup(bf_cli_bool(one, "quiesced") ? "yes" : "no"), error_or_note(one));
    }
    bf_table_print(table, "No rounds yet.");
    return 0;
}

int bf_cli_points(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_json *answer = NULL;
    struct json_object *list;
    struct bf_table *table;

    if (bf_cli_get(cli, &answer, err, "/v1/replications/%s/points", name) < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    table = bf_table_new(cli, ">POINT|~TAKEN|AGE|~QUIESCED|DISK|>SIZE|~DIGEST");
    list = bf_cli_array(answer, "points");
    for (size_t i = 0; i < bf_cli_count(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);
        struct json_object *disks = bf_cli_array(one, "disks");

        for (size_t d = 0; d < bf_cli_count(disks); d++) {
            struct json_object *disk = json_object_array_get_idx(disks, d);

            bf_table_row(table, d ? bf_xstrdup("") : number_text(one, "number"),
                         d ? bf_xstrdup("") : bf_cli_when(one, "taken_at"),
                         d ? bf_xstrdup("") : bf_cli_ago(one, "taken_at"),
                         bf_xstrdup(d                              ? ""
                                    : bf_cli_bool(one, "quiesced") ? "yes"
                                                                   : "no"),
                         bf_cli_shown(bf_cli_text(disk, "disk")), bf_cli_size(disk, "size_bytes"),
                         bf_cli_shown(bf_cli_text(disk, "digest")));
        }
    }
    bf_table_print(table, "No points yet.");
    return 0;
}
