/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/text.h"
#include "seam.h"

static int do_target_precheck(struct seam_call *call, struct bf_error *err)
{
    bf_auto_findings findings = {0};
    bf_auto_machine *machine = NULL;

    if (bf_machine_from_json(seam_object(call, "machine"), &machine, err) < 0 ||
        bf_target_precheck(call->platform, machine, seam_object(call, "mapping"), &findings, err) <
            0)
        return -1;
    json_object_object_add(call->out, "findings", bf_findings_to_json(&findings));
    return 0;
}

static int do_adopt_precheck(struct seam_call *call, struct bf_error *err)
{
    bf_auto_findings findings = {0};
    struct bf_adopt_request request = {.name = "adopted",
                                       .storage = seam_text(call, "storage"),
                                       .disk_key = seam_need(call, "disk"),
                                       .place = seam_need(call, "place")};

    if (bf_target_adopt_precheck(call->platform, &request, &findings, err) < 0)
        return -1;
    json_object_object_add(call->out, "findings", bf_findings_to_json(&findings));
    return 0;
}

static int do_create_volume(struct seam_call *call, struct bf_error *err)
{
    struct bf_volume_request request = {
        .tag = seam_need(call, "tag"),
        .name = seam_need(call, "name"),
        .storage = seam_text(call, "storage"),
        .disk_key = seam_need(call, "disk"),
        .size_bytes = seam_number(call, "size", 0),
    };
    char *ref;

    if (bf_target_create_volume(call->platform, &request, &ref, err) < 0)
        return -1;
    seam_put_text(call, "volume", ref);
    return 0;
}

static int do_resize_volume(struct seam_call *call, struct bf_error *err)
{
    char *ref;

    if (bf_target_resize_volume(call->platform, seam_need(call, "volume"),
                                seam_number(call, "size", 0), &ref, err) < 0)
        return -1;
    seam_put_text(call, "volume", ref);
    return 0;
}

static int do_delete_volume(struct seam_call *call, struct bf_error *err)
{
    return bf_target_delete_volume(call->platform, seam_need(call, "volume"), err);
}

static int do_open_volume(struct seam_call *call, struct bf_error *err)
{
    size_t handle = seam_free_handle((void **)seam_state.volumes);
    const char *last = seam_text(call, "last_point");

    if (bf_target_open_volume(call->platform, seam_need(call, "volume"), seam_need(call, "tag"),
                              !last, last, &seam_state.volumes[handle], err) < 0)
        return -1;
    seam_put_spec(call, bf_target_volume_spec(seam_state.volumes[handle]), handle);
    return 0;
}

static int do_close_volume(struct seam_call *call, struct bf_error *err)
{
    size_t handle = seam_number(call, "handle", SEAM_HANDLES_MAX);
    struct bf_target_volume *volume = seam_state.volumes[handle];

    seam_state.volumes[handle] = NULL;
    return bf_target_close_volume(volume, err);
}

static int do_drop_round(struct seam_call *call, struct bf_error *err)
{
    return bf_target_drop_round(call->platform, seam_need(call, "volume"), seam_need(call, "tag"),
                                err);
}

static int do_make_point(struct seam_call *call, struct bf_error *err)
{
    char *ref;

    if (bf_target_make_point(call->platform, seam_need(call, "volume"), seam_need(call, "tag"),
                             &ref, err) < 0)
        return -1;
    seam_put_text(call, "point", ref);
    return 0;
}

static int do_delete_point(struct seam_call *call, struct bf_error *err)
{
    return bf_target_delete_point(call->platform, seam_need(call, "volume"),
                                  seam_need(call, "point"), err);
}

static int do_open_point(struct seam_call *call, struct bf_error *err)
{
    size_t handle = seam_free_handle((void **)seam_state.volumes);

    if (bf_target_open_point(call->platform, seam_need(call, "volume"), seam_need(call, "point"),
                             &seam_state.volumes[handle], err) < 0)
        return -1;
    seam_put_spec(call, bf_target_volume_spec(seam_state.volumes[handle]), handle);
    return 0;
}

static int do_clone_point(struct seam_call *call, struct bf_error *err)
{
    char *ref;

    if (bf_target_clone_point(call->platform, seam_need(call, "volume"), seam_need(call, "point"),
                              seam_need(call, "tag"), &ref, err) < 0)
        return -1;
    seam_put_text(call, "clone", ref);
    return 0;
}

static int do_open_clone(struct seam_call *call, struct bf_error *err)
{
    size_t handle = seam_free_handle((void **)seam_state.volumes);

    if (bf_target_open_clone(call->platform, seam_need(call, "clone"), &seam_state.volumes[handle],
                             err) < 0)
        return -1;
    seam_put_spec(call, bf_target_volume_spec(seam_state.volumes[handle]), handle);
    return 0;
}

static int do_delete_clone(struct seam_call *call, struct bf_error *err)
{
    return bf_target_delete_clone(call->platform, seam_need(call, "clone"), err);
}

static int do_detach_clone(struct seam_call *call, struct bf_error *err)
{
    return bf_target_detach_clone(call->platform, seam_need(call, "machine_ref"),
                                  seam_need(call, "clone"),
                                  bf_deadline_in(seam_number(call, "ms", 60000)), err);
}

/* All disks of "machine" that have a clone in "clones" ({key: ref}); all its nics on "network". */
static int do_create_machine(struct seam_call *call, struct bf_error *err)
{
    bf_auto_machine *machine = NULL;
    struct bf_launch_disk disks[16];
    struct bf_launch_nic nics[16];
    struct json_object *drill = seam_object(call, "drill");
    struct json_object *companion = seam_object(call, "companion");
    struct json_object *groups = seam_object(call, "security_groups");
    char *names[9] = {NULL}; /* borrowed */
    struct bf_launch_request request = {
        .tag = seam_need(call, "tag"),
        .name = seam_need(call, "name"),
        .disks = disks,
        .nics = nics,
        .drill = drill && json_object_get_boolean(drill),
        .cpus = (unsigned)seam_number(call, "cpus", 0),
        .memory_bytes = seam_number(call, "memory_bytes", 0),
        .disk_bus = seam_text(call, "disk_bus"),
        .companion = companion && json_object_get_boolean(companion),
        .flavor = seam_text(call, "flavor"),
        .security_groups = groups ? names : NULL,
    };
    char *ref;

    for (size_t i = 0; groups && i < json_object_array_length(groups) && i < 8; i++)
        names[i] = (char *)(uintptr_t)json_object_get_string(json_object_array_get_idx(groups, i));
    if (bf_machine_from_json(seam_object(call, "machine"), &machine, err) < 0)
        return -1;
    request.machine = machine;
    for (size_t i = 0; i < machine->disk_count && i < 16; i++) {
        struct json_object *clone = NULL;
        if (!json_object_object_get_ex(seam_object(call, "clones"), machine->disks[i].key, &clone))
            continue;
        disks[request.disk_count++] = (struct bf_launch_disk){
            .clone_ref = json_object_get_string(clone), .disk = &machine->disks[i]};
    }
    for (size_t i = 0; i < machine->nic_count && i < 16; i++)
        nics[request.nic_count++] =
            (struct bf_launch_nic){.nic = &machine->nics[i], .network = seam_need(call, "network")};
    if (bf_target_create_machine(call->platform, &request, &ref, err) < 0)
        return -1;
    seam_put_text(call, "machine_ref", ref);
    return 0;
}

static int do_machine_id(struct seam_call *call, struct bf_error *err)
{
    char *id;

    if (bf_target_machine_id(call->platform, seam_need(call, "machine_ref"), &id, err) < 0)
        return -1;
    seam_put_text(call, "id", id);
    return 0;
}

static int do_console(struct seam_call *call, struct bf_error *err)
{
    char *console;

    if (bf_target_console(call->platform, seam_need(call, "machine_ref"),
                          seam_number(call, "max", 65536), &console, err) < 0)
        return -1;
    seam_put_text(call, "text", console);
    return 0;
}

static int do_delete_machine(struct seam_call *call, struct bf_error *err)
{
    return bf_target_delete_machine(call->platform, seam_need(call, "machine_ref"), err);
}

static int do_hand_over_machine(struct seam_call *call, struct bf_error *err)
{
    return bf_target_hand_over_machine(call->platform, seam_need(call, "machine_ref"), err);
}

const struct seam_command seam_target_commands[] = {
    {"target_precheck", do_target_precheck},
    {"adopt_precheck", do_adopt_precheck},
    {"create_volume", do_create_volume},
    {"resize_volume", do_resize_volume},
    {"delete_volume", do_delete_volume},
    {"open_volume", do_open_volume},
    {"close_volume", do_close_volume},
    {"drop_round", do_drop_round},
    {"make_point", do_make_point},
    {"delete_point", do_delete_point},
    {"open_point", do_open_point},
    {"clone_point", do_clone_point},
    {"open_clone", do_open_clone},
    {"delete_clone", do_delete_clone},
    {"detach_clone", do_detach_clone},
    {"create_machine", do_create_machine},
    {"machine_id", do_machine_id},
    {"console", do_console},
    {"delete_machine", do_delete_machine},
    {"hand_over_machine", do_hand_over_machine},
    {NULL, NULL},
};
