/* SPDX-License-Identifier: Apache-2.0 */
/* What a round writes into a replica, and the points it leaves. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/mover.h"
#include "connectors/openstack/place.h"
#include "connectors/openstack/refs.h"
#include "connectors/openstack/serve.h"
#include "connectors/openstack/target.h"
#include "connectors/openstack/volumes.h"

#define GIB (UINT64_C(1) << 30)
#define ROLLBACK_MS (UINT64_C(5) * 60 * 1000)

/* --- writing --- */

/* The snapshot that a volume's present content was made from: our newest point.  NULL: none. */
static int newest_point(struct bf_cloud *cloud, const char *volume_id, char **ret_id,
                        struct bf_error *err)
{
    bf_auto_json *all = NULL;
    const char *newest = NULL, *id = NULL;

    if (bf_cinder_snapshots(cloud, volume_id, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *snapshot = json_object_array_get_idx(all, i);
        const char *created = bf_cloud_text(snapshot, "created_at");

        if (!bf_cloud_is_tagged(snapshot, NULL, BF_CLOUD_POINT_KIND) || !created ||
            !bf_streq(bf_cloud_text(snapshot, "status"), "available"))
            continue;
        if (!newest || strcmp(created, newest) > 0) { /* ISO 8601 */
            newest = created;
            id = bf_cloud_id(snapshot, "id");
        }
    }
    *ret_id = bf_xstrdup(id);
    return 0;
}

static int roll_back(struct bf_cloud *cloud, const struct bf_rbd_place *place,
                     const char *snapshot_id, struct bf_error *err)
{
    bf_auto_free char *name = bf_rbd_snapshot_name(snapshot_id);
    bf_auto_free char *uri = bf_rbd_place_uri(cloud, place, name);

    if (bf_rbd_place_do(cloud, "rollback", uri, bf_deadline_in(ROLLBACK_MS), err) < 0)
        return bf_fail_in(err, "what a failed round wrote");
    return 0;
}

/* Off RBD nothing is taken back.  Cinder has a revert, which for drivers without one of their own
 * (NFS) copies into the file on top of the chain: what was qcow2 is raw then, and with the next
 * removal of a snapshot the content is gone. */
static int cannot_roll_back(const char *id, struct bf_error *err)
{
    return bf_fail(
        err, BF_E_BASELINE_LOST, 0,
        "volume %s is not on RBD, and what a failed round wrote cannot be taken back: it "
        "must be written anew",
        id);
}

static int set_note(struct bf_cloud *cloud, const char *id, const char *key, const char *value,
                    struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/volumes/%s", id);

    return bf_cinder_set_metadata(cloud, path, key, value, err);
}

/* Hold the volume and learn its place.  *ret_place stays empty when a mover is needed. */
static int take(struct bf_cloud *cloud, const char *id, struct json_object **ret_volume,
                struct bf_rbd_place *ret_place, struct bf_error *err)
{
    bf_auto_json *volume = NULL;
    bf_auto_json *connection = NULL;

    if (bf_cinder_volume(cloud, id, &volume, err) < 0 ||
        bf_cloud_mover_release(cloud, volume, err) < 0 ||
        bf_cinder_hold(cloud, id, &connection, err) < 0 ||
        (!bf_cloud_needs_mover(cloud, connection) &&
         bf_rbd_place_read(cloud, connection, ret_place, err) < 0))
        return -1;
    *ret_volume = bf_steal(volume);
    return 0;
}

static struct bf_target_volume *new_handle(struct bf_cloud *cloud, char *uri, uint64_t size_bytes,
                                           bool reads_as_zero)
{
    struct bf_cloud_volume *volume = bf_xcalloc(1, sizeof(*volume));

    volume->base.platform = &cloud->base;
    volume->base.spec = (struct bf_endpoint_spec){.uri = uri,
                                                  .format = bf_xstrdup("raw"),
                                                  .map = BF_MAP_ALLOCATION,
                                                  .reads_as_zero = reads_as_zero,
                                                  .size_bytes = size_bytes};
    return &volume->base;
}

/* Bring the volume to where this round may go on: as it is for the same round, as the last point
 * otherwise. */
static int prepare(struct bf_cloud *cloud, const char *id, const char *tag, bool full,
                   const char *last_snapshot, struct json_object *volume,
                   const struct bf_rbd_place *place, bool *ret_zero, struct bf_error *err)
{
    const char *round = bf_cloud_text(volume, "metadata/" BF_CLOUD_ROUND_KEY);
    bool used = bf_cloud_bool(volume, "metadata/" BF_CLOUD_USED_KEY);

    if (round && !bf_streq(round, tag)) {
        if (!full && !place->image)
            return cannot_roll_back(id, err);
        if (!full && roll_back(cloud, place, last_snapshot, err) < 0)
            return -1;
        if (!used && set_note(cloud, id, BF_CLOUD_USED_KEY, "yes", err) < 0)
            return -1;
        used = true;
    }
    if (!bf_streq(round, tag) && set_note(cloud, id, BF_CLOUD_ROUND_KEY, tag, err) < 0)
        return -1;
    /* Off RBD a new volume may hold what was on the disk before. */
    *ret_zero = full && !used && place->image;
    return 0;
}

int bf_cloud_open_attached(struct bf_cloud *cloud, const char *id, const char *tag,
                           const struct bf_cloud_attached *how,
                           struct bf_target_volume **ret_volume, struct bf_error *err)
{
    struct bf_endpoint_spec spec = {0};
    struct bf_server *server = NULL;

    if (bf_cloud_volume_let_go(cloud, id, err) < 0 ||
        bf_cloud_mover_attach(cloud, id, tag, how->size_bytes, &spec, err) < 0)
        return -1;
    if (how->serve && bf_cloud_serve_attached(cloud, how->read_only, &spec, &server, err) < 0) {
        bf_auto_error ignored = BF_ERROR_INIT;

        bf_endpoint_spec_done(&spec);
        (void)bf_cloud_mover_release_id(cloud, id, &ignored);
        return -1;
    }
    struct bf_cloud_volume *volume = bf_xcalloc(1, sizeof(*volume));
    volume->base.platform = &cloud->base;
    volume->base.spec = spec;
    volume->server = server;
    volume->on_mover = bf_xstrdup(id);
    cloud->mover_open++;
    *ret_volume = &volume->base;
    return 0;
}

int bf_cloud_open_volume(struct bf_platform *platform, const char *volume_ref, const char *tag,
                         bool full, const char *last_point, struct bf_target_volume **ret_volume,
                         struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bf_auto_free char *snapshot = NULL;
    bf_auto_json *volume = NULL;
    bf_auto_rbd_place place = {0};
    bool zero = false;

    if (bf_cloud_ref_id(volume_ref, "volume", &id, err) < 0 ||
        (!full && bf_cloud_ref_id(last_point, "snapshot", &snapshot, err) < 0) ||
        take(cloud, id, &volume, &place, err) < 0 ||
        prepare(cloud, id, tag, full, snapshot, volume, &place, &zero, err) < 0)
        return -1;
    if (!place.image)
        return bf_cloud_open_attached(
            cloud, id, tag,
            &(struct bf_cloud_attached){.size_bytes = bf_cloud_number(volume, "size") * GIB},
            ret_volume, err);
    *ret_volume = new_handle(cloud, bf_rbd_place_uri(cloud, &place, NULL),
                             bf_cloud_number(volume, "size") * GIB, zero);
    return 0;
}

/* A replica is held again, a clone is for its machine to take. */
static int off_mover(struct bf_cloud *cloud, const struct bf_cloud_volume *own,
                     struct bf_error *err)
{
    if (bf_cloud_mover_release_id(cloud, own->on_mover, err) < 0)
        return -1;
    return bf_cloud_volume_hold_again(cloud, own->on_mover, !own->release, err);
}

int bf_cloud_close_volume(struct bf_target_volume *volume, struct bf_error *err)
{
    struct bf_cloud_volume *own = (struct bf_cloud_volume *)(void *)volume;
    int rc = bf_server_stop(own->server, BF_SERVER_FLUSH_MS, err);
    struct bf_cloud *cloud = bf_cloud_of(volume->platform);
    bf_auto_error why = BF_ERROR_INIT;

    if (own->on_mover)
        cloud->mover_open--;
    if ((own->on_mover && off_mover(cloud, own, &why) < 0) ||
        (own->release && bf_cinder_let_go(cloud, own->release, &why) < 0)) {
        if (rc == 0) /* the first failure says more */
            bf_error_move(err, &why);
        rc = -1;
    }
    free(own->release);
    free(own->on_mover);
    free(own);
    return rc;
}

/* As the newest point holds it.  None: the next round is full, and knows by the note. */
static int back_to_newest(struct bf_cloud *cloud, const char *id, const char *tag,
                          struct bf_error *err)
{
    bf_auto_free char *snapshot = NULL;
    bf_auto_json *volume = NULL;
    bf_auto_rbd_place place = {0};

    if (newest_point(cloud, id, &snapshot, err) < 0)
        return -1;
    if (!snapshot)
        return set_note(cloud, id, BF_CLOUD_ROUND_KEY, tag, err);
    if (take(cloud, id, &volume, &place, err) < 0)
        return -1;
    if (!place.image) /* the next round learns it */
        return set_note(cloud, id, BF_CLOUD_ROUND_KEY, tag, err);
    if (roll_back(cloud, &place, snapshot, err) < 0)
        return -1;
    return set_note(cloud, id, BF_CLOUD_ROUND_KEY, NULL, err);
}

int bf_cloud_drop_round(struct bf_platform *platform, const char *volume_ref, const char *tag,
                        struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bf_auto_json *volume = NULL;

    if (bf_cloud_ref_id(volume_ref, "volume", &id, err) < 0)
        return -1;
    if (bf_cinder_volume(cloud, id, &volume, err) < 0) {
        if (err->code != BF_E_VOLUME_GONE)
            return -1;
        bf_error_clear(err);
        return 0;
    }
    /* A point that nobody heard of is the round's as well. */
    bf_auto_json *made = NULL;
    bool was_let_go = false;
    if (bf_cinder_find_snapshot(cloud, id, tag, &made, err) < 0 ||
        bf_cloud_mover_release(cloud, volume, err) < 0 ||
        /* Noted first: who is killed while it goes has to find that there is more to do. */
        (made && (bf_cloud_volume_ready(cloud, id, &was_let_go, err) < 0 ||
                  set_note(cloud, id, BF_CLOUD_ROUND_KEY, tag, err) < 0 ||
                  bf_cinder_delete_snapshots(cloud, id, tag, NULL, err) < 0)))
        return -1;
    if (!made && !bf_streq(bf_cloud_text(volume, "metadata/" BF_CLOUD_ROUND_KEY), tag))
        return 0;
    return back_to_newest(cloud, id, tag, err);
}

/* --- points --- */

int bf_cloud_make_point(struct bf_platform *platform, const char *volume_ref, const char *tag,
                        char **ret_point_ref, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bf_auto_json *snapshot = NULL;
    bf_auto_json *ready = NULL;
    const char *snapshot_id;
    bool was_let_go = false;

    if (bf_cloud_ref_id(volume_ref, "volume", &id, err) < 0 ||
        bf_cinder_find_snapshot(cloud, id, tag, &snapshot, err) < 0 ||
        bf_cloud_volume_ready(cloud, id, &was_let_go, err) < 0)
        return -1;
    if (!snapshot &&
        bf_cinder_ask_snapshot(cloud, id, tag, BF_CLOUD_POINT_KIND, &snapshot, err) < 0)
        return -1;
    if (bf_cloud_need_id(snapshot, "id", &snapshot_id, err) < 0)
        return -1;
    if (bf_cinder_wait_snapshot(cloud, snapshot_id, &ready, err) < 0) {
        bf_auto_error ignored = BF_ERROR_INIT;

        if (err->code == BF_E_PLATFORM_ERROR) /* in an error: the next try makes another */
            (void)bf_cinder_delete_snapshot(cloud, snapshot_id, &ignored);
        return -1;
    }
    if (bf_cloud_volume_hold_again(cloud, id, was_let_go, err) < 0 ||
        set_note(cloud, id, BF_CLOUD_USED_KEY, "yes", err) < 0 ||
        set_note(cloud, id, BF_CLOUD_ROUND_KEY, NULL, err) < 0)
        return -1;
    *ret_point_ref = bf_cloud_point_ref(snapshot_id, id, tag);
    return 0;
}

int bf_cloud_delete_point(struct bf_platform *platform, const char *volume_ref,
                          const char *point_ref, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bf_auto_free char *snapshot = NULL;
    bf_auto_json *ref = NULL;
    bool was_let_go = false;

    if (bf_cloud_ref_id(point_ref, "snapshot", &snapshot, err) < 0 ||
        bf_cloud_ref_parse(point_ref, &ref, err) < 0 ||
        bf_cloud_ref_id(volume_ref, "volume", &id, err) < 0 ||
        bf_cloud_volume_ready(cloud, id, &was_let_go, err) < 0 ||
        bf_cinder_delete_snapshot(cloud, snapshot, err) < 0)
        return -1;
    /* As bf_cloud_delete_others(). */
    const char *tag = bf_cloud_text(ref, "tag");
    if (tag && bf_cinder_delete_snapshots(cloud, id, tag, BF_CLOUD_POINT_KIND, err) < 0)
        return -1;
    return bf_cloud_volume_hold_again(cloud, id, was_let_go, err);
}

/* Off RBD a snapshot cannot be read, but the volume can: it holds the newest point from that one's
 * making until the next round begins to write. */
static int open_newest(struct bf_cloud *cloud, const char *id, const char *snapshot_id,
                       struct json_object *volume, struct bf_target_volume **ret_volume,
                       struct bf_error *err)
{
    bf_auto_free char *newest = NULL;

    if (newest_point(cloud, id, &newest, err) < 0)
        return -1;
    if (!bf_streq(newest, snapshot_id) || bf_cloud_text(volume, "metadata/" BF_CLOUD_ROUND_KEY))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "volume %s is not on RBD: of its points only the newest can be read, and "
                       "that only between rounds",
                       id);
    return bf_cloud_open_attached(
        cloud, id, bf_cloud_text(volume, "metadata/" BF_CLOUD_TAG_KEY),
        &(struct bf_cloud_attached){
            .size_bytes = bf_cloud_number(volume, "size") * GIB, .serve = true, .read_only = true},
        ret_volume, err);
}

int bf_cloud_open_point(struct bf_platform *platform, const char *volume_ref, const char *point_ref,
                        struct bf_target_volume **ret_volume, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bf_auto_free char *snapshot = NULL;
    bf_auto_json *volume = NULL;
    bf_auto_json *point = NULL;
    bf_auto_rbd_place place = {0};

    if (bf_cloud_ref_id(volume_ref, "volume", &id, err) < 0 ||
        bf_cloud_ref_id(point_ref, "snapshot", &snapshot, err) < 0 ||
        bf_cinder_snapshot(cloud, snapshot, &point, err) < 0)
        return -1;
    if (!point)
        return bf_fail(err, BF_E_NO_SUCH_POINT, 0, "snapshot %s is gone", snapshot);
    if (take(cloud, id, &volume, &place, err) < 0)
        return -1;
    if (!place.image)
        return open_newest(cloud, id, snapshot, volume, ret_volume, err);
    bf_auto_free char *name = bf_rbd_snapshot_name(snapshot);
    *ret_volume = new_handle(cloud, bf_rbd_place_uri(cloud, &place, name),
                             bf_cloud_number(point, "size") * GIB, false);
    return 0;
}
