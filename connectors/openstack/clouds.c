/* SPDX-License-Identifier: Apache-2.0 */
/* clouds.yaml, as the OpenStack tools write it.
 *
 * The service reads the file as its own user, but the path comes in through the API: so it must be
 * a plain file of the service's user or root that nobody else can write, and no byte of a file that
 * is not of this form appears in a message.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cloud.h"

#define FILE_MAX ((off_t)1 << 20)
#define NODES_MAX 10000 /* also of aliases, each time they are used */
#define DEPTH_MAX 12

static int open_checked(const char *path, bool optional, FILE **ret_file, struct bf_error *err)
{
    struct stat st;
    bf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);

    if (fd < 0 && errno == ENOENT && optional)
        return 0;
    if (fd < 0)
        return bf_fail(err, BF_E_BAD_INPUT, errno, "options.clouds_yaml: %s", path);
    if (fstat(fd, &st) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "%s", path);
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.clouds_yaml: %s is not a file of at most 1 MiB", path);
    if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.clouds_yaml: %s must belong to root or the service's user and be "
                       "writable by nobody else",
                       path);
    *ret_file = fdopen(fd, "r");
    if (!*ret_file)
        return bf_fail(err, BF_E_SYSTEM, errno, "%s", path);
    fd = -1;
    return 0;
}

struct convert {
    yaml_document_t *document;
    unsigned nodes;
    bool bad;
};

static struct json_object *convert_node(struct convert *convert, int index, unsigned depth)
{
    const yaml_node_t *node = yaml_document_get_node(convert->document, index);
    struct json_object *json;

    if (!node || depth > DEPTH_MAX || ++convert->nodes > NODES_MAX) {
        convert->bad = true;
        return NULL;
    }
    if (node->type == YAML_SEQUENCE_NODE) {
        json = json_object_new_array();
        for (const int *at = node->data.sequence.items.start; at < node->data.sequence.items.top;
             at++)
            json_object_array_add(json, convert_node(convert, *at, depth + 1));
        return json;
    }
    if (node->type != YAML_MAPPING_NODE)
        return node->type == YAML_SCALAR_NODE
                   ? json_object_new_string((const char *)node->data.scalar.value)
                   : NULL;
    json = json_object_new_object();
    for (const yaml_node_pair_t *at = node->data.mapping.pairs.start;
         at < node->data.mapping.pairs.top; at++) {
        const yaml_node_t *key = yaml_document_get_node(convert->document, at->key);

        if (!key || key->type != YAML_SCALAR_NODE)
            continue;
        json_object_object_add(json, (const char *)key->data.scalar.value,
                               convert_node(convert, at->value, depth + 1));
    }
    return json;
}

/* *ret_json stays NULL when an optional file is not there. */
static int read_yaml(const char *path, bool optional, struct json_object **ret_json,
                     struct bf_error *err)
{
    bf_auto_file FILE *file = NULL;
    yaml_parser_t parser;
    yaml_document_t document;
    struct convert convert = {.document = &document};

    if (open_checked(path, optional, &file, err) < 0)
        return -1;
    if (!file)
        return 0;
    if (!yaml_parser_initialize(&parser))
        return bf_fail(err, BF_E_NO_MEMORY, 0, "%s", path);
    yaml_parser_set_input_file(&parser, file);
    if (!yaml_parser_load(&parser, &document)) {
        yaml_parser_delete(&parser);
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.clouds_yaml: %s is not YAML", path);
    }
    bf_auto_json *json =
        yaml_document_get_root_node(&document) ? convert_node(&convert, 1, 0) : NULL;
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
    if (convert.bad || !json_object_is_type(json, json_type_object))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.clouds_yaml: %s is not a clouds.yaml",
                       path);
    *ret_json = bf_steal(json);
    return 0;
}

/* What `over` has replaces or is added, mappings member by member. */
static void merge(struct json_object *into, struct json_object *over)
{
    json_object_object_foreach(over, key, value)
    {
        struct json_object *present = NULL;

        if (json_object_is_type(value, json_type_object) &&
            json_object_object_get_ex(into, key, &present) &&
            json_object_is_type(present, json_type_object))
            merge(present, value);
        else
            json_object_object_add(into, key, json_object_get(value));
    }
}

int bf_clouds_yaml_read(const char *path, const char *cloud, struct json_object **ret_entry,
                        struct bf_error *err)
{
    const char *slash = strrchr(path, '/');
    bf_auto_free char *secure_path =
        bf_xasprintf("%.*s/secure.yaml", slash ? (int)(slash - path) : 0, path);
    bf_auto_json *clouds = NULL;
    bf_auto_json *secure = NULL;
    struct json_object *all = NULL, *entry = NULL;

    if (path[0] != '/')
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.clouds_yaml: expected an absolute path");
    if (read_yaml(path, false, &clouds, err) < 0 || read_yaml(secure_path, true, &secure, err) < 0)
        return -1;
    if (secure)
        merge(clouds, secure);
    if (!json_object_object_get_ex(clouds, "clouds", &all) ||
        !json_object_is_type(all, json_type_object) ||
        !json_object_object_get_ex(all, cloud, &entry) ||
        !json_object_is_type(entry, json_type_object))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s has no cloud of this name", path);
    *ret_entry = json_object_get(entry);
    return 0;
}
