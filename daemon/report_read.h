/* SPDX-License-Identifier: Apache-2.0 */
/* What report.c and report_html.c share: reading JSON that may lack anything.
 *
 * A field that is missing or of another type is none: NULL, 0, false.  All results but that of
 * bf_report_downtime() are borrowed; every argument may be NULL.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object *bf_report_object(struct json_object *object, const char *key);
struct json_object *bf_report_array(struct json_object *object, const char *key);
size_t bf_report_length(struct json_object *array);
struct json_object *bf_report_item(struct json_object *array, size_t index);
const char *bf_report_text(struct json_object *object, const char *key);
uint64_t bf_report_u64(struct json_object *object, const char *key);
double bf_report_number(struct json_object *object, const char *key);
bool bf_report_flag(struct json_object *object, const char *key);

/* {"seconds","parts"} of a cutover's timing; NULL: not a cutover, or nothing measured. */
struct json_object *bf_report_downtime(struct json_object *launch);
bool bf_report_entry_open(struct json_object *entry); /* of the ledger */
