/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/boot_image.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"

#define UPLOAD_MS (UINT64_C(4) * 60 * 60 * 1000)

static bool is_of_tag(const struct bf_cloud *cloud, struct json_object *image, const char *tag)
{
    const char *name = bf_cloud_text(image, "name"), *owner = bf_cloud_text(image, "owner");
    char found[BF_TAG_LENGTH + 1];

    return name && bf_cloud_id(image, "id") && bf_tag_of(name, found) && bf_streq(found, tag) &&
           (!owner || bf_streq(owner, cloud->project_id));
}

/* Public ones of others are listed as well, by the thousand in some clouds: only the project's own
 * are asked for. */
static int own_images(struct bf_cloud *cloud, struct json_object **ret_images, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/images?owner=%s", cloud->project_id);

    return bf_cloud_collect(cloud,
                            &(struct bf_cloud_request){.service = BF_CLOUD_IMAGE, .path = path},
                            "images", ret_images, err);
}

static int delete_image(struct bf_cloud *cloud, const char *id, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/images/%s", id);

    if (bf_cloud_call(
            cloud,
            &(struct bf_cloud_request){.service = BF_CLOUD_IMAGE, .method = "DELETE", .path = path},
            NULL, err) == 0)
        return 0;
    if (cloud->status != 404)
        return -1;
    bf_error_clear(err);
    return 0;
}

int bf_cloud_delete_images(struct bf_cloud *cloud, const char *tag, struct bf_error *err)
{
    bf_auto_json *images = NULL;

    if (!bf_cloud_has(cloud, BF_CLOUD_IMAGE))
        return 0;
    if (own_images(cloud, &images, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(images); i++) {
        struct json_object *image = json_object_array_get_idx(images, i);

        if (is_of_tag(cloud, image, tag) && delete_image(cloud, bf_cloud_id(image, "id"), err) < 0)
            return -1;
    }
    return 0;
}

/* One that an earlier call made, or is making still; those that came to nothing are removed. */
static int find_image(struct bf_cloud *cloud, const char *tag, char **ret_id, struct bf_error *err)
{
    static const char *const good[] = {"queued", "saving", "uploading", "importing", "active"};
    bf_auto_json *images = NULL;

    if (own_images(cloud, &images, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(images); i++) {
        struct json_object *image = json_object_array_get_idx(images, i);
        const char *status = bf_cloud_text(image, "status");
        bool usable = false;

        if (!is_of_tag(cloud, image, tag))
            continue;
        for (size_t j = 0; j < bf_array_length(good); j++)
            usable = usable || bf_streq(status, good[j]);
        if (usable && !*ret_id)
            *ret_id = bf_xstrdup(bf_cloud_id(image, "id"));
        else if (delete_image(cloud, bf_cloud_id(image, "id"), err) < 0)
            return -1;
    }
    return 0;
}

static int upload(struct bf_cloud *cloud, const char *tag, const char *name, const char *volume_id,
                  char **ret_id, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/volumes/%s/action", volume_id);
    bf_auto_free char *image_name = bf_xasprintf("%s %s", tag, name);
    struct json_object *arguments = json_object_new_object();
    bf_auto_json *body = json_object_new_object();
    bf_auto_json *answer = NULL;
    const char *id;

    json_object_object_add(body, "os-volume_upload_image", arguments);
    bf_json_add_string(arguments, "image_name", image_name);
    bf_json_add_string(arguments, "disk_format", "raw");
    bf_json_add_string(arguments, "container_format", "bare");
    if (bf_cloud_call(cloud,
                      &(struct bf_cloud_request){.service = BF_CLOUD_VOLUME,
                                                 .method = "POST",
                                                 .path = path,
                                                 .minor = BF_CINDER_MINOR,
                                                 .body = body,
                                                 .missing = BF_E_VOLUME_GONE},
                      &answer, err) < 0 ||
        bf_cloud_need_id(answer, "os-volume_upload_image/image_id", &id, err) < 0)
        return bf_fail_in(err, "image of volume %s", volume_id);
    *ret_id = bf_xstrdup(id);
    return 0;
}

/* Glance's answer to GET is the image itself. */
static int await_active(struct bf_cloud *cloud, const char *id, struct json_object **ret_image,
                        struct bf_error *err)
{
    static const char *const wanted[] = {"active", NULL};
    static const char *const going[] = {"queued", "saving", "uploading", "importing", NULL};
    bf_auto_free char *path = bf_xasprintf("/images/%s", id);
    bf_auto_free char *what = bf_xasprintf("image %s", id);

    return bf_cloud_wait(
        cloud,
        &(struct bf_cloud_wait){.request = {.service = BF_CLOUD_IMAGE, .path = path},
                                .what = what,
                                .wanted = wanted,
                                .going = going,
                                .deadline_ms = UPLOAD_MS},
        ret_image, err);
}

int bf_cloud_boot_image(struct bf_cloud *cloud, const char *tag, const char *name,
                        const char *volume_id, char **ret_image_id, uint64_t *ret_gib,
                        struct bf_error *err)
{
    bf_auto_free char *id = NULL;
    bf_auto_json *image = NULL;
    bf_auto_json *volume = NULL;

    if (!bf_cloud_has(cloud, BF_CLOUD_IMAGE))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "option boot is image, and the cloud has no image service");
    if (find_image(cloud, tag, &id, err) < 0 ||
        (!id && upload(cloud, tag, name, volume_id, &id, err) < 0))
        return -1;
    if (await_active(cloud, id, &image, err) < 0) {
        bf_auto_error ignored = BF_ERROR_INIT;

        if (err->code == BF_E_PLATFORM_ERROR)
            (void)delete_image(cloud, id, &ignored);
        return -1;
    }
    if (bf_cinder_wait_available(cloud, volume_id, &volume, err) < 0)
        return -1;
    *ret_gib = bf_cloud_number(volume, "size");
    *ret_image_id = bf_steal(id);
    return 0;
}
