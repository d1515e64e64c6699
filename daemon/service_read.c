/* SPDX-License-Identifier: Apache-2.0 */
/* What the API reads.  Each list is a JSON array. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/job.h"
#include "daemon/plan.h"
#include "daemon/report.h"
#include "daemon/service_private.h"
#include "daemon/state.h"

/* A replication's id by its name. */
static int find_id(struct bf_service *service, const char *name, char **ret_id,
                   struct bf_error *err)
{
    struct bf_replication_row row = {0};

    if (bf_store_replication_get(service->store, name, &row, err) != 0)
        return -1;
    *ret_id = bf_steal(row.id);
    bf_replication_row_done(&row);
    return 0;
}

static int count_states(struct bf_service *service, struct json_object *json, struct bf_error *err)
{
    struct json_object *counts = json_object_new_object();
    struct bf_replication_row *rows = NULL;
    size_t count = 0;
    unsigned by_state[BF_STATE_MAX] = {0};

    json_object_object_add(json, "replications", counts);
    if (bf_store_replication_list(service->store, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        by_state[bf_state_of(&rows[i])]++;
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_replication_row_done);
    for (unsigned i = 0; i < BF_STATE_MAX; i++)
        bf_json_add_u64(counts, bf_state_to_string((enum bf_state)i), by_state[i]);
    return 0;
}

int bf_service_status(struct bf_service *service, struct json_object **ret, struct bf_error *err)
{
    bf_auto_json *json = json_object_new_object();
    struct bf_ledger_row *ledger = NULL;
    struct bf_platform_row *platforms = NULL;
    size_t ledger_count = 0, platform_count = 0;

    bf_assert_main();
    bf_json_add_string(json, "version", BF_VERSION);
    bf_json_add_utc(json, "started_at", service->started_us);
    bf_json_add_utc(json, "now", bf_utc_us());
    bf_json_add_u64(json, "schema", bf_store_schema_version());
    if (count_states(service, json, err) != 0 ||
        bf_store_platform_list(service->store, &platforms, &platform_count, err) != 0)
        return -1;
    bf_rows_free(platforms, platform_count, sizeof(*platforms),
                 (bf_row_done_fn *)bf_platform_row_done);
    if (bf_store_ledger_list(service->store, NULL, NULL, true, &ledger, &ledger_count, err) != 0)
        return -1;
    bf_rows_free(ledger, ledger_count, sizeof(*ledger), (bf_row_done_fn *)bf_ledger_row_done);
    bf_json_add_u64(json, "platforms", platform_count);
    bf_json_add_u64(json, "jobs", bf_job_running(service, NULL));
    bf_json_add_u64(json, "ledger_open", ledger_count);
    *ret = bf_steal(json);
    return 0;
}

int bf_service_platforms(struct bf_service *service, struct json_object **ret, struct bf_error *err)
{
    struct bf_platform_row *rows = NULL;
    size_t count = 0;

    bf_assert_main();
    if (bf_store_platform_list(service->store, &rows, &count, err) != 0)
        return -1;
    *ret = json_object_new_array();
    for (size_t i = 0; i < count; i++)
        json_object_array_add(*ret, bf_platform_row_json(&rows[i]));
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_platform_row_done);
    return 0;
}

int bf_service_platform(struct bf_service *service, const char *name, struct json_object **ret,
                        struct bf_error *err)
{
    struct bf_platform_row row = {0};

    bf_assert_main();
    if (bf_store_platform_get(service->store, name, &row, err) != 0)
        return -1;
    *ret = bf_platform_row_json(&row);
    bf_platform_row_done(&row);
    return 0;
}

int bf_service_replications(struct bf_service *service, struct json_object **ret,
                            struct bf_error *err)
{
    bf_auto_json *list = json_object_new_array();
    struct bf_replication_row *rows = NULL;
    size_t count = 0;
    int r = 0;

    bf_assert_main();
    if (bf_store_replication_list(service->store, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count && r == 0; i++) {
        struct json_object *json = NULL;

        r = bf_replication_row_json(service, &rows[i], &json, err);
        if (r == 0)
            json_object_array_add(list, json);
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_replication_row_done);
    if (r == 0)
        *ret = bf_steal(list);
    return r;
}

int bf_service_replication(struct bf_service *service, const char *name, struct json_object **ret,
                           struct bf_error *err)
{
    struct bf_replication_row row = {0};
    int r;

    bf_assert_main();
    if (bf_store_replication_get(service->store, name, &row, err) != 0)
        return -1;
    r = bf_replication_row_json(service, &row, ret, err);
    bf_replication_row_done(&row);
    return r;
}

int bf_service_rounds(struct bf_service *service, const char *name, uint64_t limit,
                      struct json_object **ret, struct bf_error *err)
{
    bf_auto_free char *id = NULL;
    struct bf_round_row *rows = NULL;
    size_t count = 0;

    bf_assert_main();
    if (find_id(service, name, &id, err) != 0 ||
        bf_store_round_list(service->store, id, limit, &rows, &count, err) != 0)
        return -1;
    *ret = json_object_new_array();
    for (size_t i = 0; i < count; i++)
        json_object_array_add(*ret, bf_round_row_json(service, &rows[i]));
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_round_row_done);
    return 0;
}

int bf_service_round_totals(struct bf_service *service, const char *name,
                            struct bf_round_totals *ret_totals, struct bf_error *err)
{
    bf_auto_free char *id = NULL;

    bf_assert_main();
    return find_id(service, name, &id, err) != 0 ||
                   bf_store_round_totals(service->store, id, ret_totals, err) != 0
               ? -1
               : 0;
}

int bf_service_points(struct bf_service *service, const char *name, struct json_object **ret,
                      struct bf_error *err)
{
    bf_auto_free char *id = NULL;
    struct bf_point_row *rows = NULL;
    size_t count = 0;

    bf_assert_main();
    if (find_id(service, name, &id, err) != 0 ||
        bf_store_point_list(service->store, id, &rows, &count, err) != 0)
        return -1;
    *ret = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        if (!rows[i].removing) /* on its way out: no launch can use it */
            json_object_array_add(*ret, bf_point_row_json(&rows[i]));
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_point_row_done);
    return 0;
}

int bf_service_launches(struct bf_service *service, const char *name, struct json_object **ret,
                        struct bf_error *err)
{
    bf_auto_free char *id = NULL;
    struct bf_launch_row *rows = NULL;
    size_t count = 0;

    bf_assert_main();
    if (find_id(service, name, &id, err) != 0 ||
        bf_store_launch_list(service->store, id, &rows, &count, err) != 0)
        return -1;
    *ret = json_object_new_array();
    for (size_t i = 0; i < count; i++)
        json_object_array_add(*ret, bf_launch_row_json(&rows[i]));
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_launch_row_done);
    return 0;
}

int bf_service_jobs(struct bf_service *service, const char *name, uint64_t limit,
                    struct json_object **ret, struct bf_error *err)
{
    bf_auto_free char *id = NULL;
    struct bf_job_row *rows = NULL;
    size_t count = 0;

    bf_assert_main();
    if (find_id(service, name, &id, err) != 0 ||
        bf_store_job_list(service->store, id, limit, &rows, &count, err) != 0)
        return -1;
    *ret = json_object_new_array();
    for (size_t i = 0; i < count; i++)
        json_object_array_add(*ret, bf_job_row_json(service, &rows[i]));
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_job_row_done);
    return 0;
}

static int ledger_json(struct bf_service *service, const char *replication_id, bool open_only,
                       struct json_object **ret, struct bf_error *err)
{
    bf_auto_json *names = json_object_new_object();
    struct bf_ledger_row *rows = NULL;
    size_t count = 0;

    if (bf_store_ledger_list(service->store, NULL, replication_id, open_only, &rows, &count, err) !=
        0)
        return -1;
    *ret = json_object_new_array();
    for (size_t i = 0; i < count; i++)
        json_object_array_add(*ret, bf_ledger_row_json(service, &rows[i], names));
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_ledger_row_done);
    return 0;
}

int bf_service_ledger(struct bf_service *service, int all, struct json_object **ret,
                      struct bf_error *err)
{
    bf_assert_main();
    return ledger_json(service, NULL, !all, ret, err);
}

int bf_service_events(struct bf_service *service, const char *replication, uint64_t after,
                      uint64_t limit, struct json_object **ret, struct bf_error *err)
{
    struct bf_event_row *rows = NULL;
    size_t count = 0;

    bf_assert_main();
    if (bf_store_event_list(service->store, replication, after, limit, &rows, &count, err) != 0)
        return -1;
    *ret = json_object_new_array();
    for (size_t i = 0; i < count; i++)
        json_object_array_add(*ret, bf_event_row_json(&rows[i]));
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_event_row_done);
    return 0;
}

int bf_service_events_last(struct bf_service *service, const char *replication, uint64_t count,
                           uint64_t *ret_after, struct bf_error *err)
{
    bf_assert_main();
    return bf_store_event_last(service->store, replication, count, ret_after, err);
}

int bf_service_plan(struct bf_service *service, const char *name, struct json_object **ret,
                    struct bf_error *err)
{
    bf_auto_free char *id = NULL;
    struct bf_inputs inputs = {0};

    bf_assert_main();
    if (find_id(service, name, &id, err) != 0 || bf_inputs_load(service, id, &inputs, err) != 0)
        return -1;
    *ret = json_object_new_object();
    bf_json_add_stored(*ret, "plan", inputs.plan.plan);
    json_object_object_add(
        *ret, "point",
        inputs.plan.point_number ? json_object_new_uint64(inputs.plan.point_number) : NULL);
    bf_json_add_bool(*ret, "current", bf_plan_is_current(&inputs, service->config));
    bf_inputs_done(&inputs);
    return 0;
}

int bf_service_report(struct bf_service *service, const char *name, struct json_object **ret,
                      struct bf_error *err)
{
    bf_auto_json *replication = NULL;
    bf_auto_json *rounds = NULL;
    bf_auto_json *points = NULL;
    bf_auto_json *launches = NULL;
    bf_auto_json *ledger = NULL;
    bf_auto_json *events = NULL;
    bf_auto_free char *id = NULL;

    bf_assert_main();
    if (find_id(service, name, &id, err) != 0 ||
        bf_service_replication(service, id, &replication, err) != 0 ||
        bf_service_rounds(service, id, 0, &rounds, err) != 0 ||
        bf_service_points(service, id, &points, err) != 0 ||
        bf_service_launches(service, id, &launches, err) != 0 ||
        ledger_json(service, id, false, &ledger, err) != 0 ||
        bf_service_events(service, bf_context_text(replication, "name"), 0, 0, &events, err) != 0)
        return -1;
    *ret = bf_report_new(&(struct bf_report_parts){.replication = replication,
                                                   .rounds = rounds,
                                                   .points = points,
                                                   .launches = launches,
                                                   .ledger = ledger,
                                                   .events = events},
                         bf_utc_us());
    return 0;
}
