/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/convert.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/export.h"
#include "guest/fast.h"
#include "guest/plan.h"
#include "guest/v2v.h"

#define SYSTEM_MAX 200
#define WARNINGS_MAX 64
#define WARNING_MAX 1000
#define LOG_MAX 32768

static const char *const mode_names[] = {
    [BF_CONVERT_AUTO] = "auto", [BF_CONVERT_FAST] = "fast",       [BF_CONVERT_V2V] = "v2v",
    [BF_CONVERT_NONE] = "none", [BF_CONVERT_WINDOWS] = "windows",
};
_Static_assert(bf_array_length(mode_names) == BF_CONVERT_MODE_MAX, "a mode has no name");

const char *bf_convert_mode_to_string(enum bf_convert_mode mode)
{
    assert((unsigned)mode < BF_CONVERT_MODE_MAX);
    return mode_names[mode];
}

int bf_convert_mode_from_string(const char *text, enum bf_convert_mode *ret_mode,
                                struct bf_error *err)
{
    for (size_t i = 0; i < BF_CONVERT_MODE_MAX; i++) {
        if (bf_streq(text, mode_names[i])) {
            *ret_mode = (enum bf_convert_mode)i;
            return 0;
        }
    }
    return bf_fail(err, BF_E_BAD_INPUT, 0,
                   "conversion is one of auto, fast, v2v, none, windows, not %s",
                   text ? text : "(nothing)");
}

void bf_convert_report_done(struct bf_convert_report *report)
{
    free(report->method);
    free(report->guest_os);
    free(report->log_tail);
    json_object_put(report->warnings);
    *report = (struct bf_convert_report){0};
}

void bf_convert_sweep(const char *work_directory)
{
    bf_export_sweep(work_directory);
}

int bf_convert_check_request(const struct bf_convert_request *request, struct bf_error *err)
{
    struct stat status;

    if (request->disk_count == 0)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "a conversion needs at least one disk");
    if (stat(request->work_directory, &status) < 0 || !S_ISDIR(status.st_mode))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "the work directory %s is not there",
                       request->work_directory);
    if (request->virtio_win && stat(request->virtio_win, &status) < 0)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "the driver tree or ISO %s is not there",
                       request->virtio_win);
    return 0;
}

void bf_convert_time_is_over(struct bf_error *err)
{
    if (err->code == BF_E_DEADLINE)
        bf_error_recode(err, BF_E_GUEST_TIMEOUT);
}

bool bf_convert_is_needless(enum bf_convert_mode mode, struct json_object *plan,
                            struct bf_convert_report *ret_report)
{
    if ((mode != BF_CONVERT_AUTO && mode != BF_CONVERT_FAST) ||
        !bf_streq(bf_plan_method(plan), "none"))
        return false;
    *ret_report = (struct bf_convert_report){
        .method = bf_xstrdup("none"),
        .guest_os = bf_xstrdup(bf_plan_text(bf_plan_part(plan, "os"), "product")),
        .virtio = true,
        .planned = true,
        .log_tail = bf_xstrdup("the guest has virtio, as its plan says; nothing to do\n"),
        .warnings = json_object_new_array(),
    };
    return true;
}

/* The fast way left the clones as they were: the other one may know this guest. */
static int run_v2v_instead(const struct bf_convert_request *request,
                           struct bf_convert_report *report, struct bf_error *err)
{
    bf_auto_free char *text = bf_xasprintf("not converted the fast way: %s", err->message);

    bf_error_clear(err);
    if (bf_v2v_run(request, report, err) < 0)
        return -1;
    if (!report->warnings)
        report->warnings = json_object_new_array();
    json_object_array_add(report->warnings, json_object_new_string(text));
    return 0;
}

static int run_fast(const struct bf_convert_request *request, struct bf_convert_report *report,
                    struct bf_error *err)
{
    bool untouched = false;

    if (bf_fast_run(request, report, &untouched, err) == 0)
        return 0;
    if (request->mode != BF_CONVERT_AUTO || !untouched)
        return -1;
    return run_v2v_instead(request, report, err);
}

static int dispatch(const struct bf_convert_request *request, struct bf_convert_report *report,
                    struct bf_error *err)
{
    switch (request->mode) {
    case BF_CONVERT_NONE:
        report->method = bf_xstrdup("none");
        return 0;
    case BF_CONVERT_V2V:
        return bf_v2v_run(request, report, err);
    case BF_CONVERT_AUTO:
        /* The fast way was seen to refuse this guest: no second look. */
        if (bf_streq(bf_plan_method(request->plan), "v2v")) {
            report->planned = true;
            return bf_v2v_run(request, report, err);
        }
        return run_fast(request, report, err);
    case BF_CONVERT_FAST:
    case BF_CONVERT_WINDOWS:
    case BF_CONVERT_MODE_MAX:
    default:
        return run_fast(request, report, err);
    }
}

const char *bf_convert_unmet(const struct bf_convert_request *request, const char *method)
{
    /* With a plan "none" says that these were looked for, too. */
    if (bf_streq(method, "fast") || (bf_streq(method, "none") && request->mode != BF_CONVERT_NONE))
        return NULL;
    if (request->grow && request->serial_console)
        return "only the fast way grows file systems and sets up a serial console: neither is done";
    if (request->grow)
        return "only the fast way grows file systems: it is not done";
    return request->serial_console ? "only the fast way sets up a serial console: it is not done"
                                   : NULL;
}

static char *clean_copy(const char *text, int max)
{
    char *copy = bf_xasprintf("%.*s", max, text);

    bf_text_clean(copy, false);
    return copy;
}

static struct json_object *clean_warnings(struct json_object *warnings)
{
    struct json_object *kept = json_object_new_array();
    size_t count =
        json_object_is_type(warnings, json_type_array) ? json_object_array_length(warnings) : 0;

    for (size_t i = 0; i < count && json_object_array_length(kept) < WARNINGS_MAX; i++) {
        struct json_object *item = json_object_array_get_idx(warnings, i);
        bf_auto_free char *text = json_object_is_type(item, json_type_string)
                                      ? clean_copy(json_object_get_string(item), WARNING_MAX)
                                      : NULL;

        if (text)
            json_object_array_add(kept, json_object_new_string(text));
    }
    return kept;
}

/* Whatever converted tells words of the guest, and has read its disks: it is not trusted. */
static void clean_report(struct bf_convert_report *report)
{
    char *system = report->guest_os ? clean_copy(report->guest_os, SYSTEM_MAX) : NULL;
    struct json_object *warnings = clean_warnings(report->warnings);
    size_t length = report->log_tail ? strlen(report->log_tail) : 0;

    free(report->guest_os);
    report->guest_os = system;
    json_object_put(report->warnings);
    report->warnings = warnings;
    if (length > LOG_MAX)
        memmove(report->log_tail, report->log_tail + length - LOG_MAX, LOG_MAX + 1);
    if (length > 0)
        bf_text_clean(report->log_tail, true);
}

int bf_convert_run(const struct bf_convert_request *request, struct bf_convert_report *ret_report,
                   struct bf_error *err)
{
    struct bf_convert_report report = {0};
    uint64_t begin_ms = bf_now_ms();
    const char *unmet;

    assert((unsigned)request->mode < BF_CONVERT_MODE_MAX && request->name);
    if (bf_convert_check_request(request, err) < 0)
        return -1;
    if (!bf_convert_is_needless(request->mode, request->plan, &report) &&
        dispatch(request, &report, err) < 0) {
        bf_convert_report_done(&report);
        bf_convert_time_is_over(err);
        return bf_fail_in(err, "conversion of %s", request->name);
    }
    clean_report(&report);
    unmet = bf_convert_unmet(request, report.method);
    if (unmet)
        json_object_array_add(report.warnings, json_object_new_string(unmet));
    report.seconds = (double)(bf_now_ms() - begin_ms) / 1000;
    *ret_report = report;
    return 0;
}
