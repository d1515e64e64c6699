/* SPDX-License-Identifier: Apache-2.0 */
/* Events in the store.  Their ids come from a counter and not from the rows, so that an id is never
 * given twice, whatever was trimmed: a reader resumes by the last id it saw. */
#include "daemon/store/internal.h"

static const struct store_column events_columns[] = {
    STORE_COLUMN(bf_event_row, STORE_U64, id),
    STORE_COLUMN(bf_event_row, STORE_I64, at_us),
    STORE_COLUMN(bf_event_row, STORE_TEXT, replication),
    STORE_COLUMN(bf_event_row, STORE_TEXT, level),
    STORE_COLUMN(bf_event_row, STORE_TEXT, type),
    STORE_COLUMN(bf_event_row, STORE_TEXT, message),
    STORE_COLUMN(bf_event_row, STORE_TEXT, data),
};
static const struct store_table events_table =
    STORE_TABLE(events, bf_event_row, 1, "event", BF_OK, BF_E_STORE);

static int event_add(struct bf_store *store, const struct bf_event_row *row, uint64_t *ret_id,
                     struct bf_error *err)
{
    int64_t id = 0;
    if (store_execute(store, &events_table,
                      "UPDATE counters SET value = value + 1 WHERE name = 'event' RETURNING value",
                      NULL, 0, NULL, &id, err) < 0)
        return -1;
    struct bf_event_row copy = *row; /* texts stay borrowed */
    copy.id = (uint64_t)id;
    if (store_insert(store, &events_table, &copy, err) < 0)
        return -1;
    *ret_id = copy.id;
    return 0;
}

int bf_store_event_add(struct bf_store *store, const struct bf_event_row *row, uint64_t *ret_id,
                       struct bf_error *err)
{
    uint64_t id = 0;
    if (bf_store_begin(store, err) < 0)
        return -1;
    if (event_add(store, row, &id, err) < 0) {
        bf_store_rollback(store);
        return -1;
    }
    if (bf_store_commit(store, err) < 0)
        return -1;
    if (ret_id)
        *ret_id = id;
    return 0;
}

int bf_store_event_list(struct bf_store *store, const char *replication, uint64_t after,
                        size_t limit, struct bf_event_row **ret_rows, size_t *ret_count,
                        struct bf_error *err)
{
    const struct store_value values[] = {STORE_INT_VALUE(after > INT64_MAX ? INT64_MAX : after),
                                         STORE_LIMIT(limit), STORE_TEXT_VALUE(replication)};
    void *rows = NULL;
    if (store_select(store, &events_table,
                     replication ? "WHERE id > ?1 AND replication = ?3 ORDER BY id LIMIT ?2"
                                 : "WHERE id > ?1 ORDER BY id LIMIT ?2",
                     values, replication ? 3 : 2, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

int bf_store_event_last(struct bf_store *store, const char *replication, uint64_t count,
                        uint64_t *ret_after, struct bf_error *err)
{
    const struct store_value values[] = {STORE_INT_VALUE(count > INT64_MAX ? INT64_MAX : count),
                                         STORE_TEXT_VALUE(replication)};
    int64_t id = 0;

    /* The newest one that is not wanted any more; no row is 0. */
    if (store_execute(store, &events_table,
                      replication ? "SELECT id FROM events WHERE replication = ?2"
                                    " ORDER BY id DESC LIMIT 1 OFFSET ?1"
                                  : "SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?1",
                      values, replication ? 2 : 1, NULL, &id, err) < 0)
        return -1;
    *ret_after = (uint64_t)id;
    return 0;
}

int bf_store_event_trim(struct bf_store *store, uint64_t keep, struct bf_error *err)
{
    /* Ids have no holes but at the old end, so this needs no count. */
    return store_execute(store, &events_table,
                         "DELETE FROM events WHERE id <="
                         " (SELECT value FROM counters WHERE name = 'event') - ?1",
                         &STORE_INT_VALUE(keep > INT64_MAX / 2 ? INT64_MAX / 2 : keep), 1, NULL,
                         NULL, err);
}

void bf_event_row_done(struct bf_event_row *row)
{
    store_row_done(&events_table, row);
}
