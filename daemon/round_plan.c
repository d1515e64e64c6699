/* SPDX-License-Identifier: Apache-2.0 */
/* Which disks a round carries, and how each of them. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/config.h"
#include "daemon/context.h"
#include "daemon/round.h"

enum { LEAF_BYTES = 64 * 1024, LEAF_HASH_BYTES = 16 };

void bf_round_note(struct json_object *holder, const char *format, ...)
{
    const char *before = bf_context_text(holder, "note");
    bf_auto_free char *text = NULL;
    bf_auto_free char *both = NULL;
    va_list args;

    va_start(args, format);
    text = bf_xvasprintf(format, args);
    va_end(args);
    if (before && strstr(before, text))
        return; /* a step run again */
    both = bf_xasprintf("%s%s%s", before ? before : "", before ? "; " : "", text);
    bf_json_add_string(holder, "note", both);
}

enum bf_copy_kind bf_round_kind_of(const char *text)
{
    if (bf_streq(text, "delta"))
        return BF_COPY_DELTA;
    return bf_streq(text, "compare") ? BF_COPY_COMPARE : BF_COPY_FULL;
}

/* --- files --- */

/* A disk's key is the platform's text: in hex it is a file name and stays unique. */
static char *file_name_of(const char *disk_key)
{
    bf_auto_buf hex = {0};

    for (const char *c = disk_key; *c && hex.length < 200; c++)
        bf_buf_addf(&hex, "%02x", (unsigned char)*c);
    return bf_steal(hex.text);
}

char *bf_digest_directory(const struct bf_config *config, const char *replication_id)
{
    return bf_xasprintf("%s/digests/%s", config->state_directory, replication_id);
}

char *bf_digest_path(const struct bf_config *config, const char *replication_id,
                     const char *disk_key, uint64_t number)
{
    bf_auto_free char *directory = bf_digest_directory(config, replication_id);
    bf_auto_free char *name = file_name_of(disk_key);

    return bf_xasprintf("%s/%s/%llu", directory, name, (unsigned long long)number);
}

char *bf_journal_path(const struct bf_config *config, const char *replication_id,
                      const char *disk_key, uint64_t number)
{
    bf_auto_free char *name = file_name_of(disk_key);

    return bf_xasprintf("%s/journals/%s/%s-%llu", config->state_directory, replication_id, name,
                        (unsigned long long)number);
}

/* The digest is there and of the disk's size. */
static bool digest_usable(struct bf_job *job, const char *key, uint64_t number, uint64_t size)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    bf_auto_free char *path =
        bf_digest_path(bf_job_config(job), inputs->replication.id, key, number);
    struct stat st;

    return stat(path, &st) == 0 &&
           (uint64_t)st.st_size == (size + LEAF_BYTES - 1) / LEAF_BYTES * LEAF_HASH_BYTES;
}

/* --- which disks --- */

static void note_disk_changes(struct bf_job *job, const struct bf_machine *machine,
                              struct json_object *round)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);

    for (size_t i = 0; i < inputs->volume_count; i++) {
        const char *key = inputs->volumes[i].disk_key;

        if (!bf_machine_disk(machine, key))
            bf_round_note(round, "disk %s was removed from the machine", key);
    }
}

int bf_round_list_disks(struct bf_job *job, const struct bf_machine *machine,
                        struct json_object *round, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    struct json_object *disks = json_object_new_array();

    /* Taken already: the disks are those of the snapshot. */
    if (bf_context_text(bf_context_object(round, "snapshot"), "ref")) {
        json_object_put(disks);
        return 0;
    }
    for (size_t i = 0; i < machine->disk_count; i++) {
        const struct bf_machine_disk *disk = &machine->disks[i];
        const struct bf_machine_disk *before =
            inputs->machine ? bf_machine_disk(inputs->machine, disk->key) : NULL;
        struct json_object *json;

        if (disk->removable || !bf_mapping_has_disk(&inputs->mapping, disk->key))
            continue;
        json = json_object_new_object();
        bf_json_add_string(json, "key", disk->key);
        bf_json_add_u64(json, "size", disk->size_bytes);
        if (before && !bf_streq(before->identity, disk->identity)) {
            bf_json_add_bool(json, "replaced", true);
            bf_round_note(json, "another disk is in its place (%s, was %s)",
                          disk->identity ? disk->identity : "unknown",
                          before->identity ? before->identity : "unknown");
        }
        if (inputs->volume_count && !bf_inputs_volume(inputs, disk->key))
            bf_round_note(round, "disk %s was added to the machine", disk->key);
        json_object_array_add(disks, json);
    }
    json_object_object_add(round, "disks", disks);
    note_disk_changes(job, machine, round);
    if (json_object_array_length(disks) == 0)
        return bf_fail(err, BF_E_DISK_UNSUPPORTED, 0,
                       "machine %s has no disk that the mapping wants", machine->name);
    return 0;
}

/* --- how --- */

static const struct bf_snapshot_disk *snapshot_disk(const struct bf_snapshot *snapshot,
                                                    const char *key)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (bf_streq(snapshot->disks[i].key, key))
            return &snapshot->disks[i];
    }
    return NULL;
}

/* The volume's last point holds this disk: changes can go on top of it. */
static const char *last_point_of(const struct bf_point_row *point, const char *key,
                                 uint64_t *ret_size, struct json_object **ret_volumes)
{
    struct json_object *disk;

    if (!point)
        return NULL;
    *ret_volumes = bf_context_parse(point->volumes);
    disk = bf_context_object(*ret_volumes, key);
    *ret_size = bf_context_u64(disk, "size");
    return bf_context_text(disk, "ref");
}

/* Invariant 3: any doubt leads to a comparison of the whole disk, and where there is nothing to
 * compare with, to a full copy.  Never is a delta believed that may have missed a block. */
static void plan_disk(struct bf_job *job, const struct bf_snapshot_disk *found,
                      struct json_object *round, struct json_object *disk)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    const struct bf_point_row *point = bf_inputs_point(inputs, 0);
    const char *key = bf_context_text(disk, "key");
    const struct bf_volume_row *volume = bf_inputs_volume(inputs, key);
    const char *forced = bf_context_text(round, "forced");
    bf_auto_json *volumes = NULL;
    uint64_t last_size = 0, size = found ? found->size_bytes : bf_context_u64(disk, "size");
    const char *last_point = last_point_of(point, key, &last_size, &volumes);
    bool digest, doubt;

    bf_json_add_u64(disk, "size", size);
    if (!volume || !volume->seeded || !last_point) {
        bf_json_add_string(disk, "kind", "full");
        return;
    }
    bf_json_add_string(disk, "last_point", last_point);
    bf_json_add_u64(disk, "last_number", point->number);
    digest = digest_usable(job, key, point->number, size);
    doubt = size != last_size || bf_context_bool(disk, "replaced");
    if (found && found->delta && !forced && !doubt) {
        bf_json_add_string(disk, "kind", "delta");
        bf_json_add_bool(disk, "digest_from", digest);
        bf_json_add_bool(disk, "no_digest", !digest); /* the leaves it leaves alone are unknown */
    } else if (!bf_streq(forced, "full")) {
        /* With the last point's digest the target needs not be read. */
        bf_json_add_string(disk, "kind", "compare");
        bf_json_add_bool(disk, "digest_from", digest);
    } else {
        bf_json_add_string(disk, "kind", "full");
    }
    if (forced)
        bf_round_note(disk, "no delta: %s was asked for", forced);
    else if (found && !found->delta)
        bf_round_note(disk, "no delta: %s",
                      found->reason ? found->reason : "the source keeps no change map of it");
    if (size != last_size)
        bf_round_note(disk, "its size differs from the last point's");
}

void bf_round_plan(struct bf_job *job, const struct bf_snapshot *snapshot,
                   struct json_object *round)
{
    struct json_object *disks = bf_context_array(round, "disks");
    enum bf_copy_kind most = BF_COPY_DELTA;

    for (size_t i = 0; i < json_object_array_length(disks); i++) {
        struct json_object *disk = json_object_array_get_idx(disks, i);
        enum bf_copy_kind kind;

        plan_disk(job, snapshot_disk(snapshot, bf_context_text(disk, "key")), round, disk);
        kind = bf_round_kind_of(bf_context_text(disk, "kind"));
        if (kind == BF_COPY_FULL || most == BF_COPY_DELTA)
            most = kind;
    }
    bf_json_add_string(round, "kind", bf_copy_kind_to_string(most));
}
