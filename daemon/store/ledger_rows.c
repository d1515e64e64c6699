/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger in the store. */
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/store/internal.h"

static const struct store_column ledger_columns[] = {
    STORE_COLUMN(bf_ledger_row, STORE_TEXT, id),
    STORE_COLUMN(bf_ledger_row, STORE_TEXT, platform_id),
    STORE_COLUMN(bf_ledger_row, STORE_TEXT, replication_id),
    STORE_COLUMN(bf_ledger_row, STORE_TEXT, kind),
    STORE_COLUMN(bf_ledger_row, STORE_TEXT, state),
    STORE_COLUMN(bf_ledger_row, STORE_TEXT, name),
    STORE_COLUMN(bf_ledger_row, STORE_TEXT, ref),
    STORE_COLUMN(bf_ledger_row, STORE_TEXT, owner),
    STORE_COLUMN(bf_ledger_row, STORE_I64, created_us),
    STORE_COLUMN(bf_ledger_row, STORE_I64, changed_us),
};
static const struct store_table ledger_table = STORE_TABLE(
    ledger, bf_ledger_row, 1, "ledger entry", BF_E_NO_SUCH_LEDGER_ENTRY, BF_E_NO_SUCH_REPLICATION);

int bf_store_ledger_put(struct bf_store *store, const struct bf_ledger_row *row,
                        struct bf_error *err)
{
    return store_put(store, &ledger_table, row, err);
}

int bf_store_ledger_get(struct bf_store *store, const char *id, struct bf_ledger_row *ret_row,
                        struct bf_error *err)
{
    return store_get(store, &ledger_table, "WHERE id = ?1", id, ret_row, err);
}

int bf_store_ledger_list(struct bf_store *store, const char *platform_id,
                         const char *replication_id, bool open_only,
                         struct bf_ledger_row **ret_rows, size_t *ret_count, struct bf_error *err)
{
    const struct store_value values[] = {STORE_TEXT_VALUE(platform_id),
                                         STORE_TEXT_VALUE(replication_id)};
    /* Of many rows few are asked for: only conditions that are meant let an index find them. */
    bf_auto_free char *tail =
        bf_xasprintf("WHERE %s AND %s AND %s ORDER BY created_us, id",
                     platform_id ? "platform_id = ?1" : "?1 IS NULL",
                     replication_id ? "replication_id = ?2" : "?2 IS NULL",
                     open_only ? "state NOT IN ('gone', 'handed-over')" : "1 = 1");
    void *rows = NULL;

    if (store_select(store, &ledger_table, tail, values, 2, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

void bf_ledger_row_done(struct bf_ledger_row *row)
{
    store_row_done(&ledger_table, row);
}
