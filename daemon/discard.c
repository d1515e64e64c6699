/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a drill: its machine and its clones are removed, the replica is as it was. */
#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/launch.h"
#include "daemon/ledger.h"
#include "daemon/service_private.h"

int bf_discard_machine(struct bf_job *job, struct bf_error *err)
{
    const char *id = bf_context_text(bf_job_context(job), "machine_ledger");

    return id ? bf_ledger_remove(job, id, err) : 0;
}

int bf_discard_clones(struct bf_job *job, struct bf_error *err)
{
    struct json_object *ids = bf_context_array(bf_job_context(job), "clone_ledgers");

    for (size_t i = 0; i < json_object_array_length(ids); i++) {
        const char *id = json_object_get_string(json_object_array_get_idx(ids, i));

        if (bf_ledger_remove(job, id, err) != 0)
            return -1;
    }
    return 0;
}

static int discard_begins(struct bf_service *service, struct bf_job *job,
                          struct bf_replication_row *row, struct bf_error *err)
{
    struct bf_launch_row open = {0};
    bool found;
    int r;

    if (bf_launch_find_open(service->store, row->id, "drill", &open, &found, err) != 0)
        return -1;
    if (!found)
        return bf_fail(err, BF_E_STATE_FORBIDS, 0, "%s has no drill to end", row->name);
    r = bf_launch_remember(service->store, bf_job_context(job), &open, err);
    if (r == 0)
        r = bf_launch_set_state(service, row->id, open.id, "discarding", err);
    bf_launch_row_done(&open);
    return r;
}

static int discard_ended(struct bf_service *service, struct bf_job *job,
                         struct bf_replication_row *row, const struct bf_error *failure,
                         struct bf_error *err)
{
    const char *id = bf_context_text(bf_job_context(job), "launch_row");

    /* "discarding" is open still: drill-end can be asked for again. */
    if (failure)
        return 0;
    if (bf_launch_set_state(service, row->id, id, "discarded", err) != 0)
        return -1;
    return bf_service_event(service, row->name, "info", "launch", NULL, err,
                            "the drill of %s is discarded", row->name);
}

static const struct bf_step discard_steps[] = {
    {"machine", bf_discard_machine, NULL, false},
    {"clones", bf_discard_clones, NULL, false},
};

const struct bf_job_kind bf_job_kind_discard = {
    .name = "discard",
    .steps = discard_steps,
    .step_count = bf_array_length(discard_steps),
    .beside = true,
    .begin = discard_begins,
    .end = discard_ended,
};
