/* SPDX-License-Identifier: Apache-2.0 */
/* Random puts, gets and zeroes against a plain array. */
#include "nbd/leaf_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "nbd/extent.h"
#include "tests/unit/tap.h"

#define LENGTH ((size_t)40 * BF_LEAF_CACHE_BYTES + 48) /* its last block is short */

static unsigned char model[LENGTH], seen[LENGTH];

static int new_file(void)
{
    int fd = memfd_create("leaves", MFD_CLOEXEC);

    ok(fd >= 0 && ftruncate(fd, LENGTH) == 0, "a file");
    memset(model, 0, sizeof(model));
    return fd;
}

static bool file_is_model(int fd)
{
    return bf_read_at(fd, seen, LENGTH, 0) == 0 && memcmp(seen, model, LENGTH) == 0;
}

static bool one_step(struct bf_leaf_cache *cache)
{
    size_t at = (size_t)(rand() % (int)(LENGTH / 16)) * 16;
    size_t most = rand() % 4 ? 256 : LENGTH;
    size_t length = bf_min_u64((size_t)(rand() % (int)(most / 16) + 1) * 16, LENGTH - at);

    switch (rand() % 4) {
    case 0:
        memset(model + at, 0, length);
        return bf_leaf_cache_zero(cache, length, at) == 0;
    case 1:
        return bf_leaf_cache_get(cache, seen, length, at) == 0 &&
               memcmp(seen, model + at, length) == 0;
    default:
        memset(model + at, rand() % 256, length);
        return bf_leaf_cache_put(cache, model + at, length, at) == 0;
    }
}

static void test_random(unsigned seed, bool known_holes)
{
    struct bf_leaf_cache *cache = bf_xcalloc(1, sizeof(*cache));
    int fd = new_file();
    bool good = true;

    srand(seed);
    bf_leaf_cache_init(cache, fd, LENGTH, known_holes ? 0 : LENGTH);
    for (int i = 0; i < 3000 && good; i++)
        good = one_step(cache) && (i % 500 || (!bf_leaf_cache_flush(cache) && file_is_model(fd)));
    ok(good, "each step, seed %u", seed);
    ok(bf_leaf_cache_flush(cache) == 0 && file_is_model(fd), "the file at the end");
    close(fd);
    free(cache);
}

static void test_sparse(void)
{
    struct bf_leaf_cache *cache = bf_xcalloc(1, sizeof(*cache));
    unsigned char hash[16] = {1};
    struct stat st;
    int fd = new_file();

    bf_leaf_cache_init(cache, fd, LENGTH, 0);
    ok(bf_leaf_cache_put(cache, hash, sizeof(hash), 16 * BF_LEAF_CACHE_BYTES) == 0, "one hash");
    ok(bf_leaf_cache_zero(cache, 100, 20 * BF_LEAF_CACHE_BYTES + 16) == 0, "zeroes behind it");
    ok(bf_leaf_cache_flush(cache) == 0, "flush");
    ok(fstat(fd, &st) == 0 && st.st_blocks == 8, "one block of the file is in use");
    ok(bf_leaf_cache_zero(cache, LENGTH, 0) == 0 && bf_leaf_cache_flush(cache) == 0, "all zero");
    ok(fstat(fd, &st) == 0 && st.st_blocks == 0, "none is in use");
    ok(ftruncate(fd, 100) == 0, "shorter");
    ok(bf_leaf_cache_get(cache, seen, 16, 30 * BF_LEAF_CACHE_BYTES) == 0, "known to be a hole");
    bf_leaf_cache_init(cache, fd, LENGTH, LENGTH);
    ok(bf_leaf_cache_get(cache, seen, 16, 30 * BF_LEAF_CACHE_BYTES) == -1 && errno == ENODATA,
       "the file became shorter");
    close(fd);
    free(cache);
}

int main(void)
{
    for (unsigned seed = 1; seed <= 4; seed++)
        test_random(seed, seed % 2);
    test_sparse();
    return done();
}
