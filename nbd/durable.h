/* SPDX-License-Identifier: Apache-2.0 */
/* Names that survive a power cut. */
#pragma once

/* fsync the directory that holds this path, after a file was made, renamed or removed there.
 * 0, or -1 with errno. */
int bf_sync_directory_of(const char *path) __attribute__((nonnull, warn_unused_result));
