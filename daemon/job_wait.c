/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that wait for the one that runs: a cutover asked for in the middle of a round.
 *
 * A waiting job is a row of state "waiting" and nothing else, so that a restart finds it.  It has
 * touched nothing: its kind's begin() is asked when its turn comes, against the state of then.
 * At most one waits for a replication.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/job_private.h"
#include "daemon/loop.h"
#include "daemon/service_private.h"
#include "daemon/state.h"

/* The waiting row of a replication; *ret_found false: there is none. */
static int find(struct bf_service *service, const char *replication_id, struct bf_job_row *ret_row,
                bool *ret_found, struct bf_error *err)
{
    struct bf_job_row *rows = NULL;
    size_t count = 0;
    bool found = false;

    if (bf_store_job_list_open(service->store, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!found && bf_streq(rows[i].state, "waiting") &&
            bf_streq(rows[i].replication_id, replication_id)) {
            *ret_row = rows[i];
            rows[i] = (struct bf_job_row){0};
            found = true;
        }
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_job_row_done);
    *ret_found = found;
    return 0;
}

int bf_job_wait(struct bf_service *service, const char *kind, const char *replication_id,
                struct json_object *params, char ret_id[37], struct bf_error *err)
{
    bf_auto_json *context = json_object_new_object();
    struct bf_job_row other = {0};
    char id[BF_UUID_LENGTH + 1];
    bool found;

    bf_assert_main();
    if (find(service, replication_id, &other, &found, err) != 0)
        return -1;
    if (found) {
        bf_fail(err, BF_E_BUSY, 0, "a %s waits already for the round that runs (job %s)",
                other.kind, other.id);
        bf_job_row_done(&other);
        return -1;
    }
    bf_uuid_new(id);
    json_object_object_add(context, "params",
                           params ? json_object_get(params) : json_object_new_object());
    struct bf_job_row row = {
        .id = id,
        .replication_id = bf_xstrdup(replication_id),
        .kind = bf_xstrdup(kind),
        .state = bf_xstrdup("waiting"),
        .context = bf_xstrdup(bf_json_text(context)),
        .started_us = bf_utc_us(),
    };
    int r = bf_store_job_put(service->store, &row, err);

    row.id = NULL;
    bf_job_row_done(&row);
    if (r == 0)
        memcpy(ret_id, id, sizeof(id));
    return r;
}

/* The waiting row's own end: it never ran. */
static int end(struct bf_service *service, struct bf_job_row *row, const char *state,
               const struct bf_error *why, struct bf_error *err)
{
    bf_auto_json *json = bf_json_error(why);

    free(row->state);
    row->state = bf_xstrdup(state);
    free(row->error);
    row->error = bf_xstrdup(bf_json_text(json));
    row->ended_us = bf_utc_us();
    return bf_store_job_put(service->store, row, err);
}

int bf_job_wait_cancel(struct bf_service *service, const char *replication_id, char ret_id[37],
                       bool *ret_found, struct bf_error *err)
{
    struct bf_job_row row = {0};
    bf_auto_error why = BF_ERROR_INIT;
    int r;

    bf_assert_main();
    if (find(service, replication_id, &row, ret_found, err) != 0)
        return -1;
    if (!*ret_found)
        return 0;
    bf_fail(&why, BF_E_CANCELLED, 0, "the %s was cancelled while it waited", row.kind);
    r = end(service, &row, "cancelled", &why, err);
    if (r == 0)
        snprintf(ret_id, 37, "%s", row.id);
    bf_job_row_done(&row);
    return r;
}

/* After a restart the failure itself is in the replication's state only. */
static bool failed_meanwhile(struct bf_service *service, const char *replication_id)
{
    struct bf_replication_row row = {0};
    bf_auto_error ignored = BF_ERROR_INIT;
    bool failed = bf_store_replication_get(service->store, replication_id, &row, &ignored) != 0 ||
                  bf_state_of(&row) == BF_STATE_FAILED;

    bf_replication_row_done(&row);
    return failed;
}

/* The turn of a waiting job, unless what it waited for failed: then the machine is not in the state
 * in which the admin asked for it. */
static int take_turn(struct bf_service *service, struct bf_job_row *row,
                     const struct bf_error *failure, struct bf_error *err)
{
    bf_auto_error why = BF_ERROR_INIT;

    if (!failure && failed_meanwhile(service, row->replication_id))
        bf_fail(&why, BF_E_STATE_FORBIDS, 0, "the round that the %s waited for failed", row->kind);
    else if (failure)
        bf_fail(&why, failure->code, 0, "the round that the %s waited for failed: %s", row->kind,
                failure->message);
    else if (bf_job_begin_waiting(service, row, &why) == 0)
        return 0;
    bf_log_error(BF_LOG_ERROR, &why, "%s that waited", row->kind);
    return end(service, row, "failed", &why, err);
}

void bf_job_wait_over(struct bf_service *service, const char *replication_id,
                      const struct bf_error *failure)
{
    struct bf_job_row row = {0};
    bf_auto_error err = BF_ERROR_INIT;
    bool found = false;

    bf_assert_main();
    if (service->stopping || bf_job_find(service, replication_id, false))
        return;
    if (find(service, replication_id, &row, &found, &err) == 0 && found)
        (void)take_turn(service, &row, failure, &err);
    if (bf_error_is_set(&err))
        bf_log_error(BF_LOG_ERROR, &err, "waiting job of replication %s", replication_id);
    bf_job_row_done(&row);
}
