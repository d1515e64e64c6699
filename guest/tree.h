/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a guest that were fetched in one go: the appliance packs a directory as a tar archive,
 * which is read here (libarchive).  One call in place of dozens, each of which costs as much.
 *
 * A tree knows what it does not know: bf_tree_covers() is false for a path below no fetched
 * directory, or left out by one of the directory's patterns.  For a covered path that is not in the
 * tree the answer is "there is no such file".
 *
 * The content is the guest's and untrusted; the size is bounded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bf_tree_file {
    char *path;   /* absolute, in the guest */
    char *target; /* of a symlink; else NULL */
    char *data;   /* of a file, with a NUL behind it; else NULL */
    size_t size;
    uint32_t mode; /* with the type's bits */
};

struct bf_tree_directory {
    char *path;
    char **patterns; /* tar's --exclude, as given */
};

struct bf_tree {
    struct bf_tree_file *files;
    size_t count, capacity;
    struct bf_tree_directory *directories;
    size_t directory_count, directory_capacity;
    size_t bytes;
};

#define BF_TREE_BYTES_MAX ((size_t)1 << 30)

/* Read a tar archive of the directory ("/etc", "" for the root) from the descriptor to its end.
 * `patterns`: what the archive leaves out, NULL-terminated.  On failure the tree is as it was.
 * BF_E_TOO_LARGE, BF_E_GUEST_UNSUPPORTED. */
int bf_tree_add_archive(struct bf_tree *tree, int fd, const char *directory,
                        const char *const *patterns, struct bf_error *err);
void bf_tree_done(struct bf_tree *tree);

bool bf_tree_covers(const struct bf_tree *tree, const char *path);
/* The file, behind symlinks; NULL: there is none.  `ret_outside`: a symlink leads to a path that
 * the tree does not cover. */
const struct bf_tree_file *bf_tree_find(const struct bf_tree *tree, const char *path,
                                        bool *ret_outside);
/* Paths of files, symlinks and directories that match (no wildcard matches a slash), sorted;
 * NULL-terminated, caller frees. */
char **bf_tree_glob(const struct bf_tree *tree, const char *pattern);
