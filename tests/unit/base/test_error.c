/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "tests/unit/tap.h"

static void test_fail(void)
{
    bf_auto_error err = BF_ERROR_INIT;

    ok(!bf_error_is_set(&err), "a new error is not set");
    is_int(bf_fail(&err, BF_E_QUOTA, 0, "%d of %d", 3, 4), -1, "bf_fail returns -1");
    ok(bf_error_is_set(&err), "it is set then");
    is_string(err.message, "3 of 4", "message is formatted");
    is_int(bf_fail_in(&err, "disk %s", "sda"), -1, "bf_fail_in returns -1");
    is_string(err.message, "disk sda: 3 of 4", "context stands before the message");
    is_int(err.code, BF_E_QUOTA, "context leaves the code");
    bf_error_recode(&err, BF_E_TARGET_FULL);
    is_int(err.code, BF_E_TARGET_FULL, "recoded");
    bf_error_clear(&err);
    ok(!bf_error_is_set(&err) && !err.message && !err.evidence, "cleared");

    bf_fail(&err, BF_E_SYSTEM, ENOENT, "cannot open x");
    is_string(err.message, "cannot open x: No such file or directory", "errno's text follows");
    is_int(err.sys, ENOENT, "errno is kept");
    bf_error_clear(&err);
    bf_fail(&err, BF_E_SYSTEM, 4095, "cannot open x");
    is_string(err.message, "cannot open x: errno 4095", "an unknown errno has its number");
}

static void test_foreign_words(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *large = bf_xcalloc(1, 10001);

    bf_fail(&err, BF_E_PROTOCOL, 0, "peer says \"%s\"", "a\nb\x1b[31m\xff\xc2\x9b!");
    is_string(err.message, "peer says \"a b [31m?  !\"", "control characters do not get through");
    bf_error_evidence(&err, "line 1\nline 2\x07\n\n");
    is_string(err.evidence, "line 1\nline 2", "evidence keeps its lines, without those at the end");
    bf_error_evidence(&err, "");
    is_string(err.evidence, "line 1\nline 2", "empty evidence changes nothing");
    bf_error_evidence(&err, NULL);
    is_string(err.evidence, "line 1\nline 2", "nor does none");

    for (int i = 0; i < 5000; i++)
        memcpy(large + (ptrdiff_t)2 * i, "\xc3\xa9", 2); /* 5000 times e acute */
    memcpy(large + 9998, "Z", 2); /* an odd length: 4096 from the end is within a character */
    bf_error_evidence(&err, large);
    is_u64(strlen(err.evidence), 4095, "evidence is bounded");
    ok(bf_ends_with(err.evidence, "\xc3\xa9Z"), "its end is kept");
    ok(bf_utf8_valid(err.evidence, strlen(err.evidence)) && err.evidence[0] != '?',
       "it begins with a whole character");
    bf_error_clear(&err);

    bf_fail(&err, BF_E_PROTOCOL, 0, "x%s", large);
    ok(strlen(err.message) < 2048 && bf_ends_with(err.message, "..."), "a message is bounded");
    ok(!strchr(err.message, '?'), "and cut between characters");
}

static void test_move_and_copy(void)
{
    bf_auto_error a = BF_ERROR_INIT;
    bf_auto_error b = BF_ERROR_INIT;

    bf_fail(&a, BF_E_TLS, EIO, "no");
    bf_error_evidence(&a, "words");
    bf_fail(&b, BF_E_BUSY, 0, "old");
    bf_error_copy(&b, &a);
    ok(b.code == BF_E_TLS && b.sys == EIO && bf_streq(b.message, a.message) &&
           bf_streq(b.evidence, "words"),
       "a copy has all parts");
    ok(b.message != a.message && b.evidence != a.evidence, "and strings of its own");
    bf_error_clear(&b);
    bf_error_move(&b, &a);
    ok(!bf_error_is_set(&a) && b.code == BF_E_TLS, "moved");
    bf_error_move(&b, &b);
    is_string(b.message, "no: Input/output error", "moving to itself changes nothing");
    bf_error_copy(&b, &b);
    is_string(b.message, "no: Input/output error", "nor does copying");
}

static void test_catalogue(void)
{
    unsigned bad = 0, http = 0;
    bool exit_used[256] = {false};

    for (unsigned i = BF_OK + 1; i < BF_E_MAX; i++) {
        enum bf_error_code code = (enum bf_error_code)i;

        if (bf_error_from_id(bf_error_id(code)) != code || !*bf_error_cause(code) ||
            !*bf_error_fix(code) || bf_error_kind(code) == BF_KIND_NONE) {
            diag("entry %s", bf_error_id(code));
            bad++;
        }
    }
    is_int(bad, 0, "every code has a kind, a cause, a fix, and its id leads back to it");
    is_string(bf_error_id(BF_E_DISK_CHANGED), "disk-changed", "form of an id");
    is_int(bf_error_from_id("disk-changed"), BF_E_DISK_CHANGED, "from id");
    is_int(bf_error_from_id("DISK_CHANGED"), BF_E_INTERNAL, "other forms are unknown");
    is_int(bf_error_from_id(NULL), BF_E_INTERNAL, "none is unknown");
    is_string(bf_error_id(BF_OK), "ok", "id of no error");
    is_string(bf_error_id(BF_E_MAX), "internal", "out of range is internal");
    is_int(bf_error_kind(BF_E_QUOTA), BF_KIND_CAPACITY, "kind");
    ok(!bf_error_retry_safe(BF_E_BAD_INPUT) && bf_error_retry_safe(BF_E_DEADLINE), "retry");
    bad = 0;
    for (unsigned i = 0; i < BF_KIND_MAX; i++) {
        int code = bf_kind_exit_code((enum bf_kind)i);
        int status = bf_kind_http_status((enum bf_kind)i);

        bad += code < 0 || code > 125 || exit_used[code] || !bf_kind_to_string((enum bf_kind)i);
        exit_used[code] = true;
        http += i == BF_KIND_NONE ? status == 200 : status >= 400 && status < 600;
    }
    is_int(bad, 0, "each kind has an exit code of its own and a text");
    is_int(http, BF_KIND_MAX, "and an HTTP status of an error");
}

int main(void)
{
    test_fail();
    test_foreign_words();
    test_move_and_copy();
    test_catalogue();
    return done();
}
