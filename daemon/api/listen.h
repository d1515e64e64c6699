/* SPDX-License-Identifier: Apache-2.0 */
/* The API's listening UNIX socket. */
#pragma once

#include "base/error.h"

/* Listen at `path`: mode 0660 and `group`, or 0600 when `group` is NULL.  A socket file that
 * nobody answers on is replaced; anything else in the way is BF_E_EXISTS. */
int bf_listen_unix(const char *path, const char *group, int *ret_fd, struct bf_error *err);
