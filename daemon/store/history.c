/* SPDX-License-Identifier: Apache-2.0 */
/* What is over is kept for reports, but not for ever: every round adds a few rows, and a hundred
 * machines make ten thousand rounds a day. */
#include "daemon/store/internal.h"

static int trim_rounds(struct bf_store *store, const struct store_value values[2],
                       struct bf_error *err)
{
    /* A point shows its round, and may be far older than the newest ones. */
    return store_execute(store, NULL,
                         "DELETE FROM rounds WHERE replication_id = ?1 AND ended_us > 0"
                         " AND number <= (SELECT MAX(number) FROM rounds"
                         "                WHERE replication_id = ?1) - ?2"
                         " AND id NOT IN (SELECT round_id FROM points"
                         "                WHERE replication_id = ?1 AND round_id IS NOT NULL)",
                         values, 2, NULL, NULL, err);
}

static int trim_jobs(struct bf_store *store, const struct store_value values[2],
                     struct bf_error *err)
{
    return store_execute(store, NULL,
                         "DELETE FROM jobs WHERE replication_id = ?1 AND ended_us > 0"
                         " AND started_us < (SELECT started_us FROM jobs WHERE replication_id = ?1"
                         "                   ORDER BY started_us DESC LIMIT 1 OFFSET ?2 - 1)",
                         values, 2, NULL, NULL, err);
}

/* What is gone only: an open row is all that leads to a thing on a platform. */
static int trim_ledger(struct bf_store *store, const struct store_value values[2],
                       struct bf_error *err)
{
    static const char of_replication[] =
        "DELETE FROM ledger WHERE replication_id = ?1 AND state = 'gone'"
        " AND created_us < (SELECT created_us FROM ledger WHERE replication_id = ?1"
        "                   ORDER BY created_us DESC LIMIT 1 OFFSET ?2 - 1)";
    static const char of_none[] =
        "DELETE FROM ledger WHERE replication_id IS NULL AND state = 'gone'"
        " AND created_us < (SELECT created_us FROM ledger WHERE replication_id IS NULL"
        "                   ORDER BY created_us DESC LIMIT 1 OFFSET ?1 - 1)";

    if (store_execute(store, NULL, of_replication, values, 2, NULL, NULL, err) < 0)
        return -1;
    return store_execute(store, NULL, of_none, &values[1], 1, NULL, NULL, err);
}

static int trim(struct bf_store *store, const char *replication_id, uint64_t keep,
                struct bf_error *err)
{
    const struct store_value values[] = {STORE_TEXT_VALUE(replication_id), STORE_INT_VALUE(keep)};

    if (trim_rounds(store, values, err) < 0 || trim_jobs(store, values, err) < 0)
        return -1;
    return trim_ledger(store, values, err);
}

int bf_store_history_trim(struct bf_store *store, const char *replication_id, uint64_t keep,
                          struct bf_error *err)
{
    if (bf_store_begin(store, err) < 0)
        return -1;
    if (trim(store, replication_id, keep, err) < 0) {
        bf_store_rollback(store);
        return -1;
    }
    return bf_store_commit(store, err);
}
