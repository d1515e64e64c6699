/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/share.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

enum {
    EVERY_MS = 1000,
    /* So long a copy must use less than half of its share before the others get the rest. */
    IDLE_MS = 3000,
    /* What a copy that does nothing is still left with, so that it can begin again. */
    LEAST_BYTES = 256 * 1024,
    /* What a copy begins with while the others have not yet heard of it. */
    FIRST_BYTES = 32 * 1024,
};

struct scope {
    struct scope *next;
    char *name;
    struct bf_limits limits;
};

struct bf_share_copy {
    struct bf_share *share;
    struct bf_share_copy *next;
    char *scopes[BF_COPY_BUDGETS]; /* service, source, target, replication */
    uint64_t own;
    uint64_t used;
    uint64_t rate;       /* the share */
    uint64_t told;       /* what the copy was answered last, and goes by until it asks again */
    uint64_t busy_at_ms; /* when it last used half of its share or more */
};

struct bf_share {
    pthread_mutex_t lock;
    /* under lock: */
    struct scope *scopes;
    struct bf_share_copy *copies;
    uint64_t made_ms; /* when the shares were made; 0: to be made anew */
};

struct bf_share *bf_share_new(void)
{
    struct bf_share *share = bf_xcalloc(1, sizeof(*share));

    pthread_mutex_init(&share->lock, NULL);
    return share;
}

static void scope_free(struct scope *scope)
{
    free(scope->name);
    bf_limits_done(&scope->limits);
    free(scope);
}

void bf_share_free(struct bf_share *share)
{
    if (!share)
        return;
    while (share->scopes) {
        struct scope *scope = share->scopes;

        share->scopes = scope->next;
        scope_free(scope);
    }
    pthread_mutex_destroy(&share->lock);
    free(share);
}

static void limits_copy(const struct bf_limits *from, struct bf_limits *to)
{
    to->items = bf_xcalloc(from->count + 1, sizeof(*to->items));
    to->count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        to->items[i].rate_bytes = from->items[i].rate_bytes;
        for (size_t w = 0; w < from->items[i].windows.count; w++)
            bf_windows_add(&to->items[i].windows, from->items[i].windows.items[w]);
    }
}

void bf_share_set(struct bf_share *share, const char *scope, const struct bf_limits *limits)
{
    struct scope **at;

    pthread_mutex_lock(&share->lock);
    for (at = &share->scopes; *at && !bf_streq((*at)->name, scope); at = &(*at)->next)
        ;
    if (*at) {
        struct scope *old = *at;

        *at = old->next;
        scope_free(old);
    }
    if (limits && limits->count) {
        struct scope *fresh = bf_xcalloc(1, sizeof(*fresh));

        fresh->name = bf_xstrdup(scope);
        limits_copy(limits, &fresh->limits);
        fresh->next = share->scopes;
        share->scopes = fresh;
    }
    share->made_ms = 0;
    pthread_mutex_unlock(&share->lock);
}

/* --- the shares --- */

static uint64_t limit_of(const struct bf_share *share, const char *name, int64_t now_us)
{
    for (const struct scope *scope = share->scopes; scope; scope = scope->next) {
        if (bf_streq(scope->name, name))
            return bf_limits_rate(&scope->limits, now_us);
    }
    return BF_RATE_UNLIMITED;
}

/* The index of a scope's budget; it is made when the first copy names it. */
static size_t budget_of(const struct bf_share *share, const char *name, uint64_t own,
                        const char **names, uint64_t *budgets, size_t *count, int64_t now_us)
{
    size_t i = 0;

    while (i < *count && !bf_streq(names[i], name))
        i++;
    if (i == *count) {
        names[i] = name;
        budgets[i] = limit_of(share, name, now_us);
        ++*count;
    }
    if (own && own < budgets[i])
        budgets[i] = own;
    return i;
}

static uint64_t cap_of(const struct bf_share_copy *copy, uint64_t now_ms)
{
    if (now_ms - copy->busy_at_ms < IDLE_MS)
        return BF_RATE_UNLIMITED;
    return copy->used * 2 > LEAST_BYTES ? copy->used * 2 : LEAST_BYTES;
}

static void make_shares(struct bf_share *share)
{
    uint64_t now_ms = bf_now_ms();
    int64_t now_us = bf_utc_us();
    bf_auto_free struct bf_copy_share *shares = NULL;
    bf_auto_free const char **names = NULL;
    bf_auto_free uint64_t *budgets = NULL;
    size_t count = 0, budget_count = 0;

    for (struct bf_share_copy *copy = share->copies; copy; copy = copy->next)
        count++;
    shares = bf_xcalloc(count + 1, sizeof(*shares));
    names = bf_xcalloc(count * BF_COPY_BUDGETS + 1, sizeof(*names));
    budgets = bf_xcalloc(count * BF_COPY_BUDGETS + 1, sizeof(*budgets));
    count = 0;
    for (struct bf_share_copy *copy = share->copies; copy; copy = copy->next, count++) {
        shares[count].cap_bytes = cap_of(copy, now_ms);
        for (size_t i = 0; i < BF_COPY_BUDGETS; i++)
            shares[count].budgets[i] =
                budget_of(share, copy->scopes[i], i == BF_COPY_BUDGETS - 1 ? copy->own : 0, names,
                          budgets, &budget_count, now_us);
    }
    bf_limits_share(budgets, budget_count, shares, count);
    count = 0;
    for (struct bf_share_copy *copy = share->copies; copy; copy = copy->next, count++) {
        bool limited = false;

        /* The cap alone is no reason to hold a copy back. */
        for (size_t i = 0; i < BF_COPY_BUDGETS; i++)
            limited = limited || budgets[shares[count].budgets[i]] != BF_RATE_UNLIMITED;
        copy->rate = limited ? shares[count].ret_rate_bytes : BF_RATE_UNLIMITED;
    }
    share->made_ms = now_ms;
}

static bool is_in(const struct bf_share_copy *copy, const char *scope)
{
    for (size_t i = 0; i < BF_COPY_BUDGETS; i++) {
        if (bf_streq(copy->scopes[i], scope))
            return true;
    }
    return false;
}

/* The others still use what they were told before this one came: not more than they leave. */
static uint64_t what_is_free(const struct bf_share_copy *asking, uint64_t rate)
{
    int64_t now_us = bf_utc_us();

    for (size_t i = 0; i < BF_COPY_BUDGETS; i++) {
        uint64_t left = limit_of(asking->share, asking->scopes[i], now_us);

        if (left == BF_RATE_UNLIMITED)
            continue;
        for (const struct bf_share_copy *copy = asking->share->copies; copy; copy = copy->next) {
            if (copy != asking && is_in(copy, asking->scopes[i]))
                left = copy->told < left ? left - copy->told : 0;
        }
        if (left < rate)
            rate = left > FIRST_BYTES ? left : FIRST_BYTES;
    }
    return rate;
}

/* --- the copies --- */

struct bf_share_copy *bf_share_join(struct bf_share *share, const struct bf_share_scopes *scopes)
{
    struct bf_share_copy *copy = bf_xcalloc(1, sizeof(*copy));

    *copy = (struct bf_share_copy){
        .share = share,
        .scopes = {bf_xstrdup(BF_SHARE_SERVICE), bf_xstrdup(scopes->source),
                   bf_xstrdup(scopes->target), bf_xstrdup(scopes->replication)},
        .busy_at_ms = bf_now_ms()};
    pthread_mutex_lock(&share->lock);
    copy->next = share->copies;
    share->copies = copy;
    share->made_ms = 0;
    pthread_mutex_unlock(&share->lock);
    return copy;
}

void bf_share_leave(struct bf_share_copy *copy)
{
    if (!copy)
        return;
    pthread_mutex_lock(&copy->share->lock);
    for (struct bf_share_copy **at = &copy->share->copies; *at; at = &(*at)->next) {
        if (*at == copy) {
            *at = copy->next;
            break;
        }
    }
    copy->share->made_ms = 0;
    pthread_mutex_unlock(&copy->share->lock);
    for (size_t i = 0; i < BF_COPY_BUDGETS; i++)
        free(copy->scopes[i]);
    free(copy);
}

uint64_t bf_share_ask(struct bf_share_copy *copy, uint64_t used, uint64_t own)
{
    struct bf_share *share = copy->share;
    uint64_t now_ms = bf_now_ms();
    uint64_t rate;

    pthread_mutex_lock(&share->lock);
    copy->used = used;
    if (copy->rate == BF_RATE_UNLIMITED || copy->rate == 0 || used >= copy->rate / 2)
        copy->busy_at_ms = now_ms;
    if (copy->own != own || now_ms - share->made_ms >= EVERY_MS) {
        copy->own = own;
        make_shares(share);
    }
    rate = copy->rate == BF_RATE_UNLIMITED ? copy->rate : what_is_free(copy, copy->rate);
    copy->told = rate;
    pthread_mutex_unlock(&share->lock);
    return rate;
}

struct bf_share_use bf_share_look(struct bf_share *share, const char *scope)
{
    struct bf_share_use use = {0};

    pthread_mutex_lock(&share->lock);
    use.limit = limit_of(share, scope, bf_utc_us());
    for (const struct bf_share_copy *copy = share->copies; copy; copy = copy->next) {
        bool in = is_in(copy, scope);

        use.copies += in;
        use.used += in ? copy->used : 0;
    }
    pthread_mutex_unlock(&share->lock);
    return use;
}
