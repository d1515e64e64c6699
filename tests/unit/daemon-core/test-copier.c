/* SPDX-License-Identifier: Apache-2.0 */
/* What blockferry-copy says, put into numbers. */
#include "daemon/copier.h"

#include "tap.h"

static void test_lines(void)
{
    struct bf_error err = BF_ERROR_INIT;
    struct bf_copy_task task = {.verify_percent = 10};
    struct bf_disk_progress progress = {0};

    is_int(bf_copier_parse_line("{\"event\":\"start\",\"size\":100,\"to_send\":60}", &task,
                                &progress, &err),
           0, "start");
    is_u64(progress.to_send_bytes, 60, "to send");
    is_int(bf_copier_parse_line("{\"event\":\"progress\",\"size\":100,\"to_send\":60,\"done\":30,"
                                "\"sent\":20,\"zero\":10,\"rate\":5,\"eta_s\":null}",
                                &task, &progress, &err),
           0, "progress");
    is_u64(progress.done_bytes, 30, "done");
    is_u64(progress.eta_s, 0, "an eta that is not known");
    is_int(
        bf_copier_parse_line("{\"event\":\"done\",\"size\":100,\"sent\":50,\"zero\":10,\"read\":60,"
                             "\"seconds\":1.5,\"digest\":\"ab\",\"verified\":7}",
                             &task, &progress, &err),
        1, "done is told apart");
    is_u64(task.sent_bytes, 50, "sent");
    is_u64(task.to_send_bytes, 60, "what an event does not name stays");
    is_string(task.digest_root, "ab", "digest");
    is_string(task.verified, "10%", "verified as the policy wanted");
    bf_copy_task_done(&task);
}

static void test_trouble(void)
{
    struct bf_error err = BF_ERROR_INIT;
    struct bf_copy_task task = {0};
    struct bf_disk_progress progress = {0};

    is_int(
        bf_copier_parse_line("{\"event\":\"error\",\"code\":\"read-error\",\"message\":\"at 5\"}",
                             &task, &progress, &err),
        -1, "an error event");
    has_string(err.message, "at 5", "carries its message");
    is_error(&err, BF_E_READ_ERROR, "and its code");
    is_int(bf_copier_parse_line("Segmentation fault", &task, &progress, &err), -1, "no JSON");
    ok(bf_error_is_set(&err), "is an error");
    bf_error_clear(&err);
    is_int(bf_copier_parse_line("{\"event\":\"progress\",\"done\":\"12\"}", &task, &progress, &err),
           0, "a field of another type");
    is_u64(progress.done_bytes, 0, "is not believed");
}

int main(void)
{
    test_lines();
    test_trouble();
    return done();
}
