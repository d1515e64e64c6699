/* SPDX-License-Identifier: Apache-2.0 */
/* A registry hive as a file: is it fit to be edited, and which of its pages did an edit change.
 *
 * Layout after the public descriptions of the regf format: a base block of 4096 bytes (signature,
 * two sequence numbers at 4 and 8, length of the bins at 40, a checksum over the first 508 bytes at
 * 508), then the bins.  Windows makes the first sequence number differ from the second one while
 * the newest changes are in the log files (.LOG1, .LOG2) only.  hivex takes no notice and makes
 * them equal when it writes: Windows would then not read the logs, and these changes would be lost.
 *
 * Pure functions on bytes that a guest wrote. */
#pragma once

#include <stddef.h>

#include "base/error.h"

#define BF_HIVE_PAGE 4096
/* Real hives have up to some 200 MiB; a larger one is no hive that we edit. */
#define BF_HIVE_MAX ((size_t)512 << 20)

/* BF_E_GUEST_REGISTRY: no hive, or damaged.  BF_E_GUEST_REGISTRY_DIRTY: the logs hold changes. */
int bf_hive_file_check(const char *name, const void *data, size_t size, struct bf_error *err);

/* Calls `write` for every run of 4 KiB pages of `after` that differ from `before` (or lie behind
 * its end); stops at the first failure and returns it. */
int bf_hive_file_changes(const void *before, size_t before_size, const void *after,
                         size_t after_size,
                         int (*write)(size_t offset, const void *data, size_t size, void *user,
                                      struct bf_error *err),
                         void *user, struct bf_error *err);
