/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/leaf_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "nbd/digest.h"
#include "nbd/extent.h"

int bf_read_at(int fd, void *data, size_t length, uint64_t at)
{
    unsigned char *to = data;

    while (length) {
        ssize_t n = pread(fd, to, length, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENODATA;
        if (n <= 0)
            return -1;
        to += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

int bf_write_at(int fd, const void *data, size_t length, uint64_t at)
{
    const unsigned char *from = data;

    while (length) {
        ssize_t n = pwrite(fd, from, length, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        from += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

static uint64_t block_start(uint64_t number)
{
    return number * BF_LEAF_CACHE_BYTES;
}

static size_t block_length(const struct bf_leaf_cache *cache, uint64_t number)
{
    uint64_t rest = cache->length - block_start(number);

    return rest < BF_LEAF_CACHE_BYTES ? (size_t)rest : BF_LEAF_CACHE_BYTES;
}

/* Make [at, at + length) of the file a hole, or write zeroes where that cannot be. */
static int punch(struct bf_leaf_cache *cache, uint64_t length, uint64_t at)
{
    static const unsigned char zeroes[BF_LEAF_CACHE_BYTES];

    if (at >= cache->holes_from || !length)
        return 0;
    if (fallocate(cache->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
                  (off_t)length) == 0)
        return 0;
    while (length) {
        size_t n = length < sizeof(zeroes) ? (size_t)length : sizeof(zeroes);
        if (bf_write_at(cache->fd, zeroes, n, at))
            return -1;
        at += n;
        length -= n;
    }
    return 0;
}

static int write_back(struct bf_leaf_cache *cache, struct bf_leaf_block *block)
{
    uint64_t at = block_start(block->number);
    size_t length = block_length(cache, block->number);

    if (!block->dirty)
        return 0;
    if (bf_all_zero(block->bytes, length)) {
        if (punch(cache, length, at))
            return -1;
    } else {
        if (bf_write_at(cache->fd, block->bytes, length, at))
            return -1;
        cache->holes_from = bf_max_u64(cache->holes_from, at + length);
    }
    block->dirty = false;
    return 0;
}

static struct bf_leaf_block *slot_of(struct bf_leaf_cache *cache, uint64_t number)
{
    return &cache->blocks[number % BF_LEAF_CACHE_BLOCKS];
}

/* The block, read in; NULL with errno.  whole: all of it will be overwritten. */
static struct bf_leaf_block *load(struct bf_leaf_cache *cache, uint64_t number, bool whole)
{
    struct bf_leaf_block *block = slot_of(cache, number);
    uint64_t at = block_start(number);

    if (block->used && block->number == number)
        return block;
    if (block->used && write_back(cache, block))
        return NULL;
    block->used = false;
    if (at >= cache->holes_from)
        memset(block->bytes, 0, sizeof(block->bytes));
    else if (!whole && bf_read_at(cache->fd, block->bytes, block_length(cache, number), at))
        return NULL;
    block->used = true;
    block->number = number;
    return block;
}

/* The part of [at, at + length) that is in at's block. */
static size_t part_in_block(uint64_t at, uint64_t length)
{
    uint64_t room = BF_LEAF_CACHE_BYTES - at % BF_LEAF_CACHE_BYTES;

    return (size_t)bf_min_u64(length, room);
}

void bf_leaf_cache_init(struct bf_leaf_cache *cache, int fd, uint64_t length, uint64_t holes_from)
{
    memset(cache, 0, sizeof(*cache));
    cache->fd = fd;
    cache->length = length;
    cache->holes_from = holes_from;
}

int bf_leaf_cache_put(struct bf_leaf_cache *cache, const void *data, size_t length, uint64_t at)
{
    const unsigned char *from = data;

    while (length) {
        size_t n = part_in_block(at, length);
        uint64_t number = at / BF_LEAF_CACHE_BYTES;
        struct bf_leaf_block *block = load(cache, number, n == block_length(cache, number));
        if (!block)
            return -1;
        memcpy(block->bytes + at % BF_LEAF_CACHE_BYTES, from, n);
        block->dirty = true;
        from += n;
        at += n;
        length -= n;
    }
    return 0;
}

int bf_leaf_cache_get(struct bf_leaf_cache *cache, void *data, size_t length, uint64_t at)
{
    unsigned char *to = data;

    while (length) {
        size_t n = part_in_block(at, length);
        const struct bf_leaf_block *block = load(cache, at / BF_LEAF_CACHE_BYTES, false);
        if (!block)
            return -1;
        memcpy(to, block->bytes + at % BF_LEAF_CACHE_BYTES, n);
        to += n;
        at += n;
        length -= n;
    }
    return 0;
}

int bf_leaf_cache_zero(struct bf_leaf_cache *cache, uint64_t length, uint64_t at)
{
    uint64_t end = at + length;

    while (at < end) {
        size_t n = part_in_block(at, end - at);
        uint64_t number = at / BF_LEAF_CACHE_BYTES;
        struct bf_leaf_block *block = slot_of(cache, number);
        bool cached = block->used && block->number == number;
        if (n == block_length(cache, number)) {
            /* Whole blocks: forgotten here, and punched together. */
            uint64_t from = at;
            for (; at < end && (n = part_in_block(at, end - at)) ==
                                   block_length(cache, at / BF_LEAF_CACHE_BYTES);
                 at += n) {
                block = slot_of(cache, at / BF_LEAF_CACHE_BYTES);
                if (block->used && block->number == at / BF_LEAF_CACHE_BYTES)
                    block->used = block->dirty = false;
            }
            if (punch(cache, at - from, from))
                return -1;
            continue;
        }
        if (!cached && !(block = load(cache, number, false)))
            return -1;
        memset(block->bytes + at % BF_LEAF_CACHE_BYTES, 0, n);
        block->dirty = true;
        at += n;
    }
    return 0;
}

int bf_leaf_cache_flush(struct bf_leaf_cache *cache)
{
    for (unsigned i = 0; i < BF_LEAF_CACHE_BLOCKS; i++)
        if (cache->blocks[i].used && write_back(cache, &cache->blocks[i]))
            return -1;
    return 0;
}
