/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/launch_boot.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/launch.h"
#include "daemon/plan.h"

enum {
    LOOK_MS = 1000,
    CONSOLE_MAX_BYTES = 256 * 1024,
    KEEP_BYTES = 16 * 1024,
};

/* Keep the end of the console: it is the evidence, whatever comes of the launch. */
static void keep_console(struct bf_job *job, const char *text)
{
    size_t length = strlen(text);
    bf_auto_free char *tail = bf_xstrdup(length > KEEP_BYTES ? text + length - KEEP_BYTES : text);

    bf_text_clean(tail, true);
    bf_json_add_string(bf_launch_context(job), "console", tail);
}

/* --- evidence --- */

static struct json_object *evidence_of(struct bf_job *job)
{
    return bf_context_object(bf_launch_context(job), "evidence");
}

static void keep_evidence(struct bf_job *job, const char *by, const char *text)
{
    struct json_object *evidence = evidence_of(job);
    int64_t waited_us = bf_utc_us() - bf_context_i64(bf_launch_context(job), "powered_us");

    bf_json_add_bool(evidence, "proven", by != NULL);
    bf_json_add_string(evidence, "by", by);
    bf_json_add_string(evidence, "text", text);
    json_object_object_add(evidence, "seconds",
                           json_object_new_double((double)(waited_us / 1000) / 1000));
}

static int ask_console(struct bf_job *job, struct bf_platform *target, const char *ref,
                       bool *ret_booted, struct bf_error *err)
{
    const struct bf_policy *policy = &bf_job_inputs(job)->policy;
    bf_auto_free char *text = NULL;
    bf_auto_free char *line = NULL;

    if (bf_target_console(target, ref, CONSOLE_MAX_BYTES, &text, err) != 0)
        return -1;
    if (!text || !*text)
        return 0;
    keep_console(job, text);
    if (policy->evidence == BF_EVIDENCE_AGENT ||
        !bf_boot_pattern_matches(policy->boot_pattern, text))
        return 0;
    line = bf_boot_pattern_line(policy->boot_pattern, text);
    keep_evidence(job, "console", line);
    *ret_booted = true;
    return 0;
}

/* An agent of the guest's answers only when its system runs.  Who gave a pattern of his own has
 * said what "booted" means to him, and an agent does not show that. */
static int ask_agent(struct bf_job *job, struct bf_platform *target, const char *ref,
                     bool *ret_booted, struct bf_error *err)
{
    const struct bf_policy *policy = &bf_job_inputs(job)->policy;
    bf_auto_free char *answer = NULL;

    if (policy->evidence == BF_EVIDENCE_CONSOLE ||
        (policy->evidence != BF_EVIDENCE_AGENT && policy->boot_pattern))
        return 0;
    if (bf_target_guest_agent(target, ref, &answer, err) != 0)
        return -1;
    if (answer) {
        keep_evidence(job, "agent", answer);
        *ret_booted = true;
    }
    return 0;
}

static int look(struct bf_job *job, struct bf_platform *target, const char *ref, const char *id,
                bool *ret_booted, struct bf_error *err)
{
    enum bf_power power;

    *ret_booted = false;
    if (bf_platform_power(target, id, &power, err) != 0 ||
        ask_console(job, target, ref, ret_booted, err) != 0)
        return -1;
    if (power == BF_POWER_OFF) {
        bf_fail(err, BF_E_LAUNCH_FAILED, 0, "the machine switched itself off");
        bf_error_evidence(err, bf_context_text(bf_launch_context(job), "console"));
        return -1;
    }
    if (bf_job_inputs(job)->policy.evidence == BF_EVIDENCE_NONE) {
        keep_evidence(job, NULL, NULL);
        *ret_booted = true;
    }
    return *ret_booted ? 0 : ask_agent(job, target, ref, ret_booted, err);
}

/* A machine without a serial console and an agent cannot prove anything, and most cannot be told
 * to. Giving up a launch for that would do more harm than leaving the judgement to the admin, who
 * has to confirm a cutover anyway. */
static int at_deadline(struct bf_job *job, struct bf_error *err)
{
    const struct bf_policy *policy = &bf_job_inputs(job)->policy;
    const char *console = bf_context_text(bf_launch_context(job), "console");

    keep_evidence(job, NULL, NULL);
    if (policy->evidence == BF_EVIDENCE_TRY && !console && !policy->boot_pattern) {
        bf_job_warn(job, NULL,
                    "the launched machine runs, but neither its console nor a guest agent says "
                    "anything: that it booted is not proven");
        return 0;
    }
    bf_fail(err, BF_E_LAUNCH_NOT_BOOTED, 0, "no sign of a booted guest after %llu s",
            (unsigned long long)policy->boot_timeout_s);
    bf_error_evidence(err, console);
    return -1;
}

static int wait_for_boot(struct bf_job *job, struct bf_platform *target, const char *ref,
                         const char *id, struct bf_error *err)
{
    uint64_t timeout_ms = bf_job_inputs(job)->policy.boot_timeout_s * 1000;
    int64_t powered_us = bf_context_i64(bf_launch_context(job), "powered_us");

    for (;;) {
        bool booted;
        int64_t waited_us;

        if (look(job, target, ref, id, &booted, err) != 0)
            return -1;
        if (booted)
            return 0;
        waited_us = bf_utc_us() - powered_us;
        bf_progress_line(bf_job_progress(job), "waiting for the guest, %lld s",
                         (long long)(waited_us / 1000000));
        if (waited_us < 0 || (uint64_t)waited_us / 1000 > timeout_ms)
            return at_deadline(job, err);
        if (bf_job_sleep(job, LOOK_MS, err) != 0)
            return -1;
    }
}

/* The plan may be what was wrong: the next launch looks for itself. */
static void doubt_plan(struct bf_job *job, const struct bf_error *failure)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    if ((failure->code == BF_E_LAUNCH_NOT_BOOTED || failure->code == BF_E_LAUNCH_FAILED) &&
        bf_context_bool(bf_context_object(bf_launch_context(job), "conversion"), "planned"))
        (void)bf_plan_drop(job, &ignored);
}

int bf_launch_boot(struct bf_job *job, struct bf_error *err)
{
    struct json_object *launch = bf_launch_context(job);
    bf_auto_free char *id = NULL;
    struct bf_platform *target;
    const char *ref;

    if (bf_context_i64(launch, "booted_us"))
        return 0;
    if (bf_context_need(launch, "machine_ref", &ref, err) != 0 ||
        bf_job_target(job, &target, err) != 0 || bf_target_machine_id(target, ref, &id, err) != 0)
        return -1;
    if (wait_for_boot(job, target, ref, id, err) != 0) {
        doubt_plan(job, err);
        return -1;
    }
    bf_json_add_i64(launch, "booted_us", bf_utc_us());
    bf_launch_time(job, "boot",
                   (uint64_t)(bf_utc_us() - bf_context_i64(launch, "powered_us")) / 1000);
    return bf_launch_put(job, "booted", err);
}
