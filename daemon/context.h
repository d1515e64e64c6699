/* SPDX-License-Identifier: Apache-2.0 */
/* What a job has learnt, as JSON that is stored with its row and read back after a restart.
 *
 * The text is our own, so a field of another type is as good as missing: the step
 * that needed it fails with a message, and nothing crashes.
 * All results are borrowed from the object.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The object under `key`; made if it is not there. */
struct json_object *bf_context_object(struct json_object *parent, const char *key);
struct json_object *bf_context_array(struct json_object *parent, const char *key);
const char *bf_context_text(struct json_object *parent, const char *key); /* NULL: none */
uint64_t bf_context_u64(struct json_object *parent, const char *key);     /* 0: none */
int64_t bf_context_i64(struct json_object *parent, const char *key);
bool bf_context_bool(struct json_object *parent, const char *key); /* false: none */
/* A text that must be there: BF_E_INTERNAL names it. */
int bf_context_need(struct json_object *parent, const char *key, const char **ret_text,
                    struct bf_error *err);
/* A text of the store back to an object; NULL or damaged text gives an empty one. */
struct json_object *bf_context_parse(const char *text);
struct json_object *bf_context_parse_array(const char *text);
