/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/property.h"

enum { POLL_FIRST_MS = 50, POLL_MAX_MS = 2000, QUESTION_EVERY_MS = 3000 };

struct look {
    struct bf_vmware *vw;
    const char *what;
    bool done;
    bool failed;
    char *result;
    char *question;
    struct bf_error *err;
};

static int take_info(const char *id, xmlNodePtr object, void *user)
{
    struct look *look = user;
    bf_auto_free char *state = bf_vmware_text(bf_vmware_property(object, "info.state"), "");
    xmlNodePtr error = bf_vmware_property(object, "info.error");

    (void)id;
    if (bf_streq(state, "success")) {
        look->done = true;
        look->result = bf_vmware_text(bf_vmware_property(object, "info.result"), "");
    } else if (bf_streq(state, "error")) {
        bf_auto_free char *text = bf_vmware_text(error, "localizedMessage");

        look->failed = true;
        bf_vmware_fail(look->vw, look->what, bf_vmware_child(error, "fault"), text, look->err);
    }
    return 0;
}

static int take_question(const char *id, xmlNodePtr object, void *user)
{
    struct look *look = user;

    (void)id;
    look->question = bf_vmware_text(bf_vmware_property(object, "runtime.question"), "text");
    return 0;
}

static int ask_question(struct look *look, const char *machine, struct bf_error *err)
{
    static const char *const paths[] = {"runtime.question", NULL};

    if (bf_vmware_get(look->vw, "VirtualMachine", machine, paths, take_question, look, err) < 0)
        return -1;
    if (!look->question)
        return 0;
    bf_text_clean(look->question, false);
    bf_fail(err, BF_E_MACHINE_STATE, 0,
            "%s: the machine waits for an admin to answer a question: %s", look->what,
            look->question);
    bf_error_evidence(err, look->question);
    return -1;
}

static int wait_task(struct look *look, const char *task, const char *machine,
                     struct bf_deadline deadline, struct bf_error *err)
{
    static const char *const paths[] = {"info.state", "info.result", "info.error", NULL};
    uint64_t pause = POLL_FIRST_MS, asked_ms = bf_now_ms();

    for (;;) {
        if (bf_vmware_get(look->vw, "Task", task, paths, take_info, look, err) < 0)
            return bf_error_is_set(err) ? bf_fail_in(err, "task %s", task) : -1;
        if (look->failed)
            return -1;
        if (look->done)
            return 0;
        if (bf_now_ms() - asked_ms >= QUESTION_EVERY_MS) {
            asked_ms = bf_now_ms();
            if (ask_question(look, machine, err) < 0)
                return -1;
        }
        if (bf_platform_pause(&look->vw->base, pause, deadline, err) < 0)
            return bf_fail_in(err, "%s: task %s has not ended", look->what, task);
        pause = pause * 2 < POLL_MAX_MS ? pause * 2 : POLL_MAX_MS;
    }
}

static void cancel_task(struct bf_vmware *vw, const char *task)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};
    bool removing = atomic_exchange(&vw->base.removing, true); /* this must get out */

    bf_vmware_request_begin(&request, "CancelTask", "Task", task);
    request.timeout_ms = 5000;
    (void)bf_vmware_send(vw, &request, &reply, &ignored);
    atomic_store(&vw->base.removing, removing);
}

int bf_vmware_task(struct bf_vmware *vw, struct bf_vmware_request *request, const char *machine,
                   uint64_t limit_ms, char **ret_result, struct bf_error *err)
{
    struct look look = {.vw = vw, .what = request->method, .err = err};
    struct bf_deadline deadline =
        bf_deadline_in(vw->conf.task_wait_s ? vw->conf.task_wait_s * 1000 : limit_ms);
    bf_auto_vmware_reply reply = {0};
    bf_auto_free char *task = NULL;
    int rc;

    if (bf_vmware_send(vw, request, &reply, err) < 0)
        return -1;
    task = bf_vmware_text(reply.node, "returnval");
    if (!task)
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: no task in the answer", request->method);
    rc = wait_task(&look, task, machine, deadline, err);
    if (rc < 0 && !look.failed)
        cancel_task(vw, task);
    if (rc == 0 && ret_result)
        *ret_result = bf_steal(look.result);
    free(look.result);
    free(look.question);
    return rc;
}

/* --- what others, or we before a restart, have begun --- */

struct recent {
    char **tasks;
    size_t count, capacity;
    const char *kind;
    bool pending;
};

static void recent_done(struct recent *recent)
{
    for (size_t i = 0; i < recent->count; i++)
        free(recent->tasks[i]);
    free(recent->tasks);
}

static int take_recent(const char *id, xmlNodePtr object, void *user)
{
    struct recent *recent = user;

    (void)id;
    BF_VMWARE_EACH(ref, bf_vmware_property(object, "recentTask"), "ManagedObjectReference")
    {
        bf_xgrow(&recent->tasks, &recent->capacity, recent->count + 1, sizeof(*recent->tasks));
        recent->tasks[recent->count++] = bf_vmware_text(ref, "");
    }
    return 0;
}

static int take_pending(const char *id, xmlNodePtr object, void *user)
{
    struct recent *recent = user;
    xmlNodePtr state = bf_vmware_property(object, "info.state");

    (void)id;
    recent->pending =
        bf_vmware_is(bf_vmware_property(object, "info.descriptionId"), "", recent->kind) &&
        (bf_vmware_is(state, "", "queued") || bf_vmware_is(state, "", "running"));
    return 0;
}

int bf_vmware_task_pending(struct bf_vmware *vw, const char *machine, const char *kind,
                           bool *ret_pending, struct bf_error *err)
{
    static const char *const list[] = {"recentTask", NULL};
    static const char *const paths[] = {"info.descriptionId", "info.state", NULL};
    bf_auto_free char *full = bf_xasprintf("VirtualMachine.%s", kind);
    bf_cleanup(recent_done) struct recent recent = {.kind = full};

    if (bf_vmware_get(vw, "VirtualMachine", machine, list, take_recent, &recent, err) < 0)
        return bf_fail_in(err, "tasks of machine %s", machine);
    for (size_t i = 0; i < recent.count && !recent.pending; i++) {
        if (bf_vmware_get(vw, "Task", recent.tasks[i], paths, take_pending, &recent, err) == 0)
            continue;
        if (!bf_vmware_fault(vw, "ManagedObjectNotFound")) /* long over, and forgotten */
            return bf_fail_in(err, "task %s", recent.tasks[i]);
        bf_error_clear(err);
    }
    *ret_pending = recent.pending;
    return 0;
}
