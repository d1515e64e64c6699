/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of one copy: what of the disk is safely on the target.
 *
 * A text file of lines "HASH PAYLOAD"; HASH is XXH3-64 of the payload, seeded with the hash of the
 * line before, in 16 hex digits.  Payloads:
 *   {"journal":2,"source":...,"target":...,"size":N,"map":...,"mode":...}    first line: which copy
 *   done START END       all of these bytes are on the target ...
 *   commit N             ... which counts from this line on (N = number of the commit)
 *   complete             nothing is left to do
 *
 * Order that keeps it true: the target is flushed, the digest's leaves are synced, then lines are
 * appended and synced.  Reading stops at the first line that does not fit: what was being written
 * when the power went, or damage; either way only the commits before it count, so the worst is
 * that something is copied twice.
 *
 * Source and target are named by what they are, as far as it is known: a file by its inode, an RBD
 * image by its ids (bf_endpoint.identity).  So another one of the same name and size is told from
 * the one that the copy began with.
 *
 * Format 1 was the same with names alone.  It is refused: nothing can tell whether what it says of
 * is what is there now, and what is refused costs one copy from the beginning.
 *
 * A journal of another copy, or with a damaged first line, is refused: BF_E_JOURNAL.
 * Two copies with one journal: BF_E_IN_USE.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "nbd/extent.h"

/* What makes two runs the same copy. */
struct bf_journal_identity {
    const char *source;
    const char *target; /* NULL: a file that is not there (yet) */
    uint64_t size;
    const char *map;  /* "whole", "compare" or the hash of the extents */
    const char *mode; /* the other options that change the result */
};

struct bf_journal_content {
    struct bf_range_set done; /* owned */
    uint64_t commits;
    bool complete;
    size_t valid_bytes; /* up to the end of the last commit */
    uint64_t chain;     /* hash of the last line of these */
};

struct bf_journal; /* opaque */

/* Open, or make an empty one; ret_content says what is done already (commits 0: nothing).  The
 * caller frees ret_content->done. */
int bf_journal_open(const char *path, const struct bf_journal_identity *identity,
                    struct bf_journal **ret_journal, struct bf_journal_content *ret_content,
                    struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* Write the first line if there is none, with this name of the target: before the first commit. */
int bf_journal_begin(struct bf_journal *journal, const char *target, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
/* Durable when it returns. */
int bf_journal_commit(struct bf_journal *journal, const struct bf_range_set *done, bool complete,
                      struct bf_error *err);
/* The copy is finished: remove the file. */
int bf_journal_remove(struct bf_journal *journal, struct bf_error *err);
void bf_journal_close(struct bf_journal *journal); /* the file stays; NULL is fine */

/* The parser alone (for its tests): `text` may be anything. */
int bf_journal_parse(const char *text, size_t length, const struct bf_journal_identity *identity,
                     struct bf_journal_content *ret_content, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
