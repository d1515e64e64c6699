/* SPDX-License-Identifier: Apache-2.0 */
/* Limits: the max-min fair division by hand-made cases, and its definition on random ones. */
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/limits.h"
#include "tests/unit/tap.h"

#define NONE BF_RATE_UNLIMITED
#define NO BF_NO_BUDGET

struct division {
    const char *name;
    uint64_t budgets[4];
    size_t budget_count;
    struct bf_copy_share copies[4];
    size_t copy_count;
    uint64_t want[4];
};

static const struct division divisions[] = {
    {"no budget, no cap", {0}, 0, {{NONE, {NO, NO, NO, NO}, 0}}, 1, {NONE}},
    {"no budget, a cap", {0}, 0, {{500, {NO, NO, NO, NO}, 0}}, 1, {500}},
    {"an unlimited budget", {NONE}, 1, {{NONE, {0, NO, NO, NO}, 0}}, 1, {NONE}},
    {"one budget for three",
     {900},
     1,
     {{NONE, {0, NO, NO, NO}, 0}, {NONE, {0, NO, NO, NO}, 0}, {NONE, {0, NO, NO, NO}, 0}},
     3,
     {300, 300, 300}},
    {"what one cannot use the others get",
     {900},
     1,
     {{100, {0, NO, NO, NO}, 0}, {NONE, {0, NO, NO, NO}, 0}, {NONE, {0, NO, NO, NO}, 0}},
     3,
     {100, 400, 400}},
    {"caps below the share leave the budget unused",
     {900},
     1,
     {{100, {0, NO, NO, NO}, 0}, {200, {0, NO, NO, NO}, 0}},
     2,
     {100, 200}},
    {"a tight platform under a wide service",
     {1000, 100},
     2,
     {{NONE, {0, 1, NO, NO}, 0}, {NONE, {0, 1, NO, NO}, 0}, {NONE, {0, NO, NO, NO}, 0}},
     3,
     {50, 50, 900}},
    {"source and target platform both bind",
     {NONE, 300, 100},
     3,
     {{NONE, {0, 1, 2, NO}, 0}, {NONE, {0, 1, NO, NO}, 0}, {NONE, {0, 2, 2, NO}, 0}},
     3,
     {50, 250, 50}},
    {"one platform as source and target counts once",
     {100},
     1,
     {{NONE, {0, 0, NO, 0}, 0}, {NONE, {0, NO, NO, NO}, 0}},
     2,
     {50, 50}},
    {"a replication's own budget over its two disks",
     {1000, 100},
     2,
     {{NONE, {0, NO, NO, 1}, 0}, {NONE, {0, NO, NO, 1}, 0}, {NONE, {0, NO, NO, NO}, 0}},
     3,
     {50, 50, 900}},
    {"less than a byte each",
     {2},
     1,
     {{NONE, {0, NO, NO, NO}, 0}, {NONE, {0, NO, NO, NO}, 0}, {NONE, {0, NO, NO, NO}, 0}},
     3,
     {1, 1, 1}},
    {"an index beyond the budgets is none", {100}, 1, {{NONE, {7, NO, NO, NO}, 0}}, 1, {NONE}},
    {"nothing to do", {100}, 1, {{0}}, 0, {0}},
};

static void test_divisions(void)
{
    for (size_t i = 0; i < bf_array_length(divisions); i++) {
        struct division d = divisions[i];
        bf_limits_share(d.budgets, d.budget_count, d.copies, d.copy_count);
        bool same = true;
        for (size_t c = 0; c < d.copy_count; c++) {
            if (d.copies[c].ret_rate_bytes != d.want[c])
                diag("copy %zu: %" PRIu64 ", wanted %" PRIu64, c, d.copies[c].ret_rate_bytes,
                     d.want[c]);
            same &= d.copies[c].ret_rate_bytes == d.want[c];
        }
        ok(same, "%s", d.name);
    }
}

/* --- the definition, on random cases --- */

#define COPIES 12
#define BUDGETS 6

static uint64_t seed = 1;

static uint64_t random_below(uint64_t limit)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % limit;
}

static bool belongs(const struct bf_copy_share *copy, size_t budget)
{
    for (size_t i = 0; i < BF_COPY_BUDGETS; i++)
        if (copy->budgets[i] == budget)
            return true;
    return false;
}

/* No budget is exceeded; and each copy is at its cap, or in a budget that is used up (but for
 * rounding) in which none has more than it: then it cannot be given more without taking from one
 * that has as little or less. */
static bool is_fair(const uint64_t *budgets, const struct bf_copy_share *copies, size_t count)
{
    uint64_t sums[BUDGETS] = {0};
    uint64_t most[BUDGETS] = {0};
    uint64_t members[BUDGETS] = {0};
    for (size_t b = 0; b < BUDGETS; b++) {
        for (size_t c = 0; c < count; c++) {
            if (!belongs(&copies[c], b))
                continue;
            sums[b] += copies[c].ret_rate_bytes;
            members[b]++;
            if (copies[c].ret_rate_bytes > most[b])
                most[b] = copies[c].ret_rate_bytes;
        }
        if (budgets[b] != NONE && sums[b] > budgets[b])
            return false;
    }
    for (size_t c = 0; c < count; c++) {
        uint64_t rate = copies[c].ret_rate_bytes;
        bool held = rate == copies[c].cap_bytes;
        for (size_t b = 0; b < BUDGETS && !held; b++)
            held = belongs(&copies[c], b) && budgets[b] != NONE &&
                   sums[b] + members[b] > budgets[b] && rate == most[b];
        if (rate > copies[c].cap_bytes || (!held && rate != NONE))
            return false;
    }
    return true;
}

static void test_random(void)
{
    unsigned unfair = 0;
    unsigned limited = 0;
    for (unsigned run = 0; run < 5000; run++) {
        uint64_t budgets[BUDGETS];
        struct bf_copy_share copies[COPIES] = {0};
        size_t count = 1 + random_below(COPIES);
        for (size_t b = 0; b < BUDGETS; b++)
            budgets[b] = random_below(4) ? 1000 + random_below(1000000) : NONE;
        for (size_t c = 0; c < count; c++) {
            copies[c].cap_bytes = random_below(3) ? NONE : 1 + random_below(100000);
            for (size_t i = 0; i < BF_COPY_BUDGETS; i++)
                copies[c].budgets[i] = random_below(3) ? random_below(BUDGETS) : NO;
        }
        bf_limits_share(budgets, BUDGETS, copies, count);
        bool fair = is_fair(budgets, copies, count);
        if (!fair && !unfair)
            diag("run %u is the first that is not", run);
        unfair += !fair;
        for (size_t c = 0; c < count; c++)
            limited += copies[c].ret_rate_bytes != NONE;
    }
    is_u64(unfair, 0, "5000 random divisions are max-min fair");
    ok(limited > 10000, "%u copies were limited in them", limited);
}

/* --- limits by windows --- */

static int64_t at(const char *text)
{
    bf_auto_error err = BF_ERROR_INIT;
    int64_t us = 0;
    if (bf_utc_parse(text, &us, &err) < 0)
        exit(1);
    return us;
}

static int read_limits(const char *text, struct bf_limits *limits, struct bf_error *err)
{
    bf_auto_json *json = NULL;
    if (bf_json_parse(text, strlen(text), &json, err) < 0)
        exit(1);
    return bf_limits_from_json(json, "limits", limits, err);
}

static void test_windows(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_limits limits = {0};
    setenv("TZ", "UTC", 1);
    tzset();
    is_u64(bf_limits_rate(&limits, at("2026-11-20T12:00:00.000Z")), NONE, "no limits");
    read_limits("[{\"rate\":\"100M\"},{\"rate\":\"10M\",\"windows\":[\"Mon-Fri 08:00-18:00\"]},"
                "{\"rate\":\"20M\",\"windows\":[\"Fri\"]}]",
                &limits, &err);
    is_error(&err, BF_OK, "three limits");
    is_u64(bf_limits_rate(&limits, at("2026-11-20T12:00:00.000Z")), 10 << 20, "Friday noon");
    is_u64(bf_limits_rate(&limits, at("2026-11-20T19:00:00.000Z")), 20 << 20, "Friday evening");
    is_u64(bf_limits_rate(&limits, at("2026-11-21T12:00:00.000Z")), 100 << 20, "Saturday");
    is_int(bf_limits_change(&limits, at("2026-11-20T12:00:00.000Z")),
           at("2026-11-20T18:00:00.000Z"), "the next change");
    is_int(bf_limits_change(&limits, at("2026-11-20T18:00:00.000Z")),
           at("2026-11-21T00:00:00.000Z"), "the change after it");
    bf_auto_json *json = bf_limits_to_json(&limits);
    is_string(bf_json_text(json),
              "[{\"rate\":\"104857600\",\"windows\":null},"
              "{\"rate\":\"10485760\",\"windows\":[\"Mon-Fri 08:00-18:00\"]},"
              "{\"rate\":\"20971520\",\"windows\":[\"Fri\"]}]",
              "written");
    bf_limits_done(&limits);
    is_int(bf_limits_from_json(NULL, "limits", &limits, &err), 0, "no JSON");
    is_int(bf_limits_change(&limits, at("2026-11-20T18:00:00.000Z")), 0, "and no change");
    bf_limits_done(&limits);

    static const struct {
        const char *json;
        enum bf_error_code code;
        const char *names;
    } bad[] = {
        {"{}", BF_E_BAD_JSON, "limits"},
        {"[1]", BF_E_BAD_JSON, "limits[0]"},
        {"[{}]", BF_E_BAD_JSON, "limits[0].rate"},
        {"[{\"rate\":\"1M\"},{\"rate\":\"1M\",\"window\":[]}]", BF_E_BAD_JSON, "limits[1].window"},
        {"[{\"rate\":\"fast\"}]", BF_E_BAD_INPUT, "limits[0].rate"},
        {"[{\"rate\":\"1023\"}]", BF_E_BAD_INPUT, "limits[0].rate"},
        {"[{\"rate\":\"1M\",\"windows\":[\"Mon\",\"x\"]}]", BF_E_BAD_INPUT, "limits[0].windows[1]"},
    };
    for (size_t i = 0; i < bf_array_length(bad); i++) {
        read_limits(bad[i].json, &limits, &err);
        has_string(err.message, bad[i].names, "%s: the error names its place", bad[i].json);
        is_error(&err, bad[i].code, "%s", bad[i].json);
    }
}

int main(void)
{
    test_divisions();
    test_random();
    test_windows();
    return done();
}
