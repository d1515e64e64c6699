/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/ops.h"
#include "daemon/context.h"
#include "daemon/job.h"
#include "daemon/ledger.h"
#include "fake.h"

enum { DISK_BYTES = 1 << 20, QUIET_MS = 60000, CHILD_S = 120 };

static char directory[64];
static unsigned *probes; /* shared with the child */
static unsigned kill_at;

/* --- files --- */

__attribute__((format(printf, 1, 2))) static char *path_of(const char *format, ...)
{
    bf_auto_free char *name = NULL;
    va_list args;

    va_start(args, format);
    name = bf_xvasprintf(format, args);
    va_end(args);
    return bf_xasprintf("%s/%s", directory, name);
}

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *format, ...)
{
    bf_auto_free char *command = NULL;
    va_list args;

    va_start(args, format);
    command = bf_xvasprintf(format, args);
    va_end(args);
    if (system(command) != 0) {
        fprintf(stderr, "failed: %s\n", command);
        exit(1);
    }
}

static void put_file(const char *name, const void *data, size_t length)
{
    bf_auto_free char *path = path_of("%s", name);
    bf_auto_error err = BF_ERROR_INIT;

    if (bf_file_replace(path, data, length, 0600, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
}

void bench_reset(void)
{
    bf_auto_free char *disk = bf_xcalloc(1, DISK_BYTES);

    shell("rm -rf %s/fake %s/state %s/run && mkdir %s/fake", directory, directory, directory,
          directory);
    memset(disk, 0x11, 3 * 65536);
    put_file("fake/disk-sda", disk, DISK_BYTES);
    put_file("fake/disk-sdb", disk, DISK_BYTES);
    put_file("fake/power", "on", 2);
}

const char *bench_directory(void)
{
    if (!directory[0]) {
        snprintf(directory, sizeof(directory), "/tmp/bf-core-XXXXXX");
        if (!mkdtemp(directory))
            exit(1);
        probes =
            mmap(NULL, sizeof(*probes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        bench_reset();
    }
    return directory;
}

void bench_remove(void)
{
    if (!getenv("BLOCKFERRY_KEEP"))
        shell("rm -rf %s", directory);
}

void bench_save(const char *name)
{
    shell("rm -rf %s/saved-%s && mkdir %s/saved-%s && cp -a %s/fake %s/state %s/run "
          "%s/saved-%s/",
          directory, name, directory, name, directory, directory, directory, directory, name);
}

void bench_restore(const char *name)
{
    shell("rm -rf %s/fake %s/state %s/run && cp -a %s/saved-%s/* %s/", directory, directory,
          directory, directory, name, directory);
}

void bench_write(const char *key, unsigned char byte)
{
    bf_auto_free char *path = path_of("fake/disk-%s", key);
    bf_auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    unsigned char data[4096];

    memset(data, byte, sizeof(data));
    if (fd < 0 || pwrite(fd, data, sizeof(data), 65536 * (off_t)(byte % 16)) != sizeof(data))
        exit(1);
}

bool bench_power_is(const char *text)
{
    bf_auto_free char *path = path_of("fake/power");
    bf_auto_free char *found = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    return bf_file_read(path, 100, &found, NULL, &err) == 0 && strcmp(found, text) == 0;
}

/* --- the child --- */

void bench_check(bool holds, const char *format, ...)
{
    va_list args;

    if (holds)
        return;
    fputs("# ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(3);
}

static void check_error(int r, const struct bf_error *err, const char *what)
{
    bench_check(r == 0, "%s: %s: %s%s%s", what, bf_error_id(err->code), err->message,
                err->evidence ? "\n# " : "", err->evidence ? err->evidence : "");
}

static void probe(const char *where)
{
    unsigned n = __atomic_add_fetch(probes, 1, __ATOMIC_SEQ_CST);

    (void)where;
    if (kill_at && n == kill_at)
        kill(getpid(), SIGKILL);
}

static void child(bench_fn *fn)
{
    bf_auto_free char *state = path_of("state");
    bf_auto_free char *run = path_of("run");
    bf_auto_free char *key = path_of("state/seal.key");
    struct bf_config config = {
        .state_directory = state, .run_directory = run, .max_rounds = 4, .max_launches = 4};
    struct bf_loop *loop;
    struct bf_store *store;
    struct bf_seal *seal;
    struct bf_service *service;
    bf_auto_error err = BF_ERROR_INIT;

    alarm(CHILD_S);
    bf_log_open("bench", getenv("BENCH_DEBUG") ? BF_LOG_DEBUG : (enum bf_log_level)0);
    check_error(bf_directory_make(state, 0700, &err), &err, "state");
    check_error(bf_directory_make(run, 0700, &err), &err, "run");
    check_error(bf_loop_new(&loop, &err), &err, "loop");
    check_error(bf_store_open(state, &store, &err), &err, "store");
    check_error(bf_seal_open(key, 1, &seal, &err), &err, "seal");
    check_error(bf_service_new(loop, store, seal, &config, &service, &err), &err, "service");
    bf_job_probe = probe;
    check_error(bf_service_start(service, &err), &err, "start");
    fn(service);
    bf_service_stop(service, 10000);
    bf_service_free(service);
    bf_seal_close(seal);
    bf_store_close(store);
    bf_loop_free(loop);
}

enum bench_end bench_run(bench_fn *fn, unsigned at, unsigned *ret_probes)
{
    int status;
    pid_t pid;

    fflush(stdout);
    *probes = 0;
    kill_at = at;
    pid = fork();
    if (pid == 0) {
        child(fn);
        exit(0);
    }
    if (waitpid(pid, &status, 0) != pid)
        exit(1);
    if (ret_probes)
        *ret_probes = *probes;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return BENCH_FINE;
    if (at && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return BENCH_KILLED;
    fprintf(stderr, "# child ended with status 0x%x\n", (unsigned)status);
    return BENCH_BAD;
}

static bool settled(struct bf_service *service)
{
    struct bf_ledger_row *rows = NULL;
    size_t count = 0;
    bf_auto_error err = BF_ERROR_INIT;
    bool under_way = false;

    if (service->jobs || service->janitor_runs || service->questions)
        return false;
    check_error(bf_store_ledger_list(service->store, NULL, NULL, true, &rows, &count, &err), &err,
                "ledger");
    for (size_t i = 0; i < count; i++)
        under_way = under_way || strcmp(rows[i].state, "made") != 0;
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_ledger_row_done);
    return !under_way;
}

void bench_quiet(struct bf_service *service)
{
    struct bf_deadline deadline = bf_deadline_in(QUIET_MS);

    do {
        bench_check(!bf_deadline_passed(deadline), "the service does not come to rest");
        bf_loop_turn(service->loop, 20);
    } while (!settled(service));
    for (int i = 0; i < 3; i++) /* what the last job has posted */
        bf_loop_turn(service->loop, 0);
}

static void keep_answer(struct json_object *answer, struct bf_error *err, void *user)
{
    (void)answer;
    if (err)
        bench_check(false, "question: %s: %s", bf_error_id(err->code), err->message);
    *(bool *)user = true;
}

void bench_replicate(struct bf_service *service)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *platform = json_object_new_object();
    bf_auto_json *body = bf_context_parse(
        "{\"source\":\"p\",\"machine\":\"fake\",\"target\":\"p\","
        "\"mapping\":{\"machine_name\":\"fake-copy\"},"
        "\"policy\":{\"interval\":null,\"convert\":\"none\",\"keep_points\":2,\"retries\":1}}");
    bf_auto_json *answer = NULL;
    bf_auto_free char *url = path_of("fake");
    bool answered = false;

    bf_json_add_string(platform, "name", "p");
    bf_json_add_string(platform, "type", "fake");
    bf_json_add_string(platform, "url", url);
    bf_json_add_string(platform, "password", "secret");
    check_error(bf_service_platform_add(service, platform, &answer, &err), &err, "platform");
    check_error(bf_service_ask(service, "replicate", body, keep_answer, &answered, &err), &err,
                "replicate");
    while (!answered)
        bf_loop_turn(service->loop, 20);
    bench_quiet(service);
}

void bench_verb(struct bf_service *service, const char *verb, const char *text)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *body = text ? bf_context_parse(text) : NULL;
    bf_auto_json *answer = NULL;

    check_error(bf_service_verb(service, BENCH_NAME, verb, body, &answer, &err), &err, verb);
    bench_quiet(service);
}

void bench_change(struct bf_service *service, const char *text)
{
    bf_auto_json *patch = bf_context_parse(text);
    bf_auto_json *answer = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    check_error(bf_service_replication_change(service, BENCH_NAME, patch, &answer, &err), &err,
                text);
}

enum bf_error_code bench_refused(struct bf_service *service, const char *verb, const char *text)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *body = text ? bf_context_parse(text) : NULL;
    bf_auto_json *answer = NULL;

    bench_check(bf_service_verb(service, BENCH_NAME, verb, body, &answer, &err) != 0,
                "%s should have been refused", verb);
    return err.code;
}

const char *bench_field(struct bf_service *service, const char *key)
{
    static char text[4096];
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *json = NULL;
    struct json_object *value = NULL;

    text[0] = '\0';
    if (bf_service_replication(service, BENCH_NAME, &json, &err) == 0 &&
        json_object_object_get_ex(json, key, &value) && value)
        snprintf(text, sizeof(text), "%s",
                 json_object_is_type(value, json_type_string) ? json_object_get_string(value)
                                                              : bf_json_text(value));
    return text;
}

const char *bench_state(struct bf_service *service)
{
    return bench_field(service, "state");
}

/* --- checks --- */

struct seen {
    struct bf_ledger_row *rows;
    size_t count;
    bool *found;
    char unknown[100];
};

static int see(const char *kind, const char *tag, const char *ref, const char *name, void *user)
{
    struct seen *seen = user;
    bool known = false;

    (void)ref;
    for (size_t i = 0; i < seen->count; i++) {
        if (strcmp(seen->rows[i].id, tag + 3) != 0)
            continue;
        /* A snapshot's row stands for its baseline, too. */
        known = strcmp(kind, seen->rows[i].kind) == 0 ||
                (strcmp(kind, "baseline") == 0 && strcmp(seen->rows[i].kind, "snapshot") == 0);
        seen->found[i] = seen->found[i] || known;
    }
    if (!known)
        snprintf(seen->unknown, sizeof(seen->unknown), "%s", name);
    return 0;
}

void bench_check_ledger(struct bf_service *service)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *url = path_of("fake");
    bf_auto_platform *platform = NULL;
    struct seen seen = {0};

    check_error(bf_platform_open(
                    &(struct bf_platform_conf){
                        .name = "look", .type = "fake", .url = url, .work_directory = "/tmp"},
                    &platform, &err),
                &err, "platform");
    check_error(
        bf_store_ledger_list(service->store, NULL, NULL, true, &seen.rows, &seen.count, &err), &err,
        "ledger");
    seen.found = bf_xcalloc(seen.count + 1, sizeof(*seen.found));
    check_error(bf_platform_tagged(platform, see, &seen, &err), &err, "tagged");
    bench_check(!seen.unknown[0], "%s is on the platform and not in the ledger", seen.unknown);
    for (size_t i = 0; i < seen.count; i++) {
        bench_check(seen.found[i], "%s bf-%s is in the ledger (%s) and not on the platform",
                    seen.rows[i].kind, seen.rows[i].id, seen.rows[i].state);
        bench_check(strcmp(seen.rows[i].kind, "snapshot") != 0, "a snapshot is left");
    }
    free(seen.found);
    bf_rows_free(seen.rows, seen.count, sizeof(*seen.rows), (bf_row_done_fn *)bf_ledger_row_done);
}

void bench_check_home(bool there)
{
    bf_auto_free char *sda = path_of("fake/disk-sda");
    bf_auto_free char *sdb = path_of("fake/disk-sdb");

    bench_check(bf_file_access(sda, F_OK) == (there ? 0 : -1) &&
                    bf_file_access(sdb, F_OK) == (there ? 0 : -1),
                "the machine %s", there ? "has lost a disk" : "still has a disk");
}

void bench_check_bytes(struct bf_service *service)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_replication_row row = {0};
    struct bf_point_row *points = NULL;
    size_t count = 0;
    bf_auto_json *volumes = NULL;

    check_error(bf_store_replication_get(service->store, BENCH_NAME, &row, &err), &err, "row");
    check_error(bf_store_point_list(service->store, row.id, &points, &count, &err), &err, "points");
    bench_check(count > 0, "there is no point");
    volumes = bf_context_parse(points[0].volumes);
    bench_check(json_object_object_length(volumes) == 2, "the point holds %d disks",
                json_object_object_length(volumes));
    json_object_object_foreach(volumes, key, volume)
    {
        bf_auto_free char *command =
            bf_xasprintf("cmp -s %s/fake/disk-%s %s/fake/point-%s-of-*", directory, key, directory,
                         bf_context_text(volume, "ref"));

        bench_check(system(command) == 0, "point %llu of disk %s differs",
                    (unsigned long long)points[0].number, key);
    }
    bf_rows_free(points, count, sizeof(*points), (bf_row_done_fn *)bf_point_row_done);
    bf_replication_row_done(&row);
}
