/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "seam.h"

static int do_open(struct seam_call *call, struct bf_error *err)
{
    const char *password = seam_text(call, "password");
    bf_auto_secret *secret = password ? bf_secret_new(password, strlen(password)) : NULL;
    struct bf_platform_conf conf = {
        .name = seam_need(call, "p"),
        .type = seam_text(call, "type") ? seam_text(call, "type") : "libvirt",
        .url = seam_need(call, "url"),
        .user = seam_text(call, "user"),
        .password = secret,
        .options = seam_object(call, "options"),
        .work_directory = seam_need(call, "work"),
    };

    for (size_t i = 0; i < bf_array_length(seam_state.platforms); i++) {
        struct seam_slot *slot = &seam_state.platforms[i];
        if (slot->platform)
            continue;
        if (bf_platform_open(&conf, &slot->platform, err) < 0)
            return -1;
        slot->name = bf_xstrdup(conf.name);
        return 0;
    }
    return bf_fail(err, BF_E_INTERNAL, 0, "too many platforms");
}

static int do_close(struct seam_call *call, struct bf_error *err)
{
    (void)err;
    for (size_t i = 0; i < bf_array_length(seam_state.platforms); i++) {
        struct seam_slot *slot = &seam_state.platforms[i];
        if (slot->platform != call->platform)
            continue;
        bf_platform_close(slot->platform);
        free(slot->name);
        *slot = (struct seam_slot){0};
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
static int do_cancel(struct seam_call *call, struct bf_error *err)
{
    pthread_t thread;

    (void)err;
    if (pthread_create(&thread, NULL, cancel_later, call->platform) != 0)
        abort();
    pthread_detach(thread);
    return 0;
}

static int do_uncancel(struct seam_call *call, struct bf_error *err)
{
    (void)err;
    bf_platform_uncancel(call->platform);
    return 0;
}

static int do_info(struct seam_call *call, struct bf_error *err)
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

static int do_machines(struct seam_call *call, struct bf_error *err)
{
    struct json_object *array = json_object_new_array();

    json_object_object_add(call->out, "machines", array);
    return bf_platform_machines(call->platform, add_machine, array, err);
}

static int do_machine(struct seam_call *call, struct bf_error *err)
{
    bf_auto_machine *machine = NULL;

    if (bf_platform_machine(call->platform, seam_need(call, "machine"), &machine, err) < 0)
        return -1;
    json_object_object_add(call->out, "machine", bf_machine_to_json(machine));
    return 0;
}

static int do_resources(struct seam_call *call, struct bf_error *err)
{
    struct json_object *resources;

    if (bf_platform_resources(call->platform, &resources, err) < 0)
        return -1;
    json_object_object_add(call->out, "resources", resources);
    return 0;
}

static int do_power(struct seam_call *call, struct bf_error *err)
{
    enum bf_power power;

    if (bf_platform_power(call->platform, seam_need(call, "machine"), &power, err) < 0)
        return -1;
    bf_json_add_string(call->out, "power", bf_power_to_string(power));
    return 0;
}

static int do_shut_down(struct seam_call *call, struct bf_error *err)
{
    return bf_platform_shut_down(call->platform, seam_need(call, "machine"),
                                 bf_deadline_in(seam_number(call, "ms", 60000)), err);
}

static int do_power_off(struct seam_call *call, struct bf_error *err)
{
    return bf_platform_power_off(call->platform, seam_need(call, "machine"), err);
}

static int do_power_on(struct seam_call *call, struct bf_error *err)
{
    return bf_platform_power_on(call->platform, seam_need(call, "machine"), err);
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

static int do_tagged(struct seam_call *call, struct bf_error *err)
{
    struct json_object *array = json_object_new_array();

    json_object_object_add(call->out, "tagged", array);
    return bf_platform_tagged(call->platform, add_tagged, array, err);
}

const struct seam_command seam_platform_commands[] = {
    {"open", do_open},           {"close", do_close},
    {"cancel", do_cancel},       {"uncancel", do_uncancel},
    {"info", do_info},           {"machines", do_machines},
    {"machine", do_machine},     {"resources", do_resources},
    {"power", do_power},         {"shut_down", do_shut_down},
    {"power_off", do_power_off}, {"power_on", do_power_on},
    {"tagged", do_tagged},       {NULL, NULL},
};
