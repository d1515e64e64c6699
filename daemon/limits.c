/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits: reading them, and the max-min fair division (progressive filling).
 *
 * All copies rise together from zero.  The first level at which a budget is used up or a
 * copy's own cap is reached freezes the copies concerned there; what is left of the budgets is
 * divided among the others in the same way.  Each turn freezes at least one copy.
 */
#include "daemon/limits.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

/* --- the limits --- */

static int read_limit(struct json_object *json, const char *path, struct bf_limit *ret_limit,
                      struct bf_error *err)
{
    static const char *const known[] = {"rate", "windows", NULL};
    struct bf_limit limit = {0};
    struct json_object *windows = NULL;
    const char *rate = NULL;
    bf_auto_free char *windows_path = bf_xasprintf("%s.windows", path);

    if (bf_json_check_fields(json, path, known, err) < 0 ||
        bf_json_get_string(json, path, "rate", &rate, err) < 0 ||
        bf_json_opt_array(json, path, "windows", &windows, err) < 0)
        return -1;
    if (bf_parse_bytes(rate, &limit.rate_bytes, err) < 0)
        return bf_fail_in(err, "%s.rate", path);
    if (limit.rate_bytes < BF_RATE_MIN || limit.rate_bytes > INT64_MAX)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s.rate: at least %d bytes a second", path,
                       BF_RATE_MIN);
    if (bf_windows_from_json(windows, windows_path, &limit.windows, err) < 0)
        return -1;
    *ret_limit = limit;
    return 0;
}

int bf_limits_from_json(struct json_object *json, const char *path, struct bf_limits *ret_limits,
                        struct bf_error *err)
{
    struct bf_limits limits = {0};

    if (json && !json_object_is_type(json, json_type_array))
        return bf_fail(err, BF_E_BAD_JSON, 0, "%s: expected array", path);
    size_t count = json ? json_object_array_length(json) : 0;
    if (count > 64)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: %zu limits, at most 64", path, count);
    limits.items = bf_xcalloc(count + 1, sizeof(*limits.items));
    for (; limits.count < count; limits.count++) {
        bf_auto_free char *item = bf_xasprintf("%s[%zu]", path, limits.count);
        if (read_limit(json_object_array_get_idx(json, limits.count), item,
                       &limits.items[limits.count], err) < 0) {
            bf_limits_done(&limits);
            return -1;
        }
    }
    *ret_limits = limits;
    return 0;
}

struct json_object *bf_limits_to_json(const struct bf_limits *limits)
{
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; i < limits->count; i++) {
        struct json_object *item = json_object_new_object();
        bf_auto_free char *rate =
            bf_xasprintf("%llu", (unsigned long long)limits->items[i].rate_bytes);
        bf_json_add_string(item, "rate", rate);
        json_object_object_add(item, "windows", bf_windows_to_json(&limits->items[i].windows));
        json_object_array_add(array, item);
    }
    return array;
}

void bf_limits_done(struct bf_limits *limits)
{
    for (size_t i = 0; i < limits->count; i++)
        bf_windows_done(&limits->items[i].windows);
    free(limits->items);
    *limits = (struct bf_limits){0};
}

uint64_t bf_limits_rate(const struct bf_limits *limits, int64_t now_us)
{
    uint64_t rate = BF_RATE_UNLIMITED;
    for (size_t i = 0; i < limits->count; i++)
        if (limits->items[i].rate_bytes < rate &&
            bf_windows_contain(&limits->items[i].windows, now_us))
            rate = limits->items[i].rate_bytes;
    return rate;
}

int64_t bf_limits_change(const struct bf_limits *limits, int64_t now_us)
{
    int64_t first = 0;
    for (size_t i = 0; i < limits->count; i++) {
        int64_t at = bf_windows_change(&limits->items[i].windows, now_us);
        if (at && (!first || at < first))
            first = at;
    }
    return first;
}

/* --- the division --- */

struct pot {
    uint64_t left;   /* of the budget, after what frozen copies use */
    size_t rising;   /* copies in it that are not frozen */
    bool bottleneck; /* used up at the present level */
};

static bool is_in(const struct bf_copy_share *copy, size_t budget, size_t upto)
{
    for (size_t i = 0; i < upto; i++)
        if (copy->budgets[i] == budget)
            return true;
    return false;
}

/* Call for each budget of the copy once: is this place the first that names it? */
static bool counts(const struct bf_copy_share *copy, size_t place, size_t budget_count)
{
    size_t budget = copy->budgets[place];
    return budget < budget_count && !is_in(copy, budget, place);
}

/* The level at which the next budget or cap is reached. */
static uint64_t next_level(struct pot *pots, size_t pot_count, const struct bf_copy_share *copies,
                           const bool *frozen, size_t copy_count)
{
    uint64_t level = BF_RATE_UNLIMITED;
    for (size_t i = 0; i < copy_count; i++)
        if (!frozen[i] && copies[i].cap_bytes < level)
            level = copies[i].cap_bytes;
    for (size_t i = 0; i < pot_count; i++)
        if (pots[i].rising && pots[i].left != BF_RATE_UNLIMITED &&
            pots[i].left / pots[i].rising < level)
            level = pots[i].left / pots[i].rising;
    for (size_t i = 0; i < pot_count; i++)
        pots[i].bottleneck = pots[i].rising && pots[i].left != BF_RATE_UNLIMITED &&
                             pots[i].left / pots[i].rising == level;
    return level;
}

static bool is_stopped(const struct bf_copy_share *copy, const struct pot *pots, size_t pot_count,
                       uint64_t level)
{
    if (level == BF_RATE_UNLIMITED || copy->cap_bytes <= level)
        return true;
    for (size_t place = 0; place < BF_COPY_BUDGETS; place++)
        if (copy->budgets[place] < pot_count && pots[copy->budgets[place]].bottleneck)
            return true;
    return false;
}

static void freeze(struct bf_copy_share *copy, struct pot *pots, size_t pot_count, uint64_t level)
{
    copy->ret_rate_bytes = level ? level : 1;
    for (size_t place = 0; place < BF_COPY_BUDGETS; place++) {
        if (!counts(copy, place, pot_count))
            continue;
        struct pot *pot = &pots[copy->budgets[place]];
        pot->rising--;
        if (pot->left != BF_RATE_UNLIMITED)
            pot->left -= level;
    }
}

void bf_limits_share(const uint64_t *budgets, size_t budget_count, struct bf_copy_share *copies,
                     size_t copy_count)
{
    bf_auto_free struct pot *pots = bf_xcalloc(budget_count + 1, sizeof(*pots));
    bf_auto_free bool *frozen = bf_xcalloc(copy_count + 1, sizeof(*frozen));
    size_t rising = copy_count;

    for (size_t i = 0; i < budget_count; i++)
        pots[i].left = budgets[i];
    for (size_t i = 0; i < copy_count; i++)
        for (size_t place = 0; place < BF_COPY_BUDGETS; place++)
            if (counts(&copies[i], place, budget_count))
                pots[copies[i].budgets[place]].rising++;

    while (rising) {
        uint64_t level = next_level(pots, budget_count, copies, frozen, copy_count);
        for (size_t i = 0; i < copy_count; i++) {
            /* Bottlenecks were marked for this level, so freezing one copy does not unmark it for
             * the next. */
            if (frozen[i] || !is_stopped(&copies[i], pots, budget_count, level))
                continue;
            freeze(&copies[i], pots, budget_count, level);
            frozen[i] = true;
            rising--;
        }
    }
}
