/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as the API shows them; the shapes are docs/openapi.yaml's. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/job.h"
#include "daemon/launch.h"
#include "daemon/ledger.h"
#include "daemon/replication.h"
#include "daemon/service_private.h"
#include "daemon/state.h"

void bf_json_add_stored(struct json_object *json, const char *key, const char *text)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    struct json_object *value = NULL;

    if (text)
        (void)bf_json_parse(text, strlen(text), &value, &ignored);
    json_object_object_add(json, key, value);
}

static void add_seconds(struct json_object *json, const char *key, int64_t us)
{
    json_object_object_add(json, key, us >= 0 ? json_object_new_double((double)us / 1e6) : NULL);
}

struct json_object *bf_platform_row_json(const struct bf_platform_row *row)
{
    struct json_object *json = json_object_new_object();

    bf_json_add_string(json, "id", row->id);
    bf_json_add_string(json, "name", row->name);
    bf_json_add_string(json, "type", row->type);
    bf_json_add_string(json, "url", row->url);
    bf_json_add_string(json, "user", row->user);
    bf_json_add_bool(json, "has_password", row->sealed_password != NULL);
    bf_json_add_stored(json, "options", row->options);
    bf_json_add_utc(json, "created_at", row->created_us);
    return json;
}

/* --- rounds --- */

static struct json_object *round_disk_json(const struct bf_round_disk_row *row)
{
    struct json_object *json = json_object_new_object();

    bf_json_add_string(json, "disk", row->disk_key);
    bf_json_add_string(json, "kind", row->kind);
    bf_json_add_string(json, "note", row->note);
    bf_json_add_u64(json, "size_bytes", row->size_bytes);
    bf_json_add_u64(json, "to_send_bytes", row->to_send_bytes);
    bf_json_add_u64(json, "sent_bytes", row->sent_bytes);
    bf_json_add_u64(json, "zero_bytes", row->zero_bytes);
    bf_json_add_u64(json, "read_bytes", row->read_bytes);
    add_seconds(json, "seconds", (int64_t)row->copy_ms * 1000);
    bf_json_add_string(json, "digest", row->digest);
    bf_json_add_string(json, "verified", row->verified);
    return json;
}

static struct json_object *round_disks_json(struct bf_service *service, const char *round_id)
{
    struct json_object *disks = json_object_new_array();
    struct bf_round_disk_row *rows = NULL;
    size_t count = 0;
    bf_auto_error ignored = BF_ERROR_INIT;

    if (bf_store_round_disk_list(service->store, round_id, &rows, &count, &ignored) == 0) {
        for (size_t i = 0; i < count; i++)
            json_object_array_add(disks, round_disk_json(&rows[i]));
        bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_round_disk_row_done);
    }
    return disks;
}

struct json_object *bf_round_row_json(struct bf_service *service, const struct bf_round_row *row)
{
    struct json_object *json = json_object_new_object();

    bf_json_add_string(json, "id", row->id);
    bf_json_add_u64(json, "number", row->number);
    bf_json_add_string(json, "kind", row->kind);
    bf_json_add_string(json, "trigger", row->trigger);
    bf_json_add_string(json, "state", row->state);
    bf_json_add_string(json, "note", row->note);
    bf_json_add_bool(json, "quiesced", row->quiesced);
    bf_json_add_utc(json, "snapshot_at", row->snapshot_us);
    bf_json_add_utc(json, "started_at", row->started_us);
    bf_json_add_utc(json, "ended_at", row->ended_us);
    add_seconds(json, "seconds", (row->ended_us ? row->ended_us : bf_utc_us()) - row->started_us);
    bf_json_add_u64(json, "to_send_bytes", row->to_send_bytes);
    bf_json_add_u64(json, "sent_bytes", row->sent_bytes);
    bf_json_add_u64(json, "zero_bytes", row->zero_bytes);
    json_object_object_add(json, "disks", round_disks_json(service, row->id));
    bf_json_add_stored(json, "error", row->error);
    return json;
}

/* --- points --- */

struct json_object *bf_point_row_json(const struct bf_point_row *row)
{
    struct json_object *json = json_object_new_object();
    struct json_object *disks = json_object_new_array();
    bf_auto_json *volumes = bf_context_parse(row->volumes);

    json_object_object_foreach(volumes, key, volume)
    {
        struct json_object *disk = json_object_new_object();

        bf_json_add_string(disk, "disk", key);
        bf_json_add_u64(disk, "size_bytes", bf_context_u64(volume, "size"));
        bf_json_add_string(disk, "digest", bf_context_text(volume, "digest"));
        json_object_array_add(disks, disk);
    }
    bf_json_add_string(json, "id", row->id);
    bf_json_add_u64(json, "number", row->number);
    bf_json_add_utc(json, "taken_at", row->taken_us);
    bf_json_add_bool(json, "quiesced", row->quiesced);
    bf_json_add_string(json, "round", row->round_id);
    json_object_object_add(json, "disks", disks);
    return json;
}

/* --- launches --- */

struct json_object *bf_launch_row_json(const struct bf_launch_row *row)
{
    struct json_object *json = json_object_new_object();

    bf_json_add_string(json, "id", row->id);
    bf_json_add_string(json, "kind", row->kind);
    bf_json_add_string(json, "state", row->state);
    bf_json_add_u64(json, "point", row->point_number);
    bf_json_add_string(json, "machine_name", row->machine_name);
    bf_json_add_stored(json, "conversion", row->conversion);
    bf_json_add_string(json, "console_tail", row->console);
    bf_json_add_stored(json, "evidence", row->evidence);
    bf_json_add_stored(json, "timing", row->timing);
    bf_json_add_stored(json, "error", row->error);
    bf_json_add_utc(json, "started_at", row->started_us);
    bf_json_add_utc(json, "booted_at", row->booted_us);
    bf_json_add_utc(json, "ended_at", row->ended_us);
    return json;
}

/* --- ledger, events --- */

/* Name of a platform or replication, or its id where it is gone. */
static void add_platform_name(struct bf_service *service, struct json_object *json, const char *key,
                              const char *id)
{
    struct bf_platform_row row = {0};
    bf_auto_error ignored = BF_ERROR_INIT;

    if (bf_store_platform_get(service->store, id, &row, &ignored) == 0)
        bf_json_add_string(json, key, row.name);
    else
        bf_json_add_string(json, key, id);
    bf_platform_row_done(&row);
}

static void add_replication_name(struct bf_service *service, struct json_object *json,
                                 const char *id)
{
    struct bf_replication_row row = {0};
    bf_auto_error ignored = BF_ERROR_INIT;

    if (id && bf_store_replication_get(service->store, id, &row, &ignored) == 0)
        bf_json_add_string(json, "replication", row.name);
    else
        bf_json_add_string(json, "replication", NULL);
    bf_replication_row_done(&row);
}

/* Thousands of rows name a few platforms and replications: each is looked up once. */
static void add_known(struct bf_service *service, struct json_object *json, const char *key,
                      const char *id, struct json_object *names)
{
    struct json_object *name = NULL;

    if (id && json_object_object_get_ex(names, id, &name)) {
        json_object_object_add(json, key, json_object_get(name));
        return;
    }
    if (bf_streq(key, "platform"))
        add_platform_name(service, json, key, id);
    else
        add_replication_name(service, json, id);
    if (id)
        json_object_object_add(names, id, json_object_get(json_object_object_get(json, key)));
}

struct json_object *bf_ledger_row_json(struct bf_service *service, const struct bf_ledger_row *row,
                                       struct json_object *names)
{
    struct json_object *json = json_object_new_object();
    bf_auto_free char *tag = bf_ledger_tag(row->id);

    bf_json_add_string(json, "id", row->id);
    bf_json_add_string(json, "tag", tag);
    add_known(service, json, "platform", row->platform_id, names);
    add_known(service, json, "replication", row->replication_id, names);
    bf_json_add_string(json, "kind", row->kind);
    bf_json_add_string(json, "state", row->state);
    bf_json_add_string(json, "name", row->name);
    if (bf_streq(row->kind, "adoption")) /* for an admin who has to do it by hand */
        bf_json_add_stored(json, "place", row->owner);
    bf_json_add_utc(json, "created_at", row->created_us);
    return json;
}

struct json_object *bf_event_row_json(const struct bf_event_row *row)
{
    struct json_object *json = json_object_new_object();

    bf_json_add_u64(json, "id", row->id);
    bf_json_add_utc(json, "at", row->at_us);
    bf_json_add_string(json, "replication", row->replication);
    bf_json_add_string(json, "level", row->level);
    bf_json_add_string(json, "type", row->type);
    bf_json_add_string(json, "message", row->message);
    bf_json_add_stored(json, "data", row->data);
    return json;
}

/* --- replications --- */

/* What can be asked for now: the state's verbs, without those that a replica is needed for where
 * there is none. */
static struct json_object *verbs_json(const struct bf_replication_row *row)
{
    struct json_object *verbs = json_object_new_array();
    enum bf_state state = bf_state_of(row);
    bool adopts = bf_replication_adopts(row);

    for (unsigned i = 0; i < BF_VERB_MAX; i++) {
        bool needless = adopts ? i == BF_VERB_SYNC || i == BF_VERB_DRILL
                               : i == BF_VERB_CUTOVER && state == BF_STATE_CHECKED;

        if (bf_state_allows(state, (enum bf_verb)i) && !needless)
            json_object_array_add(verbs,
                                  json_object_new_string(bf_verb_to_string((enum bf_verb)i)));
    }
    return verbs;
}

static int add_volumes(struct bf_service *service, struct json_object *json, const char *id,
                       struct bf_error *err)
{
    struct json_object *volumes = json_object_new_array();
    struct bf_volume_row *rows = NULL;
    size_t count = 0;

    json_object_object_add(json, "volumes", volumes);
    if (bf_store_volume_list(service->store, id, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct json_object *volume = json_object_new_object();

        bf_json_add_string(volume, "disk", rows[i].disk_key);
        bf_json_add_u64(volume, "size_bytes", rows[i].size_bytes);
        bf_json_add_bool(volume, "seeded", rows[i].seeded);
        json_object_array_add(volumes, volume);
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_volume_row_done);
    return 0;
}

static int add_points(struct bf_service *service, struct json_object *json, const char *id,
                      struct bf_error *err)
{
    struct bf_point_row *rows = NULL;
    size_t count = 0, n = 0;
    int64_t newest = 0;

    if (bf_store_point_list(service->store, id, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        n += !rows[i].removing;
        if (!rows[i].removing && rows[i].taken_us > newest)
            newest = rows[i].taken_us;
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_point_row_done);
    bf_json_add_u64(json, "points", n);
    json_object_object_add(json, "lag_s",
                           newest ? json_object_new_int64((bf_utc_us() - newest) / 1000000) : NULL);
    return 0;
}

/* The whole of it has a path of its own: lists would be long. */
static int add_plan(struct bf_service *service, struct json_object *json, const char *id,
                    struct bf_error *err)
{
    struct bf_plan_row row = {0};
    bf_auto_json *plan = NULL;
    struct json_object *short_plan;
    bool found = false;

    json_object_object_add(json, "plan", NULL);
    if (bf_store_plan_get(service->store, id, &row, &found, err) != 0)
        return -1;
    if (!found)
        return 0;
    plan = bf_context_parse(row.plan);
    short_plan = json_object_new_object();
    bf_json_add_string(short_plan, "method", bf_context_text(plan, "method"));
    bf_json_add_string(short_plan, "os", bf_context_text(bf_context_object(plan, "os"), "product"));
    bf_json_add_u64(short_plan, "expected_seconds", bf_context_u64(plan, "expected_seconds"));
    bf_json_add_utc(short_plan, "made_at", row.made_us);
    json_object_object_add(json, "plan", short_plan);
    bf_plan_row_done(&row);
    return 0;
}

static int add_last_round(struct bf_service *service, struct json_object *json, const char *id,
                          int64_t *ret_delta_us, struct bf_error *err)
{
    struct bf_round_row *rows = NULL;
    size_t count = 0;

    if (bf_store_round_list(service->store, id, 10, &rows, &count, err) != 0)
        return -1;
    json_object_object_add(json, "last_round", count ? bf_round_row_json(service, &rows[0]) : NULL);
    for (size_t i = count; i-- > 0;) {
        if (bf_streq(rows[i].state, "complete"))
            *ret_delta_us = rows[i].ended_us - rows[i].started_us;
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_round_row_done);
    return 0;
}

/* What a cutover would cost, from what was measured: the newest complete round, and the parts of
 * the newest launch that booted.  Never launched: nothing to say. */
static void add_forecast(struct json_object *json, const struct bf_launch_row *launches,
                         size_t count, int64_t round_us)
{
    static const char *const parts[] = {"clone", "convert", "create", "boot", "climb"};
    struct json_object *forecast, *out;
    uint64_t sum = (uint64_t)round_us / 1000;

    json_object_object_add(json, "forecast", NULL);
    for (size_t i = 0; i < count; i++) {
        bf_auto_json *timing = NULL;

        if (!launches[i].booted_us || round_us <= 0)
            continue;
        timing = bf_context_parse(launches[i].timing);
        forecast = json_object_new_object();
        out = json_object_new_object();
        bf_json_add_u64(out, "round", sum);
        for (size_t j = 0; j < bf_array_length(parts); j++) {
            uint64_t ms = bf_context_u64(timing, parts[j]);

            if (ms > 0 || !bf_streq(parts[j], "climb")) /* most launches have no ladder */
                bf_json_add_u64(out, parts[j], ms);
            sum += ms;
        }
        json_object_object_add(forecast, "downtime_s", json_object_new_double((double)sum / 1000));
        json_object_object_add(forecast, "parts", out);
        json_object_object_add(json, "forecast", forecast);
        return;
    }
}

static bool launch_is_open(const struct bf_launch_row *row)
{
    return !bf_streq(row->state, "failed") && !bf_streq(row->state, "discarded") &&
           !bf_streq(row->state, "confirmed");
}

static int add_launches(struct bf_service *service, struct json_object *json, const char *id,
                        int64_t round_us, struct bf_error *err)
{
    struct bf_launch_row *rows = NULL;
    size_t count = 0;

    if (bf_store_launch_list(service->store, id, &rows, &count, err) != 0)
        return -1;
    json_object_object_add(json, "launch", NULL);
    for (size_t i = count; i-- > 0;) {
        if (launch_is_open(&rows[i]))
            json_object_object_add(json, "launch", bf_launch_row_json(&rows[i]));
    }
    add_forecast(json, rows, count, round_us);
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_launch_row_done);
    return 0;
}

static int add_job(struct bf_service *service, struct json_object *json, const char *id,
                   struct bf_error *err)
{
    struct bf_job *job = bf_job_find(service, id, false);
    struct bf_job_row *rows = NULL;
    size_t count = 0;

    if (!job)
        job = bf_job_find(service, id, true);
    json_object_object_add(json, "job", NULL);
    if (!job)
        return 0;
    if (bf_store_job_list(service->store, id, 20, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (bf_streq(rows[i].id, bf_job_id(job)))
            json_object_object_add(json, "job", bf_job_row_json(service, &rows[i]));
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_job_row_done);
    return 0;
}

static void add_row(struct bf_service *service, struct json_object *json,
                    const struct bf_replication_row *row)
{
    bf_json_add_string(json, "id", row->id);
    bf_json_add_string(json, "name", row->name);
    bf_json_add_string(json, "state", row->state);
    json_object_object_add(json, "verbs", verbs_json(row));
    add_platform_name(service, json, "source", row->source_platform_id);
    add_platform_name(service, json, "target", row->target_platform_id);
    bf_json_add_stored(json, "machine", row->machine);
    bf_json_add_stored(json, "mapping", row->mapping);
    bf_json_add_stored(json, "policy", row->policy);
    bf_json_add_stored(json, "error", row->error);
    json_object_object_add(json, "findings", bf_context_parse_array(row->findings));
    bf_json_add_utc(json, "checked_at", row->checked_us);
    bf_json_add_utc(json, "next_round_at", row->next_round_us);
    bf_json_add_u64(json, "failures", row->failures);
    bf_json_add_utc(json, "created_at", row->created_us);
    bf_json_add_utc(json, "changed_at", row->changed_us);
}

int bf_replication_row_json(struct bf_service *service, const struct bf_replication_row *row,
                            struct json_object **ret_json, struct bf_error *err)
{
    bf_auto_json *json = json_object_new_object();
    int64_t round_us = 0;

    add_row(service, json, row);
    if (add_volumes(service, json, row->id, err) != 0 ||
        add_points(service, json, row->id, err) != 0 ||
        add_plan(service, json, row->id, err) != 0 ||
        add_last_round(service, json, row->id, &round_us, err) != 0 ||
        add_launches(service, json, row->id, round_us, err) != 0 ||
        add_job(service, json, row->id, err) != 0)
        return -1;
    *ret_json = bf_steal(json);
    return 0;
}
