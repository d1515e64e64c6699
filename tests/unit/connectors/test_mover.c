/* SPDX-License-Identifier: Apache-2.0 */
/* Slots, queue, lock and tags of a mover, on a platform that is a table. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/mover.h"
#include "tests/unit/connectors/skeleton.h"
#include "tests/unit/tap.h"

#define TAG_A "bf-00000000000000aa"
#define TAG_B "bf-00000000000000bb"
enum { MAX_DISKS = 16 };

/* --- the platform --- */

static struct {
    pthread_mutex_t lock;
    struct {
        char disk[32];
        char tag[32]; /* "": somebody else's */
        char mover[8];
    } disks[MAX_DISKS];
    unsigned count;
    unsigned attaches;
    unsigned detaches;
    unsigned most; /* attached at a time */
    atomic_int inside;
    atomic_bool overlapped;
    bool refuse;  /* attach fails */
    bool forget;  /* attach says yes and does nothing */
    bool unnamed; /* the guest sees no id */
    bool unserved;
    char order[256];
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void enter(void)
{
    if (atomic_fetch_add(&fake.inside, 1) != 0)
        fake.overlapped = true;
    bf_sleep_ms(2);
}

static void leave(void)
{
    atomic_fetch_sub(&fake.inside, 1);
}

static void put_at(const char *mover, const char *disk, const char *tag)
{
    pthread_mutex_lock(&fake.lock);
    snprintf(fake.disks[fake.count].mover, sizeof(fake.disks[0].mover), "%s", mover);
    snprintf(fake.disks[fake.count].disk, sizeof(fake.disks[0].disk), "%s", disk);
    snprintf(fake.disks[fake.count].tag, sizeof(fake.disks[0].tag), "%s", tag);
    fake.count++;
    if (fake.count > fake.most)
        fake.most = fake.count;
    pthread_mutex_unlock(&fake.lock);
}

static void put(const char *disk, const char *tag)
{
    put_at("m1", disk, tag);
}

static void take(const char *disk)
{
    pthread_mutex_lock(&fake.lock);
    for (unsigned i = 0; i < fake.count; i++) {
        if (bf_streq(fake.disks[i].disk, disk)) {
            fake.disks[i] = fake.disks[--fake.count];
            break;
        }
    }
    pthread_mutex_unlock(&fake.lock);
}

static int fake_attach(struct bf_platform *platform, const char *mover, const char *disk,
                       const char *tag, bool writable, struct bf_error *err)
{
    (void)platform, (void)writable;
    enter();
    fake.attaches++;
    int rc = fake.refuse ? bf_fail(err, BF_E_PLATFORM_ERROR, 0, "no") : 0;
    if (rc == 0 && !fake.forget) {
        put_at(mover, disk, tag);
        strncat(fake.order, disk, sizeof(fake.order) - strlen(fake.order) - 1);
    }
    leave();
    return rc;
}

/* An attachment's id is its disk's. */
static int fake_detach(struct bf_platform *platform, const char *mover, const char *attachment,
                       struct bf_error *err)
{
    (void)platform, (void)mover, (void)err;
    enter();
    fake.detaches++;
    take(attachment);
    leave();
    return 0;
}

static int fake_list(struct bf_platform *platform, const char *mover, bf_mover_disk_fn *fn,
                     void *user, struct bf_error *err)
{
    (void)platform, (void)err;
    pthread_mutex_lock(&fake.lock);
    for (unsigned i = 0; i < fake.count; i++) {
        if (!bf_streq(fake.disks[i].mover, mover))
            continue;
        const char *tag = fake.disks[i].tag;
        struct bf_mover_disk disk = {.attachment = fake.disks[i].disk,
                                     .disk = fake.disks[i].disk,
                                     .tag = tag[0] ? tag : NULL,
                                     .export_name = fake.unnamed ? NULL : fake.disks[i].disk};
        if (fn(&disk, user))
            break;
    }
    pthread_mutex_unlock(&fake.lock);
    return 0;
}

static int fake_probe(struct bf_platform *platform, const struct bf_endpoint_spec *spec,
                      struct bf_deadline deadline, struct bf_error *err)
{
    (void)platform, (void)deadline;
    return fake.unserved ? bf_fail(err, BF_E_MOVER_NOT_SERVING, 0, "%s", spec->uri) : 0;
}

static const struct bf_mover_ops fake_ops = {
    .attach = fake_attach, .detach = fake_detach, .list = fake_list, .probe = fake_probe};

static struct bf_mover_conf conf = {.ops = &fake_ops,
                                    .id = "m1",
                                    .address = "10.0.0.5:10809",
                                    .tls_directory = "/etc/certificates",
                                    .slots = 2,
                                    .writable = true};

static struct bf_platform *new_platform(void)
{
    struct bf_platform *platform = NULL;
    struct bf_error err = BF_ERROR_INIT;
    const struct bf_platform_conf platform_conf = {
        .name = "p", .type = "skeleton", .url = "/tmp", .work_directory = "/tmp"};

    if (bf_platform_open_with(&skeleton_ops, &platform_conf, &platform, &err) < 0)
        abort();
    return platform;
}

static void clear(void)
{
    pthread_mutex_lock(&fake.lock);
    fake.count = fake.attaches = fake.detaches = fake.most = 0;
    fake.refuse = fake.forget = fake.unnamed = fake.unserved = false;
    fake.order[0] = '\0';
    pthread_mutex_unlock(&fake.lock);
}

static int attach(struct bf_platform *platform, const char *disk, const char *tag, uint64_t ms,
                  struct bf_endpoint_spec *ret_spec, struct bf_error *err)
{
    const struct bf_mover_request request = {
        .disk = disk, .tag = tag, .size_bytes = 4096, .writable = true};

    return bf_mover_attach(platform, &conf, &request, bf_deadline_in(ms), ret_spec, err);
}

/* Attach, expect this error (BF_OK: none). */
static bool attach_gives(struct bf_platform *platform, const char *disk, const char *tag,
                         enum bf_error_code code)
{
    struct bf_endpoint_spec spec = {0};
    bf_auto_error err = BF_ERROR_INIT;
    int rc = attach(platform, disk, tag, 300, &spec, &err);

    if (rc < 0)
        diag("%s", err.message);
    bf_endpoint_spec_done(&spec);
    return (rc == 0) == (code == BF_OK) && err.code == code;
}

/* --- tests --- */

static void test_one(struct bf_platform *platform)
{
    struct bf_endpoint_spec spec = {0};
    struct bf_error err = BF_ERROR_INIT;

    clear();
    ok(attach(platform, "vol-1", TAG_A, 1000, &spec, &err) == 0, "a disk is attached");
    is_string(spec.uri, "nbds://10.0.0.5:10809/vol-1", "its URI");
    is_string(spec.tls_directory, "/etc/certificates", "certificates");
    is_string(spec.format, "raw", "format");
    ok(spec.size_bytes == 4096, "size");
    bf_endpoint_spec_done(&spec);
    ok(attach_gives(platform, "vol-1", TAG_A, BF_OK) && fake.attaches == 1,
       "again: what the first call made");
    ok(attach_gives(platform, "vol-1", TAG_B, BF_E_IN_USE), "for another tag: in use");
    put("foreign", "");
    ok(attach_gives(platform, "foreign", TAG_A, BF_E_IN_USE), "somebody else's: in use");
    ok(bf_mover_detach(platform, &conf, "vol-1", TAG_B, &err) == 0 && fake.detaches == 0,
       "another tag's is not detached");
    ok(bf_mover_detach(platform, &conf, "vol-1", TAG_A, &err) == 0 && fake.count == 1, "detached");
    ok(bf_mover_detach(platform, &conf, "vol-1", TAG_A, &err) == 0, "gone already is success");
    put("left-1", TAG_B);
    put("left-2", TAG_B);
    ok(attach_gives(platform, "left-2", TAG_B, BF_OK) && fake.attaches == 1,
       "what was left by a crash is found");
    ok(bf_mover_detach_tag(platform, &conf, TAG_B, &err) == 0 && fake.count == 1,
       "all of a tag are detached, and only these");
    is_string(fake.disks[0].disk, "foreign", "the foreign one stays");
}

static void test_bad(struct bf_platform *platform)
{
    clear();
    ok(attach_gives(platform, "vol", "x", BF_E_BAD_INPUT), "no tag");
    conf.writable = false;
    ok(attach_gives(platform, "vol", TAG_A, BF_E_BAD_INPUT), "a mover that only reads");
    conf.writable = true;
    ok(fake.attaches == 0, "nothing was asked of the platform");
    fake.refuse = true;
    ok(attach_gives(platform, "vol", TAG_A, BF_E_PLATFORM_ERROR), "the platform refuses");
    fake.refuse = false;
    fake.forget = true;
    ok(attach_gives(platform, "vol", TAG_A, BF_E_PLATFORM_ERROR), "attached, but not listed");
    fake.forget = false;
    fake.unnamed = true;
    ok(attach_gives(platform, "vol", TAG_A, BF_E_MOVER_NOT_SERVING) && fake.count == 0,
       "a disk without an id is detached again");
    fake.unnamed = false;
    fake.unserved = true;
    ok(attach_gives(platform, "vol", TAG_A, BF_E_MOVER_NOT_SERVING) && fake.count == 0,
       "a disk that is not served is detached again");
    fake.unserved = false;
    ok(attach_gives(platform, "vol", TAG_A, BF_OK), "and the queue has gone on");
    ok(attach_gives(platform, "a/b", TAG_A, BF_E_MOVER_NOT_SERVING), "no name for a URI");
}

struct job {
    pthread_t thread;
    struct bf_platform *platform;
    const char *disk;
    unsigned rounds;
    int rc;
    enum bf_error_code code;
};

static void *run_job(void *user)
{
    struct job *job = user;
    bf_auto_error err = BF_ERROR_INIT;

    for (unsigned i = 0; i < job->rounds && job->rc == 0; i++) {
        struct bf_endpoint_spec spec = {0};
        job->rc = attach(job->platform, job->disk, TAG_A, 20000, &spec, &err);
        bf_endpoint_spec_done(&spec);
        if (job->rc == 0)
            job->rc = bf_mover_detach(job->platform, &conf, job->disk, TAG_A, &err);
    }
    job->code = err.code;
    return NULL;
}

static void start(struct job *job, const char *disk, unsigned rounds)
{
    *job = (struct job){.platform = new_platform(), .disk = disk, .rounds = rounds};
    if (pthread_create(&job->thread, NULL, run_job, job))
        abort();
}

static void finish(struct job *job)
{
    pthread_join(job->thread, NULL);
    bf_platform_close(job->platform);
}

static void wait_waiting(unsigned count)
{
    struct bf_deadline deadline = bf_deadline_in(5000);

    while (bf_mover_waiting(conf.id) != count && !bf_deadline_passed(deadline))
        bf_sleep_ms(1);
}

static void test_queue(struct bf_platform *platform)
{
    struct job jobs[3];
    static const char *const names[] = {"1", "2", "3"};
    struct bf_error err = BF_ERROR_INIT;
    struct bf_endpoint_spec spec = {0};

    clear();
    put("a", TAG_B);
    put("b", "");
    ok(attach(platform, "c", TAG_A, 300, &spec, &err) < 0 && err.code == BF_E_MOVER_FULL &&
           strstr(err.message, "all 2 slots of mover m1"),
       "full until the deadline: %s", err.message);
    bf_error_clear(&err);
    for (unsigned i = 0; i < 3; i++) {
        start(&jobs[i], names[i], 1);
        wait_waiting(i + 1);
    }
    ok(bf_mover_waiting("m1") == 3, "three wait");
    ok(bf_mover_detach_tag(platform, &conf, TAG_B, &err) == 0, "a slot is freed");
    for (unsigned i = 0; i < 3; i++)
        finish(&jobs[i]);
    ok(jobs[0].rc == 0 && jobs[1].rc == 0 && jobs[2].rc == 0, "all had their turn");
    is_string(fake.order, "123", "in the order they came");
    ok(bf_mover_waiting("m1") == 0, "none waits");

    put("a", "");
    start(&jobs[0], "1", 1);
    wait_waiting(1);
    take("b");
    finish(&jobs[0]);
    ok(jobs[0].rc == 0, "a slot that somebody else freed is noticed");

    put("b", "");
    start(&jobs[0], "1", 1);
    wait_waiting(1);
    uint64_t began = bf_now_ms();
    bf_platform_cancel(jobs[0].platform);
    finish(&jobs[0]);
    ok(jobs[0].code == BF_E_CANCELLED && bf_now_ms() - began < 1000, "who waits can be cancelled");
}

static void test_many(void)
{
    static const char *const names[] = {"1", "2", "3", "4", "5", "6"};
    struct job jobs[6];
    bool good = true;

    clear();
    for (unsigned i = 0; i < 6; i++)
        start(&jobs[i], names[i], 10);
    for (unsigned i = 0; i < 6; i++) {
        finish(&jobs[i]);
        good = good && jobs[i].rc == 0;
    }
    ok(good, "six threads attach and detach ten times each");
    ok(!fake.overlapped, "never two at a time");
    ok(fake.most <= 2 && fake.count == 0, "never more than the slots, and nothing is left");
    ok(fake.attaches == 60 && fake.detaches == 60, "each once");
}

static int count_disk(const struct bf_mover_disk *disk, void *user)
{
    unsigned *count = user;

    (void)disk;
    (*count)++;
    return 0;
}

/* Who has disks attached is told at once, whoever waits before it. */
static void test_holding(struct bf_platform *platform)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_endpoint_spec spec = {0};
    struct job waiting;
    const struct bf_mover_request more = {.disk = "more", .tag = TAG_A, .holding = true};

    clear();
    put("first", TAG_A);
    put("other", "");
    start(&waiting, "second", 1);
    wait_waiting(1);
    uint64_t begin = bf_now_ms();
    ok(bf_mover_attach(platform, &conf, &more, bf_deadline_in(20000), &spec, &err) < 0 &&
           err.code == BF_E_MOVER_FULL && bf_now_ms() - begin < 1000,
       "who holds some is told at once that it is full");
    bf_error_clear(&err);
    take("other");
    ok(bf_mover_attach(platform, &conf, &more, bf_deadline_in(20000), &spec, &err) == 0,
       "and need not stand in the queue");
    bf_endpoint_spec_done(&spec);
    ok(bf_mover_detach_tag(platform, &conf, TAG_A, &err) == 0, "all are detached");
    finish(&waiting);
    ok(waiting.rc == 0, "who waited had its turn");
}

/* --- several movers --- */

struct any {
    pthread_t thread;
    struct bf_platform *platform;
    const char *disk;
    size_t index;
    int rc;
};

static void attach_any(struct any *any, bool holding, struct bf_error *err)
{
    struct bf_mover_conf confs[] = {conf, conf};
    struct bf_endpoint_spec spec = {0};
    const struct bf_mover_request request = {
        .disk = any->disk, .tag = TAG_A, .writable = true, .holding = holding};

    confs[1].id = "m2";
    any->index = 9;
    any->rc = bf_mover_attach_any(any->platform, confs, 2, &request, bf_deadline_in(20000),
                                  &any->index, &spec, err);
    bf_endpoint_spec_done(&spec);
}

static void *run_any(void *user)
{
    bf_auto_error err = BF_ERROR_INIT;

    attach_any(user, false, &err);
    return NULL;
}

static void test_any(struct bf_platform *platform)
{
    struct any one = {.platform = platform, .disk = "a"}, two = {.platform = platform, .disk = "b"};
    struct any waiting[2] = {{.disk = "c"}, {.disk = "d"}};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_mover_conf second = conf;

    second.id = "m2";
    clear();
    put_at("m1", "x", "");
    attach_any(&one, false, &err);
    ok(one.rc == 0 && one.index == 1, "the mover with more room is taken");
    put_at("m2", "y", TAG_B);
    attach_any(&one, false, &err);
    ok(one.rc == 0 && one.index == 1 && fake.attaches == 1,
       "what is attached for the tag is found where it is, though that one is full");
    attach_any(&two, true, &err);
    ok(two.rc == 0 && two.index == 0, "who holds some goes where there is room");
    two.disk = "e";
    uint64_t began = bf_now_ms();
    attach_any(&two, true, &err);
    ok(two.rc < 0 && err.code == BF_E_MOVER_FULL && bf_now_ms() - began < 1000 &&
           strstr(err.message, "all 4 slots of movers m1, m2"),
       "and is told at once that all are full: %s", err.message);
    for (unsigned i = 0; i < 2; i++) {
        waiting[i].platform = new_platform();
        if (pthread_create(&waiting[i].thread, NULL, run_any, &waiting[i]))
            abort();
        wait_waiting(i + 1);
    }
    ok(bf_mover_waiting("m1") == 2 && bf_mover_waiting("m2") == 2, "two wait at both");
    bf_error_clear(&err);
    ok(bf_mover_detach_tag(platform, &second, TAG_B, &err) == 0, "a slot is freed at one");
    pthread_join(waiting[0].thread, NULL);
    ok(waiting[0].rc == 0 && waiting[0].index == 1 && bf_mover_waiting("m1") == 1,
       "who came first has it");
    take("x"); /* by somebody else */
    pthread_join(waiting[1].thread, NULL);
    ok(waiting[1].rc == 0 && waiting[1].index == 0, "one freed by others is noticed at the other");
    ok(bf_mover_waiting("m1") == 0 && bf_mover_waiting("m2") == 0, "nobody waits");
    for (unsigned i = 0; i < 2; i++)
        bf_platform_close(waiting[i].platform);
}

static void test_list_and_names(struct bf_platform *platform)
{
    unsigned count = 0;
    struct bf_error err = BF_ERROR_INIT;
    static const char *const names[][2] = {{"  a b.c/d  ", "a_b.c_d"},
                                           {"../x", "_._x"},
                                           {"naa.6000c29f", "naa.6000c29f"},
                                           {"%2F\xc3\xa4", "_2F__"}};

    clear();
    put("a", TAG_A);
    put("b", "");
    put("c", "bf-short");
    ok(bf_mover_list(platform, &conf, count_disk, &count, &err) == 0 && count == 1,
       "only what has a tag of ours is listed");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        bf_auto_free char *name = bf_mover_export_name(names[i][0]);
        is_string(name, names[i][1], "name of \"%s\"", names[i][0]);
    }
    ok(!bf_mover_export_name(" \n"), "no name");
}

/* The machine that this service runs on: a device of this host. */
static void test_devices(struct bf_platform *platform)
{
    char directory[] = "/tmp/bf-devices.XXXXXX";
    struct bf_endpoint_spec spec = {0};
    struct bf_error err = BF_ERROR_INIT;
    const struct bf_mover_conf before = conf;

    if (!mkdtemp(directory))
        abort();
    clear();
    conf.devices = directory;
    conf.address = conf.tls_directory = NULL;
    conf.served_ms = 200;
    bf_auto_free char *part = bf_xasprintf("%s/virtio-vol-1-part1", directory);
    bf_auto_free char *other = bf_xasprintf("%s/virtio-vol-2", directory);
    bf_auto_free char *disk = bf_xasprintf("%s/scsi-0QEMU_QEMU_HARDDISK_vol-1", directory);
    const char *uri = disk;
    ok(symlink("/dev/null", part) == 0 && symlink("/dev/null", other) == 0, "devices");
    ok(attach_gives(platform, "vol-1", TAG_A, BF_E_MOVER_NOT_SERVING) && fake.count == 0,
       "a partition and another disk are not it, and it is detached again");
    ok(symlink("/dev/null", disk) == 0 && attach(platform, "vol-1", TAG_A, 1000, &spec, &err) == 0,
       "found by its serial");
    is_string(spec.uri, uri, "its URI");
    ok(!spec.tls_directory && spec.size_bytes == 4096, "no certificates; the size");
    bf_endpoint_spec_done(&spec);
    conf.devices = "/nonexistent";
    ok(attach_gives(platform, "vol-1", TAG_A, BF_E_MOVER_NOT_SERVING), "no such directory");
    unlink(part);
    unlink(other);
    unlink(disk);
    rmdir(directory);
    conf = before;
}

int main(void)
{
    struct bf_platform *platform = new_platform();

    test_one(platform);
    test_bad(platform);
    test_queue(platform);
    test_many();
    test_holding(platform);
    test_any(platform);
    test_list_and_names(platform);
    test_devices(platform);
    bf_platform_close(platform);
    return done();
}
