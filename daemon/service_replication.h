/* SPDX-License-Identifier: Apache-2.0 */
/* Making a replication: the body of POST /replications, checked at once, and the row made when the
 * platforms have answered. */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>

#include "connectors/machine.h"
#include "daemon/policy.h"
#include "daemon/service_private.h"

struct bf_replicate {
    char *source; /* as named */
    char *target;
    char *machine;
    char *name; /* NULL: made of the machine's */
    struct bf_mapping mapping;
    struct bf_policy policy;
    bool start;
    struct json_object *waive; /* array; NULL: none */
};

/* Main thread. */
int bf_replicate_parse(struct json_object *body, struct bf_replicate *ret, struct bf_error *err);
void bf_replicate_done(struct bf_replicate *replicate);
/* The machine is known and checked: make the row, and begin the seed if that was asked for.
 * ret_json: the replication. */
int bf_replicate_make(struct bf_service *service, const struct bf_replicate *replicate,
                      const struct bf_machine *machine, struct json_object *findings,
                      struct json_object **ret_json, struct bf_error *err);
