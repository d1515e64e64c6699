/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a platform's options.
 *
 * The API may give numbers and booleans as such; the command line gives all values as text.  Both
 * are taken.  What is wrong is BF_E_BAD_INPUT, which names the option and what is allowed.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Only these names (NULL-terminated) and, unless mover_suffixes is NULL, those of movers
 * (connectors/mover_option.h). */
int bf_option_check_names(struct json_object *options, const char *const *known,
                          const char *const *mover_suffixes, struct bf_error *err);
/* Not given: *value_io stays. */
int bf_option_u64(struct json_object *options, const char *name, uint64_t min, uint64_t max,
                  uint64_t *value_io, struct bf_error *err);
int bf_option_bool(struct json_object *options, const char *name, bool *value_io,
                   struct bf_error *err);
