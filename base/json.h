/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in and out, on json-c, with what json-c leaves open closed.
 *
 * json-c's own getters convert silently ("12abc" is 12, "false" is true), its
 * parser takes trailing garbage.  So: text is parsed here only (strict, UTF-8
 * checked, depth and size limited), and values are read by the typed getters,
 * which fail with the path of the field ("disks[1].size: expected integer").
 *
 * Of two fields with one name the last one counts.  A top-level null parses to NULL.
 * Unknown fields are found by bf_json_check_fields().
 * Ownership: struct json_object as in json-c (json_object_put).
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

int bf_json_parse(const char *text, size_t length, struct json_object **ret_value,
                  struct bf_error *err);
int bf_json_read_file(const char *path, struct json_object **ret_value, struct bf_error *err);
/* Compact text, borrowed from the object. */
const char *bf_json_text(struct json_object *value);

/* A place in a document, for error messages. `path` is borrowed; "" = root. */
/* Required fields: missing, null or of another type -> BF_E_BAD_JSON naming "PATH.key". */
int bf_json_get_string(struct json_object *object, const char *path, const char *key,
                       const char **ret_text, struct bf_error *err);
int bf_json_get_u64(struct json_object *object, const char *path, const char *key,
                    uint64_t *ret_value, struct bf_error *err);
int bf_json_get_bool(struct json_object *object, const char *path, const char *key, bool *ret_value,
                     struct bf_error *err);
int bf_json_get_object(struct json_object *object, const char *path, const char *key,
                       struct json_object **ret_value, struct bf_error *err);
int bf_json_get_array(struct json_object *object, const char *path, const char *key,
                      struct json_object **ret_value, struct bf_error *err);

/* Optional fields: missing or null leaves *value_io as it is (the default); wrong type fails. */
int bf_json_opt_string(struct json_object *object, const char *path, const char *key,
                       const char **value_io, struct bf_error *err);
int bf_json_opt_u64(struct json_object *object, const char *path, const char *key,
                    uint64_t *value_io, struct bf_error *err);
int bf_json_opt_bool(struct json_object *object, const char *path, const char *key, bool *value_io,
                     struct bf_error *err);
int bf_json_opt_object(struct json_object *object, const char *path, const char *key,
                       struct json_object **value_io, struct bf_error *err);
int bf_json_opt_array(struct json_object *object, const char *path, const char *key,
                      struct json_object **value_io, struct bf_error *err);

/* Every key of the object must be in the NULL-terminated list, else BF_E_BAD_JSON names it. */
int bf_json_check_fields(struct json_object *object, const char *path, const char *const *known,
                         struct bf_error *err);

/* Writers: NULL text becomes null. */
void bf_json_add_string(struct json_object *object, const char *key, const char *text);
void bf_json_add_u64(struct json_object *object, const char *key, uint64_t value);
void bf_json_add_i64(struct json_object *object, const char *key, int64_t value);
void bf_json_add_bool(struct json_object *object, const char *key, bool value);
void bf_json_add_utc(struct json_object *object, const char *key, int64_t utc_us); /* 0 -> null */
/* {"code","kind","message","cause","fix","retry","evidence"} */
struct json_object *bf_json_error(const struct bf_error *error);
int bf_json_to_error(struct json_object *value, struct bf_error *ret_error);

static inline void bf_json_put_at(struct json_object *const *at)
{
    json_object_put(*at);
}
#define bf_auto_json __attribute__((cleanup(bf_json_put_at))) struct json_object
