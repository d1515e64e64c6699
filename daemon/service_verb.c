/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs: the fields of their bodies, the state's permission, the job. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/job.h"
#include "daemon/replication.h"
#include "daemon/service_private.h"
#include "daemon/state.h"
#include "guest/convert.h"

typedef int verb_fn(struct bf_service *service, struct bf_replication_row *row,
                    struct json_object *body, char ret_job[37], struct bf_error *err);

enum field_type { TEXT, FLAG, NUMBER, TEXTS };

struct field {
    const char *name;
    enum field_type type;
    const char *const *choices; /* of a text; NULL: any */
};

/* --- what they do --- */

static int do_check(struct bf_service *service, struct bf_replication_row *row,
                    struct json_object *body, char ret_job[37], struct bf_error *err)
{
    return bf_job_start(service, "check", row->id, body, ret_job, err);
}

static int do_sync(struct bf_service *service, struct bf_replication_row *row,
                   struct json_object *body, char ret_job[37], struct bf_error *err)
{
    struct bf_job *job = bf_job_find(service, row->id, false);
    bool has;

    /* The round that runs is the one that is wanted, unless its kind was asked for. */
    if (job && bf_streq(bf_job_kind_of(job)->name, "round") && !bf_context_text(body, "kind")) {
        snprintf(ret_job, 37, "%s", bf_job_id(job));
        return 0;
    }
    if (bf_replication_has_point(service, row->id, &has, err) != 0)
        return -1;
    bf_json_add_string(body, "trigger", has ? "manual" : "seed");
    return bf_job_start(service, "round", row->id, body, ret_job, err);
}

/* A round that runs is finished; no other starts. */
static int do_pause(struct bf_service *service, struct bf_replication_row *row,
                    struct json_object *body, char ret_job[37], struct bf_error *err)
{
    (void)body;
    (void)ret_job;
    row->next_round_us = 0;
    return bf_state_set(service, row, BF_STATE_PAUSED, NULL, err);
}

static int do_resume(struct bf_service *service, struct bf_replication_row *row,
                     struct json_object *body, char ret_job[37], struct bf_error *err)
{
    struct bf_job *job = bf_job_find(service, row->id, false);
    bool has;

    (void)body;
    (void)ret_job;
    if (bf_replication_has_point(service, row->id, &has, err) != 0)
        return -1;
    if (job && bf_streq(bf_job_kind_of(job)->name, "round"))
        return bf_state_set(service, row, has ? BF_STATE_SYNCING : BF_STATE_SEEDING, NULL, err);
    bf_replication_schedule(row, 0);
    return bf_state_set(service, row, has ? BF_STATE_IDLE : BF_STATE_CHECKED, NULL, err);
}

static int do_cancel(struct bf_service *service, struct bf_replication_row *row,
                     struct json_object *body, char ret_job[37], struct bf_error *err)
{
    struct bf_job *job = bf_job_find(service, row->id, false);
    bool waited;

    (void)body;
    /* What waits goes first: the round before it was not what somebody regrets. */
    if (bf_job_wait_cancel(service, row->id, ret_job, &waited, err) != 0)
        return -1;
    if (waited)
        return 0;
    if (!job)
        job = bf_job_find(service, row->id, true);
    if (!job)
        return bf_fail(err, BF_E_NO_SUCH_JOB, 0, "nothing runs for %s", row->name);
    snprintf(ret_job, 37, "%s", bf_job_id(job));
    bf_job_cancel(job);
    return 0;
}

/* Told at once, not by a job that fails. */
static int check_point(struct bf_service *service, const struct bf_replication_row *row,
                       struct json_object *body, struct bf_error *err)
{
    uint64_t wanted = bf_context_u64(body, "point");
    struct bf_point_row *points = NULL;
    size_t count = 0;
    bool found = !wanted;

    if (!wanted)
        return 0;
    if (bf_store_point_list(service->store, row->id, &points, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        found |= points[i].number == wanted && !points[i].removing;
    bf_rows_free(points, count, sizeof(*points), (bf_row_done_fn *)bf_point_row_done);
    return found ? 0
                 : bf_fail(err, BF_E_NO_SUCH_POINT, 0, "%s has no point %llu", row->name,
                           (unsigned long long)wanted);
}

static int do_drill(struct bf_service *service, struct bf_replication_row *row,
                    struct json_object *body, char ret_job[37], struct bf_error *err)
{
    const char *convert = bf_context_text(body, "convert");
    enum bf_convert_mode mode;

    if ((convert && bf_convert_mode_from_string(convert, &mode, err) != 0) ||
        check_point(service, row, body, err) != 0)
        return -1;
    if (bf_job_running(service, "launch") >= service->config->max_launches)
        return bf_fail(err, BF_E_BUSY, 0, "%u launches run already, which is the limit",
                       bf_job_running(service, "launch"));
    return bf_job_start(service, "launch", row->id, body, ret_job, err);
}

static int do_drill_end(struct bf_service *service, struct bf_replication_row *row,
                        struct json_object *body, char ret_job[37], struct bf_error *err)
{
    return bf_job_start(service, "discard", row->id, body, ret_job, err);
}

static int do_cutover(struct bf_service *service, struct bf_replication_row *row,
                      struct json_object *body, char ret_job[37], struct bf_error *err)
{
    if (!bf_context_bool(body, "yes"))
        return bf_fail(err, BF_E_CONFIRM_NEEDED, 0,
                       "a cutover switches machine %s off; \"yes\": true confirms it",
                       row->machine_name);
    if (bf_replication_adopts(row)) {
        if (bf_context_u64(body, "point"))
            return bf_fail(err, BF_E_NO_SUCH_POINT, 0, "%s adopts its volumes and has no points",
                           row->name);
        return bf_job_start(service, "adopt", row->id, body, ret_job, err);
    }
    if (check_point(service, row, body, err) != 0)
        return -1;
    if (bf_state_of(row) == BF_STATE_SYNCING && bf_job_find(service, row->id, false))
        return bf_job_wait(service, "cutover", row->id, body, ret_job, err);
    return bf_job_start(service, "cutover", row->id, body, ret_job, err);
}

static int do_confirm(struct bf_service *service, struct bf_replication_row *row,
                      struct json_object *body, char ret_job[37], struct bf_error *err)
{
    return bf_job_start(service, "confirm", row->id, body, ret_job, err);
}

static int do_rollback(struct bf_service *service, struct bf_replication_row *row,
                       struct json_object *body, char ret_job[37], struct bf_error *err)
{
    return bf_job_start(service, "rollback", row->id, body, ret_job, err);
}

static int do_remove(struct bf_service *service, struct bf_replication_row *row,
                     struct json_object *body, char ret_job[37], struct bf_error *err)
{
    return bf_job_start(service, "remove", row->id, body, ret_job, err);
}

/* --- the table --- */

static const char *const sync_kinds[] = {"full", "compare", NULL};
static const char *const shutdown_kinds[] = {"ask", "off", NULL};

static const struct field no_fields[] = {{NULL, TEXT, NULL}};
static const struct field check_fields[] = {
    {"inspect", FLAG, NULL}, {"waive", TEXTS, NULL}, {NULL, TEXT, NULL}};
static const struct field sync_fields[] = {{"kind", TEXT, sync_kinds}, {NULL, TEXT, NULL}};
static const struct field drill_fields[] = {{"point", NUMBER, NULL},
                                            {"network", TEXT, NULL},
                                            {"convert", TEXT, NULL},
                                            {"keep", FLAG, NULL},
                                            {NULL, TEXT, NULL}};
static const struct field cutover_fields[] = {{"yes", FLAG, NULL},
                                              {"shutdown", TEXT, shutdown_kinds},
                                              {"point", NUMBER, NULL},
                                              {NULL, TEXT, NULL}};
static const struct field confirm_fields[] = {
    {"keep_replica", FLAG, NULL}, {"force", FLAG, NULL}, {NULL, TEXT, NULL}};
static const struct field rollback_fields[] = {{"start_source", FLAG, NULL}, {NULL, TEXT, NULL}};
static const struct field remove_fields[] = {
    {"delete_volumes", FLAG, NULL}, {"force", FLAG, NULL}, {NULL, TEXT, NULL}};

static const struct {
    verb_fn *fn;
    const struct field *fields;
} verbs[BF_VERB_MAX] = {
    [BF_VERB_CHECK] = {do_check, check_fields},
    [BF_VERB_SYNC] = {do_sync, sync_fields},
    [BF_VERB_PAUSE] = {do_pause, no_fields},
    [BF_VERB_RESUME] = {do_resume, no_fields},
    [BF_VERB_CANCEL] = {do_cancel, no_fields},
    [BF_VERB_DRILL] = {do_drill, drill_fields},
    [BF_VERB_DRILL_END] = {do_drill_end, no_fields},
    [BF_VERB_CUTOVER] = {do_cutover, cutover_fields},
    [BF_VERB_CONFIRM] = {do_confirm, confirm_fields},
    [BF_VERB_ROLLBACK] = {do_rollback, rollback_fields},
    [BF_VERB_REMOVE] = {do_remove, remove_fields},
};

static int check_text(struct json_object *body, const struct field *field, struct bf_error *err)
{
    const char *text = NULL;

    if (bf_json_opt_string(body, "", field->name, &text, err) != 0)
        return -1;
    if (!text || !field->choices)
        return 0;
    for (const char *const *choice = field->choices; *choice; choice++) {
        if (bf_streq(*choice, text))
            return 0;
    }
    return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: '%s' is not known", field->name, text);
}

static int check_texts(struct json_object *body, const struct field *field, struct bf_error *err)
{
    struct json_object *list = NULL;

    if (bf_json_opt_array(body, "", field->name, &list, err) != 0)
        return -1;
    for (size_t i = 0; list && i < json_object_array_length(list); i++)
        if (!json_object_is_type(json_object_array_get_idx(list, i), json_type_string))
            return bf_fail(err, BF_E_BAD_JSON, 0, "%s[%zu]: expected string", field->name, i);
    return 0;
}

static int check_body(struct json_object *body, const struct field *fields, struct bf_error *err)
{
    const char *known[8] = {NULL};
    size_t n = 0;

    for (const struct field *field = fields; field->name; field++) {
        bool flag = false;
        uint64_t number = 0;

        known[n++] = field->name;
        if ((field->type == TEXT && check_text(body, field, err) != 0) ||
            (field->type == TEXTS && check_texts(body, field, err) != 0) ||
            (field->type == FLAG && bf_json_opt_bool(body, "", field->name, &flag, err) != 0) ||
            (field->type == NUMBER && bf_json_opt_u64(body, "", field->name, &number, err) != 0))
            return -1;
    }
    return bf_json_check_fields(body, "", known, err);
}

int bf_service_verb(struct bf_service *service, const char *name, const char *verb_text,
                    struct json_object *body, struct json_object **ret, struct bf_error *err)
{
    bf_auto_json *params = NULL;
    struct bf_replication_row row = {0};
    enum bf_verb verb;
    char job[37] = "";
    int r;

    bf_assert_main();
    if (bf_verb_from_string(verb_text, &verb, err) != 0)
        return -1;
    if (body && !json_object_is_type(body, json_type_object))
        return bf_fail(err, BF_E_BAD_JSON, 0, "an object is expected");
    /* A copy: the job keeps it and adds to it. */
    params = bf_context_parse(body ? bf_json_text(body) : NULL);
    if (check_body(params, verbs[verb].fields, err) != 0 ||
        bf_store_replication_get(service->store, name, &row, err) != 0)
        return -1;
    r = bf_state_check_verb(&row, verb, err);
    if (r == 0)
        r = verbs[verb].fn(service, &row, params, job, err);
    if (r == 0) {
        struct bf_replication_row now = {0};

        bf_scheduler_kick(service);
        *ret = json_object_new_object();
        bf_json_add_string(*ret, "job", *job ? job : NULL);
        if (bf_store_replication_get(service->store, row.id, &now, err) == 0)
            bf_json_add_string(*ret, "state", now.state);
        bf_error_clear(err);
        bf_replication_row_done(&now);
    }
    bf_replication_row_done(&row);
    return r;
}
