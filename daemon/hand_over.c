/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/hand_over.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/launch.h"
#include "daemon/ledger.h"
#include "daemon/service_private.h"

bool bf_hand_over_forced(struct bf_job *job)
{
    return bf_context_bool(bf_job_params(job), "force");
}

/* --- what is left --- */

static const char *machine_name(struct bf_job *job)
{
    const char *name = bf_context_text(bf_job_context(job), "machine_name");

    return name ? name : "of the launch";
}

static void add_mark(struct json_object *marks, const char *ledger_id, const char *what,
                     const char *name)
{
    bf_auto_free char *tag = NULL;
    bf_auto_free char *text = NULL;

    if (!ledger_id)
        return;
    tag = bf_ledger_tag(ledger_id);
    text = bf_xasprintf("%s %s (%s)", what, name ? name : "?", tag);
    bf_json_add_string(marks, tag, text);
}

/* {tag: text} of all that is handed over. */
static struct json_object *all_marks(struct bf_job *job)
{
    struct json_object *context = bf_job_context(job);
    struct json_object *clones = bf_context_array(context, "clones");
    struct json_object *marks = json_object_new_object();

    add_mark(marks, bf_context_text(context, "machine_ledger"), "machine", machine_name(job));
    for (size_t i = 0; i < json_object_array_length(clones); i++) {
        struct json_object *clone = json_object_array_get_idx(clones, i);

        add_mark(marks, bf_context_text(clone, "ledger"), "disk", bf_context_text(clone, "disk"));
    }
    return marks;
}

struct look {
    struct json_object *marks;
    struct json_object *left;
};

static int note_left(const char *kind, const char *tag, const char *ref, const char *name,
                     void *user)
{
    const struct look *look = user;
    struct json_object *text = NULL;

    (void)kind;
    (void)ref;
    (void)name;
    if (json_object_object_get_ex(look->marks, tag, &text))
        json_object_object_add(look->left, tag, json_object_get(text));
    return 0;
}

/* "machine web1 (bf-...), disk vda (bf-...)": what the target says still carries our mark, or if it
 * does not answer, what may. */
static char *what_is_left(struct bf_job *job)
{
    bf_auto_json *marks = all_marks(job);
    bf_auto_json *left = json_object_new_object();
    struct look look = {.marks = marks, .left = left};
    bf_auto_error unknown = BF_ERROR_INIT;
    struct bf_platform *target;
    bf_auto_buf text = {0};
    bool asked = bf_job_target(job, &target, &unknown) == 0 &&
                 bf_platform_tagged(target, note_left, &look, &unknown) == 0;

    json_object_object_foreach(asked ? left : marks, tag, what)
    {
        (void)tag;
        bf_buf_addf(&text, "%s%s", text.length ? ", " : "", json_object_get_string(what));
    }
    if (!text.length)
        bf_buf_addf(&text, "nothing");
    if (!asked)
        bf_buf_addf(&text, ", unless they are gone: the target could not be asked (%s)",
                    unknown.message);
    return bf_xstrdup(text.text);
}

/* --- the step --- */

static int store_handed_over(struct bf_service *service, void *user, struct bf_error *err)
{
    struct json_object *context = user;
    struct json_object *ids = bf_context_array(context, "clone_ledgers");
    const char *machine = bf_context_text(context, "machine_ledger");

    for (size_t i = 0; i < json_object_array_length(ids); i++) {
        if (bf_ledger_set_state(service->store,
                                json_object_get_string(json_object_array_get_idx(ids, i)),
                                "handed-over", err) != 0)
            return -1;
    }
    return machine ? bf_ledger_set_state(service->store, machine, "handed-over", err) : 0;
}

struct handing_over {
    const char *replication_id;
    const char *launch;
};

static int begin_handing_over(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct handing_over *one = user;

    return bf_launch_set_state(service, one->replication_id, one->launch, "handing-over", err);
}

static void explain(struct bf_job *job, const char *left, struct bf_error *err)
{
    bf_auto_error why = BF_ERROR_INIT;
    bf_auto_free char *evidence = NULL;

    bf_error_move(&why, err);
    evidence =
        bf_xasprintf("%s%s%s: %s", why.evidence ? why.evidence : "", why.evidence ? "\n" : "",
                     bf_error_id(why.code), bf_error_fix(why.code));
    bf_fail(err, BF_E_HAND_OVER_UNFINISHED, 0, "machine %s: %s; still marked as blockferry's: %s",
            machine_name(job), why.message, left);
    bf_error_evidence(err, evidence);
}

/* The target has refused.  Forced, that is enough: it is told and not an error. */
static int refused(struct bf_job *job, struct bf_error *err)
{
    bf_auto_free char *left = NULL;
    bf_auto_error cancelled = BF_ERROR_INIT;

    if (err->code == BF_E_CANCELLED)
        return -1;
    left = what_is_left(job);
    if (bf_job_check(job, &cancelled) != 0) {
        bf_error_clear(err);
        bf_error_move(err, &cancelled);
        return -1;
    }
    if (!bf_hand_over_forced(job)) {
        explain(job, left, err);
        return -1;
    }
    bf_job_warn(job, err,
                "machine %s is handed over by force; still marked as blockferry's, and the "
                "administrator's from now on: %s",
                machine_name(job), left);
    bf_error_clear(err);
    return 0;
}

int bf_hand_over(struct bf_job *job, struct bf_error *err)
{
    struct json_object *context = bf_job_context(job);
    struct handing_over one = {.replication_id = bf_job_replication_id(job)};
    struct bf_platform *target;
    const char *machine_ref;

    if (bf_context_need(context, "machine_ref", &machine_ref, err) != 0 ||
        bf_context_need(context, "launch_row", &one.launch, err) != 0)
        return -1;
    if (!bf_context_bool(context, "handing_over") &&
        (bf_job_target(job, &target, err) != 0 ||
         bf_job_transaction(job, begin_handing_over, &one, err) != 0))
        return -1;
    if ((bf_job_target(job, &target, err) != 0 ||
         bf_target_hand_over_machine(target, machine_ref, err) != 0) &&
        refused(job, err) != 0)
        return -1;
    return bf_job_transaction(job, store_handed_over, context, err);
}
