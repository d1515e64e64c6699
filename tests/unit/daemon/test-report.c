/* SPDX-License-Identifier: Apache-2.0 */
/* The report: sums, and a page that shows everything, lets nothing through as markup, and bears
 * any JSON at all. */
#include <ctype.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "base/xml.h"
#include "daemon/report.h"
#include "tests/unit/tap.h"

/* Valgrind makes each try fifty times as long: every seventh will do. */
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define STRIDE (RUNNING_ON_VALGRIND ? 7u : 1u)
#else
#define STRIDE 1u
#endif

static struct json_object *read_parts(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct json_object *json = NULL;
    if (bf_json_read_file(GOLDEN "/report-parts.json", &json, &err) < 0) {
        diag("%s", err.message);
        exit(1);
    }
    return json;
}

static struct json_object *new_report(struct json_object *parts)
{
    int64_t now = 0;
    bf_auto_error err = BF_ERROR_INIT;
    bf_utc_parse("2026-11-20T14:00:00.000Z", &now, &err);
    return bf_report_new(
        &(struct bf_report_parts){.replication = json_object_object_get(parts, "replication"),
                                  .rounds = json_object_object_get(parts, "rounds"),
                                  .points = json_object_object_get(parts, "points"),
                                  .launches = json_object_object_get(parts, "launches"),
                                  .ledger = json_object_object_get(parts, "ledger"),
                                  .events = json_object_object_get(parts, "events")},
        now);
}

/* The page is XML but for its first line: is it whole? */
static bool is_whole(const char *page)
{
    bf_auto_error err = BF_ERROR_INIT;
    xmlDocPtr doc = NULL;
    const char *html = strstr(page, "<html");
    if (!html || !bf_starts_with(page, "<!DOCTYPE html>\n") ||
        bf_xml_parse(html, strlen(html), "page", &doc, &err) < 0) {
        diag("%s", err.message ? err.message : "no page");
        return false;
    }
    bf_xml_free(doc);
    return true;
}

static void test_json(void)
{
    bf_auto_json *parts = read_parts();
    bf_auto_json *report = new_report(parts);
    struct json_object *totals = json_object_object_get(report, "totals");
    is_string(bf_json_text(totals),
              "{\"disk_bytes\":2147483648,\"rounds\":4,\"complete\":3,\"failed\":1,"
              "\"full_sent_bytes\":1610612736,\"delta_rounds\":2,\"delta_sent_bytes\":42949672,"
              "\"sent_bytes\":1654610984,\"delta_share\":0.0099999997764825821}",
              "the sums");
    struct json_object *downtime = json_object_object_get(report, "downtime");
    is_int((int64_t)(json_object_get_double(json_object_object_get(downtime, "seconds")) * 1000),
           60000, "the downtime is that of the cutover");
    is_u64(json_object_array_length(json_object_object_get(downtime, "parts")), 6, "in its parts");
    is_int(json_object_get_int64(json_object_object_get(report, "ledger_open")), 1,
           "one ledger entry is open");
    is_string(json_object_get_string(json_object_object_get(report, "made_at")),
              "2026-11-20T14:00:00.000Z", "when it was made");
    static const char *const keys[] = {"replication", "rounds", "points",
                                       "launches",    "ledger", "events"};
    for (size_t i = 0; i < bf_array_length(keys); i++)
        ok(json_object_equal(json_object_object_get(report, keys[i]),
                             json_object_object_get(parts, keys[i])),
           "%s as they are", keys[i]);
}

static void test_page(void)
{
    bf_auto_json *parts = read_parts();
    bf_auto_json *report = new_report(parts);
    bf_auto_free char *page = bf_report_html(report);
    ok(is_whole(page), "the page is well-formed");

    static const char *const shown[] = {
        "web &lt;1&gt; &amp; \"co\" – 名",
        "web &lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;",
        "Debian GNU/Linux 12",
        "confirm-pending",
        "<td>2 GiB</td>",
        "1.5 GiB",
        "each 1.00 % of the disks on average",
        "60.0 s",
        "downtime",
        "41.5 s",
        "69.17 %",
        "target-full",
        "pool \"fast\" has 3 MiB left",
        "&lt;b&gt;line 2&lt;/b&gt;",
        "pool &lt;full&gt;",
        "libvirt-raw-disk",
        "convert the disk",
        "33333333333333333333333333333333",
        "11111111111111111111111111111111",
        "width:1.0%",
        "width:100.0%",
        "Mon-Fri 20:00-06:00, Sat,Sun",
        "lan = lan-neu, dmz = dmz",
        "&lt;login&gt;: web? login: ",
        "Debian &lt;12&gt;",
        "round 4 failed: &lt;pool&gt; full",
        "00000000000000a1",
        "2 entries are closed",
        "drill from point 3: discarded",
        "default-src 'none'",
        "@media print",
    };
    for (size_t i = 0; i < bf_array_length(shown); i++)
        ok(strstr(page, shown[i]) != NULL, "it shows %s", shown[i]);

    static const char *const hidden[] = {
        "<script",          "<b>",   "\x1b",   "\x07", "only for the journal",
        "00000000000000a2", "http:", "https:", "src=", "href="};
    for (size_t i = 0; i < bf_array_length(hidden); i++)
        ok(strstr(page, hidden[i]) == NULL, "it does not hold hidden text %zu", i);
    is_string(strstr(page, "</html>"), "</html>\n", "it ends");
}

/* Put other things in every place of the document, one at a time: the report must bear it. */
static unsigned tried;
static unsigned broken;

static void try_report(struct json_object *parts)
{
    if (++tried % STRIDE)
        return;
    bf_auto_json *report = new_report(parts);
    bf_auto_free char *page = bf_report_html(report);
    broken += !is_whole(page);
}

static struct json_object *strange(unsigned which)
{
    switch (which) {
    case 0:
        return NULL;
    case 1:
        return json_object_new_int64(-7);
    case 2:
        return json_object_new_string("<&\"'>\x01\xff");
    case 3:
        return json_object_new_array();
    case 4:
        return json_object_new_object();
    case 5:
        return json_object_new_double(1e300);
    case 6:
        return json_object_new_uint64(UINT64_MAX);
    default:
        return json_object_new_boolean(1);
    }
}
#define STRANGE 8

static void spoil(struct json_object *parts, struct json_object *at)
{
    if (json_object_is_type(at, json_type_object)) {
        json_object_object_foreach(at, key, value)
        {
            struct json_object *held = json_object_get(value);
            for (unsigned i = 0; i < STRANGE; i++) {
                json_object_object_add(at, key, strange(i));
                try_report(parts);
            }
            json_object_object_add(at, key, held);
            spoil(parts, held);
        }
    } else if (json_object_is_type(at, json_type_array)) {
        for (size_t n = 0; n < json_object_array_length(at); n++) {
            struct json_object *held = json_object_get(json_object_array_get_idx(at, n));
            for (unsigned i = 0; i < STRANGE; i++) {
                json_object_array_put_idx(at, n, strange(i));
                try_report(parts);
            }
            json_object_array_put_idx(at, n, held);
            spoil(parts, held);
        }
    }
}

static void test_strange(void)
{
    bf_auto_json *parts = read_parts();
    spoil(parts, parts);
    is_u64(broken, 0, "%u spoilt reports are whole pages all the same", tried);
    ok(tried > 1000, "that many were tried");

    bf_auto_json *nothing = bf_report_new(&(struct bf_report_parts){0}, 0);
    bf_auto_free char *page = bf_report_html(nothing);
    ok(is_whole(page), "a report of nothing");
    has_string(bf_json_text(nothing), "\"rounds\":[]", "has empty lists");
    bf_auto_free char *null_page = bf_report_html(NULL);
    ok(is_whole(null_page), "no report at all");
}

/* A year of rounds makes no page of a gigabyte. */
static void test_many(void)
{
    bf_auto_json *parts = read_parts();
    struct json_object *rounds = json_object_object_get(parts, "rounds");
    struct json_object *round = json_object_array_get_idx(rounds, 1);
    while (json_object_array_length(rounds) < 5000)
        json_object_array_add(rounds, json_object_get(round));
    bf_auto_json *report = new_report(parts);
    bf_auto_free char *page = bf_report_html(report);
    has_string(page, "The newest 200 of 5000", "it says what it leaves out");
    ok(strlen(page) < 1 << 20, "the page has %zu bytes", strlen(page));
    has_string(page, "5000 (4999 complete, 1 failed)", "the sums are of all");
}

int main(void)
{
    test_json();
    test_page();
    test_strange();
    test_many();
    return done();
}
