/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits of the service, of platforms, of replications: shown, set, given to the shares. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/service_private.h"
#include "daemon/share.h"

static const char *scope_kind(const struct bf_limit_row *row)
{
    return row->platform_id ? "platform" : row->replication_id ? "replication" : "service";
}

static int read_limits(const char *text, struct bf_limits *ret_limits, struct bf_error *err)
{
    bf_auto_json *json = bf_context_parse_array(text);

    return bf_limits_from_json(json, "limits", ret_limits, err);
}

static int give(struct bf_service *service, const struct bf_limit_row *row, struct bf_error *err)
{
    struct bf_limits limits = {0};

    if (read_limits(row->limits, &limits, err) != 0)
        return bf_fail_in(err, "limits of %s", row->scope);
    bf_share_set(service->share, row->scope, &limits);
    bf_limits_done(&limits);
    return 0;
}

static int list(struct bf_service *service, struct bf_limit_row **ret_rows, size_t *ret_count,
                struct bf_error *err)
{
    *ret_rows = NULL;
    *ret_count = 0;
    return bf_store_limit_list(service->store, ret_rows, ret_count, err);
}

static void rows_free(struct bf_limit_row *rows, size_t count)
{
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_limit_row_done);
}

int bf_service_limits_start(struct bf_service *service, struct bf_error *err)
{
    struct bf_limit_row *rows;
    size_t count;

    if (list(service, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        bf_auto_error why = BF_ERROR_INIT;

        /* A limit nobody can read must not keep the service from starting. */
        if (give(service, &rows[i], &why) != 0)
            bf_log_error(BF_LOG_ERROR, &why, "a rate limit is not in force");
    }
    rows_free(rows, count);
    return 0;
}

/* --- shown --- */

static int name_of(struct bf_service *service, const struct bf_limit_row *row, char **ret_name,
                   struct bf_error *err)
{
    struct bf_platform_row platform = {0};
    struct bf_replication_row replication = {0};

    if (row->platform_id && bf_store_platform_get(service->store, row->platform_id, &platform, err))
        return -1;
    if (row->replication_id &&
        bf_store_replication_get(service->store, row->replication_id, &replication, err))
        return -1;
    *ret_name = row->platform_id      ? bf_steal(platform.name)
                : row->replication_id ? bf_steal(replication.name)
                                      : NULL;
    bf_platform_row_done(&platform);
    bf_replication_row_done(&replication);
    return 0;
}

static int row_json(struct bf_service *service, const struct bf_limit_row *row,
                    struct json_object **ret, struct bf_error *err)
{
    struct bf_share_use use = bf_share_look(service->share, row->scope);
    struct json_object *json;
    bf_auto_free char *name = NULL;

    if (name_of(service, row, &name, err) != 0)
        return -1;
    json = json_object_new_object();
    bf_json_add_string(json, "scope", scope_kind(row));
    bf_json_add_string(json, "name", name);
    bf_json_add_stored(json, "limits", row->limits);
    if (use.limit == BF_RATE_UNLIMITED)
        json_object_object_add(json, "limit_now", NULL);
    else
        bf_json_add_u64(json, "limit_now", use.limit);
    bf_json_add_u64(json, "used", use.used);
    bf_json_add_u64(json, "copies", use.copies);
    *ret = json;
    return 0;
}

int bf_service_limits(struct bf_service *service, struct json_object **ret, struct bf_error *err)
{
    bf_auto_json *array = json_object_new_array();
    struct bf_limit_row service_row = {.scope = (char[]){BF_SHARE_SERVICE},
                                       .limits = (char[]){"[]"}};
    struct bf_limit_row *rows;
    struct json_object *json = NULL;
    size_t count;
    int r;

    bf_assert_main();
    if (list(service, &rows, &count, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (bf_streq(rows[i].scope, BF_SHARE_SERVICE))
            service_row.limits = rows[i].limits;
    }
    r = row_json(service, &service_row, &json, err);
    if (r == 0)
        json_object_array_add(array, json);
    for (size_t i = 0; i < count && r == 0; i++) {
        if (bf_streq(rows[i].scope, BF_SHARE_SERVICE))
            continue;
        r = row_json(service, &rows[i], &json, err);
        if (r == 0)
            json_object_array_add(array, json);
    }
    rows_free(rows, count);
    if (r == 0)
        *ret = bf_steal(array);
    return r;
}

/* --- set --- */

static int find_scope(struct bf_service *service, const char *kind, const char *name,
                      struct bf_limit_row *row, struct bf_error *err)
{
    struct bf_platform_row platform = {0};
    struct bf_replication_row replication = {0};

    if (bf_streq(kind, "service")) {
        if (name)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "name: the service has none");
        row->scope = bf_xstrdup(BF_SHARE_SERVICE);
        return 0;
    }
    if (!bf_streq(kind, "platform") && !bf_streq(kind, "replication"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "scope: expected service, platform or replication");
    if (!name)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "name: of which %s?", kind);
    if (bf_streq(kind, "platform")) {
        if (bf_store_platform_get(service->store, name, &platform, err) != 0)
            return -1;
        row->platform_id = bf_xstrdup(platform.id);
        row->scope = bf_xstrdup(platform.id);
        bf_platform_row_done(&platform);
        return 0;
    }
    if (bf_store_replication_get(service->store, name, &replication, err) != 0)
        return -1;
    row->replication_id = bf_xstrdup(replication.id);
    row->scope = bf_xstrdup(replication.id);
    bf_replication_row_done(&replication);
    return 0;
}

/* "50 MiB/s Mon-Fri 08:00-18:00; 200 MiB/s" */
static char *limits_text(struct json_object *limits)
{
    bf_auto_buf out = {0};

    for (size_t i = 0; i < json_object_array_length(limits); i++) {
        struct json_object *one = json_object_array_get_idx(limits, i);
        struct json_object *windows = bf_context_array(one, "windows");
        bf_auto_error ignored = BF_ERROR_INIT;
        bf_auto_free char *rate = NULL;
        uint64_t bytes = 0;

        (void)bf_parse_u64(bf_context_text(one, "rate"), &bytes, &ignored);
        rate = bf_format_bytes(bytes);
        bf_buf_addf(&out, "%s%s/s", i ? "; " : "", rate);
        for (size_t w = 0; windows && w < json_object_array_length(windows); w++)
            bf_buf_addf(&out, "%s%s", w ? ", " : " ",
                        json_object_get_string(json_object_array_get_idx(windows, w)));
    }
    return out.text ? bf_steal(out.text) : bf_xstrdup("none");
}

static int set(struct bf_service *service, struct json_object *body, struct bf_limit_row *row,
               struct json_object **ret, struct bf_error *err)
{
    static const char *const known[] = {"scope", "name", "limits", NULL};
    const char *kind, *name = NULL;
    struct json_object *array = NULL;
    bf_auto_json *written = NULL;
    bf_auto_free char *shown = NULL;
    struct bf_limits limits = {0};
    bool none;

    if (bf_json_check_fields(body, "", known, err) != 0 ||
        bf_json_get_string(body, "", "scope", &kind, err) != 0 ||
        bf_json_opt_string(body, "", "name", &name, err) != 0 ||
        bf_json_get_array(body, "", "limits", &array, err) != 0 ||
        find_scope(service, kind, name, row, err) != 0 ||
        bf_limits_from_json(array, "limits", &limits, err) != 0)
        return -1;
    written = bf_limits_to_json(&limits);
    none = limits.count == 0;
    bf_limits_done(&limits);
    row->limits = bf_xstrdup(bf_json_text(written));
    shown = limits_text(written);
    if ((none ? bf_store_limit_remove(service->store, row->scope, err)
              : bf_store_limit_put(service->store, row, err)) != 0 ||
        give(service, row, err) != 0 ||
        bf_service_event(service, row->replication_id ? name : NULL, "info", "limits", NULL, err,
                         "rate limits of %s%s%s: %s", kind, name ? " " : "", name ? name : "",
                         shown) != 0)
        return -1;
    return row_json(service, row, ret, err);
}

int bf_service_limits_set(struct bf_service *service, struct json_object *body,
                          struct json_object **ret, struct bf_error *err)
{
    struct bf_limit_row row = {0};
    int r;

    bf_assert_main();
    if (!json_object_is_type(body, json_type_object))
        return bf_fail(err, BF_E_BAD_JSON, 0, "an object is expected");
    r = set(service, body, &row, ret, err);
    bf_limit_row_done(&row);
    return r;
}
