/* SPDX-License-Identifier: Apache-2.0 */
/* Cinder's snapshots. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"

int bf_cinder_snapshots(struct bf_cloud *cloud, const char *volume_id,
                        struct json_object **ret_snapshots, struct bf_error *err)
{
    bf_auto_free char *path = volume_id ? bf_xasprintf("/snapshots/detail?volume_id=%s", volume_id)
                                        : bf_xstrdup("/snapshots/detail");

    return bf_cloud_collect(cloud,
                            &(struct bf_cloud_request){
                                .service = BF_CLOUD_VOLUME, .path = path, .minor = BF_CINDER_MINOR},
                            "snapshots", ret_snapshots, err);
}

int bf_cinder_snapshot(struct bf_cloud *cloud, const char *id, struct json_object **ret_snapshot,
                       struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/snapshots/%s", id);
    bf_auto_json *body = NULL;

    if (bf_cloud_find(cloud,
                      &(struct bf_cloud_request){
                          .service = BF_CLOUD_VOLUME, .path = path, .minor = BF_CINDER_MINOR},
                      &body, err) < 0)
        return -1;
    *ret_snapshot = body ? json_object_get(bf_cloud_at(body, "snapshot")) : NULL;
    return 0;
}

int bf_cinder_find_snapshot(struct bf_cloud *cloud, const char *volume_id, const char *tag,
                            struct json_object **ret_snapshot, struct bf_error *err)
{
    bf_auto_json *all = NULL;

    if (bf_cinder_snapshots(cloud, volume_id, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *snapshot = json_object_array_get_idx(all, i);

        if (bf_cloud_is_tagged(snapshot, tag, NULL) && bf_cloud_id(snapshot, "id") &&
            !bf_streq(bf_cloud_text(snapshot, "status"), "deleting")) {
            *ret_snapshot = json_object_get(snapshot);
            return 0;
        }
    }
    return 0;
}

int bf_cinder_ask_snapshot(struct bf_cloud *cloud, const char *volume_id, const char *tag,
                           const char *kind, struct json_object **ret_snapshot,
                           struct bf_error *err)
{
    struct json_object *content = json_object_new_object();
    bf_auto_json *body = json_object_new_object();
    bf_auto_json *answer = NULL;
    const char *id;

    json_object_object_add(body, "snapshot", content);
    bf_json_add_string(content, "volume_id", volume_id);
    bf_json_add_string(content, "name", tag);
    bf_json_add_bool(content, "force", true); /* of a volume in use */
    json_object_object_add(content, "metadata", bf_cloud_metadata(tag, kind));
    if (bf_cloud_call(cloud,
                      &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                                 .method = "POST",
                                                 .path = "/snapshots",
                                                 .minor = BF_CINDER_MINOR,
                                                 .body = body,
                                                 .missing = BF_E_VOLUME_GONE},
                      &answer, err) < 0 ||
        bf_cloud_need_id(answer, "snapshot/id", &id, err) < 0)
        return bf_fail_in(err, "snapshot of volume %s", volume_id);
    *ret_snapshot = json_object_get(bf_cloud_at(answer, "snapshot"));
    return 0;
}

int bf_cinder_wait_snapshot(struct bf_cloud *cloud, const char *id,
                            struct json_object **ret_snapshot, struct bf_error *err)
{
    static const char *const wanted[] = {"available", NULL};
    static const char *const going[] = {"creating", NULL};
    bf_auto_free char *path = bf_xasprintf("/snapshots/%s", id);
    bf_auto_free char *what = bf_xasprintf("snapshot %s", id);

    return bf_cloud_wait(cloud,
                         &(struct bf_cloud_wait){.request = {.service = BF_CLOUD_VOLUME,
                                                             .path = path,
                                                             .minor = BF_CINDER_MINOR,
                                                             .missing = BF_E_SNAPSHOT_FAILED},
                                                 .object = "snapshot",
                                                 .what = what,
                                                 .wanted = wanted,
                                                 .going = going,
                                                 .deadline_ms = BF_CINDER_WAIT_MS},
                         ret_snapshot, err);
}

/* Cinder takes the request for a snapshot with clones, and a moment later calls it available again,
 * without a word: so "available" after the request means that something hangs on it. */
int bf_cinder_delete_snapshot(struct bf_cloud *cloud, const char *id, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/snapshots/%s", id);
    bool stays;

    if (bf_cinder_remove(cloud,
                         &(struct bf_cinder_removal){.path = path,
                                                     .object = "snapshot",
                                                     .stays = "available",
                                                     .deadline_ms = BF_CINDER_WAIT_MS},
                         &stays, err) < 0)
        return -1;
    return stays ? bf_fail(err, BF_E_IN_USE, 0, "snapshot %s: volumes were made from it", id) : 0;
}

int bf_cinder_delete_snapshots(struct bf_cloud *cloud, const char *volume_id, const char *tag,
                               const char *kind, struct bf_error *err)
{
    bf_auto_json *all = NULL;

    if (bf_cinder_snapshots(cloud, volume_id, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *snapshot = json_object_array_get_idx(all, i);
        const char *id = bf_cloud_id(snapshot, "id");

        if (id && bf_cloud_is_tagged(snapshot, tag, kind) &&
            bf_cinder_delete_snapshot(cloud, id, err) < 0)
            return -1;
    }
    return 0;
}
