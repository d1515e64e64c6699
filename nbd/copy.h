/* SPDX-License-Identifier: Apache-2.0 */
/* One run of blockferry-copy: open, map, copy, flush, verify, repair. */
#pragma once

#include "base/error.h"
#include "nbd/options.h"

/* Runs to the end and reports on the way (see progress.h); the error, too, is reported, and
 * returned for the exit code.  cancel_fd readable ends it early with BF_E_CANCELLED. */
int bf_copy_run(const struct bf_copy_options *options, int cancel_fd, int control_fd,
                struct bf_error *err) __attribute__((nonnull, warn_unused_result));
