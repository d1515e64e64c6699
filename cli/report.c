/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a replication, short, for the terminal; the page has the whole. */
#include <stdio.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"

static void print_totals(struct json_object *totals)
{
    bf_auto_free char *disks = bf_cli_size(totals, "disk_bytes");
    bf_auto_free char *full = bf_cli_size(totals, "full_sent_bytes");
    bf_auto_free char *delta = bf_cli_size(totals, "delta_sent_bytes");

    bf_cli_pair("disks", "%s", disks);
    bf_cli_pair("rounds", "%u (%u complete, %u failed)", (unsigned)bf_cli_u64(totals, "rounds"),
                (unsigned)bf_cli_u64(totals, "complete"), (unsigned)bf_cli_u64(totals, "failed"));
    bf_cli_pair("full rounds", "%s sent", full);
    bf_cli_pair("delta rounds", "%u, %s sent", (unsigned)bf_cli_u64(totals, "delta_rounds"), delta);
}

static void print_downtime(const struct bf_cli *cli, struct json_object *downtime)
{
    struct json_object *parts = bf_cli_array(downtime, "parts");
    double seconds = 0;

    if (!bf_cli_number(downtime, "seconds", &seconds))
        return;
    bf_auto_free char *all = bf_cli_seconds(seconds);

    putchar('\n');
    bf_cli_heading(cli, "Downtime of the cutover: %s", all);
    for (size_t i = 0; i < bf_cli_count(parts); i++) {
        struct json_object *part = json_object_array_get_idx(parts, i);
        bf_auto_free char *took = bf_cli_seconds((double)bf_cli_u64(part, "ms") / 1000);

        bf_cli_pair(bf_cli_text_or(part, "part", "?"), "%s", took);
    }
}

void bf_cli_print_report(const struct bf_cli *cli, struct json_object *report)
{
    struct json_object *replication = bf_cli_object(report, "replication");

    bf_cli_heading(cli, "%s: %s", bf_cli_text_or(replication, "name", "?"),
                   bf_cli_text_or(replication, "state", "?"));
    bf_cli_pair("machine", "%s",
                bf_cli_text_or(bf_cli_object(replication, "machine"), "name", "-"));
    bf_cli_pair("from, to", "%s, %s", bf_cli_text_or(replication, "source", "-"),
                bf_cli_text_or(replication, "target", "-"));
    print_totals(bf_cli_object(report, "totals"));
    bf_cli_pair("points", "%u", (unsigned)bf_cli_count(bf_cli_array(report, "points")));
    bf_cli_pair("in the ledger", "%u open", (unsigned)bf_cli_u64(report, "ledger_open"));
    print_downtime(cli, bf_cli_object(report, "downtime"));
    printf("\nThe whole report: --html FILE or --json\n");
}
