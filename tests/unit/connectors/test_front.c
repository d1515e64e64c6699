/* SPDX-License-Identifier: Apache-2.0 */
/* The front, by means of the skeleton connector: cancel, fallbacks, tags, both ends of calls. */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "skeleton.h"
#include "tests/unit/tap.h"

#define TAG "bf-00112233445566aa"

static int count_machines(const struct bf_machine *machine, void *user)
{
    is_string(machine->name, "m1", "machine's name");
    ++*(int *)user;
    return 0;
}

static int count_tagged(const char *kind, const char *tag, const char *ref, const char *name,
                        void *user)
{
    (void)ref;
    (void)name;
    is_string(kind, "snapshot", "kind of the thing tagged");
    is_string(tag, TAG, "its tag");
    ++*(int *)user;
    return 0;
}

static void test_tags(void)
{
    char tag[BF_TAG_LENGTH + 1];

    ok(bf_tag_valid(TAG), "a tag is a tag");
    ok(!bf_tag_valid(TAG "0"), "a longer one is not");
    ok(!bf_tag_valid("bf-00112233445566aA"), "capitals are not");
    ok(!bf_tag_valid("bf-0011"), "a short one is not");
    ok(!bf_tag_of(NULL, tag), "NULL is not");
    ok(bf_tag_of(TAG "-web.raw", tag), "a name may begin with a tag");
    is_string(tag, TAG, "the tag of a name");
    ok(!bf_tag_of(TAG "b-web.raw", tag), "a longer run of digits is no tag");
    ok(!bf_tag_of(TAG "Z", tag), "a letter behind it makes it none");
}

static void test_source(struct bf_platform *platform)
{
    struct bf_error err = BF_ERROR_INIT;
    const char *const keys[] = {"disk", NULL};
    struct bf_snapshot_request request = {.machine_id = "m1", .tag = TAG, .disk_keys = keys};
    struct bf_snapshot *snapshot = NULL, *again = NULL;
    struct bf_source_disk *disk = NULL;
    int count = 0;

    ok(bf_source_snapshot(platform, &request, &snapshot, &err) == 0, "a snapshot is taken");
    ok(bf_source_snapshot(platform, &request, &again, &err) == 0, "and found again by its tag");
    is_string(again->ref, snapshot->ref, "it is the same");
    ok(bf_source_open_disk(platform, snapshot->ref, "disk", &disk, &err) == 0, "its disk opens");
    ok(bf_source_disk_spec(disk)->size_bytes == 4096, "size of the disk");
    bf_source_close_disk(disk);
    ok(bf_platform_tagged(platform, count_tagged, &count, &err) == 0 && count == 1, "it is listed");
    ok(bf_source_prepare(platform, "m1", &err) == 0, "prepare has a fallback");
    ok(bf_source_drop_baseline(platform, "m1", "x", &err) == 0, "drop_baseline has a fallback");
    ok(bf_source_release(platform, "m1", snapshot->ref, &err) == 0, "it is released");
    ok(bf_source_release_tag(platform, "m1", TAG, &err) == 0, "releasing what is gone succeeds");
    count = 0;
    ok(bf_platform_tagged(platform, count_tagged, &count, &err) == 0 && count == 0, "none is left");
    bf_snapshot_free(snapshot);
    bf_snapshot_free(again);
    ok(!bf_error_is_set(&err), "no error is left behind");
}

static void test_cancel(struct bf_platform *platform)
{
    bf_auto_error err = BF_ERROR_INIT;
    int count = 0;

    bf_platform_cancel(platform);
    ok(bf_platform_machines(platform, count_machines, &count, &err) == -1, "cancelled: fails");
    ok(err.code == BF_E_CANCELLED, "with the error for it");
    bf_error_clear(&err);
    ok(bf_source_release_tag(platform, "m1", TAG, &err) == 0, "a removal is not cancelled");
    bf_platform_uncancel(platform);
    ok(bf_platform_machines(platform, count_machines, &count, &err) == 0 && count == 1,
       "works again afterwards");
    ok(bf_platform_pause(platform, 1, bf_deadline_in(1000), &err) == 0, "a pause ends");
    bf_platform_cancel(platform);
    uint64_t before = bf_now_ms();
    ok(bf_platform_pause(platform, 10000, bf_deadline_in(20000), &err) == -1 &&
           bf_now_ms() - before < 5000,
       "a cancel ends a pause at once");
    bf_platform_uncancel(platform);
}

static void test_no_target(struct bf_platform *platform)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_error deadline = BF_ERROR_INIT;
    struct bf_platform_info info = {0};

    ok(bf_target_delete_volume(platform, "x", &err) == -1, "a source is no target");
    ok(err.code == BF_E_PLATFORM_UNSUPPORTED, "and says so");
    bf_error_clear(&err);
    ok(bf_platform_info(platform, &info, &err) == 0 && info.can_source && !info.can_target,
       "as does its info");
    bf_platform_info_done(&info);
    ok(bf_platform_pause(platform, 5, bf_deadline_in(0), &deadline) == -1, "a deadline passes");
    is_error(&deadline, BF_E_DEADLINE, "and is told as such");
}

static int never_create(struct bf_platform *platform, const struct bf_launch_request *request,
                        char **ret_machine_ref, struct bf_error *err)
{
    (void)platform;
    (void)request;
    (void)ret_machine_ref;
    return bf_fail(err, BF_E_INTERNAL, 0, "the connector was asked");
}

/* A connector that does not know of it would make the machine without. */
static void test_no_companion(const struct bf_platform_conf *conf)
{
    struct bf_target_ops target = {.create_machine = never_create};
    struct bf_connector_ops ops = skeleton_ops;
    struct bf_machine machine = {0};
    struct bf_launch_disk disk = {.clone_ref = "c"};
    struct bf_launch_request request = {.tag = "bf-0123456789abcdef",
                                        .name = "m",
                                        .machine = &machine,
                                        .disks = &disk,
                                        .disk_count = 1,
                                        .companion = true};
    bf_auto_platform *platform = NULL;
    bf_auto_error err = BF_ERROR_INIT;
    char *ref = NULL;

    ops.target = &target;
    ok(bf_platform_open_with(&ops, conf, &platform, &err) == 0, "a target");
    ok(!bf_target_takes_companion(platform), "it knows no companion");
    ok(bf_target_create_machine(platform, &request, &ref, &err) == -1, "and is not asked for one");
    is_error(&err, BF_E_PLATFORM_UNSUPPORTED, "which is told");
}

int main(void)
{
    char directory[] = "/tmp/bf-front-XXXXXX";
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_platform *platform = NULL;
    struct bf_platform *unknown = NULL;
    struct bf_platform_conf conf = {
        .name = "files", .type = "skeleton", .url = directory, .work_directory = "/tmp"};
    int count = 0;

    if (!mkdtemp(directory))
        return 1;
    bf_auto_free char *disk = bf_xasprintf("%s/m1.disk", directory);
    char zeroes[4096] = {0};
    ok(bf_file_replace(disk, zeroes, sizeof(zeroes), 0600, &err) == 0, "a machine of one file");

    test_tags();
    ok(bf_platform_open(&conf, &unknown, &err) == -1 && err.code == BF_E_PLATFORM_TYPE,
       "a type that is not in the registry is refused");
    bf_error_clear(&err);
    ok(bf_platform_open_with(&skeleton_ops, &conf, &platform, &err) == 0, "open");
    ok(bf_platform_machines(platform, count_machines, &count, &err) == 0 && count == 1, "machines");
    test_source(platform);
    test_cancel(platform);
    test_no_target(platform);
    test_no_companion(&conf);
    ok(bf_directory_remove(directory, &err) == 0, "nothing is left");
    return done();
}
