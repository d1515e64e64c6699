/* SPDX-License-Identifier: Apache-2.0 */
/* Launches and jobs in the store. */
#include "daemon/store/internal.h"

static const struct store_column launches_columns[] = {
    STORE_COLUMN(bf_launch_row, STORE_TEXT, id),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, replication_id),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, point_id),
    STORE_COLUMN(bf_launch_row, STORE_U64, point_number),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, kind),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, state),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, machine_name),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, machine_ref),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, clones),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, conversion),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, console),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, timing),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, error),
    STORE_COLUMN(bf_launch_row, STORE_I64, started_us),
    STORE_COLUMN(bf_launch_row, STORE_I64, booted_us),
    STORE_COLUMN(bf_launch_row, STORE_I64, ended_us),
    STORE_COLUMN(bf_launch_row, STORE_TEXT, evidence),
};
static const struct store_table launches_table =
    STORE_TABLE(launches, bf_launch_row, 1, "launch", BF_OK, BF_E_NO_SUCH_REPLICATION);

static const struct store_column jobs_columns[] = {
    STORE_COLUMN(bf_job_row, STORE_TEXT, id),
    STORE_COLUMN(bf_job_row, STORE_TEXT, replication_id),
    STORE_COLUMN(bf_job_row, STORE_TEXT, kind),
    STORE_COLUMN(bf_job_row, STORE_TEXT, state),
    STORE_COLUMN(bf_job_row, STORE_UINT, step),
    STORE_COLUMN(bf_job_row, STORE_TEXT, step_name),
    STORE_COLUMN(bf_job_row, STORE_TEXT, context),
    STORE_COLUMN(bf_job_row, STORE_TEXT, error),
    STORE_COLUMN(bf_job_row, STORE_I64, started_us),
    STORE_COLUMN(bf_job_row, STORE_I64, ended_us),
};
static const struct store_table jobs_table =
    STORE_TABLE(jobs, bf_job_row, 1, "job", BF_OK, BF_E_NO_SUCH_REPLICATION);

int bf_store_launch_put(struct bf_store *store, const struct bf_launch_row *row,
                        struct bf_error *err)
{
    return store_put(store, &launches_table, row, err);
}

int bf_store_launch_list(struct bf_store *store, const char *replication_id,
                         struct bf_launch_row **ret_rows, size_t *ret_count, struct bf_error *err)
{
    void *rows = NULL;
    if (store_select(store, &launches_table,
                     "WHERE replication_id = ?1 ORDER BY started_us DESC, id",
                     &STORE_TEXT_VALUE(replication_id), 1, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

void bf_launch_row_done(struct bf_launch_row *row)
{
    store_row_done(&launches_table, row);
}

int bf_store_job_put(struct bf_store *store, const struct bf_job_row *row, struct bf_error *err)
{
    return store_put(store, &jobs_table, row, err);
}

int bf_store_job_list_open(struct bf_store *store, struct bf_job_row **ret_rows, size_t *ret_count,
                           struct bf_error *err)
{
    void *rows = NULL;
    if (store_select(store, &jobs_table,
                     "WHERE state IN ('running', 'undoing', 'waiting') ORDER BY started_us, id",
                     NULL, 0, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

int bf_store_job_list(struct bf_store *store, const char *replication_id, size_t limit,
                      struct bf_job_row **ret_rows, size_t *ret_count, struct bf_error *err)
{
    /* NULL: the service's own. */
    const struct store_value values[] = {STORE_TEXT_VALUE(replication_id), STORE_LIMIT(limit)};
    void *rows = NULL;
    if (store_select(store, &jobs_table,
                     replication_id
                         ? "WHERE replication_id = ?1 ORDER BY started_us DESC, id LIMIT ?2"
                         : "WHERE replication_id IS NULL ORDER BY started_us DESC, id LIMIT ?2",
                     values, 2, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

int bf_store_job_list_cutovers(struct bf_store *store, const char *replication_id,
                               struct bf_job_row **ret_rows, size_t *ret_count,
                               struct bf_error *err)
{
    const struct store_value values[] = {STORE_TEXT_VALUE(replication_id)};
    void *rows = NULL;
    if (store_select(store, &jobs_table,
                     "WHERE replication_id = ?1 AND kind IN ('cutover', 'adopt') "
                     "ORDER BY started_us DESC, id",
                     values, 1, &rows, ret_count, err) < 0)
        return -1;
    *ret_rows = rows;
    return 0;
}

void bf_job_row_done(struct bf_job_row *row)
{
    store_row_done(&jobs_table, row);
}
