/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms: added, changed, removed. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/connector.h"
#include "daemon/context.h"
#include "daemon/service_names.h"
#include "daemon/service_private.h"

enum { NAME_MAX_BYTES = 64, URL_MAX_BYTES = 2048, USER_MAX_BYTES = 256 };

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

static int check_text(const char *text, size_t max, const char *field, struct bf_error *err)
{
    if (!*text || strlen(text) > max)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: 1 to %zu bytes are allowed", field, max);
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: no control characters", field);
    return 0;
}

/* An address is stored, shown and logged in clear: no secret may be in it.  Its form is checked by
 * the connector. */
static int check_url(const char *url, struct bf_error *err)
{
    const char *host = strstr(url, "://");
    size_t length = host ? strcspn(host + 3, "/?#") : 0;
    const char *at = host ? memrchr(host + 3, '@', length) : NULL;

    if (check_text(url, URL_MAX_BYTES, "url", err) != 0)
        return -1;
    if (at && memchr(host + 3, ':', (size_t)(at - host - 3)))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "url: a password does not belong there; give it as the platform's password");
    return 0;
}

/* Options are stored and shown in clear, too.  None of any connector has such a name: whoever gives
 * one means the password. */
static int check_secrets(struct json_object *options, struct bf_error *err)
{
    static const char *const words[] = {"password", "passwd", "secret", "token"};

    if (!options)
        return 0;
    json_object_object_foreach(options, key, value)
    {
        (void)value;
        for (size_t i = 0; i < bf_array_length(words); i++)
            if (strcasestr(key, words[i]))
                return bf_fail(err, BF_E_BAD_INPUT, 0,
                               "options.%.100s: a secret does not belong there; give it as the "
                               "platform's password",
                               key);
    }
    return 0;
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
        bf_name_check(name, "name", err) != 0 || check_type(type, err) != 0 ||
        check_url(url, err) != 0 || check_secrets(options, err) != 0 ||
        bf_platform_check_options(type, options, err) != 0 ||
        (user && check_text(user, USER_MAX_BYTES, "user", err) != 0))
        return -1;
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

/* --- change --- */

static void replace(char **text, const char *by)
{
    free(*text);
    *text = bf_xstrdup(by);
}

static int merge_options(struct bf_platform_row *row, struct json_object *patch,
                         struct bf_error *err)
{
    bf_auto_json *options = bf_context_parse(row->options);

    json_object_object_foreach(patch, key, value)
    {
        if (value)
            json_object_object_add(options, key, json_object_get(value));
        else
            json_object_object_del(options, key);
    }
    if (bf_platform_check_options(row->type, options, err) != 0)
        return -1;
    replace(&row->options, json_object_object_length(options) ? bf_json_text(options) : NULL);
    return 0;
}

/* Does anything lead to this platform: a replication, or what the ledger says is there? */
static int is_used(struct bf_service *service, const char *id, bool *ret_used, struct bf_error *err)
{
    struct bf_replication_row *rows = NULL;
    struct bf_ledger_row *ledger = NULL;
    size_t count = 0, ledger_count = 0;

    if (bf_store_ledger_list(service->store, id, NULL, true, &ledger, &ledger_count, err) != 0)
        return -1;
    bf_rows_free(ledger, ledger_count, sizeof(*ledger), (bf_row_done_fn *)bf_ledger_row_done);
    if (bf_store_replication_list(service->store, &rows, &count, err) != 0)
        return -1;
    *ret_used = ledger_count > 0;
    for (size_t i = 0; i < count; i++)
        *ret_used |=
            bf_streq(rows[i].source_platform_id, id) || bf_streq(rows[i].target_platform_id, id);
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_replication_row_done);
    return 0;
}

/* What is not there counts as removed: on another platform everything would. */
static int change_url(struct bf_service *service, struct bf_platform_row *row, const char *url,
                      bool yes, struct bf_error *err)
{
    bool used = false;

    if (bf_streq(url, row->url))
        return 0;
    if (!yes && is_used(service, row->id, &used, err) != 0)
        return -1;
    if (used)
        return bf_fail(err, BF_E_CONFIRM_NEEDED, 0,
                       "platform %s is in use; \"yes\": true says that %s is the same platform",
                       row->name, url);
    replace(&row->url, url);
    return 0;
}

static int change_row(struct bf_service *service, struct json_object *body,
                      struct bf_platform_row *row, struct bf_error *err)
{
    static const char *const known[] = {"url", "user", "password", "options", "yes", NULL};
    const char *url = NULL, *user = NULL, *password = NULL;
    struct json_object *options = NULL;
    bf_auto_free char *old_url = bf_xstrdup(row->url);
    bool yes = false;

    if (bf_json_check_fields(body, "", known, err) != 0 ||
        bf_json_opt_string(body, "", "url", &url, err) != 0 ||
        bf_json_opt_string(body, "", "user", &user, err) != 0 ||
        bf_json_opt_string(body, "", "password", &password, err) != 0 ||
        bf_json_opt_object(body, "", "options", &options, err) != 0 ||
        bf_json_opt_bool(body, "", "yes", &yes, err) != 0 || (url && check_url(url, err) != 0) ||
        check_secrets(options, err) != 0 ||
        (user && check_text(user, USER_MAX_BYTES, "user", err) != 0) ||
        (url && change_url(service, row, url, yes, err) != 0))
        return -1;
    /* Or whoever may use the API, but must not know the password, could have it sent to himself. */
    if (row->sealed_password && !password && (!bf_streq(old_url, row->url) || options))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "password: another url or other options of %s need it anew", row->name);
    if (password) {
        char *sealed = NULL;

        if (seal_password(service, row->id, password, &sealed, err) != 0)
            return -1;
        free(row->sealed_password);
        row->sealed_password = sealed;
    }
    if (user)
        replace(&row->user, user);
    return options ? merge_options(row, options, err) : 0;
}

static int tell_change(struct bf_service *service, const char *name, struct json_object *body,
                       struct bf_error *err)
{
    static const char *const fields[] = {"url", "user", "password", "options"};
    bf_auto_buf changed = {0};

    for (size_t i = 0; i < bf_array_length(fields); i++)
        if (json_object_object_get(body, fields[i]))
            bf_buf_addf(&changed, "%s%s", changed.length ? ", " : "", fields[i]);
    return bf_service_event(service, NULL, "info", "platform", NULL, err,
                            "platform %s is changed: %s", name,
                            changed.length ? changed.text : "nothing");
}

int bf_service_platform_change(struct bf_service *service, const char *name,
                               struct json_object *body, struct json_object **ret,
                               struct bf_error *err)
{
    struct bf_platform_row row = {0};
    int r;

    bf_assert_main();
    if (!json_object_is_type(body, json_type_object))
        return bf_fail(err, BF_E_BAD_JSON, 0, "an object is expected");
    if (bf_store_platform_get(service->store, name, &row, err) != 0)
        return -1;
    r = change_row(service, body, &row, err);
    if (r == 0)
        r = bf_store_platform_update(service->store, &row, err);
    if (r == 0)
        r = tell_change(service, row.name, body, err);
    if (r == 0) {
        bf_janitor_hurry(service); /* what could not be removed may be reached now */
        *ret = bf_platform_row_json(&row);
    }
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
