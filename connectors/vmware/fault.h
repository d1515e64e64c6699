/* SPDX-License-Identifier: Apache-2.0 */
/* vSphere's faults as errors of the catalogue. */
#pragma once

#include <libxml/tree.h>

#include "base/error.h"

/* `type` NULL: unknown.  `fault` is the fault's element, for particulars.  Returns -1. */
int bf_vmware_fault_fail(const char *what, const char *type, xmlNodePtr fault, const char *text,
                         struct bf_error *err);
