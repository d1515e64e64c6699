/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/hive.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"

#define NAME_MAX_LENGTH 256
#define TEXT_MAX 65536

static int fail(struct bf_hive *hive, const char *what, struct bf_error *err)
{
    /* hivex says what it thinks of a damaged hive by errno only. */
    return bf_fail(err, BF_E_GUEST_REGISTRY, errno, "%s of the hive %s", what, hive->name);
}

int bf_hive_open(struct bf_hive *hive, const char *name, struct json_object *changes,
                 struct bf_error *err)
{
    *hive = (struct bf_hive){.name = name, .changes = changes};
    hive->h = hivex_open(name, changes ? HIVEX_OPEN_WRITE : 0);
    if (!hive->h)
        return fail(hive, "opening", err);
    if (hivex_root(hive->h) == 0)
        return fail(hive, "the root", err);
    return 0;
}

int bf_hive_save(struct bf_hive *hive, struct bf_error *err)
{
    if (hive->change_count > 0 && hivex_commit(hive->h, NULL, 0) < 0)
        return fail(hive, "writing", err);
    return 0;
}

void bf_hive_close(struct bf_hive *hive)
{
    if (hive->h)
        hivex_close(hive->h);
    *hive = (struct bf_hive){0};
}

hive_node_h bf_hive_root(struct bf_hive *hive)
{
    return hivex_root(hive->h);
}

/* The first part of a path, and what follows. */
static const char *split(const char *path, char *name)
{
    size_t length = strcspn(path, "\\");

    if (length >= NAME_MAX_LENGTH)
        length = NAME_MAX_LENGTH - 1;
    memcpy(name, path, length);
    name[length] = '\0';
    path += length;
    return *path ? path + 1 : path;
}

hive_node_h bf_hive_find(struct bf_hive *hive, hive_node_h from, const char *path)
{
    char name[NAME_MAX_LENGTH];

    while (from && *path) {
        path = split(path, name);
        from = hivex_node_get_child(hive->h, from, name);
    }
    return from;
}

char *bf_hive_key_name(struct bf_hive *hive, hive_node_h node)
{
    return hivex_node_name(hive->h, node);
}

static hive_value_h find_value(struct bf_hive *hive, hive_node_h node, const char *value,
                               hive_type *ret_type, size_t *ret_size)
{
    hive_value_h found = node ? hivex_node_get_value(hive->h, node, value) : 0;

    if (!found || hivex_value_type(hive->h, found, ret_type, ret_size) < 0)
        return 0;
    return found;
}

static bool is_text(hive_type type)
{
    return type == hive_t_string || type == hive_t_expand_string;
}

char *bf_hive_string(struct bf_hive *hive, hive_node_h node, const char *value)
{
    hive_type type;
    size_t size;
    hive_value_h found = find_value(hive, node, value, &type, &size);
    char *text;

    if (!found || !is_text(type) || size > TEXT_MAX)
        return NULL;
    text = hivex_value_string(hive->h, found);
    if (text)
        bf_text_clean(text, false);
    return text;
}

char **bf_hive_strings(struct bf_hive *hive, hive_node_h node, const char *value)
{
    hive_type type;
    size_t size;
    hive_value_h found = find_value(hive, node, value, &type, &size);
    char **texts = NULL;

    if (found && type == hive_t_multiple_strings && size <= TEXT_MAX) {
        texts = hivex_value_multiple_strings(hive->h, found);
        for (size_t i = 0; texts && texts[i]; i++)
            bf_text_clean(texts[i], false);
    }
    if (!texts) {
        texts = bf_xcalloc(2, sizeof(*texts));
        texts[0] = bf_hive_string(hive, node, value);
    }
    return texts;
}

void bf_hive_strings_free(char **strings)
{
    for (size_t i = 0; strings && strings[i]; i++)
        free(strings[i]);
    free(strings);
}

bool bf_hive_dword(struct bf_hive *hive, hive_node_h node, const char *value, uint32_t *ret_number)
{
    hive_type type;
    size_t size;
    hive_value_h found = find_value(hive, node, value, &type, &size);

    if (!found || type != hive_t_dword || size != sizeof(*ret_number))
        return false;
    *ret_number = (uint32_t)hivex_value_dword(hive->h, found);
    return true;
}

void bf_hive_each(struct bf_hive *hive, hive_node_h node,
                  void (*each)(struct bf_hive *hive, hive_node_h key, const char *name, void *user),
                  void *user)
{
    bf_auto_free hive_node_h *keys = node ? hivex_node_children(hive->h, node) : NULL;

    for (size_t i = 0; keys && keys[i]; i++) {
        bf_auto_free char *name = hivex_node_name(hive->h, keys[i]);

        if (!name)
            continue;
        bf_text_clean(name, false);
        each(hive, keys[i], name, user);
    }
}

/* "SYSTEM\ControlSet001\...": what people look for in the registry editor. */
static char *path_of(struct bf_hive *hive, hive_node_h node)
{
    char *path = bf_xstrdup("");
    hive_node_h root = hivex_root(hive->h);

    while (node && node != root) {
        bf_auto_free char *name = hivex_node_name(hive->h, node);
        char *longer = bf_xasprintf("\\%s%s", name ? name : "?", path);

        free(path);
        path = longer;
        node = hivex_node_parent(hive->h, node);
    }
    return path;
}

/* One text for a key, with the names of its values that were set in one go. */
static void note(struct bf_hive *hive, hive_node_h node, const char *value)
{
    size_t last = json_object_array_length(hive->changes);
    bf_auto_free char *text = NULL;

    if (node == hive->noted && last > 0) {
        text = bf_xasprintf(
            "%s, %s", json_object_get_string(json_object_array_get_idx(hive->changes, --last)),
            value);
    } else {
        bf_auto_free char *path = path_of(hive, node);

        text = bf_xasprintf("%s%s: %s", hive->name, path, *value ? value : "(default)");
    }
    bf_text_clean(text, false);
    json_object_array_put_idx(hive->changes, last, json_object_new_string(text));
    hive->noted = node;
    hive->change_count++;
}

int bf_hive_make(struct bf_hive *hive, hive_node_h from, const char *path, hive_node_h *ret_node,
                 struct bf_error *err)
{
    char name[NAME_MAX_LENGTH];

    while (*path) {
        hive_node_h child;

        path = split(path, name);
        child = hivex_node_get_child(hive->h, from, name);
        if (!child) {
            child = hivex_node_add_child(hive->h, from, name);
            if (!child)
                return fail(hive, name, err);
            hive->change_count++;
        }
        from = child;
    }
    *ret_node = from;
    return 0;
}

int bf_hive_remove(struct bf_hive *hive, hive_node_h from, const char *path, struct bf_error *err)
{
    hive_node_h node = bf_hive_find(hive, from, path);

    if (!node)
        return 0;
    note(hive, node, "removed");
    hive->noted = 0;
    if (hivex_node_delete_child(hive->h, node) < 0)
        return fail(hive, path, err);
    return 0;
}

int bf_hive_set(struct bf_hive *hive, hive_node_h node, const char *value, hive_type type,
                const void *data, size_t size, struct bf_error *err)
{
    bf_auto_free char *key = bf_xstrdup(value);
    bf_auto_free char *copy = bf_xcalloc(1, size ? size : 1);
    struct hive_set_value set = {.key = key, .t = type, .len = size, .value = copy};
    hive_type old_type;
    size_t old_size = 0;
    hive_value_h found = find_value(hive, node, value, &old_type, &old_size);

    memcpy(copy, data, size);
    if (found && old_type == type && old_size == size) {
        bf_auto_free char *old = hivex_value_value(hive->h, found, &old_type, &old_size);

        if (old && old_size == size && memcmp(old, data, size) == 0)
            return 0;
    }
    note(hive, node, value);
    if (hivex_node_set_value(hive->h, node, &set, 0) < 0)
        return fail(hive, value, err);
    return 0;
}

/* ASCII to UTF-16 with its NUL; caller frees. */
static char *widen(const char *text, size_t *ret_size)
{
    size_t length = strlen(text);
    char *wide = bf_xcalloc(length + 1, 2);

    for (size_t i = 0; i < length; i++)
        wide[2 * i] = text[i];
    *ret_size = 2 * (length + 1);
    return wide;
}

int bf_hive_set_text(struct bf_hive *hive, hive_node_h node, const char *value, hive_type type,
                     const char *text, struct bf_error *err)
{
    size_t size;
    bf_auto_free char *wide = widen(text, &size);

    return bf_hive_set(hive, node, value, type, wide, size, err);
}

int bf_hive_set_dword(struct bf_hive *hive, hive_node_h node, const char *value, uint32_t number,
                      struct bf_error *err)
{
    uint32_t little = htole32(number);

    return bf_hive_set(hive, node, value, hive_t_dword, &little, sizeof(little), err);
}

int bf_hive_append_text(struct bf_hive *hive, hive_node_h node, const char *value, const char *text,
                        struct bf_error *err)
{
    hive_type type = hive_t_expand_string;
    size_t size = 0, tail_size;
    hive_value_h found = find_value(hive, node, value, &type, &size);
    bf_auto_free char *shown = bf_hive_string(hive, node, value);
    bf_auto_free char *tail = widen(text, &tail_size);
    bf_auto_free char *old = NULL, *joined = NULL;

    if (found && (!is_text(type) || size > TEXT_MAX || !shown))
        return bf_fail(err, BF_E_GUEST_REGISTRY, 0, "%s of the hive %s is no text", value,
                       hive->name);
    if (shown && strcasestr(shown, text))
        return 0;
    if (found)
        old = hivex_value_value(hive->h, found, &type, &size);
    /* The raw bytes stay as they are, whatever characters they hold; only their NUL goes. */
    while (old && size >= 2 && old[size - 1] == 0 && old[size - 2] == 0)
        size -= 2;
    if (!old)
        size = 0;
    joined = bf_xcalloc(1, size + tail_size);
    if (old)
        memcpy(joined, old, size);
    memcpy(joined + size, tail, tail_size);
    /* What is appended names %SystemRoot%, so the text must be one that Windows expands. */
    return bf_hive_set(hive, node, value, hive_t_expand_string, joined, size + tail_size, err);
}
