/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the SQLite store share: the open database, and rows by table.
 *
 * A row struct is described once, by a table of its columns (name, type, offset in the struct).
 * From that description come the SQL of insert, put, update and select, the binding, the reading
 * and the freeing; so a column is added in three places: the struct, its table, a migration.
 */
#pragma once

#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "daemon/store/store.h"

struct bf_store {
    sqlite3 *db;
    int lock_fd; /* exclusive flock: one process per state directory */
    char *path;
    pthread_t owner; /* the thread that opened it is the only one to use it */
    unsigned depth;  /* of nested transactions */
    bool doomed;     /* an inner part was rolled back: the outermost commit must fail */
};

enum store_type {
    STORE_TEXT, /* char *; NULL = SQL NULL */
    STORE_BOOL,
    STORE_UINT, /* unsigned */
    STORE_U64,  /* up to INT64_MAX: SQL integers are signed */
    STORE_I64,
};

struct store_column {
    const char *name;
    enum store_type type;
    size_t offset;
};

struct store_table {
    const char *name;
    const struct store_column *columns; /* the key columns first */
    size_t column_count;
    size_t key_count;
    size_t row_size;
    enum bf_error_code missing; /* no row of this key; BF_OK: that is not an error */
    enum bf_error_code orphan;  /* a row this one refers to is not there */
    const char *noun;           /* "replication", for messages */
};

#define STORE_COLUMN(row, type, member)                                                            \
    {                                                                                              \
#member, type, offsetof(struct row, member)                                                \
    }
#define STORE_TABLE(table, row, keys, noun_, missing_, orphan_)                                    \
    {                                                                                              \
        .name = #table, .columns = table##_columns,                                                \
        .column_count = bf_array_length(table##_columns), .key_count = (keys),                     \
        .row_size = sizeof(struct row), .missing = (missing_), .orphan = (orphan_),                \
        .noun = (noun_),                                                                           \
    }

/* A value for a placeholder: text, or an integer when `is_integer`. */
struct store_value {
    const char *text;
    int64_t integer;
    bool is_integer;
};
#define STORE_TEXT_VALUE(t) ((struct store_value){.text = (t)})
#define STORE_INT_VALUE(i) ((struct store_value){.integer = (int64_t)(i), .is_integer = true})
/* For LIMIT: 0 means all. */
#define STORE_LIMIT(n)                                                                             \
    STORE_INT_VALUE((n) == 0 || (uint64_t)(n) > INT64_MAX ? INT64_MAX : (int64_t)(n))

/* --- sqlite.c --- */
/* A line in the log when what began then took so long that clients notice. */
void store_warn_slow(const struct bf_store *store, uint64_t begin_ms);

/* --- rows.c --- */
int store_insert(struct bf_store *store, const struct store_table *table, const void *row,
                 struct bf_error *err);
/* Insert, or overwrite all other columns of the row of this key (what refers to it stays). */
int store_put(struct bf_store *store, const struct store_table *table, const void *row,
              struct bf_error *err);
int store_update(struct bf_store *store, const struct store_table *table, const void *row,
                 struct bf_error *err);
/* `tail` is what follows FROM ("WHERE ... ORDER BY ..."); NULL: all. */
int store_select(struct bf_store *store, const struct store_table *table, const char *tail,
                 const struct store_value *values, size_t value_count, void **ret_rows,
                 size_t *ret_count, struct bf_error *err);
/* First row of the select; none: the table's `missing`, naming `wanted`. */
int store_get(struct bf_store *store, const struct store_table *table, const char *tail,
              const char *wanted, void *ret_row, struct bf_error *err);
/* Any other statement.  ret_changes and ret_value (first column of the first row; NULL: 0) may be
 * NULL. */
int store_execute(struct bf_store *store, const struct store_table *table, const char *sql,
                  const struct store_value *values, size_t value_count, int *ret_changes,
                  int64_t *ret_value, struct bf_error *err);
void store_row_done(const struct store_table *table, void *row);

/* --- sqlite.c --- */
/* Fail with the engine's words as evidence. */
int store_fail(struct bf_store *store, int rc, const char *doing, struct bf_error *err);
void store_assert_usable(const struct bf_store *store);

/* --- migrations.c --- */
struct store_migration {
    const char *sql; /* brings version N (its index) to N + 1 */
};
extern const struct store_migration store_migrations[];
extern const unsigned store_migration_count;

/* As bf_store_open(), with these migrations: tests show with it what a later version will do. */
int store_open_as(const char *directory, const struct store_migration *migrations, unsigned count,
                  struct bf_store **ret_store, struct bf_error *err);
