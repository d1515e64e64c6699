/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/check.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/source.h"
#include "connectors/target.h"
#include "daemon/adopt.h"
#include "daemon/context.h"
#include "daemon/ladder.h"
#include "daemon/plan.h"
#include "daemon/replication.h"
#include "daemon/service_private.h"

static bool is_waived(struct json_object *waived, const char *id)
{
    size_t count = waived ? json_object_array_length(waived) : 0;

    for (size_t i = 0; i < count; i++) {
        struct json_object *item = json_object_array_get_idx(waived, i);

        if (json_object_is_type(item, json_type_string)
                ? bf_streq(json_object_get_string(item), id)
                : bf_context_bool(item, "waived") && bf_streq(bf_context_text(item, "id"), id))
            return true;
    }
    return false;
}

static void mark_waived(struct json_object *findings, struct json_object *waived)
{
    for (size_t i = 0; i < json_object_array_length(findings); i++) {
        struct json_object *item = json_object_array_get_idx(findings, i);

        if (is_waived(waived, bf_context_text(item, "id")))
            bf_json_add_bool(item, "waived", true);
    }
}

/* A disk that the mapping names and the machine lacks would silently not be replicated. */
static void check_disks(const struct bf_machine *machine, struct json_object *mapping,
                        struct bf_findings *findings)
{
    struct json_object *wanted = NULL;
    bf_auto_buf known = {0};

    if (!json_object_object_get_ex(mapping, "disks", &wanted) || !wanted)
        return;
    for (size_t i = 0; i < machine->disk_count; i++)
        bf_buf_addf(&known, "%s%s", i ? ", " : "", machine->disks[i].key);
    for (size_t i = 0; i < json_object_array_length(wanted); i++) {
        const char *key = json_object_get_string(json_object_array_get_idx(wanted, i));

        if (!bf_machine_disk(machine, key))
            bf_findings_add(findings, BF_SEVERITY_BLOCK, "mapping-no-disk", key,
                            "the machine has no such disk", known.text ? known.text : "a disk",
                            "the mapping names it to be replicated",
                            "correct disks in the mapping, or take them out to replicate all");
    }
}

/* What bf_target_precheck() takes: the mapping, and of the policy what makes a difference there. */
static struct json_object *with_policy(struct json_object *mapping, const struct bf_policy *policy)
{
    struct json_object *both = json_object_new_object();

    json_object_object_foreach(mapping, key, value)
    {
        json_object_object_add(both, key, json_object_get(value));
    }
    bf_json_add_u64(both, "keep_points", policy->keep_points);
    bf_json_add_bool(both, "companion", policy->boot_ladder == BF_LADDER_SATA_FIRST);
    return both;
}

int bf_check_run(struct bf_platform *source, struct bf_platform *target, const char *machine_name,
                 const struct bf_policy *policy, struct json_object *mapping,
                 struct json_object *waived, struct bf_machine **ret_machine,
                 struct json_object **ret_findings, struct bf_error *err)
{
    bf_auto_machine *machine = NULL;
    bf_auto_findings findings = {0};
    bf_auto_json *asked = with_policy(mapping, policy);
    struct json_object *json;

    if (bf_platform_machine(source, machine_name, &machine, err) != 0 ||
        bf_source_precheck(source, machine, &findings, err) != 0 ||
        bf_target_precheck(target, machine, asked, &findings, err) != 0 ||
        bf_adopt_precheck(source, target, machine, policy, mapping, &findings, err) != 0)
        return -1;
    check_disks(machine, mapping, &findings);
    bf_ladder_precheck(target, policy, &findings);
    json = bf_findings_to_json(&findings);
    mark_waived(json, waived);
    *ret_findings = json;
    *ret_machine = bf_steal(machine);
    return 0;
}

static bool blocks(struct json_object *finding)
{
    return bf_streq(bf_context_text(finding, "severity"), "block") &&
           !bf_context_bool(finding, "waived");
}

bool bf_check_blocks(struct json_object *findings)
{
    for (size_t i = 0; i < json_object_array_length(findings); i++) {
        if (blocks(json_object_array_get_idx(findings, i)))
            return true;
    }
    return false;
}

int bf_check_fail(struct json_object *findings, struct bf_error *err)
{
    bf_auto_buf evidence = {0};
    bf_auto_buf ids = {0};

    for (size_t i = 0; i < json_object_array_length(findings); i++) {
        struct json_object *item = json_object_array_get_idx(findings, i);
        const char *subject = bf_context_text(item, "subject");
        const char *fix = bf_context_text(item, "fix");

        if (!blocks(item))
            continue;
        bf_buf_addf(&ids, "%s%s", ids.length ? ", " : "", bf_context_text(item, "id"));
        bf_buf_addf(&evidence, "%s%s%s%s: %s; fix: %s", evidence.length ? "\n" : "",
                    bf_context_text(item, "id"), subject ? " " : "", subject ? subject : "",
                    bf_context_text(item, "found"), fix ? fix : "none known");
    }
    bf_fail(err, BF_E_PRECHECK_BLOCKED, 0, "blocked by %s", ids.text ? ids.text : "a precheck");
    bf_error_evidence(err, evidence.text);
    return -1;
}

/* --- the step --- */

struct put_findings {
    struct bf_job *job;
    const char *text;
};

static int store_findings(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct put_findings *put = user;
    struct bf_replication_row row = {0};
    int r;

    if (bf_store_replication_get(service->store, bf_job_replication_id(put->job), &row, err) != 0)
        return -1;
    free(row.findings);
    row.findings = bf_xstrdup(put->text);
    row.checked_us = bf_utc_us();
    r = bf_store_replication_update(service->store, &row, err);
    bf_replication_row_done(&row);
    return r;
}

/* To what was waived before, what this check was asked to waive. */
static void add_waived(struct json_object *waived, struct json_object *params)
{
    struct json_object *asked = NULL;

    if (!json_object_object_get_ex(params, "waive", &asked) ||
        !json_object_is_type(asked, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(asked); i++)
        json_object_array_add(waived, json_object_get(json_object_array_get_idx(asked, i)));
}

int bf_check_step(struct bf_job *job, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    bf_auto_json *mapping = bf_mapping_to_json(&inputs->mapping);
    bf_auto_json *waived = bf_context_parse_array(inputs->replication.findings);
    bf_auto_json *findings = NULL;
    bf_auto_machine *machine = NULL;
    struct bf_platform *source, *target;
    struct put_findings put = {.job = job};

    if (bf_job_source(job, &source, err) != 0 || bf_job_target(job, &target, err) != 0)
        return -1;
    if (bf_check_run(source, target, inputs->replication.machine_id, &inputs->policy, mapping,
                     waived, &machine, &findings, err) != 0) {
        if (err->code == BF_E_NO_SUCH_MACHINE)
            bf_error_recode(err, BF_E_MACHINE_GONE);
        return -1;
    }
    /* What is known of the guest blocks as what is known of the platforms does. */
    bf_plan_add_findings(bf_job_inputs(job), bf_job_config(job), findings);
    add_waived(waived, bf_job_params(job));
    mark_waived(findings, waived);
    put.text = bf_json_text(findings);
    bf_json_add_i64(bf_job_context(job), "checked_us", bf_utc_us());
    bf_json_add_bool(bf_job_context(job), "blocked", bf_check_blocks(findings));
    if (bf_job_transaction(job, store_findings, &put, err) != 0)
        return -1;
    if (bf_streq(bf_job_kind_of(job)->name, "check"))
        return bf_replication_put_machine(job, machine, err);
    return bf_check_blocks(findings) ? bf_check_fail(findings, err) : 0;
}

/* --- the job --- */

static int check_ended(struct bf_service *service, struct bf_job *job,
                       struct bf_replication_row *row, const struct bf_error *failure,
                       struct bf_error *err)
{
    enum bf_state state = bf_state_of(row);

    /* Only before the first point does a check decide the state; later it tells. */
    if (state != BF_STATE_NEW && state != BF_STATE_CHECKED && state != BF_STATE_BLOCKED)
        return 0;
    if (failure && failure->code == BF_E_CANCELLED)
        return 0;
    if (failure)
        return bf_state_set(service, row, BF_STATE_FAILED, failure, err);
    return bf_state_set(service, row,
                        bf_context_bool(bf_job_context(job), "blocked") ? BF_STATE_BLOCKED
                                                                        : BF_STATE_CHECKED,
                        NULL, err);
}

static const struct bf_step check_steps[] = {
    {"snapshot", bf_plan_snapshot, bf_plan_undo_snapshot, false},
    {"inspect", bf_plan_inspect, NULL, false},
    {"release", bf_plan_release, NULL, false},
    {"check", bf_check_step, NULL, false},
};

const struct bf_job_kind bf_job_kind_check = {
    .name = "check",
    .steps = check_steps,
    .step_count = bf_array_length(check_steps),
    .end = check_ended,
};
