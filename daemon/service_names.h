/* SPDX-License-Identifier: Apache-2.0 */
/* Names that admins give. */
#pragma once

#include "base/error.h"

/* 1 to 64 bytes of UTF-8 that may stand in a URL's path and in a table: BF_E_BAD_INPUT names the
 * field. */
int bf_name_check(const char *name, const char *field, struct bf_error *err);
