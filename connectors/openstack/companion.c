/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/companion.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/target.h"

static void copy_member(struct json_object *to, const char *key, struct json_object *from)
{
    const char *value = bf_cloud_text(from, key);

    if (value)
        bf_json_add_string(to, key, value);
}

int bf_cloud_companion_make(struct bf_cloud *cloud, const char *tag, const char *boot_volume_id,
                            char **ret_id, struct bf_error *err)
{
    bf_auto_json *members = json_object_new_object();
    bf_auto_free char *name = bf_xasprintf("%s-companion", tag);
    bf_auto_json *boot = NULL;
    bf_auto_json *volume = NULL;
    const char *id;

    if (bf_cinder_volume(cloud, boot_volume_id, &boot, err) < 0)
        return -1;
    bf_json_add_string(members, "name", name);
    bf_json_add_i64(members, "size", BF_CLOUD_COMPANION_GIB);
    copy_member(members, "volume_type", boot);
    copy_member(members, "availability_zone", boot);
    json_object_object_add(members, "metadata", bf_cloud_metadata(tag, BF_CLOUD_COMPANION_KIND));
    if (bf_cinder_make_volume(cloud, tag, BF_CLOUD_COMPANION_KIND, members, &volume, err) < 0 ||
        bf_cloud_need_id(volume, "id", &id, err) < 0)
        return bf_fail_in(err, "the small virtio disk");
    *ret_id = bf_xstrdup(id);
    return 0;
}

int bf_cloud_companion_delete(struct bf_cloud *cloud, const char *tag, struct bf_error *err)
{
    bf_auto_json *volume = NULL;
    const char *id;

    if (bf_cinder_find_volume(cloud, tag, BF_CLOUD_COMPANION_KIND, &volume, err) < 0)
        return -1;
    if (!volume)
        return 0;
    /* Nova gives it back a moment after the server is gone. */
    if (bf_cloud_need_id(volume, "id", &id, err) < 0 ||
        bf_cinder_wait_available(cloud, id, NULL, err) < 0) {
        if (err->code != BF_E_VOLUME_GONE)
            return -1;
        bf_error_clear(err);
        return 0;
    }
    return bf_cinder_delete_volume(cloud, id, err);
}
