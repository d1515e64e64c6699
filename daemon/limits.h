/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits: how the copies that run share out what they may use.  Pure functions.
 *
 * A budget is a rate that the copies which belong to it may use together: of the service, of a
 * platform (as source or target), of a replication.  The division is max-min fair: no copy
 * can be given more without taking from one that has as little or less, so what one copy cannot
 * use (its own cap, a tighter budget elsewhere) the others get.
 *
 * Rates are bytes a second; BF_RATE_UNLIMITED: no limit.  Threads: any.
 */
#pragma once

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/window.h"

#define BF_RATE_UNLIMITED UINT64_MAX
#define BF_RATE_MIN 1024 /* the smallest limit that can be set */

/* A limit that holds inside its windows (none: always). */
struct bf_limit {
    uint64_t rate_bytes;
    struct bf_windows windows;
};
struct bf_limits {
    struct bf_limit *items;
    size_t count;
};
/* [{"rate":"50M","windows":["Mon-Fri 08:00-18:00"]|null},...]; `path` names it in errors. */
int bf_limits_from_json(struct json_object *json, const char *path, struct bf_limits *ret_limits,
                        struct bf_error *err);
struct json_object *bf_limits_to_json(const struct bf_limits *limits);
void bf_limits_done(struct bf_limits *limits);
/* The smallest rate of those that hold now. */
uint64_t bf_limits_rate(const struct bf_limits *limits, int64_t now_us);
/* When the rate may change next; 0: never.  The time to share out anew. */
int64_t bf_limits_change(const struct bf_limits *limits, int64_t now_us);

#define BF_COPY_BUDGETS 4 /* service, source platform, target platform, replication */
#define BF_NO_BUDGET SIZE_MAX

struct bf_copy_share {
    uint64_t cap_bytes;              /* what the copy can use at most; BF_RATE_UNLIMITED: unknown */
    size_t budgets[BF_COPY_BUDGETS]; /* indexes into the budgets, BF_NO_BUDGET: none there */
    uint64_t ret_rate_bytes;         /* the result: at least 1, or BF_RATE_UNLIMITED */
};

/* Share `budgets` (bytes a second each) out to the copies.  The same budget named twice by a copy
 * counts once.  No budget is exceeded, unless it holds less than a byte for each of its copies. */
void bf_limits_share(const uint64_t *budgets, size_t budget_count, struct bf_copy_share *copies,
                     size_t copy_count);
