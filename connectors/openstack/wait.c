/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a thing to reach a status: by asking, as OpenStack tells nobody. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cloud.h"

#define FIRST_PAUSE_MS 100
#define LAST_PAUSE_MS 2000

static bool one_of(const char *const *words, const char *word)
{
    for (; words && *words; words++)
        if (bf_streq(*words, word))
            return true;
    return false;
}

/* What Cinder noted about it; NULL: nothing. */
static char *cinder_message(struct bf_cloud *cloud, const char *id)
{
    bf_auto_free char *path = bf_xasprintf("/messages?resource_uuid=%s", id);
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_json *messages = NULL;

    if (bf_cloud_collect(
            cloud,
            &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME, .path = path, .minor = 59},
            "messages", &messages, &ignored) < 0 ||
        json_object_array_length(messages) == 0)
        return NULL;
    return bf_xstrdup(bf_cloud_text(json_object_array_get_idx(messages, 0), "user_message"));
}

static int fail_status(struct bf_cloud *cloud, const struct bf_cloud_wait *wait,
                       struct json_object *thing, const char *status, struct bf_error *err)
{
    bf_auto_free char *text = bf_xstrdup(bf_cloud_text(thing, "fault/message"));
    const char *id = bf_cloud_id(thing, "id");

    if (!text && wait->request.service == BF_CLOUD_VOLUME && id)
        text = cinder_message(cloud, id);
    if (text)
        bf_text_clean(text, false);
    bf_fail(err, BF_E_PLATFORM_ERROR, 0, "%s is in status \"%s\"%s%s", wait->what, status,
            text ? ": " : "", text ? text : "");
    /* "schedule allocate volume:Could not find any available weighted backend." */
    if (text && (strstr(text, "available weighted backend") || strstr(text, "No space")))
        bf_error_recode(err, BF_E_TARGET_FULL);
    bf_error_evidence(err, bf_json_text(thing));
    return -1;
}

/* 1: reached, 0: not yet, -1. */
static int look(struct bf_cloud *cloud, const struct bf_cloud_wait *wait,
                struct json_object **ret_thing, struct bf_error *err)
{
    bf_auto_json *body = NULL;

    if (bf_cloud_find(cloud, &wait->request, &body, err) < 0)
        return -1;
    struct json_object *thing = wait->object ? bf_cloud_at(body, wait->object) : body;
    if (!body && wait->gone)
        return 1;
    if (!body)
        return bf_fail(err, wait->request.missing ? wait->request.missing : BF_E_PLATFORM_ERROR, 0,
                       "%s is gone", wait->what);
    const char *status = bf_cloud_text(thing, "status");
    if (!status)
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: the answer has no status", wait->what);
    if (one_of(wait->wanted, status)) {
        *ret_thing = json_object_get(thing);
        return 1;
    }
    bool bad = wait->going ? !one_of(wait->going, status) : strcasestr(status, "error") != NULL;
    return bad ? fail_status(cloud, wait, thing, status, err) : 0;
}

int bf_cloud_wait(struct bf_cloud *cloud, const struct bf_cloud_wait *wait,
                  struct json_object **ret_json, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(wait->deadline_ms);
    uint64_t pause_ms = FIRST_PAUSE_MS;
    struct json_object *thing = NULL;

    for (;;) {
        int r = look(cloud, wait, &thing, err);

        /* A service that is away for a moment does not stop what is under way. */
        if (r < 0 && (bf_error_kind(err->code) != BF_KIND_TRANSIENT))
            return -1;
        if (r > 0)
            break;
        if (bf_deadline_passed(deadline)) {
            if (r == 0)
                bf_fail(err, BF_E_DEADLINE, 0, "%s did not change its status within %llu s",
                        wait->what, (unsigned long long)(wait->deadline_ms / 1000));
            return -1;
        }
        bf_error_clear(err);
        if (bf_platform_pause(&cloud->base, pause_ms, (struct bf_deadline){0}, err) < 0)
            return -1;
        pause_ms = pause_ms * 3 / 2 < LAST_PAUSE_MS ? pause_ms * 3 / 2 : LAST_PAUSE_MS;
    }
    if (ret_json)
        *ret_json = thing;
    else
        json_object_put(thing);
    return 0;
}
