/* SPDX-License-Identifier: Apache-2.0 */
/* A registry hive, read and edited with hivex.
 *
 * Used only in the confined process of hive_box.h: a hive is what a guest wrote, and hivex parses
 * it.  Keys are named by paths ("Microsoft\\Windows"), their case does not count.  What is missing
 * or of another type reads as "not there".
 *
 * Setters compare first.  What they change is counted and told in `changes`; a hive without a
 * change is not written, so that a second conversion changes nothing. */
#pragma once

#include <hivex.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct bf_hive {
    hive_h *h;
    const char *name; /* "SYSTEM": in texts, and the file's name in the working directory */
    struct json_object *changes; /* borrowed array of texts; NULL when reading only */
    size_t change_count;
    hive_node_h noted; /* the key that the last text is of */
};

int bf_hive_open(struct bf_hive *hive, const char *name, struct json_object *changes,
                 struct bf_error *err);
/* Write the file if anything was changed. */
int bf_hive_save(struct bf_hive *hive, struct bf_error *err);
void bf_hive_close(struct bf_hive *hive);
#define bf_auto_hive __attribute__((cleanup(bf_hive_close))) struct bf_hive

hive_node_h bf_hive_root(struct bf_hive *hive);
/* 0: not there (also when `from` is 0). */
hive_node_h bf_hive_find(struct bf_hive *hive, hive_node_h from, const char *path);
/* Caller frees.  NULL: not there. */
char *bf_hive_key_name(struct bf_hive *hive, hive_node_h node);
char *bf_hive_string(struct bf_hive *hive, hive_node_h node, const char *value);
/* REG_MULTI_SZ, or the one text of a REG_SZ; never NULL; the array and its texts belong to the
 * caller: bf_hive_strings_free(). */
char **bf_hive_strings(struct bf_hive *hive, hive_node_h node, const char *value);
void bf_hive_strings_free(char **strings);
bool bf_hive_dword(struct bf_hive *hive, hive_node_h node, const char *value, uint32_t *ret_number);
/* Call `each` for every key below the node. */
void bf_hive_each(struct bf_hive *hive, hive_node_h node,
                  void (*each)(struct bf_hive *hive, hive_node_h key, const char *name, void *user),
                  void *user);

/* Find or make the key. */
int bf_hive_make(struct bf_hive *hive, hive_node_h from, const char *path, hive_node_h *ret_node,
                 struct bf_error *err);
int bf_hive_remove(struct bf_hive *hive, hive_node_h from, const char *path, struct bf_error *err);
int bf_hive_set(struct bf_hive *hive, hive_node_h node, const char *value, hive_type type,
                const void *data, size_t size, struct bf_error *err);
/* `text` is ASCII. */
int bf_hive_set_text(struct bf_hive *hive, hive_node_h node, const char *value, hive_type type,
                     const char *text, struct bf_error *err);
int bf_hive_set_dword(struct bf_hive *hive, hive_node_h node, const char *value, uint32_t number,
                      struct bf_error *err);
/* Append ASCII text to a REG_SZ or REG_EXPAND_SZ unless it is in it; made when missing. */
int bf_hive_append_text(struct bf_hive *hive, hive_node_h node, const char *value, const char *text,
                        struct bf_error *err);
