/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/api/route.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int bf_percent_decode(const char *what, const char *text, size_t length, char **ret_text,
                      struct bf_error *err)
{
    bf_auto_free char *out = calloc(1, length + 1);
    size_t used = 0;

    if (!out)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "%s: %zu bytes", what, length);
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '%') {
            out[used++] = text[i];
            continue;
        }
        int high = length - i > 2 ? hex_digit(text[i + 1]) : -1;
        int low = length - i > 2 ? hex_digit(text[i + 2]) : -1;
        if (high < 0 || low < 0 || (high == 0 && low == 0))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: bad percent-encoding", what);
        out[used++] = (char)(high * 16 + low);
        i += 2;
    }
    if (!bf_utf8_valid(out, used))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: not UTF-8", what);
    *ret_text = bf_steal(out);
    return 0;
}

/* Does the raw path fit the pattern?  Sets where each name piece lies. */
static bool path_fits(const char *pattern, const char *path, const char *ret_at[],
                      size_t ret_length[])
{
    unsigned names = 0;

    while (*pattern) {
        if (*pattern == '{') {
            size_t length = strcspn(path, "/");

            if (length == 0)
                return false;
            ret_at[names] = path;
            ret_length[names++] = length;
            path += length;
            pattern = strchr(pattern, '}') + 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *path == '\0';
}

static void allow_add(struct bf_buf *allow, const char *method)
{
    bf_buf_addf(allow, "%s%s", allow->length ? ", " : "", method);
    if (bf_streq(method, "GET"))
        bf_buf_addf(allow, ", HEAD");
}

static int names_decode(struct bf_route_match *match, const char *const at[], const size_t length[],
                        struct bf_error *err)
{
    for (unsigned i = 0; i < BF_ROUTE_NAMES_MAX && at[i]; i++)
        if (bf_percent_decode("name in the path", at[i], length[i], &match->names[i], err) < 0)
            return -1;
    return 0;
}

int bf_route_find(const char *method, const char *path, struct bf_route_match *ret_match,
                  char **ret_allow, struct bf_error *err)
{
    const char *wanted = bf_streq(method, "HEAD") ? "GET" : method;
    struct bf_route_match match = {0};
    bf_auto_buf allow = {0};

    for (size_t i = 0; i < bf_route_count; i++) {
        const char *at[BF_ROUTE_NAMES_MAX] = {0};
        size_t length[BF_ROUTE_NAMES_MAX] = {0};

        if (!path_fits(bf_routes[i].path, path, at, length))
            continue;
        allow_add(&allow, bf_routes[i].method);
        if (!bf_streq(bf_routes[i].method, wanted))
            continue;
        match.route = &bf_routes[i];
        if (names_decode(&match, at, length, err) < 0) {
            bf_route_match_done(&match);
            return -1;
        }
        *ret_match = match;
        return 0;
    }
    if (!allow.length)
        return bf_fail(err, BF_E_UNKNOWN_ROUTE, 0, "no resource %.200s", path);
    bf_buf_addf(&allow, ", OPTIONS");
    *ret_match = match;
    *ret_allow = bf_steal(allow.text);
    if (bf_streq(method, "OPTIONS"))
        return 0;
    return bf_fail(err, BF_E_METHOD_NOT_ALLOWED, 0, "%.20s is not one of %s here", method,
                   *ret_allow);
}

static bool query_known(const char *known, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = known; at && *at;) {
        size_t span = strcspn(at, " ");

        if (span == length && !strncmp(at, name, length))
            return true;
        at += span + (at[span] == ' ');
    }
    return false;
}

int bf_route_add_query(struct bf_route_match *match, const char *name, const char *value,
                       struct bf_error *err)
{
    bf_auto_free char *plain_name = NULL;
    bf_auto_free char *plain_value = NULL;

    if (bf_percent_decode("query parameter", name, strlen(name), &plain_name, err) < 0)
        return -1;
    if (!match->route || !query_known(match->route->query, plain_name))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "unknown query parameter %.100s (known here: %s)",
                       plain_name,
                       match->route && match->route->query ? match->route->query : "none");
    for (unsigned i = 0; i < match->query_count; i++)
        if (bf_streq(match->query[i].name, plain_name))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "query parameter %s is given twice", plain_name);
    if (bf_percent_decode(plain_name, value ? value : "", value ? strlen(value) : 0, &plain_value,
                          err) < 0)
        return -1;
    /* Known names only, each once: the table of a route is shorter than this. */
    match->query[match->query_count++] =
        (struct bf_route_query){bf_steal(plain_name), bf_steal(plain_value)};
    return 0;
}

void bf_route_match_done(struct bf_route_match *match)
{
    for (unsigned i = 0; i < BF_ROUTE_NAMES_MAX; i++)
        free(match->names[i]);
    for (unsigned i = 0; i < match->query_count; i++) {
        free(match->query[i].name);
        free(match->query[i].value);
    }
    *match = (struct bf_route_match){0};
}

static const enum json_type field_json_types[] = {
    [BF_FIELD_TEXT] = json_type_string,  [BF_FIELD_NUMBER] = json_type_int,
    [BF_FIELD_BOOL] = json_type_boolean, [BF_FIELD_OBJECT] = json_type_object,
    [BF_FIELD_LIST] = json_type_array,
};

const char *bf_field_type_to_string(enum bf_field_type type)
{
    static const char *const texts[] = {
        [BF_FIELD_TEXT] = "string",   [BF_FIELD_NUMBER] = "integer", [BF_FIELD_BOOL] = "boolean",
        [BF_FIELD_OBJECT] = "object", [BF_FIELD_LIST] = "array",
    };

    return texts[type];
}

static const struct bf_field *field_find(const struct bf_field *fields, const char *name)
{
    for (const struct bf_field *field = fields; field->name; field++)
        if (bf_streq(field->name, name))
            return field;
    return NULL;
}

int bf_fields_check(struct json_object *body, const struct bf_field *fields, struct bf_error *err)
{
    if (body) {
        json_object_object_foreach(body, key, value)
        {
            const struct bf_field *field = field_find(fields, key);

            if (!field)
                return bf_fail(err, BF_E_BAD_JSON, 0, "%.100s: unknown field", key);
            if (value && json_object_get_type(value) != field_json_types[field->type])
                return bf_fail(err, BF_E_BAD_JSON, 0, "%s: expected %s", key,
                               bf_field_type_to_string(field->type));
        }
    }
    for (const struct bf_field *field = fields; field->name; field++)
        if (field->required && (!body || !json_object_object_get(body, field->name)))
            return bf_fail(err, BF_E_BAD_JSON, 0, "%s: missing", field->name);
    return 0;
}
