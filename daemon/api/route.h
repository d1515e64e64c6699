/* SPDX-License-Identifier: Apache-2.0 */
/* The table of routes: dispatch, the Allow header and the check of docs/openapi.yaml read it.
 *
 * A path pattern is literal pieces and "{name}" pieces between slashes; a name stands for one
 * piece, percent-decoded after the split, so that a name may hold a slash as %2F.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct bf_request;

enum bf_field_type {
    BF_FIELD_TEXT,
    BF_FIELD_NUMBER,
    BF_FIELD_BOOL,
    BF_FIELD_OBJECT,
    BF_FIELD_LIST
};

/* A field of a request body.  null counts as absent. */
struct bf_field {
    const char *name; /* NULL ends a list */
    enum bf_field_type type;
    bool required;
};

typedef int bf_handler_fn(struct bf_request *request, struct bf_error *err);

struct bf_route {
    const char *method; /* GET serves HEAD too */
    const char *path;
    bf_handler_fn *handler;
    const char *summary;           /* one line, as in docs/openapi.yaml */
    const char *query;             /* names of its query parameters, blank-separated; NULL: none */
    const struct bf_field *fields; /* of the body; NULL: no body is taken */
};

extern const struct bf_route bf_routes[];
extern const size_t bf_route_count;

#define BF_ROUTE_NAMES_MAX 2
#define BF_ROUTE_QUERY_MAX 8

struct bf_route_match {
    const struct bf_route *route;
    char *names[BF_ROUTE_NAMES_MAX];
    struct bf_route_query {
        char *name;
        char *value;
    } query[BF_ROUTE_QUERY_MAX];
    unsigned query_count;
};

/* Find the route of a raw (still encoded) path.  BF_E_UNKNOWN_ROUTE, BF_E_METHOD_NOT_ALLOWED with
 * *ret_allow the Allow header's value (caller frees; also set for method OPTIONS, with no error and
 * no route), BF_E_BAD_INPUT for a name that is not UTF-8 or badly encoded. */
int bf_route_find(const char *method, const char *path, struct bf_route_match *ret_match,
                  char **ret_allow, struct bf_error *err);
/* Take a raw query parameter into the match; unknown to the route or given twice: BF_E_BAD_INPUT.
 */
int bf_route_add_query(struct bf_route_match *match, const char *name, const char *value,
                       struct bf_error *err);
void bf_route_match_done(struct bf_route_match *match);

/* Check a body's fields against the table: BF_E_BAD_JSON names the field. */
int bf_fields_check(struct json_object *body, const struct bf_field *fields, struct bf_error *err);
const char *bf_field_type_to_string(enum bf_field_type type);

/* Strict percent-decoding to UTF-8 without NUL; caller frees.  `what` names it in the error. */
int bf_percent_decode(const char *what, const char *text, size_t length, char **ret_text,
                      struct bf_error *err);
