/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/text.h"
#include "seam.h"

static int do_source_precheck(struct seam_call *call, struct bf_error *err)
{
    bf_auto_findings findings = {0};
    bf_auto_machine *machine = NULL;

    if (bf_platform_machine(call->platform, seam_need(call, "machine"), &machine, err) < 0 ||
        bf_source_precheck(call->platform, machine, &findings, err) < 0)
        return -1;
    json_object_object_add(call->out, "findings", bf_findings_to_json(&findings));
    return 0;
}

static int do_prepare(struct seam_call *call, struct bf_error *err)
{
    return bf_source_prepare(call->platform, seam_need(call, "machine"), err);
}

static void put_snapshot(struct seam_call *call, const struct bf_snapshot *snapshot)
{
    struct json_object *disks = json_object_new_object();

    bf_json_add_string(call->out, "ref", snapshot->ref);
    bf_json_add_string(call->out, "baseline", snapshot->baseline);
    bf_json_add_bool(call->out, "quiesced", snapshot->quiesced);
    bf_json_add_string(call->out, "quiesce_note", snapshot->quiesce_note);
    bf_json_add_i64(call->out, "taken_us", snapshot->taken_us);
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct json_object *disk = json_object_new_object();
        bf_json_add_u64(disk, "size", snapshot->disks[i].size_bytes);
        bf_json_add_bool(disk, "delta", snapshot->disks[i].delta);
        bf_json_add_string(disk, "reason", snapshot->disks[i].reason);
        json_object_object_add(disks, snapshot->disks[i].key, disk);
    }
    json_object_object_add(call->out, "disks", disks);
}

static int do_snapshot(struct seam_call *call, struct bf_error *err)
{
    static const char *const modes[] = {"try", "require", "off"};
    struct json_object *keys = seam_object(call, "disks");
    const char *quiesce = seam_text(call, "quiesce");
    const char *names[32] = {0};
    struct bf_snapshot *snapshot;
    struct bf_snapshot_request request = {
        .machine_id = seam_need(call, "machine"),
        .tag = seam_need(call, "tag"),
        .disk_keys = names,
        .baseline = seam_text(call, "baseline"),
        .quiesce = BF_QUIESCE_TRY,
    };

    for (size_t i = 0; keys && i < json_object_array_length(keys) && i < 31; i++)
        names[i] = json_object_get_string(json_object_array_get_idx(keys, i));
    for (unsigned i = 0; quiesce && i < BF_QUIESCE_MAX; i++) {
        if (bf_streq(quiesce, modes[i]))
            request.quiesce = (enum bf_quiesce)i;
    }
    if (bf_source_snapshot(call->platform, &request, &snapshot, err) < 0)
        return -1;
    put_snapshot(call, snapshot);
    bf_snapshot_free(snapshot);
    return 0;
}

static int do_open_disk(struct seam_call *call, struct bf_error *err)
{
    size_t handle = seam_free_handle((void **)seam_state.disks);

    if (bf_source_open_disk(call->platform, seam_need(call, "ref"), seam_need(call, "disk"),
                            &seam_state.disks[handle], err) < 0)
        return -1;
    seam_put_spec(call, bf_source_disk_spec(seam_state.disks[handle]), handle);
    return 0;
}

static int do_close_disk(struct seam_call *call, struct bf_error *err)
{
    size_t handle = seam_number(call, "handle", SEAM_HANDLES_MAX);

    (void)err;
    bf_source_close_disk(seam_state.disks[handle]);
    seam_state.disks[handle] = NULL;
    return 0;
}

static int do_release(struct seam_call *call, struct bf_error *err)
{
    return bf_source_release(call->platform, seam_need(call, "machine"), seam_need(call, "ref"),
                             err);
}

static int do_release_tag(struct seam_call *call, struct bf_error *err)
{
    return bf_source_release_tag(call->platform, seam_need(call, "machine"), seam_need(call, "tag"),
                                 err);
}

static int do_drop_baseline(struct seam_call *call, struct bf_error *err)
{
    return bf_source_drop_baseline(call->platform, seam_need(call, "machine"),
                                   seam_need(call, "baseline"), err);
}

const struct seam_command seam_source_commands[] = {
    {"source_precheck", do_source_precheck},
    {"prepare", do_prepare},
    {"snapshot", do_snapshot},
    {"open_disk", do_open_disk},
    {"close_disk", do_close_disk},
    {"release", do_release},
    {"release_tag", do_release_tag},
    {"drop_baseline", do_drop_baseline},
    {NULL, NULL},
};
