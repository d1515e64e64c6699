/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/option.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/mover_option.h"

static bool is_known(const char *name, const char *const *known, const char *const *mover_suffixes)
{
    while (*known && !bf_streq(*known, name))
        known++;
    return *known || (mover_suffixes && bf_mover_option_is(name, mover_suffixes));
}

static int refuse_name(const char *name, const char *const *known,
                       const char *const *mover_suffixes, struct bf_error *err)
{
    bf_auto_buf allowed = {0};

    for (; *known; known++)
        bf_buf_addf(&allowed, "%s%s", allowed.length ? ", " : "", *known);
    if (mover_suffixes) {
        bf_buf_addf(&allowed, ", mover to mover%d alone and with _address, _certificates, _slots",
                    BF_MOVERS_MAX);
        for (; *mover_suffixes; mover_suffixes++)
            bf_buf_addf(&allowed, ", %s", *mover_suffixes);
    }
    return bf_fail(err, BF_E_BAD_INPUT, 0, "options.%.60s: no such option; allowed: %s", name,
                   allowed.text);
}

int bf_option_check_names(struct json_object *options, const char *const *known,
                          const char *const *mover_suffixes, struct bf_error *err)
{
    json_object_object_foreach(options, key, value)
    {
        (void)value;
        if (!is_known(key, known, mover_suffixes))
            return refuse_name(key, known, mover_suffixes, err);
    }
    return 0;
}

int bf_option_u64(struct json_object *options, const char *name, uint64_t min, uint64_t max,
                  uint64_t *value_io, struct bf_error *err)
{
    struct json_object *value = NULL;
    uint64_t number = 0;

    if (!json_object_object_get_ex(options, name, &value) || !value)
        return 0;
    if (bf_parse_u64(json_object_get_string(value), &number, err) < 0 || number < min ||
        number > max) {
        bf_error_clear(err);
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.%s: expected a number from %llu to %llu",
                       name, (unsigned long long)min, (unsigned long long)max);
    }
    *value_io = number;
    return 0;
}

int bf_option_bool(struct json_object *options, const char *name, bool *value_io,
                   struct bf_error *err)
{
    struct json_object *value = NULL;
    const char *text;

    if (!json_object_object_get_ex(options, name, &value) || !value)
        return 0;
    text = json_object_get_string(value); /* of a boolean, too */
    if (!bf_streq(text, "true") && !bf_streq(text, "false"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.%s: expected true or false", name);
    *value_io = bf_streq(text, "true");
    return 0;
}
