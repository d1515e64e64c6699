/* SPDX-License-Identifier: Apache-2.0 */
/* What the fake platform does as a target. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "fake_private.h"

static int fake_target_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                                struct json_object *mapping, struct bf_findings *findings,
                                struct bf_error *err)
{
    (void)platform;
    (void)machine;
    (void)mapping;
    (void)findings;
    (void)err;
    return 0;
}

static int fake_create_volume(struct bf_platform *platform, const struct bf_volume_request *request,
                              char **ret_ref, struct bf_error *err)
{
    bf_auto_free char *path = fake_path(platform, "vol-%s", request->tag);

    if (fake_enter(platform, "create_volume", err) != 0 || fake_put(path, "", err) != 0)
        return -1;
    *ret_ref = bf_xstrdup(request->tag);
    return 0;
}

static int fake_resize_volume(struct bf_platform *platform, const char *volume_ref,
                              uint64_t size_bytes, char **ret_ref, struct bf_error *err)
{
    (void)size_bytes;
    if (fake_enter(platform, "resize_volume", err) != 0)
        return -1;
    *ret_ref = bf_xstrdup(volume_ref);
    return 0;
}

static int fake_delete_volume(struct bf_platform *platform, const char *volume_ref,
                              struct bf_error *err)
{
    if (fake_enter(platform, "delete_volume", err) != 0)
        return -1;
    fake_remove_names(platform, "vol-", volume_ref);
    fake_remove_names(platform, "part-", volume_ref);
    fake_remove_names(platform, "point-", volume_ref);
    return 0;
}

static struct bf_target_volume *volume_new(struct bf_platform *platform, char *path)
{
    struct bf_target_volume *volume = bf_xcalloc(1, sizeof(*volume));

    volume->platform = platform;
    volume->spec.uri = path;
    volume->spec.format = bf_xstrdup("raw");
    volume->spec.size_bytes = fake_size_of(path);
    return volume;
}

static int fake_open_volume(struct bf_platform *platform, const char *volume_ref, const char *tag,
                            bool full, const char *last_point, struct bf_target_volume **ret_volume,
                            struct bf_error *err)
{
    bf_auto_free char *part = fake_path(platform, "part-%s-of-%s", tag, volume_ref);

    if (fake_enter(platform, "open_volume", err) != 0)
        return -1;
    if (!fake_there(part) && full) {
        int fd = open(part, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

        if (fd < 0 || ftruncate(fd, 1 << 20) != 0)
            return bf_fail(err, BF_E_SYSTEM, 0, "%s", part);
        close(fd);
    } else if (!fake_there(part)) {
        bf_auto_free char *point = fake_path(platform, "point-%s-of-%s", last_point, volume_ref);

        if (fake_copy_file(point, part, err) != 0)
            return -1;
    }
    *ret_volume = volume_new(platform, bf_steal(part));
    return 0;
}

static int fake_close_volume(struct bf_target_volume *volume, struct bf_error *err)
{
    (void)err;
    free(volume);
    return 0;
}

static int fake_drop_round(struct bf_platform *platform, const char *volume_ref, const char *tag,
                           struct bf_error *err)
{
    (void)volume_ref;
    if (fake_enter(platform, "drop_round", err) != 0)
        return -1;
    fake_remove_names(platform, "part-", tag);
    fake_remove_names(platform, "point-", tag);
    return 0;
}

static int fake_make_point(struct bf_platform *platform, const char *volume_ref, const char *tag,
                           char **ret_point_ref, struct bf_error *err)
{
    bf_auto_free char *part = fake_path(platform, "part-%s-of-%s", tag, volume_ref);
    bf_auto_free char *point = fake_path(platform, "point-%s-of-%s", tag, volume_ref);

    if (fake_enter(platform, "make_point", err) != 0)
        return -1;
    if (!fake_there(point) && rename(part, point) != 0)
        return bf_fail(err, BF_E_VOLUME_GONE, 0, "%s", part);
    *ret_point_ref = bf_xstrdup(tag);
    return 0;
}

static int fake_delete_point(struct bf_platform *platform, const char *volume_ref,
                             const char *point_ref, struct bf_error *err)
{
    bf_auto_free char *path = fake_path(platform, "point-%s-of-%s", point_ref, volume_ref);

    if (fake_enter(platform, "delete_point", err) != 0)
        return -1;
    unlink(path);
    return 0;
}

static int fake_open_point(struct bf_platform *platform, const char *volume_ref,
                           const char *point_ref, struct bf_target_volume **ret_volume,
                           struct bf_error *err)
{
    (void)err;
    *ret_volume =
        volume_new(platform, fake_path(platform, "point-%s-of-%s", point_ref, volume_ref));
    return 0;
}

static int fake_clone_point(struct bf_platform *platform, const char *volume_ref,
                            const char *point_ref, const char *tag, char **ret_clone_ref,
                            struct bf_error *err)
{
    bf_auto_free char *point = fake_path(platform, "point-%s-of-%s", point_ref, volume_ref);
    bf_auto_free char *clone = fake_path(platform, "clone-%s", tag);

    if (fake_enter(platform, "clone_point", err) != 0 ||
        (!fake_there(clone) && fake_copy_file(point, clone, err) != 0))
        return -1;
    *ret_clone_ref = bf_xstrdup(tag);
    return 0;
}

static int fake_open_clone(struct bf_platform *platform, const char *clone_ref,
                           struct bf_target_volume **ret_volume, struct bf_error *err)
{
    if (fake_enter(platform, "open_clone", err) != 0)
        return -1;
    *ret_volume = volume_new(platform, fake_path(platform, "clone-%s", clone_ref));
    return 0;
}

static int fake_delete_clone(struct bf_platform *platform, const char *clone_ref,
                             struct bf_error *err)
{
    if (fake_enter(platform, "delete_clone", err) != 0)
        return -1;
    fake_remove_names(platform, "clone-", clone_ref);
    return 0;
}

static int fake_adopt_precheck(struct bf_platform *platform, const struct bf_adopt_request *request,
                               struct bf_findings *findings, struct bf_error *err)
{
    (void)platform;
    (void)request;
    (void)findings;
    (void)err;
    return 0;
}

static char *own_path(struct bf_platform *platform, const char *place)
{
    bf_auto_json *json = bf_context_parse(place);

    return fake_path(platform, "disk-%s", bf_context_text(json, "disk"));
}

static int move(const char *from, const char *to, struct bf_error *err)
{
    return fake_there(to) || rename(from, to) == 0 ? 0
                                                   : bf_fail(err, BF_E_VOLUME_GONE, 0, "%s", from);
}

static int fake_adopt_volume(struct bf_platform *platform, const struct bf_adopt_request *request,
                             char **ret_ref, struct bf_error *err)
{
    bf_auto_free char *own = own_path(platform, request->place);
    bf_auto_free char *adopted = fake_path(platform, "adoption-%s", request->tag);

    if (fake_enter(platform, "adopt_volume", err) != 0 || move(own, adopted, err) != 0)
        return -1;
    *ret_ref = bf_xstrdup(request->tag);
    return 0;
}

static int fake_give_back(struct bf_platform *platform, const char *tag, const char *place,
                          struct bf_error *err)
{
    bf_auto_free char *own = own_path(platform, place);
    bf_auto_free char *adopted = fake_path(platform, "adoption-%s", tag);

    return fake_enter(platform, "give_back", err) != 0 ? -1 : move(adopted, own, err);
}

static int fake_create_machine(struct bf_platform *platform,
                               const struct bf_launch_request *request, char **ret_machine_ref,
                               struct bf_error *err)
{
    bf_auto_free char *path = fake_path(platform, "machine-%s", request->tag);

    if (fake_enter(platform, "create_machine", err) != 0 ||
        (!fake_there(path) && fake_put(path, "off", err) != 0))
        return -1;
    *ret_machine_ref = bf_xstrdup(request->tag);
    return 0;
}

static int fake_machine_id(struct bf_platform *platform, const char *machine_ref, char **ret_id,
                           struct bf_error *err)
{
    (void)platform;
    (void)err;
    *ret_id = bf_xasprintf("machine-%s", machine_ref);
    return 0;
}

static int fake_delete_machine(struct bf_platform *platform, const char *machine_ref,
                               struct bf_error *err)
{
    if (fake_enter(platform, "delete_machine", err) != 0)
        return -1;
    fake_remove_names(platform, "machine-", machine_ref);
    return 0;
}

static int fake_text_console(struct bf_platform *platform, const char *machine_ref, size_t max,
                             char **ret_text, struct bf_error *err)
{
    (void)platform;
    (void)machine_ref;
    (void)max;
    (void)err;
    *ret_text = bf_xstrdup(fake_console ? fake_console : "BOOTMARK\n");
    return 0;
}

/* The admin's from now on: it carries no tag of ours any more. */
static void give_away(struct bf_platform *platform, const char *kind, const char *tag)
{
    bf_auto_free char *from = fake_path(platform, "%s-%s", kind, tag);
    bf_auto_free char *to = fake_path(platform, "given-%s-%s", kind, tag);

    (void)rename(from, to);
}

static int fake_hand_over(struct bf_platform *platform, const char *machine_ref,
                          struct bf_error *err)
{
    if (fake_enter(platform, "hand_over", err) != 0)
        return -1;
    give_away(platform, "machine", machine_ref);
    return 0;
}

static int fake_detach(struct bf_platform *platform, const char *machine_ref, const char *clone_ref,
                       struct bf_deadline deadline, struct bf_error *err)
{
    (void)machine_ref;
    (void)deadline;
    if (fake_enter(platform, "detach_clone", err) != 0)
        return -1;
    give_away(platform, "clone", clone_ref);
    give_away(platform, "adoption", clone_ref);
    return 0;
}

struct bf_target_ops fake_target = {
    .precheck = fake_target_precheck,
    .create_volume = fake_create_volume,
    .resize_volume = fake_resize_volume,
    .delete_volume = fake_delete_volume,
    .open_volume = fake_open_volume,
    .close_volume = fake_close_volume,
    .drop_round = fake_drop_round,
    .make_point = fake_make_point,
    .delete_point = fake_delete_point,
    .open_point = fake_open_point,
    .clone_point = fake_clone_point,
    .open_clone = fake_open_clone,
    .delete_clone = fake_delete_clone,
    .detach_clone = fake_detach,
    .adopt_precheck = fake_adopt_precheck,
    .adopt_volume = fake_adopt_volume,
    .give_back_volume = fake_give_back,
    .create_machine = fake_create_machine,
    .machine_id = fake_machine_id,
    .delete_machine = fake_delete_machine,
    .console = fake_text_console,
    .takes_companion = true,
    .hand_over_machine = fake_hand_over,
};

void fake_without_companion(void)
{
    fake_target.takes_companion = false;
}
