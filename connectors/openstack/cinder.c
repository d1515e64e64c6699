/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/cinder.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/place.h"

#define CONNECTION_MS (UINT64_C(20) * 1000)
#define CONNECTION_PAUSE_MS 500
#define SETTLE_MS (UINT64_C(2) * 60 * 1000)
#define DELETE_MS (UINT64_C(5) * 60 * 1000)

static int call(struct bf_cloud *cloud, const char *method, const char *path,
                struct json_object *body, struct json_object **ret_json, struct bf_error *err)
{
    return bf_cloud_call(cloud,
                         &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                                    .method = method,
                                                    .path = path,
                                                    .minor = BF_CINDER_MINOR,
                                                    .body = body,
                                                    .missing = BF_E_VOLUME_GONE},
                         ret_json, err);
}

static struct json_object *wrap(const char *name, struct json_object *content)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, name, content);
    return object;
}

/* Ours are those without an instance; other's, mostly Nova's: with one. */
static int attachments(struct bf_cloud *cloud, const char *volume_id, bool own,
                       struct json_object **ret_attachments, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/attachments/detail?volume_id=%s", volume_id);
    bf_auto_json *all = NULL;
    bf_auto_json *some = json_object_new_array();

    if (bf_cloud_collect(cloud,
                         &(struct bf_cloud_request){
                             .service = BF_CLOUD_VOLUME, .path = path, .minor = BF_CINDER_MINOR},
                         "attachments", &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *attachment = json_object_array_get_idx(all, i);

        if (bf_streq(bf_cloud_text(attachment, "volume_id"), volume_id) &&
            own == !bf_cloud_text(attachment, "instance") && bf_cloud_id(attachment, "id"))
            json_object_array_add(some, json_object_get(attachment));
    }
    *ret_attachments = bf_steal(some);
    return 0;
}

/* --- volumes --- */

int bf_cinder_volume(struct bf_cloud *cloud, const char *id, struct json_object **ret_volume,
                     struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/volumes/%s", id);
    bf_auto_json *body = NULL;

    if (call(cloud, "GET", path, NULL, &body, err) < 0)
        return -1;
    if (!bf_cloud_text(body, "volume/status"))
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: the answer has no status", path);
    *ret_volume = json_object_get(bf_cloud_at(body, "volume"));
    return 0;
}

int bf_cinder_find_volumes(struct bf_cloud *cloud, const char *tag, const char *kind,
                           struct json_object **ret_volumes, struct bf_error *err)
{
    bf_auto_free char *filter = bf_xasprintf("{'" BF_CLOUD_TAG_KEY "':'%s'}", tag);
    bf_auto_free char *escaped = bf_cloud_escape(filter);
    bf_auto_free char *path = bf_xasprintf("/volumes/detail?metadata=%s", escaped);
    bf_auto_json *all = NULL;
    bf_auto_json *found = json_object_new_array();

    if (bf_cloud_collect(cloud,
                         &(struct bf_cloud_request){
                             .service = BF_CLOUD_VOLUME, .path = path, .minor = BF_CINDER_MINOR},
                         "volumes", &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *volume = json_object_array_get_idx(all, i);

        if (bf_cloud_is_tagged(volume, tag, kind))
            json_object_array_add(found, json_object_get(volume));
    }
    *ret_volumes = bf_steal(found);
    return 0;
}

int bf_cinder_find_volume(struct bf_cloud *cloud, const char *tag, const char *kind,
                          struct json_object **ret_volume, struct bf_error *err)
{
    bf_auto_json *volumes = NULL;

    if (bf_cinder_find_volumes(cloud, tag, kind, &volumes, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        struct json_object *volume = json_object_array_get_idx(volumes, i);

        if (!bf_streq(bf_cloud_text(volume, "status"), "deleting")) {
            *ret_volume = json_object_get(volume);
            return 0;
        }
    }
    return 0;
}

int bf_cinder_wait_volume(struct bf_cloud *cloud, const char *id, const struct bf_cinder_wait *wait,
                          struct json_object **ret_volume, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/volumes/%s", id);
    bf_auto_free char *what = bf_xasprintf("volume %s", id);

    return bf_cloud_wait(cloud,
                         &(struct bf_cloud_wait){.request = {.service = BF_CLOUD_VOLUME,
                                                             .path = path,
                                                             .minor = BF_CINDER_MINOR,
                                                             .missing = BF_E_VOLUME_GONE},
                                                 .object = "volume",
                                                 .what = what,
                                                 .wanted = wait->wanted,
                                                 .going = wait->going,
                                                 .deadline_ms = wait->deadline_ms},
                         ret_volume, err);
}

static int wait_healthy(struct bf_cloud *cloud, const char *id, const char *const *wanted,
                        struct json_object **ret_volume, struct bf_error *err)
{
    static const char *const going[] = {"creating",  "downloading", "available", "attaching",
                                        "detaching", "in-use",      "reserved",  "extending",
                                        "reverting", "deleting",    "uploading", NULL};

    return bf_cinder_wait_volume(cloud, id,
                                 &(struct bf_cinder_wait){.wanted = wanted,
                                                          .going = going,
                                                          .deadline_ms = BF_CINDER_WAIT_MS},
                                 ret_volume, err);
}

int bf_cinder_wait_available(struct bf_cloud *cloud, const char *id,
                             struct json_object **ret_volume, struct bf_error *err)
{
    static const char *const wanted[] = {"available", NULL};

    return wait_healthy(cloud, id, wanted, ret_volume, err);
}

/* Wait for a volume that was asked for; what cannot come into being is taken away again. */
static int await_new(struct bf_cloud *cloud, const char *id, struct json_object **ret_volume,
                     struct bf_error *err)
{
    static const char *const wanted[] = {"available", "in-use", NULL};
    bf_auto_error ignored = BF_ERROR_INIT;

    if (wait_healthy(cloud, id, wanted, ret_volume, err) == 0)
        return 0;
    if (err->code == BF_E_PLATFORM_ERROR || err->code == BF_E_TARGET_FULL)
        (void)bf_cinder_delete_volume(cloud, id, &ignored);
    return -1;
}

int bf_cinder_make_volume(struct bf_cloud *cloud, const char *tag, const char *kind,
                          struct json_object *members, struct json_object **ret_volume,
                          struct bf_error *err)
{
    bf_auto_json *found = NULL;
    bf_auto_json *answer = NULL;
    const char *id;

    if (bf_cinder_find_volume(cloud, tag, kind, &found, err) < 0)
        return -1;
    if (found && bf_starts_with(bf_cloud_text(found, "status"), "error")) {
        if (bf_cloud_need_id(found, "id", &id, err) < 0 ||
            bf_cinder_delete_volume(cloud, id, err) < 0)
            return bf_fail_in(err, "volume left in an error");
        json_object_put(bf_steal(found));
    }
    if (!found) {
        bf_auto_json *body = wrap("volume", json_object_get(members));

        if (call(cloud, "POST", "/volumes", body, &answer, err) < 0)
            return -1;
        found = json_object_get(bf_cloud_at(answer, "volume"));
    }
    if (bf_cloud_need_id(found, "id", &id, err) < 0)
        return -1;
    return await_new(cloud, id, ret_volume, err);
}

/* Deleting a volume whose image somebody has open, or had open when he died half a minute ago,
 * makes Cinder move the image to RBD's trash, where it stays for ever and keeps its parent's
 * snapshot.  We may be that somebody only where we hold the volume. */
static int settle(struct bf_cloud *cloud, const char *id, struct bf_error *err)
{
    bf_auto_error trouble = BF_ERROR_INIT;
    bf_auto_json *own = NULL;
    bf_auto_json *connection = NULL;
    bf_auto_rbd_place place = {0};

    if (attachments(cloud, id, true, &own, err) < 0)
        return -1;
    if (json_object_array_length(own) == 0)
        return 0;
    const char *attachment = bf_cloud_id(json_object_array_get_idx(own, 0), "id");
    if (bf_cinder_connection(cloud, attachment, &connection, &trouble) < 0 ||
        bf_rbd_place_read(cloud, connection, &place, &trouble) < 0)
        return 0; /* not on RBD, or it was never reached */
    bf_auto_free char *uri = bf_rbd_place_uri(cloud, &place, NULL);
    if (bf_rbd_place_do(cloud, "settle", uri, bf_deadline_in(SETTLE_MS), &trouble) < 0 &&
        trouble.code == BF_E_IN_USE) {
        bf_error_move(err, &trouble);
        return -1;
    }
    return 0;
}

int bf_cinder_delete_volume(struct bf_cloud *cloud, const char *id, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/volumes/%s", id);
    bool stays;

    if (settle(cloud, id, err) < 0 || bf_cinder_let_go(cloud, id, err) < 0)
        return -1;
    return bf_cinder_remove(
        cloud,
        &(struct bf_cinder_removal){.path = path, .object = "volume", .deadline_ms = DELETE_MS},
        &stays, err);
}

int bf_cinder_delete_volumes(struct bf_cloud *cloud, const char *tag, const char *kind,
                             struct bf_error *err)
{
    bf_auto_json *volumes = NULL;

    if (bf_cinder_find_volumes(cloud, tag, kind, &volumes, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        const char *id = bf_cloud_id(json_object_array_get_idx(volumes, i), "id");

        if (id && bf_cinder_delete_volume(cloud, id, err) < 0)
            return -1;
    }
    return 0;
}

int bf_cinder_action(struct bf_cloud *cloud, const char *id, const char *name,
                     struct json_object *arguments, unsigned minor, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/volumes/%s/action", id);
    bf_auto_json *body = wrap(name, arguments);

    if (bf_cloud_call(cloud,
                      &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                                 .method = "POST",
                                                 .path = path,
                                                 .minor = minor,
                                                 .body = body,
                                                 .missing = BF_E_VOLUME_GONE},
                      NULL, err) < 0)
        return bf_fail_in(err, "%s", name);
    return 0;
}

int bf_cinder_set_metadata(struct bf_cloud *cloud, const char *path, const char *key,
                           const char *value, struct bf_error *err)
{
    bf_auto_free char *metadata =
        value ? bf_xasprintf("%s/metadata", path) : bf_xasprintf("%s/metadata/%s", path, key);
    struct json_object *content = json_object_new_object();
    bf_auto_json *body = wrap("metadata", content);

    if (value) {
        bf_json_add_string(content, key, value);
        return call(cloud, "POST", metadata, body, NULL, err);
    }
    if (call(cloud, "DELETE", metadata, NULL, NULL, err) == 0 || cloud->status == 404) {
        bf_error_clear(err);
        return 0;
    }
    return -1;
}

int bf_cinder_rename(struct bf_cloud *cloud, const char *path, const char *name,
                     struct bf_error *err)
{
    struct json_object *content = json_object_new_object();
    bf_auto_json *body = wrap("volume", content);

    bf_json_add_string(content, "name", name);
    return call(cloud, "PUT", path, body, NULL, err);
}

/* --- attachments --- */

static int attach(struct bf_cloud *cloud, const char *volume_id, char **ret_id,
                  struct bf_error *err)
{
    struct json_object *connector = json_object_new_object();
    struct json_object *content = json_object_new_object();
    bf_auto_json *body = wrap("attachment", content);
    bf_auto_json *answer = NULL;
    const char *id;

    bf_json_add_string(connector, "host", cloud->conf.host);
    bf_json_add_string(content, "volume_uuid", volume_id);
    bf_json_add_string(content, "mode", "rw");
    json_object_object_add(content, "connector", connector);
    if (call(cloud, "POST", "/attachments", body, &answer, err) < 0) {
        if (cloud->status == 400)
            bf_error_recode(err, BF_E_IN_USE);
        return -1;
    }
    if (bf_cloud_need_id(answer, "attachment/id", &id, err) < 0)
        return -1;
    *ret_id = bf_xstrdup(id);
    return 0;
}

/* An attachment that was not completed leaves the volume "attaching". */
static int complete(struct bf_cloud *cloud, const char *volume_id, const char *id,
                    struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/attachments/%s/action", id);
    bf_auto_json *volume = NULL;

    if (bf_cinder_volume(cloud, volume_id, &volume, err) < 0)
        return -1;
    if (bf_streq(bf_cloud_text(volume, "status"), "in-use"))
        return 0;
    bf_auto_json *body = wrap("os-complete", json_object_new_object());
    return call(cloud, "POST", path, body, NULL, err);
}

int bf_cinder_connection(struct bf_cloud *cloud, const char *attachment_id,
                         struct json_object **ret_connection, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/attachments/%s", attachment_id);
    bf_auto_json *answer = NULL;

    if (call(cloud, "GET", path, NULL, &answer, err) < 0)
        return -1;
    struct json_object *connection = bf_cloud_at(answer, "attachment/connection_info");
    if (!json_object_is_type(connection, json_type_object) ||
        json_object_object_length(connection) == 0)
        return bf_fail(err, BF_E_PLATFORM_PRIVILEGE, 0,
                       "Cinder does not tell how a volume is reached (attachment %s has no "
                       "connection_info)",
                       attachment_id);
    *ret_connection = json_object_get(connection);
    return 0;
}

/* How an attachment reaches its volume.  One that was asked for by a process that was killed may be
 * on its way still. */
static int await_connection(struct bf_cloud *cloud, const char *attachment_id,
                            struct json_object **ret_connection, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(CONNECTION_MS);

    while (bf_cinder_connection(cloud, attachment_id, ret_connection, err) < 0) {
        if (err->code != BF_E_PLATFORM_PRIVILEGE || cloud->status != 200 ||
            bf_deadline_passed(deadline))
            return -1;
        bf_error_clear(err);
        if (bf_platform_pause(&cloud->base, CONNECTION_PAUSE_MS, (struct bf_deadline){0}, err) < 0)
            return -1;
    }
    return 0;
}

/* Ours, or one that a killed process asked for, also in this very moment; none: NULL. */
static int find_own(struct bf_cloud *cloud, const char *id, char **ret_attachment,
                    struct bf_error *err)
{
    bf_auto_json *own = NULL;

    if (attachments(cloud, id, true, &own, err) < 0)
        return -1;
    *ret_attachment = json_object_array_length(own)
                          ? bf_xstrdup(bf_cloud_id(json_object_array_get_idx(own, 0), "id"))
                          : NULL;
    return 0;
}

static int need_own(struct bf_cloud *cloud, const char *id, char **ret_attachment,
                    struct bf_error *err)
{
    bf_auto_error refused = BF_ERROR_INIT;

    if (find_own(cloud, id, ret_attachment, err) < 0)
        return -1;
    if (*ret_attachment || attach(cloud, id, ret_attachment, &refused) == 0)
        return 0;
    if (refused.code == BF_E_IN_USE && find_own(cloud, id, ret_attachment, err) < 0)
        return -1;
    if (*ret_attachment)
        return 0;
    bf_error_move(err, &refused);
    return -1;
}

int bf_cinder_hold(struct bf_cloud *cloud, const char *id, struct json_object **ret_connection,
                   struct bf_error *err)
{
    bf_auto_free char *attachment = NULL;
    bf_auto_json *connection = NULL;

    if (need_own(cloud, id, &attachment, err) < 0 ||
        await_connection(cloud, attachment, &connection, err) < 0 ||
        complete(cloud, id, attachment, err) < 0)
        return bf_fail_in(err, "holding volume %s", id);
    *ret_connection = bf_steal(connection);
    return 0;
}

int bf_cinder_is_taken(struct bf_cloud *cloud, const char *id, bool *ret_taken,
                       struct bf_error *err)
{
    bf_auto_json *others = NULL;

    if (attachments(cloud, id, false, &others, err) < 0)
        return -1;
    *ret_taken = json_object_array_length(others) > 0;
    return 0;
}

int bf_cinder_let_go(struct bf_cloud *cloud, const char *id, struct bf_error *err)
{
    bf_auto_json *own = NULL;

    if (attachments(cloud, id, true, &own, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(own); i++) {
        bf_auto_free char *path =
            bf_xasprintf("/attachments/%s", bf_cloud_id(json_object_array_get_idx(own, i), "id"));

        if (call(cloud, "DELETE", path, NULL, NULL, err) < 0) {
            if (cloud->status != 404)
                return bf_fail_in(err, "letting volume %s go", id);
            bf_error_clear(err);
        }
    }
    return 0;
}
