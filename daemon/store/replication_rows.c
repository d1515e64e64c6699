/* SPDX-License-Identifier: Apache-2.0 */
/* Replications and their volumes in the store. */
#include "daemon/store/internal.h"

static const struct store_column replications_columns[] = {
    STORE_COLUMN(bf_replication_row, STORE_TEXT, id),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, name),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, source_platform_id),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, target_platform_id),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, machine_id),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, machine_name),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, machine),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, mapping),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, policy),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, state),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, error),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, findings),
    STORE_COLUMN(bf_replication_row, STORE_I64, checked_us),
    STORE_COLUMN(bf_replication_row, STORE_TEXT, baseline),
    STORE_COLUMN(bf_replication_row, STORE_I64, next_round_us),
    STORE_COLUMN(bf_replication_row, STORE_UINT, failures),
    STORE_COLUMN(bf_replication_row, STORE_I64, created_us),
    STORE_COLUMN(bf_replication_row, STORE_I64, changed_us),
};
static const struct store_table replications_table =
    STORE_TABLE(replications, bf_replication_row, 1, "replication", BF_E_NO_SUCH_REPLICATION,
                BF_E_NO_SUCH_PLATFORM);

static const struct store_column volumes_columns[] = {
    STORE_COLUMN(bf_volume_row, STORE_TEXT, replication_id),
    STORE_COLUMN(bf_volume_row, STORE_TEXT, disk_key),
    STORE_COLUMN(bf_volume_row, STORE_TEXT, ledger_id),
    STORE_COLUMN(bf_volume_row, STORE_TEXT, ref),
    STORE_COLUMN(bf_volume_row, STORE_U64, size_bytes),
    STORE_COLUMN(bf_volume_row, STORE_BOOL, seeded),
};
static const struct store_table volumes_table =
    STORE_TABLE(volumes, bf_volume_row, 2, "volume", BF_OK, BF_E_NO_SUCH_REPLICATION);

int bf_store_replication_add(struct bf_store *store, const struct bf_replication_row *row,
                             struct bf_error *err)
{
    return store_insert(store, &replications_table, row, err);
}

int bf_store_replication_get(struct bf_store *store, const char *id_or_name,
                             struct bf_replication_row *ret_row, struct bf_error *err)
{
    return store_get(store, &replications_table,
                     "WHERE id = ?1 OR name = ?1 ORDER BY (id = ?1) DESC LIMIT 1", id_or_name,
                     ret_row, err);
}

int bf_store_replication_list(struct bf_store *store, struct bf_replication_row **ret_rows,
                              size_t *ret_count, struct bf_error *err)
{
    void *rows = NULL;
    if (store_select(store, &replications_table, "ORDER BY name", NULL, 0, &rows, ret_count, err) <
        0)
        return -1;
    *ret_rows = rows;
    return 0;
}

int bf_store_replication_update(struct bf_store *store, const struct bf_replication_row *row,
                                struct bf_error *err)
{
    return store_update(store, &replications_table, row, err);
}

int bf_store_replication_remove(struct bf_store *store, const char *id, struct bf_error *err)
{
    int changes = 0;
    if (store_execute(store, &replications_table, "DELETE FROM replications WHERE id = ?1",
                      &STORE_TEXT_VALUE(id), 1, &changes, NULL, err) < 0)
        return -1;
    if (changes == 0)
        return bf_fail(err, BF_E_NO_SUCH_REPLICATION, 0, "no replication '%s'", id);
    return 0;
}

void bf_replication_row_done(struct bf_replication_row *row)
{
    store_row_done(&replications_table, row);
}

int bf_store_volume_put(struct bf_store *store, const struct bf_volume_row *row,
                        struct bf_error *err)
{
    return store_put(store, &volumes_table, row, err);
}

int bf_store_volume_list(struct bf_store *store, const char *replication_id,
                         struct bf_volume_row **ret_rows, size_t *ret_count, struct bf_error *err)
{
    void *rows = NULL;
    if (store_select(store, &volumes_table, "WHERE replication_id = ?1 ORDER BY disk_key",
                     &STORE_TEXT_VALUE(replication_id), 1, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

int bf_store_volume_remove(struct bf_store *store, const char *replication_id, const char *disk_key,
                           struct bf_error *err)
{
    const struct store_value values[] = {STORE_TEXT_VALUE(replication_id),
                                         STORE_TEXT_VALUE(disk_key)};
    return store_execute(store, &volumes_table,
                         "DELETE FROM volumes WHERE replication_id = ?1 AND disk_key = ?2", values,
                         2, NULL, NULL, err);
}

void bf_volume_row_done(struct bf_volume_row *row)
{
    store_row_done(&volumes_table, row);
}
