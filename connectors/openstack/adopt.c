/* SPDX-License-Identifier: Apache-2.0 */
/* Adoption: Cinder here takes the RBD image of a source's volume, which lies in a pool that both
 * clouds use.  No byte is copied: the image only changes its name.
 *
 * The names an image can have, and who makes them:
 *   its own     what the source's Cinder looks for ("volume-<id there>")
 *   the tag     nobody's: neither cloud uses it, and a start of the source machine fails
 *   volume-<id> Cinder's here, which renames the image when it manages it
 * The place (the ledger row's) tells the first, the tag is the second, and Cinder finds the third
 * by the tag in the volume's metadata; so an image is found from the ledger row alone wherever a
 * call was cut off, and every step can be repeated.
 *
 * The source's Cinder keeps its record of the volume.  os-unmanage there would forget the id that
 * Nova's server holds on to, for good: managed again, a volume gets another id, and the server
 * could never be started again.
 *
 * Once managed, a Cinder snapshot with the same tag keeps what the volume held; giving back rolls
 * the image back to it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/place.h"
#include "connectors/openstack/pools.h"
#include "connectors/openstack/refs.h"
#include "connectors/openstack/target.h"

#define NAME_MAX_BYTES 200
#define MANAGE_MS (UINT64_C(2) * 60 * 1000)
#define FREE_MS (UINT64_C(1) * 60 * 1000)
#define ROLLBACK_MS (UINT64_C(60) * 60 * 1000)

struct adoption {
    struct bf_cloud *cloud;
    const char *tag;
    struct json_object *pools;
    struct json_object *pool; /* Cinder's here, on the place's pool; borrowed */
    char *cluster;
    struct bf_rbd_place own; /* under its own name */
};

static void adoption_done(struct adoption *adoption)
{
    json_object_put(adoption->pools);
    free(adoption->cluster);
    bf_rbd_place_done(&adoption->own);
}
#define auto_adoption __attribute__((cleanup(adoption_done))) struct adoption

static int begin(struct bf_cloud *cloud, const char *tag, const char *place,
                 struct adoption *ret_adoption, struct bf_error *err)
{
    bf_auto_json *json = NULL;

    if (bf_cloud_ref_parse(place, &json, err) < 0)
        return -1;
    const char *pool = bf_cloud_text(json, "pool"), *image = bf_cloud_text(json, "image");
    const char *cluster = bf_cloud_text(json, "cluster");
    if (!bf_streq(bf_cloud_text(json, "store"), BF_RBD_STORE) || !pool || !image || !cluster ||
        strpbrk(image, "/@?"))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "the volume does not lie on Ceph RBD");
    if (bf_cinder_pools(cloud, &ret_adoption->pools, err) < 0)
        return -1;
    ret_adoption->cloud = cloud;
    ret_adoption->tag = tag;
    ret_adoption->cluster = bf_xstrdup(cluster);
    ret_adoption->own.pool = bf_xstrdup(pool);
    ret_adoption->own.image = bf_xstrdup(image);
    ret_adoption->pool = bf_cinder_pool_on(ret_adoption->pools, cluster, pool);
    ret_adoption->own.user = cloud->conf.ceph_user ? bf_xstrdup(cloud->conf.ceph_user)
                                                   : bf_cinder_pool_user(ret_adoption->pool);
    return 0;
}

/* --- the image --- */

static struct bf_rbd_place named(const struct adoption *adoption, char *image)
{
    return (struct bf_rbd_place){
        .pool = adoption->own.pool, .image = image, .user = adoption->own.user};
}

static int rename_image(const struct adoption *adoption, char *from, const char *to,
                        struct bf_error *err)
{
    struct bf_rbd_place place = named(adoption, from);

    return bf_rbd_place_rename(adoption->cloud, &place, to, err);
}

static char *image_of(const char *volume_id)
{
    return bf_xasprintf("volume-%s", volume_id); /* Cinder's volume_name_template */
}

/* Another cluster may have a pool and an image of the same names. */
static int check_cluster(const struct adoption *adoption, char *image, struct bf_error *err)
{
    struct bf_rbd_place place = named(adoption, image);
    bf_auto_free char *uri = bf_rbd_place_uri(adoption->cloud, &place, NULL);
    struct bf_rbd_info info = {0};

    if (bf_rbd_place_info(adoption->cloud, uri, &info, err) < 0)
        return -1;
    return bf_streq(info.fsid, adoption->cluster)
               ? 0
               : bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                         "ceph.conf is of cluster %s, the volume lies on %s", info.fsid,
                         adoption->cluster);
}

/* --- Cinder's volume here --- */

static bool is_bad(struct json_object *volume)
{
    return bf_starts_with(bf_cloud_text(volume, "status"), "error");
}

/* Back under the tag's name first, so that there is no moment in which nothing leads to it. */
static int unmanage(const struct adoption *adoption, struct json_object *volume,
                    struct bf_error *err)
{
    const char *id = bf_cloud_id(volume, "id");
    bf_auto_free char *image = image_of(id);
    bf_auto_free char *path = bf_xasprintf("/volumes/%s", id);
    bool stays;

    if (rename_image(adoption, image, adoption->tag, err) < 0) {
        /* One that Cinder could not manage may have no image, and unmanaging removes none. */
        if (!is_bad(volume) || err->code != BF_E_ENDPOINT_OPEN)
            return -1;
        bf_error_clear(err);
    }
    return bf_cinder_remove(
        adoption->cloud,
        &(struct bf_cinder_removal){
            .path = path, .object = "volume", .action = "os-unmanage", .deadline_ms = MANAGE_MS},
        &stays, err);
}

/* At rest; NULL: it has gone.  free_too: whoever holds it is waited for, but not longer than a
 * minute: BF_E_IN_USE. */
static int await_rest(const struct adoption *adoption, const char *id, bool free_too,
                      struct json_object **ret_volume, struct bf_error *err)
{
    static const char *const at_rest[] = {"available", "in-use",         "reserved",
                                          "error",     "error_managing", NULL};
    static const char *const nobodys[] = {"available", "error", "error_managing", NULL};
    static const char *const going[] = {
        "creating", "managing", "available",  "attaching", "detaching",
        "in-use",   "reserved", "unmanaging", "deleting",  "error_managing_deleting",
        NULL};
    bf_auto_free char *path = bf_xasprintf("/volumes/%s", id);
    bf_auto_free char *what = bf_xasprintf("volume %s", id);

    if (bf_cloud_wait(
            adoption->cloud,
            &(struct bf_cloud_wait){
                .request = {.service = BF_CLOUD_VOLUME, .path = path, .minor = BF_CINDER_MINOR},
                .object = "volume",
                .what = what,
                .wanted = free_too ? nobodys : at_rest,
                .going = going,
                .gone = true,
                .deadline_ms = free_too ? FREE_MS : MANAGE_MS},
            ret_volume, err) == 0)
        return 0;
    if (free_too && err->code == BF_E_DEADLINE)
        bf_error_recode(err, BF_E_IN_USE);
    return -1;
}

/* The volume that an adoption made; NULL: none.  Cinder may have been asked twice, when the service
 * was killed while it asked: only one of the two gets the image.  What Cinder could not manage is
 * let go. */
static int find_managed(const struct adoption *adoption, bool free_too,
                        struct json_object **ret_volume, struct bf_error *err)
{
    bf_auto_json *all = NULL;
    bf_auto_json *good = NULL;

    if (bf_cinder_find_volumes(adoption->cloud, adoption->tag, BF_CLOUD_ADOPTION_KIND, &all, err) <
        0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        bf_auto_json *volume = NULL;
        const char *id;

        if (bf_cloud_need_id(json_object_array_get_idx(all, i), "id", &id, err) < 0 ||
            await_rest(adoption, id, free_too, &volume, err) < 0)
            return -1;
        if (volume && is_bad(volume) && unmanage(adoption, volume, err) < 0)
            return bf_fail_in(err, "volume that could not be managed");
        if (volume && !is_bad(volume) && !good)
            good = bf_steal(volume);
    }
    *ret_volume = bf_steal(good);
    return 0;
}

/* The mapping's type, or one of this pool.  NULL: Cinder's default. */
static int choose_type(const struct adoption *adoption, const char *storage, char **ret_type,
                       char **ret_zone, struct bf_error *err)
{
    const char *backend = bf_cloud_text(adoption->pool, "capabilities/volume_backend_name");
    bf_auto_json *types = NULL;

    bf_cloud_storage_split(adoption->cloud, storage, ret_type, ret_zone);
    if (*ret_type)
        return 0;
    if (bf_cloud_collect(adoption->cloud,
                         &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                                    .path = "/types",
                                                    .minor = BF_CINDER_MINOR},
                         "volume_types", &types, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(types) && !*ret_type; i++) {
        struct json_object *type = json_object_array_get_idx(types, i);
        const char *of = bf_cloud_text(type, "extra_specs/volume_backend_name");

        if (of && bf_streq(of, backend))
            *ret_type = bf_xstrdup(bf_cloud_text(type, "name"));
    }
    return 0;
}

static int manage(const struct adoption *adoption, const struct bf_adopt_request *request,
                  struct bf_error *err)
{
    bf_auto_free char *name = bf_xasprintf("%s %.*s", request->tag, NAME_MAX_BYTES, request->name);
    bf_auto_free char *type = NULL;
    bf_auto_free char *zone = NULL;
    bf_auto_json *body = json_object_new_object();
    struct json_object *members = json_object_new_object();
    struct json_object *ref = json_object_new_object();

    json_object_object_add(body, "volume", members);
    json_object_object_add(members, "ref", ref);
    if (choose_type(adoption, request->storage, &type, &zone, err) < 0)
        return -1;
    bf_text_clean(name, false);
    bf_json_add_string(ref, "source-name", adoption->tag);
    bf_json_add_string(members, "host", bf_cloud_text(adoption->pool, "name"));
    bf_json_add_string(members, "name", name);
    bf_json_add_string(members, "description", "Adopted by blockferry");
    if (type)
        bf_json_add_string(members, "volume_type", type);
    if (zone)
        bf_json_add_string(members, "availability_zone", zone);
    json_object_object_add(members, "metadata",
                           bf_cloud_metadata(adoption->tag, BF_CLOUD_ADOPTION_KIND));
    return bf_cloud_call(adoption->cloud,
                         &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                                    .method = "POST",
                                                    .path = "/manageable_volumes",
                                                    .minor = BF_CINDER_MINOR,
                                                    .body = body},
                         NULL, err);
}

/* --- adopt --- */

/* Of a pair of requests the one that was sent by the killed service may have taken the image before
 * this one could, at any moment: so after a refusal Cinder is asked what it has. */
static int take_over(const struct adoption *adoption, const struct bf_adopt_request *request,
                     struct json_object **ret_volume, struct bf_error *err)
{
    bf_auto_error refused = BF_ERROR_INIT;

    /* Its owner's stop may take a moment to let the image go; that is waited for. */
    if ((rename_image(adoption, adoption->own.image, adoption->tag, &refused) < 0 ||
         manage(adoption, request, &refused) < 0) &&
        refused.code == BF_E_CANCELLED) {
        bf_error_move(err, &refused);
        return -1;
    }
    if (find_managed(adoption, false, ret_volume, err) < 0)
        return -1;
    if (*ret_volume)
        return 0;
    if (!bf_error_is_set(&refused))
        return bf_fail(err, BF_E_PLATFORM_ERROR, 0, "Cinder could not manage image %s/%s",
                       adoption->own.pool, adoption->tag);
    bf_error_move(err, &refused);
    return -1;
}

static int ensure_managed(const struct adoption *adoption, const struct bf_adopt_request *request,
                          struct json_object **ret_volume, struct bf_error *err)
{
    if (find_managed(adoption, false, ret_volume, err) < 0)
        return -1;
    return *ret_volume ? 0 : take_over(adoption, request, ret_volume, err);
}

static int ensure_snapshot(const struct adoption *adoption, const char *volume_id,
                           struct bf_error *err)
{
    bf_auto_json *snapshot = NULL;
    bf_auto_error ignored = BF_ERROR_INIT;
    const char *id;

    if (bf_cinder_find_snapshot(adoption->cloud, volume_id, adoption->tag, &snapshot, err) < 0 ||
        (!snapshot && bf_cinder_ask_snapshot(adoption->cloud, volume_id, adoption->tag,
                                             BF_CLOUD_ADOPTION_KIND, &snapshot, err) < 0) ||
        bf_cloud_need_id(snapshot, "id", &id, err) < 0)
        return -1;
    if (bf_cinder_wait_snapshot(adoption->cloud, id, NULL, err) == 0)
        return 0;
    if (err->code == BF_E_PLATFORM_ERROR) /* in an error: the next try makes another */
        (void)bf_cinder_delete_snapshot(adoption->cloud, id, &ignored);
    return -1;
}

int bf_cloud_adopt_volume(struct bf_platform *platform, const struct bf_adopt_request *request,
                          char **ret_ref, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    auto_adoption adoption = {0};
    bf_auto_json *volume = NULL;

    if (begin(cloud, request->tag, request->place, &adoption, err) < 0)
        return -1;
    if (!adoption.pool)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "no backend of Cinder is seen on pool %s of cluster %s", adoption.own.pool,
                       adoption.cluster);
    if (ensure_managed(&adoption, request, &volume, err) < 0 ||
        ensure_snapshot(&adoption, bf_cloud_id(volume, "id"), err) < 0)
        return bf_fail_in(err, "adoption of %s/%s", adoption.own.pool, adoption.own.image);
    *ret_ref = bf_cloud_volume_ref(bf_cloud_id(volume, "id"), request->tag);
    return 0;
}

/* --- and its two ends --- */

/* The snapshot to go back to; NULL: none, as nothing was started on the volume yet, or it was taken
 * back already and the snapshot is on its way out. */
static int find_reverted(const struct adoption *adoption, const char *volume_id, char **ret_id,
                         struct bf_error *err)
{
    bf_auto_json *all = NULL;

    if (bf_cinder_snapshots(adoption->cloud, volume_id, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all) && !*ret_id; i++) {
        struct json_object *snapshot = json_object_array_get_idx(all, i);
        const char *id = bf_cloud_id(snapshot, "id"), *status = bf_cloud_text(snapshot, "status");

        if (!id || !bf_cloud_is_tagged(snapshot, adoption->tag, BF_CLOUD_ADOPTION_KIND))
            continue;
        if (bf_streq(status, "creating") &&
            bf_cinder_wait_snapshot(adoption->cloud, id, NULL, err) < 0) {
            if (err->code != BF_E_PLATFORM_ERROR && err->code != BF_E_SNAPSHOT_FAILED)
                return -1;
            bf_error_clear(err); /* it came to nothing */
            continue;
        }
        if (bf_streq(status, "creating") || bf_streq(status, "available"))
            *ret_id = bf_xstrdup(id);
    }
    return 0;
}

/* What the machine here wrote is taken back. */
static int revert(const struct adoption *adoption, const char *volume_id, struct bf_error *err)
{
    bf_auto_free char *image = image_of(volume_id);
    struct bf_rbd_place place = named(adoption, image);
    bf_auto_free char *id = NULL;

    if (find_reverted(adoption, volume_id, &id, err) < 0)
        return -1;
    if (id) {
        bf_auto_free char *name = bf_rbd_snapshot_name(id);
        bf_auto_free char *uri = bf_rbd_place_uri(adoption->cloud, &place, name);

        if (bf_rbd_place_do(adoption->cloud, "rollback", uri, bf_deadline_in(ROLLBACK_MS), err) < 0)
            return bf_fail_in(err, "what the launched machine wrote");
    }
    return bf_cinder_delete_snapshots(adoption->cloud, volume_id, adoption->tag,
                                      BF_CLOUD_ADOPTION_KIND, err);
}

int bf_cloud_give_back_volume(struct bf_platform *platform, const char *tag, const char *place,
                              struct bf_error *err)
{
    auto_adoption adoption = {0};
    bf_auto_json *volume = NULL;
    bf_auto_free char *by_tag = bf_xstrdup(tag);

    if (begin(bf_cloud_of(platform), tag, place, &adoption, err) < 0 ||
        find_managed(&adoption, true, &volume, err) < 0)
        return -1;
    if (volume && (revert(&adoption, bf_cloud_id(volume, "id"), err) < 0 ||
                   unmanage(&adoption, volume, err) < 0))
        return bf_fail_in(err, "giving %s/%s back", adoption.own.pool, adoption.own.image);
    if (rename_image(&adoption, by_tag, adoption.own.image, err) < 0 ||
        check_cluster(&adoption, adoption.own.image, err) < 0)
        return bf_fail_in(err, "giving %s/%s back", adoption.own.pool, adoption.own.image);
    return 0;
}
