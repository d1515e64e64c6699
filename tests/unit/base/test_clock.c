/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "tests/unit/tap.h"

static void test_deadlines(void)
{
    struct bf_deadline never = {0}, past = bf_deadline_in(0), soon = bf_deadline_in(60000);
    uint64_t before = bf_now_ms();

    ok(!bf_deadline_passed(never) && bf_deadline_left(never) == -1, "0 is never");
    ok(bf_deadline_passed(past) && bf_deadline_left(past) == 0, "now has passed");
    ok(!bf_deadline_passed(soon), "a minute has not");
    ok(bf_deadline_left(soon) > 50000 && bf_deadline_left(soon) <= 60000, "what is left of it");
    is_u64(bf_deadline_in(UINT64_MAX).at_ms, 0, "beyond the clock is never");
    is_int(bf_deadline_left(bf_deadline_in(UINT64_C(1) << 40)), INT_MAX, "left fits poll()");
    bf_sleep_ms(30);
    ok(bf_now_ms() - before >= 30, "sleeps at least as long as asked");
}

static void test_utc(void)
{
    static const struct {
        int64_t us;
        const char *text;
    } formats[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {INT64_C(1795182741123456), "2026-11-20T13:52:21.123Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {INT64_C(951782400000000), "2000-02-29T00:00:00.000Z"},
    };
    static const struct {
        const char *text;
        int64_t us;
    } parses[] = {
        {"2026-11-20T13:52:21.123Z", INT64_C(1795182741123000)},
        {"2026-11-20T13:52:21Z", INT64_C(1795182741000000)},
        {"2026-11-20T13:52:21.123456789Z", INT64_C(1795182741123456)},
        {"1969-12-31T23:59:59.5Z", -500000},
    };
    static const char *const bad[] = {
        "",
        "2026-11-20",
        "2026-11-20 13:52:21Z",
        "2026-11-20T13:52:21",
        "2026-11-20T13:52:21+01:00",
        "2026-11-20T13:52:21.Z",
        "2026-11-20T13:52:21Zx",
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:60Z",
        "26-01-01T00:00:00Z",
        "2026-1-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
    };
    char text[BF_UTC_LENGTH + 1];
    bf_auto_error err = BF_ERROR_INIT;
    int64_t us;

    for (size_t i = 0; i < bf_array_length(formats); i++) {
        bf_utc_format(formats[i].us, text);
        is_string(text, formats[i].text, "format %" PRId64, formats[i].us);
    }
    bf_utc_format(INT64_MAX, text);
    is_u64(strlen(text), BF_UTC_LENGTH, "the far future has the length, too");
    bf_utc_format(INT64_MIN, text);
    is_u64(strlen(text), BF_UTC_LENGTH, "and the far past");
    for (size_t i = 0; i < bf_array_length(parses); i++) {
        us = 1;
        ok(bf_utc_parse(parses[i].text, &us, &err) == 0 && us == parses[i].us, "parse %s",
           parses[i].text);
    }
    for (size_t i = 0; i < bf_array_length(bad); i++) {
        us = 1;
        ok(bf_utc_parse(bad[i], &us, &err) == -1 && us == 1, "\"%s\" is refused", bad[i]);
        is_error(&err, BF_E_BAD_INPUT, "as bad input");
    }
    ok(bf_utc_us() > INT64_C(1600000000000000), "the wall clock is in microseconds");
}

int main(void)
{
    test_deadlines();
    test_utc();
    return done();
}
