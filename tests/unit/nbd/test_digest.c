/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/digest.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/unit/tap.h"

#define LEAF ((size_t)65536)

static char directory[] = "/tmp/test-digest-XXXXXX";
static unsigned char block[LEAF];

static struct bf_digest *make(const char *path, const char *from, uint64_t size)
{
    struct bf_digest_spec spec = {.path = path, .from = from, .size = size};
    struct bf_digest *digest = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    ok(bf_digest_new(&spec, &digest, &err) == 0, "new digest");
    return digest;
}

static void put(struct bf_digest *digest, uint64_t leaf, unsigned char fill)
{
    unsigned char hash[BF_HASH_BYTES];
    bf_auto_error err = BF_ERROR_INIT;

    memset(block, fill, sizeof(block));
    bf_digest_leaf(block, sizeof(block), hash);
    ok(bf_digest_put(digest, leaf, hash, 1, &err) == 0, "put leaf %" PRIu64, leaf);
}

static void root_of(struct bf_digest *digest, char hex[BF_ROOT_HEX_LENGTH + 1])
{
    bf_auto_error err = BF_ERROR_INIT;

    ok(bf_digest_root(digest, hex, &err) == 0, "root");
}

static void test_leaf(void)
{
    unsigned char hash[BF_HASH_BYTES], other[BF_HASH_BYTES];

    memset(block, 0, sizeof(block));
    ok(bf_all_zero(block, sizeof(block)), "zeroes are zero");
    bf_digest_leaf(block, sizeof(block), hash);
    ok(bf_all_zero(hash, sizeof(hash)), "a zero leaf's hash is zero");
    for (size_t at = 0; at < sizeof(block); at += 4099) {
        block[at] = 1;
        if (bf_all_zero(block, sizeof(block)))
            ok(false, "a byte at %zu is not seen", at);
        block[at] = 0;
    }
    block[sizeof(block) - 1] = 1;
    ok(!bf_all_zero(block, sizeof(block)), "the last byte counts");
    bf_digest_leaf(block, sizeof(block), hash);
    bf_digest_leaf(block, sizeof(block) - 1, other);
    ok(memcmp(hash, other, sizeof(hash)) != 0, "the length counts");
    ok(bf_all_zero(block, 0) && bf_all_zero(block, 3), "short ones");
}

static void test_root(void)
{
    uint64_t size = 200 * LEAF + 5;
    char a[BF_ROOT_HEX_LENGTH + 1], b[BF_ROOT_HEX_LENGTH + 1];
    struct bf_digest *one = make(NULL, NULL, size), *two = make(NULL, NULL, size);
    bf_auto_error err = BF_ERROR_INIT;

    root_of(one, a);
    root_of(two, b);
    is_string(a, b, "empty ones are equal");
    put(one, 3, 1);
    put(one, 199, 2);
    root_of(one, a);
    ok(strcmp(a, b) != 0, "content changes the root");
    put(two, 199, 2);
    put(two, 3, 1);
    root_of(two, b);
    is_string(a, b, "the order does not matter");
    put(two, 4, 1);
    ok(bf_digest_put_zero(two, 3, 1, &err) == 0, "zero a leaf");
    root_of(two, b);
    ok(strcmp(a, b) != 0, "the place matters");
    put(two, 3, 1);
    ok(bf_digest_put_zero(two, 4, 1, &err) == 0, "zero another");
    root_of(two, b);
    is_string(a, b, "back to the same content");
    bf_digest_free(one);
    bf_digest_free(two);
    one = make(NULL, NULL, size + 1);
    put(one, 3, 1);
    put(one, 199, 2);
    root_of(one, b);
    ok(strcmp(a, b) != 0, "the disk's size matters");
    bf_digest_free(one);
}

static void test_file(void)
{
    char path[100], next[100], part[110], a[BF_ROOT_HEX_LENGTH + 1], b[BF_ROOT_HEX_LENGTH + 1];
    struct bf_digest *other = NULL;
    bf_auto_error err = BF_ERROR_INIT;
    struct stat st;

    snprintf(path, sizeof(path), "%s/digest", directory);
    snprintf(next, sizeof(next), "%s/next", directory);
    snprintf(part, sizeof(part), "%s.part", path);
    struct bf_digest *digest = make(path, NULL, (uint64_t)1 << 40);
    put(digest, 10000000, 7);
    ok(stat(path, &st) != 0 && stat(part, &st) == 0, "unfinished, it is a .part file");
    root_of(digest, a);
    bf_digest_free(digest);

    struct bf_digest_spec resume = {.path = path, .size = (uint64_t)1 << 40, .resume = true};
    ok(bf_digest_new(&resume, &digest, &err) == 0, "resume");
    root_of(digest, b);
    is_string(a, b, "with what was there");
    ok(bf_digest_commit(digest, &err) == 0, "commit");
    bf_digest_free(digest);
    ok(stat(part, &st) != 0 && stat(path, &st) == 0, "then it has its name");
    is_u64((uint64_t)st.st_size, (uint64_t)1 << 28, "16 bytes a leaf");
    ok(st.st_blocks < 100, "and is sparse");
    resume.complete = true;
    ok(bf_digest_new(&resume, &digest, &err) == 0, "resume what was complete");
    bf_digest_free(digest);
    resume.complete = false;
    ok(bf_digest_new(&resume, &other, &err) == -1, "a call that must fail");
    is_error(&err, BF_E_JOURNAL, "resume with nothing there");

    digest = make(next, path, (uint64_t)1 << 40);
    root_of(digest, b);
    is_string(a, b, "a delta starts from the old one");
    is_u64(bf_digest_next(digest, 0) / 256, 10000000 / 256, "the first leaf that may be not zero");
    is_u64(bf_digest_next(digest, 10100000), (uint64_t)1 << 24, "none after it");
    bf_digest_free(digest);
    ok(bf_digest_open(path, 1 << 30, &other, &err) == -1, "a call that must fail");
    is_error(&err, BF_E_BAD_INPUT, "of another size");
    ok(bf_digest_open("/nonexistent/x", 1 << 30, &other, &err) == -1, "a call that must fail");
    is_error(&err, BF_E_BAD_INPUT, "missing");
}

int main(void)
{
    bf_auto_error err = BF_ERROR_INIT;

    if (!mkdtemp(directory))
        return 1;
    test_leaf();
    test_root();
    test_file();
    ok(bf_directory_remove(directory, &err) == 0, "clean up");
    return done();
}
