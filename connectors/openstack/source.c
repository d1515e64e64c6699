/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/machine.h"
#include "connectors/openstack/nova.h"
#include "connectors/openstack/place.h"
#include "connectors/openstack/refs.h"

/* --- the volumes asked for --- */

static struct json_object *volume_of_key(struct json_object *volumes, const char *key)
{
    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        struct json_object *item = json_object_array_get_idx(volumes, i);

        if (bf_streq(bf_cloud_text(item, "key"), key))
            return item;
    }
    return NULL;
}

static int wanted_volumes(struct bf_cloud *cloud, const struct bf_snapshot_request *request,
                          struct json_object *server, struct json_object **ret_wanted,
                          struct json_object **ret_hardware, struct bf_error *err)
{
    bf_auto_json *all = NULL;
    bf_auto_json *wanted = json_object_new_array();

    if (bf_cloud_server_volumes(cloud, server, &all, err) < 0)
        return -1;
    for (const char *const *key = request->disk_keys; *key; key++) {
        struct json_object *item = volume_of_key(all, *key);

        if (!item)
            return bf_fail(err, BF_E_DISK_CHANGED, 0, "server %s has no disk %s any more",
                           request->machine_id, *key);
        if (!bf_cloud_id(item, "attachment"))
            return bf_fail(err, BF_E_MACHINE_STATE, 0, "disk %s is not attached just now", *key);
        json_object_array_add(wanted, json_object_get(item));
    }
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *volume = bf_cloud_at(json_object_array_get_idx(all, i), "volume");

        if (bf_cloud_bool(volume, "bootable") && !*ret_hardware)
            *ret_hardware = json_object_get(bf_cloud_at(volume, "volume_image_metadata"));
    }
    *ret_wanted = bf_steal(wanted);
    return 0;
}

/* --- deltas --- */

/* NULL: the changes since the baseline can be had from *ret_since on.  Else why not. */
static int why_no_delta(struct bf_cloud *cloud, struct json_object *before, const char *volume_id,
                        const struct bf_rbd_place *place, uint64_t size_bytes, char **ret_why,
                        struct bf_error *err)
{
    const char *snapshot_id = bf_cloud_id(before, "snapshot");
    bf_auto_json *snapshot = NULL;

    if (!before || !snapshot_id)
        *ret_why = bf_xstrdup("the baseline does not hold this disk");
    else if (!bf_streq(bf_cloud_text(before, "volume"), volume_id))
        *ret_why = bf_xstrdup("another volume is in its place");
    else if (!bf_streq(bf_cloud_text(before, "image"), place->image))
        *ret_why = bf_xasprintf("the volume was moved to another image (%s)", place->image);
    else if (bf_cloud_number(before, "size") > size_bytes)
        *ret_why = bf_xstrdup("the disk was made smaller");
    if (*ret_why)
        return 0;
    if (bf_cinder_snapshot(cloud, snapshot_id, &snapshot, err) < 0)
        return -1;
    if (!bf_streq(bf_cloud_text(snapshot, "status"), "available") ||
        !bf_streq(bf_cloud_text(snapshot, "volume_id"), volume_id))
        *ret_why = bf_xasprintf("the baseline's snapshot %s is gone", snapshot_id);
    return 0;
}

/* One disk of the result: into the ref, the baseline and the seam's struct. */
static int add_disk(struct bf_cloud *cloud, struct json_object *item, struct json_object *snapshot,
                    struct json_object *before, struct json_object *ref_disks,
                    struct json_object *baseline_disks, struct bf_snapshot_disk *disk,
                    bool have_baseline, struct bf_error *err)
{
    const char *key = bf_cloud_text(item, "key");
    const char *volume_id = bf_cloud_id(item, "volume/id");
    const char *snapshot_id = bf_cloud_id(snapshot, "id");
    bf_auto_free char *name = bf_rbd_snapshot_name(snapshot_id);
    bf_auto_json *connection = NULL;
    bf_auto_rbd_place place = {0};
    struct bf_rbd_info info = {0};

    if (bf_cinder_connection(cloud, bf_cloud_id(item, "attachment"), &connection, err) < 0 ||
        bf_rbd_place_read(cloud, connection, &place, err) < 0)
        return bf_fail_in(err, "disk %s", key);
    bf_auto_free char *uri = bf_rbd_place_uri(cloud, &place, name);
    /* Cinder knows whole GiB; what was managed into it may be of any size. */
    if (bf_rbd_place_info(cloud, uri, &info, err) < 0)
        return bf_fail_in(err, "disk %s", key);
    disk->key = bf_xstrdup(key);
    disk->size_bytes = info.size_bytes;
    if (have_baseline &&
        why_no_delta(cloud, before, volume_id, &place, info.size_bytes, &disk->reason, err) < 0)
        return -1;
    disk->delta = have_baseline && !disk->reason;

    struct json_object *for_ref = json_object_new_object();
    struct json_object *for_baseline = json_object_new_object();
    bf_json_add_string(for_ref, "volume", volume_id);
    bf_json_add_string(for_ref, "snapshot", snapshot_id);
    bf_json_add_string(for_ref, "uri", uri);
    bf_json_add_u64(for_ref, "size", info.size_bytes);
    if (disk->delta)
        bf_json_add_string(for_ref, "since", bf_cloud_id(before, "snapshot"));
    json_object_object_add(ref_disks, key, for_ref);
    bf_json_add_string(for_baseline, "volume", volume_id);
    bf_json_add_string(for_baseline, "snapshot", snapshot_id);
    bf_json_add_string(for_baseline, "image", place.image);
    bf_json_add_u64(for_baseline, "size", info.size_bytes);
    json_object_object_add(baseline_disks, key, for_baseline);
    return 0;
}

/* --- snapshot --- */

static struct json_object *new_set(const struct bf_snapshot_request *request)
{
    struct json_object *set = json_object_new_object();

    bf_json_add_string(set, "tag", request->tag);
    bf_json_add_string(set, "machine", request->machine_id);
    json_object_object_add(set, "disks", json_object_new_object());
    return set;
}

static int fill(struct bf_cloud *cloud, const struct bf_snapshot_request *request,
                const struct bf_cloud_take *take, struct bf_snapshot *snapshot,
                struct bf_error *err)
{
    size_t count = json_object_array_length(take->volumes);
    bf_auto_json *old = NULL;
    bf_auto_json *ref = new_set(request);
    bf_auto_json *baseline = new_set(request);
    bf_auto_error unreadable = BF_ERROR_INIT;

    if (request->baseline)
        (void)bf_cloud_ref_parse(request->baseline, &old, &unreadable);
    snapshot->disks = bf_xcalloc(count, sizeof(*snapshot->disks));
    for (size_t i = 0; i < count; i++) {
        struct json_object *item = json_object_array_get_idx(take->volumes, i);
        const char *key = bf_cloud_text(item, "key");

        snapshot->disk_count = i + 1;
        if (add_disk(cloud, item, bf_cloud_at(take->snapshots, key),
                     bf_cloud_at(bf_cloud_at(old, "disks"), key), bf_cloud_at(ref, "disks"),
                     bf_cloud_at(baseline, "disks"), &snapshot->disks[i], request->baseline != NULL,
                     err) < 0)
            return -1;
    }
    snapshot->ref = bf_xstrdup(bf_json_text(ref));
    snapshot->baseline = bf_xstrdup(bf_json_text(baseline));
    snapshot->quiesced = take->quiesced;
    snapshot->quiesce_note = bf_xstrdup(take->note);
    snapshot->taken_us = take->taken_us;
    snapshot->spread_us = take->spread_us;
    return 0;
}

static int source_snapshot(struct bf_platform *platform, const struct bf_snapshot_request *request,
                           struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *server = NULL;
    bf_auto_json *volumes = NULL;
    bf_auto_json *hardware = NULL;
    struct bf_cloud_take take = {.tag = request->tag, .quiesce = request->quiesce};

    if (bf_nova_server(cloud, request->machine_id, &server, err) < 0 ||
        wanted_volumes(cloud, request, server, &volumes, &hardware, err) < 0) {
        if (err->code == BF_E_NO_SUCH_MACHINE)
            bf_error_recode(err, BF_E_MACHINE_GONE);
        return -1;
    }
    take.server = server;
    take.volumes = volumes;
    take.hardware = hardware;
    take.snapshots = json_object_new_object();
    struct bf_snapshot *snapshot = bf_xcalloc(1, sizeof(*snapshot));
    int rc = bf_cloud_take_snapshots(cloud, &take, err);
    if (rc == 0)
        rc = fill(cloud, request, &take, snapshot, err);
    json_object_put(take.snapshots);
    free(take.note);
    if (rc < 0) {
        bf_snapshot_free(snapshot);
        return -1;
    }
    *ret_snapshot = snapshot;
    return 0;
}

/* --- for adoption --- */

static int source_locate_disk(struct bf_platform *platform, const char *machine_id, const char *key,
                              char **ret_place, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *server = NULL;
    bf_auto_json *volumes = NULL;
    bf_auto_json *connection = NULL;
    bf_auto_rbd_place place = {0};

    if (bf_nova_server(cloud, machine_id, &server, err) < 0 ||
        bf_cloud_server_volumes(cloud, server, &volumes, err) < 0)
        return -1;
    struct json_object *item = volume_of_key(volumes, key);
    const char *attachment = bf_cloud_id(item, "attachment");
    if (!attachment)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "disk %s is not an attached volume", key);
    if (bf_cinder_connection(cloud, attachment, &connection, err) < 0 ||
        bf_rbd_place_read(cloud, connection, &place, err) < 0 ||
        bf_rbd_place_write(cloud, &place, ret_place, err) < 0)
        return bf_fail_in(err, "disk %s", key);
    return 0;
}

/* --- reading --- */

static int source_open_disk(struct bf_platform *platform, const char *snapshot_ref, const char *key,
                            struct bf_source_disk **ret_disk, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *ref = NULL;
    bf_auto_json *snapshot = NULL;
    struct json_object *part;
    const char *id;

    if (bf_cloud_ref_parse(snapshot_ref, &ref, err) < 0)
        return -1;
    part = bf_cloud_at(bf_cloud_at(ref, "disks"), key);
    id = bf_cloud_id(part, "snapshot");
    if (!id || !bf_cloud_text(part, "uri"))
        return bf_fail(err, BF_E_INTERNAL, 0, "the snapshot does not hold disk %s", key);
    if (bf_cinder_snapshot(cloud, id, &snapshot, err) < 0)
        return -1;
    if (!bf_streq(bf_cloud_text(snapshot, "status"), "available"))
        return bf_fail(err, BF_E_SNAPSHOT_FAILED, 0, "snapshot %s of disk %s is gone", id, key);
    const char *since = bf_cloud_id(part, "since");
    struct bf_source_disk *disk = bf_xcalloc(1, sizeof(*disk));
    disk->platform = platform;
    disk->spec = (struct bf_endpoint_spec){.uri = bf_xstrdup(bf_cloud_text(part, "uri")),
                                           .format = bf_xstrdup("raw"),
                                           .map = since ? BF_MAP_SINCE : BF_MAP_ALLOCATION,
                                           .map_name = since ? bf_rbd_snapshot_name(since) : NULL,
                                           .size_bytes = bf_cloud_number(part, "size")};
    *ret_disk = disk;
    return 0;
}

static void source_close_disk(struct bf_source_disk *disk)
{
    free(disk);
}

/* --- the end --- */

/* The snapshots stay: they are the baseline. */
static int source_release(struct bf_platform *platform, const char *machine_id,
                          const char *snapshot_ref, struct bf_error *err)
{
    (void)snapshot_ref;
    return bf_cloud_resume_paused(bf_cloud_of(platform), machine_id, err);
}

static int source_release_tag(struct bf_platform *platform, const char *machine_id, const char *tag,
                              struct bf_error *err)
{
    return bf_cloud_remove_snapshots(bf_cloud_of(platform), machine_id, tag, err);
}

static int source_drop_baseline(struct bf_platform *platform, const char *machine_id,
                                const char *baseline, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *set = NULL;

    (void)machine_id;
    if (bf_cloud_ref_parse(baseline, &set, err) < 0)
        return -1;
    struct json_object *disks = bf_cloud_at(set, "disks");
    const char *tag = bf_cloud_text(set, "tag");
    if (!json_object_is_type(disks, json_type_object) || !tag || !bf_tag_valid(tag))
        return bf_fail(err, BF_E_BAD_JSON, 0, "stored baseline: no disks or no tag");
    json_object_object_foreach(disks, key, disk)
    {
        const char *id = bf_cloud_id(disk, "snapshot"), *volume = bf_cloud_id(disk, "volume");
        bf_auto_json *snapshot = NULL;

        /* All of the tag: a request that was sent when the service was killed may have been carried
         * out beside the one that was sent again. */
        if (volume && bf_cinder_delete_snapshots(cloud, volume, tag, NULL, err) < 0)
            return bf_fail_in(err, "disk %s", key);
        if (!id || volume)
            continue;
        if (bf_cinder_snapshot(cloud, id, &snapshot, err) < 0)
            return bf_fail_in(err, "disk %s", key);
        /* Only what carries our tag. */
        if (snapshot && bf_cloud_is_tagged(snapshot, tag, NULL) &&
            bf_cinder_delete_snapshot(cloud, id, err) < 0)
            return bf_fail_in(err, "disk %s", key);
    }
    return 0;
}

const struct bf_source_ops bf_cloud_source_ops = {
    .precheck = bf_cloud_source_precheck,
    .snapshot = source_snapshot,
    .open_disk = source_open_disk,
    .close_disk = source_close_disk,
    .release = source_release,
    .release_tag = source_release_tag,
    .drop_baseline = source_drop_baseline,
    .locate_disk = source_locate_disk,
};
