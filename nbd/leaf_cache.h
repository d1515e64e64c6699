/* SPDX-License-Identifier: Apache-2.0 */
/* A few blocks of a digest's file in memory.
 *
 * Chunks are finished nearly in disk order and each brings a few hashes; without the cache each
 * would be a system call.  A block that is all zero is left (or made) a hole, so the file stays as
 * sparse as the disk.
 *
 * What was put reaches the file by eviction or bf_leaf_cache_flush(), and stable storage by nothing
 * in here.  Failures: -1 with errno; a file that became shorter is ENODATA.  One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BF_LEAF_CACHE_BLOCKS 8u
#define BF_LEAF_CACHE_BYTES 4096u /* of a block: the hashes of 16 MiB of disk */

struct bf_leaf_block {
    bool used;
    bool dirty;
    uint64_t number;
    unsigned char bytes[BF_LEAF_CACHE_BYTES];
};

struct bf_leaf_cache {
    int fd;
    uint64_t length;                                   /* of the file */
    uint64_t holes_from;                               /* all of the file behind this is a hole */
    struct bf_leaf_block blocks[BF_LEAF_CACHE_BLOCKS]; /* by number, modulo */
};

/* holes_from: `length` if nothing is known. */
void bf_leaf_cache_init(struct bf_leaf_cache *cache, int fd, uint64_t length, uint64_t holes_from);
int bf_leaf_cache_put(struct bf_leaf_cache *cache, const void *data, size_t length, uint64_t at);
int bf_leaf_cache_get(struct bf_leaf_cache *cache, void *data, size_t length, uint64_t at);
int bf_leaf_cache_zero(struct bf_leaf_cache *cache, uint64_t length, uint64_t at);
int bf_leaf_cache_flush(struct bf_leaf_cache *cache);

/* All of it, whatever the kernel does at a time. */
int bf_read_at(int fd, void *data, size_t length, uint64_t at);
int bf_write_at(int fd, const void *data, size_t length, uint64_t at);
