/* SPDX-License-Identifier: Apache-2.0 */
/* Questions: what has to ask a platform before it can be answered.
 *
 * Each kind has three parts: prepare (main thread: checks the body and loads how to open the
 * platforms), ask (worker thread), and finish (main thread: looks into the store again).
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/connector.h"
#include "daemon/check.h"
#include "daemon/context.h"
#include "daemon/inputs.h"
#include "daemon/ledger.h"
#include "daemon/service_private.h"
#include "daemon/service_replication.h"

struct question_kind;

struct bf_question {
    const struct question_kind *kind;
    struct bf_service *service;
    struct bf_question *next;
    bf_answer_fn *fn;
    void *user;
    struct json_object *body; /* a copy */

    struct bf_platform_access *accesses; /* to ask, in order */
    size_t access_count;
    char *machine;
    struct bf_replicate replicate;

    struct json_object *answer;
    struct bf_error error;
    struct bf_machine *found;     /* "replicate": the machine ... */
    struct json_object *findings; /* ... and what the platforms said of it */

    pthread_mutex_t lock; /* guards what follows, for cancel */
    struct bf_platform *open[2];
    bool cancelled;
};

struct question_kind {
    const char *name;
    int (*prepare)(struct bf_question *question, struct bf_error *err);
    int (*ask)(struct bf_question *question, struct bf_error *err);
    int (*finish)(struct bf_question *question, struct bf_error *err); /* NULL: nothing more */
};

/* --- shared --- */

static int add_access(struct bf_question *question, const char *name, struct bf_error *err)
{
    size_t capacity = question->access_count;

    bf_xgrow(&question->accesses, &capacity, question->access_count + 1,
             sizeof(*question->accesses));
    if (bf_platform_access_load(question->service, name,
                                &question->accesses[question->access_count], err) != 0)
        return -1;
    question->access_count++;
    return 0;
}

/* Worker: open the i-th platform; closed with the question. */
static int open_platform(struct bf_question *question, size_t i, struct bf_platform **ret_platform,
                         struct bf_error *err)
{
    bf_auto_free char *directory = NULL;
    bf_auto_free char *id = bf_xasprintf("%.6s%c", question->accesses[i].row.id, i ? 'b' : 'a');
    struct bf_platform *platform;
    bool cancelled;

    directory = bf_service_work_directory(question->service, id, 'q');
    if (bf_platform_access_open(&question->accesses[i], directory, &platform, err) != 0)
        return -1;
    pthread_mutex_lock(&question->lock);
    cancelled = question->cancelled;
    if (!cancelled)
        question->open[i ? 1 : 0] = platform;
    pthread_mutex_unlock(&question->lock);
    if (cancelled) {
        bf_platform_close(platform);
        return bf_fail(err, BF_E_CANCELLED, 0, "the service stops");
    }
    *ret_platform = platform;
    return 0;
}

static void close_platforms(struct bf_question *question)
{
    struct bf_platform *open[2];

    pthread_mutex_lock(&question->lock);
    memcpy(open, question->open, sizeof(open));
    memset(question->open, 0, sizeof(question->open));
    pthread_mutex_unlock(&question->lock);
    bf_platform_close(open[0]);
    bf_platform_close(open[1]);
}

static int prepare_platform(struct bf_question *question, const char *key, struct bf_error *err)
{
    const char *name;

    if (bf_json_get_string(question->body, "", key, &name, err) != 0)
        return -1;
    return add_access(question, name, err);
}

/* --- platform-test, resources, machines, machine, power --- */

static int prepare_test(struct bf_question *question, struct bf_error *err)
{
    return prepare_platform(question, "name", err);
}

static int ask_test(struct bf_question *question, struct bf_error *err)
{
    struct bf_platform_info info = {0};
    struct bf_platform *platform;

    if (open_platform(question, 0, &platform, err) != 0 ||
        bf_platform_info(platform, &info, err) != 0)
        return -1;
    question->answer = json_object_new_object();
    bf_json_add_bool(question->answer, "ok", !bf_findings_block(&info.findings));
    bf_json_add_string(question->answer, "version", info.version);
    bf_json_add_bool(question->answer, "can_source", info.can_source);
    bf_json_add_bool(question->answer, "can_target", info.can_target);
    json_object_object_add(question->answer, "findings", bf_findings_to_json(&info.findings));
    bf_platform_info_done(&info);
    return 0;
}

static int prepare_one(struct bf_question *question, struct bf_error *err)
{
    return prepare_platform(question, "platform", err);
}

static int ask_resources(struct bf_question *question, struct bf_error *err)
{
    struct bf_platform *platform;

    if (open_platform(question, 0, &platform, err) != 0)
        return -1;
    return bf_platform_resources(platform, &question->answer, err);
}

static int add_machine(const struct bf_machine *machine, void *user)
{
    json_object_array_add(user, bf_machine_to_json(machine));
    return 0;
}

static int ask_machines(struct bf_question *question, struct bf_error *err)
{
    struct bf_platform *platform;

    if (open_platform(question, 0, &platform, err) != 0)
        return -1;
    question->answer = json_object_new_array();
    return bf_platform_machines(platform, add_machine, question->answer, err);
}

static int prepare_machine(struct bf_question *question, struct bf_error *err)
{
    const char *machine;

    if (bf_json_get_string(question->body, "", "machine", &machine, err) != 0)
        return -1;
    question->machine = bf_xstrdup(machine);
    return prepare_one(question, err);
}

static int ask_machine(struct bf_question *question, struct bf_error *err)
{
    bf_auto_machine *machine = NULL;
    struct bf_platform *platform;

    if (open_platform(question, 0, &platform, err) != 0 ||
        bf_platform_machine(platform, question->machine, &machine, err) != 0)
        return -1;
    question->answer = bf_machine_to_json(machine);
    return 0;
}

static int ask_power(struct bf_question *question, struct bf_error *err)
{
    struct bf_platform *platform;
    enum bf_power power;

    if (open_platform(question, 0, &platform, err) != 0 ||
        bf_platform_power(platform, question->machine, &power, err) != 0)
        return -1;
    question->answer = json_object_new_object();
    bf_json_add_string(question->answer, "power", bf_power_to_string(power));
    return 0;
}

/* --- replicate --- */

static int prepare_replicate(struct bf_question *question, struct bf_error *err)
{
    if (bf_replicate_parse(question->body, &question->replicate, err) != 0)
        return -1;
    if (add_access(question, question->replicate.source, err) != 0)
        return -1;
    return add_access(question, question->replicate.target, err);
}

static int ask_replicate(struct bf_question *question, struct bf_error *err)
{
    bf_auto_json *mapping = bf_mapping_to_json(&question->replicate.mapping);
    struct bf_platform *source, *target;

    if (open_platform(question, 0, &source, err) != 0 ||
        open_platform(question, 1, &target, err) != 0)
        return -1;
    return bf_check_run(source, target, question->replicate.machine, &question->replicate.policy,
                        mapping, question->replicate.waive, &question->found, &question->findings,
                        err);
}

static int finish_replicate(struct bf_question *question, struct bf_error *err)
{
    return bf_replicate_make(question->service, &question->replicate, question->found,
                             question->findings, &question->answer, err);
}

/* --- reconcile --- */

static int prepare_reconcile(struct bf_question *question, struct bf_error *err)
{
    static const char *const known[] = {"platform", NULL};
    const char *name = NULL;
    struct bf_platform_row *rows = NULL;
    size_t count = 0;
    int r = 0;

    if (bf_json_check_fields(question->body, "", known, err) != 0 ||
        bf_json_opt_string(question->body, "", "platform", &name, err) != 0)
        return -1;
    if (name)
        return add_access(question, name, err);
    if (bf_store_platform_list(question->service->store, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count && r == 0; i++)
        r = add_access(question, rows[i].id, err);
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_platform_row_done);
    return r;
}

struct tagged_list {
    struct json_object *list;
    const char *platform;
};

static int add_tagged(const char *kind, const char *tag, const char *ref, const char *name,
                      void *user)
{
    const struct tagged_list *tagged = user;
    struct json_object *json = json_object_new_object();

    (void)ref;
    bf_json_add_string(json, "platform", tagged->platform);
    bf_json_add_string(json, "kind", kind);
    bf_json_add_string(json, "tag", tag);
    bf_json_add_string(json, "name", name);
    json_object_array_add(tagged->list, json);
    return 0;
}

/* Every platform is asked; one that does not answer is told beside what the others said. */
static int ask_reconcile(struct bf_question *question, struct bf_error *err)
{
    struct json_object *errors = json_object_new_array();
    struct tagged_list tagged = {.list = json_object_new_array()};

    question->answer = json_object_new_object();
    json_object_object_add(question->answer, "found", tagged.list);
    json_object_object_add(question->answer, "errors", errors);
    for (size_t i = 0; i < question->access_count; i++) {
        bf_auto_error why = BF_ERROR_INIT;
        struct bf_platform *platform;

        tagged.platform = question->accesses[i].row.name;
        if (open_platform(question, i, &platform, &why) != 0 ||
            bf_platform_tagged(platform, add_tagged, &tagged, &why) != 0) {
            struct json_object *json = json_object_new_object();

            if (question->access_count == 1) {
                bf_error_move(err, &why);
                json_object_put(json);
                close_platforms(question);
                return -1;
            }
            bf_json_add_string(json, "platform", tagged.platform);
            json_object_object_add(json, "error", bf_json_error(&why));
            json_object_array_add(errors, json);
        }
        close_platforms(question);
    }
    return 0;
}

/* In the ledger and open: then it is ours to remove, some day. */
static bool in_ledger(struct bf_service *service, const char *tag)
{
    struct bf_ledger_row row = {0};
    bf_auto_error ignored = BF_ERROR_INIT;
    bool found = bf_starts_with(tag, "bf-") &&
                 bf_store_ledger_get(service->store, tag + 3, &row, &ignored) == 0 &&
                 !bf_streq(row.state, "gone") && !bf_streq(row.state, "handed-over");

    bf_ledger_row_done(&row);
    return found;
}

static int finish_reconcile(struct bf_question *question, struct bf_error *err)
{
    struct json_object *found = bf_context_array(question->answer, "found");
    struct json_object *left = json_object_new_array();

    (void)err;
    for (size_t i = 0; i < json_object_array_length(found); i++) {
        struct json_object *item = json_object_array_get_idx(found, i);

        if (!in_ledger(question->service, bf_context_text(item, "tag")))
            json_object_array_add(left, json_object_get(item));
    }
    json_object_object_add(question->answer, "found", left);
    /* The platforms answer: what could not be removed before is tried again now. */
    bf_janitor_hurry(question->service);
    return 0;
}

static const struct question_kind kinds[] = {
    {"platform-test", prepare_test, ask_test, NULL},
    {"resources", prepare_one, ask_resources, NULL},
    {"machines", prepare_one, ask_machines, NULL},
    {"machine", prepare_machine, ask_machine, NULL},
    {"power", prepare_machine, ask_power, NULL},
    {"replicate", prepare_replicate, ask_replicate, finish_replicate},
    {"reconcile", prepare_reconcile, ask_reconcile, finish_reconcile},
};

/* --- how they run --- */

static void question_free(struct bf_question *question)
{
    for (size_t i = 0; i < question->access_count; i++)
        bf_platform_access_done(&question->accesses[i]);
    free(question->accesses);
    free(question->machine);
    json_object_put(question->body);
    bf_replicate_done(&question->replicate);
    json_object_put(question->answer);
    json_object_put(question->findings);
    bf_machine_free(question->found);
    bf_error_clear(&question->error);
    pthread_mutex_destroy(&question->lock);
    free(question);
}

static void work(void *user)
{
    struct bf_question *question = user;

    if (question->kind->ask(question, &question->error) == 0)
        bf_error_clear(&question->error);
    close_platforms(question);
}

static void answered(void *user)
{
    struct bf_question *question = user;
    struct bf_question **at = &question->service->questions;

    while (*at != question)
        at = &(*at)->next;
    *at = question->next;
    if (!bf_error_is_set(&question->error) && question->service->stopping)
        bf_fail(&question->error, BF_E_CANCELLED, 0, "the service stops");
    if (!bf_error_is_set(&question->error) && question->kind->finish)
        (void)question->kind->finish(question, &question->error);
    if (bf_error_is_set(&question->error))
        question->fn(NULL, &question->error, question->user);
    else
        question->fn(question->answer, NULL, question->user);
    question_free(question);
}

int bf_service_ask(struct bf_service *service, const char *kind_name, struct json_object *body,
                   bf_answer_fn *fn, void *user, struct bf_error *err)
{
    struct bf_question *question;
    const struct question_kind *kind = NULL;

    bf_assert_main();
    for (size_t i = 0; i < bf_array_length(kinds); i++) {
        if (bf_streq(kinds[i].name, kind_name))
            kind = &kinds[i];
    }
    if (!kind)
        return bf_fail(err, BF_E_INTERNAL, 0, "no question is called '%s'", kind_name);
    if (service->stopping)
        return bf_fail(err, BF_E_BUSY, 0, "the service is stopping");
    question = bf_xcalloc(1, sizeof(*question));
    pthread_mutex_init(&question->lock, NULL);
    question->kind = kind;
    question->service = service;
    question->fn = fn;
    question->user = user;
    question->body = bf_context_parse(body ? bf_json_text(body) : NULL);
    if (kind->prepare(question, err) != 0 ||
        bf_loop_work(service->loop, work, answered, question, err) != 0) {
        question_free(question);
        return -1;
    }
    question->next = service->questions;
    service->questions = question;
    return 0;
}

void bf_questions_cancel(struct bf_service *service)
{
    for (struct bf_question *question = service->questions; question; question = question->next) {
        pthread_mutex_lock(&question->lock);
        question->cancelled = true;
        for (size_t i = 0; i < bf_array_length(question->open); i++) {
            if (question->open[i])
                bf_platform_cancel(question->open[i]);
        }
        pthread_mutex_unlock(&question->lock);
    }
}
