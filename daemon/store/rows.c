/* SPDX-License-Identifier: Apache-2.0 */
/* Rows by their table of columns: SQL text, binding, reading, freeing.  See internal.h. */
#include <assert.h>
#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "daemon/store/internal.h"

/* Typed access to a member: the only place where an offset becomes a pointer. */
static void *member_of(void *row, const struct store_column *column)
{
    return (char *)row + column->offset;
}

static const void *const_member_of(const void *row, const struct store_column *column)
{
    return (const char *)row + column->offset;
}

static void statement_finish(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}
#define auto_statement bf_cleanup(statement_finish) sqlite3_stmt

static int prepare(struct bf_store *store, const char *sql, sqlite3_stmt **ret_statement,
                   struct bf_error *err)
{
    store_assert_usable(store);
    /* A full disk or an I/O error makes SQLite roll back by itself; what follows in the caller's
     * transaction must not be written outside of it. */
    if (store->depth > 0 && sqlite3_get_autocommit(store->db))
        return bf_fail(err, BF_E_STORE, 0, "the transaction was rolled back by an earlier error");
    int rc = sqlite3_prepare_v2(store->db, sql, -1, ret_statement, NULL);
    if (rc != SQLITE_OK)
        return store_fail(store, rc, sql, err);
    return 0;
}

static int bind_column(sqlite3_stmt *statement, int index, const struct store_table *table,
                       const struct store_column *column, const void *row, struct bf_error *err)
{
    const void *member = const_member_of(row, column);
    int rc = SQLITE_OK;

    switch (column->type) {
    case STORE_TEXT: {
        const char *text = *(char *const *)member;
        rc = text ? sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC)
                  : sqlite3_bind_null(statement, index);
        break;
    }
    case STORE_BOOL:
        rc = sqlite3_bind_int64(statement, index, *(const bool *)member);
        break;
    case STORE_UINT:
        rc = sqlite3_bind_int64(statement, index, *(const unsigned *)member);
        break;
    case STORE_U64: {
        uint64_t value = *(const uint64_t *)member;
        if (value > INT64_MAX)
            return bf_fail(err, BF_E_STORE, 0, "%s.%s: %llu is too large to store", table->name,
                           column->name, (unsigned long long)value);
        rc = sqlite3_bind_int64(statement, index, (int64_t)value);
        break;
    }
    case STORE_I64:
        rc = sqlite3_bind_int64(statement, index, *(const int64_t *)member);
        break;
    }
    if (rc != SQLITE_OK)
        return bf_fail(err, BF_E_STORE, 0, "%s.%s: %s", table->name, column->name,
                       sqlite3_errstr(rc));
    return 0;
}

static int bind_row(sqlite3_stmt *statement, const struct store_table *table, const void *row,
                    struct bf_error *err)
{
    for (size_t i = 0; i < table->column_count; i++)
        if (bind_column(statement, (int)i + 1, table, &table->columns[i], row, err) < 0)
            return -1;
    return 0;
}

static int bind_values(struct bf_store *store, sqlite3_stmt *statement,
                       const struct store_value *values, size_t count, struct bf_error *err)
{
    for (size_t i = 0; i < count; i++) {
        int rc;
        if (values[i].is_integer)
            rc = sqlite3_bind_int64(statement, (int)i + 1, values[i].integer);
        else if (values[i].text)
            rc = sqlite3_bind_text(statement, (int)i + 1, values[i].text, -1, SQLITE_STATIC);
        else
            rc = sqlite3_bind_null(statement, (int)i + 1);
        if (rc != SQLITE_OK)
            return store_fail(store, rc, "binding a value", err);
    }
    return 0;
}

/* An integer of the file may be anything (a damaged file, an admin's hand): checked like input. */
static int read_integer(sqlite3_stmt *statement, int index, const struct store_table *table,
                        const struct store_column *column, int64_t max, int64_t *ret_value,
                        struct bf_error *err)
{
    if (sqlite3_column_type(statement, index) != SQLITE_INTEGER)
        return bf_fail(err, BF_E_STORE, 0, "%s.%s: the database holds no integer here", table->name,
                       column->name);
    int64_t value = sqlite3_column_int64(statement, index);
    if (column->type != STORE_I64 && (value < 0 || value > max))
        return bf_fail(err, BF_E_STORE, 0, "%s.%s: the database holds %lld, out of range",
                       table->name, column->name, (long long)value);
    *ret_value = value;
    return 0;
}

static int read_column(sqlite3_stmt *statement, int index, const struct store_table *table,
                       const struct store_column *column, void *row, struct bf_error *err)
{
    void *member = member_of(row, column);
    int64_t value = 0;

    switch (column->type) {
    case STORE_TEXT: {
        if (sqlite3_column_type(statement, index) == SQLITE_NULL)
            return 0;
        const unsigned char *text = sqlite3_column_text(statement, index);
        if (!text)
            return bf_fail(err, BF_E_NO_MEMORY, 0, "%s.%s", table->name, column->name);
        *(char **)member = bf_xstrdup((const char *)text);
        return 0;
    }
    case STORE_BOOL:
        if (read_integer(statement, index, table, column, 1, &value, err) < 0)
            return -1;
        *(bool *)member = value != 0;
        return 0;
    case STORE_UINT:
        if (read_integer(statement, index, table, column, UINT_MAX, &value, err) < 0)
            return -1;
        *(unsigned *)member = (unsigned)value;
        return 0;
    case STORE_U64:
        if (read_integer(statement, index, table, column, INT64_MAX, &value, err) < 0)
            return -1;
        *(uint64_t *)member = (uint64_t)value;
        return 0;
    case STORE_I64:
        if (read_integer(statement, index, table, column, INT64_MAX, &value, err) < 0)
            return -1;
        *(int64_t *)member = value;
        return 0;
    }
    return 0;
}

void store_row_done(const struct store_table *table, void *row)
{
    if (!row)
        return;
    for (size_t i = 0; i < table->column_count; i++)
        if (table->columns[i].type == STORE_TEXT)
            free(*(char **)member_of(row, &table->columns[i]));
    memset(row, 0, table->row_size);
}

/* What a refused write means in the catalogue. */
static int constraint_fail(struct bf_store *store, const struct store_table *table, int rc,
                           struct bf_error *err)
{
    const char *words = sqlite3_errmsg(store->db);

    switch (rc) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
        if (strstr(words, "replications.machine_id"))
            return bf_fail(err, BF_E_ALREADY_REPLICATED, 0,
                           "another replication of this machine exists");
        return bf_fail(err, BF_E_EXISTS, 0, "a %s of this %s exists already", table->noun,
                       strstr(words, ".name") ? "name" : "key");
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        return bf_fail(err, table->orphan, 0, "what the %s belongs to does not exist", table->noun);
    default:
        return store_fail(store, rc, "writing", err);
    }
}

/* Run a statement that gives no rows. */
static int step_write(struct bf_store *store, const struct store_table *table,
                      sqlite3_stmt *statement, struct bf_error *err)
{
    uint64_t begin = bf_now_ms();
    int rc = sqlite3_step(statement);

    store_warn_slow(store, begin);
    if (rc == SQLITE_DONE || rc == SQLITE_ROW)
        return 0;
    rc = sqlite3_extended_errcode(store->db);
    if ((rc & 0xff) == SQLITE_CONSTRAINT && table)
        return constraint_fail(store, table, rc, err);
    return store_fail(store, rc, "writing", err);
}

/* Column names are quoted: two of them ("user", "trigger") are words of SQL. */
static void add_columns(struct bf_buf *sql, const struct store_table *table)
{
    for (size_t i = 0; i < table->column_count; i++)
        bf_buf_addf(sql, "%s\"%s\"", i ? ", " : "", table->columns[i].name);
}

static void add_insert(struct bf_buf *sql, const struct store_table *table)
{
    bf_buf_addf(sql, "INSERT INTO %s (", table->name);
    add_columns(sql, table);
    bf_buf_addf(sql, ") VALUES (");
    for (size_t i = 0; i < table->column_count; i++)
        bf_buf_addf(sql, "%s?%zu", i ? ", " : "", i + 1);
    bf_buf_addf(sql, ")");
}

static int write_row(struct bf_store *store, const struct store_table *table, const char *sql,
                     const void *row, struct bf_error *err)
{
    auto_statement *statement = NULL;
    if (prepare(store, sql, &statement, err) < 0)
        return -1;
    if (bind_row(statement, table, row, err) < 0)
        return -1;
    return step_write(store, table, statement, err);
}

int store_insert(struct bf_store *store, const struct store_table *table, const void *row,
                 struct bf_error *err)
{
    bf_auto_buf sql = {0};
    add_insert(&sql, table);
    return write_row(store, table, sql.text, row, err);
}

int store_put(struct bf_store *store, const struct store_table *table, const void *row,
              struct bf_error *err)
{
    /* Not INSERT OR REPLACE: that deletes first, and what refers to the row would go with it. */
    bf_auto_buf sql = {0};
    add_insert(&sql, table);
    bf_buf_addf(&sql, " ON CONFLICT (");
    for (size_t i = 0; i < table->key_count; i++)
        bf_buf_addf(&sql, "%s\"%s\"", i ? ", " : "", table->columns[i].name);
    bf_buf_addf(&sql, ") DO UPDATE SET ");
    for (size_t i = table->key_count; i < table->column_count; i++)
        bf_buf_addf(&sql, "%s\"%s\" = excluded.\"%s\"", i > table->key_count ? ", " : "",
                    table->columns[i].name, table->columns[i].name);
    return write_row(store, table, sql.text, row, err);
}

int store_update(struct bf_store *store, const struct store_table *table, const void *row,
                 struct bf_error *err)
{
    assert(table->key_count == 1 && table->columns[0].type == STORE_TEXT);
    bf_auto_buf sql = {0};
    bf_buf_addf(&sql, "UPDATE %s SET ", table->name);
    for (size_t i = 1; i < table->column_count; i++)
        bf_buf_addf(&sql, "%s\"%s\" = ?%zu", i > 1 ? ", " : "", table->columns[i].name, i + 1);
    bf_buf_addf(&sql, " WHERE \"%s\" = ?1", table->columns[0].name);
    if (write_row(store, table, sql.text, row, err) < 0)
        return -1;
    if (sqlite3_changes(store->db) == 0)
        return bf_fail(err, table->missing, 0, "no %s '%s'", table->noun,
                       *(char *const *)const_member_of(row, &table->columns[0]));
    return 0;
}

/* Append the statement's current row to the array, which stays freeable when that fails. */
static int append_row(sqlite3_stmt *statement, const struct store_table *table, char **rows_io,
                      size_t *capacity_io, size_t *count_io, struct bf_error *err)
{
    if (*count_io == *capacity_io) {
        size_t capacity = *capacity_io ? *capacity_io * 2 : 8;
        char *grown = reallocarray(*rows_io, capacity, table->row_size);
        if (!grown)
            return bf_fail(err, BF_E_NO_MEMORY, 0, "%zu rows of %s", capacity, table->name);
        *rows_io = grown;
        *capacity_io = capacity;
    }
    char *row = *rows_io + *count_io * table->row_size;
    memset(row, 0, table->row_size);
    *count_io += 1; /* first: a half-read row is freed with the others */
    for (size_t i = 0; i < table->column_count; i++)
        if (read_column(statement, (int)i, table, &table->columns[i], row, err) < 0)
            return -1;
    return 0;
}

static void rows_drop(const struct store_table *table, char *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        store_row_done(table, rows + i * table->row_size);
    free(rows);
}

int store_select(struct bf_store *store, const struct store_table *table, const char *tail,
                 const struct store_value *values, size_t value_count, void **ret_rows,
                 size_t *ret_count, struct bf_error *err)
{
    bf_auto_buf sql = {0};
    bf_buf_addf(&sql, "SELECT ");
    add_columns(&sql, table);
    bf_buf_addf(&sql, " FROM %s %s", table->name, tail ? tail : "");

    auto_statement *statement = NULL;
    if (prepare(store, sql.text, &statement, err) < 0 ||
        bind_values(store, statement, values, value_count, err) < 0)
        return -1;

    char *rows = NULL;
    size_t capacity = 0;
    size_t count = 0;
    int rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        if (append_row(statement, table, &rows, &capacity, &count, err) < 0) {
            rows_drop(table, rows, count);
            return -1;
        }
    }
    if (rc != SQLITE_DONE) {
        rows_drop(table, rows, count);
        return store_fail(store, rc, "reading", err);
    }
    *ret_rows = rows;
    *ret_count = count;
    return 0;
}

int store_get(struct bf_store *store, const struct store_table *table, const char *tail,
              const char *wanted, void *ret_row, struct bf_error *err)
{
    void *rows = NULL;
    size_t count = 0;
    if (store_select(store, table, tail, &STORE_TEXT_VALUE(wanted), 1, &rows, &count, err) < 0)
        return -1;
    if (count == 0) {
        free(rows);
        return bf_fail(err, table->missing, 0, "no %s '%s'", table->noun, wanted ? wanted : "");
    }
    memcpy(ret_row, rows, table->row_size);
    for (size_t i = 1; i < count; i++)
        store_row_done(table, (char *)rows + i * table->row_size);
    free(rows);
    return 0;
}

int store_execute(struct bf_store *store, const struct store_table *table, const char *sql,
                  const struct store_value *values, size_t value_count, int *ret_changes,
                  int64_t *ret_value, struct bf_error *err)
{
    auto_statement *statement = NULL;
    if (prepare(store, sql, &statement, err) < 0 ||
        bind_values(store, statement, values, value_count, err) < 0 ||
        step_write(store, table, statement, err) < 0)
        return -1;
    int64_t value = sqlite3_column_int64(statement, 0); /* 0 when there is no row */
    /* A statement with RETURNING has done its work only when it has been stepped to the end. */
    while (sqlite3_stmt_busy(statement)) {
        int rc = sqlite3_step(statement);
        if (rc != SQLITE_DONE && rc != SQLITE_ROW)
            return store_fail(store, rc, "writing", err);
    }
    if (ret_value)
        *ret_value = value;
    if (ret_changes)
        *ret_changes = sqlite3_changes(store->db);
    return 0;
}

void bf_rows_free(void *rows, size_t count, size_t size, bf_row_done_fn *done)
{
    for (size_t i = 0; rows && i < count; i++)
        done((char *)rows + i * size);
    free(rows);
}
