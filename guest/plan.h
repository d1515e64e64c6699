/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a guest's conversion: what an inspection found and what a launch will do.
 *
 * Made without writing anything, kept with the replication, used by the launches:
 *
 *   {"version": 1, "made_us": 0,
 *    "inputs": {},                                  what it depends on (daemon/plan.h)
 *    "os": {"type": "linux"|"windows"|"unknown", "product", "version", "arch"},
 *    "root": "/dev/sda1", "firmware": "bios"|"uefi", "bootloader": "grub2",
 *    "method": "none"|"fast"|"v2v"|"windows",
 *    "changes": [{"what", "path", "why"}],
 *    "drivers": [{"name", "from", "to"}],
 *    "findings": [{"id", "severity", "subject", "found", "needed", "why", "fix"}],
 *    "facts": {...},                                    of this kind of system
 *    "expected_seconds": 30}
 *
 * Method "none" means more than that the guest would boot today: a kernel that it installs later
 * will have virtio, too (guest/inspect_linux.c says how that is known).
 *
 * A plan that comes from the inspecting program holds texts of the guest, which are untrusted:
 * bf_plan_take() lets through only what has this form, within bounds.
 *
 * Threads: any; nothing is shared. */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>

#include "base/error.h"

#define BF_PLAN_VERSION 1

/* With every member, method "v2v", and nothing found. */
struct json_object *bf_plan_new(void);

/* Texts are copied; any but id, severity ("block", "warn", "info") and found may be NULL. */
void bf_plan_finding(struct json_object *plan, const char *severity, const char *id,
                     const char *found, const char *needed, const char *why, const char *fix);
/* An error of the catalogue as a finding: its id, message and fix. */
void bf_plan_finding_of_error(struct json_object *plan, const char *severity,
                              const struct bf_error *error);
void bf_plan_change(struct json_object *plan, const char *what, const char *path, const char *why);
void bf_plan_driver(struct json_object *plan, const char *name, const char *from, const char *to);

/* Tolerant reading; NULL: not there.  Borrowed. */
const char *bf_plan_text(struct json_object *plan, const char *key);
struct json_object *bf_plan_part(struct json_object *plan, const char *key);
const char *bf_plan_method(struct json_object *plan);
bool bf_plan_blocks(struct json_object *plan);

/* Check what the program answered and copy it, cleaned; BF_E_PROTOCOL, BF_E_TOO_LARGE. */
int bf_plan_take(struct json_object *answer, struct json_object **ret_plan, struct bf_error *err);
