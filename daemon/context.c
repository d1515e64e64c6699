/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/context.h"

#include <string.h>

#include "base/json.h"

static struct json_object *child(struct json_object *parent, const char *key, enum json_type type)
{
    struct json_object *value = NULL;

    if (!parent || !json_object_object_get_ex(parent, key, &value))
        return NULL;
    return json_object_is_type(value, type) ? value : NULL;
}

struct json_object *bf_context_object(struct json_object *parent, const char *key)
{
    struct json_object *value = child(parent, key, json_type_object);

    if (!value) {
        value = json_object_new_object();
        json_object_object_add(parent, key, value);
    }
    return value;
}

struct json_object *bf_context_array(struct json_object *parent, const char *key)
{
    struct json_object *value = child(parent, key, json_type_array);

    if (!value) {
        value = json_object_new_array();
        json_object_object_add(parent, key, value);
    }
    return value;
}

const char *bf_context_text(struct json_object *parent, const char *key)
{
    struct json_object *value = child(parent, key, json_type_string);

    return value ? json_object_get_string(value) : NULL;
}

uint64_t bf_context_u64(struct json_object *parent, const char *key)
{
    struct json_object *value = child(parent, key, json_type_int);

    return value ? json_object_get_uint64(value) : 0;
}

int64_t bf_context_i64(struct json_object *parent, const char *key)
{
    struct json_object *value = child(parent, key, json_type_int);

    return value ? json_object_get_int64(value) : 0;
}

bool bf_context_bool(struct json_object *parent, const char *key)
{
    struct json_object *value = child(parent, key, json_type_boolean);

    return value && json_object_get_boolean(value);
}

int bf_context_need(struct json_object *parent, const char *key, const char **ret_text,
                    struct bf_error *err)
{
    const char *text = bf_context_text(parent, key);

    if (!text)
        return bf_fail(err, BF_E_INTERNAL, 0, "the job does not know its '%s'", key);
    *ret_text = text;
    return 0;
}

static struct json_object *parse(const char *text, enum json_type type)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct json_object *value = NULL;

    if (text && bf_json_parse(text, strlen(text), &value, &err) == 0) {
        if (json_object_is_type(value, type))
            return value;
        json_object_put(value);
    }
    return type == json_type_array ? json_object_new_array() : json_object_new_object();
}

struct json_object *bf_context_parse(const char *text)
{
    return parse(text, json_type_object);
}

struct json_object *bf_context_parse_array(const char *text)
{
    return parse(text, json_type_array);
}
