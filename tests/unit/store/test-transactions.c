/* SPDX-License-Identifier: Apache-2.0 */
/* Nested transactions: all of it or nothing. */
#include "tests/unit/store/scratch.h"

static size_t count_platforms(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_platform_row *rows = NULL;
    size_t count = 0;
    bf_store_platform_list(store, &rows, &count, &err);
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_platform_row_done);
    return count;
}

int main(void)
{
    auto_scratch *directory = scratch_new();
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_store *store = open_or_die(directory);

    bf_store_begin(store, &err);
    add_platform(store, "a", &err);
    bf_store_begin(store, &err);
    add_platform(store, "b", &err);
    bf_store_commit(store, &err);
    is_u64(count_platforms(store), 2, "the transaction sees its own rows");
    bf_store_rollback(store);
    is_error(&err, BF_OK, "no error");
    is_u64(count_platforms(store), 0, "the outer rollback takes the inner commit along");

    bf_store_begin(store, &err);
    add_platform(store, "a", &err);
    bf_store_begin(store, &err);
    add_platform(store, "b", &err);
    bf_store_rollback(store);
    add_platform(store, "c", &err);
    is_error(&err, BF_OK, "no error yet");
    is_int(bf_store_commit(store, &err), -1, "a commit over an inner rollback");
    is_error(&err, BF_E_STORE, "says so");
    is_u64(count_platforms(store), 0, "and writes nothing");

    bf_store_begin(store, &err);
    bf_store_begin(store, &err);
    add_platform(store, "a", &err);
    bf_store_commit(store, &err);
    add_platform(store, "b", &err);
    bf_store_commit(store, &err);
    is_error(&err, BF_OK, "the next transaction is not doomed");
    is_u64(count_platforms(store), 2, "both rows");

    /* A refused row does not end the transaction: the caller may go on. */
    bf_store_begin(store, &err);
    add_platform(store, "c", &err);
    add_platform(store, "a", &err);
    is_error(&err, BF_E_EXISTS, "a refused row");
    bf_store_commit(store, &err);
    is_error(&err, BF_OK, "the rest is committed");
    is_u64(count_platforms(store), 3, "three rows");

    bf_store_begin(store, &err);
    add_platform(store, "d", &err);
    bf_store_close(store);
    store = open_or_die(directory);
    is_u64(count_platforms(store), 3, "a transaction left open when closing is rolled back");
    bf_store_close(store);
    return done();
}
