/* SPDX-License-Identifier: Apache-2.0 */
/* Small files: read whole, write durably, make directories. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* Read a file of at most `max` bytes; larger: BF_E_TOO_LARGE.  Result NUL-terminated, caller frees.
 * ret_length may be NULL. */
int bf_file_read(const char *path, size_t max, char **ret_text, size_t *ret_length,
                 struct bf_error *err);
int bf_fd_read_all(int fd, size_t max, char **ret_text, size_t *ret_length, struct bf_error *err);
int bf_fd_write_all(int fd, const void *data, size_t length, struct bf_error *err);

/* Replace a file so that after a crash either the old or the new content is there:
 * temporary file in the same directory, fsync, rename, fsync of the directory. */
int bf_file_replace(const char *path, const void *data, size_t length, mode_t mode,
                    struct bf_error *err);

/* As bf_file_replace(), but an existing file is left alone: BF_E_EXISTS. */
int bf_file_create(const char *path, const void *data, size_t length, mode_t mode,
                   struct bf_error *err);

/* mkdir -p with this mode for what is made; an existing directory is fine. */
int bf_directory_make(const char *path, mode_t mode, struct bf_error *err);
/* Remove a directory below which only files and directories of ours are.  Missing is fine. */
int bf_directory_remove(const char *path, struct bf_error *err);
/* Remove a file; missing is fine. */
int bf_file_remove(const char *path, struct bf_error *err);
/* As access(2), but for the user that the process acts as, with its capabilities: access() asks for
 * the one that started it, and with CAP_DAC_OVERRIDE says no to what open() may do. */
int bf_file_access(const char *path, int mode);

/* The path of a helper program: BLOCKFERRY_LIBEXEC (tests; directories with colons between), the
 * build's libexec dir, then PATH. Caller frees. */
int bf_program_find(const char *name, char **ret_path, struct bf_error *err);
