/* SPDX-License-Identifier: Apache-2.0 */
/* Inspection: what is on a machine's disks, and what a launch of it will need.
 *
 * Reads a point or a snapshot of the source; nothing is written to its disks, which the appliance
 * gets as read-only drives with a throw-away layer of its own over them (a journal is replayed
 * there). What cannot be converted (no system, an encrypted one) is no failure but a finding of the
 * plan.
 *
 * Blocking, isolation, cancel, deadline: as a conversion (convert.h). */
#pragma once

#include <json-c/json.h>

#include "guest/convert.h"

/* Of the request `plan` is not used; `mode` decides the plan's method (policy). */
int bf_inspect_run(const struct bf_convert_request *request, struct json_object **ret_plan,
                   struct bf_error *err);
