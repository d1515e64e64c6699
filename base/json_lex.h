/* SPDX-License-Identifier: Apache-2.0 */
/* Inside base only: the checks of RFC 8259 that json-c's strict mode leaves out. */
#pragma once

#include <stddef.h>

/* NULL if the tokens are those of JSON; else what is wrong, and where. */
const char *bf_json_lex(const char *text, size_t length, size_t *ret_at);
