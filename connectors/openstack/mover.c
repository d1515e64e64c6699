/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/mover.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/nova.h"

#define VIRTIO_SERIAL_LENGTH 20
#define NOVA_ATTACH_MS (UINT64_C(3) * 60 * 1000)
#define QUEUE_MS (UINT64_C(30) * 60 * 1000)

/* --- the platform of connectors/mover.h; the mover's id is the server's --- */

static char *attachments_path(const char *server, const char *volume)
{
    return bf_xasprintf("/servers/%s/os-volume_attachments%s%s", server, volume ? "/" : "",
                        volume ? volume : "");
}

static int note(struct bf_cloud *cloud, const char *volume, const char *tag, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/volumes/%s", volume);

    return bf_cinder_set_metadata(cloud, path, BF_CLOUD_MOVER_KEY, tag, err);
}

static int wait_status(struct bf_cloud *cloud, const char *volume, const char *wanted,
                       const char *const *going, struct bf_error *err)
{
    const char *words[] = {wanted, NULL};

    return bf_cinder_wait_volume(
        cloud, volume,
        &(struct bf_cinder_wait){.wanted = words, .going = going, .deadline_ms = NOVA_ATTACH_MS},
        NULL, err);
}

static int nova_attach(struct bf_platform *platform, const char *mover, const char *disk,
                       const char *tag, bool writable, struct bf_error *err)
{
    static const char *const going[] = {"reserved", "attaching", NULL};
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *path = attachments_path(mover, NULL);
    bf_auto_json *body = json_object_new_object();
    struct json_object *content = json_object_new_object();

    (void)writable; /* Nova cannot say it */
    bf_json_add_string(content, "volumeId", disk);
    json_object_object_add(body, "volumeAttachment", content);
    if (note(cloud, disk, tag, err) < 0 ||
        bf_cloud_call(cloud,
                      &(struct bf_cloud_request){.service = BF_CLOUD_COMPUTE,
                                                 .method = "POST",
                                                 .path = path,
                                                 .minor = BF_NOVA_MINOR,
                                                 .body = body,
                                                 .missing = BF_E_NO_SUCH_MACHINE},
                      NULL, err) < 0)
        return -1;
    return wait_status(cloud, disk, "in-use", going, err);
}

/* An attachment is named by its volume. */
static int nova_detach(struct bf_platform *platform, const char *mover, const char *attachment,
                       struct bf_error *err)
{
    static const char *const going[] = {"in-use", "detaching", NULL};
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *path = attachments_path(mover, attachment);

    if (bf_cloud_call(cloud,
                      &(struct bf_cloud_request){.service = BF_CLOUD_COMPUTE,
                                                 .method = "DELETE",
                                                 .path = path,
                                                 .minor = BF_NOVA_MINOR},
                      NULL, err) < 0) {
        if (cloud->status != 404)
            return -1;
        bf_error_clear(err);
    }
    if (wait_status(cloud, attachment, "available", going, err) < 0)
        return -1;
    return note(cloud, attachment, NULL, err);
}

/* The boot disk is the first device, always. */
static bool is_boot_disk(struct json_object *attachment)
{
    const char *device = bf_cloud_text(attachment, "device");

    return bf_ends_with(device ? device : "", "da");
}

static int tell(struct bf_cloud *cloud, const char *id, bf_mover_disk_fn *fn, void *user,
                bool *ret_stop, struct bf_error *err)
{
    bf_auto_json *volume = NULL;
    bf_auto_free char *export_name = bf_xasprintf("%.*s", VIRTIO_SERIAL_LENGTH, id);

    if (bf_cinder_volume(cloud, id, &volume, err) < 0) {
        if (err->code != BF_E_VOLUME_GONE) /* another project's, too */
            return -1;
        bf_error_clear(err);
    }
    const struct bf_mover_disk disk = {.attachment = id,
                                       .disk = id,
                                       .tag = bf_cloud_text(volume, "metadata/" BF_CLOUD_MOVER_KEY),
                                       .export_name = export_name};
    *ret_stop = fn(&disk, user) != 0;
    return 0;
}

static int nova_list(struct bf_platform *platform, const char *mover, bf_mover_disk_fn *fn,
                     void *user, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *path = attachments_path(mover, NULL);
    bf_auto_json *all = NULL;
    bool stop = false;

    if (bf_cloud_collect(cloud,
                         &(struct bf_cloud_request){.service = BF_CLOUD_COMPUTE,
                                                    .path = path,
                                                    .minor = BF_NOVA_MINOR,
                                                    .missing = BF_E_NO_SUCH_MACHINE},
                         "volumeAttachments", &all, err) < 0)
        return -1;
    for (size_t i = 0; !stop && i < json_object_array_length(all); i++) {
        struct json_object *one = json_object_array_get_idx(all, i);
        const char *id = bf_cloud_id(one, "volumeId");

        if (id && !is_boot_disk(one) && tell(cloud, id, fn, user, &stop, err) < 0)
            return -1;
    }
    return 0;
}

static const struct bf_mover_ops nova_ops = {
    .attach = nova_attach, .detach = nova_detach, .list = nova_list};

/* --- for volumes.c and clones.c --- */

const char *bf_cloud_mover_server(const struct bf_cloud *cloud)
{
    return cloud->conf.instance ? cloud->conf.instance : cloud->conf.mover;
}

bool bf_cloud_has_mover(const struct bf_cloud *cloud)
{
    return bf_cloud_mover_server(cloud) != NULL;
}

static struct bf_mover_conf conf_of(const struct bf_cloud *cloud)
{
    return (struct bf_mover_conf){.ops = &nova_ops,
                                  .id = bf_cloud_mover_server(cloud),
                                  .devices = cloud->conf.instance ? cloud->conf.devices : NULL,
                                  .address = cloud->conf.mover_address,
                                  .tls_directory = cloud->conf.mover_certificates,
                                  .slots = cloud->conf.mover_slots,
                                  .writable = true};
}

bool bf_cloud_needs_mover(const struct bf_cloud *cloud, struct json_object *connection)
{
    return bf_cloud_has_mover(cloud) &&
           !bf_streq(bf_cloud_text(connection, "driver_volume_type"), "rbd");
}

int bf_cloud_mover_attach(struct bf_cloud *cloud, const char *volume_id, const char *tag,
                          uint64_t size_bytes, struct bf_endpoint_spec *ret_spec,
                          struct bf_error *err)
{
    const struct bf_mover_conf conf = conf_of(cloud);
    const struct bf_mover_request request = {.disk = volume_id,
                                             .tag = tag,
                                             .size_bytes = size_bytes,
                                             .writable = true,
                                             .holding = cloud->mover_open > 0};

    return bf_mover_attach(&cloud->base, &conf, &request, bf_deadline_in(QUEUE_MS), ret_spec, err);
}

int bf_cloud_mover_release(struct bf_cloud *cloud, struct json_object *volume, struct bf_error *err)
{
    const char *tag = bf_cloud_text(volume, "metadata/" BF_CLOUD_MOVER_KEY);
    const char *id = bf_cloud_id(volume, "id");

    if (!bf_cloud_has_mover(cloud) || !tag || !id)
        return 0;
    const struct bf_mover_conf conf = conf_of(cloud);
    return bf_mover_detach(&cloud->base, &conf, id, tag, err);
}

int bf_cloud_mover_release_id(struct bf_cloud *cloud, const char *volume_id, struct bf_error *err)
{
    bf_auto_json *volume = NULL;

    if (!bf_cloud_has_mover(cloud))
        return 0;
    if (bf_cinder_volume(cloud, volume_id, &volume, err) < 0) {
        if (err->code != BF_E_VOLUME_GONE)
            return -1;
        bf_error_clear(err);
        return 0;
    }
    return bf_cloud_mover_release(cloud, volume, err);
}

int bf_cloud_mover_status(struct bf_cloud *cloud, char **ret_status, struct bf_error *err)
{
    bf_auto_json *server = NULL;

    if (bf_nova_server(cloud, bf_cloud_mover_server(cloud), &server, err) < 0) {
        if (err->code != BF_E_NO_SUCH_MACHINE)
            return -1;
        bf_error_clear(err);
    }
    const char *status = bf_cloud_text(server, "status");
    *ret_status = bf_xstrdup(status ? status : "");
    return 0;
}
