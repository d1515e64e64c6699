/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms in the store. */
#include "base/text.h"
#include "daemon/store/internal.h"

static const struct store_column platforms_columns[] = {
    STORE_COLUMN(bf_platform_row, STORE_TEXT, id),
    STORE_COLUMN(bf_platform_row, STORE_TEXT, name),
    STORE_COLUMN(bf_platform_row, STORE_TEXT, type),
    STORE_COLUMN(bf_platform_row, STORE_TEXT, url),
    STORE_COLUMN(bf_platform_row, STORE_TEXT, user),
    STORE_COLUMN(bf_platform_row, STORE_TEXT, sealed_password),
    STORE_COLUMN(bf_platform_row, STORE_TEXT, options),
    STORE_COLUMN(bf_platform_row, STORE_I64, created_us),
};
static const struct store_table platforms_table =
    STORE_TABLE(platforms, bf_platform_row, 1, "platform", BF_E_NO_SUCH_PLATFORM, BF_E_IN_USE);

int bf_store_platform_add(struct bf_store *store, const struct bf_platform_row *row,
                          struct bf_error *err)
{
    return store_insert(store, &platforms_table, row, err);
}

int bf_store_platform_get(struct bf_store *store, const char *id_or_name,
                          struct bf_platform_row *ret_row, struct bf_error *err)
{
    return store_get(store, &platforms_table,
                     "WHERE id = ?1 OR name = ?1 ORDER BY (id = ?1) DESC LIMIT 1", id_or_name,
                     ret_row, err);
}

int bf_store_platform_list(struct bf_store *store, struct bf_platform_row **ret_rows,
                           size_t *ret_count, struct bf_error *err)
{
    void *rows = NULL;
    if (store_select(store, &platforms_table, "ORDER BY name", NULL, 0, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

int bf_store_platform_update(struct bf_store *store, const struct bf_platform_row *row,
                             struct bf_error *err)
{
    return store_update(store, &platforms_table, row, err);
}

static int refuse_if_used(struct bf_store *store, const char *id, const char *sql, const char *what,
                          struct bf_error *err)
{
    int64_t count = 0;
    if (store_execute(store, &platforms_table, sql, &STORE_TEXT_VALUE(id), 1, NULL, &count, err) <
        0)
        return -1;
    if (count > 0)
        return bf_fail(err, BF_E_IN_USE, 0, "%lld %s of this platform", (long long)count, what);
    return 0;
}

static int platform_remove(struct bf_store *store, const char *id, struct bf_error *err)
{
    int changes = 0;
    /* What the open ledger rows name could not be reached any more. */
    if (refuse_if_used(store, id,
                       "SELECT count(*) FROM replications"
                       " WHERE source_platform_id = ?1 OR target_platform_id = ?1",
                       "replication(s) make use", err) < 0 ||
        refuse_if_used(store, id,
                       "SELECT count(*) FROM ledger"
                       " WHERE platform_id = ?1 AND state NOT IN ('gone', 'handed-over')",
                       "open ledger entries name things", err) < 0 ||
        store_execute(store, &platforms_table, "DELETE FROM platforms WHERE id = ?1",
                      &STORE_TEXT_VALUE(id), 1, &changes, NULL, err) < 0)
        return -1;
    if (changes == 0)
        return bf_fail(err, BF_E_NO_SUCH_PLATFORM, 0, "no platform '%s'", id);
    return 0;
}

int bf_store_platform_remove(struct bf_store *store, const char *id, struct bf_error *err)
{
    if (bf_store_begin(store, err) < 0)
        return -1;
    if (platform_remove(store, id, err) < 0) {
        bf_store_rollback(store);
        return -1;
    }
    return bf_store_commit(store, err);
}

void bf_platform_row_done(struct bf_platform_row *row)
{
    store_row_done(&platforms_table, row);
}
