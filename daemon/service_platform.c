/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms: added, removed. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/connector.h"
#include "daemon/service_names.h"
#include "daemon/service_private.h"

enum { NAME_MAX_BYTES = 64, URL_MAX_BYTES = 2048 };

int bf_name_check(const char *name, const char *field, struct bf_error *err)
{
    size_t length = strlen(name);

    if (length == 0 || length > NAME_MAX_BYTES)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: 1 to %d bytes are allowed", field,
                       NAME_MAX_BYTES);
    if (!bf_utf8_valid(name, length))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: not valid UTF-8", field);
    for (const char *c = name; *c; c++) {
        /* The name is part of URLs and shown in tables. */
        if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == '/')
            return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: no control characters and no '/'", field);
    }
    if (name[0] == ' ' || name[length - 1] == ' ' || name[0] == '.')
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "%s: must not begin with '.' or a blank, nor end "
                       "with one",
                       field);
    return 0;
}

static int check_type(const char *type, struct bf_error *err)
{
    const char *const *types = bf_platform_types();
    bf_auto_buf known = {0};

    for (const char *const *at = types; *at; at++) {
        if (bf_streq(*at, type))
            return 0;
        bf_buf_addf(&known, "%s%s", known.length ? ", " : "", *at);
    }
    return bf_fail(err, BF_E_PLATFORM_TYPE, 0, "type '%s'; built in: %s", type,
                   known.length ? known.text : "none");
}

static int seal_password(struct bf_service *service, const char *id, const char *password,
                         char **ret_sealed, struct bf_error *err)
{
    bf_auto_secret *secret = bf_secret_new(password, strlen(password));
    bf_auto_free char *owner = bf_xasprintf("platform:%s", id);

    return bf_seal_wrap(service->seal, owner, secret, ret_sealed, err);
}

static int fill_row(struct bf_service *service, struct json_object *body,
                    struct bf_platform_row *row, struct bf_error *err)
{
    static const char *const known[] = {"name", "type", "url", "user", "password", "options", NULL};
    const char *name, *type, *url, *user = NULL, *password = NULL;
    struct json_object *options = NULL;
    char id[BF_UUID_LENGTH + 1];

    if (bf_json_check_fields(body, "", known, err) != 0 ||
        bf_json_get_string(body, "", "name", &name, err) != 0 ||
        bf_json_get_string(body, "", "type", &type, err) != 0 ||
        bf_json_get_string(body, "", "url", &url, err) != 0 ||
        bf_json_opt_string(body, "", "user", &user, err) != 0 ||
        bf_json_opt_string(body, "", "password", &password, err) != 0 ||
        bf_json_opt_object(body, "", "options", &options, err) != 0 ||
        bf_name_check(name, "name", err) != 0 || check_type(type, err) != 0)
        return -1;
    if (!*url || strlen(url) > URL_MAX_BYTES)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "url: 1 to %d bytes are allowed", URL_MAX_BYTES);
    bf_uuid_new(id);
    if (password && seal_password(service, id, password, &row->sealed_password, err) != 0)
        return -1;
    row->id = bf_xstrdup(id);
    row->name = bf_xstrdup(name);
    row->type = bf_xstrdup(type);
    row->url = bf_xstrdup(url);
    row->user = bf_xstrdup(user);
    row->options = options ? bf_xstrdup(bf_json_text(options)) : NULL;
    row->created_us = bf_utc_us();
    return 0;
}

int bf_service_platform_add(struct bf_service *service, struct json_object *body,
                            struct json_object **ret, struct bf_error *err)
{
    struct bf_platform_row row = {0};
    int r;

    bf_assert_main();
    if (!json_object_is_type(body, json_type_object))
        return bf_fail(err, BF_E_BAD_JSON, 0, "an object is expected");
    r = fill_row(service, body, &row, err);
    if (r == 0)
        r = bf_store_platform_add(service->store, &row, err);
    if (r == 0)
        r = bf_service_event(service, NULL, "info", "platform", NULL, err,
                             "platform %s (%s) is registered", row.name, row.type);
    if (r == 0)
        *ret = bf_platform_row_json(&row);
    bf_platform_row_done(&row);
    return r;
}

int bf_service_platform_remove(struct bf_service *service, const char *name, struct bf_error *err)
{
    struct bf_platform_row row = {0};
    int r;

    bf_assert_main();
    if (bf_store_platform_get(service->store, name, &row, err) != 0)
        return -1;
    r = bf_store_platform_remove(service->store, row.id, err);
    if (r == 0)
        r = bf_service_event(service, NULL, "info", "platform", NULL, err, "platform %s is removed",
                             row.name);
    bf_platform_row_done(&row);
    return r;
}
