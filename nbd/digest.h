/* SPDX-License-Identifier: Apache-2.0 */
/* The digest of a disk: XXH3-128 per leaf of 64 KiB, folded to nodes of 4 MiB and a root.
 *
 * The file holds 16 bytes a leaf and nothing else; a leaf that is all zero is 16 zero bytes, so the
 * file is as sparse as the disk.  The last leaf is over what the disk has of it.  A node is the
 * hash of its 64 leaves' bytes, zero if all are; the root is the hash of the disk's size and of
 * index and hash of each node that is not zero.  So the root of a sparse disk costs little.
 *
 * Not cryptographic: it finds damage, not malice.
 *
 * A new file is written as PATH.part and renamed to PATH when complete.  Its leaves reach the disk
 * by bf_digest_sync(), which the journal calls before it says "done": a resumed copy goes on with
 * the .part file.
 * Threads: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define BF_LEAF_BYTES ((uint64_t)64 << 10)
#define BF_NODE_LEAVES 64u
#define BF_HASH_BYTES 16u
#define BF_ROOT_HEX_LENGTH 32u

struct bf_digest; /* opaque */

struct bf_digest_spec {
    const char *path;   /* NULL: a nameless temporary file */
    const char *beside; /* path NULL: keep it as this file instead (removed at the end), or NULL */
    const char *from;   /* NULL or the file to start from */
    uint64_t size;      /* of the disk */
    bool resume;        /* go on with what is there */
    bool complete;      /* resuming a copy that was all done: PATH may be there already */
};

/* Start a new digest.  A file to start from that is of another size: BF_E_BAD_INPUT.  To resume and
 * nothing there: BF_E_JOURNAL. */
int bf_digest_new(const struct bf_digest_spec *spec, struct bf_digest **ret_digest,
                  struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* Open a complete one for reading. */
int bf_digest_open(const char *path, uint64_t size, struct bf_digest **ret_digest,
                   struct bf_error *err) __attribute__((nonnull, warn_unused_result));
void bf_digest_free(struct bf_digest *digest); /* a .part file stays; NULL is fine */

/* Hash of one leaf's bytes. */
void bf_digest_leaf(const void *data, size_t length, unsigned char ret_hash[BF_HASH_BYTES]);
/* All zero bytes? */
bool bf_all_zero(const void *data, size_t length);

int bf_digest_put(struct bf_digest *digest, uint64_t first_leaf, const unsigned char *hashes,
                  size_t count, struct bf_error *err);
int bf_digest_put_zero(struct bf_digest *digest, uint64_t first_leaf, uint64_t count,
                       struct bf_error *err);
int bf_digest_get(const struct bf_digest *digest, uint64_t first_leaf, unsigned char *ret_hashes,
                  size_t count, struct bf_error *err);
/* From which leaf on is there something that is not known to be zero?  The number of leaves if
 * none. */
uint64_t bf_digest_next(const struct bf_digest *digest, uint64_t leaf);
/* What was put is on stable storage. */
int bf_digest_sync(const struct bf_digest *digest, struct bf_error *err);
int bf_digest_root(const struct bf_digest *digest, char ret_hex[BF_ROOT_HEX_LENGTH + 1],
                   struct bf_error *err);
/* Complete: durable under its final name. */
int bf_digest_commit(struct bf_digest *digest, struct bf_error *err);

static inline uint64_t bf_leaves_of(uint64_t size)
{
    return size / BF_LEAF_BYTES + (size % BF_LEAF_BYTES != 0);
}
