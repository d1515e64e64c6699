/* SPDX-License-Identifier: Apache-2.0 */
/* The report: the API's objects side by side, and what follows from them. */
#include "daemon/report.h"

#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "daemon/report_read.h"

/* The parts are shared, not copied; a missing array is an empty one, so that readers need not ask.
 */
static void add_part(struct json_object *report, const char *key, struct json_object *part,
                     bool array)
{
    if (!part && array)
        part = json_object_new_array();
    else
        json_object_get(part);
    json_object_object_add(report, key, part);
}

static uint64_t disk_bytes(const struct bf_report_parts *parts)
{
    struct json_object *volumes = bf_report_array(parts->replication, "volumes");
    uint64_t sum = 0;
    for (size_t i = 0; i < bf_report_length(volumes); i++)
        sum += bf_report_u64(bf_report_item(volumes, i), "size_bytes");
    return sum;
}

static struct json_object *new_totals(const struct bf_report_parts *parts)
{
    struct json_object *totals = json_object_new_object();
    uint64_t size = disk_bytes(parts);
    uint64_t complete = 0;
    uint64_t failed = 0;
    uint64_t deltas = 0;
    uint64_t full_bytes = 0;
    uint64_t delta_bytes = 0;
    uint64_t all_bytes = 0;

    for (size_t i = 0; i < bf_report_length(parts->rounds); i++) {
        struct json_object *round = bf_report_item(parts->rounds, i);
        uint64_t sent = bf_report_u64(round, "sent_bytes");
        const char *state = bf_report_text(round, "state");
        all_bytes += sent; /* what a failed round sent was sent, too */
        failed += bf_streq(state, "failed");
        if (!bf_streq(state, "complete"))
            continue;
        complete++;
        if (bf_streq(bf_report_text(round, "kind"), "delta")) {
            deltas++;
            delta_bytes += sent;
        } else {
            full_bytes += sent;
        }
    }
    bf_json_add_u64(totals, "disk_bytes", size);
    bf_json_add_u64(totals, "rounds", bf_report_length(parts->rounds));
    bf_json_add_u64(totals, "complete", complete);
    bf_json_add_u64(totals, "failed", failed);
    bf_json_add_u64(totals, "full_sent_bytes", full_bytes);
    bf_json_add_u64(totals, "delta_rounds", deltas);
    bf_json_add_u64(totals, "delta_sent_bytes", delta_bytes);
    bf_json_add_u64(totals, "sent_bytes", all_bytes);
    /* Of the disks' size, what a delta carried on average. */
    json_object_object_add(
        totals, "delta_share",
        deltas && size ? json_object_new_double((double)delta_bytes / (double)deltas / (double)size)
                       : NULL);
    return totals;
}

struct json_object *bf_report_downtime(struct json_object *launch)
{
    struct json_object *timing = bf_report_object(launch, "timing");
    uint64_t sum = 0;

    if (!bf_streq(bf_report_text(launch, "kind"), "cutover") || !timing ||
        json_object_object_length(timing) == 0)
        return NULL;
    struct json_object *parts = json_object_new_array();
    json_object_object_foreach(timing, part, value)
    {
        if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
            continue;
        struct json_object *item = json_object_new_object();
        bf_json_add_string(item, "part", part);
        bf_json_add_u64(item, "ms", json_object_get_uint64(value));
        json_object_array_add(parts, item);
        sum += json_object_get_uint64(value);
    }
    struct json_object *downtime = json_object_new_object();
    json_object_object_add(downtime, "seconds", json_object_new_double((double)sum / 1000));
    json_object_object_add(downtime, "parts", parts);
    return downtime;
}

static struct json_object *newest_downtime(const struct bf_report_parts *parts)
{
    for (size_t i = 0; i < bf_report_length(parts->launches); i++) {
        struct json_object *downtime = bf_report_downtime(bf_report_item(parts->launches, i));
        if (downtime)
            return downtime;
    }
    return NULL;
}

bool bf_report_entry_open(struct json_object *entry)
{
    const char *state = bf_report_text(entry, "state");
    return !bf_streq(state, "gone") && !bf_streq(state, "handed-over");
}

struct json_object *bf_report_new(const struct bf_report_parts *parts, int64_t now_us)
{
    struct json_object *report = json_object_new_object();
    uint64_t open = 0;

    bf_json_add_utc(report, "made_at", now_us);
    bf_json_add_string(report, "version", BF_VERSION);
    add_part(report, "replication", parts->replication, false);
    json_object_object_add(report, "totals", new_totals(parts));
    json_object_object_add(report, "downtime", newest_downtime(parts));
    add_part(report, "rounds", parts->rounds, true);
    add_part(report, "points", parts->points, true);
    add_part(report, "launches", parts->launches, true);
    for (size_t i = 0; i < bf_report_length(parts->ledger); i++)
        open += bf_report_entry_open(bf_report_item(parts->ledger, i));
    bf_json_add_u64(report, "ledger_open", open);
    add_part(report, "ledger", parts->ledger, true);
    add_part(report, "events", parts->events, true);
    return report;
}

/* --- tolerant reading (report_read.h) --- */

struct json_object *bf_report_object(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_object))
        return NULL;
    return value;
}

struct json_object *bf_report_array(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_array))
        return NULL;
    return value;
}

size_t bf_report_length(struct json_object *array)
{
    return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

struct json_object *bf_report_item(struct json_object *array, size_t index)
{
    return json_object_array_get_idx(array, index);
}

const char *bf_report_text(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_string))
        return NULL;
    return json_object_get_string(value);
}

uint64_t bf_report_u64(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
        return 0;
    return json_object_get_uint64(value);
}

double bf_report_number(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value) ||
        (!json_object_is_type(value, json_type_double) &&
         !json_object_is_type(value, json_type_int)))
        return 0;
    return json_object_get_double(value);
}

bool bf_report_flag(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    return json_object_is_type(object, json_type_object) &&
           json_object_object_get_ex(object, key, &value) &&
           json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}
