/* SPDX-License-Identifier: Apache-2.0 */
/* Where registry hives are parsed: a process that can do nothing else.
 *
 * hivex reads what a guest wrote.  In the appliance each of its calls costs 0.1 to 0.2 s under
 * emulation, a hundred of them more than the whole conversion; so the hives are parsed here, in a
 * fork of blockferry-convert that is put away first: no descriptor but one pipe, no capability, no
 * new privileges or processes, limits of processor time and file size, and the hives' own directory
 * as its whole file system: by chroot and as the user nobody when we are root, else by a user
 * namespace where the host allows those.  A crash or an endless loop there is BF_E_GUEST_REGISTRY
 * here; the appliance and the service are not touched. */
#pragma once

#include <json-c/json.h>

#include "base/error.h"

/* What is done with the hives that lie in the working directory. */
typedef int (*bf_hive_job)(struct json_object *input, struct json_object *output,
                           struct bf_error *err);

/* `directory` holds the hives and nothing else.  ret_output: what the job put into its output. */
int bf_hive_box_run(const char *directory, bf_hive_job job, struct json_object *input,
                    struct json_object **ret_output, struct bf_error *err);
