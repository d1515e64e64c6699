/* SPDX-License-Identifier: Apache-2.0 */
/* Clones: volumes made from a point's snapshot.  While a conversion has one open it is held; before
 * its machine starts it is let go. */
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

/* Is the snapshot one of a volume off RBD, with others before it?  Drivers that keep snapshots as a
 * chain of files (NFS, SMB, Quobyte) make volumes of the first one only: with the others Cinder
 * would have to read through a backing file, which it refuses since CVE-2024-32498, and says only
 * that no backend was found. */
static bool is_behind_others(struct bf_cloud *cloud, const char *volume_id, const char *snapshot_id)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_json *volume = NULL;
    bf_auto_json *connection = NULL;
    bf_auto_json *all = NULL;
    const char *created = NULL;
    bool behind = false;

    if (bf_cinder_volume(cloud, volume_id, &volume, &ignored) < 0 ||
        bf_cinder_snapshots(cloud, volume_id, &all, &ignored) < 0)
        return false;
    struct json_object *attachments = bf_cloud_at(volume, "attachments");
    const char *attachment =
        json_object_is_type(attachments, json_type_array)
            ? bf_cloud_id(json_object_array_get_idx(attachments, 0), "attachment_id")
            : NULL;
    if (!attachment || bf_cinder_connection(cloud, attachment, &connection, &ignored) < 0 ||
        !bf_cloud_needs_mover(cloud, connection))
        return false;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *one = json_object_array_get_idx(all, i);

        if (bf_streq(bf_cloud_text(one, "id"), snapshot_id))
            created = bf_cloud_text(one, "created_at");
    }
    for (size_t i = 0; created && i < json_object_array_length(all); i++) {
        const char *at = bf_cloud_text(json_object_array_get_idx(all, i), "created_at");

        behind = behind || (at && strcmp(at, created) < 0); /* ISO 8601 */
    }
    return behind;
}

int bf_cloud_clone_point(struct bf_platform *platform, const char *volume_ref,
                         const char *point_ref, const char *tag, char **ret_clone_ref,
                         struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *replica = NULL;
    bf_auto_free char *snapshot = NULL;
    bf_auto_json *members = json_object_new_object();
    bf_auto_json *volume = NULL;
    const char *id;

    if (bf_cloud_ref_id(volume_ref, "volume", &replica, err) < 0 ||
        bf_cloud_ref_id(point_ref, "snapshot", &snapshot, err) < 0)
        return -1;
    bf_json_add_string(members, "name", tag);
    bf_json_add_string(members, "snapshot_id", snapshot);
    json_object_object_add(members, "metadata", bf_cloud_metadata(tag, BF_CLOUD_CLONE_KIND));
    if (bf_cinder_make_volume(cloud, tag, BF_CLOUD_CLONE_KIND, members, &volume, err) < 0 ||
        bf_cloud_need_id(volume, "id", &id, err) < 0) {
        if (err->code == BF_E_VOLUME_GONE)
            bf_error_recode(err, BF_E_NO_SUCH_POINT);
        if ((err->code == BF_E_TARGET_FULL || err->code == BF_E_PLATFORM_ERROR) &&
            is_behind_others(cloud, replica, snapshot))
            bf_error_recode(err, BF_E_POINT_NOT_OLDEST);
        return -1;
    }
    *ret_clone_ref = bf_cloud_volume_ref(id, tag);
    return 0;
}

static int open_by_mover(struct bf_cloud *cloud, struct json_object *volume, const char *id,
                         struct bf_target_volume **ret_volume, struct bf_error *err)
{
    if (bf_cloud_open_attached(
            cloud, id, bf_cloud_text(volume, "metadata/" BF_CLOUD_TAG_KEY),
            &(struct bf_cloud_attached){.size_bytes = bf_cloud_number(volume, "size") * GIB,
                                        .serve = true},
            ret_volume, err) < 0)
        return -1;
    ((struct bf_cloud_volume *)(void *)*ret_volume)->release = bf_xstrdup(id);
    return 0;
}

int bf_cloud_open_clone(struct bf_platform *platform, const char *clone_ref,
                        struct bf_target_volume **ret_volume, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bf_auto_json *volume = NULL;
    bf_auto_json *connection = NULL;
    bf_auto_rbd_place place = {0};
    struct bf_server *server = NULL;

    if (bf_cloud_ref_id(clone_ref, "volume", &id, err) < 0 ||
        bf_cinder_volume(cloud, id, &volume, err) < 0 ||
        bf_cloud_mover_release(cloud, volume, err) < 0 ||
        bf_cinder_hold(cloud, id, &connection, err) < 0)
        return -1;
    if (bf_cloud_needs_mover(cloud, connection))
        return open_by_mover(cloud, volume, id, ret_volume, err);
    if (bf_rbd_place_read(cloud, connection, &place, err) < 0 ||
        bf_cloud_serve(cloud, &place, &server, err) < 0) {
        bf_auto_error ignored = BF_ERROR_INIT;

        (void)bf_cinder_let_go(cloud, id, &ignored);
        return -1;
    }
    struct bf_cloud_volume *own = bf_xcalloc(1, sizeof(*own));
    own->base.platform = platform;
    own->base.spec = (struct bf_endpoint_spec){.uri = bf_xstrdup(bf_server_uri(server)),
                                               .format = bf_xstrdup("raw"),
                                               .map = BF_MAP_ALLOCATION,
                                               .size_bytes = bf_cloud_number(volume, "size") * GIB};
    own->server = server;
    own->release = bf_steal(id);
    *ret_volume = &own->base;
    return 0;
}

int bf_cloud_delete_clone(struct bf_platform *platform, const char *clone_ref, struct bf_error *err)
{
    bf_auto_free char *id = NULL;

    if (bf_cloud_ref_id(clone_ref, "volume", &id, err) < 0 ||
        bf_cloud_mover_release_id(bf_cloud_of(platform), id, err) < 0)
        return -1;
    if (bf_cinder_delete_volume(bf_cloud_of(platform), id, err) < 0)
        return -1;
    return bf_cloud_delete_others(bf_cloud_of(platform), clone_ref, BF_CLOUD_CLONE_KIND, err);
}

/* The boot volume of a machine that boots from an image of it. */
static bool is_uploaded(struct json_object *machine, const char *volume_id)
{
    struct json_object *volumes = bf_cloud_at(machine, "volumes");

    if (!bf_cloud_id(machine, "image") || !json_object_is_type(volumes, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        struct json_object *volume = json_object_array_get_idx(volumes, i);

        if (bf_cloud_bool(volume, "boot") && bf_streq(bf_cloud_id(volume, "id"), volume_id))
            return true;
    }
    return false;
}

/* Cinder has no call for it: the image is flattened by librbd.  Cinder sees that the snapshot has
 * no children any more when it deletes it. */
int bf_cloud_detach_clone(struct bf_platform *platform, const char *machine_ref,
                          const char *clone_ref, struct bf_deadline deadline, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bf_auto_json *machine = NULL;
    bf_auto_json *volume = NULL;
    bf_auto_json *connection = NULL;
    bf_auto_rbd_place place = {0};

    if (bf_cloud_ref_id(clone_ref, "volume", &id, err) < 0 ||
        bf_cloud_ref_parse(machine_ref, &machine, err) < 0)
        return -1;
    if (is_uploaded(machine, id)) /* it goes when the machine is handed over */
        return 0;
    if (bf_cinder_volume(cloud, id, &volume, err) < 0)
        return -1;
    struct json_object *attachments = bf_cloud_at(volume, "attachments");
    const char *attachment =
        json_object_is_type(attachments, json_type_array)
            ? bf_cloud_id(json_object_array_get_idx(attachments, 0), "attachment_id")
            : NULL;
    if (!attachment)
        return bf_fail(err, BF_E_MACHINE_STATE, 0, "volume %s is not attached to its machine", id);
    if (bf_cinder_connection(cloud, attachment, &connection, err) < 0)
        return -1;
    if (bf_cloud_needs_mover(cloud, connection)) /* Cinder's drivers off RBD make full copies */
        return 0;
    if (bf_rbd_place_read(cloud, connection, &place, err) < 0)
        return -1;
    bf_auto_free char *uri = bf_rbd_place_uri(cloud, &place, NULL);
    return bf_rbd_place_do(cloud, "flatten", uri, deadline, err);
}
