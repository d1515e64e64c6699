/* SPDX-License-Identifier: Apache-2.0 */
/* The registry edits of a Windows conversion.
 *
 * Storage drivers start at boot: Services\NAME in every control set that Windows may start with,
 * and the binding of the PCI ids to them: where DriverDatabase exists (Windows 8, Server 2012 and
 * later) a driver package for each driver, else CriticalDeviceDatabase.  Values after the drivers'
 * INF files and what virt-v2v writes; differences are listed in docs/guest-conversion.md. */
#pragma once

#include <json-c/json.h>

#include "base/error.h"

/* A bf_hive_job on the hives SYSTEM and SOFTWARE.
 * input   {"facts": {...}, "boot_drivers": ["viostor", ...], "device_path": bool, "first_boot":
 * bool} output  {"changes": [text], "SYSTEM": bool, "SOFTWARE": bool}; true: the file was changed
 */
int bf_windows_edit_hives(struct json_object *input, struct json_object *output,
                          struct bf_error *err);
