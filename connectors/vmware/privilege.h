/* SPDX-License-Identifier: Apache-2.0 */
/* What the account must be allowed to do; docs/platforms/vmware.md has the same list. */
#pragma once

#include "connectors/vmware/soap.h"

/* The missing ones on an object, as "A, B"; NULL: none is missing.  Caller frees. */
int bf_vmware_privileges_missing(struct bf_vmware *vw, const char *type, const char *id,
                                 char **ret_missing, struct bf_error *err);
/* Of these names the ones that are granted (or are not). */
int bf_vmware_privileges_list(struct bf_vmware *vw, const char *type, const char *id,
                              const char *const *names, size_t count, bool granted, char **ret_list,
                              struct bf_error *err);
