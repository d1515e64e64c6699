/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/mover_option.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/option.h"

#define WORD "mover"

static const char *const own[] = {"", "_address", "_certificates", "_slots", NULL};

/* "mover", "mover2": the number is left out of the first's. */
static char *name_of(unsigned number, const char *suffix)
{
    return number == 1 ? bf_xasprintf(WORD "%s", suffix)
                       : bf_xasprintf(WORD "%u%s", number, suffix);
}

static bool is_one(const char *suffix, const char *const *list)
{
    while (*list && !bf_streq(*list, suffix))
        list++;
    return *list;
}

bool bf_mover_option_is(const char *name, const char *const *suffixes)
{
    const char *at = name + strlen(WORD);

    if (!bf_starts_with(name, WORD))
        return false;
    if (*at >= '2' && *at <= '0' + BF_MOVERS_MAX)
        at++;
    return is_one(at, own) || is_one(at, suffixes);
}

int bf_mover_option_text(struct json_object *options, unsigned number, const char *suffix,
                         const char **ret, struct bf_error *err)
{
    bf_auto_free char *name = name_of(number, suffix);

    return bf_json_opt_string(options, "options", name, ret, err);
}

static int parse_slots(struct json_object *options, struct bf_mover_option *mover, unsigned most,
                       struct bf_error *err)
{
    bf_auto_free char *name = name_of(mover->number, "_slots");
    uint64_t slots = mover->slots;

    if (bf_option_u64(options, name, 1, most, &slots, err) < 0)
        return -1;
    mover->slots = (unsigned)slots;
    return 0;
}

static int check(const struct bf_mover_options *others, const struct bf_mover_option *mover,
                 const char *name, struct bf_error *err)
{
    if (!mover->address || !mover->certificates)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options %s, %s_address and %s_certificates go together", name, name, name);
    if (!*mover->id || !*mover->address || strpbrk(mover->address, "/?#@ \t"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.%s_address: expected HOST or HOST:PORT",
                       name);
    if (mover->certificates[0] != '/')
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.%s_certificates: expected an absolute path",
                       name);
    for (size_t i = 0; i < others->count; i++) {
        if (bf_streq(others->list[i].id, mover->id))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "options.%s: %s is another mover already", name,
                           mover->id);
    }
    return 0;
}

static void mover_done(struct bf_mover_option *mover)
{
    free(mover->id);
    free(mover->address);
    free(mover->certificates);
    *mover = (struct bf_mover_option){0};
}

/* *ret_found: is it there at all? */
static int parse_one(struct json_object *options, unsigned most,
                     const struct bf_mover_options *others, struct bf_mover_option *mover,
                     bool *ret_found, struct bf_error *err)
{
    bf_auto_free char *name = name_of(mover->number, "");
    const char *id = NULL, *address = NULL, *certificates = NULL;

    if (bf_mover_option_text(options, mover->number, "", &id, err) < 0 ||
        bf_mover_option_text(options, mover->number, "_address", &address, err) < 0 ||
        bf_mover_option_text(options, mover->number, "_certificates", &certificates, err) < 0 ||
        parse_slots(options, mover, most, err) < 0)
        return -1;
    *ret_found = id != NULL;
    if (id) {
        mover->id = bf_xstrdup(id);
        mover->address = bf_xstrdup(address);
        mover->certificates = bf_xstrdup(certificates);
        return check(others, mover, name, err);
    }
    json_object_object_foreach(options, key, value)
    {
        size_t length = strlen(name);

        if (value && bf_starts_with(key, name) && key[length] == '_')
            return bf_fail(err, BF_E_BAD_INPUT, 0, "options.%s is not set, but others of it are",
                           name);
    }
    return 0;
}

int bf_mover_options_parse(struct json_object *options, unsigned slots, unsigned slots_max,
                           struct bf_mover_options *ret, struct bf_error *err)
{
    __attribute__((cleanup(bf_mover_options_done))) struct bf_mover_options found = {0};

    for (unsigned number = 1; number <= BF_MOVERS_MAX; number++) {
        struct bf_mover_option mover = {.number = number, .slots = slots};
        bool there = false;

        if (parse_one(options, slots_max, &found, &mover, &there, err) < 0) {
            mover_done(&mover);
            return -1;
        }
        if (there)
            found.list[found.count++] = mover;
    }
    *ret = found;
    found = (struct bf_mover_options){0};
    return 0;
}

void bf_mover_options_done(struct bf_mover_options *options)
{
    for (size_t i = 0; i < options->count; i++)
        mover_done(&options->list[i]);
    *options = (struct bf_mover_options){0};
}
