/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "daemon/report.h"
#include "daemon/store/store.h"
#include "stub_internal.h"

struct json_object *stub_list(struct bf_service *service, const char *key)
{
    return json_object_object_get(service->world, key);
}

bool stub_field_is(struct json_object *object, const char *key, const char *text)
{
    struct json_object *value = json_object_object_get(object, key);

    return value && text && bf_streq(json_object_get_string(value), text);
}

struct json_object *stub_find(struct json_object *list, const char *key, const char *text)
{
    for (size_t i = 0; i < json_object_array_length(list); i++)
        if (stub_field_is(json_object_array_get_idx(list, i), key, text))
            return json_object_array_get_idx(list, i);
    return NULL;
}

struct json_object *stub_platform(struct bf_service *service, const char *name,
                                  struct bf_error *err)
{
    struct json_object *found = stub_find(stub_list(service, "platforms"), "name", name);

    if (!found)
        bf_fail(err, BF_E_NO_SUCH_PLATFORM, 0, "no platform %s", name);
    return found;
}

struct json_object *stub_replication(struct bf_service *service, const char *name,
                                     struct bf_error *err)
{
    struct json_object *found = stub_find(stub_list(service, "replications"), "name", name);

    if (!found)
        bf_fail(err, BF_E_NO_SUCH_REPLICATION, 0, "no replication %s", name);
    return found;
}

static int give(struct json_object *value, struct json_object **ret)
{
    if (!value)
        return -1;
    *ret = json_object_get(value);
    return 0;
}

int bf_service_status(struct bf_service *service, struct json_object **ret, struct bf_error *err)
{
    struct json_object *status = json_object_new_object();

    (void)err;
    bf_json_add_string(status, "version", BF_VERSION);
    bf_json_add_u64(status, "platforms", json_object_array_length(stub_list(service, "platforms")));
    bf_json_add_u64(status, "replications",
                    json_object_array_length(stub_list(service, "replications")));
    *ret = status;
    return 0;
}

int bf_service_platforms(struct bf_service *service, struct json_object **ret, struct bf_error *err)
{
    (void)err;
    return give(stub_list(service, "platforms"), ret);
}

int bf_service_platform(struct bf_service *service, const char *name, struct json_object **ret,
                        struct bf_error *err)
{
    return give(stub_platform(service, name, err), ret);
}

int bf_service_replications(struct bf_service *service, struct json_object **ret,
                            struct bf_error *err)
{
    (void)err;
    return give(stub_list(service, "replications"), ret);
}

int bf_service_replication(struct bf_service *service, const char *name, struct json_object **ret,
                           struct bf_error *err)
{
    return give(stub_replication(service, name, err), ret);
}

static int of_replication(struct bf_service *service, const char *name, const char *key,
                          struct json_object **ret, struct bf_error *err)
{
    if (!stub_replication(service, name, err))
        return -1;
    struct json_object *list = json_object_object_get(stub_list(service, key), name);

    *ret = list ? json_object_get(list) : json_object_new_array();
    return 0;
}

int bf_service_rounds(struct bf_service *service, const char *name, uint64_t limit,
                      struct json_object **ret, struct bf_error *err)
{
    bf_auto_json *all = NULL;

    if (of_replication(service, name, "rounds", &all, err) < 0)
        return -1;
    *ret = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(all) && (limit == 0 || i < limit); i++)
        json_object_array_add(*ret, json_object_get(json_object_array_get_idx(all, i)));
    return 0;
}

int bf_service_round_totals(struct bf_service *service, const char *name,
                            struct bf_round_totals *ret_totals, struct bf_error *err)
{
    bf_auto_json *all = NULL;
    struct bf_round_totals totals = {0};

    if (of_replication(service, name, "rounds", &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *round = json_object_array_get_idx(all, i);
        uint64_t number = json_object_get_uint64(json_object_object_get(round, "number"));

        totals.newest = number > totals.newest ? number : totals.newest;
        totals.sent_bytes += json_object_get_uint64(json_object_object_get(round, "sent_bytes"));
        totals.complete += stub_field_is(round, "state", "complete");
        totals.failed += stub_field_is(round, "state", "failed");
        totals.cancelled += stub_field_is(round, "state", "cancelled");
    }
    *ret_totals = totals;
    return 0;
}

int bf_service_points(struct bf_service *service, const char *name, struct json_object **ret,
                      struct bf_error *err)
{
    if (bf_streq(name, "slow disk"))
        bf_sleep_ms(11000);
    return of_replication(service, name, "points", ret, err);
}

int bf_service_launches(struct bf_service *service, const char *name, struct json_object **ret,
                        struct bf_error *err)
{
    return of_replication(service, name, "launches", ret, err);
}

int bf_service_jobs(struct bf_service *service, const char *name, uint64_t limit,
                    struct json_object **ret, struct bf_error *err)
{
    (void)limit;
    if (!stub_replication(service, name, err))
        return -1;
    return give(service->jobs, ret);
}

int bf_service_ledger(struct bf_service *service, int all, struct json_object **ret,
                      struct bf_error *err)
{
    struct json_object *rows = stub_list(service, "ledger");

    (void)err;
    *ret = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(rows); i++)
        if (all || !stub_field_is(json_object_array_get_idx(rows, i), "state", "gone"))
            json_object_array_add(*ret, json_object_get(json_object_array_get_idx(rows, i)));
    return 0;
}

int bf_service_events(struct bf_service *service, const char *replication, uint64_t after,
                      uint64_t limit, struct json_object **ret, struct bf_error *err)
{
    struct json_object *rows = stub_list(service, "events");

    (void)err;
    *ret = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(rows); i++) {
        struct json_object *row = json_object_array_get_idx(rows, i);

        if (json_object_get_uint64(json_object_object_get(row, "id")) <= after ||
            (replication && !stub_field_is(row, "replication", replication)) ||
            json_object_array_length(*ret) >= limit)
            continue;
        json_object_array_add(*ret, json_object_get(row));
    }
    return 0;
}

int bf_service_events_last(struct bf_service *service, const char *replication, uint64_t count,
                           uint64_t *ret_after, struct bf_error *err)
{
    struct json_object *rows = stub_list(service, "events");

    (void)err;
    *ret_after = 0;
    for (size_t i = json_object_array_length(rows); i > 0; i--) {
        struct json_object *row = json_object_array_get_idx(rows, i - 1);

        if (replication && !stub_field_is(row, "replication", replication))
            continue;
        if (count-- == 0) {
            *ret_after = json_object_get_uint64(json_object_object_get(row, "id"));
            break;
        }
    }
    return 0;
}

int bf_service_plan(struct bf_service *service, const char *name, struct json_object **ret,
                    struct bf_error *err)
{
    if (!stub_replication(service, name, err))
        return -1;
    *ret = json_object_new_object();
    json_object_object_add(*ret, "plan", NULL);
    json_object_object_add(*ret, "point", NULL);
    bf_json_add_bool(*ret, "current", false);
    return 0;
}

int bf_service_report(struct bf_service *service, const char *name, struct json_object **ret,
                      struct bf_error *err)
{
    struct json_object *found = stub_replication(service, name, err);

    if (!found)
        return -1;
    *ret = json_object_new_object();
    json_object_object_add(*ret, "replication", json_object_get(found));
    return 0;
}

char *bf_report_html(struct json_object *report)
{
    (void)report;
    return bf_xstrdup("<!DOCTYPE html><title>report</title>");
}

int bf_service_platform_add(struct bf_service *service, struct json_object *body,
                            struct json_object **ret, struct bf_error *err)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    const char *name = json_object_get_string(json_object_object_get(body, "name"));
    struct json_object *row = json_object_new_object();
    struct json_object *password = json_object_object_get(body, "password");

    if (stub_platform(service, name, &ignored)) {
        json_object_put(row);
        return bf_fail(err, BF_E_EXISTS, 0, "platform %s is registered already", name);
    }
    json_object_object_foreach(body, key, value) if (!bf_streq(key, "password"))
        json_object_object_add(row, key, json_object_get(value));
    /* Told so that a test can see which bytes arrived; the real service never does. */
    bf_json_add_u64(row, "password_bytes", password ? strlen(json_object_get_string(password)) : 0);
    json_object_array_add(stub_list(service, "platforms"), row);
    *ret = json_object_get(row);
    return 0;
}

int bf_service_platform_change(struct bf_service *service, const char *name,
                               struct json_object *body, struct json_object **ret,
                               struct bf_error *err)
{
    struct json_object *row = stub_platform(service, name, err);
    struct json_object *password = json_object_object_get(body, "password");

    if (!row)
        return -1;
    if (json_object_object_get(body, "url") &&
        !json_object_get_boolean(json_object_object_get(body, "yes")))
        return bf_fail(err, BF_E_CONFIRM_NEEDED, 0, "platform %s is in use", name);
    json_object_object_foreach(body, key, value) if (!bf_streq(key, "password"))
        json_object_object_add(row, key, json_object_get(value));
    if (password)
        bf_json_add_u64(row, "password_bytes", strlen(json_object_get_string(password)));
    *ret = json_object_get(row);
    return 0;
}

int bf_service_limits(struct bf_service *service, struct json_object **ret, struct bf_error *err)
{
    (void)err;
    return give(stub_list(service, "limits"), ret);
}

int bf_service_limits_set(struct bf_service *service, struct json_object *body,
                          struct json_object **ret, struct bf_error *err)
{
    (void)service;
    (void)err;
    *ret = json_object_get(body);
    return 0;
}

int bf_service_platform_remove(struct bf_service *service, const char *name, struct bf_error *err)
{
    struct json_object *list = stub_list(service, "platforms");

    if (!stub_platform(service, name, err))
        return -1;
    if (stub_find(stub_list(service, "replications"), "source", name))
        return bf_fail(err, BF_E_IN_USE, 0, "platform %s is used by a replication", name);
    for (size_t i = 0; i < json_object_array_length(list); i++)
        if (stub_field_is(json_object_array_get_idx(list, i), "name", name))
            json_object_array_del_idx(list, i, 1);
    return 0;
}

int bf_service_replication_change(struct bf_service *service, const char *name,
                                  struct json_object *body, struct json_object **ret,
                                  struct bf_error *err)
{
    struct json_object *row = stub_replication(service, name, err);

    if (!row)
        return -1;
    json_object_object_foreach(body, part, fields)
    {
        struct json_object *into = json_object_object_get(row, part);

        if (!json_object_is_type(fields, json_type_object))
            return bf_fail(err, BF_E_BAD_JSON, 0, "%s: an object is expected", part);
        json_object_object_foreach(fields, key, value)
        {
            if (!json_object_object_get_ex(into, key, NULL))
                return bf_fail(err, BF_E_BAD_JSON, 0, "%s.%s: unknown field", part, key);
            json_object_object_add(into, key, json_object_get(value));
        }
    }
    *ret = json_object_get(row);
    return 0;
}
