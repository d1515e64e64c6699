/* SPDX-License-Identifier: Apache-2.0 */
/* Reading answers, and the errors they may be. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cloud.h"

#define ID_MAX 128

/* --- values --- */

struct json_object *bf_cloud_at(struct json_object *object, const char *path)
{
    char key[128];

    while (*path) {
        size_t length = strcspn(path, "/");
        struct json_object *value = NULL;

        if (length >= sizeof(key) || !json_object_is_type(object, json_type_object))
            return NULL;
        memcpy(key, path, length);
        key[length] = '\0';
        if (!json_object_object_get_ex(object, key, &value))
            return NULL;
        object = value;
        path += length + (path[length] == '/');
    }
    return object;
}

const char *bf_cloud_text(struct json_object *object, const char *path)
{
    struct json_object *value = bf_cloud_at(object, path);

    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

uint64_t bf_cloud_number(struct json_object *object, const char *path)
{
    struct json_object *value = bf_cloud_at(object, path);

    if (json_object_is_type(value, json_type_double)) {
        double number = json_object_get_double(value);

        return number > 0 && number < 1e18 ? (uint64_t)number : 0;
    }
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
        return 0;
    return json_object_get_uint64(value);
}

bool bf_cloud_bool(struct json_object *object, const char *path)
{
    struct json_object *value = bf_cloud_at(object, path);

    if (json_object_is_type(value, json_type_string)) {
        const char *text = json_object_get_string(value);

        return strcasecmp(text, "true") == 0 || strcasecmp(text, "yes") == 0;
    }
    return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

const char *bf_cloud_id(struct json_object *object, const char *path)
{
    const char *text = bf_cloud_text(object, path);
    size_t length = text ? strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz"
                                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_.")
                         : 0;

    return length > 0 && length <= ID_MAX && !text[length] && text[0] != '.' ? text : NULL;
}

int bf_cloud_need_id(struct json_object *object, const char *path, const char **ret_id,
                     struct bf_error *err)
{
    const char *id = bf_cloud_id(object, path);

    if (!id)
        return bf_fail(err, BF_E_PROTOCOL, 0, "the answer has no usable \"%s\"", path);
    *ret_id = id;
    return 0;
}

char *bf_cloud_escape(const char *text)
{
    struct bf_buf buf = {0};

    for (const unsigned char *at = (const unsigned char *)text; *at; at++)
        bf_buf_addf(&buf, isalnum(*at) || strchr("-._~", *at) ? "%c" : "%%%02X", *at);
    return buf.text ? buf.text : bf_xstrdup("");
}

/* --- tags --- */

bool bf_cloud_is_tagged(struct json_object *thing, const char *tag, const char *kind)
{
    const char *text = bf_cloud_text(thing, "metadata/" BF_CLOUD_TAG_KEY);

    if (!text || !bf_tag_valid(text) || (tag && !bf_streq(tag, text)))
        return false;
    return !kind || bf_streq(bf_cloud_text(thing, "metadata/" BF_CLOUD_KIND_KEY), kind);
}

struct json_object *bf_cloud_metadata(const char *tag, const char *kind)
{
    struct json_object *metadata = json_object_new_object();

    bf_json_add_string(metadata, BF_CLOUD_TAG_KEY, tag);
    bf_json_add_string(metadata, BF_CLOUD_KIND_KEY, kind);
    return metadata;
}

/* --- errors --- */

/* {"badRequest": {"message": ...}}, {"NeutronError": {"type", "message"}}, {"error": {...}},
 * {"message": ...} */
char *bf_cloud_error_text(struct json_object *body)
{
    const char *message = bf_cloud_text(body, "message");
    const char *type = NULL;

    if (json_object_is_type(body, json_type_object)) {
        json_object_object_foreach(body, key, value)
        {
            (void)key;
            if (!message) {
                message = bf_cloud_text(value, "message");
                type = bf_cloud_text(value, "type");
            }
        }
    }
    if (!message)
        return NULL;
    char *text = type ? bf_xasprintf("%s: %s", type, message) : bf_xstrdup(message);
    bf_text_clean(text, false);
    return text;
}

static bool speaks_of(const char *text, const char *word)
{
    return text && strcasestr(text, word);
}

static enum bf_error_code code_of(const struct bf_cloud_request *request, int status,
                                  const char *text)
{
    /* Cinder says 413 or 400, Nova 403, Neutron 409. */
    if (status < 500 && (speaks_of(text, "quota") || speaks_of(text, "LimitExceeded") ||
                         (status == 413 && speaks_of(text, "exceed"))))
        return BF_E_QUOTA;
    switch (status) {
    case 401:
        return BF_E_PLATFORM_AUTH;
    case 403:
        return BF_E_PLATFORM_PRIVILEGE;
    case 404:
        return request->missing ? request->missing : BF_E_PLATFORM_ERROR;
    case 406:
        return BF_E_PLATFORM_UNSUPPORTED;
    case 409:
        return speaks_of(text, "MacAddressInUse") || speaks_of(text, "IpAddressAlreadyAllocated")
                   ? BF_E_EXISTS
                   : BF_E_IN_USE;
    case 413:
    case 429:
        return BF_E_BUSY;
    case 502:
    case 503:
    case 504:
        return BF_E_PLATFORM_UNREACHABLE;
    default:
        return BF_E_PLATFORM_ERROR;
    }
}

int bf_cloud_fail_status(const struct bf_cloud_request *request, int status,
                         const struct bf_http_response *response, struct bf_error *err)
{
    bf_auto_error not_json = BF_ERROR_INIT;
    bf_auto_json *body = NULL;
    bf_auto_free char *text = NULL;
    bf_auto_free char *id = bf_http_header(response, "x-openstack-request-id");

    if (bf_json_parse(response->body, response->body_length, &body, &not_json) == 0)
        text = bf_cloud_error_text(body);
    if (!id)
        id = bf_http_header(response, "x-compute-request-id");
    bf_fail(err, code_of(request, status, text), 0, "%s %s%s: %d%s%.400s",
            request->method ? request->method : "GET", bf_cloud_service_name(request->service),
            request->path, status, text ? ", " : "", text ? text : "");
    bf_auto_free char *evidence = bf_xasprintf(
        "HTTP %d%s%s\n%.2000s", status, id ? ", request id " : "", id ? id : "", response->body);
    bf_error_evidence(err, evidence);
    return -1;
}
