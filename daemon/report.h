/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a replication: what was carried, what was proven, what is left.
 *
 * Made of the API's own objects (docs/openapi.yaml), so that nothing in it was said otherwise
 * elsewhere; to them it adds sums and shares.
 *
 * Threads: any; nothing is shared.
 */
#pragma once

#include <json-c/json.h>
#include <stdint.h>

/* All borrowed and as the API answers them; any may be NULL (nothing to say). */
struct bf_report_parts {
    struct json_object *replication;
    struct json_object *rounds;   /* array, newest first, with their disks */
    struct json_object *points;   /* array, newest first */
    struct json_object *launches; /* array, newest first */
    struct json_object *ledger;   /* array, also closed entries */
    struct json_object *events;   /* array, oldest first; warnings and errors are shown */
};

/* {"made_at","version","replication","rounds","points","launches","ledger","events",
 *  "totals":{"disk_bytes","rounds","complete","failed","full_sent_bytes","delta_rounds",
 *            "delta_sent_bytes","sent_bytes","delta_share"},
 *  "downtime":{"seconds","parts":[{"part","ms"}]}|null (of the newest cutover),
 *  "ledger_open":n}
 * Never NULL; the caller's. */
struct json_object *bf_report_new(const struct bf_report_parts *parts, int64_t now_us);

/* The report as one HTML page without script and without anything loaded from elsewhere; every
 * text is escaped; prints well.  Missing fields are left out.  Caller frees. */
char *bf_report_html(struct json_object *report);
