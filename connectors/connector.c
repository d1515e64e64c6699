/* SPDX-License-Identifier: Apache-2.0 */
/* The front: the only code that calls through a connector's tables.
 *
 * Every call runs between enter() and leave(): arguments are asserted (they come from our own
 * service, so a bad one is a bug), a cancel is looked for, and afterwards "failed" and "error
 * set" must agree, or a connector would lose the reason of a failure.
 */
#include "connectors/connector.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/ops.h"

/* --- tags --- */

bool bf_tag_of(const char *text, char ret_tag[BF_TAG_LENGTH + 1])
{
    if (!text || strncmp(text, "bf-", 3) != 0)
        return false;
    if (strspn(text + 3, "0123456789abcdef") < 16)
        return false;
    char after = text[BF_TAG_LENGTH];
    if ((after >= '0' && after <= '9') || (after >= 'a' && after <= 'z') ||
        (after >= 'A' && after <= 'Z'))
        return false;
    memcpy(ret_tag, text, BF_TAG_LENGTH);
    ret_tag[BF_TAG_LENGTH] = '\0';
    return true;
}

bool bf_tag_valid(const char *text)
{
    char tag[BF_TAG_LENGTH + 1];

    return bf_tag_of(text, tag) && text[BF_TAG_LENGTH] == '\0';
}

/* --- cancel --- */

bool bf_platform_is_cancelled(struct bf_platform *platform)
{
    return atomic_load(&platform->cancelled) && !atomic_load(&platform->removing);
}

int bf_platform_check_cancel(struct bf_platform *platform, struct bf_error *err)
{
    if (!bf_platform_is_cancelled(platform))
        return 0;
    return bf_fail(err, BF_E_CANCELLED, 0, "work on platform %s was cancelled", platform->name);
}

int bf_platform_cancel_fd(struct bf_platform *platform)
{
    return atomic_load(&platform->removing) ? -1 : platform->cancel_fd;
}

int bf_platform_pause(struct bf_platform *platform, uint64_t ms, struct bf_deadline deadline,
                      struct bf_error *err)
{
    struct pollfd pfd = {.fd = bf_platform_cancel_fd(platform), .events = POLLIN};
    int left = bf_deadline_left(deadline);

    if (left == 0)
        return bf_fail(err, BF_E_DEADLINE, 0, "the deadline passed");
    if (left > 0 && (uint64_t)left < ms)
        ms = (uint64_t)left;
    /* EINTR only makes the pause shorter. */
    (void)poll(&pfd, 1, (int)ms);
    return bf_platform_check_cancel(platform, err);
}

void bf_platform_cancel(struct bf_platform *platform)
{
    uint64_t one = 1;

    atomic_store(&platform->cancelled, true);
    (void)!write(platform->cancel_fd, &one, sizeof(one));
    if (platform->ops->cancel && !atomic_load(&platform->removing))
        platform->ops->cancel(platform);
}

void bf_platform_uncancel(struct bf_platform *platform)
{
    uint64_t count;

    (void)!read(platform->cancel_fd, &count, sizeof(count));
    atomic_store(&platform->cancelled, false);
}

/* --- both ends of a call --- */

static int enter(struct bf_platform *platform, struct bf_error *err)
{
    assert(platform && err && !bf_error_is_set(err));
    atomic_store(&platform->removing, false);
    return bf_platform_check_cancel(platform, err);
}

static void enter_removal(struct bf_platform *platform, const struct bf_error *err)
{
    assert(platform && err && !bf_error_is_set(err));
    atomic_store(&platform->removing, true);
}

static int leave(struct bf_platform *platform, int rc, const struct bf_error *err)
{
    assert(rc == 0 || rc == -1);
    assert((rc == -1) == bf_error_is_set(err));
    atomic_store(&platform->removing, false);
    return rc;
}

/* --- the platform --- */

static const struct bf_connector_ops *find_ops(const char *type)
{
    for (size_t i = 0; bf_connectors[i]; i++) {
        if (bf_streq(bf_connectors[i]->type, type))
            return bf_connectors[i];
    }
    return NULL;
}

int bf_platform_open_with(const struct bf_connector_ops *ops, const struct bf_platform_conf *conf,
                          struct bf_platform **ret_platform, struct bf_error *err)
{
    struct bf_platform *platform = NULL;
    bf_auto_fd int cancel_fd = -1;

    assert(ops && conf && conf->name && conf->url && conf->work_directory);
    assert(ret_platform && err && !bf_error_is_set(err));
    cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (cancel_fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "eventfd");
    int rc = ops->open(conf, &platform, err);
    assert((rc == -1) == bf_error_is_set(err));
    if (rc < 0)
        return bf_fail_in(err, "platform %s", conf->name);
    platform->ops = ops;
    platform->name = bf_xstrdup(conf->name);
    platform->cancel_fd = bf_steal_fd(cancel_fd);
    *ret_platform = platform;
    return 0;
}

int bf_platform_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                     struct bf_error *err)
{
    const struct bf_connector_ops *ops = find_ops(conf->type);

    if (!ops)
        return bf_fail(err, BF_E_PLATFORM_TYPE, 0, "platform %s: no connector of type \"%s\"",
                       conf->name, conf->type ? conf->type : "");
    return bf_platform_open_with(ops, conf, ret_platform, err);
}

void bf_platform_close(struct bf_platform *platform)
{
    if (!platform)
        return;
    free(platform->name);
    close(platform->cancel_fd);
    platform->ops->close(platform);
}

int bf_platform_info(struct bf_platform *platform, struct bf_platform_info *ret_info,
                     struct bf_error *err)
{
    struct bf_platform_info info = {0};

    if (enter(platform, err) < 0)
        return -1;
    if (leave(platform, platform->ops->info(platform, &info, err), err) < 0) {
        bf_platform_info_done(&info);
        return -1;
    }
    info.can_source = info.can_source && platform->ops->source;
    info.can_target = info.can_target && platform->ops->target;
    *ret_info = info;
    return 0;
}

void bf_platform_info_done(struct bf_platform_info *info)
{
    free(info->version);
    bf_findings_done(&info->findings);
    *info = (struct bf_platform_info){0};
}

int bf_platform_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                         struct bf_error *err)
{
    assert(fn);
    if (enter(platform, err) < 0)
        return -1;
    return leave(platform, platform->ops->machines(platform, fn, user, err), err);
}

int bf_platform_machine(struct bf_platform *platform, const char *id_or_name,
                        struct bf_machine **ret_machine, struct bf_error *err)
{
    assert(id_or_name && ret_machine);
    if (enter(platform, err) < 0)
        return -1;
    return leave(platform, platform->ops->machine(platform, id_or_name, ret_machine, err), err);
}

int bf_platform_resources(struct bf_platform *platform, struct json_object **ret_resources,
                          struct bf_error *err)
{
    assert(ret_resources);
    if (enter(platform, err) < 0)
        return -1;
    return leave(platform, platform->ops->resources(platform, ret_resources, err), err);
}

int bf_platform_power(struct bf_platform *platform, const char *machine_id,
                      enum bf_power *ret_power, struct bf_error *err)
{
    assert(machine_id && ret_power);
    if (enter(platform, err) < 0)
        return -1;
    return leave(platform, platform->ops->power(platform, machine_id, ret_power, err), err);
}

int bf_platform_shut_down(struct bf_platform *platform, const char *machine_id,
                          struct bf_deadline deadline, struct bf_error *err)
{
    assert(machine_id);
    if (enter(platform, err) < 0)
        return -1;
    return leave(platform, platform->ops->shut_down(platform, machine_id, deadline, err), err);
}

int bf_platform_power_off(struct bf_platform *platform, const char *machine_id,
                          struct bf_error *err)
{
    assert(machine_id);
    if (enter(platform, err) < 0)
        return -1;
    return leave(platform, platform->ops->power_off(platform, machine_id, err), err);
}

int bf_platform_power_on(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    assert(machine_id);
    if (enter(platform, err) < 0)
        return -1;
    return leave(platform, platform->ops->power_on(platform, machine_id, err), err);
}

int bf_platform_tagged(struct bf_platform *platform, bf_tagged_fn *fn, void *user,
                       struct bf_error *err)
{
    assert(fn);
    if (enter(platform, err) < 0)
        return -1;
    return leave(platform, platform->ops->tagged(platform, fn, user, err), err);
}

/* --- source --- */

static int no_source(const struct bf_platform *platform, struct bf_error *err)
{
    return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "platform %s (%s) cannot be a source",
                   platform->name, platform->ops->type);
}

int bf_source_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                       struct bf_findings *findings, struct bf_error *err)
{
    assert(machine && findings);
    if (enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    return leave(platform, platform->ops->source->precheck(platform, machine, findings, err), err);
}

int bf_source_prepare(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    assert(machine_id);
    if (enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    if (!platform->ops->source->prepare)
        return 0;
    return leave(platform, platform->ops->source->prepare(platform, machine_id, err), err);
}

int bf_source_snapshot(struct bf_platform *platform, const struct bf_snapshot_request *request,
                       struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    struct bf_snapshot *snapshot = NULL;

    assert(request && request->machine_id && bf_tag_valid(request->tag));
    assert(request->disk_keys && request->disk_keys[0] && ret_snapshot);
    if (enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    int rc = platform->ops->source->snapshot(platform, request, &snapshot, err);
    if (leave(platform, rc, err) < 0)
        return -1;
    assert(snapshot && snapshot->ref);
    for (size_t i = 0; request->disk_keys[i]; i++) {
        assert(i < snapshot->disk_count);
        assert(bf_streq(snapshot->disks[i].key, request->disk_keys[i]));
        assert(!snapshot->disks[i].delta || request->baseline);
    }
    *ret_snapshot = snapshot;
    return 0;
}

void bf_snapshot_free(struct bf_snapshot *snapshot)
{
    if (!snapshot)
        return;
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        free(snapshot->disks[i].key);
        free(snapshot->disks[i].reason);
    }
    free(snapshot->disks);
    free(snapshot->ref);
    free(snapshot->baseline);
    free(snapshot->quiesce_note);
    free(snapshot);
}

int bf_source_open_disk(struct bf_platform *platform, const char *snapshot_ref, const char *key,
                        struct bf_source_disk **ret_disk, struct bf_error *err)
{
    struct bf_source_disk *disk = NULL;

    assert(snapshot_ref && key && ret_disk);
    if (enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    int rc = platform->ops->source->open_disk(platform, snapshot_ref, key, &disk, err);
    if (leave(platform, rc, err) < 0)
        return -1;
    assert(disk && disk->platform == platform && disk->spec.uri && disk->spec.format);
    *ret_disk = disk;
    return 0;
}

const struct bf_endpoint_spec *bf_source_disk_spec(const struct bf_source_disk *disk)
{
    return &disk->spec;
}

void bf_source_close_disk(struct bf_source_disk *disk)
{
    if (!disk)
        return;
    bf_endpoint_spec_done(&disk->spec);
    disk->platform->ops->source->close_disk(disk);
}

int bf_source_release(struct bf_platform *platform, const char *machine_id,
                      const char *snapshot_ref, struct bf_error *err)
{
    assert(machine_id && snapshot_ref);
    enter_removal(platform, err);
    if (!platform->ops->source)
        return no_source(platform, err);
    int rc = platform->ops->source->release(platform, machine_id, snapshot_ref, err);
    return leave(platform, rc, err);
}

int bf_source_release_tag(struct bf_platform *platform, const char *machine_id, const char *tag,
                          struct bf_error *err)
{
    assert(machine_id && bf_tag_valid(tag));
    enter_removal(platform, err);
    if (!platform->ops->source)
        return no_source(platform, err);
    return leave(platform, platform->ops->source->release_tag(platform, machine_id, tag, err), err);
}

int bf_source_drop_baseline(struct bf_platform *platform, const char *machine_id,
                            const char *baseline, struct bf_error *err)
{
    assert(machine_id && baseline);
    enter_removal(platform, err);
    if (!platform->ops->source)
        return no_source(platform, err);
    if (!platform->ops->source->drop_baseline)
        return leave(platform, 0, err);
    int rc = platform->ops->source->drop_baseline(platform, machine_id, baseline, err);
    return leave(platform, rc, err);
}

int bf_source_firmware_vars(struct bf_platform *platform, const struct bf_machine *machine,
                            char **ret_data, size_t *ret_size, char **ret_note,
                            struct bf_error *err)
{
    int rc;

    assert(machine && ret_data && ret_size && ret_note);
    *ret_data = *ret_note = NULL;
    if (machine->firmware == BF_FIRMWARE_BIOS)
        return 0;
    if (enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    if (!platform->ops->source->firmware_vars) {
        *ret_note = bf_xasprintf("platforms of type %s do not give them", platform->ops->type);
        return 0;
    }
    rc = platform->ops->source->firmware_vars(platform, machine, ret_data, ret_size, ret_note, err);
    assert(rc != 0 || !*ret_data != !*ret_note);
    return leave(platform, rc, err);
}

/* --- target --- */

static int enter_target(struct bf_platform *platform, bool removal, struct bf_error *err)
{
    if (removal)
        enter_removal(platform, err);
    else if (enter(platform, err) < 0)
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
    return leave(platform, rc, err);
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
    return leave(platform, platform->ops->target->create_volume(platform, request, ret_ref, err),
                 err);
}

int bf_target_resize_volume(struct bf_platform *platform, const char *volume_ref,
                            uint64_t size_bytes, char **ret_ref, struct bf_error *err)
{
    assert(volume_ref && ret_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->resize_volume(platform, volume_ref, size_bytes, ret_ref, err);
    return leave(platform, rc, err);
}

int bf_target_delete_volume(struct bf_platform *platform, const char *volume_ref,
                            struct bf_error *err)
{
    assert(volume_ref);
    if (enter_target(platform, true, err) < 0)
        return -1;
    return leave(platform, platform->ops->target->delete_volume(platform, volume_ref, err), err);
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
    if (leave(platform, rc, err) < 0)
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
    enter_removal(platform, err);
    bf_endpoint_spec_done(&volume->spec);
    return leave(platform, platform->ops->target->close_volume(volume, err), err);
}

int bf_target_drop_round(struct bf_platform *platform, const char *volume_ref, const char *tag,
                         struct bf_error *err)
{
    assert(volume_ref && bf_tag_valid(tag));
    if (enter_target(platform, true, err) < 0)
        return -1;
    return leave(platform, platform->ops->target->drop_round(platform, volume_ref, tag, err), err);
}

int bf_target_make_point(struct bf_platform *platform, const char *volume_ref, const char *tag,
                         char **ret_point_ref, struct bf_error *err)
{
    assert(volume_ref && bf_tag_valid(tag) && ret_point_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->make_point(platform, volume_ref, tag, ret_point_ref, err);
    return leave(platform, rc, err);
}

int bf_target_delete_point(struct bf_platform *platform, const char *volume_ref,
                           const char *point_ref, struct bf_error *err)
{
    assert(volume_ref && point_ref);
    if (enter_target(platform, true, err) < 0)
        return -1;
    return leave(platform,
                 platform->ops->target->delete_point(platform, volume_ref, point_ref, err), err);
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
    if (leave(platform, rc, err) < 0)
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
    return leave(platform, rc, err);
}

int bf_target_open_clone(struct bf_platform *platform, const char *clone_ref,
                         struct bf_target_volume **ret_volume, struct bf_error *err)
{
    struct bf_target_volume *volume = NULL;

    assert(clone_ref && ret_volume);
    if (enter_target(platform, false, err) < 0)
        return -1;
    if (leave(platform, platform->ops->target->open_clone(platform, clone_ref, &volume, err), err) <
        0)
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
    return leave(platform, platform->ops->target->delete_clone(platform, clone_ref, err), err);
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
    return leave(platform, rc, err);
}

int bf_target_create_machine(struct bf_platform *platform, const struct bf_launch_request *request,
                             char **ret_machine_ref, struct bf_error *err)
{
    assert(request && bf_tag_valid(request->tag) && request->name && request->machine);
    assert(request->disk_count > 0 && ret_machine_ref);
    if (enter_target(platform, false, err) < 0)
        return -1;
    int rc = platform->ops->target->create_machine(platform, request, ret_machine_ref, err);
    return leave(platform, rc, err);
}

int bf_target_machine_id(struct bf_platform *platform, const char *machine_ref, char **ret_id,
                         struct bf_error *err)
{
    assert(machine_ref && ret_id);
    if (enter_target(platform, false, err) < 0)
        return -1;
    return leave(platform, platform->ops->target->machine_id(platform, machine_ref, ret_id, err),
                 err);
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
    return leave(platform, rc, err);
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
    return leave(platform, rc, err);
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
    return leave(platform, rc, err);
}

int bf_target_delete_machine(struct bf_platform *platform, const char *machine_ref,
                             struct bf_error *err)
{
    assert(machine_ref);
    if (enter_target(platform, true, err) < 0)
        return -1;
    return leave(platform, platform->ops->target->delete_machine(platform, machine_ref, err), err);
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
    return leave(platform, rc, err);
}
