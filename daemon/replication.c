/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/replication.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/launch.h"
#include "daemon/policy.h"
#include "daemon/schedule.h"
#include "daemon/service_private.h"

/* --- schedule --- */

/* The stored policy; a damaged one counts as the default, which the log says. */
static void policy_of(const struct bf_replication_row *row, struct bf_policy *ret_policy)
{
    bf_auto_json *json = bf_context_parse(row->policy);
    bf_auto_error err = BF_ERROR_INIT;

    bf_policy_init(ret_policy);
    if (bf_policy_from_json(json, ret_policy, &err) != 0)
        bf_log_error(BF_LOG_ERROR, &err, "stored policy of %s", row->name);
}

void bf_replication_schedule(struct bf_replication_row *row, int64_t last_start_us)
{
    bf_auto_policy policy = {0};

    policy_of(row, &policy);
    row->next_round_us = bf_schedule_next(&policy, last_start_us, bf_utc_us());
}

bool bf_replication_adopts(const struct bf_replication_row *row)
{
    bf_auto_policy policy = {0};

    policy_of(row, &policy);
    return policy.transfer == BF_TRANSFER_ADOPT;
}

int bf_replication_has_point(struct bf_service *service, const char *replication_id, bool *ret_has,
                             struct bf_error *err)
{
    struct bf_point_row *rows = NULL;
    size_t count = 0;
    bool has = false;

    if (bf_store_point_list(service->store, replication_id, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        has = has || !rows[i].removing;
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_point_row_done);
    *ret_has = has;
    return 0;
}

/* --- a round --- */

int bf_replication_round_begins(struct bf_service *service, struct bf_job *job,
                                struct bf_replication_row *row, struct bf_error *err)
{
    enum bf_state to;
    bool has;

    (void)job;
    if (bf_replication_adopts(row))
        return bf_fail(err, BF_E_STATE_FORBIDS, 0,
                       "the policy of %s is to adopt the volumes: nothing is copied before the "
                       "cutover",
                       row->name);
    if (bf_replication_has_point(service, row->id, &has, err) != 0)
        return -1;
    to = has ? BF_STATE_SYNCING : BF_STATE_SEEDING;
    if (!bf_state_can_become(bf_state_of(row), to))
        return bf_fail(err, BF_E_STATE_FORBIDS, 0, "%s is %s: no round starts", row->name,
                       row->state);
    row->next_round_us = 0;
    return bf_state_set(service, row, to, NULL, err);
}

static int64_t round_started(struct bf_job *job, struct bf_replication_row *row)
{
    struct json_object *round = bf_context_object(bf_job_context(job), "round");
    int64_t started = bf_context_i64(round, "started_us");

    return started ? started : row->changed_us;
}

/* What a failed round leaves: retried by itself up to the policy's number, then "failed", and still
 * tried again as long as the error says that this may help. */
static enum bf_state after_failure(struct bf_replication_row *row, const struct bf_error *failure,
                                   enum bf_state rest)
{
    bf_auto_policy policy = {0};

    policy_of(row, &policy);
    row->failures++;
    if (!bf_error_retry_safe(failure->code))
        return BF_STATE_FAILED;
    row->next_round_us = bf_schedule_retry(&policy, row->failures, bf_utc_us());
    return row->failures > policy.retries ? BF_STATE_FAILED : rest;
}

int bf_replication_round_ended(struct bf_service *service, struct bf_job *job,
                               struct bf_replication_row *row, const struct bf_error *failure,
                               struct bf_error *err)
{
    enum bf_state state = bf_state_of(row), to;
    bool has;

    if (bf_replication_has_point(service, row->id, &has, err) != 0)
        return -1;
    to = has ? BF_STATE_IDLE : BF_STATE_CHECKED;
    bf_replication_schedule(row, round_started(job, row));
    if (!failure) {
        row->failures = 0;
        bf_drill_after_round(service, row->id);
    } else if (failure->code == BF_E_CANCELLED) {
        /* An admin's wish: the next one comes by the schedule, a seed by hand. */
        if (!has)
            row->next_round_us = 0;
    } else {
        to = after_failure(row, failure, to);
    }
    if (state == BF_STATE_PAUSED) { /* asked for while the round ran */
        row->next_round_us = 0;
        to = BF_STATE_PAUSED;
    } else if (state != BF_STATE_SEEDING && state != BF_STATE_SYNCING) {
        return 0;
    }
    return bf_state_set(service, row, to, failure, err);
}

/* --- the machine --- */

struct put_machine {
    const char *replication_id;
    const struct bf_machine *machine;
};

static int store_machine(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct put_machine *put = user;
    bf_auto_json *json = bf_machine_to_json(put->machine);
    struct bf_replication_row row = {0};
    int r;

    if (bf_store_replication_get(service->store, put->replication_id, &row, err) != 0)
        return -1;
    free(row.machine);
    row.machine = bf_xstrdup(bf_json_text(json));
    free(row.machine_name);
    row.machine_name = bf_xstrdup(put->machine->name);
    r = bf_store_replication_update(service->store, &row, err);
    bf_replication_row_done(&row);
    return r;
}

int bf_replication_put_machine(struct bf_job *job, const struct bf_machine *machine,
                               struct bf_error *err)
{
    struct put_machine put = {.replication_id = bf_job_replication_id(job), .machine = machine};

    if (bf_job_transaction(job, store_machine, &put, err) != 0)
        return -1;
    return bf_job_refresh(job, err);
}
