/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/refs.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

#define VERSION 1

static int check_version(struct json_object *json, const char *what, struct bf_error *err)
{
    uint64_t version;

    if (bf_json_get_u64(json, "", "v", &version, err) < 0)
        return bf_fail_in(err, "%s", what);
    if (version != VERSION)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s of version %llu; this one reads %d", what,
                       (unsigned long long)version, VERSION);
    return 0;
}

/* --- snapshot refs --- */

char *bf_libvirt_ref_write(const struct bf_libvirt_ref *ref)
{
    bf_auto_json *json = json_object_new_object();
    struct json_object *disks = json_object_new_array();

    bf_json_add_u64(json, "v", VERSION);
    bf_json_add_string(json, "machine", ref->machine_id);
    bf_json_add_string(json, "tag", ref->tag);
    bf_json_add_bool(json, "off", ref->off);
    bf_json_add_string(json, "socket", ref->socket);
    bf_json_add_string(json, "address", ref->address);
    bf_json_add_u64(json, "port", ref->port);
    bf_json_add_bool(json, "tls", ref->tls);
    bf_json_add_u64(json, "taken_us", (uint64_t)ref->taken_us);
    for (size_t i = 0; i < ref->disk_count; i++) {
        const struct bf_libvirt_ref_disk *disk = &ref->disks[i];
        struct json_object *object = json_object_new_object();
        bf_json_add_string(object, "key", disk->key);
        bf_json_add_string(object, "path", disk->path);
        bf_json_add_string(object, "format", disk->format);
        bf_json_add_string(object, "bitmap", disk->bitmap);
        bf_json_add_u64(object, "size", disk->size_bytes);
        bf_json_add_u64(object, "modified_ns", (uint64_t)disk->modified_ns);
        json_object_array_add(disks, object);
    }
    json_object_object_add(json, "disks", disks);
    return bf_xstrdup(bf_json_text(json));
}

static int read_ref_disk(struct json_object *json, struct bf_libvirt_ref_disk *disk,
                         struct bf_error *err)
{
    const char *key, *path = NULL, *format = NULL, *bitmap = NULL;
    uint64_t modified_ns = 0;

    if (bf_json_get_string(json, "disk", "key", &key, err) < 0 ||
        bf_json_opt_string(json, "disk", "path", &path, err) < 0 ||
        bf_json_opt_string(json, "disk", "format", &format, err) < 0 ||
        bf_json_opt_string(json, "disk", "bitmap", &bitmap, err) < 0 ||
        bf_json_get_u64(json, "disk", "size", &disk->size_bytes, err) < 0 ||
        bf_json_opt_u64(json, "disk", "modified_ns", &modified_ns, err) < 0)
        return -1;
    disk->key = bf_xstrdup(key);
    disk->path = bf_xstrdup(path);
    disk->format = bf_xstrdup(format);
    disk->bitmap = bf_xstrdup(bitmap);
    disk->modified_ns = (int64_t)modified_ns;
    return 0;
}

static int read_ref(struct json_object *json, struct bf_libvirt_ref *ref, struct bf_error *err)
{
    const char *machine, *tag, *socket = NULL, *address = NULL;
    struct json_object *disks;
    uint64_t taken_us = 0;

    if (check_version(json, "snapshot ref", err) < 0 ||
        bf_json_get_string(json, "", "machine", &machine, err) < 0 ||
        bf_json_get_string(json, "", "tag", &tag, err) < 0 ||
        bf_json_get_bool(json, "", "off", &ref->off, err) < 0 ||
        bf_json_opt_string(json, "", "socket", &socket, err) < 0 ||
        bf_json_opt_string(json, "", "address", &address, err) < 0 ||
        bf_json_opt_u64(json, "", "port", &ref->port, err) < 0 ||
        bf_json_opt_bool(json, "", "tls", &ref->tls, err) < 0 ||
        bf_json_opt_u64(json, "", "taken_us", &taken_us, err) < 0 ||
        bf_json_get_array(json, "", "disks", &disks, err) < 0)
        return -1;
    ref->machine_id = bf_xstrdup(machine);
    ref->tag = bf_xstrdup(tag);
    ref->socket = bf_xstrdup(socket);
    ref->address = bf_xstrdup(address);
    ref->taken_us = (int64_t)taken_us;
    size_t count = json_object_array_length(disks);
    ref->disks = bf_xcalloc(count + 1, sizeof(*ref->disks));
    for (size_t i = 0; i < count; i++) {
        ref->disk_count = i + 1;
        if (read_ref_disk(json_object_array_get_idx(disks, i), &ref->disks[i], err) < 0)
            return -1;
    }
    return 0;
}

int bf_libvirt_ref_read(const char *text, struct bf_libvirt_ref *ret_ref, struct bf_error *err)
{
    bf_auto_json *json = NULL;
    bf_auto_libvirt_ref ref = {0};

    if (bf_json_parse(text, strlen(text), &json, err) < 0 || read_ref(json, &ref, err) < 0)
        return bf_fail_in(err, "snapshot ref");
    *ret_ref = ref;
    ref = (struct bf_libvirt_ref){0};
    return 0;
}

void bf_libvirt_ref_done(struct bf_libvirt_ref *ref)
{
    for (size_t i = 0; i < ref->disk_count; i++) {
        free(ref->disks[i].key);
        free(ref->disks[i].path);
        free(ref->disks[i].format);
        free(ref->disks[i].bitmap);
    }
    free(ref->disks);
    free(ref->machine_id);
    free(ref->tag);
    free(ref->socket);
    free(ref->address);
    *ref = (struct bf_libvirt_ref){0};
}

/* --- baselines --- */

char *bf_libvirt_baseline_write(const struct bf_libvirt_baseline *baseline)
{
    bf_auto_json *json = json_object_new_object();
    struct json_object *disks = json_object_new_array();

    bf_json_add_u64(json, "v", VERSION);
    bf_json_add_string(json, "machine", baseline->machine_id);
    bf_json_add_string(json, "checkpoint", baseline->checkpoint);
    bf_json_add_string(json, "xml", baseline->xml);
    for (size_t i = 0; i < baseline->disk_count; i++) {
        const struct bf_libvirt_baseline_disk *disk = &baseline->disks[i];
        struct json_object *object = json_object_new_object();
        bf_json_add_string(object, "key", disk->key);
        bf_json_add_string(object, "path", disk->path);
        bf_json_add_u64(object, "size", disk->size_bytes);
        bf_json_add_bool(object, "tracked", disk->tracked);
        json_object_array_add(disks, object);
    }
    json_object_object_add(json, "disks", disks);
    return bf_xstrdup(bf_json_text(json));
}

static int read_baseline_disk(struct json_object *json, struct bf_libvirt_baseline_disk *disk,
                              struct bf_error *err)
{
    const char *key, *path = NULL;

    if (bf_json_get_string(json, "disk", "key", &key, err) < 0 ||
        bf_json_opt_string(json, "disk", "path", &path, err) < 0 ||
        bf_json_get_u64(json, "disk", "size", &disk->size_bytes, err) < 0 ||
        bf_json_get_bool(json, "disk", "tracked", &disk->tracked, err) < 0)
        return -1;
    disk->key = bf_xstrdup(key);
    disk->path = bf_xstrdup(path);
    return 0;
}

static int read_baseline(struct json_object *json, struct bf_libvirt_baseline *baseline,
                         struct bf_error *err)
{
    const char *machine, *checkpoint, *xml;
    struct json_object *disks;

    if (check_version(json, "baseline", err) < 0 ||
        bf_json_get_string(json, "", "machine", &machine, err) < 0 ||
        bf_json_get_string(json, "", "checkpoint", &checkpoint, err) < 0 ||
        bf_json_get_string(json, "", "xml", &xml, err) < 0 ||
        bf_json_get_array(json, "", "disks", &disks, err) < 0)
        return -1;
    baseline->machine_id = bf_xstrdup(machine);
    baseline->checkpoint = bf_xstrdup(checkpoint);
    baseline->xml = bf_xstrdup(xml);
    size_t count = json_object_array_length(disks);
    baseline->disks = bf_xcalloc(count + 1, sizeof(*baseline->disks));
    for (size_t i = 0; i < count; i++) {
        baseline->disk_count = i + 1;
        if (read_baseline_disk(json_object_array_get_idx(disks, i), &baseline->disks[i], err) < 0)
            return -1;
    }
    return 0;
}

int bf_libvirt_baseline_read(const char *text, struct bf_libvirt_baseline *ret_baseline,
                             struct bf_error *err)
{
    bf_auto_json *json = NULL;
    bf_auto_libvirt_baseline baseline = {0};

    if (bf_json_parse(text, strlen(text), &json, err) < 0 ||
        read_baseline(json, &baseline, err) < 0)
        return bf_fail_in(err, "baseline");
    *ret_baseline = baseline;
    baseline = (struct bf_libvirt_baseline){0};
    return 0;
}

void bf_libvirt_baseline_done(struct bf_libvirt_baseline *baseline)
{
    for (size_t i = 0; i < baseline->disk_count; i++) {
        free(baseline->disks[i].key);
        free(baseline->disks[i].path);
    }
    free(baseline->disks);
    free(baseline->machine_id);
    free(baseline->checkpoint);
    free(baseline->xml);
    *baseline = (struct bf_libvirt_baseline){0};
}

const struct bf_libvirt_baseline_disk *
bf_libvirt_baseline_disk(const struct bf_libvirt_baseline *baseline, const char *key)
{
    for (size_t i = 0; i < baseline->disk_count; i++) {
        if (bf_streq(baseline->disks[i].key, key))
            return &baseline->disks[i];
    }
    return NULL;
}
