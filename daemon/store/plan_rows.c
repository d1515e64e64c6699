/* SPDX-License-Identifier: Apache-2.0 */
/* Plans of conversions in the store. */
#include "daemon/store/internal.h"

static const struct store_column plans_columns[] = {
    STORE_COLUMN(bf_plan_row, STORE_TEXT, replication_id),
    STORE_COLUMN(bf_plan_row, STORE_TEXT, plan),
    STORE_COLUMN(bf_plan_row, STORE_U64, point_number),
    STORE_COLUMN(bf_plan_row, STORE_I64, made_us),
};
static const struct store_table plans_table =
    STORE_TABLE(plans, bf_plan_row, 1, "plan", BF_OK, BF_E_NO_SUCH_REPLICATION);

int bf_store_plan_put(struct bf_store *store, const struct bf_plan_row *row, struct bf_error *err)
{
    return store_put(store, &plans_table, row, err);
}

int bf_store_plan_get(struct bf_store *store, const char *replication_id,
                      struct bf_plan_row *ret_row, bool *ret_found, struct bf_error *err)
{
    struct bf_plan_row *list;
    void *rows = NULL;
    size_t count = 0;

    if (store_select(store, &plans_table, "WHERE replication_id = ?1",
                     &STORE_TEXT_VALUE(replication_id), 1, &rows, &count, err) < 0)
        return -1;
    list = rows;
    *ret_found = count > 0;
    if (count > 0) {
        *ret_row = list[0];
        list[0] = (struct bf_plan_row){0};
    }
    bf_rows_free(rows, count, sizeof(*list), (bf_row_done_fn *)bf_plan_row_done);
    return 0;
}

int bf_store_plan_remove(struct bf_store *store, const char *replication_id, struct bf_error *err)
{
    return store_execute(store, &plans_table, "DELETE FROM plans WHERE replication_id = ?1",
                         &STORE_TEXT_VALUE(replication_id), 1, NULL, NULL, err);
}

void bf_plan_row_done(struct bf_plan_row *row)
{
    store_row_done(&plans_table, row);
}
