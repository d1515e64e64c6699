/* SPDX-License-Identifier: Apache-2.0 */
/* A job's private copy of what it works on, so that its thread never looks into the store.
 *
 * Threads: loaded on the main thread, then owned by one thread.
 */
#pragma once

#include <json-c/json.h>
#include <stddef.h>

#include "base/error.h"
#include "base/secret.h"
#include "connectors/machine.h"
#include "daemon/policy.h"
#include "daemon/store/store.h"

struct bf_service;

/* How to open a platform: plain data and the unsealed password. */
struct bf_platform_access {
    struct bf_platform_row row;
    struct bf_secret *password;  /* NULL: none */
    struct json_object *options; /* NULL: none */
};

struct bf_inputs {
    struct bf_replication_row replication;
    struct bf_platform_access source;
    struct bf_platform_access target;
    struct bf_mapping mapping;
    struct bf_policy policy;
    struct bf_machine *machine;    /* as last seen; NULL: never */
    struct bf_plan_row plan;       /* of the conversion; its text NULL: none */
    struct bf_volume_row *volumes; /* with those of disks that are gone */
    size_t volume_count;
    struct bf_point_row *points; /* newest first */
    size_t point_count;
};

int bf_platform_access_load(struct bf_service *service, const char *id_or_name,
                            struct bf_platform_access *ret_access, struct bf_error *err);
void bf_platform_access_done(struct bf_platform_access *access);
/* Open it; work_directory is made. Blocks: not on the main thread. */
struct bf_platform;
int bf_platform_access_open(const struct bf_platform_access *access, const char *work_directory,
                            struct bf_platform **ret_platform, struct bf_error *err);

int bf_inputs_load(struct bf_service *service, const char *replication_id,
                   struct bf_inputs *ret_inputs, struct bf_error *err);
void bf_inputs_done(struct bf_inputs *inputs);

/* NULL: none of this key. */
const struct bf_volume_row *bf_inputs_volume(const struct bf_inputs *inputs, const char *disk_key);
/* The newest point that is not being removed; number 0: the newest.  NULL: none. */
const struct bf_point_row *bf_inputs_point(const struct bf_inputs *inputs, uint64_t number);
