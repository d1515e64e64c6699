/* SPDX-License-Identifier: Apache-2.0 */
/* Plain structs from and to JSON by a table: reading with all checks, writing, merging. */
#include "daemon/members.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/policy.h"

#define MEMBERS_MAX 32
#define NAME_MAX_BYTES 255
#define PATH_MAX_BYTES 4095
#define LIST_MAX 256

/* A member being read: where it is, and what errors call it. */
struct place {
    const struct bf_member *member;
    struct json_object *value;
    char *object;
    const char *path; /* "policy.keep_points" */
};

static void *member_of(const struct place *place)
{
    return place->object + place->member->offset;
}

/* --- checks of single values --- */

static int fail_type(const char *path, const char *expected, struct bf_error *err)
{
    return bf_fail(err, BF_E_BAD_JSON, 0, "%s: expected %s", path, expected);
}

/* A text of the JSON; one with a NUL inside would be cut short. */
static int need_text(struct json_object *value, const char *path, const char **ret_text,
                     struct bf_error *err)
{
    if (!json_object_is_type(value, json_type_string))
        return fail_type(path, "string", err);
    const char *text = json_object_get_string(value);
    if (strlen(text) != (size_t)json_object_get_string_len(value))
        return bf_fail(err, BF_E_BAD_JSON, 0, "%s: the string holds a NUL character", path);
    *ret_text = text;
    return 0;
}

static int check_length(const char *text, const char *path, size_t max, struct bf_error *err)
{
    if (!*text)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: is empty", path);
    if (strlen(text) > max)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: %zu bytes, at most %zu", path, strlen(text),
                       max);
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: holds a control character", path);
    return 0;
}

static int check_name(const char *text, const char *path, struct bf_error *err)
{
    if (check_length(text, path, NAME_MAX_BYTES, err) < 0)
        return -1;
    if (strchr(text, '/'))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: a name cannot hold \"/\"", path);
    return 0;
}

static int check_range(const struct place *place, uint64_t value, struct bf_error *err)
{
    if (value < place->member->min || value > place->member->max)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "%s: %" PRIu64 " is out of range (%" PRIu64 " to %" PRIu64 ")", place->path,
                       value, place->member->min, place->member->max);
    return 0;
}

/* --- reading, one function a kind of value --- */

static int read_number(const struct place *place, struct bf_error *err)
{
    const char *text = NULL;
    uint64_t number = 0;

    if (place->member->type == BF_MEMBER_COUNT) {
        if (!json_object_is_type(place->value, json_type_int))
            return fail_type(place->path, "integer", err);
        if (json_object_get_int64(place->value) < 0)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: must not be negative", place->path);
        number = json_object_get_uint64(place->value);
    } else {
        if (need_text(place->value, place->path, &text, err) < 0)
            return -1;
        int rc = place->member->type == BF_MEMBER_DURATION ? bf_parse_duration(text, &number, err)
                                                           : bf_parse_bytes(text, &number, err);
        if (rc < 0)
            return bf_fail_in(err, "%s", place->path);
    }
    if (check_range(place, number, err) < 0)
        return -1;
    *(uint64_t *)member_of(place) = number;
    return 0;
}

static int read_switch(const struct place *place, struct bf_error *err)
{
    if (!json_object_is_type(place->value, json_type_boolean))
        return fail_type(place->path, "boolean", err);
    *(bool *)member_of(place) = json_object_get_boolean(place->value);
    return 0;
}

static int read_percent(const struct place *place, struct bf_error *err)
{
    const char *text = NULL;
    uint64_t percent = 0;

    if (need_text(place->value, place->path, &text, err) < 0)
        return -1;
    if (bf_streq(text, "all")) {
        percent = 100;
    } else if (!bf_streq(text, "none")) {
        bf_auto_error why = BF_ERROR_INIT;
        bf_auto_free char *digits = bf_xstrdup(text);
        if (!bf_ends_with(text, "%"))
            digits[0] = '\0';
        else
            digits[strlen(digits) - 1] = '\0';
        if (bf_parse_u64(digits, &percent, &why) < 0 || percent < 1 || percent > 100)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: none, all, or 1%% to 100%%", place->path);
    }
    *(uint64_t *)member_of(place) = percent;
    return 0;
}

/* The index of the text among the words. */
static int read_index(const struct place *place, unsigned *ret_index, struct bf_error *err)
{
    bf_auto_buf all = {0};
    const char *text = NULL;

    if (need_text(place->value, place->path, &text, err) < 0)
        return -1;
    for (unsigned i = 0; place->member->words[i]; i++) {
        if (bf_streq(text, place->member->words[i])) {
            *ret_index = i;
            return 0;
        }
        bf_buf_addf(&all, "%s%s", i ? ", " : "", place->member->words[i]);
    }
    return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: must be one of %s", place->path, all.text);
}

static int read_word(const struct place *place, struct bf_error *err)
{
    unsigned index = 0;

    if (read_index(place, &index, err) < 0)
        return -1;
    if (place->member->type == BF_MEMBER_CHOICE)
        memcpy(member_of(place), &index, sizeof(index)); /* an enum, whichever */
    else
        *(char **)member_of(place) = bf_xstrdup(place->member->words[index]);
    return 0;
}

static int read_text(const struct place *place, struct bf_error *err)
{
    const char *text = NULL;
    int rc = 0;

    if (need_text(place->value, place->path, &text, err) < 0)
        return -1;
    if (place->member->type == BF_MEMBER_NAME)
        rc = check_name(text, place->path, err);
    else if (place->member->type == BF_MEMBER_PATTERN)
        rc = bf_boot_pattern_check(text, place->path, err);
    else if ((rc = check_length(text, place->path, PATH_MAX_BYTES, err)) == 0 && *text != '/')
        rc = bf_fail(err, BF_E_BAD_INPUT, 0, "%s: must be an absolute path", place->path);
    if (rc < 0)
        return -1;
    *(char **)member_of(place) = bf_xstrdup(text);
    return 0;
}

static void networks_free(struct bf_network_map *networks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(networks[i].source);
        free(networks[i].target);
    }
    free(networks);
}

static int compare_networks(const void *a, const void *b)
{
    return strcmp(((const struct bf_network_map *)a)->source,
                  ((const struct bf_network_map *)b)->source);
}

static int read_networks(const struct place *place, struct bf_error *err)
{
    if (!json_object_is_type(place->value, json_type_object))
        return fail_type(place->path, "object", err);
    size_t length = (size_t)json_object_object_length(place->value);
    if (length > LIST_MAX)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: %zu networks, at most %d", place->path, length,
                       LIST_MAX);
    if (length == 0)
        return 0; /* as it was initialised */

    struct bf_network_map *networks = bf_xcalloc(length, sizeof(*networks));
    size_t count = 0;
    json_object_object_foreach(place->value, source, value)
    {
        bf_auto_free char *path = bf_xasprintf("%s.%.60s", place->path, source);
        const char *target = NULL;
        if (check_name(source, place->path, err) < 0 || need_text(value, path, &target, err) < 0 ||
            check_name(target, path, err) < 0) {
            networks_free(networks, count);
            return -1;
        }
        networks[count++] = (struct bf_network_map){bf_xstrdup(source), bf_xstrdup(target)};
    }
    qsort(networks, count, sizeof(*networks), compare_networks);
    *(struct bf_network_map **)member_of(place) = networks;
    *(size_t *)(void *)(place->object + place->member->count_offset) = count;
    return 0;
}

static void keys_free(char **keys)
{
    for (char **at = keys; at && *at; at++)
        free(*at);
    free(keys);
}

static bool holds_key(char *const *keys, const char *key)
{
    for (; *keys; keys++)
        if (bf_streq(*keys, key))
            return true;
    return false;
}

static int read_keys(const struct place *place, struct bf_error *err)
{
    if (!json_object_is_type(place->value, json_type_array))
        return fail_type(place->path, "array", err);
    size_t length = json_object_array_length(place->value);
    if (length == 0 || length > LIST_MAX)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: 1 to %d entries, or null for all", place->path,
                       LIST_MAX);

    char **keys = bf_xcalloc(length + 1, sizeof(*keys));
    for (size_t i = 0; i < length; i++) {
        bf_auto_free char *path = bf_xasprintf("%s[%zu]", place->path, i);
        const char *key = NULL;
        if (need_text(json_object_array_get_idx(place->value, i), path, &key, err) < 0 ||
            check_length(key, path, NAME_MAX_BYTES, err) < 0 ||
            (holds_key(keys, key) &&
             bf_fail(err, BF_E_BAD_INPUT, 0, "%s: \"%s\" is named twice", path, key) < 0)) {
            keys_free(keys);
            return -1;
        }
        keys[i] = bf_xstrdup(key);
    }
    *(char ***)member_of(place) = keys;
    return 0;
}

static int read_value(const struct place *place, struct bf_error *err)
{
    switch (place->member->type) {
    case BF_MEMBER_COUNT:
    case BF_MEMBER_DURATION:
    case BF_MEMBER_RATE:
        return read_number(place, err);
    case BF_MEMBER_PERCENT:
        return read_percent(place, err);
    case BF_MEMBER_SWITCH:
        return read_switch(place, err);
    case BF_MEMBER_CHOICE:
    case BF_MEMBER_WORD:
        return read_word(place, err);
    case BF_MEMBER_NAME:
    case BF_MEMBER_PATH:
    case BF_MEMBER_PATTERN:
        return read_text(place, err);
    case BF_MEMBER_WINDOWS:
        return bf_windows_from_json(place->value, place->path, member_of(place), err);
    case BF_MEMBER_NETWORKS:
        return read_networks(place, err);
    case BF_MEMBER_KEYS:
        return read_keys(place, err);
    }
    return 0;
}

/* --- whole structs --- */

static void set_standard(const struct place *place, uint64_t standard)
{
    unsigned index = (unsigned)standard;

    switch (place->member->type) {
    case BF_MEMBER_COUNT:
    case BF_MEMBER_DURATION:
    case BF_MEMBER_RATE:
    case BF_MEMBER_PERCENT:
        *(uint64_t *)member_of(place) = standard;
        break;
    case BF_MEMBER_SWITCH:
        *(bool *)member_of(place) = standard != 0;
        break;
    case BF_MEMBER_CHOICE:
        memcpy(member_of(place), &index, sizeof(index));
        break;
    case BF_MEMBER_WORD:
    case BF_MEMBER_NAME:
    case BF_MEMBER_PATH:
    case BF_MEMBER_PATTERN:
    case BF_MEMBER_WINDOWS:
    case BF_MEMBER_NETWORKS:
    case BF_MEMBER_KEYS:
        break; /* none, as zeroed */
    }
}

void bf_members_init(const struct bf_member_table *table, void *object)
{
    memset(object, 0, table->size);
    for (size_t i = 0; i < table->count; i++)
        set_standard(&(struct place){.member = &table->members[i], .object = object},
                     table->members[i].standard);
}

static void member_done(const struct place *place)
{
    switch (place->member->type) {
    case BF_MEMBER_COUNT:
    case BF_MEMBER_DURATION:
    case BF_MEMBER_RATE:
    case BF_MEMBER_PERCENT:
    case BF_MEMBER_SWITCH:
    case BF_MEMBER_CHOICE:
        break;
    case BF_MEMBER_WORD:
    case BF_MEMBER_NAME:
    case BF_MEMBER_PATH:
    case BF_MEMBER_PATTERN:
        free(*(char **)member_of(place));
        break;
    case BF_MEMBER_WINDOWS:
        bf_windows_done(member_of(place));
        break;
    case BF_MEMBER_NETWORKS:
        networks_free(*(struct bf_network_map **)member_of(place),
                      *(size_t *)(void *)(place->object + place->member->count_offset));
        break;
    case BF_MEMBER_KEYS:
        keys_free(*(char ***)member_of(place));
        break;
    }
}

void bf_members_done(const struct bf_member_table *table, void *object)
{
    for (size_t i = 0; i < table->count; i++)
        member_done(&(struct place){.member = &table->members[i], .object = object});
    memset(object, 0, table->size);
}

static int check_known(const struct bf_member_table *table, struct json_object *json,
                       struct bf_error *err)
{
    const char *known[MEMBERS_MAX + 1] = {NULL};

    assert(table->count <= MEMBERS_MAX);
    for (size_t i = 0; i < table->count; i++)
        known[i] = table->members[i].name;
    return bf_json_check_fields(json, table->noun, known, err);
}

static int read_member(const struct bf_member_table *table, const struct bf_member *member,
                       struct json_object *json, void *object, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s.%s", table->noun, member->name);
    struct place place = {.member = member, .object = object, .path = path};

    if (!json_object_object_get_ex(json, member->name, &place.value))
        return 0;
    if (place.value)
        return read_value(&place, err);
    if (member->can_be_none)
        set_standard(&place, 0);
    return 0;
}

int bf_members_read(const struct bf_member_table *table, struct json_object *json, void *ret_object,
                    struct bf_error *err)
{
    bf_auto_free void *object = bf_xcalloc(1, table->size);

    bf_members_init(table, object);
    if (json) {
        if (check_known(table, json, err) < 0)
            return -1;
        for (size_t i = 0; i < table->count; i++) {
            if (read_member(table, &table->members[i], json, object, err) < 0) {
                bf_members_done(table, object);
                return -1;
            }
        }
    }
    memcpy(ret_object, object, table->size);
    return 0;
}

/* The largest unit that divides it, so that reading gives the same number back. */
static struct json_object *number_text(uint64_t number, const uint64_t *units, const char *letters)
{
    size_t i = 0;
    while (letters[i] && number % units[i])
        i++;
    bf_auto_free char *text = letters[i]
                                  ? bf_xasprintf("%" PRIu64 "%c", number / units[i], letters[i])
                                  : bf_xasprintf("%" PRIu64, number);
    return json_object_new_string(text);
}

static struct json_object *write_number(const struct place *place, uint64_t number)
{
    static const uint64_t seconds[] = {86400, 3600, 60, 1};
    static const uint64_t bytes[] = {UINT64_C(1) << 40, 1 << 30, 1 << 20, 1 << 10};

    if (number == 0 && place->member->can_be_none)
        return NULL;
    if (place->member->type == BF_MEMBER_DURATION)
        return number_text(number, seconds, "dhms");
    if (place->member->type == BF_MEMBER_RATE)
        return number_text(number, bytes, "TGMK");
    return json_object_new_uint64(number);
}

static struct json_object *write_percent(uint64_t percent)
{
    bf_auto_free char *text = bf_xasprintf("%" PRIu64 "%%", percent);
    return json_object_new_string(percent == 0 ? "none" : percent == 100 ? "all" : text);
}

static struct json_object *write_networks(const struct bf_network_map *networks, size_t count)
{
    struct json_object *object = json_object_new_object();
    for (size_t i = 0; i < count; i++)
        bf_json_add_string(object, networks[i].source, networks[i].target);
    return object;
}

static struct json_object *write_keys(char *const *keys)
{
    if (!keys)
        return NULL;
    struct json_object *array = json_object_new_array();
    for (; *keys; keys++)
        json_object_array_add(array, json_object_new_string(*keys));
    return array;
}

/* NULL is JSON's null. */
static struct json_object *write_value(const struct place *place)
{
    const void *member = member_of(place);
    unsigned index = 0;

    switch (place->member->type) {
    case BF_MEMBER_COUNT:
    case BF_MEMBER_DURATION:
    case BF_MEMBER_RATE:
        return write_number(place, *(const uint64_t *)member);
    case BF_MEMBER_PERCENT:
        return write_percent(*(const uint64_t *)member);
    case BF_MEMBER_SWITCH:
        return json_object_new_boolean(*(const bool *)member);
    case BF_MEMBER_CHOICE:
        memcpy(&index, member, sizeof(index));
        return json_object_new_string(place->member->words[index]);
    case BF_MEMBER_WORD:
    case BF_MEMBER_NAME:
    case BF_MEMBER_PATH:
    case BF_MEMBER_PATTERN: {
        const char *text = *(char *const *)member;
        return text ? json_object_new_string(text) : NULL;
    }
    case BF_MEMBER_WINDOWS:
        return bf_windows_to_json(member);
    case BF_MEMBER_NETWORKS:
        return write_networks(
            *(struct bf_network_map *const *)member,
            *(const size_t *)(const void *)(place->object + place->member->count_offset));
    case BF_MEMBER_KEYS:
        return write_keys(*(char **const *)member);
    }
    return NULL;
}

struct json_object *bf_members_write(const struct bf_member_table *table, const void *object)
{
    struct json_object *json = json_object_new_object();
    /* A place is for reading and writing alike; nothing below writes to the object. */
    bf_auto_free char *copy = bf_xcalloc(1, table->size);
    memcpy(copy, object, table->size);
    for (size_t i = 0; i < table->count; i++) {
        struct place place = {.member = &table->members[i], .object = copy};
        json_object_object_add(json, table->members[i].name, write_value(&place));
    }
    return json;
}

/* Through JSON, so that what a merge makes was read and checked like everything else. */
int bf_members_merge(const struct bf_member_table *table, void *object, struct json_object *patch,
                     struct bf_error *err)
{
    bf_auto_json *json = bf_members_write(table, object);
    bf_auto_free void *merged = bf_xcalloc(1, table->size);

    if (!patch)
        return 0;
    if (check_known(table, patch, err) < 0)
        return -1;
    json_object_object_foreach(patch, key, value)
    {
        json_object_object_add(json, key, json_object_get(value));
    }
    if (bf_members_read(table, json, merged, err) < 0)
        return -1;
    bf_members_done(table, object);
    memcpy(object, merged, table->size);
    return 0;
}
