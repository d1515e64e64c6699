/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of answers: a field that is missing, null or of another type is "not there". */
#include "base/text.h"
#include "cli/cli.h"

static struct json_object *field(struct json_object *object, const char *key, enum json_type type)
{
    struct json_object *value = NULL;

    if (json_object_get_type(object) != json_type_object ||
        !json_object_object_get_ex(object, key, &value) || json_object_get_type(value) != type)
        return NULL;
    return value;
}

const char *bf_cli_text(struct json_object *object, const char *key)
{
    struct json_object *value = field(object, key, json_type_string);

    return value ? json_object_get_string(value) : NULL;
}

const char *bf_cli_text_or(struct json_object *object, const char *key, const char *other)
{
    const char *text = bf_cli_text(object, key);

    return text ? text : other;
}

bool bf_cli_number(struct json_object *object, const char *key, double *ret_value)
{
    struct json_object *value = field(object, key, json_type_int);

    if (!value)
        value = field(object, key, json_type_double);
    if (!value)
        return false;
    *ret_value = json_object_get_double(value);
    return true;
}

uint64_t bf_cli_u64(struct json_object *object, const char *key)
{
    struct json_object *value = field(object, key, json_type_int);

    return value ? json_object_get_uint64(value) : 0;
}

bool bf_cli_bool(struct json_object *object, const char *key)
{
    struct json_object *value = field(object, key, json_type_boolean);

    return value && json_object_get_boolean(value);
}

struct json_object *bf_cli_object(struct json_object *object, const char *key)
{
    return field(object, key, json_type_object);
}

struct json_object *bf_cli_array(struct json_object *object, const char *key)
{
    return field(object, key, json_type_array);
}

size_t bf_cli_count(struct json_object *array)
{
    return array ? json_object_array_length(array) : 0;
}
