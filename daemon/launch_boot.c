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

/* 1: booted, 0: not yet, -1: it never will. */
static int look(struct bf_job *job, struct bf_platform *target, const char *ref, const char *id,
                bool *ret_silent, struct bf_error *err)
{
    bf_auto_free char *text = NULL;
    enum bf_power power;

    if (bf_platform_power(target, id, &power, err) != 0 ||
        bf_target_console(target, ref, CONSOLE_MAX_BYTES, &text, err) != 0)
        return -1;
    *ret_silent = !text || !*text;
    if (!*ret_silent)
        keep_console(job, text);
    if (power == BF_POWER_OFF) {
        bf_fail(err, BF_E_LAUNCH_FAILED, 0, "the machine switched itself off");
        bf_error_evidence(err, bf_context_text(bf_launch_context(job), "console"));
        return -1;
    }
    if (*ret_silent)
        return 0;
    return bf_boot_pattern_matches(bf_job_inputs(job)->policy.boot_pattern, text);
}

static int at_deadline(struct bf_job *job, bool silent, struct bf_error *err)
{
    const struct bf_policy *policy = &bf_job_inputs(job)->policy;

    if (silent && !policy->boot_pattern) {
        bf_json_add_bool(bf_launch_context(job), "unproven", true);
        bf_job_warn(job, NULL,
                    "the launched machine runs but its console says nothing: that it booted is "
                    "not proven");
        return 0;
    }
    bf_fail(err, BF_E_LAUNCH_NOT_BOOTED, 0, "no sign of a booted guest after %llu s",
            (unsigned long long)policy->boot_timeout_s);
    bf_error_evidence(err, bf_context_text(bf_launch_context(job), "console"));
    return -1;
}

static int wait_for_boot(struct bf_job *job, struct bf_platform *target, const char *ref,
                         const char *id, struct bf_error *err)
{
    uint64_t timeout_ms = bf_job_inputs(job)->policy.boot_timeout_s * 1000;
    int64_t powered_us = bf_context_i64(bf_launch_context(job), "powered_us");

    for (;;) {
        bool silent = true;
        int r = look(job, target, ref, id, &silent, err);
        int64_t waited_us = bf_utc_us() - powered_us;

        if (r != 0)
            return r < 0 ? -1 : 0;
        bf_progress_line(bf_job_progress(job), "waiting for the guest, %lld s",
                         (long long)(waited_us / 1000000));
        if (waited_us < 0 || (uint64_t)waited_us / 1000 > timeout_ms)
            return at_deadline(job, silent, err);
        if (bf_job_sleep(job, LOOK_MS, err) != 0)
            return -1;
    }
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
        bf_job_target(job, &target, err) != 0 || bf_target_machine_id(target, ref, &id, err) != 0 ||
        wait_for_boot(job, target, ref, id, err) != 0)
        return -1;
    bf_json_add_i64(launch, "booted_us", bf_utc_us());
    bf_launch_time(job, "boot",
                   (uint64_t)(bf_utc_us() - bf_context_i64(launch, "powered_us")) / 1000);
    return bf_launch_put(job, "booted", err);
}
