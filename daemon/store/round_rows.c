/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds, their disks, and points in the store. */
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/store/internal.h"

static const struct store_column rounds_columns[] = {
    STORE_COLUMN(bf_round_row, STORE_TEXT, id),
    STORE_COLUMN(bf_round_row, STORE_TEXT, replication_id),
    STORE_COLUMN(bf_round_row, STORE_U64, number),
    STORE_COLUMN(bf_round_row, STORE_TEXT, kind),
    STORE_COLUMN(bf_round_row, STORE_TEXT, trigger),
    STORE_COLUMN(bf_round_row, STORE_TEXT, state),
    STORE_COLUMN(bf_round_row, STORE_TEXT, note),
    STORE_COLUMN(bf_round_row, STORE_BOOL, quiesced),
    STORE_COLUMN(bf_round_row, STORE_I64, snapshot_us),
    STORE_COLUMN(bf_round_row, STORE_I64, started_us),
    STORE_COLUMN(bf_round_row, STORE_I64, ended_us),
    STORE_COLUMN(bf_round_row, STORE_U64, to_send_bytes),
    STORE_COLUMN(bf_round_row, STORE_U64, sent_bytes),
    STORE_COLUMN(bf_round_row, STORE_U64, zero_bytes),
    STORE_COLUMN(bf_round_row, STORE_TEXT, error),
};
static const struct store_table rounds_table =
    STORE_TABLE(rounds, bf_round_row, 1, "round", BF_OK, BF_E_NO_SUCH_REPLICATION);

static const struct store_column round_disks_columns[] = {
    STORE_COLUMN(bf_round_disk_row, STORE_TEXT, round_id),
    STORE_COLUMN(bf_round_disk_row, STORE_TEXT, disk_key),
    STORE_COLUMN(bf_round_disk_row, STORE_TEXT, kind),
    STORE_COLUMN(bf_round_disk_row, STORE_TEXT, note),
    STORE_COLUMN(bf_round_disk_row, STORE_U64, size_bytes),
    STORE_COLUMN(bf_round_disk_row, STORE_U64, to_send_bytes),
    STORE_COLUMN(bf_round_disk_row, STORE_U64, sent_bytes),
    STORE_COLUMN(bf_round_disk_row, STORE_U64, zero_bytes),
    STORE_COLUMN(bf_round_disk_row, STORE_U64, read_bytes),
    STORE_COLUMN(bf_round_disk_row, STORE_U64, copy_ms),
    STORE_COLUMN(bf_round_disk_row, STORE_TEXT, digest),
    STORE_COLUMN(bf_round_disk_row, STORE_TEXT, verified),
};
static const struct store_table round_disks_table =
    STORE_TABLE(round_disks, bf_round_disk_row, 2, "round's disk", BF_OK, BF_E_STORE);

static const struct store_column points_columns[] = {
    STORE_COLUMN(bf_point_row, STORE_TEXT, id),
    STORE_COLUMN(bf_point_row, STORE_TEXT, replication_id),
    STORE_COLUMN(bf_point_row, STORE_TEXT, round_id),
    STORE_COLUMN(bf_point_row, STORE_U64, number),
    STORE_COLUMN(bf_point_row, STORE_I64, taken_us),
    STORE_COLUMN(bf_point_row, STORE_BOOL, quiesced),
    STORE_COLUMN(bf_point_row, STORE_TEXT, volumes),
    STORE_COLUMN(bf_point_row, STORE_BOOL, removing),
};
static const struct store_table points_table =
    STORE_TABLE(points, bf_point_row, 1, "point", BF_OK, BF_E_NO_SUCH_REPLICATION);

int bf_store_round_put(struct bf_store *store, const struct bf_round_row *row, struct bf_error *err)
{
    return store_put(store, &rounds_table, row, err);
}

int bf_store_round_next_number(struct bf_store *store, const char *replication_id,
                               uint64_t *ret_number, struct bf_error *err)
{
    int64_t number = 0;
    if (store_execute(store, &rounds_table,
                      "SELECT COALESCE(MAX(number), 0) + 1 FROM rounds WHERE replication_id = ?1",
                      &STORE_TEXT_VALUE(replication_id), 1, NULL, &number, err) < 0)
        return -1;
    *ret_number = (uint64_t)number;
    return 0;
}

int bf_store_round_list(struct bf_store *store, const char *replication_id, size_t limit,
                        struct bf_round_row **ret_rows, size_t *ret_count, struct bf_error *err)
{
    const struct store_value values[] = {STORE_TEXT_VALUE(replication_id), STORE_LIMIT(limit)};
    void *rows = NULL;
    if (store_select(store, &rounds_table,
                     "WHERE replication_id = ?1 ORDER BY number DESC LIMIT ?2", values, 2, &rows,
                     ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

int bf_store_round_totals(struct bf_store *store, const char *replication_id,
                          struct bf_round_totals *ret_totals, struct bf_error *err)
{
    struct bf_round_totals totals = {0};
    const struct {
        const char *sum;
        uint64_t *into;
    } sums[] = {
        {"MAX(number)", &totals.newest},
        {"SUM(sent_bytes)", &totals.sent_bytes},
        {"SUM(state = 'complete')", &totals.complete},
        {"SUM(state = 'failed')", &totals.failed},
        {"SUM(state = 'cancelled')", &totals.cancelled},
    };

    for (size_t i = 0; i < bf_array_length(sums); i++) {
        int64_t value = 0;
        bf_auto_free char *sql = bf_xasprintf("SELECT COALESCE(%s, 0) FROM rounds"
                                              " WHERE replication_id = ?1 AND ended_us > 0",
                                              sums[i].sum);

        if (store_execute(store, &rounds_table, sql, &STORE_TEXT_VALUE(replication_id), 1, NULL,
                          &value, err) < 0)
            return -1;
        *sums[i].into = (uint64_t)value;
    }
    *ret_totals = totals;
    return 0;
}

void bf_round_row_done(struct bf_round_row *row)
{
    store_row_done(&rounds_table, row);
}

int bf_store_round_disk_put(struct bf_store *store, const struct bf_round_disk_row *row,
                            struct bf_error *err)
{
    return store_put(store, &round_disks_table, row, err);
}

int bf_store_round_disk_list(struct bf_store *store, const char *round_id,
                             struct bf_round_disk_row **ret_rows, size_t *ret_count,
                             struct bf_error *err)
{
    void *rows = NULL;
    if (store_select(store, &round_disks_table, "WHERE round_id = ?1 ORDER BY disk_key",
                     &STORE_TEXT_VALUE(round_id), 1, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

void bf_round_disk_row_done(struct bf_round_disk_row *row)
{
    store_row_done(&round_disks_table, row);
}

int bf_store_point_put(struct bf_store *store, const struct bf_point_row *row, struct bf_error *err)
{
    return store_put(store, &points_table, row, err);
}

int bf_store_point_list(struct bf_store *store, const char *replication_id,
                        struct bf_point_row **ret_rows, size_t *ret_count, struct bf_error *err)
{
    void *rows = NULL;
    if (store_select(store, &points_table, "WHERE replication_id = ?1 ORDER BY number DESC",
                     &STORE_TEXT_VALUE(replication_id), 1, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

int bf_store_point_remove(struct bf_store *store, const char *id, struct bf_error *err)
{
    return store_execute(store, &points_table, "DELETE FROM points WHERE id = ?1",
                         &STORE_TEXT_VALUE(id), 1, NULL, NULL, err);
}

void bf_point_row_done(struct bf_point_row *row)
{
    store_row_done(&points_table, row);
}
