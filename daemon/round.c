/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/round.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/firmware_vars.h"
#include "daemon/ledger.h"
#include "daemon/plan.h"
#include "daemon/points.h"
#include "daemon/replication.h"

struct json_object *bf_round_context(struct bf_job *job)
{
    return bf_context_object(bf_job_context(job), "round");
}

bool bf_round_skipped(struct bf_job *job)
{
    return bf_context_bool(bf_job_context(job), "no_rounds");
}

void bf_round_forget(struct bf_job *job)
{
    json_object_object_del(bf_job_context(job), "round");
}

static struct json_object *round_ledger(struct bf_job *job)
{
    return bf_context_object(bf_round_context(job), "ledger");
}

static bool committed(struct bf_job *job)
{
    return bf_context_bool(bf_round_context(job), "committed");
}

static struct json_object *disk_at(struct json_object *round, size_t i)
{
    return json_object_array_get_idx(bf_context_array(round, "disks"), i);
}

static size_t disk_count(struct json_object *round)
{
    return json_object_array_length(bf_context_array(round, "disks"));
}

/* --- describe --- */

/* Invariant 2: no snapshot of an earlier round may be left when the next one is taken. */
int bf_round_remove_old_snapshots(struct bf_job *job, const char *ours, struct bf_error *err)
{
    bf_auto_ids ids = NULL;

    if (bf_ledger_open_ids(job, "snapshot", ours, &ids, err) != 0)
        return -1;
    for (char **id = ids; *id; id++) {
        if (bf_ledger_remove(job, *id, err) != 0)
            return bf_fail_in(err, "snapshot left of an earlier round");
    }
    return 0;
}

int bf_round_describe(struct bf_job *job, struct bf_error *err)
{
    struct json_object *round = bf_round_context(job);
    const char *trigger = bf_context_text(bf_job_params(job), "trigger");
    struct bf_platform *source;
    bf_auto_machine *machine = NULL;

    if (bf_round_skipped(job))
        return 0;
    if (bf_job_refresh(job, err) != 0)
        return -1;
    if (!bf_context_text(round, "id") &&
        bf_round_begin_row(job, round, trigger ? trigger : "manual", err) != 0)
        return -1;
    bf_log_field("round", bf_context_text(round, "id"));
    if (bf_job_source(job, &source, err) != 0 ||
        bf_round_remove_old_snapshots(job, bf_context_text(round_ledger(job), "snapshot"), err) !=
            0)
        return -1;
    if (bf_platform_machine(source, bf_job_inputs(job)->replication.machine_id, &machine, err) !=
        0) {
        if (err->code == BF_E_NO_SUCH_MACHINE)
            bf_error_recode(err, BF_E_MACHINE_GONE);
        return -1;
    }
    if (bf_round_list_disks(job, machine, round, err) != 0)
        return -1;
    return bf_replication_put_machine(job, machine, err);
}

int bf_round_undo_describe(struct bf_job *job, struct bf_error *err)
{
    struct json_object *round = bf_round_context(job);

    if (committed(job) || !bf_context_text(round, "id"))
        return 0;
    return bf_round_put_failed(job, round, err);
}

/* --- volumes --- */

static int create_volume(struct bf_job *job, struct json_object *disk, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    const char *key = bf_context_text(disk, "key");
    bf_auto_free char *holder_key = bf_xasprintf("volume/%s", key);
    bf_auto_free char *name = bf_xasprintf("%s %s", inputs->replication.name, key);
    bf_auto_free char *tag = NULL;
    bf_auto_free char *ref = NULL;
    struct bf_platform *target;
    struct bf_volume_request request = {.name = name,
                                        .storage = inputs->mapping.storage,
                                        .disk_key = key,
                                        .size_bytes = bf_context_u64(disk, "size")};

    if (bf_job_target(job, &target, err) != 0 ||
        bf_ledger_intend(job, round_ledger(job), holder_key, BF_SIDE_TARGET, "volume", name, NULL,
                         &tag, err) != 0)
        return -1;
    request.tag = tag;
    if (bf_target_create_volume(target, &request, &ref, err) != 0)
        return bf_fail_in(err, "volume for disk %s", key);
    return bf_points_put_volume(job, bf_context_text(round_ledger(job), holder_key), key, ref,
                                request.size_bytes, false, err);
}

static int grow_volume(struct bf_job *job, const struct bf_volume_row *volume,
                       struct json_object *disk, struct bf_error *err)
{
    uint64_t size = bf_context_u64(disk, "size");
    bf_auto_free char *ref = NULL;
    struct bf_platform *target;

    if (bf_job_target(job, &target, err) != 0 ||
        bf_target_resize_volume(target, volume->ref, size, &ref, err) != 0)
        return bf_fail_in(err, "volume of disk %s", volume->disk_key);
    bf_round_note(disk, "the disk has grown from %llu to %llu bytes",
                  (unsigned long long)volume->size_bytes, (unsigned long long)size);
    return bf_points_put_volume(job, volume->ledger_id, volume->disk_key, ref, size, volume->seeded,
                                err);
}

int bf_round_volumes(struct bf_job *job, struct bf_error *err)
{
    struct json_object *round = bf_round_context(job);

    if (bf_round_skipped(job))
        return 0;
    for (size_t i = 0; i < disk_count(round); i++) {
        struct json_object *disk = disk_at(round, i);
        const struct bf_volume_row *volume =
            bf_inputs_volume(bf_job_inputs(job), bf_context_text(disk, "key"));

        if (!volume) {
            if (create_volume(job, disk, err) != 0)
                return -1;
        } else if (volume->size_bytes < bf_context_u64(disk, "size")) {
            if (grow_volume(job, volume, disk, err) != 0)
                return -1;
        }
        if (bf_job_check(job, err) != 0)
            return -1;
    }
    return bf_job_refresh(job, err);
}

/* --- snapshot --- */

static int take_snapshot(struct bf_job *job, struct json_object *round, const char *tag,
                         struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    size_t count = disk_count(round);
    bf_auto_free const char **keys = bf_xcalloc(count + 1, sizeof(*keys));
    struct bf_snapshot_request request = {.machine_id = inputs->replication.machine_id,
                                          .tag = tag,
                                          .disk_keys = keys,
                                          .baseline = inputs->replication.baseline,
                                          .quiesce = inputs->policy.quiesce};
    struct bf_platform *source;

    for (size_t i = 0; i < count; i++)
        keys[i] = bf_context_text(disk_at(round, i), "key");
    if (bf_context_text(round, "forced"))
        request.baseline = NULL;
    if (bf_job_source(job, &source, err) != 0 ||
        bf_source_prepare(source, request.machine_id, err) != 0)
        return -1;
    return bf_source_snapshot(source, &request, ret_snapshot, err);
}

static void keep_snapshot(struct json_object *round, const struct bf_snapshot *snapshot)
{
    struct json_object *json = bf_context_object(round, "snapshot");

    bf_json_add_string(json, "ref", snapshot->ref);
    bf_json_add_string(json, "baseline", snapshot->baseline);
    bf_json_add_bool(json, "quiesced", snapshot->quiesced);
    bf_json_add_i64(json, "taken_us", snapshot->taken_us);
    if (snapshot->quiesce_note)
        bf_round_note(round, "not quiesced: %s", snapshot->quiesce_note);
    if (snapshot->spread_us)
        bf_round_note(round, "the disks are of moments at most %llu ms apart",
                      (unsigned long long)(snapshot->spread_us / 1000));
}

int bf_round_snapshot(struct bf_job *job, struct bf_error *err)
{
    struct json_object *round = bf_round_context(job);
    const struct bf_inputs *inputs = bf_job_inputs(job);
    struct bf_snapshot *snapshot = NULL;
    bf_auto_free char *tag = NULL;
    bf_auto_free char *name = NULL;

    if (bf_round_skipped(job))
        return 0;
    /* Taken already, and what it said is stored: asking again could find the job of a
     * crashed round half gone. */
    if (bf_context_text(bf_context_object(round, "snapshot"), "ref"))
        return 0;
    name = bf_xasprintf("%s round %llu", inputs->replication.name,
                        (unsigned long long)bf_context_u64(round, "number"));
    if (bf_ledger_intend(job, round_ledger(job), "snapshot", BF_SIDE_SOURCE, "snapshot", name,
                         inputs->replication.machine_id, &tag, err) != 0)
        return -1;
    if (take_snapshot(job, round, tag, &snapshot, err) != 0)
        return -1;
    keep_snapshot(round, snapshot);
    bf_round_plan(job, snapshot, round);
    bf_snapshot_free(snapshot);
    if (bf_firmware_vars_keep(job, round, err) != 0)
        return -1;
    /* Invariant 1: the new baseline is durable before the first byte is written. */
    return bf_round_put_running(job, round, err);
}

int bf_round_undo_snapshot(struct bf_job *job, struct bf_error *err)
{
    const char *id = bf_context_text(round_ledger(job), "snapshot");

    if (committed(job) || !id)
        return 0;
    return bf_ledger_remove(job, id, err);
}

/* --- copy --- */

/* What is open while a disk is copied. */
struct open_disk {
    struct bf_source_disk *source;
    struct bf_target_volume *volume;
    char *digest;
    char *digest_from;
    char *journal;
};

/* The next round is a full one on this volume. */
static int seed_again(struct bf_job *job, const struct bf_volume_row *volume, struct bf_error *err)
{
    bf_auto_error why = BF_ERROR_INIT;

    if (bf_points_put_volume(job, volume->ledger_id, volume->disk_key, volume->ref,
                             volume->size_bytes, false, &why) == 0)
        return -1;
    bf_error_move(err, &why);
    return -1;
}

static int open_target(struct bf_job *job, struct json_object *disk, struct open_disk *open,
                       struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    const char *key = bf_context_text(disk, "key");
    const struct bf_volume_row *volume = bf_inputs_volume(inputs, key);
    const char *last_point = bf_context_text(disk, "last_point");
    bf_auto_free char *holder_key = bf_xasprintf("layer/%s", key);
    bf_auto_free char *tag = NULL;
    struct bf_platform *target;

    if (!volume)
        return bf_fail(err, BF_E_INTERNAL, 0, "disk %s has no volume", key);
    if (bf_job_target(job, &target, err) != 0 ||
        bf_ledger_intend(job, round_ledger(job), holder_key, BF_SIDE_TARGET, "layer", key,
                         volume->ledger_id, &tag, err) != 0)
        return -1;
    if (bf_target_open_volume(target, volume->ref, tag, last_point == NULL, last_point,
                              &open->volume, err) == 0)
        return 0;
    return err->code == BF_E_BASELINE_LOST ? seed_again(job, volume, err) : -1;
}

static int prepare_files(struct bf_job *job, struct json_object *disk, struct open_disk *open,
                         struct bf_error *err)
{
    const struct bf_config *config = bf_job_config(job);
    const char *id = bf_job_inputs(job)->replication.id;
    const char *key = bf_context_text(disk, "key");
    uint64_t number = bf_context_u64(bf_round_context(job), "number");
    uint64_t last = bf_context_u64(disk, "last_number");
    char *slash;
    int r;

    open->digest = bf_digest_path(config, id, key, number);
    open->journal = bf_journal_path(config, id, key, number);
    if (last && bf_context_bool(disk, "digest_from"))
        open->digest_from = bf_digest_path(config, id, key, last);
    slash = strrchr(open->digest, '/');
    *slash = '\0';
    r = bf_directory_make(open->digest, 0700, err);
    *slash = '/';
    if (r != 0)
        return -1;
    slash = strrchr(open->journal, '/');
    *slash = '\0';
    r = bf_directory_make(open->journal, 0700, err);
    *slash = '/';
    return r;
}

static int open_disk(struct bf_job *job, struct json_object *disk, struct open_disk *open,
                     struct bf_copy_task *task, struct bf_error *err)
{
    struct json_object *round = bf_round_context(job);
    const char *key = bf_context_text(disk, "key");
    bf_auto_free char *layer = bf_xasprintf("layer/%s", key);
    struct bf_platform *source;
    const char *ref;

    if (bf_context_need(bf_context_object(round, "snapshot"), "ref", &ref, err) != 0 ||
        bf_job_source(job, &source, err) != 0 || prepare_files(job, disk, open, err) != 0 ||
        bf_source_open_disk(source, ref, key, &open->source, err) != 0 ||
        open_target(job, disk, open, err) != 0)
        return bf_fail_in(err, "disk %s", key);
    task->disk_key = key;
    task->kind = bf_round_kind_of(bf_context_text(disk, "kind"));
    task->source = bf_source_disk_spec(open->source);
    task->target = bf_target_volume_spec(open->volume);
    task->source_id = bf_context_text(round, "id");
    task->target_id = bf_context_text(round_ledger(job), layer);
    task->digest = bf_context_bool(disk, "no_digest") ? NULL : open->digest;
    task->digest_from = open->digest_from;
    task->journal = open->journal;
    task->verify_percent = bf_job_inputs(job)->policy.verify_percent;
    return 0;
}

static int still_there(struct bf_job *job, const char *disk_key, struct bf_error *err)
{
    const char *ref = bf_context_text(bf_context_object(bf_round_context(job), "snapshot"), "ref");
    struct bf_source_disk *disk;
    struct bf_platform *source;

    if (bf_job_source(job, &source, err) != 0 ||
        bf_source_open_disk(source, ref, disk_key, &disk, err) != 0)
        return -1;
    bf_source_close_disk(disk);
    return 0;
}

/* All were read to the end: of what the snapshot froze? */
static int check_snapshot(struct bf_job *job, struct bf_error *err)
{
    const char *ref = bf_context_text(bf_context_object(bf_round_context(job), "snapshot"), "ref");
    struct bf_platform *source;

    if (bf_job_source(job, &source, err) != 0 || bf_source_check_snapshot(source, ref, err) != 0)
        return bf_fail_in(err, "what was copied is not believed");
    return 0;
}

static int close_disks(struct open_disk *open, size_t count, struct bf_error *err)
{
    int result = 0;

    for (size_t i = 0; i < count; i++) {
        bf_auto_error close_err = BF_ERROR_INIT;

        if (open[i].source)
            bf_source_close_disk(open[i].source);
        if (open[i].volume && bf_target_close_volume(open[i].volume, &close_err) != 0 &&
            result == 0) {
            result = -1;
            if (!bf_error_is_set(err))
                bf_error_move(err, &close_err);
        }
        free(open[i].digest);
        free(open[i].digest_from);
        free(open[i].journal);
    }
    return result;
}

static void keep_result(struct json_object *disk, const struct bf_copy_task *task)
{
    bf_json_add_u64(disk, "to_send", task->to_send_bytes);
    bf_json_add_u64(disk, "sent", task->sent_bytes);
    bf_json_add_u64(disk, "zero", task->zero_bytes);
    bf_json_add_u64(disk, "read", task->read_bytes);
    bf_json_add_u64(disk, "ms", task->copy_ms);
    bf_json_add_string(disk, "digest", task->digest_root);
    bf_json_add_string(disk, "verified", task->verified);
}

/* As many disks from `first` on as the source lets be read at a time: all, as a rule. */
static int copy_some(struct bf_job *job, struct open_disk *open, struct bf_copy_task *tasks,
                     size_t first, size_t *ret_end, struct bf_error *err)
{
    struct json_object *round = bf_round_context(job);
    size_t end = first, count = disk_count(round);
    int r = 0;

    for (; end < count && r == 0; end++) {
        r = open_disk(job, disk_at(round, end), &open[end], &tasks[end], err);
        if (r != 0 && err->code == BF_E_SOURCE_FULL && end > first) {
            bf_error_clear(err);
            close_disks(&open[end], 1, err); /* nothing of it is open but names of files */
            open[end] = (struct open_disk){0};
            r = 0;
            break;
        }
    }
    if (r == 0)
        r = bf_copier_run(job, tasks + first, end - first, bf_job_inputs(job)->policy.retries,
                          still_there, err);
    if (r == 0) /* while they are still open */
        r = check_snapshot(job, err);
    if (close_disks(open + first, end - first, err) != 0)
        r = -1;
    *ret_end = end;
    return r;
}

int bf_round_copy(struct bf_job *job, struct bf_error *err)
{
    struct json_object *round = bf_round_context(job);
    size_t count = disk_count(round);
    bf_auto_free struct open_disk *open = NULL;
    bf_auto_free struct bf_copy_task *tasks = NULL;
    int r = 0;

    if (bf_round_skipped(job) || bf_context_bool(round, "copied"))
        return 0;
    open = bf_xcalloc(count + 1, sizeof(*open));
    tasks = bf_xcalloc(count + 1, sizeof(*tasks));
    for (size_t first = 0, end = 0; first < count && r == 0; first = end)
        r = copy_some(job, open, tasks, first, &end, err);
    for (size_t i = 0; i < count; i++)
        keep_result(disk_at(round, i), &tasks[i]);
    for (size_t i = 0; i < count; i++)
        bf_copy_task_done(&tasks[i]);
    if (r != 0)
        return -1;
    bf_json_add_bool(round, "copied", true);
    return bf_round_put_running(job, round, err);
}

static void remove_files(struct bf_job *job, struct json_object *round)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    uint64_t number = bf_context_u64(round, "number");

    if (number)
        bf_firmware_vars_remove(job, number);
    for (size_t i = 0; i < disk_count(round); i++) {
        const char *key = bf_context_text(disk_at(round, i), "key");
        bf_auto_free char *digest =
            bf_digest_path(bf_job_config(job), inputs->replication.id, key, number);
        bf_auto_free char *part = bf_xasprintf("%s.part", digest);
        bf_auto_free char *journal =
            bf_journal_path(bf_job_config(job), inputs->replication.id, key, number);
        bf_auto_error err = BF_ERROR_INIT;

        if (bf_file_remove(digest, &err) != 0 || bf_file_remove(part, &err) != 0 ||
            bf_file_remove(journal, &err) != 0)
            bf_log_error(BF_LOG_WARNING, &err, "files of a failed round");
    }
}

int bf_round_undo_copy(struct bf_job *job, struct bf_error *err)
{
    struct json_object *round = bf_round_context(job);
    int result = 0;

    if (committed(job))
        return 0;
    for (size_t i = 0; i < disk_count(round); i++) {
        bf_auto_free char *key =
            bf_xasprintf("layer/%s", bf_context_text(disk_at(round, i), "key"));
        const char *id = bf_context_text(round_ledger(job), key);
        bf_auto_error drop_err = BF_ERROR_INIT;

        if (id && bf_ledger_remove(job, id, &drop_err) != 0) {
            result = -1;
            if (!bf_error_is_set(err))
                bf_error_move(err, &drop_err);
        }
    }
    remove_files(job, round);
    return result;
}

/* --- point, commit, and what comes after --- */

int bf_round_point(struct bf_job *job, struct bf_error *err)
{
    struct json_object *round = bf_round_context(job);
    struct bf_platform *target;

    if (bf_round_skipped(job))
        return 0;
    if (bf_job_target(job, &target, err) != 0)
        return -1;
    for (size_t i = 0; i < disk_count(round); i++) {
        struct json_object *disk = disk_at(round, i);
        const char *key = bf_context_text(disk, "key");
        const struct bf_volume_row *volume = bf_inputs_volume(bf_job_inputs(job), key);
        bf_auto_free char *holder_key = bf_xasprintf("layer/%s", key);
        bf_auto_free char *tag = NULL;
        bf_auto_free char *ref = NULL;
        const char *id;

        if (!volume)
            return bf_fail(err, BF_E_INTERNAL, 0, "disk %s has no volume", key);
        if (bf_context_need(round_ledger(job), holder_key, &id, err) != 0)
            return -1;
        tag = bf_ledger_tag(id);
        if (bf_target_make_point(target, volume->ref, tag, &ref, err) != 0)
            return bf_fail_in(err, "point of disk %s", key);
        bf_json_add_string(disk, "point", ref);
    }
    return 0;
}

int bf_round_commit(struct bf_job *job, struct bf_error *err)
{
    struct json_object *round = bf_round_context(job);

    if (bf_round_skipped(job) || committed(job))
        return 0;
    bf_json_add_bool(round, "committed", true);
    if (bf_round_put_commit(job, round, err) != 0) {
        bf_json_add_bool(round, "committed", false);
        return -1;
    }
    return bf_job_refresh(job, err);
}

int bf_round_release(struct bf_job *job, struct bf_error *err)
{
    const char *id;

    if (bf_round_skipped(job))
        return 0;
    if (bf_context_need(round_ledger(job), "snapshot", &id, err) != 0)
        return -1;
    return bf_ledger_remove(job, id, err); /* it leaves the baseline */
}

/* Every baseline of ours but the present one: the last round's, and what a crash left. */
int bf_round_drop(struct bf_job *job, struct bf_error *err)
{
    if (bf_round_skipped(job))
        return 0;
    if (bf_ledger_remove_kind(job, "baseline", err) != 0)
        return bf_fail_in(err, "old baseline");
    return 0;
}

/* What follows is undone when it fails, and the round is not, being committed. */
int bf_round_keep(struct bf_job *job, struct bf_error *err)
{
    (void)job, (void)err;
    return 0;
}

int bf_round_undo_keep(struct bf_job *job, struct bf_error *err)
{
    return bf_round_release(job, err) < 0 ? -1 : bf_round_drop(job, err);
}

static const struct bf_step round_steps[] = {
    BF_ROUND_STEPS(""),
    {"retention", bf_points_retention, NULL, true},
    {"inspect", bf_plan_step, NULL, true},
};

const struct bf_job_kind bf_job_kind_round = {
    .name = "round",
    .steps = round_steps,
    .step_count = bf_array_length(round_steps),
    .begin = bf_replication_round_begins,
    .end = bf_replication_round_ended,
};
