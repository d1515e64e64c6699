/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/inspect.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/fast.h"
#include "guest/plan.h"

/* Of virt-v2v against our own way, as measured side by side (docs/benchmarks.md): it makes a Linux
 * guest's initramfs anew. */
#define V2V_LINUX 9
#define V2V_OTHER 2

/* The admin's policy over what the guest would allow. */
static void apply_mode(struct json_object *plan, enum bf_convert_mode mode)
{
    const char *method = bf_plan_method(plan);

    if (mode == BF_CONVERT_V2V && !bf_streq(method, "none"))
        bf_json_add_string(plan, "method", "v2v");
    if (mode == BF_CONVERT_WINDOWS && bf_streq(method, "v2v"))
        bf_json_add_string(plan, "method", "windows");
    if (mode == BF_CONVERT_WINDOWS &&
        !bf_streq(bf_plan_text(bf_plan_part(plan, "os"), "type"), "windows"))
        bf_plan_finding(plan, "block", "convert-policy", "the guest is no Windows", "a Windows",
                        "the policy asks for the conversion of a Windows",
                        "set conversion to auto");
    if (mode == BF_CONVERT_FAST && bf_streq(method, "v2v"))
        bf_plan_finding(plan, "block", "convert-policy",
                        "the guest can be converted by virt-v2v only", "a guest of the fast way",
                        "the policy allows the fast way alone", "set conversion to auto or v2v");
}

/* Asked for, and not done by the way that this guest goes. */
static void tell_unmet(struct json_object *plan, const struct bf_convert_request *request)
{
    const char *unmet = bf_convert_unmet(request, bf_plan_method(plan));

    if (unmet)
        bf_plan_finding(plan, "warn", "convert-unmet", unmet, "a guest of the fast way",
                        "the policy asks for it", "do it in the guest after the launch");
}

static uint64_t expect(struct json_object *plan, double seconds)
{
    const char *method = bf_plan_method(plan);

    if (bf_streq(method, "none"))
        return 0;
    if (bf_streq(method, "v2v"))
        seconds *= bf_streq(bf_plan_text(bf_plan_part(plan, "os"), "type"), "linux") ? V2V_LINUX
                                                                                     : V2V_OTHER;
    return (uint64_t)seconds + 1;
}

static int inspect(const struct bf_convert_request *request, const char *directory,
                   struct json_object **ret_plan, struct bf_error *err)
{
    uint64_t began_ms = bf_now_ms();
    struct json_object *answer = NULL;
    bf_auto_json *result = NULL;
    bf_auto_json *plan = NULL;
    bool untouched = false;

    if (bf_fast_call(request, "inspect", directory, &result, &untouched, err) < 0 ||
        bf_json_get_object(result, "", "plan", &answer, err) < 0 ||
        bf_plan_take(answer, &plan, err) < 0)
        return -1;
    apply_mode(plan, request->mode);
    tell_unmet(plan, request);
    bf_json_add_u64(plan, "expected_seconds",
                    expect(plan, (double)(bf_now_ms() - began_ms) / 1000));
    bf_json_add_i64(plan, "made_us", bf_utc_us());
    *ret_plan = bf_steal(plan);
    return 0;
}

int bf_inspect_run(const struct bf_convert_request *request, struct json_object **ret_plan,
                   struct bf_error *err)
{
    bf_auto_free char *directory = bf_xasprintf("%s/look", request->work_directory);
    bf_auto_error ignored = BF_ERROR_INIT;
    int result;

    if (bf_convert_check_request(request, err) < 0 || bf_directory_remove(directory, err) < 0 ||
        bf_directory_make(directory, 0700, err) < 0)
        return -1;
    result = inspect(request, directory, ret_plan, err);
    bf_directory_remove(directory, &ignored);
    if (result == 0)
        return 0;
    bf_convert_time_is_over(err);
    return bf_fail_in(err, "inspection of %s", request->name);
}
