/* SPDX-License-Identifier: Apache-2.0 */
/* Drives the seam's functions from a test: one JSON object a line in, one out.
 *
 *   {"do": "snapshot", "p": "source", "machine": "...", ...}
 *   {"ok": true, ...}   or   {"ok": false, "error": {"code", "message", ...}}
 *
 * "p" names a platform handle that "open" made.  Open disks and volumes are numbered by "handle".
 * What the functions need and give is at their declarations; names here follow them.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/source.h"
#include "connectors/target.h"

#define HANDLES_MAX 64

struct slot {
    char *name;
    struct bf_platform *platform;
};

static struct {
    struct slot platforms[8];
    struct bf_source_disk *disks[HANDLES_MAX];
    struct bf_target_volume *volumes[HANDLES_MAX];
} state;

struct call {
    struct json_object *in;
    struct json_object *out;
    struct bf_platform *platform; /* NULL for "open" */
};

/* --- arguments: a missing one ends the program, since the test is wrong --- */

static const char *text(const struct call *call, const char *key)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(call->in, key, &value) || !value)
        return NULL;
    return json_object_get_string(value);
}

static const char *need(const struct call *call, const char *key)
{
    const char *value = text(call, key);

    if (!value) {
        fprintf(stderr, "seam: %s: no \"%s\"\n", text(call, "do"), key);
        exit(2);
    }
    return value;
}

static uint64_t number(const struct call *call, const char *key, uint64_t otherwise)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(call->in, key, &value) || !value)
        return otherwise;
    return json_object_get_uint64(value);
}

static struct json_object *object(const struct call *call, const char *key)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(call->in, key, &value);
    return value;
}

static void put_text(struct call *call, const char *key, char *value)
{
    bf_json_add_string(call->out, key, value);
    free(value);
}

/* --- the platform --- */

static int do_open(struct call *call, struct bf_error *err)
{
    const char *password = text(call, "password");
    bf_auto_secret *secret = password ? bf_secret_new(password, strlen(password)) : NULL;
    struct bf_platform_conf conf = {
        .name = need(call, "p"),
        .type = text(call, "type") ? text(call, "type") : "libvirt",
        .url = need(call, "url"),
        .user = text(call, "user"),
        .password = secret,
        .options = object(call, "options"),
        .work_directory = need(call, "work"),
    };

    for (size_t i = 0; i < bf_array_length(state.platforms); i++) {
        struct slot *slot = &state.platforms[i];
        if (slot->platform)
            continue;
        if (bf_platform_open(&conf, &slot->platform, err) < 0)
            return -1;
        slot->name = bf_xstrdup(conf.name);
        return 0;
    }
    return bf_fail(err, BF_E_INTERNAL, 0, "too many platforms");
}

static int do_close(struct call *call, struct bf_error *err)
{
    (void)err;
    for (size_t i = 0; i < bf_array_length(state.platforms); i++) {
        struct slot *slot = &state.platforms[i];
        if (slot->platform != call->platform)
            continue;
        bf_platform_close(slot->platform);
        free(slot->name);
        *slot = (struct slot){0};
    }
    return 0;
}

static void *cancel_later(void *user)
{
    struct bf_platform *platform = user;

    bf_sleep_ms(500);
    bf_platform_cancel(platform);
    return NULL;
}

/* Half a second from now, so that it hits the command that follows. */
static int do_cancel(struct call *call, struct bf_error *err)
{
    pthread_t thread;

    (void)err;
    if (pthread_create(&thread, NULL, cancel_later, call->platform) != 0)
        abort();
    pthread_detach(thread);
    return 0;
}

static int do_uncancel(struct call *call, struct bf_error *err)
{
    (void)err;
    bf_platform_uncancel(call->platform);
    return 0;
}

static int do_info(struct call *call, struct bf_error *err)
{
    struct bf_platform_info info;

    if (bf_platform_info(call->platform, &info, err) < 0)
        return -1;
    bf_json_add_string(call->out, "version", info.version);
    bf_json_add_bool(call->out, "can_source", info.can_source);
    bf_json_add_bool(call->out, "can_target", info.can_target);
    json_object_object_add(call->out, "findings", bf_findings_to_json(&info.findings));
    bf_platform_info_done(&info);
    return 0;
}

static int add_machine(const struct bf_machine *machine, void *user)
{
    json_object_array_add(user, bf_machine_to_json(machine));
    return 0;
}

static int do_machines(struct call *call, struct bf_error *err)
{
    struct json_object *array = json_object_new_array();

    json_object_object_add(call->out, "machines", array);
    return bf_platform_machines(call->platform, add_machine, array, err);
}

static int do_machine(struct call *call, struct bf_error *err)
{
    bf_auto_machine *machine = NULL;

    if (bf_platform_machine(call->platform, need(call, "machine"), &machine, err) < 0)
        return -1;
    json_object_object_add(call->out, "machine", bf_machine_to_json(machine));
    return 0;
}

static int do_resources(struct call *call, struct bf_error *err)
{
    struct json_object *resources;

    if (bf_platform_resources(call->platform, &resources, err) < 0)
        return -1;
    json_object_object_add(call->out, "resources", resources);
    return 0;
}

static int do_power(struct call *call, struct bf_error *err)
{
    enum bf_power power;

    if (bf_platform_power(call->platform, need(call, "machine"), &power, err) < 0)
        return -1;
    bf_json_add_string(call->out, "power", bf_power_to_string(power));
    return 0;
}

static int do_shut_down(struct call *call, struct bf_error *err)
{
    return bf_platform_shut_down(call->platform, need(call, "machine"),
                                 bf_deadline_in(number(call, "ms", 60000)), err);
}

static int do_power_off(struct call *call, struct bf_error *err)
{
    return bf_platform_power_off(call->platform, need(call, "machine"), err);
}

static int do_power_on(struct call *call, struct bf_error *err)
{
    return bf_platform_power_on(call->platform, need(call, "machine"), err);
}

static int add_tagged(const char *kind, const char *tag, const char *ref, const char *name,
                      void *user)
{
    struct json_object *item = json_object_new_object();

    bf_json_add_string(item, "kind", kind);
    bf_json_add_string(item, "tag", tag);
    bf_json_add_string(item, "ref", ref);
    bf_json_add_string(item, "name", name);
    json_object_array_add(user, item);
    return 0;
}

static int do_tagged(struct call *call, struct bf_error *err)
{
    struct json_object *array = json_object_new_array();

    json_object_object_add(call->out, "tagged", array);
    return bf_platform_tagged(call->platform, add_tagged, array, err);
}

/* --- source --- */

static int do_source_precheck(struct call *call, struct bf_error *err)
{
    bf_auto_findings findings = {0};
    bf_auto_machine *machine = NULL;

    if (bf_platform_machine(call->platform, need(call, "machine"), &machine, err) < 0 ||
        bf_source_precheck(call->platform, machine, &findings, err) < 0)
        return -1;
    json_object_object_add(call->out, "findings", bf_findings_to_json(&findings));
    return 0;
}

static int do_prepare(struct call *call, struct bf_error *err)
{
    return bf_source_prepare(call->platform, need(call, "machine"), err);
}

static void put_snapshot(struct call *call, const struct bf_snapshot *snapshot)
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

static int do_snapshot(struct call *call, struct bf_error *err)
{
    static const char *const modes[] = {"try", "require", "off"};
    struct json_object *keys = object(call, "disks");
    const char *quiesce = text(call, "quiesce");
    const char *names[32] = {0};
    struct bf_snapshot *snapshot;
    struct bf_snapshot_request request = {
        .machine_id = need(call, "machine"),
        .tag = need(call, "tag"),
        .disk_keys = names,
        .baseline = text(call, "baseline"),
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

static void put_spec(struct call *call, const struct bf_endpoint_spec *spec, size_t handle)
{
    bf_json_add_u64(call->out, "handle", handle);
    bf_json_add_string(call->out, "uri", spec->uri);
    bf_json_add_string(call->out, "format", spec->format);
    bf_json_add_string(call->out, "map", bf_map_kind_to_string(spec->map));
    bf_json_add_string(call->out, "map_name", spec->map_name);
    bf_json_add_string(call->out, "tls", spec->tls_directory);
    bf_json_add_bool(call->out, "reads_as_zero", spec->reads_as_zero);
    bf_json_add_u64(call->out, "size", spec->size_bytes);
}

static size_t free_handle(void **table)
{
    for (size_t i = 0; i < HANDLES_MAX; i++) {
        if (!table[i])
            return i;
    }
    abort();
}

static int do_open_disk(struct call *call, struct bf_error *err)
{
    size_t handle = free_handle((void **)state.disks);

    if (bf_source_open_disk(call->platform, need(call, "ref"), need(call, "disk"),
                            &state.disks[handle], err) < 0)
        return -1;
    put_spec(call, bf_source_disk_spec(state.disks[handle]), handle);
    return 0;
}

static int do_close_disk(struct call *call, struct bf_error *err)
{
    size_t handle = number(call, "handle", HANDLES_MAX);

    (void)err;
    bf_source_close_disk(state.disks[handle]);
    state.disks[handle] = NULL;
    return 0;
}

static int do_release(struct call *call, struct bf_error *err)
{
    return bf_source_release(call->platform, need(call, "machine"), need(call, "ref"), err);
}

static int do_release_tag(struct call *call, struct bf_error *err)
{
    return bf_source_release_tag(call->platform, need(call, "machine"), need(call, "tag"), err);
}

static int do_drop_baseline(struct call *call, struct bf_error *err)
{
    return bf_source_drop_baseline(call->platform, need(call, "machine"), need(call, "baseline"),
                                   err);
}

/* --- target --- */

static int do_target_precheck(struct call *call, struct bf_error *err)
{
    bf_auto_findings findings = {0};
    bf_auto_machine *machine = NULL;

    if (bf_machine_from_json(object(call, "machine"), &machine, err) < 0 ||
        bf_target_precheck(call->platform, machine, object(call, "mapping"), &findings, err) < 0)
        return -1;
    json_object_object_add(call->out, "findings", bf_findings_to_json(&findings));
    return 0;
}

static int do_adopt_precheck(struct call *call, struct bf_error *err)
{
    bf_auto_findings findings = {0};
    struct bf_adopt_request request = {.name = "adopted",
                                       .storage = text(call, "storage"),
                                       .disk_key = need(call, "disk"),
                                       .place = need(call, "place")};

    if (bf_target_adopt_precheck(call->platform, &request, &findings, err) < 0)
        return -1;
    json_object_object_add(call->out, "findings", bf_findings_to_json(&findings));
    return 0;
}

static int do_create_volume(struct call *call, struct bf_error *err)
{
    struct bf_volume_request request = {
        .tag = need(call, "tag"),
        .name = need(call, "name"),
        .storage = text(call, "storage"),
        .disk_key = need(call, "disk"),
        .size_bytes = number(call, "size", 0),
    };
    char *ref;

    if (bf_target_create_volume(call->platform, &request, &ref, err) < 0)
        return -1;
    put_text(call, "volume", ref);
    return 0;
}

static int do_resize_volume(struct call *call, struct bf_error *err)
{
    char *ref;

    if (bf_target_resize_volume(call->platform, need(call, "volume"), number(call, "size", 0), &ref,
                                err) < 0)
        return -1;
    put_text(call, "volume", ref);
    return 0;
}

static int do_delete_volume(struct call *call, struct bf_error *err)
{
    return bf_target_delete_volume(call->platform, need(call, "volume"), err);
}

static int do_open_volume(struct call *call, struct bf_error *err)
{
    size_t handle = free_handle((void **)state.volumes);
    const char *last = text(call, "last_point");

    if (bf_target_open_volume(call->platform, need(call, "volume"), need(call, "tag"), !last, last,
                              &state.volumes[handle], err) < 0)
        return -1;
    put_spec(call, bf_target_volume_spec(state.volumes[handle]), handle);
    return 0;
}

static int do_close_volume(struct call *call, struct bf_error *err)
{
    size_t handle = number(call, "handle", HANDLES_MAX);
    struct bf_target_volume *volume = state.volumes[handle];

    state.volumes[handle] = NULL;
    return bf_target_close_volume(volume, err);
}

static int do_drop_round(struct call *call, struct bf_error *err)
{
    return bf_target_drop_round(call->platform, need(call, "volume"), need(call, "tag"), err);
}

static int do_make_point(struct call *call, struct bf_error *err)
{
    char *ref;

    if (bf_target_make_point(call->platform, need(call, "volume"), need(call, "tag"), &ref, err) <
        0)
        return -1;
    put_text(call, "point", ref);
    return 0;
}

static int do_delete_point(struct call *call, struct bf_error *err)
{
    return bf_target_delete_point(call->platform, need(call, "volume"), need(call, "point"), err);
}

static int do_open_point(struct call *call, struct bf_error *err)
{
    size_t handle = free_handle((void **)state.volumes);

    if (bf_target_open_point(call->platform, need(call, "volume"), need(call, "point"),
                             &state.volumes[handle], err) < 0)
        return -1;
    put_spec(call, bf_target_volume_spec(state.volumes[handle]), handle);
    return 0;
}

static int do_clone_point(struct call *call, struct bf_error *err)
{
    char *ref;

    if (bf_target_clone_point(call->platform, need(call, "volume"), need(call, "point"),
                              need(call, "tag"), &ref, err) < 0)
        return -1;
    put_text(call, "clone", ref);
    return 0;
}

static int do_open_clone(struct call *call, struct bf_error *err)
{
    size_t handle = free_handle((void **)state.volumes);

    if (bf_target_open_clone(call->platform, need(call, "clone"), &state.volumes[handle], err) < 0)
        return -1;
    put_spec(call, bf_target_volume_spec(state.volumes[handle]), handle);
    return 0;
}

static int do_delete_clone(struct call *call, struct bf_error *err)
{
    return bf_target_delete_clone(call->platform, need(call, "clone"), err);
}

static int do_detach_clone(struct call *call, struct bf_error *err)
{
    return bf_target_detach_clone(call->platform, need(call, "machine_ref"), need(call, "clone"),
                                  bf_deadline_in(number(call, "ms", 60000)), err);
}

/* All disks of "machine" that have a clone in "clones" ({key: ref}); all its nics on "network". */
static int do_create_machine(struct call *call, struct bf_error *err)
{
    bf_auto_machine *machine = NULL;
    struct bf_launch_disk disks[16];
    struct bf_launch_nic nics[16];
    struct json_object *drill = object(call, "drill");
    struct json_object *companion = object(call, "companion");
    struct json_object *groups = object(call, "security_groups");
    char *names[9] = {NULL}; /* borrowed */
    struct bf_launch_request request = {
        .tag = need(call, "tag"),
        .name = need(call, "name"),
        .disks = disks,
        .nics = nics,
        .drill = drill && json_object_get_boolean(drill),
        .cpus = (unsigned)number(call, "cpus", 0),
        .memory_bytes = number(call, "memory_bytes", 0),
        .disk_bus = text(call, "disk_bus"),
        .companion = companion && json_object_get_boolean(companion),
        .flavor = text(call, "flavor"),
        .security_groups = groups ? names : NULL,
    };
    char *ref;

    for (size_t i = 0; groups && i < json_object_array_length(groups) && i < 8; i++)
        names[i] = (char *)(uintptr_t)json_object_get_string(json_object_array_get_idx(groups, i));
    if (bf_machine_from_json(object(call, "machine"), &machine, err) < 0)
        return -1;
    request.machine = machine;
    for (size_t i = 0; i < machine->disk_count && i < 16; i++) {
        struct json_object *clone = NULL;
        if (!json_object_object_get_ex(object(call, "clones"), machine->disks[i].key, &clone))
            continue;
        disks[request.disk_count++] = (struct bf_launch_disk){
            .clone_ref = json_object_get_string(clone), .disk = &machine->disks[i]};
    }
    for (size_t i = 0; i < machine->nic_count && i < 16; i++)
        nics[request.nic_count++] =
            (struct bf_launch_nic){.nic = &machine->nics[i], .network = need(call, "network")};
    if (bf_target_create_machine(call->platform, &request, &ref, err) < 0)
        return -1;
    put_text(call, "machine_ref", ref);
    return 0;
}

static int do_machine_id(struct call *call, struct bf_error *err)
{
    char *id;

    if (bf_target_machine_id(call->platform, need(call, "machine_ref"), &id, err) < 0)
        return -1;
    put_text(call, "id", id);
    return 0;
}

static int do_console(struct call *call, struct bf_error *err)
{
    char *console;

    if (bf_target_console(call->platform, need(call, "machine_ref"), number(call, "max", 65536),
                          &console, err) < 0)
        return -1;
    put_text(call, "text", console);
    return 0;
}

static int do_delete_machine(struct call *call, struct bf_error *err)
{
    return bf_target_delete_machine(call->platform, need(call, "machine_ref"), err);
}

static int do_hand_over_machine(struct call *call, struct bf_error *err)
{
    return bf_target_hand_over_machine(call->platform, need(call, "machine_ref"), err);
}

/* --- dispatch --- */

static const struct {
    const char *name;
    int (*run)(struct call *call, struct bf_error *err);
} commands[] = {
    {"open", do_open},
    {"close", do_close},
    {"cancel", do_cancel},
    {"uncancel", do_uncancel},
    {"info", do_info},
    {"machines", do_machines},
    {"machine", do_machine},
    {"resources", do_resources},
    {"power", do_power},
    {"shut_down", do_shut_down},
    {"power_off", do_power_off},
    {"power_on", do_power_on},
    {"tagged", do_tagged},
    {"source_precheck", do_source_precheck},
    {"prepare", do_prepare},
    {"snapshot", do_snapshot},
    {"open_disk", do_open_disk},
    {"close_disk", do_close_disk},
    {"release", do_release},
    {"release_tag", do_release_tag},
    {"drop_baseline", do_drop_baseline},
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
};

static struct bf_platform *find_platform(const char *name)
{
    for (size_t i = 0; i < bf_array_length(state.platforms); i++) {
        if (state.platforms[i].platform && bf_streq(state.platforms[i].name, name))
            return state.platforms[i].platform;
    }
    return NULL;
}

static int dispatch(struct call *call, struct bf_error *err)
{
    const char *verb = need(call, "do");

    call->platform = find_platform(text(call, "p"));
    if (!call->platform && strcmp(verb, "open") != 0) {
        fprintf(stderr, "seam: %s: no such platform\n", verb);
        exit(2);
    }
    for (size_t i = 0; i < bf_array_length(commands); i++) {
        if (bf_streq(commands[i].name, verb))
            return commands[i].run(call, err);
    }
    fprintf(stderr, "seam: unknown command %s\n", verb);
    exit(2);
}

static void close_all(void)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    for (size_t i = 0; i < HANDLES_MAX; i++) {
        bf_source_close_disk(state.disks[i]);
        (void)bf_target_close_volume(state.volumes[i], &ignored);
        bf_error_clear(&ignored);
    }
    for (size_t i = 0; i < bf_array_length(state.platforms); i++) {
        bf_platform_close(state.platforms[i].platform);
        free(state.platforms[i].name);
    }
}

int main(void)
{
    bf_auto_free char *line = NULL;
    size_t capacity = 0;
    ssize_t length;

    signal(SIGPIPE, SIG_IGN); /* as the daemon: libvirt writes to a libvirtd that was killed */
    bf_log_open("seam", BF_LOG_DEBUG);
    while ((length = getline(&line, &capacity, stdin)) > 0) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_json *in = NULL;
        bf_auto_json *out = json_object_new_object();
        struct call call = {.out = out};
        if (bf_json_parse(line, (size_t)length, &in, &err) < 0) {
            fprintf(stderr, "seam: %s\n", err.message);
            return 2;
        }
        call.in = in;
        int rc = dispatch(&call, &err);
        bf_json_add_bool(out, "ok", rc == 0);
        if (rc < 0)
            json_object_object_add(out, "error", bf_json_error(&err));
        puts(bf_json_text(out));
        fflush(stdout);
    }
    close_all();
    return 0;
}
