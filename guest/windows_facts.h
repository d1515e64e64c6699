/* SPDX-License-Identifier: Apache-2.0 */
/* What a Windows guest's registry tells.
 *
 * Read in the confined process (hive_box.h) from the hives SYSTEM and SOFTWARE, handed over as
 * JSON:
 *
 *   {"product", "version": "10.0", "build": 20348, "client": false, "display_version",
 *    "control_sets": [1], "database": true,          SYSTEM\DriverDatabase exists (Windows 8 and
 * later) "services": {"viostor": {"start", "image"}, ...}, those of our drivers that are there
 *    "first_boot": true,                              our service is registered
 *    "vmware_tools": ["{product code}"],
 *    "denied": [text],                                policies that forbid our drivers
 *    "fast_startup": true,                            switched on (not: the disk is in that state)
 *    "adapters": [{"guid", "name", "instance", "mac", "dhcp", "addresses": [{"address", "mask"}],
 *                  "gateways": [...], "dns": [...]}]}
 *
 * All of it is untrusted text of the guest; what goes into a command line is checked by who uses
 * it. */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>

#include "base/error.h"
#include "guest/hive.h"

/* A bf_hive_job. */
int bf_windows_read_hives(struct json_object *input, struct json_object *output,
                          struct bf_error *err);
/* Part of it (windows_adapters.c): the network adapters of a control set. */
void bf_windows_read_adapters(struct bf_hive *system, hive_node_h control_set,
                              struct json_object *facts);

/* Tolerant reading; NULL, 0, false: not there.  Borrowed. */
struct json_object *bf_facts_get(struct json_object *facts, const char *key);
const char *bf_facts_text(struct json_object *facts, const char *key);
uint64_t bf_facts_number(struct json_object *facts, const char *key);
bool bf_facts_flag(struct json_object *facts, const char *key);
/* Elements of an array (0 when it is none), and one of them as text. */
size_t bf_facts_count(struct json_object *facts, const char *key);
struct json_object *bf_facts_item(struct json_object *facts, const char *key, size_t index);

/* The folder of this Windows in the layout of the virtio-win ISO ("2k19", "w10"); NULL: older than
 * Windows 7 and Server 2008 R2. */
const char *bf_windows_driver_folder(struct json_object *facts);
/* Is the driver's service there and started at boot? */
bool bf_windows_has_boot_driver(struct json_object *facts, const char *name);
/* Those of viostor, vioscsi, netkvm, balloon that the guest lacks; NULL-terminated.  Their count.
 */
#define BF_WINDOWS_DRIVERS 4
size_t bf_windows_missing_drivers(struct json_object *facts,
                                  const char *ret_names[BF_WINDOWS_DRIVERS + 1]);
/* Is a service of this name there? */
bool bf_windows_has_service(struct json_object *facts, const char *name);
