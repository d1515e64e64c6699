/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: who may, what is refused, what a crash leaves, how a schema moves on. */
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "daemon/store/internal.h"
#include "tests/unit/store/scratch.h"

static char *database_of(const char *directory)
{
    return bf_xasprintf("%s/blockferry.db", directory);
}

/* Run SQL on a database beside the store. */
static void run_raw(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    char *message = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK ||
        sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) {
        diag("%s: %s", path, message ? message : sqlite3_errmsg(db));
        exit(1);
    }
    sqlite3_close(db);
}

static int raw_line(void *user, int count, char **values, char **names)
{
    (void)names;
    for (int i = 0; i < count; i++)
        bf_buf_addf(user, "%s%s", i ? "|" : "", values[i] ? values[i] : "");
    bf_buf_addf(user, "\n");
    return 0;
}

static char *query_raw(const char *path, const char *sql)
{
    struct bf_buf lines = {0};
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK ||
        sqlite3_exec(db, sql, raw_line, &lines, NULL) != SQLITE_OK) {
        diag("%s: %s", path, sqlite3_errmsg(db));
        exit(1);
    }
    sqlite3_close(db);
    return lines.text ? lines.text : bf_xstrdup("");
}

/* Good children die as in a crash: nothing is closed or freed, and no leak checker minds. */
static void end_child(bool good)
{
    if (good)
        kill(getpid(), SIGKILL);
    _exit(1);
}

static bool child_went_well(pid_t pid)
{
    int status = 0;
    return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
}

static int open_code(const char *directory, enum bf_error_code want, const char *what)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_store *store = NULL;
    int rc = bf_store_open(directory, &store, &err);
    ok(rc == (want == BF_OK ? 0 : -1) && (store != NULL) == (rc == 0), "%s: result", what);
    is_error(&err, want, "%s: error", what);
    bf_store_close(store);
    return rc;
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

static void test_modes(void)
{
    auto_scratch *directory = scratch_new();
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *below = bf_xasprintf("%s/state/of", directory);
    umask(0);
    struct bf_store *store = open_or_die(below);
    add_platform(store, "p", &err);
    is_u64(mode_of(below), 0700, "the directory is private");
    static const char *const files[] = {"blockferry.db", "blockferry.db-wal", "blockferry.db-shm",
                                        "blockferry.lock"};
    for (size_t i = 0; i < bf_array_length(files); i++) {
        bf_auto_free char *path = bf_xasprintf("%s/%s", below, files[i]);
        is_u64(mode_of(path), 0600, "%s is private", files[i]);
    }
    bf_store_close(store);
    umask(022);
    is_u64(bf_store_schema_version(), store_migration_count, "schema version");
}

static void test_lock(void)
{
    auto_scratch *directory = scratch_new();
    struct bf_store *store = open_or_die(directory);
    open_code(directory, BF_E_STORE_LOCKED, "a second opener of this process");
    pid_t pid = fork();
    if (pid == 0) {
        bf_auto_error err = BF_ERROR_INIT;
        struct bf_store *second = NULL;
        bf_store_open(directory, &second, &err);
        end_child(err.code == BF_E_STORE_LOCKED);
    }
    ok(child_went_well(pid), "a second process is refused");
    bf_store_close(store);
    open_code(directory, BF_OK, "after the first has closed");
}

static void test_foreign_files(void)
{
    auto_scratch *directory = scratch_new();
    bf_auto_free char *path = database_of(directory);
    bf_auto_error err = BF_ERROR_INIT;

    bf_file_replace(path, "not a database, but long enough to be one: 0123456789012345678901234567",
                    72, 0600, &err);
    open_code(directory, BF_E_STORE, "a file of another kind");
    bf_file_replace(path, "SQLite", 6, 0600, &err);
    open_code(directory, BF_E_STORE, "a file cut short");
    bf_file_remove(path, &err);
    run_raw(path, "CREATE TABLE mine (a); PRAGMA application_id = 7");
    open_code(directory, BF_E_STORE, "another program's database");
    run_raw(path, "PRAGMA application_id = 0");
    open_code(directory, BF_E_STORE, "a database that does not say whose it is");
    bf_auto_free char *tables = query_raw(path, "SELECT name FROM sqlite_master");
    is_string(tables, "mine\n", "and it is left as it was");
    bf_file_remove(path, &err);
    if (symlink("/etc/passwd", path) == 0)
        open_code(directory, BF_E_STORE, "a symbolic link");
    bf_file_remove(path, &err);
    open_code("/proc/nothing/here", BF_E_SYSTEM, "a directory that cannot be made");
}

static void read_whole(const char *path, char **ret_text, size_t *ret_length)
{
    bf_auto_error err = BF_ERROR_INIT;
    *ret_text = NULL;
    *ret_length = 0;
    if (bf_file_read(path, 64 << 20, ret_text, ret_length, &err) < 0)
        diag("%s", err.message);
}

static void same_file(const char *path, const char *before, size_t length, const char *what)
{
    bf_auto_free char *after = NULL;
    size_t after_length = 0;
    read_whole(path, &after, &after_length);
    ok(length > 0 && after_length == length && memcmp(before, after, length) == 0, "%s", what);
}

static void test_newer(void)
{
    auto_scratch *directory = scratch_new();
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *path = database_of(directory);
    bf_auto_free char *wal = bf_xasprintf("%s-wal", path);
    struct bf_store *store = open_or_die(directory);
    add_platform(store, "p", &err);
    bf_store_close(store);

    bf_auto_free char *sql = bf_xasprintf("CREATE TABLE later (x); PRAGMA user_version = %u",
                                          bf_store_schema_version() + 1);
    run_raw(path, sql);
    bf_auto_free char *before = NULL;
    size_t length = 0;
    read_whole(path, &before, &length);
    open_code(directory, BF_E_STORE_NEWER, "a newer schema");
    same_file(path, before, length, "the newer database is byte for byte as before");
    ok(access(wal, F_OK) < 0, "and no log appeared beside it");

    /* The version is in the log only: the newer service died before its first checkpoint. */
    pid_t pid = fork();
    if (pid == 0) {
        sqlite3 *db = NULL;
        sqlite3_open(path, &db);
        bf_auto_free char *undo =
            bf_xasprintf("PRAGMA user_version = %u; PRAGMA wal_checkpoint(TRUNCATE);"
                         "PRAGMA user_version = %u;",
                         bf_store_schema_version(), bf_store_schema_version() + 1);
        end_child(sqlite3_exec(db, undo, NULL, NULL, NULL) == SQLITE_OK);
    }
    ok(child_went_well(pid), "a newer service wrote and died");
    bf_auto_free char *log_before = NULL;
    bf_auto_free char *db_before = NULL;
    size_t log_length = 0;
    read_whole(wal, &log_before, &log_length);
    read_whole(path, &db_before, &length);
    open_code(directory, BF_E_STORE_NEWER, "a newer schema in the log");
    same_file(path, db_before, length, "the database is as before");
    same_file(wal, log_before, log_length, "the log is as before");
}

/* kill -9 in the middle of a transaction: the old state, and the lock is free. */
static void test_kill(void)
{
    auto_scratch *directory = scratch_new();
    bf_auto_error err = BF_ERROR_INIT;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        struct bf_store *store = open_or_die(directory);
        add_platform(store, "committed", &err);
        bf_store_begin(store, &err);
        bf_store_begin(store, &err);
        for (unsigned i = 0; i < 500; i++) {
            char id[32];
            snprintf(id, sizeof(id), "p%u", i);
            add_platform(store, id, &err);
        }
        bf_store_commit(store, &err); /* the inner one: nothing is written by this */
        ssize_t sent = write(fds[1], err.code == BF_OK ? "y" : "n", 1);
        (void)sent;
        for (;;)
            pause();
    }
    char answer = 0;
    close(fds[1]);
    ok(read(fds[0], &answer, 1) == 1 && answer == 'y', "the child is in mid-transaction");
    close(fds[0]);
    open_code(directory, BF_E_STORE_LOCKED, "while it lives");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);

    struct bf_store *store = open_or_die(directory);
    struct bf_platform_row *rows = NULL;
    size_t count = 0;
    bf_store_platform_list(store, &rows, &count, &err);
    ok(count == 1 && bf_streq(rows[0].id, "committed"), "only what was committed is there");
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_platform_row_done);
    bf_store_close(store);
}

static void test_damaged(void)
{
    auto_scratch *directory = scratch_new();
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *path = database_of(directory);
    struct bf_store *store = open_or_die(directory);
    for (unsigned i = 0; i < 300; i++) {
        char id[32];
        snprintf(id, sizeof(id), "p%u", i);
        add_platform(store, id, &err);
    }
    bf_store_close(store);
    bf_auto_free char *text = NULL;
    size_t length = 0;
    read_whole(path, &text, &length);
    unsigned found = 0;
    unsigned pages = (unsigned)(length / 4096);
    for (unsigned page = 1; page < pages; page++) {
        bf_auto_free char *bad = bf_xcalloc(1, length);
        memcpy(bad, text, length);
        memset(bad + page * 4096, 0xa5, 64); /* the page's header and first cell pointers */
        bf_file_replace(path, bad, length, 0600, &err);
        struct bf_store *damaged = NULL;
        if (bf_store_open(directory, &damaged, &err) < 0 && err.code == BF_E_STORE)
            found++;
        else
            diag("page %u went unseen", page);
        bf_error_clear(&err);
        bf_store_close(damaged);
    }
    is_u64(found, pages - 1, "a damaged page is found on open, whichever it is");
    ok(pages > 20, "of %u pages", pages);

    /* One letter changed in a row: every page looks well, but table and index do not agree. */
    bf_auto_free char *bent = bf_xcalloc(1, length);
    memcpy(bent, text, length);
    char *letter = memmem(bent, length, "name of p150", 12);
    ok(letter != NULL, "the row is found in the file");
    if (letter)
        *letter = 'g';
    bf_file_replace(path, bent, length, 0600, &err);
    open_code(directory, BF_E_STORE, "a row that its index does not know");

    /* Values of another type than the schema's: an error, not a wrong value. */
    bf_file_replace(path, text, length, 0600, &err);
    run_raw(path, "UPDATE platforms SET created_us = 'soon' WHERE id = 'p1';");
    store = open_or_die(directory);
    struct bf_platform_row row = {0};
    bf_store_platform_get(store, "p1", &row, &err);
    is_error(&err, BF_E_STORE, "text where an integer belongs");
    bf_store_close(store);
}

/* --- migrations --- */

/* A database as this version left it, with a row in every table. */
static void make_version(const char *directory, unsigned version)
{
    bf_auto_free char *path = database_of(directory);
    for (unsigned i = 1; i <= version; i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_free char *sql = NULL;
        bf_auto_free char *golden = bf_xasprintf(GOLDEN "/version-%u.sql", i);
        if (bf_file_read(golden, 1 << 20, &sql, NULL, &err) < 0) {
            diag("%s", err.message);
            exit(1);
        }
        run_raw(path, sql);
    }
}

static void make_version_1(const char *directory)
{
    make_version(directory, 1);
}

#define SCHEMA_SQL "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"

static void test_golden(void)
{
    for (unsigned version = 1; version <= store_migration_count; version++) {
        auto_scratch *directory = scratch_new();
        bf_auto_error err = BF_ERROR_INIT;
        struct bf_store *store = NULL;
        if (store_open_as(directory, store_migrations, version, &store, &err) < 0)
            diag("%s", err.message);
        bf_store_close(store);
        bf_auto_free char *made_path = database_of(directory);
        bf_auto_free char *made = query_raw(made_path, SCHEMA_SQL);

        auto_scratch *golden_directory = scratch_new();
        make_version(golden_directory, version);
        bf_auto_free char *golden_path = database_of(golden_directory);
        bf_auto_free char *golden = query_raw(golden_path, SCHEMA_SQL);
        is_string(made, golden, "the migrations still make version %u as it was released", version);
    }
}

static void check_version_1_data(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_replication_row replication = {0};
    bf_store_replication_get(store, "web-1", &replication, &err);
    is_error(&err, BF_OK, "the replication of version 1");
    is_string(replication.machine_name, "Webserver Zürich 1", "its machine's name");
    is_string(replication.baseline, "{\"checkpoint\":\"bf-00000000000000a1\"}", "its baseline");
    bf_replication_row_done(&replication);

    struct bf_round_row *rounds = NULL;
    size_t count = 0;
    bf_store_round_list(store, "r1", 0, &rounds, &count, &err);
    ok(count == 2 && rounds[0].number == 2 && rounds[0].sent_bytes == 1048576, "its rounds");
    bf_rows_free(rounds, count, sizeof(*rounds), (bf_row_done_fn *)bf_round_row_done);
    struct bf_ledger_row entry = {0};
    bf_store_ledger_get(store, "00000000000000a1", &entry, &err);
    is_string(entry.kind, "volume", "its ledger entry");
    bf_ledger_row_done(&entry);
    struct bf_event_row event = {.at_us = 9,
                                 .level = text_of("info"),
                                 .type = text_of("state"),
                                 .message = text_of("after")};
    uint64_t id = 0;
    bf_store_event_add(store, &event, &id, &err);
    is_u64(id, 8, "event ids go on");
    bf_event_row_done(&event);
}

/* What a later version may do: a new column with a default, a table rebuilt, rows moved. */
static const char next_version[] =
    "ALTER TABLE replications ADD COLUMN wave TEXT;"
    "CREATE TABLE rounds_new AS SELECT * FROM rounds; DROP TABLE rounds;"
    "CREATE TABLE rounds (id TEXT NOT NULL PRIMARY KEY,"
    " replication_id TEXT NOT NULL REFERENCES replications (id) ON DELETE CASCADE,"
    " number BIGINT NOT NULL, kind TEXT, \"trigger\" TEXT, state TEXT NOT NULL, note TEXT,"
    " quiesced BOOLEAN NOT NULL, snapshot_us BIGINT NOT NULL, started_us BIGINT NOT NULL,"
    " ended_us BIGINT NOT NULL, to_send_bytes BIGINT NOT NULL, sent_bytes BIGINT NOT NULL,"
    " zero_bytes BIGINT NOT NULL, error TEXT, UNIQUE (replication_id, number));"
    "INSERT INTO rounds SELECT * FROM rounds_new; DROP TABLE rounds_new;";

static void test_migration(void)
{
    auto_scratch *directory = scratch_new();
    bf_auto_error err = BF_ERROR_INIT;
    make_version_1(directory);
    struct bf_store *store = open_or_die(directory);
    check_version_1_data(store);
    bf_store_close(store);
    bf_auto_free char *path = database_of(directory);
    bf_auto_free char *version = query_raw(path, "PRAGMA user_version");
    is_u64(strtoul(version, NULL, 10), bf_store_schema_version(), "version 1 moved to the newest");

    auto_scratch *later = scratch_new();
    make_version_1(later);
    bf_auto_free char *later_path = database_of(later);
    struct store_migration migrations[] = {
        store_migrations[0], store_migrations[1], store_migrations[2], {next_version}};
    if (store_open_as(later, migrations, 4, &store, &err) == 0) {
        check_version_1_data(store);
        bf_store_close(store);
    }
    is_error(&err, BF_OK, "a later version opens version 1");
    bf_auto_free char *disks =
        query_raw(later_path, "PRAGMA user_version; SELECT count(*) FROM round_disks");
    is_string(disks, "4\n2\n", "rows that refer to a rebuilt table are kept");
    open_code(later, BF_E_STORE_NEWER, "this version then refuses it");
}

/* What a migration leaves beside: the older version's database, private, whole and readable. */
static void test_migration_keeps_a_copy(void)
{
    auto_scratch *directory = scratch_new();
    bf_auto_free char *path = database_of(directory);
    bf_auto_free char *copy = bf_xasprintf("%s.schema-1", path);
    bf_auto_free char *part = bf_xasprintf("%s.part", copy);
    bf_auto_free char *victim = bf_xasprintf("%s/victim", directory);
    bf_auto_error err = BF_ERROR_INIT;

    umask(0);
    make_version_1(directory);
    bf_auto_free char *before = query_raw(path, SCHEMA_SQL);
    /* What a crash left of an earlier try, as a link to show that it is not written through. */
    bf_file_replace(victim, "precious", 8, 0600, &err);
    if (symlink(victim, part) != 0)
        exit(1);
    open_code(directory, BF_OK, "an older schema is opened");
    umask(022);
    is_u64(mode_of(copy), 0600, "the copy is private");
    ok(access(part, F_OK) < 0, "nothing half is left");
    bf_auto_free char *kept = NULL;
    size_t length = 0;
    read_whole(victim, &kept, &length);
    is_string(kept, "precious", "and nothing was written where a link led");

    bf_auto_free char *after = query_raw(copy, SCHEMA_SQL);
    is_string(after, before, "the copy has the older schema");
    bf_auto_free char *rows = query_raw(
        copy, "PRAGMA user_version; SELECT count(*) FROM replications; PRAGMA integrity_check");
    is_string(rows, "1\n1\nok\n", "and its rows");
    bf_file_remove(copy, &err);
    open_code(directory, BF_OK, "the newest schema is opened");
    ok(access(copy, F_OK) < 0, "without a copy: nothing was changed");

    /* No copy, no migration. */
    auto_scratch *full = scratch_new();
    bf_auto_free char *full_path = database_of(full);
    bf_auto_free char *in_the_way = bf_xasprintf("%s.schema-1.part/x", full_path);
    make_version_1(full);
    if (bf_directory_make(in_the_way, 0700, &err) < 0)
        exit(1);
    struct bf_store *store = NULL;
    ok(bf_store_open(full, &store, &err) < 0, "where no copy can be made the store is not opened");
    bf_error_clear(&err);
    bf_auto_free char *version = query_raw(full_path, "PRAGMA user_version");
    is_string(version, "1\n", "and stays as it was");
}

static void migration_fails(const char *sql, const char *what)
{
    auto_scratch *directory = scratch_new();
    bf_auto_error err = BF_ERROR_INIT;
    make_version_1(directory);
    bf_auto_free char *path = database_of(directory);
    bf_auto_free char *before = query_raw(path, SCHEMA_SQL);
    struct store_migration migrations[] = {store_migrations[0], {next_version}, {sql}};
    struct bf_store *store = NULL;
    store_open_as(directory, migrations, 3, &store, &err);
    is_error(&err, BF_E_STORE, "%s", what);
    ok(!store, "no store is returned");
    bf_auto_free char *after = query_raw(path, SCHEMA_SQL);
    is_string(after, before, "the schema is as before");
    bf_auto_free char *version = query_raw(path, "PRAGMA user_version");
    is_string(version, "1\n", "and so is its version");
}

/* Dying inside a migration leaves the old version. */
static void test_migration_killed(void)
{
    auto_scratch *directory = scratch_new();
    make_version_1(directory);
    pid_t pid = fork();
    if (pid == 0) {
        /* SQL that takes for ever, after the change. */
        struct store_migration migrations[] = {
            store_migrations[0],
            {"ALTER TABLE platforms ADD COLUMN x TEXT;"
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
             " INSERT INTO counters SELECT 'c' || i, i FROM n;"}};
        bf_auto_error err = BF_ERROR_INIT;
        struct bf_store *store = NULL;
        store_open_as(directory, migrations, 2, &store, &err);
        _exit(0);
    }
    /* Its cache spills into the log once it is well in the middle. */
    bf_auto_free char *path = database_of(directory);
    bf_auto_free char *wal = bf_xasprintf("%s-wal", path);
    struct stat st = {0};
    for (unsigned i = 0; i < 3000 && (stat(wal, &st) < 0 || st.st_size < 1 << 20); i++)
        usleep(10000);
    ok(st.st_size >= 1 << 20, "the migration has written a lot");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    struct bf_store *store = open_or_die(directory);
    check_version_1_data(store);
    bf_store_close(store);
    bf_auto_free char *count = query_raw(path, "SELECT count(*) FROM counters");
    is_string(count, "1\n", "nothing of the migration is there");
}

int main(void)
{
    test_modes();
    test_lock();
    test_foreign_files();
    test_newer();
    test_kill();
    test_damaged();
    test_golden();
    test_migration();
    test_migration_keeps_a_copy();
    migration_fails("CREATE TABLE platforms (x)", "a migration whose SQL fails");
    migration_fails("DELETE FROM replications",
                    "a migration that leaves rows without their parent");
    test_migration_killed();
    return done();
}
