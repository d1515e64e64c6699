/* SPDX-License-Identifier: Apache-2.0 */
/* The report as one HTML page.
 *
 * Written by the XML builder, so no text of a guest, a platform or an admin can become markup.
 * The page forbids itself all scripts and all loading (Content-Security-Policy), because it is
 * mailed around and opened far from here.
 */
#include "daemon/report.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "base/xml.h"
#include "daemon/report_read.h"

/* A page to read, not an archive: the JSON has them all. */
#define ROUNDS_SHOWN 200
#define EVENTS_SHOWN 100
#define NOTHING "\xe2\x80\x93" /* en dash */

static const char policy_of_page[] = "default-src 'none'; style-src 'unsafe-inline'";

/* No character that the builder would escape. */
static const char style[] =
    "body{font:14px/1.45 sans-serif;color:#222;max-width:75em;margin:2em auto;padding:0 1em}"
    "h1{font-size:1.6em;margin-bottom:0}h2{font-size:1.2em;margin:1.8em 0 .4em;"
    "border-bottom:2px solid #06c}h3{font-size:1em;margin:1.2em 0 .3em}"
    "table{border-collapse:collapse;width:100%;margin:.3em 0}"
    "th,td{text-align:left;vertical-align:top;padding:.2em .6em;border-bottom:1px solid #ddd}"
    "th{background:#f3f5f7}td.n,th.n{text-align:right;white-space:nowrap}"
    "table.k th{width:14em;font-weight:normal;color:#555;background:none}"
    "code,pre{font:12px/1.35 monospace;overflow-wrap:anywhere}"
    "pre{background:#f6f6f6;border:1px solid #ddd;padding:.6em;white-space:pre-wrap}"
    ".bar{background:#e4e9ee;height:.7em;min-width:6em}.bar div{background:#06c;height:100%}"
    ".bad{color:#b00}.good{color:#070}.dim{color:#666}"
    "@media print{body{margin:0;max-width:none;font-size:11px}h2,h3{break-after:avoid}"
    "tr,pre{break-inside:avoid}thead{display:table-header-group}"
    ".bar,.bar div,th{print-color-adjust:exact}}";

/* --- pieces --- */

static void open_class(struct bf_xml_out *out, const char *name, const char *class)
{
    bf_xml_open(out, name);
    bf_xml_attr(out, "class", class);
}

static void leaf_class(struct bf_xml_out *out, const char *name, const char *class,
                       const char *text)
{
    open_class(out, name, class);
    bf_xml_content(out, text && *text ? text : NOTHING);
    bf_xml_close(out);
}

static void cell(struct bf_xml_out *out, const char *text)
{
    leaf_class(out, "td", NULL, text);
}

static void code_cell(struct bf_xml_out *out, const char *text)
{
    bf_xml_open(out, "td");
    leaf_class(out, "code", NULL, text);
    bf_xml_close(out);
}

static void number_cell(struct bf_xml_out *out, const char *text)
{
    leaf_class(out, "td", "n", text);
}

static void count_cell(struct bf_xml_out *out, uint64_t count)
{
    bf_auto_free char *text = bf_xasprintf("%" PRIu64, count);
    number_cell(out, text);
}

static void bytes_cell(struct bf_xml_out *out, uint64_t bytes)
{
    bf_auto_free char *text = bf_format_bytes(bytes);
    number_cell(out, text);
}

static void seconds_cell(struct bf_xml_out *out, double seconds)
{
    bf_auto_free char *text = bf_xasprintf("%.1f s", seconds);
    number_cell(out, text);
}

static void heading(struct bf_xml_out *out, const char *text)
{
    bf_xml_leaf(out, "h2", text);
}

/* Column names, ended by NULL; one that begins with "#" holds numbers. */
static void open_table(struct bf_xml_out *out, const char *const *columns)
{
    bf_xml_open(out, "table");
    bf_xml_open(out, "thead");
    bf_xml_open(out, "tr");
    for (; *columns; columns++)
        leaf_class(out, "th", **columns == '#' ? "n" : NULL, *columns + (**columns == '#'));
    bf_xml_close(out);
    bf_xml_close(out);
    bf_xml_open(out, "tbody");
}

static void close_table(struct bf_xml_out *out)
{
    bf_xml_close(out);
    bf_xml_close(out);
}

/* A table of names and values; rows by pair(). */
static void open_pairs(struct bf_xml_out *out)
{
    open_class(out, "table", "k");
    bf_xml_open(out, "tbody");
}

static void pair(struct bf_xml_out *out, const char *name, const char *value)
{
    bf_xml_open(out, "tr");
    bf_xml_leaf(out, "th", name);
    cell(out, value);
    bf_xml_close(out);
}

static void bytes_pair(struct bf_xml_out *out, const char *name, uint64_t bytes)
{
    bf_auto_free char *text = bf_format_bytes(bytes);
    pair(out, name, text);
}

/* A value as people write it: texts bare, lists with commas, objects as "a = b". */
static void add_value(struct bf_buf *buf, struct json_object *value)
{
    if (json_object_is_type(value, json_type_string)) {
        bf_buf_addf(buf, "%s", json_object_get_string(value));
    } else if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            bf_buf_addf(buf, "%s", i ? ", " : "");
            add_value(buf, json_object_array_get_idx(value, i));
        }
    } else if (json_object_is_type(value, json_type_object)) {
        bool first = true;
        json_object_object_foreach(value, key, item)
        {
            bf_buf_addf(buf, "%s%s = ", first ? "" : ", ", key);
            add_value(buf, item);
            first = false;
        }
    } else if (value) {
        bf_buf_addf(buf, "%s", json_object_to_json_string(value));
    }
}

static void object_pairs(struct bf_xml_out *out, struct json_object *object)
{
    if (!object) {
        leaf_class(out, "p", "dim", NULL);
        return;
    }
    open_pairs(out);
    json_object_object_foreach(object, key, value)
    {
        bf_auto_buf text = {0};
        add_value(&text, value);
        pair(out, key, text.text);
    }
    bf_xml_close(out);
    bf_xml_close(out);
}

static void error_lines(struct bf_xml_out *out, struct json_object *error)
{
    if (!error)
        return;
    bf_xml_open(out, "div");
    leaf_class(out, "strong", "bad", bf_report_text(error, "code"));
    bf_xml_content(out, " ");
    bf_xml_content(out, bf_report_text(error, "message"));
    bf_xml_close(out);
    if (bf_report_text(error, "fix"))
        leaf_class(out, "div", "dim", bf_report_text(error, "fix"));
    if (bf_report_text(error, "evidence"))
        bf_xml_leaf(out, "pre", bf_report_text(error, "evidence"));
}

/* --- sections --- */

static void show_identity(struct bf_xml_out *out, struct json_object *replication)
{
    struct json_object *machine = bf_report_object(replication, "machine");
    heading(out, "Replication");
    open_pairs(out);
    pair(out, "state", bf_report_text(replication, "state"));
    pair(out, "machine", bf_report_text(machine, "name"));
    pair(out, "machine id", bf_report_text(machine, "id"));
    pair(out, "guest", bf_report_text(machine, "guest_os"));
    bf_auto_free char *cpus = bf_xasprintf("%" PRIu64, bf_report_u64(machine, "cpus"));
    pair(out, "cpus", cpus);
    bytes_pair(out, "memory", bf_report_u64(machine, "memory_bytes"));
    pair(out, "firmware", bf_report_text(machine, "firmware"));
    pair(out, "source", bf_report_text(replication, "source"));
    pair(out, "target", bf_report_text(replication, "target"));
    pair(out, "created", bf_report_text(replication, "created_at"));
    pair(out, "next round", bf_report_text(replication, "next_round_at"));
    bf_xml_close(out);
    bf_xml_close(out);
    error_lines(out, bf_report_object(replication, "error"));
}

static void show_totals(struct bf_xml_out *out, struct json_object *report)
{
    struct json_object *totals = bf_report_object(report, "totals");
    struct json_object *downtime = bf_report_object(report, "downtime");
    heading(out, "In short");
    open_pairs(out);
    bytes_pair(out, "size of the disks", bf_report_u64(totals, "disk_bytes"));
    bf_auto_free char *rounds = bf_xasprintf(
        "%" PRIu64 " (%" PRIu64 " complete, %" PRIu64 " failed)", bf_report_u64(totals, "rounds"),
        bf_report_u64(totals, "complete"), bf_report_u64(totals, "failed"));
    pair(out, "rounds", rounds);
    bytes_pair(out, "carried by full rounds", bf_report_u64(totals, "full_sent_bytes"));
    bf_auto_free char *bytes = bf_format_bytes(bf_report_u64(totals, "delta_sent_bytes"));
    bf_auto_free char *deltas = bf_xasprintf(
        "%s in %" PRIu64 " rounds, each %.2f %% of the disks on average", bytes,
        bf_report_u64(totals, "delta_rounds"), 100 * bf_report_number(totals, "delta_share"));
    pair(out, "carried by delta rounds", bf_report_u64(totals, "delta_rounds") ? deltas : NULL);
    bf_auto_free char *seconds = bf_xasprintf("%.1f s", bf_report_number(downtime, "seconds"));
    pair(out, "downtime of the last cutover", downtime ? seconds : NULL);
    bf_auto_free char *open = bf_xasprintf("%" PRIu64, bf_report_u64(report, "ledger_open"));
    pair(out, "open ledger entries", open);
    bf_xml_close(out);
    bf_xml_close(out);
}

static void show_volumes(struct bf_xml_out *out, struct json_object *replication)
{
    static const char *const columns[] = {"disk", "#size", "seeded", NULL};
    struct json_object *volumes = bf_report_array(replication, "volumes");
    bf_xml_leaf(out, "h3", "Volumes");
    open_table(out, columns);
    for (size_t i = 0; i < bf_report_length(volumes); i++) {
        struct json_object *volume = bf_report_item(volumes, i);
        bf_xml_open(out, "tr");
        cell(out, bf_report_text(volume, "disk"));
        bytes_cell(out, bf_report_u64(volume, "size_bytes"));
        cell(out, bf_report_flag(volume, "seeded") ? "yes" : "no");
        bf_xml_close(out);
    }
    close_table(out);
}

/* What was carried of the disk, as a bar and a number. */
static void share_cells(struct bf_xml_out *out, uint64_t part, uint64_t whole)
{
    double share = whole ? 100 * (double)part / (double)whole : 0;
    bf_auto_free char *text = bf_xasprintf("%.2f %%", share);
    number_cell(out, whole ? text : NULL);
    bf_xml_open(out, "td");
    open_class(out, "div", "bar");
    bf_xml_open(out, "div");
    bf_xml_attrf(out, "style", "width:%.1f%%", share > 100 ? 100 : share);
    bf_xml_content(out, "");
    bf_xml_close(out);
    bf_xml_close(out);
    bf_xml_close(out);
}

static void show_round_disk(struct bf_xml_out *out, struct json_object *round,
                            struct json_object *disk)
{
    bf_xml_open(out, "tr");
    count_cell(out, bf_report_u64(round, "number"));
    cell(out, bf_report_text(disk, "disk"));
    cell(out, bf_report_text(disk, "kind"));
    bytes_cell(out, bf_report_u64(disk, "size_bytes"));
    bytes_cell(out, bf_report_u64(disk, "sent_bytes"));
    share_cells(out, bf_report_u64(disk, "sent_bytes"), bf_report_u64(disk, "size_bytes"));
    bytes_cell(out, bf_report_u64(disk, "zero_bytes"));
    seconds_cell(out, bf_report_number(disk, "seconds"));
    cell(out, bf_report_text(disk, "verified"));
    code_cell(out, bf_report_text(disk, "digest"));
    cell(out, bf_report_text(disk, "note"));
    bf_xml_close(out);
}

static void show_round(struct bf_xml_out *out, struct json_object *round)
{
    const char *state = bf_report_text(round, "state");
    bf_xml_open(out, "tr");
    count_cell(out, bf_report_u64(round, "number"));
    cell(out, bf_report_text(round, "started_at"));
    cell(out, bf_report_text(round, "kind"));
    cell(out, bf_report_text(round, "trigger"));
    leaf_class(out, "td", bf_streq(state, "failed") ? "bad" : NULL, state);
    cell(out, bf_report_flag(round, "quiesced") ? "yes" : "no");
    bytes_cell(out, bf_report_u64(round, "to_send_bytes"));
    bytes_cell(out, bf_report_u64(round, "sent_bytes"));
    seconds_cell(out, bf_report_number(round, "seconds"));
    bf_xml_open(out, "td");
    bf_xml_content(out, bf_report_text(round, "note"));
    bf_xml_content(out, "");
    error_lines(out, bf_report_object(round, "error"));
    bf_xml_close(out);
    bf_xml_close(out);
}

static void show_rounds(struct bf_xml_out *out, struct json_object *rounds)
{
    static const char *const columns[] = {"#round", "started",  "kind",     "trigger",
                                          "state",  "quiesced", "#to send", "#carried",
                                          "#time",  "note",     NULL};
    static const char *const disk_columns[] = {"#round",   "disk", "kind",  "#size", "#carried",
                                               "#of disk", "",     "#zero", "#time", "verified",
                                               "digest",   "note", NULL};
    size_t count = bf_report_length(rounds);
    size_t shown = count < ROUNDS_SHOWN ? count : ROUNDS_SHOWN;

    heading(out, "Rounds");
    if (shown < count) {
        bf_auto_free char *text =
            bf_xasprintf("The newest %zu of %zu; the sums above are of all.", shown, count);
        leaf_class(out, "p", "dim", text);
    }
    open_table(out, columns);
    for (size_t i = 0; i < shown; i++)
        show_round(out, bf_report_item(rounds, i));
    close_table(out);
    bf_xml_leaf(out, "h3", "By disk");
    open_table(out, disk_columns);
    for (size_t i = 0; i < shown; i++) {
        struct json_object *round = bf_report_item(rounds, i);
        struct json_object *disks = bf_report_array(round, "disks");
        for (size_t d = 0; d < bf_report_length(disks); d++)
            show_round_disk(out, round, bf_report_item(disks, d));
    }
    close_table(out);
}

static void show_points(struct bf_xml_out *out, struct json_object *points)
{
    static const char *const columns[] = {"#point", "taken",  "quiesced", "disk",
                                          "#size",  "digest", NULL};
    heading(out, "Points");
    open_table(out, columns);
    for (size_t i = 0; i < bf_report_length(points); i++) {
        struct json_object *point = bf_report_item(points, i);
        struct json_object *disks = bf_report_array(point, "disks");
        for (size_t d = 0; d < bf_report_length(disks); d++) {
            struct json_object *disk = bf_report_item(disks, d);
            bf_xml_open(out, "tr");
            count_cell(out, bf_report_u64(point, "number"));
            cell(out, bf_report_text(point, "taken_at"));
            cell(out, bf_report_flag(point, "quiesced") ? "yes" : "no");
            cell(out, bf_report_text(disk, "disk"));
            bytes_cell(out, bf_report_u64(disk, "size_bytes"));
            code_cell(out, bf_report_text(disk, "digest"));
            bf_xml_close(out);
        }
    }
    close_table(out);
}

/* A launch's time by part, with the sum: a cutover's is the downtime. */
static void show_timing(struct bf_xml_out *out, struct json_object *launch)
{
    static const char *const columns[] = {"part", "#time", "#share", "", NULL};
    struct json_object *timing = bf_report_object(launch, "timing");
    bf_auto_json *downtime = bf_report_downtime(launch);
    uint64_t sum = 0;

    if (!timing || json_object_object_length(timing) == 0)
        return;
    json_object_object_foreach(timing, name, ignored)
    {
        (void)ignored;
        sum += bf_report_u64(timing, name);
    }
    open_table(out, columns);
    json_object_object_foreach(timing, part, value)
    {
        (void)value;
        uint64_t ms = bf_report_u64(timing, part);
        bf_xml_open(out, "tr");
        cell(out, part);
        seconds_cell(out, (double)ms / 1000);
        share_cells(out, ms, sum);
        bf_xml_close(out);
    }
    bf_xml_open(out, "tr");
    leaf_class(out, "th", NULL, downtime ? "downtime" : "together");
    seconds_cell(out, (double)sum / 1000);
    cell(out, NULL);
    cell(out, NULL);
    bf_xml_close(out);
    close_table(out);
}

/* What decided that the guest has booted. */
static void show_evidence(struct bf_xml_out *out, struct json_object *evidence)
{
    const char *by = bf_report_text(evidence, "by");
    bf_auto_free char *text = NULL;

    if (!evidence)
        return;
    text = by ? bf_xasprintf("by its %s after %.0f s: %s",
                             bf_streq(by, "agent") ? "guest agent" : "console",
                             bf_report_number(evidence, "seconds"),
                             bf_report_text(evidence, "text") ? bf_report_text(evidence, "text")
                                                              : "several lines")
              : bf_xstrdup("not proven: neither console nor guest agent showed it");
    pair(out, "shown", text);
}

static void show_launch(struct bf_xml_out *out, struct json_object *launch)
{
    bf_auto_free char *title =
        bf_xasprintf("%s from point %" PRIu64 ": %s",
                     bf_report_text(launch, "kind") ? bf_report_text(launch, "kind") : "launch",
                     bf_report_u64(launch, "point"),
                     bf_report_text(launch, "state") ? bf_report_text(launch, "state") : NOTHING);
    bf_xml_leaf(out, "h3", title);
    open_pairs(out);
    pair(out, "machine on the target", bf_report_text(launch, "machine_name"));
    pair(out, "started", bf_report_text(launch, "started_at"));
    pair(out, "booted", bf_report_text(launch, "booted_at"));
    pair(out, "ended", bf_report_text(launch, "ended_at"));
    show_evidence(out, bf_report_object(launch, "evidence"));
    bf_xml_close(out);
    bf_xml_close(out);
    error_lines(out, bf_report_object(launch, "error"));
    show_timing(out, launch);
    if (bf_report_object(launch, "conversion")) {
        leaf_class(out, "p", "dim", "Conversion");
        object_pairs(out, bf_report_object(launch, "conversion"));
    }
    if (bf_report_text(launch, "console_tail")) {
        leaf_class(out, "p", "dim", "Evidence: the serial console");
        bf_xml_leaf(out, "pre", bf_report_text(launch, "console_tail"));
    }
}

static void show_launches(struct bf_xml_out *out, struct json_object *launches)
{
    heading(out, "Launches");
    if (bf_report_length(launches) == 0)
        leaf_class(out, "p", "dim", "None.");
    for (size_t i = 0; i < bf_report_length(launches); i++)
        show_launch(out, bf_report_item(launches, i));
}

static void show_findings(struct bf_xml_out *out, struct json_object *replication)
{
    static const char *const columns[] = {"severity", "id",  "subject", "found",
                                          "needed",   "why", "fix",     NULL};
    struct json_object *findings = bf_report_array(replication, "findings");
    heading(out, "Findings");
    if (bf_report_length(findings) == 0) {
        leaf_class(out, "p", "dim", findings ? "None." : "Not checked.");
        return;
    }
    open_table(out, columns);
    for (size_t i = 0; i < bf_report_length(findings); i++) {
        struct json_object *finding = bf_report_item(findings, i);
        const char *severity = bf_report_text(finding, "severity");
        bf_xml_open(out, "tr");
        leaf_class(out, "td", bf_streq(severity, "block") ? "bad" : NULL, severity);
        for (const char *const *column = columns + 1; *column; column++)
            cell(out, bf_report_text(finding, *column));
        bf_xml_close(out);
    }
    close_table(out);
}

static bool is_trouble(struct json_object *event)
{
    const char *level = bf_report_text(event, "level");
    return bf_streq(level, "warning") || bf_streq(level, "error");
}

/* Newest first, as all else. */
static void show_events(struct bf_xml_out *out, struct json_object *events)
{
    static const char *const columns[] = {"at", "level", "what", "message", NULL};
    size_t shown = 0;
    heading(out, "Warnings and errors");
    open_table(out, columns);
    for (size_t i = bf_report_length(events); i > 0 && shown < EVENTS_SHOWN; i--) {
        struct json_object *event = bf_report_item(events, i - 1);
        const char *level = bf_report_text(event, "level");
        if (!is_trouble(event))
            continue;
        shown++;
        bf_xml_open(out, "tr");
        cell(out, bf_report_text(event, "at"));
        leaf_class(out, "td", bf_streq(level, "error") ? "bad" : NULL, level);
        cell(out, bf_report_text(event, "type"));
        cell(out, bf_report_text(event, "message"));
        bf_xml_close(out);
    }
    close_table(out);
    if (shown == 0)
        leaf_class(out, "p", "dim", "None.");
}

static void show_ledger(struct bf_xml_out *out, struct json_object *ledger)
{
    static const char *const columns[] = {"id",    "platform", "kind", "name",
                                          "state", "created",  NULL};
    size_t closed = 0;
    heading(out, "Ledger");
    open_table(out, columns);
    for (size_t i = 0; i < bf_report_length(ledger); i++) {
        struct json_object *entry = bf_report_item(ledger, i);
        if (!bf_report_entry_open(entry)) {
            closed++;
            continue;
        }
        bf_xml_open(out, "tr");
        code_cell(out, bf_report_text(entry, "id"));
        cell(out, bf_report_text(entry, "platform"));
        cell(out, bf_report_text(entry, "kind"));
        cell(out, bf_report_text(entry, "name"));
        cell(out, bf_report_text(entry, "state"));
        cell(out, bf_report_text(entry, "created_at"));
        bf_xml_close(out);
    }
    close_table(out);
    bf_auto_free char *text =
        bf_xasprintf("%zu entries are closed: what they name is gone, or was handed over.", closed);
    leaf_class(out, "p", "dim", text);
}

static void show_head(struct bf_xml_out *out, const char *name)
{
    bf_auto_free char *title = bf_xasprintf("%s: replication report", name);
    bf_xml_open(out, "head");
    bf_xml_empty(out, "meta", "charset", "utf-8", NULL);
    bf_xml_empty(out, "meta", "http-equiv", "Content-Security-Policy", "content", policy_of_page,
                 NULL);
    bf_xml_empty(out, "meta", "name", "viewport", "content", "width=device-width", NULL);
    bf_xml_leaf(out, "title", title);
    bf_xml_leaf(out, "style", style);
    bf_xml_close(out);
}

static void show_body(struct bf_xml_out *out, struct json_object *report, const char *name)
{
    struct json_object *replication = bf_report_object(report, "replication");
    bf_auto_free char *made = bf_xasprintf(
        "Made %s by blockferry %s.",
        bf_report_text(report, "made_at") ? bf_report_text(report, "made_at") : NOTHING,
        bf_report_text(report, "version") ? bf_report_text(report, "version") : "");
    bf_xml_open(out, "body");
    bf_xml_leaf(out, "h1", name);
    leaf_class(out, "p", "dim", made);
    show_totals(out, report);
    show_identity(out, replication);
    show_volumes(out, replication);
    show_launches(out, bf_report_array(report, "launches"));
    show_points(out, bf_report_array(report, "points"));
    show_rounds(out, bf_report_array(report, "rounds"));
    show_findings(out, replication);
    show_events(out, bf_report_array(report, "events"));
    heading(out, "Mapping");
    object_pairs(out, bf_report_object(replication, "mapping"));
    heading(out, "Policy");
    object_pairs(out, bf_report_object(replication, "policy"));
    show_ledger(out, bf_report_array(report, "ledger"));
    bf_xml_close(out);
}

char *bf_report_html(struct json_object *report)
{
    bf_auto_xml out = {0};
    const char *name = bf_report_text(bf_report_object(report, "replication"), "name");

    bf_xml_open(&out, "html");
    bf_xml_attr(&out, "lang", "en");
    show_head(&out, name ? name : NOTHING);
    show_body(&out, report, name ? name : NOTHING);
    bf_xml_close(&out);
    bf_auto_free char *page = bf_xml_finish(&out);
    return bf_xasprintf("<!DOCTYPE html>\n%s\n", page);
}
