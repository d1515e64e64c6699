/* SPDX-License-Identifier: Apache-2.0 */
/* The plan's form: what is let through of an inspection's answer, and what is read of it. */
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/convert.h"
#include "guest/plan.h"
#include "tests/unit/tap.h"

static struct json_object *parse(const char *text)
{
    struct json_object *value = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    if (bf_json_parse(text, strlen(text), &value, &err) < 0)
        ok(false, "%s", err.message);
    return value;
}

static void refused(const char *text, const char *what)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *answer = parse(text);
    struct json_object *taken = NULL;

    ok(bf_plan_take(answer, &taken, &err) < 0 && err.code == BF_E_PROTOCOL && !taken, "refused: %s",
       what);
}

static void test_own(void)
{
    bf_auto_error err = BF_ERROR_INIT, unknown = BF_ERROR_INIT;
    bf_auto_json *own = bf_plan_new();
    bf_auto_json *taken = NULL;

    bf_plan_change(own, "append", "/boot/initrd", "modules");
    bf_plan_driver(own, "virtio_blk", "/lib/modules/1", "/boot/initrd");
    bf_plan_finding(own, "warn", "guest-warning", "found", NULL, "why", "fix");
    ok(!bf_plan_blocks(own), "a warning does not block");
    bf_fail(&unknown, BF_E_GUEST_UNKNOWN, 0, "nothing there");
    bf_plan_finding_of_error(own, "block", &unknown);
    ok(bf_plan_blocks(own), "an error as a blocking finding does");
    ok(bf_plan_take(own, &taken, &err) == 0, "what we make ourselves is taken");
    ok(json_object_equal(own, taken), "and unchanged");
    is_string(bf_plan_method(taken), "v2v", "the method of a new plan");
    {
        struct json_object *last = json_object_array_get_idx(bf_plan_part(taken, "findings"), 1);

        is_string(bf_plan_text(last, "id"), "guest-unknown", "the finding has the error's id");
        is_string(bf_plan_text(last, "found"), "nothing there", "its message");
        ok(bf_plan_text(last, "fix") != NULL, "and the catalogue's fix");
    }
}

/* What was asked for and is not done is told, and nothing else. */
static void test_unmet(void)
{
    struct bf_convert_request request = {.mode = BF_CONVERT_AUTO};

    is_string(bf_convert_unmet(&request, "v2v"), NULL, "nothing is asked for");
    request.grow = true;
    has_string(bf_convert_unmet(&request, "v2v"), "grows file systems", "virt-v2v does not grow");
    is_string(bf_convert_unmet(&request, "fast"), NULL, "the fast way does");
    is_string(bf_convert_unmet(&request, "none"), NULL, "the plan has looked for it");
    request.mode = BF_CONVERT_NONE;
    has_string(bf_convert_unmet(&request, "none"), "grows file systems", "without a conversion");
    request.mode = BF_CONVERT_WINDOWS;
    request.serial_console = true;
    has_string(bf_convert_unmet(&request, "windows"), "neither", "a Windows has neither");
    request.grow = false;
    has_string(bf_convert_unmet(&request, "windows"), "serial console", "nor the one");
}

#define REST "\"os\":{},\"facts\":{},\"changes\":[],\"drivers\":[]"

static void test_foreign(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *got = NULL;
    bf_auto_json *answer = parse("{\"version\":1,\"method\":\"fast\"," REST
                                 ",\"findings\":[{\"id\":\"a\",\"severity\":"
                                 "\"info\",\"found\":\"x\\u001b[31m\\nred\"}]}");
    struct json_object *finding;

    ok(bf_plan_take(answer, &got, &err) == 0, "a plan of another writer");
    finding = json_object_array_get_idx(bf_plan_part(got, "findings"), 0);
    is_string(bf_plan_text(finding, "severity"), "info", "its finding");
    ok(!strpbrk(bf_plan_text(finding, "found"), "\033\n"), "control characters are gone");
    refused("[]", "no object");
    refused("{\"version\":2,\"method\":\"fast\"," REST ",\"findings\":[]}", "another version");
    refused("{\"version\":1,\"method\":\"magic\"," REST ",\"findings\":[]}", "an unknown method");
    refused("{\"version\":1,\"method\":\"fast\"," REST "}", "no findings");
    refused("{\"version\":1,\"method\":\"fast\"," REST ",\"findings\":[{\"id\":\"a\",\"found\":"
            "\"x\",\"severity\":\"loud\"}]}",
            "a finding of unknown severity");
    refused("{\"version\":1,\"method\":\"fast\",\"os\":{},\"facts\":{\"a\":[[[[[[[[[[1]]]]]]]]]]},"
            "\"changes\":[],\"drivers\":[],\"findings\":[]}",
            "a nest");
}

static void test_bounds(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *answer = bf_plan_new();
    bf_auto_json *got = NULL;
    char text[9000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (unsigned i = 0; i < 2000; i++)
        bf_plan_change(answer, "write", text, NULL);
    ok(bf_plan_take(answer, &got, &err) == 0, "much is cut, not refused");
    ok(json_object_array_length(bf_plan_part(got, "changes")) == 500, "to 500 items");
    ok(strlen(bf_plan_text(json_object_array_get_idx(bf_plan_part(got, "changes"), 0), "path")) ==
           2000,
       "and 2000 bytes a text");
    for (unsigned i = 0; i < 500; i++) {
        bf_plan_finding(answer, "warn", "guest-warning", text, text, text, NULL);
        bf_plan_driver(answer, text, text, NULL);
    }
    json_object_put(bf_steal(got));
    ok(bf_plan_take(answer, &got, &err) < 0 && err.code == BF_E_TOO_LARGE && !got,
       "too much of it all is refused");
}

static void test_needless(void)
{
    bf_auto_json *got = parse("{\"method\":\"none\",\"os\":{\"product\":\"Tiny 12\"}}");
    bf_auto_json *fast = parse("{\"method\":\"fast\"}");
    struct bf_convert_report report = {0};

    ok(bf_convert_is_needless(BF_CONVERT_AUTO, got, &report), "nothing to do, by the plan");
    is_string(report.guest_os, "Tiny 12", "the report names the guest");
    ok(report.virtio && report.planned, "and says how it is known");
    bf_convert_report_done(&report);
    ok(!bf_convert_is_needless(BF_CONVERT_V2V, got, &report), "not if virt-v2v was asked for");
    ok(!bf_convert_is_needless(BF_CONVERT_AUTO, fast, &report), "not if there is something to do");
    ok(!bf_convert_is_needless(BF_CONVERT_AUTO, NULL, &report), "not without a plan");
}

int main(void)
{
    test_own();
    test_unmet();
    test_foreign();
    test_bounds();
    test_needless();
    return done();
}
