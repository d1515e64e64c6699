/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/service_replication.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/adopt.h"
#include "daemon/check.h"
#include "daemon/context.h"
#include "daemon/job.h"
#include "daemon/ladder.h"
#include "daemon/launch.h"
#include "daemon/replication.h"
#include "daemon/service_names.h"
#include "daemon/state.h"

enum { NAME_SLUG_MAX = 40 };

/* --- parse --- */

int bf_replicate_parse(struct json_object *body, struct bf_replicate *ret, struct bf_error *err)
{
    static const char *const known[] = {"source", "machine", "target", "name",  "mapping",
                                        "policy", "start",   "force",  "waive", NULL};
    const char *source, *machine, *target, *name = NULL;
    struct json_object *mapping = NULL, *policy = NULL, *waive = NULL;
    struct bf_replicate replicate __attribute__((cleanup(bf_replicate_done))) = {.start = true};
    bool force = false; /* findings that only warn never block, so there is nothing to force */

    bf_mapping_init(&replicate.mapping);
    bf_policy_init(&replicate.policy);
    if (!json_object_is_type(body, json_type_object))
        return bf_fail(err, BF_E_BAD_JSON, 0, "an object is expected");
    if (bf_json_check_fields(body, "", known, err) != 0 ||
        bf_json_get_string(body, "", "source", &source, err) != 0 ||
        bf_json_get_string(body, "", "machine", &machine, err) != 0 ||
        bf_json_get_string(body, "", "target", &target, err) != 0 ||
        bf_json_opt_string(body, "", "name", &name, err) != 0 ||
        bf_json_opt_object(body, "", "mapping", &mapping, err) != 0 ||
        bf_json_opt_object(body, "", "policy", &policy, err) != 0 ||
        bf_json_opt_bool(body, "", "start", &replicate.start, err) != 0 ||
        bf_json_opt_bool(body, "", "force", &force, err) != 0 ||
        bf_json_opt_array(body, "", "waive", &waive, err) != 0 ||
        (name && bf_name_check(name, "name", err) != 0) ||
        bf_mapping_from_json(mapping, &replicate.mapping, err) != 0 ||
        bf_policy_from_json(policy, &replicate.policy, err) != 0 ||
        bf_drill_check(&replicate.policy, &replicate.mapping, err) != 0 ||
        bf_ladder_check(&replicate.policy, &replicate.mapping, err) != 0 ||
        bf_adopt_check(&replicate.policy, err) != 0)
        return -1;
    replicate.source = bf_xstrdup(source);
    replicate.machine = bf_xstrdup(machine);
    replicate.target = bf_xstrdup(target);
    replicate.name = bf_xstrdup(name);
    replicate.waive = waive ? json_object_get(waive) : NULL;
    *ret = replicate;
    replicate = (struct bf_replicate){0};
    return 0;
}

void bf_replicate_done(struct bf_replicate *replicate)
{
    free(replicate->source);
    free(replicate->machine);
    free(replicate->target);
    free(replicate->name);
    bf_mapping_done(&replicate->mapping);
    bf_policy_done(&replicate->policy);
    json_object_put(replicate->waive);
    *replicate = (struct bf_replicate){0};
}

/* --- make --- */

static int fill_row(struct bf_service *service, const struct bf_replicate *replicate,
                    const struct bf_machine *machine, struct json_object *findings,
                    struct bf_replication_row *row, struct bf_error *err)
{
    struct bf_platform_row source = {0}, target = {0};
    bf_auto_json *mapping = bf_mapping_to_json(&replicate->mapping);
    bf_auto_json *policy = bf_policy_to_json(&replicate->policy);
    bf_auto_json *description = bf_machine_to_json(machine);
    char id[BF_UUID_LENGTH + 1];

    if (bf_store_platform_get(service->store, replicate->source, &source, err) != 0)
        return -1;
    if (bf_store_platform_get(service->store, replicate->target, &target, err) != 0) {
        bf_platform_row_done(&source);
        return -1;
    }
    bf_uuid_new(id);
    *row = (struct bf_replication_row){
        .id = bf_xstrdup(id),
        .name =
            replicate->name ? bf_xstrdup(replicate->name) : bf_slug(machine->name, NAME_SLUG_MAX),
        .source_platform_id = bf_steal(source.id),
        .target_platform_id = bf_steal(target.id),
        .machine_id = bf_xstrdup(machine->id),
        .machine_name = bf_xstrdup(machine->name),
        .machine = bf_xstrdup(bf_json_text(description)),
        .mapping = bf_xstrdup(bf_json_text(mapping)),
        .policy = bf_xstrdup(bf_json_text(policy)),
        .state = bf_xstrdup(bf_state_to_string(BF_STATE_NEW)),
        .findings = bf_xstrdup(bf_json_text(findings)),
        .checked_us = bf_utc_us(),
        .created_us = bf_utc_us(),
        .changed_us = bf_utc_us(),
    };
    bf_platform_row_done(&source);
    bf_platform_row_done(&target);
    return 0;
}

static int add_and_check(struct bf_service *service, struct bf_replication_row *row, bool blocked,
                         struct bf_error *err)
{
    if (bf_store_begin(service->store, err) != 0)
        return -1;
    if (bf_store_replication_add(service->store, row, err) != 0 ||
        bf_service_event(service, row->name, "info", "replication", NULL, err,
                         "replication %s of machine %s is made", row->name,
                         row->machine_name) != 0 ||
        bf_state_set(service, row, blocked ? BF_STATE_BLOCKED : BF_STATE_CHECKED, NULL, err) != 0) {
        bf_store_rollback(service->store);
        return -1;
    }
    return bf_store_commit(service->store, err);
}

int bf_replicate_make(struct bf_service *service, const struct bf_replicate *replicate,
                      const struct bf_machine *machine, struct json_object *findings,
                      struct json_object **ret_json, struct bf_error *err)
{
    struct bf_replication_row row = {0};
    bf_auto_json *params = json_object_new_object();
    bool blocked = bf_check_blocks(findings);
    int r;

    bf_assert_main();
    if (blocked && replicate->start)
        return bf_check_fail(findings, err);
    r = fill_row(service, replicate, machine, findings, &row, err);
    if (r == 0)
        r = add_and_check(service, &row, blocked, err);
    bf_json_add_string(params, "trigger", "seed");
    if (r == 0 && replicate->start && replicate->policy.transfer == BF_TRANSFER_COPY)
        r = bf_job_start(service, "round", row.id, params, NULL, err);
    if (r == 0)
        r = bf_service_replication(service, row.id, ret_json, err);
    bf_replication_row_done(&row);
    return r;
}

/* --- change --- */

static int merge(struct bf_replication_row *row, struct json_object *body, struct bf_policy *policy,
                 struct bf_error *err)
{
    static const char *const known[] = {"policy", "mapping", NULL};
    struct json_object *policy_patch = NULL, *mapping_patch = NULL;
    bf_auto_json *policy_json = bf_context_parse(row->policy);
    bf_auto_json *mapping_json = bf_context_parse(row->mapping);
    bf_auto_mapping mapping = {0};

    bf_mapping_init(&mapping);
    if (!json_object_is_type(body, json_type_object))
        return bf_fail(err, BF_E_BAD_JSON, 0, "an object is expected");
    if (bf_json_check_fields(body, "", known, err) != 0 ||
        bf_json_opt_object(body, "", "policy", &policy_patch, err) != 0 ||
        bf_json_opt_object(body, "", "mapping", &mapping_patch, err) != 0 ||
        bf_policy_from_json(policy_json, policy, err) != 0 ||
        bf_mapping_from_json(mapping_json, &mapping, err) != 0)
        return -1;
    if (policy_patch) {
        bf_auto_json *merged = NULL;

        if (bf_policy_merge(policy, policy_patch, err) != 0)
            return -1;
        merged = bf_policy_to_json(policy);
        free(row->policy);
        row->policy = bf_xstrdup(bf_json_text(merged));
    }
    if (mapping_patch) {
        bf_auto_json *merged = NULL;

        if (bf_mapping_merge(&mapping, mapping_patch, err) != 0)
            return -1;
        merged = bf_mapping_to_json(&mapping);
        free(row->mapping);
        row->mapping = bf_xstrdup(bf_json_text(merged));
    }
    return bf_drill_check(policy, &mapping, err) != 0 || bf_ladder_check(policy, &mapping, err) != 0
               ? -1
               : bf_adopt_check(policy, err);
}

static int reschedule(struct bf_service *service, struct bf_replication_row *row,
                      struct bf_error *err)
{
    enum bf_state state = bf_state_of(row);
    struct bf_round_row *rounds = NULL;
    size_t count = 0;

    if (state != BF_STATE_IDLE && state != BF_STATE_ROLLED_BACK)
        return 0;
    if (bf_store_round_list(service->store, row->id, 1, &rounds, &count, err) != 0)
        return -1;
    if (row->failures == 0) /* a retry stands for itself */
        bf_replication_schedule(row, count ? rounds[0].started_us : 0);
    bf_rows_free(rounds, count, sizeof(*rounds), (bf_row_done_fn *)bf_round_row_done);
    return 0;
}

int bf_service_replication_change(struct bf_service *service, const char *name,
                                  struct json_object *body, struct json_object **ret,
                                  struct bf_error *err)
{
    struct bf_replication_row row = {0};
    bf_auto_policy policy = {0};
    struct bf_job *job;
    int r;

    bf_assert_main();
    bf_policy_init(&policy);
    if (bf_store_replication_get(service->store, name, &row, err) != 0)
        return -1;
    r = merge(&row, body, &policy, err);
    if (r == 0)
        r = reschedule(service, &row, err);
    if (r == 0)
        r = bf_store_replication_update(service->store, &row, err);
    if (r == 0) {
        job = bf_job_find(service, row.id, false);
        if (job)
            bf_job_set_rate(job, policy.rate_bytes);
        bf_scheduler_kick(service);
        r = bf_service_event(service, row.name, "info", "replication", NULL, err,
                             "policy or mapping of %s is changed", row.name);
    }
    if (r == 0)
        r = bf_replication_row_json(service, &row, ret, err);
    bf_replication_row_done(&row);
    return r;
}
