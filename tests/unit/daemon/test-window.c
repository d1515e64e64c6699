/* SPDX-License-Identifier: Apache-2.0 */
/* Windows and the schedule, also over changes of daylight saving time. */
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/schedule.h"
#include "tests/unit/tap.h"

static void set_zone(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

static int64_t at(const char *text)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *full = bf_xasprintf("%s:00.000Z", text);
    int64_t us = 0;
    if (bf_utc_parse(full, &us, &err) < 0) {
        diag("%s: %s", full, err.message);
        exit(1);
    }
    return us;
}

static struct bf_window window_of(const char *text)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_window window = {0};
    if (bf_window_parse(text, &window, &err) < 0) {
        diag("%s", err.message);
        exit(1);
    }
    return window;
}

static void test_texts(void)
{
    static const char *const good[][2] = {
        {"*", "*"},
        {"Mon-Sun", "*"},
        {"Mon-Fri 20:00-06:00", "Mon-Fri 20:00-06:00"},
        {"  sat,SUN  ", "Sat,Sun"},
        {"Fri-Mon", "Mon,Fri-Sun"},
        {"Sun-Mon 01:02-03:04", "Mon,Sun 01:02-03:04"},
        {"Mon,Wed,Fri-Sat,Thu", "Mon,Wed-Sat"},
        {"22:00-24:00", "* 22:00-24:00"},
        {"* 22:00-00:00", "* 22:00-24:00"},
        {"Tue 00:00-24:00", "Tue"},
        {"Tue   00:00-00:01", "Tue 00:00-00:01"},
        {"Tue 23:59-24:00", "Tue 23:59-24:00"},
    };
    for (size_t i = 0; i < bf_array_length(good); i++) {
        struct bf_window window = window_of(good[i][0]);
        bf_auto_free char *text = bf_window_format(&window);
        is_string(text, good[i][1], "\"%s\" is read", good[i][0]);
        struct bf_window again = window_of(text);
        ok(again.days == window.days && again.start_minute == window.start_minute &&
               again.end_minute == window.end_minute,
           "\"%s\" is read back", text);
    }

    static const char *const bad[] = {
        "",
        " ",
        "Mo",
        "Mon-",
        "Mon,",
        "Mond",
        "Mon-Fri,",
        "Mon 8:00-9:00",
        "Mon 08:00",
        "Mon 08:00-",
        "Mon 08:00-09:00x",
        "Mon 08:00-09:00 10:00-11:00",
        "Mon 08:60-09:00",
        "Mon 24:00-01:00",
        "Mon 23:00-24:01",
        "Mon 25:00-26:00",
        "Mon 08:00-08:00",
        "Mon 00:00-00:00",
        "* *",
        "*Mon",
        "08:00-09:00 Mon",
        "Mon\t08:00-09:00",
        "\xc3\xa9\x01\x1b[31m very odd text that is much longer than any window could ever be",
    };
    for (size_t i = 0; i < bf_array_length(bad); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        struct bf_window window = {.days = 42};
        int rc = bf_window_parse(bad[i], &window, &err);
        ok(rc == -1 && window.days == 42, "bad window %zu is refused and nothing is changed", i);
        ok(!err.message || !strpbrk(err.message, "\x1b\x01"), "and nothing odd is repeated");
        is_error(&err, BF_E_BAD_INPUT, "bad window %zu is bad input", i);
    }
}

struct moment {
    const char *zone;
    const char *window;
    const char *utc;
    bool inside;
};

static void test_contains(void)
{
    static const struct moment moments[] = {
        /* 2026-11-20 is a Friday. */
        {"UTC", "Mon-Fri 20:00-06:00", "2026-11-20T19:59", false},
        {"UTC", "Mon-Fri 20:00-06:00", "2026-11-20T20:00", true},
        {"UTC", "Mon-Fri 20:00-06:00", "2026-11-21T05:59", true},
        {"UTC", "Mon-Fri 20:00-06:00", "2026-11-21T06:00", false},
        {"UTC", "Mon-Fri 20:00-06:00", "2026-11-21T20:00", false},
        {"UTC", "Mon-Fri 20:00-06:00", "2026-11-23T05:00", false},
        {"UTC", "Sun 20:00-06:00", "2026-11-23T05:00", true},
        {"UTC", "Sat,Sun", "2026-11-20T23:59", false},
        {"UTC", "Sat,Sun", "2026-11-21T00:00", true},
        {"UTC", "Sat,Sun", "2026-11-22T23:59", true},
        {"UTC", "Sat,Sun", "2026-11-23T00:00", false},
        {"UTC", "*", "1970-01-01T00:00", true},
        {"UTC", "22:00-24:00", "2026-11-20T23:59", true},
        {"UTC", "22:00-24:00", "2026-11-21T00:00", false},
        {"Asia/Shanghai", "Sat,Sun", "2026-11-20T15:59", false},
        {"Asia/Shanghai", "Sat,Sun", "2026-11-20T16:00", true},
        {"Asia/Shanghai", "Mon 08:00-09:00", "2026-11-23T00:30", true},
        {"Asia/Kathmandu", "Mon 08:00-09:00", "2026-11-23T02:15", true},
        {"Asia/Kathmandu", "Mon 08:00-09:00", "2026-11-23T02:14", false},
        /* Spring: 2026-03-29 01:00 UTC is 02:00 CET and becomes 03:00 CEST. */
        {"Europe/Berlin", "Sun 01:00-03:30", "2026-03-29T00:59", true},
        {"Europe/Berlin", "Sun 01:00-03:30", "2026-03-29T01:29", true},
        {"Europe/Berlin", "Sun 01:00-03:30", "2026-03-29T01:30", false},
        {"Europe/Berlin", "Sun 02:00-03:00", "2026-03-29T00:59", false},
        {"Europe/Berlin", "Sun 02:00-03:00", "2026-03-29T01:00", false},
        /* Autumn: 2026-10-25 01:00 UTC is 03:00 CEST and becomes 02:00 CET. */
        {"Europe/Berlin", "Sun 02:00-03:00", "2026-10-25T00:00", true},
        {"Europe/Berlin", "Sun 02:00-03:00", "2026-10-25T01:59", true},
        {"Europe/Berlin", "Sun 02:00-03:00", "2026-10-25T02:00", false},
        {"Europe/Berlin", "Sun 02:00-02:30", "2026-10-25T00:30", false},
        {"Europe/Berlin", "Sun 02:00-02:30", "2026-10-25T01:00", true},
    };
    for (size_t i = 0; i < bf_array_length(moments); i++) {
        const struct moment *m = &moments[i];
        set_zone(m->zone);
        struct bf_window window = window_of(m->window);
        is_int(bf_window_contains(&window, at(m->utc)), m->inside, "%s: %s at %s UTC", m->zone,
               m->window, m->utc);
    }
}

struct question {
    const char *zone;
    const char *windows[3];
    const char *from;
    const char *next;   /* NULL: never */
    const char *change; /* NULL: never */
};

static void is_time(int64_t got, const char *want, const char *what, size_t i)
{
    char text[BF_UTC_LENGTH + 1] = "never";
    if (got)
        bf_utc_format(got, text);
    bf_auto_free char *full = want ? bf_xasprintf("%s:00.000Z", want) : bf_xstrdup("never");
    is_string(text, full, "%s of question %zu", what, i);
}

static void test_next(void)
{
    static const struct question questions[] = {
        {"UTC", {NULL}, "2026-11-20T12:00", "2026-11-20T12:00", NULL},
        {"UTC", {"*"}, "2026-11-20T12:00", "2026-11-20T12:00", NULL},
        {"UTC", {"Mon"}, "2026-11-20T12:00", "2026-11-23T00:00", "2026-11-23T00:00"},
        {"UTC", {"Fri 10:00-11:00"}, "2026-11-20T12:00", "2026-11-27T10:00", "2026-11-27T10:00"},
        {"UTC",
         {"Mon", "Sat 09:00-10:00"},
         "2026-11-20T12:00",
         "2026-11-21T09:00",
         "2026-11-21T09:00"},
        {"UTC", {"Fri 20:00-06:00"}, "2026-11-20T21:30", "2026-11-20T21:30", "2026-11-21T06:00"},
        {"UTC",
         {"Fri 12:00-13:00", "Fri 13:00-14:00"},
         "2026-11-20T12:30",
         "2026-11-20T12:30",
         "2026-11-20T14:00"},
        {"Asia/Shanghai", {"Sat"}, "2026-11-20T12:00", "2026-11-20T16:00", "2026-11-20T16:00"},
        /* Spring: the window opens when the clock has jumped over its start. */
        {"Europe/Berlin",
         {"Sun 02:30-06:00"},
         "2026-03-28T12:00",
         "2026-03-29T01:00",
         "2026-03-29T01:00"},
        /* ... and closes by the new time. */
        {"Europe/Berlin",
         {"Sun 01:30-04:00"},
         "2026-03-29T00:30",
         "2026-03-29T00:30",
         "2026-03-29T02:00"},
        /* ... and one that lies in the missing hour opens a week later. */
        {"Europe/Berlin",
         {"Sun 02:15-02:45"},
         "2026-03-29T00:00",
         "2026-04-05T00:15",
         "2026-04-05T00:15"},
        /* ... even if the week before has passed. */
        {"Europe/Berlin",
         {"Sun 02:15-02:45"},
         "2026-03-22T01:45",
         "2026-04-05T00:15",
         "2026-04-05T00:15"},
        /* Autumn: the doubled hour opens a window twice. */
        {"Europe/Berlin",
         {"Sun 02:15-02:45"},
         "2026-10-25T00:50",
         "2026-10-25T01:15",
         "2026-10-25T01:15"},
        {"Europe/Berlin",
         {"Sat 22:00-04:00"},
         "2026-10-24T21:00",
         "2026-10-24T21:00",
         "2026-10-25T03:00"},
    };
    for (size_t i = 0; i < bf_array_length(questions); i++) {
        const struct question *q = &questions[i];
        struct bf_windows windows = {0};
        set_zone(q->zone);
        for (size_t w = 0; w < 3 && q->windows[w]; w++)
            bf_windows_add(&windows, window_of(q->windows[w]));
        is_time(bf_windows_next(&windows, at(q->from)), q->next, "next", i);
        is_time(bf_windows_change(&windows, at(q->from)), q->change, "change", i);
        bf_windows_done(&windows);
    }

    set_zone("UTC");
    struct bf_windows windows = {0};
    bf_windows_add(&windows, window_of("Fri 12:00-13:00"));
    is_time(bf_windows_next(&windows, at("2026-11-20T11:58") + 61234567), "2026-11-20T12:00",
            "next from the middle of a minute,", 99);
    is_int(bf_windows_next(&windows, at("2026-11-20T12:10") + 7), at("2026-11-20T12:10") + 7,
           "a moment inside is its own next");
    bf_windows_done(&windows);
}

static void test_json(void)
{
    static const struct {
        const char *text;
        enum bf_error_code code;
        const char *names;
    } cases[] = {
        {"[\"Mon\", \"Sat,Sun 10:00-12:00\"]", BF_OK, NULL},
        {"[]", BF_OK, NULL},
        {"{}", BF_E_BAD_JSON, "w: expected array"},
        {"[\"Mon\", 7]", BF_E_BAD_JSON, "w[1]"},
        {"[null]", BF_E_BAD_JSON, "w[0]"},
        {"[\"Mon\", \"Tue\", \"Blue\"]", BF_E_BAD_INPUT, "w[2]"},
    };
    for (size_t i = 0; i < bf_array_length(cases); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_json *json = NULL;
        struct bf_windows windows = {0};
        bf_json_parse(cases[i].text, strlen(cases[i].text), &json, &err);
        bf_windows_from_json(json, "w", &windows, &err);
        if (cases[i].names)
            has_string(err.message, cases[i].names, "%s: the error names its place", cases[i].text);
        is_error(&err, cases[i].code, "windows %s", cases[i].text);
        bf_windows_done(&windows);
    }
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *many = json_object_new_array();
    for (unsigned i = 0; i < 65; i++)
        json_object_array_add(many, json_object_new_string("Mon"));
    struct bf_windows windows = {0};
    bf_windows_from_json(many, "w", &windows, &err);
    is_error(&err, BF_E_BAD_INPUT, "65 windows");
}

static void test_schedule(void)
{
    set_zone("UTC");
    bf_auto_policy policy;
    bf_policy_init(&policy);
    int64_t now = at("2026-11-20T12:00");
    const int64_t minute = INT64_C(60000000);

    is_int(bf_schedule_next(&policy, 0, now), now, "the first round starts at once");
    is_int(bf_schedule_next(&policy, now - 5 * minute, now), now + 10 * minute,
           "the next one interval after the last start");
    is_int(bf_schedule_next(&policy, now - 50 * minute, now), now,
           "missed rounds are not made up for");
    is_int(bf_schedule_next(&policy, now + 500 * minute, now), now + 15 * minute,
           "a clock set back costs one interval at most");
    bf_windows_add(&policy.windows, window_of("Fri 12:20-13:00"));
    is_int(bf_schedule_next(&policy, now - 5 * minute, now), now + 20 * minute,
           "the window puts it off");
    policy.interval_s = 1800;
    is_int(bf_schedule_next(&policy, now - 5 * minute, now), now + 25 * minute,
           "but not when it is open by then");
    policy.interval_s = 900;
    is_int(bf_schedule_retry(&policy, 1, now), now + 20 * minute, "a retry waits for it, too");
    bf_windows_done(&policy.windows);

    const int64_t second = 1000000;
    is_int(bf_schedule_retry(&policy, 1, now), now + 30 * second, "first retry");
    is_int(bf_schedule_retry(&policy, 2, now), now + 60 * second, "second retry");
    is_int(bf_schedule_retry(&policy, 5, now), now + 480 * second, "fifth retry");
    is_int(bf_schedule_retry(&policy, 6, now), now + 900 * second, "at most the interval");
    is_int(bf_schedule_retry(&policy, UINT64_MAX, now), now + 900 * second, "for ever");
    policy.interval_s = 20;
    is_int(bf_schedule_retry(&policy, 1, now), now + 20 * second, "also a short one");
    policy.interval_s = 0;
    is_int(bf_schedule_next(&policy, 0, now), 0, "manual only: none");
    is_int(bf_schedule_retry(&policy, 40, now), now + 3600 * second, "manual only: an hour");
}

int main(void)
{
    test_texts();
    test_contains();
    test_next();
    test_json();
    test_schedule();
    return done();
}
