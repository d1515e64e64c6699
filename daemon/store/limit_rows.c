/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits in the store. */
#include "daemon/store/internal.h"

static const struct store_column limits_columns[] = {
    STORE_COLUMN(bf_limit_row, STORE_TEXT, scope),
    STORE_COLUMN(bf_limit_row, STORE_TEXT, platform_id),
    STORE_COLUMN(bf_limit_row, STORE_TEXT, replication_id),
    STORE_COLUMN(bf_limit_row, STORE_TEXT, limits),
};
static const struct store_table limits_table =
    STORE_TABLE(limits, bf_limit_row, 1, "limit", BF_OK, BF_E_BAD_INPUT);

int bf_store_limit_put(struct bf_store *store, const struct bf_limit_row *row, struct bf_error *err)
{
    return store_put(store, &limits_table, row, err);
}

int bf_store_limit_remove(struct bf_store *store, const char *scope, struct bf_error *err)
{
    return store_execute(store, &limits_table, "DELETE FROM limits WHERE scope = ?1",
                         &STORE_TEXT_VALUE(scope), 1, NULL, NULL, err);
}

int bf_store_limit_list(struct bf_store *store, struct bf_limit_row **ret_rows, size_t *ret_count,
                        struct bf_error *err)
{
    void *rows = NULL;

    if (store_select(store, &limits_table, "ORDER BY scope", NULL, 0, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

void bf_limit_row_done(struct bf_limit_row *row)
{
    store_row_done(&limits_table, row);
}
