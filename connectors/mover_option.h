/* SPDX-License-Identifier: Apache-2.0 */
/* The movers of a platform as its options name them, one form for all connectors:
 *
 *   mover, mover_address, mover_certificates, mover_slots       the first
 *   mover2, mover2_address, ...                                 the second, and so on to the ninth
 *
 * What a connector has besides is read by bf_mover_option_text() with a suffix of its own. */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define BF_MOVERS_MAX 9

struct bf_mover_option {
    unsigned number;    /* 1 for "mover" */
    char *id;           /* the platform's, of its machine */
    char *address;      /* HOST or HOST:PORT */
    char *certificates; /* directory */
    unsigned slots;     /* disks at a time */
};

struct bf_mover_options {
    struct bf_mover_option list[BF_MOVERS_MAX];
    size_t count; /* those that are set, in the order of their numbers */
};

/* Is this the name of an option of a mover's, with one of these suffixes ("_slots";
 * NULL-terminated) or one of those above? */
bool bf_mover_option_is(const char *name, const char *const *suffixes);
/* "mover2" and a suffix; *ret stays NULL if it is not set. */
int bf_mover_option_text(struct json_object *options, unsigned number, const char *suffix,
                         const char **ret, struct bf_error *err);
/* None set is no failure.  BF_E_BAD_INPUT names the option. */
int bf_mover_options_parse(struct json_object *options, unsigned slots, unsigned slots_max,
                           struct bf_mover_options *ret, struct bf_error *err);
void bf_mover_options_done(struct bf_mover_options *options);
