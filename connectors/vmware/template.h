/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of an nbdkit plugin, as words with placeholders: "server={server} file={file}".
 *
 * Words are separated by blanks before anything is put in, so a value never becomes two words; each
 * is KEY=TEXT, so none can be an option of nbdkit.  A word of which a placeholder has no value (an
 * option that is not set) is left out.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

struct bf_vmware_template_value {
    const char *name;  /* "file" for {file} */
    const char *value; /* NULL: not set */
};

/* Malformed words and unknown placeholders are BF_E_BAD_INPUT; values are not looked at. */
int bf_vmware_template_check(const char *text, const struct bf_vmware_template_value *values,
                             size_t value_count, struct bf_error *err);
/* The words of a template that was checked, NULL-terminated. */
char **bf_vmware_template_fill(const char *text, const struct bf_vmware_template_value *values,
                               size_t value_count);
void bf_vmware_template_free(char **words); /* NULL allowed */
