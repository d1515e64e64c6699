/* SPDX-License-Identifier: Apache-2.0 */
/* The front: the only code that calls through a connector's tables.
 *
 * Every call runs between bf_front_enter() and bf_front_leave(): arguments are asserted (they come
 * from our own service, so a bad one is a bug), a cancel is looked for, and afterwards "failed" and
 * "error set" must agree, or a connector would lose the reason of a failure.
 */
#include "connectors/connector.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/front.h"

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

int bf_front_enter(struct bf_platform *platform, struct bf_error *err)
{
    assert(platform && err && !bf_error_is_set(err));
    atomic_store(&platform->removing, false);
    return bf_platform_check_cancel(platform, err);
}

void bf_front_enter_removal(struct bf_platform *platform, const struct bf_error *err)
{
    assert(platform && err && !bf_error_is_set(err));
    atomic_store(&platform->removing, true);
}

int bf_front_leave(struct bf_platform *platform, int rc, const struct bf_error *err)
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

int bf_platform_check_options(const char *type, struct json_object *options, struct bf_error *err)
{
    const struct bf_connector_ops *ops = find_ops(type);
    bf_auto_json *none = json_object_new_object();

    assert(err && !bf_error_is_set(err));
    if (!ops)
        return bf_fail(err, BF_E_PLATFORM_TYPE, 0, "no connector of type \"%s\"", type ? type : "");
    if (!ops->check_options)
        return 0;
    int rc = ops->check_options(options ? options : none, err);
    assert((rc == -1) == bf_error_is_set(err));
    return rc;
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

    if (bf_front_enter(platform, err) < 0)
        return -1;
    if (bf_front_leave(platform, platform->ops->info(platform, &info, err), err) < 0) {
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
    if (bf_front_enter(platform, err) < 0)
        return -1;
    return bf_front_leave(platform, platform->ops->machines(platform, fn, user, err), err);
}

int bf_platform_machine(struct bf_platform *platform, const char *id_or_name,
                        struct bf_machine **ret_machine, struct bf_error *err)
{
    assert(id_or_name && ret_machine);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    return bf_front_leave(platform, platform->ops->machine(platform, id_or_name, ret_machine, err),
                          err);
}

int bf_platform_resources(struct bf_platform *platform, struct json_object **ret_resources,
                          struct bf_error *err)
{
    assert(ret_resources);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    return bf_front_leave(platform, platform->ops->resources(platform, ret_resources, err), err);
}

int bf_platform_power(struct bf_platform *platform, const char *machine_id,
                      enum bf_power *ret_power, struct bf_error *err)
{
    assert(machine_id && ret_power);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    return bf_front_leave(platform, platform->ops->power(platform, machine_id, ret_power, err),
                          err);
}

int bf_platform_shut_down(struct bf_platform *platform, const char *machine_id,
                          struct bf_deadline deadline, struct bf_error *err)
{
    assert(machine_id);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    return bf_front_leave(platform, platform->ops->shut_down(platform, machine_id, deadline, err),
                          err);
}

int bf_platform_power_off(struct bf_platform *platform, const char *machine_id,
                          struct bf_error *err)
{
    assert(machine_id);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    return bf_front_leave(platform, platform->ops->power_off(platform, machine_id, err), err);
}

int bf_platform_power_on(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    assert(machine_id);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    return bf_front_leave(platform, platform->ops->power_on(platform, machine_id, err), err);
}

int bf_platform_tagged(struct bf_platform *platform, bf_tagged_fn *fn, void *user,
                       struct bf_error *err)
{
    assert(fn);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    return bf_front_leave(platform, platform->ops->tagged(platform, fn, user, err), err);
}
