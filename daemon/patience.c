/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/patience.h"

#include <stdlib.h>

#include "base/text.h"

struct bf_patience_row {
    char *id;
    uint64_t pause_ms;
    uint64_t due_ms;
};

static struct bf_patience_row *find(const struct bf_patience *patience, const char *id)
{
    for (size_t i = 0; i < patience->count; i++)
        if (bf_streq(patience->rows[i].id, id))
            return &patience->rows[i];
    return NULL;
}

void bf_patience_failed(struct bf_patience *patience, const char *id, uint64_t now_ms)
{
    struct bf_patience_row *row = find(patience, id);

    if (!row) {
        bf_xgrow(&patience->rows, &patience->capacity, patience->count + 1,
                 sizeof(*patience->rows));
        row = &patience->rows[patience->count++];
        *row = (struct bf_patience_row){.id = bf_xstrdup(id), .pause_ms = BF_PATIENCE_FIRST_MS};
    } else if (row->pause_ms < BF_PATIENCE_MAX_MS / 2) {
        row->pause_ms *= 2;
    } else {
        row->pause_ms = BF_PATIENCE_MAX_MS;
    }
    row->due_ms = now_ms + row->pause_ms;
}

bool bf_patience_is_due(const struct bf_patience *patience, const char *id, uint64_t now_ms)
{
    const struct bf_patience_row *row = find(patience, id);

    return !row || row->due_ms <= now_ms;
}

static void forget(struct bf_patience *patience, struct bf_patience_row *row)
{
    free(row->id);
    *row = patience->rows[--patience->count];
}

void bf_patience_forget(struct bf_patience *patience, const char *id)
{
    struct bf_patience_row *row = find(patience, id);

    if (row)
        forget(patience, row);
}

void bf_patience_forget_due(struct bf_patience *patience, uint64_t now_ms,
                            bf_patience_keep_fn *keep, void *user)
{
    for (size_t i = patience->count; i-- > 0;) {
        struct bf_patience_row *row = &patience->rows[i];

        if (row->due_ms <= now_ms && !keep(row->id, user))
            forget(patience, row);
    }
}

uint64_t bf_patience_next(const struct bf_patience *patience, uint64_t now_ms)
{
    uint64_t next = UINT64_MAX;

    for (size_t i = 0; i < patience->count; i++) {
        uint64_t due = patience->rows[i].due_ms;
        uint64_t left = due > now_ms ? due - now_ms : 0;

        if (left < next)
            next = left;
    }
    return next;
}

void bf_patience_done(struct bf_patience *patience)
{
    while (patience->count)
        forget(patience, &patience->rows[patience->count - 1]);
    free(patience->rows);
    *patience = (struct bf_patience){0};
}
