/* SPDX-License-Identifier: Apache-2.0 */
/* Everything in the project that carries a tag of ours. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/neutron.h"
#include "connectors/openstack/nova.h"
#include "connectors/openstack/refs.h"
#include "connectors/openstack/target.h"

struct listing {
    struct bf_cloud *cloud;
    bf_tagged_fn *fn;
    void *user;
    struct json_object *told; /* "kind tag" -> true: sets that are told once */
    struct json_object *snapshots;
    bool stop;
};

static void tell(struct listing *listing, const char *kind, const char *tag, const char *ref,
                 const char *name)
{
    if (!listing->stop)
        listing->stop = listing->fn(kind, tag, ref, name ? name : "", listing->user) != 0;
}

static bool first_of(struct listing *listing, const char *kind, const char *tag)
{
    bf_auto_free char *key = bf_xasprintf("%s %s", kind, tag);

    if (json_object_object_get_ex(listing->told, key, NULL))
        return false;
    json_object_object_add(listing->told, key, json_object_new_boolean(true));
    return true;
}

static int on_server(struct json_object *server, void *user)
{
    struct listing *listing = user;
    const char *tag = bf_cloud_text(server, "metadata/" BF_CLOUD_TAG_KEY);

    if (bf_cloud_is_tagged(server, NULL, BF_CLOUD_MACHINE_KIND) &&
        first_of(listing, "machine", tag)) {
        bf_auto_json *ref = json_object_new_object();
        struct json_object *attached = bf_cloud_at(server, "os-extended-volumes:volumes_attached");

        bf_json_add_string(ref, "tag", tag);
        if (attached)
            json_object_object_add(ref, "volumes", json_object_get(attached));
        tell(listing, "machine", tag, bf_json_text(ref), bf_cloud_text(server, "name"));
    }
    return listing->stop;
}

/* A machine of which only a part is there. */
static void tell_part(struct listing *listing, const char *tag, const char *name)
{
    if (first_of(listing, "machine", tag)) {
        bf_auto_json *ref = json_object_new_object();

        bf_json_add_string(ref, "tag", tag);
        tell(listing, "machine", tag, bf_json_text(ref), name);
    }
}

/* Things called "<tag><separator>...": parts of a machine. */
static void tell_parts(struct listing *listing, struct json_object *things, char separator)
{
    for (size_t i = 0; i < json_object_array_length(things); i++) {
        const char *name = bf_cloud_text(json_object_array_get_idx(things, i), "name");
        char tag[BF_TAG_LENGTH + 1];

        if (bf_tag_of(name, tag) && name[BF_TAG_LENGTH] == separator)
            tell_part(listing, tag, name);
    }
}

/* Ports made for a machine that was never started. */
static int tell_ports(struct listing *listing, struct bf_error *err)
{
    bf_auto_json *ports = NULL;

    if (bf_neutron_ports(listing->cloud, NULL, &ports, err) < 0)
        return -1;
    tell_parts(listing, ports, '-');
    return 0;
}

/* The image that a machine was to boot from (boot_image.c): "<tag> <name>".  One that is called by
 * a tag alone is part of a snapshot. */
static int tell_images(struct listing *listing, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/images?owner=%s", listing->cloud->project_id);
    bf_auto_json *images = NULL;

    if (!bf_cloud_has(listing->cloud, BF_CLOUD_IMAGE))
        return 0;
    if (bf_cloud_collect(listing->cloud,
                         &(struct bf_cloud_request){.service = BF_CLOUD_IMAGE, .path = path},
                         "images", &images, err) < 0)
        return -1;
    tell_parts(listing, images, ' ');
    return 0;
}

static int on_volume(struct json_object *volume, void *user)
{
    struct listing *listing = user;
    const char *tag = bf_cloud_text(volume, "metadata/" BF_CLOUD_TAG_KEY);
    const char *id = bf_cloud_id(volume, "id");

    if (!id || !bf_cloud_is_tagged(volume, NULL, NULL))
        return 0;
    if (bf_cloud_is_tagged(volume, NULL, BF_CLOUD_COMPANION_KIND)) {
        tell_part(listing, tag, bf_cloud_text(volume, "name"));
        return listing->stop;
    }
    const char *kind = bf_cloud_is_tagged(volume, NULL, BF_CLOUD_CLONE_KIND)      ? "clone"
                       : bf_cloud_is_tagged(volume, NULL, BF_CLOUD_ADOPTION_KIND) ? "adoption"
                                                                                  : "volume";
    bf_auto_free char *ref = bf_cloud_volume_ref(id, tag);
    tell(listing, kind, tag, ref, bf_cloud_text(volume, "name"));
    return listing->stop;
}

/* The baseline of a tag: its snapshots, whatever disks they are of. */
static void tell_baseline(struct listing *listing, const char *tag)
{
    bf_auto_json *set = json_object_new_object();
    struct json_object *disks = json_object_new_object();

    bf_json_add_string(set, "tag", tag);
    json_object_object_add(set, "disks", disks);
    for (size_t i = 0; i < json_object_array_length(listing->snapshots); i++) {
        struct json_object *snapshot = json_object_array_get_idx(listing->snapshots, i);
        const char *id = bf_cloud_id(snapshot, "id");

        if (id && bf_cloud_is_tagged(snapshot, tag, BF_CLOUD_BASELINE_KIND)) {
            struct json_object *disk = json_object_new_object();

            bf_json_add_string(disk, "snapshot", id);
            json_object_object_add(disks, id, disk);
        }
    }
    tell(listing, "baseline", tag, bf_json_text(set), tag);
}

static void tell_snapshots(struct listing *listing)
{
    for (size_t i = 0; i < json_object_array_length(listing->snapshots); i++) {
        struct json_object *snapshot = json_object_array_get_idx(listing->snapshots, i);
        const char *tag = bf_cloud_text(snapshot, "metadata/" BF_CLOUD_TAG_KEY);
        const char *id = bf_cloud_id(snapshot, "id");
        const char *volume = bf_cloud_id(snapshot, "volume_id");

        if (!id || !volume || !bf_cloud_is_tagged(snapshot, NULL, NULL) ||
            bf_cloud_is_tagged(snapshot, NULL, BF_CLOUD_ADOPTION_KIND)) /* goes with its volume */
            continue;
        if (bf_cloud_is_tagged(snapshot, NULL, BF_CLOUD_BASELINE_KIND)) {
            if (first_of(listing, "baseline", tag))
                tell_baseline(listing, tag);
            continue;
        }
        bf_auto_free char *ref = bf_cloud_point_ref(id, volume, tag);
        tell(listing, "layer", tag, ref, bf_cloud_text(snapshot, "name"));
    }
}

int bf_cloud_tagged(struct bf_platform *platform, bf_tagged_fn *fn, void *user,
                    struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_json *told = json_object_new_object();
    bf_auto_json *snapshots = NULL;
    struct bf_cloud_request volumes = {
        .service = BF_CLOUD_VOLUME, .path = "/volumes/detail", .minor = BF_CINDER_MINOR};
    struct listing listing = {.cloud = cloud, .fn = fn, .user = user, .told = told};

    if (bf_nova_list(cloud, on_server, &listing, err) < 0)
        return -1;
    if (!listing.stop && tell_ports(&listing, err) < 0)
        return -1;
    if (!listing.stop && tell_images(&listing, err) < 0)
        return -1;
    if (!listing.stop && bf_cloud_list(cloud, &volumes, "volumes", on_volume, &listing, err) < 0)
        return -1;
    if (listing.stop || bf_cinder_snapshots(cloud, NULL, &snapshots, err) < 0)
        return listing.stop ? 0 : -1;
    listing.snapshots = snapshots;
    tell_snapshots(&listing);
    return 0;
}
