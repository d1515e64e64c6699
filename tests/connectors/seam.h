/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the seam's driver share: seam.c (lines in and out, arguments), seam_platform.c,
 * seam_source.c and seam_target.c (the commands of each header of the seam). */
#pragma once

#include "base/json.h"
#include "connectors/source.h"
#include "connectors/target.h"

#define SEAM_HANDLES_MAX 64

struct seam_slot {
    char *name;
    struct bf_platform *platform;
};

struct seam_state {
    struct seam_slot platforms[8];
    struct bf_source_disk *disks[SEAM_HANDLES_MAX];
    struct bf_target_volume *volumes[SEAM_HANDLES_MAX];
};
extern struct seam_state seam_state;

struct seam_call {
    struct json_object *in;
    struct json_object *out;
    struct bf_platform *platform; /* NULL for "open" */
};

struct seam_command {
    const char *name; /* NULL: the table's end */
    int (*run)(struct seam_call *call, struct bf_error *err);
};
extern const struct seam_command seam_platform_commands[];
extern const struct seam_command seam_source_commands[];
extern const struct seam_command seam_target_commands[];

/* Arguments: NULL or `otherwise` if missing; but where it is needed that ends the program, since
 * the test is wrong. */
const char *seam_text(const struct seam_call *call, const char *key);
const char *seam_need(const struct seam_call *call, const char *key);
uint64_t seam_number(const struct seam_call *call, const char *key, uint64_t otherwise);
struct json_object *seam_object(const struct seam_call *call, const char *key);

/* Results. */
void seam_put_text(struct seam_call *call, const char *key, char *value); /* frees it */
void seam_put_spec(struct seam_call *call, const struct bf_endpoint_spec *spec, size_t handle);
/* The first that is free of SEAM_HANDLES_MAX. */
size_t seam_free_handle(void **table);
