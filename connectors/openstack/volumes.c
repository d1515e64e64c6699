/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas: made, grown, deleted, handed over, and who holds them.  Their rounds and points are in
 * rounds.c. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/mover.h"
#include "connectors/openstack/place.h"
#include "connectors/openstack/refs.h"
#include "connectors/openstack/target.h"
#include "connectors/openstack/volumes.h"

#define GIB (UINT64_C(1) << 30)
#define NAME_MAX_BYTES 200

/* --- create, grow, delete --- */

int bf_cloud_delete_others(struct bf_cloud *cloud, const char *ref, const char *kind,
                           struct bf_error *err)
{
    bf_auto_json *json = NULL;

    if (bf_cloud_ref_parse(ref, &json, err) < 0)
        return -1;
    const char *tag = bf_cloud_text(json, "tag");
    return tag && bf_tag_valid(tag) ? bf_cinder_delete_volumes(cloud, tag, kind, err) : 0;
}

void bf_cloud_storage_split(const struct bf_cloud *cloud, const char *storage, char **ret_type,
                            char **ret_zone)
{
    const char *at = storage ? strchr(storage, '@') : NULL;

    *ret_type =
        !storage || storage == at
            ? bf_xstrdup(cloud->conf.volume_type)
            : bf_xasprintf("%.*s", at ? (int)(at - storage) : (int)strlen(storage), storage);
    *ret_zone = at && at[1] ? bf_xstrdup(at + 1) : bf_xstrdup(cloud->conf.availability_zone);
}

static uint64_t whole_gib(uint64_t size_bytes)
{
    uint64_t size = (size_bytes + GIB - 1) / GIB;

    return size ? size : 1;
}

static struct json_object *volume_members(const struct bf_cloud *cloud,
                                          const struct bf_volume_request *request)
{
    struct json_object *members = json_object_new_object();
    bf_auto_free char *name = bf_xasprintf("%s %.*s", request->tag, NAME_MAX_BYTES, request->name);
    bf_auto_free char *type = NULL;
    bf_auto_free char *zone = NULL;

    bf_text_clean(name, false); /* also of half a character at the end */
    bf_cloud_storage_split(cloud, request->storage, &type, &zone);
    bf_json_add_string(members, "name", name);
    bf_json_add_string(members, "description", "A replica that blockferry writes");
    bf_json_add_u64(members, "size", whole_gib(request->size_bytes));
    if (type)
        bf_json_add_string(members, "volume_type", type);
    if (zone)
        bf_json_add_string(members, "availability_zone", zone);
    json_object_object_add(members, "metadata",
                           bf_cloud_metadata(request->tag, BF_CLOUD_VOLUME_KIND));
    return members;
}

int bf_cloud_create_volume(struct bf_platform *platform, const struct bf_volume_request *request,
                           char **ret_ref, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *members = volume_members(cloud, request);
    bf_auto_json *volume = NULL;
    bf_auto_json *connection = NULL;
    bf_auto_rbd_place place = {0};
    const char *id;

    if (bf_cinder_make_volume(cloud, request->tag, BF_CLOUD_VOLUME_KIND, members, &volume, err) <
            0 ||
        bf_cloud_need_id(volume, "id", &id, err) < 0) {
        if (err->code == BF_E_VOLUME_GONE) /* a 404 here is the type's */
            bf_error_recode(err, BF_E_NO_SUCH_STORAGE);
        return -1;
    }
    if (bf_cinder_hold(cloud, id, &connection, err) < 0 ||
        (!bf_cloud_needs_mover(cloud, connection) &&
         bf_rbd_place_read(cloud, connection, &place, err) < 0))
        return -1;
    *ret_ref = bf_cloud_volume_ref(id, request->tag);
    return 0;
}

int bf_cloud_volume_let_go(struct bf_cloud *cloud, const char *id, struct bf_error *err)
{
    return bf_cinder_let_go(cloud, id, err) < 0 ||
                   bf_cinder_wait_available(cloud, id, NULL, err) < 0
               ? -1
               : 0;
}

int bf_cloud_resize_volume(struct bf_platform *platform, const char *volume_ref,
                           uint64_t size_bytes, char **ret_ref, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bf_auto_json *volume = NULL;
    bf_auto_json *connection = NULL;

    if (bf_cloud_ref_id(volume_ref, "volume", &id, err) < 0 ||
        bf_cinder_volume(cloud, id, &volume, err) < 0 ||
        bf_cloud_mover_release(cloud, volume, err) < 0)
        return -1;
    if (bf_cloud_number(volume, "size") < whole_gib(size_bytes)) {
        struct json_object *arguments = json_object_new_object();

        bf_json_add_u64(arguments, "new_size", whole_gib(size_bytes));
        /* Growing one that is held needs a newer Cinder, and Nova's help. */
        if (bf_cloud_volume_let_go(cloud, id, err) < 0) {
            json_object_put(arguments);
            return -1;
        }
        if (bf_cinder_action(cloud, id, "os-extend", arguments, BF_CINDER_MINOR, err) < 0 ||
            bf_cinder_wait_available(cloud, id, NULL, err) < 0)
            return -1;
    }
    if (bf_cinder_hold(cloud, id, &connection, err) < 0)
        return -1;
    *ret_ref = bf_xstrdup(volume_ref);
    return 0;
}

int bf_cloud_volume_ready(struct bf_cloud *cloud, const char *id, bool *ret_let_go,
                          struct bf_error *err)
{
    bf_auto_json *connection = NULL;

    *ret_let_go = false;
    if (!bf_cloud_has_mover(cloud))
        return 0;
    if (bf_cloud_mover_release_id(cloud, id, err) < 0 ||
        bf_cinder_hold(cloud, id, &connection, err) < 0)
        return -1;
    if (!bf_cloud_needs_mover(cloud, connection))
        return 0;
    *ret_let_go = true;
    return bf_cloud_volume_let_go(cloud, id, err);
}

int bf_cloud_volume_hold_again(struct bf_cloud *cloud, const char *id, bool was_let_go,
                               struct bf_error *err)
{
    bf_auto_json *connection = NULL;

    return was_let_go ? bf_cinder_hold(cloud, id, &connection, err) : 0;
}

/* Cinder is at it already, as an earlier call asked for it: nothing more is to be done with it. */
static int is_leaving(struct bf_cloud *cloud, const char *id, bool *ret_leaving,
                      struct bf_error *err)
{
    bf_auto_json *volume = NULL;

    *ret_leaving = false;
    if (bf_cinder_volume(cloud, id, &volume, err) == 0) {
        *ret_leaving = bf_streq(bf_cloud_text(volume, "status"), "deleting");
        return 0;
    }
    if (err->code != BF_E_VOLUME_GONE)
        return -1;
    *ret_leaving = true;
    bf_error_clear(err);
    return 0;
}

int bf_cloud_delete_volume(struct bf_platform *platform, const char *volume_ref,
                           struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bool was_let_go = false, leaving;

    if (bf_cloud_ref_id(volume_ref, "volume", &id, err) < 0 ||
        is_leaving(cloud, id, &leaving, err) < 0)
        return -1;
    if (!leaving && (bf_cloud_volume_ready(cloud, id, &was_let_go, err) < 0 ||
                     bf_cinder_delete_snapshots(cloud, id, NULL, NULL, err) < 0))
        return -1;
    if (bf_cinder_delete_volume(cloud, id, err) < 0)
        return -1;
    return bf_cloud_delete_others(cloud, volume_ref, BF_CLOUD_VOLUME_KIND, err);
}

/* Our notes on a volume or a snapshot; the tag last, by which it is found. */
static int remove_marks(struct bf_cloud *cloud, const char *path, struct bf_error *err)
{
    static const char *const keys[] = {BF_CLOUD_ROUND_KEY, BF_CLOUD_USED_KEY, BF_CLOUD_KIND_KEY,
                                       BF_CLOUD_TAG_KEY};

    for (size_t i = 0; i < bf_array_length(keys); i++) {
        if (bf_cinder_set_metadata(cloud, path, keys[i], NULL, err) < 0)
            return -1;
    }
    return 0;
}

static int hand_over(struct bf_cloud *cloud, const char *id, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/volumes/%s", id);
    bf_auto_json *points = NULL;
    bool was_let_go = false;

    if (bf_cloud_volume_ready(cloud, id, &was_let_go, err) < 0 ||
        bf_cinder_snapshots(cloud, id, &points, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(points); i++) {
        struct json_object *point = json_object_array_get_idx(points, i);
        bf_auto_free char *at = bf_xasprintf("/snapshots/%s", bf_cloud_id(point, "id"));

        if (bf_cloud_text(point, "metadata/" BF_CLOUD_TAG_KEY) && remove_marks(cloud, at, err) < 0)
            return -1;
    }
    if (bf_cinder_let_go(cloud, id, err) < 0)
        return -1;
    return remove_marks(cloud, path, err);
}

int bf_cloud_hand_over_volume(struct bf_platform *platform, const char *volume_ref,
                              struct bf_error *err)
{
    bf_auto_free char *id = NULL;

    if (bf_cloud_ref_id(volume_ref, "volume", &id, err) < 0)
        return -1;
    if (hand_over(bf_cloud_of(platform), id, err) == 0)
        return 0;
    if (err->code != BF_E_VOLUME_GONE)
        return -1;
    bf_error_clear(err);
    return 0;
}
