/* SPDX-License-Identifier: Apache-2.0 */
/* The open database: lock, checks, migrations, transactions.
 *
 * Kept here:
 * - One process per state directory: flock on blockferry.lock, which the kernel drops when the
 *   process dies.  SQLite's own locks would let two services take turns.
 * - A database of a newer schema is refused before anything is written to it: by the file header
 *   before SQLite sees it, and once more by SQL (the header is old while the write-ahead log still
 *   holds the change), without a checkpoint on close.
 * - A migration is one transaction with its version number, so a crash leaves the old schema or
 *   the new one.
 * - Before a migration the database is copied to blockferry.db.schema-N beside it, so that there is
 *   a way back to the version that wrote it.
 * - A transaction of which an inner part was rolled back, or which SQLite itself gave up (disk
 *   full), can only be rolled back.
 *
 * File format facts: https://www.sqlite.org/fileformat.html (user version at 60, application id
 * at 68, both big-endian).
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/store/internal.h"

#define DATABASE_NAME "blockferry.db"
#define LOCK_NAME "blockferry.lock"
#define APPLICATION_ID 0x626c6679 /* "blfy" */
/* Another reader (an admin's sqlite3, a backup) may hold a lock for a moment; the main loop must
 * not stand still for long. */
#define BUSY_MS 2000
#define SLOW_MS 1000

int store_fail(struct bf_store *store, int rc, const char *doing, struct bf_error *err)
{
    bf_fail(err, BF_E_STORE, 0, "state database: %.60s: %s", doing, sqlite3_errstr(rc));
    if (store->db)
        bf_error_evidence(err, sqlite3_errmsg(store->db));
    return -1;
}

void store_assert_usable(const struct bf_store *store)
{
    assert(store && store->db);
    assert(pthread_equal(store->owner, pthread_self()));
}

void store_warn_slow(const struct bf_store *store, uint64_t begin_ms)
{
    uint64_t took = bf_now_ms() - begin_ms;

    if (took >= SLOW_MS)
        bf_log_warning("%s: writing took %llu ms; until then the service did nothing else. "
                       "Is the disk busy?",
                       store->path, (unsigned long long)took);
}

static int run_sql(struct bf_store *store, const char *sql, struct bf_error *err)
{
    uint64_t begin = bf_now_ms();
    int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);

    if (rc != SQLITE_OK)
        return store_fail(store, sqlite3_extended_errcode(store->db), sql, err);
    store_warn_slow(store, begin);
    return 0;
}

static int read_version(struct bf_store *store, int64_t *ret_version, struct bf_error *err)
{
    return store_execute(store, NULL, "PRAGMA user_version", NULL, 0, NULL, ret_version, err);
}

/* --- opening --- */

static int take_lock(struct bf_store *store, const char *directory, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s/" LOCK_NAME, directory);
    bf_auto_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return bf_fail(err, BF_E_STORE, errno, "%s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return bf_fail(err, BF_E_STORE_LOCKED, 0, "%s is held by another process", path);
        return bf_fail(err, BF_E_STORE, errno, "%s", path);
    }
    store->lock_fd = bf_steal_fd(fd);
    return 0;
}

static int fail_newer(const char *path, uint64_t found, unsigned known, struct bf_error *err)
{
    return bf_fail(err, BF_E_STORE_NEWER, 0,
                   "%s has schema %llu, this version knows up to %u "
                   "(its copies of older schemas are %s.schema-N)",
                   path, (unsigned long long)found, known, path);
}

/* Look at the header without SQLite, which would already make files beside it. */
static int check_header(int fd, const char *path, unsigned known, struct bf_error *err)
{
    struct {
        char magic[16];
        char skip1[44];
        uint32_t user_version;
        char skip2[4];
        uint32_t application_id;
    } header;
    _Static_assert(sizeof(header) == 72, "layout of the file header");

    ssize_t got = pread(fd, &header, sizeof(header), 0);
    if (got < 0)
        return bf_fail(err, BF_E_STORE, errno, "%s", path);
    if (got == 0)
        return 0; /* new */
    uint32_t application = be32toh(header.application_id);
    if ((size_t)got < sizeof(header) || memcmp(header.magic, "SQLite format 3", 16) != 0 ||
        (application != 0 && application != APPLICATION_ID))
        return bf_fail(err, BF_E_STORE, 0, "%s is not a state database of blockferry", path);
    if (be32toh(header.user_version) > known)
        return fail_newer(path, be32toh(header.user_version), known, err);
    return 0;
}

/* Make the file before SQLite would, so that it and what SQLite makes beside it are private. */
static int prepare_file(const char *directory, const char *path, unsigned known,
                        struct bf_error *err)
{
    bf_auto_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return bf_fail(err, BF_E_STORE, errno, "%s", path);
    if (check_header(fd, path, known, err) < 0)
        return -1;
    bf_auto_fd int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0 || fsync(directory_fd) < 0)
        return bf_fail(err, BF_E_STORE, errno, "%s", directory);
    return 0;
}

static int open_database(struct bf_store *store, unsigned known, struct bf_error *err)
{
    int rc =
        sqlite3_open_v2(store->path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK)
        return store_fail(store, rc, "open", err);
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, BUSY_MS);

    int64_t version = 0;
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (read_version(store, &version, err) < 0)
        return -1;
    if (version < 0 || version > known)
        return fail_newer(store->path, (uint64_t)version, known, err);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);

    return run_sql(store,
                   "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                   "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
                   err);
}

/* SQLite answers some pragmas by doing nothing (WAL on a file system without shared memory). */
static int check_pragmas(struct bf_store *store, struct bf_error *err)
{
    int64_t value = 0;
    if (store_execute(store, NULL, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", NULL, 0,
                      NULL, &value, err) < 0)
        return -1;
    if (value != 1)
        return bf_fail(err, BF_E_STORE, 0,
                       "%s: the file system cannot carry a write-ahead log (network mount?)",
                       store->path);
    if (store_execute(store, NULL, "PRAGMA foreign_keys", NULL, 0, NULL, &value, err) < 0)
        return -1;
    if (value != 1)
        return bf_fail(err, BF_E_STORE, 0, "the SQLite library cannot enforce foreign keys");
    return 0;
}

static int collect_line(void *user, int count, char **values, char **names)
{
    struct bf_buf *lines = user;
    (void)names;
    if (count > 0 && values[0] && lines->length < 4096)
        bf_buf_addf(lines, "%s%s", lines->length ? "\n" : "", values[0]);
    return 0;
}

static int check_integrity(struct bf_store *store, struct bf_error *err)
{
    bf_auto_buf lines = {0};
    int rc = sqlite3_exec(store->db, "PRAGMA integrity_check(20)", collect_line, &lines, NULL);
    if (rc != SQLITE_OK)
        return store_fail(store, rc, "integrity check", err);
    if (bf_streq(lines.text, "ok"))
        return 0;
    bf_fail(err, BF_E_STORE, 0, "%s is damaged", store->path);
    bf_error_evidence(err, lines.text);
    return -1;
}

/* --- migrations --- */

static int check_foreign(struct bf_store *store, struct bf_error *err)
{
    bf_auto_buf tables = {0};
    int rc = sqlite3_exec(store->db, "PRAGMA foreign_key_check", collect_line, &tables, NULL);
    if (rc != SQLITE_OK)
        return store_fail(store, rc, "foreign key check", err);
    if (!tables.length)
        return 0;
    bf_fail(err, BF_E_STORE, 0, "%s: rows refer to rows that are not there", store->path);
    bf_error_evidence(err, tables.text);
    return -1;
}

static int migrate_within(struct bf_store *store, const struct store_migration *migrations,
                          unsigned from, unsigned to, struct bf_error *err)
{
    int64_t tables = 0;
    if (from == 0) {
        if (store_execute(store, NULL, "SELECT count(*) FROM sqlite_master", NULL, 0, NULL, &tables,
                          err) < 0)
            return -1;
        if (tables > 0)
            return bf_fail(err, BF_E_STORE, 0, "%s is not a state database of blockferry",
                           store->path);
    }
    for (unsigned version = from; version < to; version++)
        if (run_sql(store, migrations[version].sql, err) < 0)
            return bf_fail_in(err, "migration to schema %u", version + 1);
    if (check_foreign(store, err) < 0)
        return -1;
    bf_auto_free char *stamp =
        bf_xasprintf("PRAGMA user_version = %u; PRAGMA application_id = %d", to, APPLICATION_ID);
    return run_sql(store, stamp, err);
}

/* A copy of the database as it is, whole in itself, under the name of its schema.  It is made
 * beside and renamed when it is on the disk: what bears the name is complete. */
static int save_schema(struct bf_store *store, const char *directory, unsigned version, unsigned to,
                       struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s.schema-%u", store->path, version);
    bf_auto_free char *part = bf_xasprintf("%s.part", path);
    bf_auto_fd int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bf_auto_fd int fd = -1;

    if (bf_file_remove(part, err) < 0)
        return -1;
    /* SQLite takes an empty file, so that the copy is private from its birth. */
    fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return bf_fail(err, BF_E_STORE, errno, "%s", part);
    if (store_execute(store, NULL, "VACUUM INTO ?1", &STORE_TEXT_VALUE(part), 1, NULL, NULL, err) <
        0) {
        unlink(part);
        return bf_fail_in(err, "copy of the database before its migration, %s", part);
    }
    if (fsync(fd) < 0 || rename(part, path) < 0 || fsync(directory_fd) < 0)
        return bf_fail(err, BF_E_STORE, errno, "%s", path);
    bf_log_notice("state database: schema %u becomes %u; a copy of what it was is %s", version, to,
                  path);
    return 0;
}

/* Foreign keys are off meanwhile (a migration may rebuild a table) and checked before the commit.
 */
static int migrate(struct bf_store *store, const char *directory,
                   const struct store_migration *migrations, unsigned to, struct bf_error *err)
{
    int64_t from = 0;
    if (read_version(store, &from, err) < 0)
        return -1;
    if (from == to)
        return 0;
    if (from > 0 && save_schema(store, directory, (unsigned)from, to, err) < 0)
        return -1;
    if (run_sql(store, "PRAGMA foreign_keys = OFF", err) < 0 || bf_store_begin(store, err) < 0)
        return -1;
    if (migrate_within(store, migrations, (unsigned)from, to, err) < 0) {
        bf_store_rollback(store);
        return -1;
    }
    if (bf_store_commit(store, err) < 0)
        return -1;
    /* So that the header shows the version to whoever looks without SQLite. */
    return run_sql(store, "PRAGMA wal_checkpoint(TRUNCATE)", err);
}

static int open_into(struct bf_store *store, const char *directory,
                     const struct store_migration *migrations, unsigned count, struct bf_error *err)
{
    if (bf_directory_make(directory, 0700, err) < 0 || take_lock(store, directory, err) < 0 ||
        prepare_file(directory, store->path, count, err) < 0 ||
        open_database(store, count, err) < 0 || check_integrity(store, err) < 0 ||
        migrate(store, directory, migrations, count, err) < 0 ||
        run_sql(store, "PRAGMA foreign_keys = ON", err) < 0)
        return -1;
    return check_pragmas(store, err);
}

int store_open_as(const char *directory, const struct store_migration *migrations, unsigned count,
                  struct bf_store **ret_store, struct bf_error *err)
{
    struct bf_store *store = bf_xcalloc(1, sizeof(*store));
    store->lock_fd = -1;
    store->owner = pthread_self();
    store->path = bf_xasprintf("%s/" DATABASE_NAME, directory);
    if (open_into(store, directory, migrations, count, err) < 0) {
        bf_store_close(store);
        return -1;
    }
    *ret_store = store;
    return 0;
}

int bf_store_open(const char *directory, struct bf_store **ret_store, struct bf_error *err)
{
    return store_open_as(directory, store_migrations, store_migration_count, ret_store, err);
}

unsigned bf_store_schema_version(void)
{
    return store_migration_count;
}

void bf_store_close(struct bf_store *store)
{
    if (!store)
        return;
    /* An open transaction is rolled back by this, which is what a caller that left it open gets. */
    sqlite3_close(store->db);
    if (store->lock_fd >= 0)
        close(store->lock_fd); /* last: the next process must find a closed database */
    free(store->path);
    free(store);
}

/* --- transactions --- */

int bf_store_begin(struct bf_store *store, struct bf_error *err)
{
    store_assert_usable(store);
    /* IMMEDIATE: a lock that cannot be had is found now and not in the middle. */
    if (store->depth == 0 && run_sql(store, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    if (store->depth == 0)
        store->doomed = false;
    store->depth++;
    return 0;
}

static void roll_back(struct bf_store *store)
{
    /* Failing, it has been rolled back already: SQLite does so by itself after some errors. */
    if (!sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    store->doomed = false;
}

int bf_store_commit(struct bf_store *store, struct bf_error *err)
{
    store_assert_usable(store);
    assert(store->depth > 0);
    if (--store->depth > 0)
        return 0;
    if (store->doomed || sqlite3_get_autocommit(store->db)) {
        roll_back(store);
        return bf_fail(err, BF_E_STORE, 0,
                       "nothing was written: a part of the transaction was rolled back");
    }
    if (run_sql(store, "COMMIT", err) < 0) {
        roll_back(store);
        return -1;
    }
    return 0;
}

void bf_store_rollback(struct bf_store *store)
{
    store_assert_usable(store);
    assert(store->depth > 0);
    if (--store->depth > 0)
        store->doomed = true;
    else
        roll_back(store);
}
