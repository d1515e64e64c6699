/* SPDX-License-Identifier: Apache-2.0 */
/* Every route of the API, in one place. */
#include "base/cleanup.h"
#include "daemon/api/handlers.h"

#define END                                                                                        \
    {                                                                                              \
        NULL, BF_FIELD_TEXT, false                                                                 \
    }

static const struct bf_field nothing[] = {END};

static const struct bf_field platform_fields[] = {{"name", BF_FIELD_TEXT, true},
                                                  {"type", BF_FIELD_TEXT, true},
                                                  {"url", BF_FIELD_TEXT, true},
                                                  {"user", BF_FIELD_TEXT, false},
                                                  {"password", BF_FIELD_TEXT, false},
                                                  {"options", BF_FIELD_OBJECT, false},
                                                  END};

static const struct bf_field platform_change_fields[] = {
    {"url", BF_FIELD_TEXT, false},      {"user", BF_FIELD_TEXT, false},
    {"password", BF_FIELD_TEXT, false}, {"options", BF_FIELD_OBJECT, false},
    {"yes", BF_FIELD_BOOL, false},      END};

static const struct bf_field replicate_fields[] = {
    {"source", BF_FIELD_TEXT, true},     {"machine", BF_FIELD_TEXT, true},
    {"target", BF_FIELD_TEXT, true},     {"name", BF_FIELD_TEXT, false},
    {"mapping", BF_FIELD_OBJECT, false}, {"policy", BF_FIELD_OBJECT, false},
    {"start", BF_FIELD_BOOL, false},     {"force", BF_FIELD_BOOL, false},
    {"waive", BF_FIELD_LIST, false},     END};

static const struct bf_field change_fields[] = {
    {"mapping", BF_FIELD_OBJECT, false}, {"policy", BF_FIELD_OBJECT, false}, END};

static const struct bf_field limits_fields[] = {{"scope", BF_FIELD_TEXT, true},
                                                {"name", BF_FIELD_TEXT, false},
                                                {"limits", BF_FIELD_LIST, true},
                                                END};

static const struct bf_field reconcile_fields[] = {{"platform", BF_FIELD_TEXT, false}, END};

static const struct bf_field check_fields[] = {
    {"inspect", BF_FIELD_BOOL, false}, {"waive", BF_FIELD_LIST, false}, END};
static const struct bf_field sync_fields[] = {{"kind", BF_FIELD_TEXT, false}, END};
static const struct bf_field drill_fields[] = {{"point", BF_FIELD_NUMBER, false},
                                               {"network", BF_FIELD_TEXT, false},
                                               {"convert", BF_FIELD_TEXT, false},
                                               {"keep", BF_FIELD_BOOL, false},
                                               END};
static const struct bf_field cutover_fields[] = {{"yes", BF_FIELD_BOOL, false},
                                                 {"shutdown", BF_FIELD_TEXT, false},
                                                 {"point", BF_FIELD_NUMBER, false},
                                                 END};
static const struct bf_field confirm_fields[] = {
    {"keep_replica", BF_FIELD_BOOL, false}, {"force", BF_FIELD_BOOL, false}, END};
static const struct bf_field rollback_fields[] = {{"start_source", BF_FIELD_BOOL, false}, END};
static const struct bf_field remove_fields[] = {
    {"delete_volumes", BF_FIELD_BOOL, false}, {"force", BF_FIELD_BOOL, false}, END};

#define REPLICATION "/v1/replications/{name}"
#define VERB(verb, summary, fields)                                                                \
    {                                                                                              \
        "POST", REPLICATION "/" verb, bf_handle_verb, summary, NULL, fields                        \
    }

/* clang-format off */
const struct bf_route bf_routes[] = {
    {"GET", "/v1/status", bf_handle_status, "What the service is and does", NULL, NULL},

    {"GET", "/v1/platforms", bf_handle_platforms, "List the platforms", NULL, NULL},
    {"POST", "/v1/platforms", bf_handle_platform_add, "Register a platform", NULL, platform_fields},
    {"GET", "/v1/platforms/{name}", bf_handle_platform, "Show a platform", NULL, NULL},
    {"PATCH", "/v1/platforms/{name}", bf_handle_platform_change, "Change how a platform is reached", NULL, platform_change_fields},
    {"DELETE", "/v1/platforms/{name}", bf_handle_platform_remove, "Forget a platform that nothing uses", NULL, NULL},
    {"POST", "/v1/platforms/{name}/test", bf_handle_platform_test, "Log in to the platform and report what it can do", NULL, nothing},
    {"GET", "/v1/platforms/{name}/machines", bf_handle_machines, "List the platform's machines", NULL, NULL},
    {"GET", "/v1/platforms/{name}/machines/{id}", bf_handle_machine, "Describe a machine, by id or name", NULL, NULL},
    {"GET", "/v1/platforms/{name}/resources", bf_handle_resources, "List the platform's storages and networks", NULL, NULL},

    {"GET", "/v1/replications", bf_handle_replications, "List the replications", NULL, NULL},
    {"POST", "/v1/replications", bf_handle_replicate, "Make a replication of a machine", NULL, replicate_fields},
    {"GET", REPLICATION, bf_handle_replication, "Show a replication", NULL, NULL},
    {"PATCH", REPLICATION, bf_handle_replication_change, "Change mapping or policy, merged by field", NULL, change_fields},
    {"GET", REPLICATION "/rounds", bf_handle_rounds, "List the rounds, newest first", "limit", NULL},
    {"GET", REPLICATION "/points", bf_handle_points, "List the points, newest first", NULL, NULL},
    {"GET", REPLICATION "/launches", bf_handle_launches, "List the launches, newest first", NULL, NULL},
    {"GET", REPLICATION "/jobs", bf_handle_jobs, "List the jobs, newest first", "limit", NULL},
    {"GET", REPLICATION "/report", bf_handle_report, "The replication's report, as JSON or as a page", "format", NULL},
    {"GET", REPLICATION "/plan", bf_handle_plan, "The plan of the guest's conversion", NULL, NULL},
    VERB("check", "Run the prechecks, and inspect the guest if asked to", check_fields),
    VERB("sync", "Run a round now", sync_fields),
    VERB("pause", "Start no rounds until resume", nothing),
    VERB("resume", "Let rounds start again", nothing),
    VERB("cancel", "Cancel the running job", nothing),
    VERB("drill", "Launch a point on an isolated network", drill_fields),
    VERB("drill-end", "Discard the drill", nothing),
    VERB("cutover", "Stop the source, run the last round and launch", cutover_fields),
    VERB("confirm", "Keep the launched machine and end the replication", confirm_fields),
    VERB("rollback", "Discard the launch and start the source, if it was on, again", rollback_fields),
    VERB("remove", "Remove the replication and what it made", remove_fields),

    {"GET", "/v1/limits", bf_handle_limits, "List the rate limits, and what is used of them now", NULL, NULL},
    {"PATCH", "/v1/limits", bf_handle_limits_set, "Set the rate limits of the service, a platform or a replication", NULL, limits_fields},

    {"GET", "/v1/ledger", bf_handle_ledger, "What the service has made on the platforms", "all", NULL},
    {"POST", "/v1/reconcile", bf_handle_reconcile, "Look on the platforms for what the ledger does not know", NULL, reconcile_fields},
    {"GET", "/v1/events", bf_handle_events, "Events as JSON, or live as an event stream", "replication after last limit", NULL},
    {"GET", "/metrics", bf_handle_metrics, "Metrics in Prometheus text format", NULL, NULL},
};
/* clang-format on */
const size_t bf_route_count = bf_array_length(bf_routes);
