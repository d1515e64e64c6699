/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that fails: the n-th write or sync of a run fails, for every n.
 *
 * The shim is an SQLite VFS that hands everything to the real one and counts what changes
 * the disk: writes, syncs, truncates.  Three ways to fail:
 *   once   the n-th call fails, later ones work again (a full disk, then space)
 *   dead   the n-th and all later ones fail (a disk gone)
 *   torn   the n-th write is done half, and from then on all is dead (power loss)
 *
 * After each run the database is opened on the real disk: it opens, and it holds exactly the
 * steps that were reported as done, or one more (the commit reached the disk, the report of it
 * failed).
 */
#include <sqlite3.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/unit/store/scratch.h"

/* Under valgrind a run takes a hundred times as long: every seventh call will do. */
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define STRIDE (RUNNING_ON_VALGRIND ? 7u : 1u)
#else
#define STRIDE 1u
#endif

enum fault { FAULT_ONCE, FAULT_DEAD, FAULT_TORN };
static const char *const fault_names[] = {"once", "dead", "torn"};

static unsigned calls;   /* made so far that change the disk */
static unsigned fail_at; /* 0: never */
static enum fault fault;
static int fault_code;
static uint64_t sync_ms; /* a disk that is busy */
static sqlite3_vfs *real_vfs;

struct shim_file {
    sqlite3_file base;
    sqlite3_file *real;
};

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct shim_file *)(void *)file)->real;
}

static bool fails_now(void)
{
    calls++;
    return fail_at && (fault == FAULT_ONCE ? calls == fail_at : calls >= fail_at);
}

static int shim_close(sqlite3_file *file)
{
    sqlite3_file *real = real_of(file);
    int rc = real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
    sqlite3_free(real);
    return rc;
}
static int shim_read(sqlite3_file *file, void *data, int length, sqlite3_int64 offset)
{
    return real_of(file)->pMethods->xRead(real_of(file), data, length, offset);
}
static int shim_write(sqlite3_file *file, const void *data, int length, sqlite3_int64 offset)
{
    sqlite3_file *real = real_of(file);
    if (!fails_now())
        return real->pMethods->xWrite(real, data, length, offset);
    if (fault == FAULT_TORN && calls == fail_at)
        real->pMethods->xWrite(real, data, length / 2, offset);
    return fault_code;
}
static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return fails_now() ? SQLITE_IOERR_TRUNCATE
                       : real_of(file)->pMethods->xTruncate(real_of(file), size);
}
static int shim_sync(sqlite3_file *file, int flags)
{
    bf_sleep_ms(sync_ms);
    return fails_now() ? SQLITE_IOERR_FSYNC : real_of(file)->pMethods->xSync(real_of(file), flags);
}
static int shim_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}
static int shim_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}
static int shim_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}
static int shim_check_lock(sqlite3_file *file, int *result)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), result);
}
static int shim_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}
static int shim_sector(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}
static int shim_features(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}
static int shim_shm_map(sqlite3_file *file, int region, int size, int extend,
                        void volatile **memory)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), region, size, extend, memory);
}
static int shim_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, count, flags);
}
static void shim_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}
static int shim_shm_unmap(sqlite3_file *file, int remove)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_check_lock,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_features,
    .xShmMap = shim_shm_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_shm_barrier,
    .xShmUnmap = shim_shm_unmap,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                     int *ret_flags)
{
    struct shim_file *shim = (struct shim_file *)(void *)file;
    (void)vfs;
    memset(shim, 0, sizeof(*shim));
    shim->real = sqlite3_malloc(real_vfs->szOsFile);
    memset(shim->real, 0, (size_t)real_vfs->szOsFile);
    int rc = real_vfs->xOpen(real_vfs, name, shim->real, flags, ret_flags);
    if (rc == SQLITE_OK)
        shim->base.pMethods = &shim_methods;
    else
        sqlite3_free(shim->real);
    return rc;
}

static sqlite3_vfs shim_vfs;

static void shim_install(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    shim_vfs = *real_vfs;
    shim_vfs.zName = "shim";
    shim_vfs.szOsFile = sizeof(struct shim_file);
    shim_vfs.xOpen = shim_open;
    shim_vfs.pNext = NULL;
    if (sqlite3_vfs_register(&shim_vfs, 1) != SQLITE_OK)
        exit(1);
}

/* --- the run --- */

#define STEPS 4
#define EVENTS 2u

/* A step is one transaction of several rows: platform N and as many events as make some pages. */
static int run_step(struct bf_store *store, unsigned step, struct bf_error *err)
{
    struct bf_event_row event = {.at_us = 1};
    event.level = text_of("info");
    event.type = text_of("state");
    event.message = bf_xcalloc(1, 3001);
    memset(event.message, 'a' + (int)step, 3000);
    char id[16];
    snprintf(id, sizeof(id), "p%u", step);

    int rc = bf_store_begin(store, err);
    if (rc == 0) {
        add_platform(store, id, err);
        for (unsigned i = 0; i < EVENTS && !bf_error_is_set(err); i++)
            bf_store_event_add(store, &event, NULL, err);
        if (bf_error_is_set(err)) {
            /* What comes after an error must not slip out of the transaction. */
            bf_auto_error later = BF_ERROR_INIT;
            add_platform(store, "stray", &later);
            bf_store_rollback(store);
            rc = -1;
        } else {
            rc = bf_store_commit(store, err);
        }
    }
    bf_event_row_done(&event);
    return rc;
}

/* Returns how many steps were reported done; -1: not even the opening. */
static int run_all(const char *directory, bool *ret_failed)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_store *store = NULL;
    *ret_failed = true;
    if (bf_store_open(directory, &store, &err) < 0)
        return -1;
    int done_steps = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        if (run_step(store, step, &err) < 0)
            break;
        done_steps++;
    }
    *ret_failed = done_steps < STEPS;
    bf_store_close(store);
    return done_steps;
}

/* Steps that are in the database; -1: it does not open or holds half a step. */
static int count_steps(const char *directory)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_store *store = NULL;
    if (bf_store_open(directory, &store, &err) < 0) {
        diag("%s: %s", err.message, err.evidence ? err.evidence : "-");
        return -1;
    }
    struct bf_platform_row *rows = NULL;
    struct bf_event_row *events = NULL;
    size_t count = 0;
    size_t event_count = 0;
    bool whole = bf_store_platform_list(store, &rows, &count, &err) == 0 &&
                 bf_store_event_list(store, NULL, 0, 0, &events, &event_count, &err) == 0 &&
                 event_count == EVENTS * count;
    for (size_t i = 0; i < count; i++)
        whole &= rows[i].id[0] == 'p' && rows[i].id[1] == (char)('0' + i);
    if (!whole)
        diag("%zu platforms, %zu events", count, event_count);
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_platform_row_done);
    bf_rows_free(events, event_count, sizeof(*events), (bf_row_done_fn *)bf_event_row_done);
    bf_store_close(store);
    return whole ? (int)count : -1;
}

static bool try_one(unsigned n)
{
    auto_scratch *directory = scratch_new();
    bool failed = false;
    calls = 0;
    fail_at = n;
    int reported = run_all(directory, &failed);
    fail_at = 0;
    int found = count_steps(directory);
    int least = reported < 0 ? 0 : reported;
    bool good = found >= least && found <= least + 1;
    /* The run can be taken up again. */
    if (good && found == 0)
        good = run_all(directory, &failed) == STEPS;
    if (!good)
        diag("%s at call %u: reported %d, found %d", fault_names[fault], n, reported, found);
    return good;
}

/* A transaction larger than SQLite's cache writes before its commit; an error then makes SQLite
 * give the whole transaction up by itself.  What the caller writes after that must not stay. */
static bool spill_once(unsigned n, bool *ret_given_up)
{
    auto_scratch *directory = scratch_new();
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_error later = BF_ERROR_INIT;
    struct bf_store *store = open_or_die(directory);
    struct bf_event_row event = {.at_us = 1};
    event.level = text_of("info");
    event.type = text_of("state");
    event.message = bf_xcalloc(1, 200001);
    memset(event.message, 'x', 200000);

    calls = 0;
    fail_at = n;
    bf_store_begin(store, &err);
    for (unsigned i = 0; i < 20 && !bf_error_is_set(&err); i++)
        bf_store_event_add(store, &event, NULL, &err);
    *ret_given_up = bf_error_is_set(&err);
    fail_at = 0;
    bf_error_clear(&err);
    add_platform(store, "stray", &later);
    bf_error_clear(&later);
    bool committed = bf_store_commit(store, &later) == 0;
    bf_store_close(store);
    bf_event_row_done(&event);

    store = open_or_die(directory);
    struct bf_platform_row *rows = NULL;
    size_t count = 0;
    bf_store_platform_list(store, &rows, &count, &err);
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_platform_row_done);
    bf_store_close(store);
    return *ret_given_up ? !committed && count == 0 : committed && count == 1;
}

static void test_spill(void)
{
    unsigned bad = 0;
    unsigned given_up = 0;
    fault = FAULT_ONCE;
    for (unsigned n = 1; n < 900; n += 31) {
        bool this_time = false;
        fault_code = n % 2 ? SQLITE_FULL : SQLITE_IOERR_WRITE;
        bad += !spill_once(n, &this_time);
        given_up += this_time;
    }
    is_u64(bad, 0, "after SQLite gave a transaction up nothing of it can be committed");
    ok(given_up > 5, "it gave up %u times", given_up);
}

/* The log of one more row, written when a sync takes so long. */
static char *log_of_a_row(struct bf_store *store, const char *id, const char *directory,
                          uint64_t ms)
{
    bf_auto_free char *path = bf_xasprintf("%s/log", directory);
    bf_auto_error err = BF_ERROR_INIT;
    int before = dup(STDERR_FILENO);
    char *text = NULL;

    if (!freopen(path, "w", stderr))
        exit(1);
    sync_ms = ms;
    add_platform(store, id, &err);
    sync_ms = 0;
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    if (bf_file_read(path, 10000, &text, NULL, &err) < 0)
        diag("%s", err.message);
    return text ? text : bf_xstrdup("");
}

static void test_slow_disk(void)
{
    auto_scratch *directory = scratch_new();
    struct bf_store *store = open_or_die(directory);

    bf_log_open("test", BF_LOG_WARNING);
    bf_auto_free char *quick = log_of_a_row(store, "quick", directory, 1);
    bf_auto_free char *slow = log_of_a_row(store, "slow", directory, 1100);
    is_string(quick, "", "a row that is written at once is not worth a line in the log");
    ok(strstr(slow, "writing took 1") && strstr(slow, "Is the disk busy?"),
       "a commit that holds the service up is");
    bf_store_close(store);
}

int main(void)
{
    bool failed = false;
    unsigned total = 0;
    /* Hundreds of databases: where there is memory, not on the disk. */
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    shim_install();
    {
        auto_scratch *directory = scratch_new();
        is_int(run_all(directory, &failed), STEPS, "without faults all steps are done");
        total = calls;
        is_int(count_steps(directory), STEPS, "and found");
    }
    ok(total > 40, "the run changes the disk %u times", total);

    for (int way = FAULT_ONCE; way <= FAULT_TORN; way++) {
        unsigned bad = 0;
        fault = (enum fault)way;
        for (unsigned n = 1; n <= total; n += STRIDE) {
            fault_code = n % 2 ? SQLITE_FULL : SQLITE_IOERR_WRITE;
            bad += !try_one(n);
        }
        is_u64(bad, 0, "%s: no state lost or damaged at any of %u calls", fault_names[way], total);
    }
    test_spill();
    test_slow_disk();
    return done();
}
