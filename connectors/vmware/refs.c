/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/refs.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

static struct json_object *disk_write(const struct bf_vmware_ref_disk *disk)
{
    struct json_object *json = json_object_new_object();

    bf_json_add_string(json, "key", disk->key);
    bf_json_add_string(json, "file", disk->file);
    bf_json_add_string(json, "uuid", disk->uuid);
    bf_json_add_string(json, "change_id", disk->change_id);
    bf_json_add_string(json, "place", disk->place);
    bf_json_add_string(json, "since", disk->since);
    bf_json_add_string(json, "content_id", disk->content_id);
    bf_json_add_u64(json, "size", disk->size_bytes);
    return json;
}

char *bf_vmware_moment_write(const struct bf_vmware_moment *moment)
{
    bf_auto_json *json = json_object_new_object();
    struct json_object *disks = json_object_new_array();

    bf_json_add_string(json, "machine", moment->machine);
    bf_json_add_string(json, "tag", moment->tag);
    bf_json_add_string(json, "snapshot", moment->snapshot);
    bf_json_add_string(json, "created", moment->created);
    bf_json_add_string(json, "host", moment->host);
    bf_json_add_string(json, "parent", moment->parent);
    for (size_t i = 0; i < moment->disk_count; i++)
        json_object_array_add(disks, disk_write(&moment->disks[i]));
    json_object_object_add(json, "disks", disks);
    return bf_xstrdup(bf_json_text(json));
}

static int opt_text(struct json_object *json, const char *key, char **ret, struct bf_error *err)
{
    const char *text = NULL;

    if (bf_json_opt_string(json, "", key, &text, err) < 0)
        return -1;
    *ret = bf_xstrdup(text);
    return 0;
}

static int disk_read(struct json_object *json, struct bf_vmware_ref_disk *disk,
                     struct bf_error *err)
{
    const char *key;

    if (bf_json_get_string(json, "disks", "key", &key, err) < 0 ||
        bf_json_get_u64(json, "disks", "size", &disk->size_bytes, err) < 0)
        return -1;
    disk->key = bf_xstrdup(key);
    if (opt_text(json, "file", &disk->file, err) < 0 ||
        opt_text(json, "uuid", &disk->uuid, err) < 0 ||
        opt_text(json, "change_id", &disk->change_id, err) < 0 ||
        opt_text(json, "place", &disk->place, err) < 0 ||
        opt_text(json, "since", &disk->since, err) < 0 ||
        opt_text(json, "content_id", &disk->content_id, err) < 0)
        return -1;
    return 0;
}

static int moment_read(struct json_object *json, struct bf_vmware_moment *moment,
                       struct bf_error *err)
{
    struct json_object *disks;
    const char *machine, *tag;

    if (bf_json_get_string(json, "", "machine", &machine, err) < 0 ||
        bf_json_get_string(json, "", "tag", &tag, err) < 0 ||
        bf_json_get_array(json, "", "disks", &disks, err) < 0)
        return -1;
    moment->machine = bf_xstrdup(machine);
    moment->tag = bf_xstrdup(tag);
    if (opt_text(json, "snapshot", &moment->snapshot, err) < 0 ||
        opt_text(json, "created", &moment->created, err) < 0 ||
        opt_text(json, "host", &moment->host, err) < 0 ||
        opt_text(json, "parent", &moment->parent, err) < 0)
        return -1;
    size_t count = json_object_array_length(disks);
    moment->disks = bf_xcalloc(count + 1, sizeof(*moment->disks));
    for (size_t i = 0; i < count; i++) {
        moment->disk_count++;
        if (disk_read(json_object_array_get_idx(disks, i), &moment->disks[i], err) < 0)
            return -1;
    }
    return 0;
}

int bf_vmware_moment_read(const char *text, struct bf_vmware_moment *ret_moment,
                          struct bf_error *err)
{
    bf_auto_vmware_moment moment = {0};
    bf_auto_json *json = NULL;

    if (bf_json_parse(text, strlen(text), &json, err) < 0 || moment_read(json, &moment, err) < 0)
        return bf_fail_in(err, "ref of a snapshot");
    *ret_moment = moment;
    moment = (struct bf_vmware_moment){0};
    return 0;
}

void bf_vmware_moment_done(struct bf_vmware_moment *moment)
{
    for (size_t i = 0; i < moment->disk_count; i++) {
        free(moment->disks[i].key);
        free(moment->disks[i].file);
        free(moment->disks[i].uuid);
        free(moment->disks[i].change_id);
        free(moment->disks[i].place);
        free(moment->disks[i].since);
        free(moment->disks[i].content_id);
    }
    free(moment->machine);
    free(moment->tag);
    free(moment->snapshot);
    free(moment->created);
    free(moment->host);
    free(moment->parent);
    free(moment->disks);
    *moment = (struct bf_vmware_moment){0};
}

const struct bf_vmware_ref_disk *bf_vmware_moment_disk(const struct bf_vmware_moment *moment,
                                                       const char *key)
{
    for (size_t i = 0; i < moment->disk_count; i++) {
        if (bf_streq(moment->disks[i].key, key))
            return &moment->disks[i];
    }
    return NULL;
}
