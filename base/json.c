/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: parsing, typed getters, writers. */
#include "base/json.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json_lex.h"
#include "base/text.h"

#define DEPTH_MAX 64
#define SIZE_MAX_BYTES ((size_t)64 * 1024 * 1024)

static void free_tokener_at(struct json_tokener *const *at)
{
    if (*at)
        json_tokener_free(*at);
}

int bf_json_parse(const char *text, size_t length, struct json_object **ret_value,
                  struct bf_error *err)
{
    __attribute__((cleanup(free_tokener_at))) struct json_tokener *tokener = NULL;
    struct json_object *value;
    const char *wrong;
    size_t at = 0;

    if (length > SIZE_MAX_BYTES)
        return bf_fail(err, BF_E_TOO_LARGE, 0, "JSON of %zu bytes, at most %zu are taken", length,
                       SIZE_MAX_BYTES);
    if (!bf_utf8_valid(text, length)) /* json-c's own check takes surrogates */
        return bf_fail(err, BF_E_BAD_JSON, 0, "the text is not UTF-8");
    wrong = bf_json_lex(text, length, &at);
    if (wrong)
        return bf_fail(err, BF_E_BAD_JSON, 0, "%s at byte %zu", wrong, at);
    tokener = json_tokener_new_ex(DEPTH_MAX);
    if (!tokener)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "cannot parse JSON");
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    value = json_tokener_parse_ex(tokener, text, (int)length);
    /* A number at the end of the text is complete only when the parser is told that it ends. */
    if (json_tokener_get_error(tokener) == json_tokener_continue)
        value = json_tokener_parse_ex(tokener, "", 1);
    if (json_tokener_get_error(tokener) == json_tokener_continue)
        return bf_fail(err, BF_E_BAD_JSON, 0, "the text ends too early (after %zu bytes)", length);
    if (json_tokener_get_error(tokener) != json_tokener_success)
        return bf_fail(err, BF_E_BAD_JSON, 0, "%s at byte %zu",
                       json_tokener_error_desc(json_tokener_get_error(tokener)),
                       json_tokener_get_parse_end(tokener));
    *ret_value = value;
    return 0;
}

int bf_json_read_file(const char *path, struct json_object **ret_value, struct bf_error *err)
{
    bf_auto_free char *text = NULL;
    size_t length;

    if (bf_file_read(path, SIZE_MAX_BYTES, &text, &length, err) < 0)
        return -1;
    if (bf_json_parse(text, length, ret_value, err) < 0)
        return bf_fail_in(err, "%s", path);
    return 0;
}

const char *bf_json_text(struct json_object *value)
{
    return json_object_to_json_string_ext(value,
                                          JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

static const char *type_text(enum json_type type)
{
    switch (type) {
    case json_type_null:
        return "null";
    case json_type_boolean:
        return "boolean";
    case json_type_double:
        return "fraction";
    case json_type_int:
        return "integer";
    case json_type_object:
        return "object";
    case json_type_array:
        return "array";
    case json_type_string:
        return "string";
    default:
        return "unknown";
    }
}

/* What a getter is asked for; the public functions below only fill it. */
struct want {
    struct json_object *object;
    const char *path;
    const char *key;
    enum json_type type;
    bool required;
};

static int fail_field(const struct want *want, struct bf_error *err, const char *text)
{
    const char *path = want->path ? want->path : "";

    return bf_fail(err, BF_E_BAD_JSON, 0, "%s%s%s: %s", path, *path ? "." : "", want->key, text);
}

/* 1: found, 0: absent and optional, -1: error. */
static int find(const struct want *want, struct json_object **ret_value, struct bf_error *err)
{
    const char *path = want->path && *want->path ? want->path : "document";
    struct json_object *value = NULL;
    char text[64];

    if (!json_object_is_type(want->object, json_type_object))
        return bf_fail(err, BF_E_BAD_JSON, 0, "%s: expected object, found %s", path,
                       type_text(json_object_get_type(want->object)));
    if (!json_object_object_get_ex(want->object, want->key, &value) || !value) {
        if (!want->required)
            return 0;
        return fail_field(want, err, "missing");
    }
    if (!json_object_is_type(value, want->type)) {
        snprintf(text, sizeof(text), "expected %s, found %s", type_text(want->type),
                 type_text(json_object_get_type(value)));
        return fail_field(want, err, text);
    }
    *ret_value = value;
    return 1;
}

static int get_string(const struct want *want, const char **value_io, struct bf_error *err)
{
    struct json_object *value = NULL;
    int found = find(want, &value, err);
    const char *text;

    if (found <= 0)
        return found;
    text = json_object_get_string(value);
    if (strlen(text) != (size_t)json_object_get_string_len(value))
        return fail_field(want, err, "the string holds a NUL character");
    *value_io = text;
    return 0;
}

static int get_u64(const struct want *want, uint64_t *value_io, struct bf_error *err)
{
    struct json_object *value = NULL;
    int found = find(want, &value, err);

    if (found <= 0)
        return found;
    /* As uint64 a negative number would read as 0; as int64 a large one as 2^63-1. */
    if (json_object_get_int64(value) < 0)
        return fail_field(want, err, "must not be negative");
    *value_io = json_object_get_uint64(value);
    return 0;
}

static int get_bool(const struct want *want, bool *value_io, struct bf_error *err)
{
    struct json_object *value = NULL;
    int found = find(want, &value, err);

    if (found <= 0)
        return found;
    *value_io = json_object_get_boolean(value);
    return 0;
}

static int get_node(const struct want *want, struct json_object **value_io, struct bf_error *err)
{
    int found = find(want, value_io, err);

    return found < 0 ? -1 : 0;
}

int bf_json_get_string(struct json_object *object, const char *path, const char *key,
                       const char **ret_text, struct bf_error *err)
{
    return get_string(&(struct want){object, path, key, json_type_string, true}, ret_text, err);
}

int bf_json_get_u64(struct json_object *object, const char *path, const char *key,
                    uint64_t *ret_value, struct bf_error *err)
{
    return get_u64(&(struct want){object, path, key, json_type_int, true}, ret_value, err);
}

int bf_json_get_bool(struct json_object *object, const char *path, const char *key, bool *ret_value,
                     struct bf_error *err)
{
    return get_bool(&(struct want){object, path, key, json_type_boolean, true}, ret_value, err);
}

int bf_json_get_object(struct json_object *object, const char *path, const char *key,
                       struct json_object **ret_value, struct bf_error *err)
{
    return get_node(&(struct want){object, path, key, json_type_object, true}, ret_value, err);
}

int bf_json_get_array(struct json_object *object, const char *path, const char *key,
                      struct json_object **ret_value, struct bf_error *err)
{
    return get_node(&(struct want){object, path, key, json_type_array, true}, ret_value, err);
}

int bf_json_opt_string(struct json_object *object, const char *path, const char *key,
                       const char **value_io, struct bf_error *err)
{
    return get_string(&(struct want){object, path, key, json_type_string, false}, value_io, err);
}

int bf_json_opt_u64(struct json_object *object, const char *path, const char *key,
                    uint64_t *value_io, struct bf_error *err)
{
    return get_u64(&(struct want){object, path, key, json_type_int, false}, value_io, err);
}

int bf_json_opt_bool(struct json_object *object, const char *path, const char *key, bool *value_io,
                     struct bf_error *err)
{
    return get_bool(&(struct want){object, path, key, json_type_boolean, false}, value_io, err);
}

int bf_json_opt_object(struct json_object *object, const char *path, const char *key,
                       struct json_object **value_io, struct bf_error *err)
{
    return get_node(&(struct want){object, path, key, json_type_object, false}, value_io, err);
}

int bf_json_opt_array(struct json_object *object, const char *path, const char *key,
                      struct json_object **value_io, struct bf_error *err)
{
    return get_node(&(struct want){object, path, key, json_type_array, false}, value_io, err);
}

int bf_json_check_fields(struct json_object *object, const char *path, const char *const *known,
                         struct bf_error *err)
{
    if (!json_object_is_type(object, json_type_object))
        return bf_fail(err, BF_E_BAD_JSON, 0, "%s: expected object, found %s",
                       path && *path ? path : "document", type_text(json_object_get_type(object)));
    json_object_object_foreach(object, key, value)
    {
        const char *const *at = known;

        (void)value;
        while (*at && !bf_streq(*at, key))
            at++;
        if (!*at)
            return bf_fail(err, BF_E_BAD_JSON, 0, "%s%s%.60s: unknown field", path ? path : "",
                           path && *path ? "." : "", key);
    }
    return 0;
}

/* Takes over `value`.  json-c fails only when memory is out; see bf_xcalloc(). */
static void add(struct json_object *object, const char *key, struct json_object *value)
{
    if (!value || json_object_object_add(object, key, value) < 0)
        abort();
}

void bf_json_add_string(struct json_object *object, const char *key, const char *text)
{
    bf_auto_free char *clean = NULL;

    if (!text) {
        if (json_object_object_add(object, key, NULL) < 0)
            abort();
        return;
    }
    /* json-c writes bytes as they are; a guest's or platform's odd ones would break the reader. */
    if (!bf_utf8_valid(text, strlen(text))) {
        clean = bf_xstrdup(text);
        bf_text_clean(clean, true);
        text = clean;
    }
    add(object, key, json_object_new_string(text));
}

void bf_json_add_u64(struct json_object *object, const char *key, uint64_t value)
{
    add(object, key, json_object_new_uint64(value));
}

void bf_json_add_i64(struct json_object *object, const char *key, int64_t value)
{
    add(object, key, json_object_new_int64(value));
}

void bf_json_add_bool(struct json_object *object, const char *key, bool value)
{
    add(object, key, json_object_new_boolean(value));
}

void bf_json_add_utc(struct json_object *object, const char *key, int64_t utc_us)
{
    char text[BF_UTC_LENGTH + 1];

    if (utc_us)
        bf_utc_format(utc_us, text);
    bf_json_add_string(object, key, utc_us ? text : NULL);
}

struct json_object *bf_json_error(const struct bf_error *error)
{
    struct json_object *object = json_object_new_object();

    if (!object)
        abort();
    bf_json_add_string(object, "code", bf_error_id(error->code));
    bf_json_add_string(object, "kind", bf_kind_to_string(bf_error_kind(error->code)));
    bf_json_add_string(object, "message", error->message);
    bf_json_add_string(object, "cause", bf_error_cause(error->code));
    bf_json_add_string(object, "fix", bf_error_fix(error->code));
    bf_json_add_bool(object, "retry", bf_error_retry_safe(error->code));
    bf_json_add_string(object, "evidence", error->evidence);
    return object;
}

int bf_json_to_error(struct json_object *value, struct bf_error *ret_error)
{
    const char *id = NULL, *message = "", *evidence = NULL;
    bf_auto_error trouble = BF_ERROR_INIT;
    enum bf_error_code code;

    if (bf_json_get_string(value, "error", "code", &id, &trouble) < 0 ||
        bf_json_opt_string(value, "error", "message", &message, &trouble) < 0 ||
        bf_json_opt_string(value, "error", "evidence", &evidence, &trouble) < 0)
        return -1;
    code = bf_error_from_id(id);
    if (code == BF_OK)
        return -1;
    bf_error_clear(ret_error);
    bf_fail(ret_error, code, 0, "%s", message);
    bf_error_evidence(ret_error, evidence);
    return 0;
}
