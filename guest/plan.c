/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/plan.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

#define TEXT_MAX 2000
#define ITEMS_MAX 500
#define DEPTH_MAX 8
/* It is kept in the database and shown with every check. */
#define PLAN_MAX ((size_t)2 << 20)

static const char *const methods[] = {"none", "fast", "v2v", "windows", NULL};
static const char *const severities[] = {"block", "warn", "info", NULL};
static const char *const lists[] = {"changes", "drivers", "findings", NULL};

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (bf_streq(text, *words))
            return true;
    return false;
}

struct json_object *bf_plan_new(void)
{
    struct json_object *plan = json_object_new_object();
    struct json_object *os = json_object_new_object();

    bf_json_add_u64(plan, "version", BF_PLAN_VERSION);
    bf_json_add_string(os, "type", "unknown");
    json_object_object_add(plan, "os", os);
    bf_json_add_string(plan, "method", "v2v");
    for (const char *const *list = lists; *list; list++)
        json_object_object_add(plan, *list, json_object_new_array());
    json_object_object_add(plan, "facts", json_object_new_object());
    bf_json_add_u64(plan, "expected_seconds", 0);
    return plan;
}

struct json_object *bf_plan_part(struct json_object *plan, const char *key)
{
    struct json_object *value = NULL;

    if (!json_object_is_type(plan, json_type_object) ||
        !json_object_object_get_ex(plan, key, &value))
        return NULL;
    return value;
}

const char *bf_plan_text(struct json_object *plan, const char *key)
{
    struct json_object *value = bf_plan_part(plan, key);

    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

const char *bf_plan_method(struct json_object *plan)
{
    return bf_plan_text(plan, "method");
}

bool bf_plan_blocks(struct json_object *plan)
{
    struct json_object *findings = bf_plan_part(plan, "findings");

    for (size_t i = 0; findings && i < json_object_array_length(findings); i++)
        if (bf_streq(bf_plan_text(json_object_array_get_idx(findings, i), "severity"), "block"))
            return true;
    return false;
}

void bf_plan_finding(struct json_object *plan, const char *severity, const char *id,
                     const char *found, const char *needed, const char *why, const char *fix)
{
    struct json_object *item = json_object_new_object();

    bf_json_add_string(item, "id", id);
    bf_json_add_string(item, "severity", severity);
    bf_json_add_string(item, "subject", NULL);
    bf_json_add_string(item, "found", found);
    bf_json_add_string(item, "needed", needed);
    bf_json_add_string(item, "why", why);
    bf_json_add_string(item, "fix", fix);
    json_object_array_add(bf_plan_part(plan, "findings"), item);
}

void bf_plan_finding_of_error(struct json_object *plan, const char *severity,
                              const struct bf_error *error)
{
    bf_plan_finding(plan, severity, bf_error_id(error->code), error->message, NULL,
                    bf_error_cause(error->code), bf_error_fix(error->code));
}

void bf_plan_change(struct json_object *plan, const char *what, const char *path, const char *why)
{
    struct json_object *item = json_object_new_object();

    bf_json_add_string(item, "what", what);
    bf_json_add_string(item, "path", path);
    bf_json_add_string(item, "why", why);
    json_object_array_add(bf_plan_part(plan, "changes"), item);
}

void bf_plan_driver(struct json_object *plan, const char *name, const char *from, const char *to)
{
    struct json_object *item = json_object_new_object();

    bf_json_add_string(item, "name", name);
    bf_json_add_string(item, "from", from);
    bf_json_add_string(item, "to", to);
    json_object_array_add(bf_plan_part(plan, "drivers"), item);
}

/* --- taking over what the program answered --- */

static struct json_object *clean_text(struct json_object *value)
{
    const char *text = json_object_get_string(value);
    bf_auto_free char *copy = bf_xasprintf("%.*s", TEXT_MAX, text);

    bf_text_clean(copy, false);
    return json_object_new_string(copy);
}

/* NULL: out of bounds.  JSON's own null is a NULL, too, and stays one by the caller's doing. */
static struct json_object *clean(struct json_object *value, unsigned depth, bool *ret_bad)
{
    struct json_object *copy = NULL;

    if (depth > DEPTH_MAX)
        *ret_bad = true;
    else if (json_object_is_type(value, json_type_string))
        return clean_text(value);
    else if (json_object_is_type(value, json_type_array)) {
        size_t count = json_object_array_length(value);

        copy = json_object_new_array();
        for (size_t i = 0; i < count && i < ITEMS_MAX; i++)
            json_object_array_add(copy,
                                  clean(json_object_array_get_idx(value, i), depth + 1, ret_bad));
    } else if (json_object_is_type(value, json_type_object)) {
        copy = json_object_new_object();
        json_object_object_foreach(value, key, item)
        {
            bf_auto_free char *name = bf_xasprintf("%.100s", key);

            if (json_object_object_length(copy) >= ITEMS_MAX)
                break;
            bf_text_clean(name, false);
            json_object_object_add(copy, name, clean(item, depth + 1, ret_bad));
        }
    } else {
        return json_object_get(value);
    }
    return copy;
}

/* A finding without a known severity would be neither shown nor waived. */
static int check_findings(struct json_object *plan, struct bf_error *err)
{
    struct json_object *findings = bf_plan_part(plan, "findings");

    for (size_t i = 0; i < json_object_array_length(findings); i++) {
        struct json_object *item = json_object_array_get_idx(findings, i);

        if (!bf_plan_text(item, "id") || !bf_plan_text(item, "found") ||
            !is_one_of(bf_plan_text(item, "severity"), severities))
            return bf_fail(err, BF_E_PROTOCOL, 0, "findings[%zu] of the plan is malformed", i);
    }
    return 0;
}

static int check(struct json_object *plan, struct bf_error *err)
{
    struct json_object *version = bf_plan_part(plan, "version");

    if (!json_object_is_type(version, json_type_int) ||
        json_object_get_int64(version) != BF_PLAN_VERSION)
        return bf_fail(err, BF_E_PROTOCOL, 0, "the plan is not of version %d", BF_PLAN_VERSION);
    if (!is_one_of(bf_plan_method(plan), methods))
        return bf_fail(err, BF_E_PROTOCOL, 0, "the plan has no known method");
    if (!json_object_is_type(bf_plan_part(plan, "os"), json_type_object) ||
        !json_object_is_type(bf_plan_part(plan, "facts"), json_type_object))
        return bf_fail(err, BF_E_PROTOCOL, 0, "the plan lacks os or facts");
    for (const char *const *list = lists; *list; list++)
        if (!json_object_is_type(bf_plan_part(plan, *list), json_type_array))
            return bf_fail(err, BF_E_PROTOCOL, 0, "the plan lacks %s", *list);
    return check_findings(plan, err);
}

int bf_plan_take(struct json_object *answer, struct json_object **ret_plan, struct bf_error *err)
{
    bool bad = false;
    bf_auto_json *plan = clean(answer, 0, &bad);

    if (bad || !json_object_is_type(plan, json_type_object))
        return bf_fail(err, BF_E_PROTOCOL, 0, "the plan is no object, or nested too deeply");
    if (check(plan, err) < 0)
        return -1;
    if (strlen(bf_json_text(plan)) > PLAN_MAX)
        return bf_fail(err, BF_E_TOO_LARGE, 0,
                       "the guest's plan has %zu bytes, at most %zu are kept",
                       strlen(bf_json_text(plan)), PLAN_MAX);
    *ret_plan = bf_steal(plan);
    return 0;
}
