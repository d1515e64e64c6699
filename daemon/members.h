/* SPDX-License-Identifier: Apache-2.0 */
/* Plain structs from and to JSON by a table of fields: one place for name, type, range, default.
 *
 * Threads: any.  Errors: policy.h.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum bf_member_type {
    BF_MEMBER_COUNT,    /* uint64_t; integer */
    BF_MEMBER_DURATION, /* uint64_t seconds; "15m" */
    BF_MEMBER_RATE,     /* uint64_t bytes a second; "50M" */
    BF_MEMBER_PERCENT,  /* uint64_t; "none", "all", "10%" */
    BF_MEMBER_SWITCH,   /* bool; true, false */
    BF_MEMBER_CHOICE,   /* an enum, of `words` by its values */
    BF_MEMBER_WORD,     /* char *, one of `words` */
    BF_MEMBER_NAME,     /* char *; 1 to 255 bytes without control characters or "/" */
    BF_MEMBER_PATH,     /* char *; absolute */
    BF_MEMBER_PATTERN,  /* char *; see bf_boot_pattern_check() */
    BF_MEMBER_WINDOWS,  /* struct bf_windows */
    BF_MEMBER_NETWORKS, /* struct bf_network_map *, with its count in `count_offset` */
    BF_MEMBER_KEYS,     /* char **, NULL-terminated */
};

struct bf_member {
    const char *name;
    enum bf_member_type type;
    bool can_be_none; /* null means none (0, NULL, empty), else null means the default */
    size_t offset;
    size_t count_offset;
    uint64_t min; /* of numbers */
    uint64_t max;
    uint64_t standard;        /* the default of numbers, switches and choices */
    const char *const *words; /* NULL-terminated */
};

struct bf_member_table {
    const char *noun; /* "policy": where errors say it is */
    const struct bf_member *members;
    size_t count;
    size_t size; /* of the struct */
};

void bf_members_init(const struct bf_member_table *table, void *object);
void bf_members_done(const struct bf_member_table *table, void *object);
int bf_members_read(const struct bf_member_table *table, struct json_object *json, void *ret_object,
                    struct bf_error *err);
struct json_object *bf_members_write(const struct bf_member_table *table, const void *object);
int bf_members_merge(const struct bf_member_table *table, void *object, struct json_object *patch,
                     struct bf_error *err);
