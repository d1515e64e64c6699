/* SPDX-License-Identifier: Apache-2.0 */
/* Drills by themselves: after each n-th round, as the policy says, discarded when they have ended.
 *
 * Counted in points since the last drill of any kind, so that one that could not start (another was
 * open, too many launches ran) comes with the next round. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/launch.h"
#include "daemon/policy.h"
#include "daemon/service_private.h"
#include "daemon/state.h"

struct drill_later {
    struct bf_service *service;
    char *replication_id;
};

/* The newest point that was drilled, whatever came of it; 0: none. */
static int last_drilled(struct bf_store *store, const char *replication_id, uint64_t *ret_point,
                        struct bf_error *err)
{
    struct bf_launch_row *rows = NULL;
    size_t count = 0;

    if (bf_store_launch_list(store, replication_id, &rows, &count, err) != 0)
        return -1;
    *ret_point = 0;
    for (size_t i = 0; i < count; i++)
        if (bf_streq(rows[i].kind, "drill") && rows[i].point_number > *ret_point)
            *ret_point = rows[i].point_number;
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_launch_row_done);
    return 0;
}

static int newest_point(struct bf_store *store, const char *replication_id, uint64_t *ret_point,
                        struct bf_error *err)
{
    struct bf_point_row *rows = NULL;
    size_t count = 0;

    if (bf_store_point_list(store, replication_id, &rows, &count, err) != 0)
        return -1;
    *ret_point = 0;
    for (size_t i = 0; i < count; i++)
        if (!rows[i].removing && rows[i].number > *ret_point)
            *ret_point = rows[i].number;
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_point_row_done);
    return 0;
}

static int is_due(struct bf_service *service, const char *replication_id, bool *ret_due,
                  struct bf_error *err)
{
    struct bf_replication_row row = {0};
    bf_auto_policy policy = {0};
    bf_auto_json *json = NULL;
    uint64_t drilled = 0, newest = 0;
    bool allowed;
    int r;

    bf_policy_init(&policy);
    if (bf_store_replication_get(service->store, replication_id, &row, err) != 0)
        return -1;
    /* Not beside a cutover that waited for this round. */
    allowed = bf_state_allows(bf_state_of(&row), BF_VERB_DRILL);
    json = bf_context_parse(row.policy);
    r = bf_policy_from_json(json, &policy, err);
    if (r == 0 && allowed && policy.drill_every > 0)
        r = last_drilled(service->store, row.id, &drilled, err) != 0 ||
                    newest_point(service->store, row.id, &newest, err) != 0
                ? -1
                : 0;
    bf_replication_row_done(&row);
    *ret_due =
        r == 0 && allowed && policy.drill_every > 0 && newest >= drilled + policy.drill_every;
    return r;
}

static int start(struct bf_service *service, const char *replication_id, struct bf_error *err)
{
    bf_auto_json *params = json_object_new_object();
    bool due = false;

    if (is_due(service, replication_id, &due, err) != 0)
        return -1;
    if (!due || bf_job_running(service, "launch") >= service->config->max_launches)
        return 0;
    bf_json_add_bool(params, "keep", false);
    if (bf_job_start(service, "launch", replication_id, params, NULL, err) == 0)
        return 0;
    if (err->code != BF_E_BUSY)
        return -1;
    bf_error_clear(err); /* one is open: the next round asks again */
    return 0;
}

static void start_later(void *user)
{
    struct drill_later *later = user;
    bf_auto_error err = BF_ERROR_INIT;

    if (!later->service->stopping && start(later->service, later->replication_id, &err) != 0)
        bf_log_error(BF_LOG_WARNING, &err, "the drill of the policy could not be started");
    free(later->replication_id);
    free(later);
}

void bf_drill_after_round(struct bf_service *service, const char *replication_id)
{
    struct drill_later *later = bf_xcalloc(1, sizeof(*later));

    /* Not now: the round's end is being written. */
    later->service = service;
    later->replication_id = bf_xstrdup(replication_id);
    bf_loop_post(service->loop, start_later, later);
}

int bf_drill_check(const struct bf_policy *policy, const struct bf_mapping *mapping,
                   struct bf_error *err)
{
    if (policy->drill_every > 0 && !mapping->isolated_network)
        return bf_fail(err, BF_E_ISOLATION, 0, "policy.drill_every needs mapping.isolated_network");
    return 0;
}
