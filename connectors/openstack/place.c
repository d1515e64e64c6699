/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/place.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"

#define INFO_MS 60000
#define RENAME_MS (UINT64_C(3) * 60 * 1000)
#define OUTPUT_MAX ((size_t)64 << 10)

void bf_rbd_place_done(struct bf_rbd_place *place)
{
    free(place->pool);
    free(place->image);
    free(place->user);
    *place = (struct bf_rbd_place){0};
}

/* The flat form of the attachments API, or the older one with "data" in it. */
int bf_rbd_place_read(struct bf_cloud *cloud, struct json_object *connection,
                      struct bf_rbd_place *ret_place, struct bf_error *err)
{
    struct json_object *data = bf_cloud_at(connection, "data");
    const char *type = bf_cloud_text(connection, "driver_volume_type");
    const char *name, *slash, *user;

    if (!json_object_is_type(data, json_type_object))
        data = connection;
    name = bf_cloud_text(data, "name");
    if (!bf_streq(type, "rbd"))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "the volume is reached by \"%s\"; only rbd is supported",
                       type ? type : "an unknown protocol");
    if (bf_cloud_bool(data, "encrypted"))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "the volume is encrypted by Cinder");
    slash = name ? strchr(name, '/') : NULL;
    if (!slash || slash == name || !slash[1] || strpbrk(slash + 1, "/@?"))
        return bf_fail(err, BF_E_PROTOCOL, 0, "Cinder's name of the image is \"%s\"",
                       name ? name : "");
    user = cloud->conf.ceph_user ? cloud->conf.ceph_user : bf_cloud_text(data, "auth_username");
    ret_place->pool = bf_xasprintf("%.*s", (int)(slash - name), name);
    ret_place->image = bf_xstrdup(slash + 1);
    ret_place->user = bf_xstrdup(user);
    return 0;
}

char *bf_rbd_place_uri(const struct bf_cloud *cloud, const struct bf_rbd_place *place,
                       const char *snapshot)
{
    struct bf_buf uri = {0};
    const char *sign = "?";

    bf_buf_addf(&uri, "rbd:%s/%s%s%s", place->pool, place->image, snapshot ? "@" : "",
                snapshot ? snapshot : "");
    if (cloud->conf.ceph_conf) {
        bf_auto_free char *conf = bf_cloud_escape(cloud->conf.ceph_conf);

        bf_buf_addf(&uri, "?conf=%s", conf);
        sign = "&";
    }
    if (place->user) {
        bf_auto_free char *user = bf_cloud_escape(place->user);

        bf_buf_addf(&uri, "%sid=%s", sign, user);
    }
    return uri.text;
}

char *bf_rbd_snapshot_name(const char *snapshot_id)
{
    return bf_xasprintf("snapshot-%s", snapshot_id);
}

/* --- the helper: librbd runs in a process of its own, as everywhere --- */

/* Its last line is {"event": "done", ...} or an error event, as blockferry-copy's. */
static int run_helper(struct bf_cloud *cloud, const char *verb, const char *uri, const char *name,
                      struct bf_deadline deadline, struct json_object **ret_answer,
                      struct bf_error *err)
{
    bf_auto_free char *program = NULL;
    bf_auto_free char *output = NULL;
    bf_auto_json *answer = NULL;
    bf_auto_error bad = BF_ERROR_INIT;

    if (bf_program_find("blockferry-rbd", &program, err) < 0)
        return -1;
    const char *argv[] = {program, verb, uri, name, NULL};
    if (bf_process_run(argv, NULL, deadline, bf_platform_cancel_fd(&cloud->base), OUTPUT_MAX,
                       &output, err) < 0)
        return bf_fail_in(err, "blockferry-rbd %s %s", verb, uri);
    if (bf_json_parse(output, strlen(output), &answer, &bad) < 0)
        return bf_fail(err, BF_E_CHILD_FAILED, 0, "blockferry-rbd %s: no answer", verb);
    const char *code = bf_cloud_text(answer, "code");
    if (code) {
        const char *message = bf_cloud_text(answer, "message");

        return bf_fail(err, bf_error_from_id(code), 0, "%s", message ? message : "no reason given");
    }
    *ret_answer = bf_steal(answer);
    return 0;
}

int bf_rbd_place_info(struct bf_cloud *cloud, const char *uri, struct bf_rbd_info *ret_info,
                      struct bf_error *err)
{
    bf_auto_json *answer = NULL;

    if (run_helper(cloud, "info", uri, NULL, bf_deadline_in(INFO_MS), &answer, err) < 0)
        return -1;
    const char *fsid = bf_cloud_text(answer, "fsid");
    ret_info->size_bytes = bf_cloud_number(answer, "size");
    ret_info->has_parent = bf_cloud_bool(answer, "parent");
    ret_info->fast_diff = bf_cloud_bool(answer, "fast_diff");
    ret_info->snapshots = bf_cloud_number(answer, "snapshots");
    snprintf(ret_info->fsid, sizeof(ret_info->fsid), "%s", fsid ? fsid : "");
    return 0;
}

int bf_rbd_place_do(struct bf_cloud *cloud, const char *verb, const char *uri,
                    struct bf_deadline deadline, struct bf_error *err)
{
    bf_auto_json *answer = NULL;

    return run_helper(cloud, verb, uri, NULL, deadline, &answer, err);
}

int bf_rbd_place_rename(struct bf_cloud *cloud, const struct bf_rbd_place *place, const char *name,
                        struct bf_error *err)
{
    bf_auto_free char *uri = bf_rbd_place_uri(cloud, place, NULL);
    bf_auto_json *answer = NULL;

    return run_helper(cloud, "rename", uri, name, bf_deadline_in(RENAME_MS), &answer, err);
}

int bf_rbd_place_write(struct bf_cloud *cloud, const struct bf_rbd_place *place, char **ret_text,
                       struct bf_error *err)
{
    bf_auto_free char *uri = bf_rbd_place_uri(cloud, place, NULL);
    bf_auto_json *json = json_object_new_object();
    struct bf_rbd_info info = {0};

    if (bf_rbd_place_info(cloud, uri, &info, err) < 0)
        return -1;
    bf_json_add_string(json, "store", BF_RBD_STORE);
    bf_json_add_string(json, "cluster", info.fsid);
    bf_json_add_string(json, "pool", place->pool);
    bf_json_add_string(json, "image", place->image);
    bf_json_add_u64(json, "size", info.size_bytes);
    bf_json_add_u64(json, "snapshots", info.snapshots);
    bf_json_add_bool(json, "parent", info.has_parent);
    *ret_text = bf_xstrdup(bf_json_text(json));
    return 0;
}
