/* SPDX-License-Identifier: Apache-2.0 */
/* The front of a platform as a target. */
#include "connectors/target.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/front.h"

static int enter_target(struct bf_platform *platform, bool removal, struct bf_error *err)
{
    if (removal)
        bf_front_enter_removal(platform, err);
    else if (bf_front_enter(platform, err) < 0)
        return -1;
    if (!platform->ops->target)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "platform %s (%s) cannot be a target",
                       platform->name, platform->ops->type);
    return 0;
}

int bf_target_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                       struct json_object *mapping, struct bf_findings *findings,
                       struct bf_error *err)
{
    assert(machine && findings);
    if (enter_target(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->precheck(platform, machine, mapping, findings, err);
    return bf_front_leave(platform, rc, err);
}

int bf_target_create_volume(struct bf_platform *platform, const struct bf_volume_request *request,
                            char **ret_ref, struct bf_error *err)
{
    assert(request && bf_tag_valid(request->tag) && request->name && request->disk_key && ret_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    if (request->size_bytes == 0 || request->size_bytes > INT64_MAX)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "disk %s: a volume of %llu bytes cannot be made",
                       request->disk_key, (unsigned long long)request->size_bytes);
    return bf_front_leave(
        platform, platform->ops->target->create_volume(platform, request, ret_ref, err), err);
}

int bf_target_resize_volume(struct bf_platform *platform, const char *volume_ref,
                            uint64_t size_bytes, char **ret_ref, struct bf_error *err)
{
    assert(volume_ref && ret_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->resize_volume(platform, volume_ref, size_bytes, ret_ref, err);
    return bf_front_leave(platform, rc, err);
}

int bf_target_delete_volume(struct bf_platform *platform, const char *volume_ref,
                            struct bf_error *err)
{
    assert(volume_ref);
    if (enter_target(platform, true, err) < 0)
        return -1;
    return bf_front_leave(platform, platform->ops->target->delete_volume(platform, volume_ref, err),
                          err);
}

static struct bf_target_volume *opened(struct bf_platform *platform,
                                       struct bf_target_volume *volume)
{
    assert(volume && volume->platform == platform && volume->spec.uri && volume->spec.format);
    return volume;
}

int bf_target_open_volume(struct bf_platform *platform, const char *volume_ref, const char *tag,
                          bool full, const char *last_point, struct bf_target_volume **ret_volume,
                          struct bf_error *err)
{
    struct bf_target_volume *volume = NULL;

    assert(volume_ref && bf_tag_valid(tag) && ret_volume);
    assert(full == !last_point);
    if (enter_target(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->open_volume(platform, volume_ref, tag, full, last_point,
                                                &volume, err);
    if (bf_front_leave(platform, rc, err) < 0)
        return -1;
    *ret_volume = opened(platform, volume);
    return 0;
}

const struct bf_endpoint_spec *bf_target_volume_spec(const struct bf_target_volume *volume)
{
    return &volume->spec;
}

int bf_target_close_volume(struct bf_target_volume *volume, struct bf_error *err)
{
    if (!volume)
        return 0;
    struct bf_platform *platform = volume->platform;
    bf_front_enter_removal(platform, err);
    bf_endpoint_spec_done(&volume->spec);
    return bf_front_leave(platform, platform->ops->target->close_volume(volume, err), err);
}

int bf_target_drop_round(struct bf_platform *platform, const char *volume_ref, const char *tag,
                         struct bf_error *err)
{
    assert(volume_ref && bf_tag_valid(tag));
    if (enter_target(platform, true, err) < 0)
        return -1;
    return bf_front_leave(platform,
                          platform->ops->target->drop_round(platform, volume_ref, tag, err), err);
}

int bf_target_make_point(struct bf_platform *platform, const char *volume_ref, const char *tag,
                         char **ret_point_ref, struct bf_error *err)
{
    assert(volume_ref && bf_tag_valid(tag) && ret_point_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->make_point(platform, volume_ref, tag, ret_point_ref, err);
    return bf_front_leave(platform, rc, err);
}

int bf_target_delete_point(struct bf_platform *platform, const char *volume_ref,
                           const char *point_ref, struct bf_error *err)
{
    assert(volume_ref && point_ref);
    if (enter_target(platform, true, err) < 0)
        return -1;
    return bf_front_leave(
        platform, platform->ops->target->delete_point(platform, volume_ref, point_ref, err), err);
}

int bf_target_open_point(struct bf_platform *platform, const char *volume_ref,
                         const char *point_ref, struct bf_target_volume **ret_volume,
                         struct bf_error *err)
{
    struct bf_target_volume *volume = NULL;

    assert(volume_ref && point_ref && ret_volume);
    if (enter_target(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->open_point(platform, volume_ref, point_ref, &volume, err);
    if (bf_front_leave(platform, rc, err) < 0)
        return -1;
    *ret_volume = opened(platform, volume);
    return 0;
}

int bf_target_clone_point(struct bf_platform *platform, const char *volume_ref,
                          const char *point_ref, const char *tag, char **ret_clone_ref,
                          struct bf_error *err)
{
    assert(volume_ref && point_ref && bf_tag_valid(tag) && ret_clone_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->clone_point(platform, volume_ref, point_ref, tag, ret_clone_ref,
                                                err);
    return bf_front_leave(platform, rc, err);
}

bool bf_target_can_adopt(const struct bf_platform *platform)
{
    return platform->ops->target && platform->ops->target->adopt_volume;
}

static int enter_adoption(struct bf_platform *platform, bool removal, struct bf_error *err)
{
    if (enter_target(platform, removal, err) < 0)
        return -1;
    if (!bf_target_can_adopt(platform))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "platform %s (%s) cannot adopt volumes",
                       platform->name, platform->ops->type);
    return 0;
}

int bf_target_adopt_precheck(struct bf_platform *platform, const struct bf_adopt_request *request,
                             struct bf_findings *findings, struct bf_error *err)
{
    assert(request && request->disk_key && request->place && findings);
    if (enter_adoption(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->adopt_precheck(platform, request, findings, err);
    return bf_front_leave(platform, rc, err);
}

int bf_target_adopt_volume(struct bf_platform *platform, const struct bf_adopt_request *request,
                           char **ret_ref, struct bf_error *err)
{
    assert(request && bf_tag_valid(request->tag) && request->name && request->place && ret_ref);
    if (enter_adoption(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->adopt_volume(platform, request, ret_ref, err);
    return bf_front_leave(platform, rc, err);
}

int bf_target_give_back_volume(struct bf_platform *platform, const char *tag, const char *place,
                               struct bf_error *err)
{
    assert(bf_tag_valid(tag) && place);
    if (enter_adoption(platform, true, err) < 0)
        return -1;
    int rc = platform->ops->target->give_back_volume(platform, tag, place, err);
    return bf_front_leave(platform, rc, err);
}

int bf_target_open_clone(struct bf_platform *platform, const char *clone_ref,
                         struct bf_target_volume **ret_volume, struct bf_error *err)
{
    struct bf_target_volume *volume = NULL;

    assert(clone_ref && ret_volume);
    if (enter_target(platform, false, err) < 0)
        return -1;
    if (bf_front_leave(platform,
                       platform->ops->target->open_clone(platform, clone_ref, &volume, err),
                       err) < 0)
        return -1;
    *ret_volume = opened(platform, volume);
    return 0;
}

int bf_target_delete_clone(struct bf_platform *platform, const char *clone_ref,
                           struct bf_error *err)
{
    assert(clone_ref);
    if (enter_target(platform, true, err) < 0)
        return -1;
    return bf_front_leave(platform, platform->ops->target->delete_clone(platform, clone_ref, err),
                          err);
}

int bf_target_detach_clone(struct bf_platform *platform, const char *machine_ref,
                           const char *clone_ref, struct bf_deadline deadline, struct bf_error *err)
{
    assert(machine_ref && clone_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    if (!platform->ops->target->detach_clone)
        return 0;
    int rc = platform->ops->target->detach_clone(platform, machine_ref, clone_ref, deadline, err);
    return bf_front_leave(platform, rc, err);
}

bool bf_target_takes_companion(const struct bf_platform *platform)
{
    return platform->ops->target && platform->ops->target->takes_companion;
}

int bf_target_create_machine(struct bf_platform *platform, const struct bf_launch_request *request,
                             char **ret_machine_ref, struct bf_error *err)
{
    assert(request && bf_tag_valid(request->tag) && request->name && request->machine);
    assert(request->disk_count > 0 && ret_machine_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    if (request->companion && !bf_target_takes_companion(platform))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "platforms of type %s give a machine no small second disk",
                       platform->ops->type);
    int rc = platform->ops->target->create_machine(platform, request, ret_machine_ref, err);
    return bf_front_leave(platform, rc, err);
}

int bf_target_machine_id(struct bf_platform *platform, const char *machine_ref, char **ret_id,
                         struct bf_error *err)
{
    assert(machine_ref && ret_id);
    if (enter_target(platform, false, err) < 0)
        return -1;
    return bf_front_leave(
        platform, platform->ops->target->machine_id(platform, machine_ref, ret_id, err), err);
}

int bf_target_console(struct bf_platform *platform, const char *machine_ref, size_t max,
                      char **ret_text, struct bf_error *err)
{
    assert(machine_ref && max > 0 && ret_text);
    if (enter_target(platform, false, err) < 0)
        return -1;
    if (!platform->ops->target->console) {
        *ret_text = NULL;
        return 0;
    }
    int rc = platform->ops->target->console(platform, machine_ref, max, ret_text, err);
    return bf_front_leave(platform, rc, err);
}

int bf_target_guest_agent(struct bf_platform *platform, const char *machine_ref, char **ret_answer,
                          struct bf_error *err)
{
    int rc;

    assert(machine_ref && ret_answer);
    *ret_answer = NULL;
    if (enter_target(platform, false, err) < 0)
        return -1;
    if (!platform->ops->target->guest_agent)
        return 0;
    rc = platform->ops->target->guest_agent(platform, machine_ref, ret_answer, err);
    return bf_front_leave(platform, rc, err);
}

int bf_target_takes_firmware_vars(struct bf_platform *platform, const struct bf_machine *machine,
                                  size_t size, char **ret_why, struct bf_error *err)
{
    int rc;

    assert(machine && size > 0 && ret_why);
    *ret_why = NULL;
    if (enter_target(platform, false, err) < 0)
        return -1;
    if (!platform->ops->target->takes_firmware_vars) {
        *ret_why = bf_xasprintf("platforms of type %s do not take them", platform->ops->type);
        return 0;
    }
    rc = platform->ops->target->takes_firmware_vars(platform, machine, size, ret_why, err);
    return bf_front_leave(platform, rc, err);
}

int bf_target_delete_machine(struct bf_platform *platform, const char *machine_ref,
                             struct bf_error *err)
{
    assert(machine_ref);
    if (enter_target(platform, true, err) < 0)
        return -1;
    return bf_front_leave(platform,
                          platform->ops->target->delete_machine(platform, machine_ref, err), err);
}

int bf_target_hand_over_volume(struct bf_platform *platform, const char *volume_ref,
                               struct bf_error *err)
{
    assert(volume_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    if (!platform->ops->target->hand_over_volume)
        return 0;
    return bf_front_leave(platform,
                          platform->ops->target->hand_over_volume(platform, volume_ref, err), err);
}

int bf_target_hand_over_machine(struct bf_platform *platform, const char *machine_ref,
                                struct bf_error *err)
{
    assert(machine_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    if (!platform->ops->target->hand_over_machine)
        return 0;
    int rc = platform->ops->target->hand_over_machine(platform, machine_ref, err);
    return bf_front_leave(platform, rc, err);
}
