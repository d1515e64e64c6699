/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion by blockferry-convert: Linux guests for x86-64, or in mode windows Windows guests, in
 * one short appliance session, without running the guest's own programs.  See
 * docs/guest-conversion.md for what it changes. */
#pragma once

#include "guest/convert.h"

/* By the request's plan, if there is one (NULL: by inspection); report->planned says whether it
 * held. ret_untouched is set on failure: true when nothing was changed in the guest and virt-v2v
 * may be tried on the same clones. */
int bf_fast_run(const struct bf_convert_request *request, struct bf_convert_report *report,
                bool *ret_untouched, struct bf_error *err);

/* One run of the program; mode "convert" or "inspect", the directory exists.  *ret_result is what
 * it answered, which is no error. */
int bf_fast_call(const struct bf_convert_request *request, const char *mode, const char *directory,
                 struct json_object **ret_result, bool *ret_untouched, struct bf_error *err);
