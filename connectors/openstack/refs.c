/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/refs.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

char *bf_cloud_volume_ref(const char *volume_id, const char *tag)
{
    bf_auto_json *ref = json_object_new_object();

    bf_json_add_string(ref, "volume", volume_id);
    bf_json_add_string(ref, "tag", tag);
    return bf_xstrdup(bf_json_text(ref));
}

char *bf_cloud_point_ref(const char *snapshot_id, const char *volume_id, const char *tag)
{
    bf_auto_json *ref = json_object_new_object();

    bf_json_add_string(ref, "snapshot", snapshot_id);
    bf_json_add_string(ref, "volume", volume_id);
    bf_json_add_string(ref, "tag", tag);
    return bf_xstrdup(bf_json_text(ref));
}

int bf_cloud_ref_parse(const char *ref, struct json_object **ret_ref, struct bf_error *err)
{
    bf_auto_json *json = NULL;

    if (bf_json_parse(ref, strlen(ref), &json, err) < 0)
        return bf_fail_in(err, "stored reference");
    if (!json_object_is_type(json, json_type_object))
        return bf_fail(err, BF_E_BAD_JSON, 0, "stored reference: expected an object");
    *ret_ref = bf_steal(json);
    return 0;
}

int bf_cloud_ref_id(const char *ref, const char *member, char **ret_id, struct bf_error *err)
{
    bf_auto_json *json = NULL;
    const char *id;

    if (bf_cloud_ref_parse(ref, &json, err) < 0)
        return -1;
    id = bf_cloud_id(json, member);
    if (!id)
        return bf_fail(err, BF_E_BAD_JSON, 0, "stored reference: no usable \"%s\"", member);
    *ret_id = bf_xstrdup(id);
    return 0;
}
