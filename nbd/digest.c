/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "nbd/durable.h"
#include "nbd/hash.h"
#include "nbd/leaf_cache.h"

#define COPY_BYTES ((size_t)256 << 10) /* a multiple of a node's leaves */
#define NODE_BYTES ((size_t)BF_NODE_LEAVES * BF_HASH_BYTES)

struct bf_digest {
    int fd;
    char *path;     /* final name; NULL: none */
    char *part;     /* name while it is written; NULL: nameless or complete */
    bool temporary; /* `part` is removed at the end */
    uint64_t leaves;
    uint64_t size; /* of the disk */
    struct bf_leaf_cache *cache;
};

bool bf_all_zero(const void *data, size_t length)
{
    const unsigned char *bytes = data;

    /* Most blocks that are not zero show it at once; the rest is a comparison with itself, moved by
     * eight bytes, which libc does at the speed of memory. */
    for (size_t i = 0; i < 8 && i < length; i++)
        if (bytes[i])
            return false;
    return length <= 8 || memcmp(bytes, bytes + 8, length - 8) == 0;
}

void bf_digest_leaf(const void *data, size_t length, unsigned char ret_hash[BF_HASH_BYTES])
{
    XXH128_canonical_t canonical;

    if (bf_all_zero(data, length)) {
        memset(ret_hash, 0, BF_HASH_BYTES);
        return;
    }
    XXH128_canonicalFromHash(&canonical, bf_hash128(data, length));
    memcpy(ret_hash, canonical.digest, BF_HASH_BYTES);
}

static const char *name_of(const struct bf_digest *digest)
{
    return digest->part ? digest->part : digest->path ? digest->path : "temporary digest";
}

static int io_failed(const struct bf_digest *digest, const char *doing, struct bf_error *err)
{
    return bf_fail(err, BF_E_SYSTEM, errno, "digest \"%s\": cannot %s", name_of(digest), doing);
}

static int read_failed(const struct bf_digest *digest, struct bf_error *err)
{
    if (errno == ENODATA)
        return bf_fail(err, BF_E_SYSTEM, 0, "digest \"%s\" became shorter", name_of(digest));
    return io_failed(digest, "read", err);
}

static int read_at(const struct bf_digest *digest, void *data, size_t length, uint64_t at,
                   struct bf_error *err)
{
    return bf_read_at(digest->fd, data, length, at) ? read_failed(digest, err) : 0;
}

int bf_digest_put(struct bf_digest *digest, uint64_t first_leaf, const unsigned char *hashes,
                  size_t count, struct bf_error *err)
{
    return bf_leaf_cache_put(digest->cache, hashes, count * BF_HASH_BYTES,
                             first_leaf * BF_HASH_BYTES)
               ? io_failed(digest, "write", err)
               : 0;
}

int bf_digest_put_zero(struct bf_digest *digest, uint64_t first_leaf, uint64_t count,
                       struct bf_error *err)
{
    return bf_leaf_cache_zero(digest->cache, count * BF_HASH_BYTES, first_leaf * BF_HASH_BYTES)
               ? io_failed(digest, "write", err)
               : 0;
}

int bf_digest_get(const struct bf_digest *digest, uint64_t first_leaf, unsigned char *ret_hashes,
                  size_t count, struct bf_error *err)
{
    return bf_leaf_cache_get(digest->cache, ret_hashes, count * BF_HASH_BYTES,
                             first_leaf * BF_HASH_BYTES)
               ? read_failed(digest, err)
               : 0;
}

uint64_t bf_digest_next(const struct bf_digest *digest, uint64_t leaf)
{
    if (bf_leaf_cache_flush(digest->cache))
        return leaf; /* whoever syncs will meet the reason */
    off_t data = lseek(digest->fd, (off_t)(leaf * BF_HASH_BYTES), SEEK_DATA);

    if (data < 0)
        return errno == ENXIO ? digest->leaves : leaf;
    return (uint64_t)data / BF_HASH_BYTES;
}

static int flush(const struct bf_digest *digest, struct bf_error *err)
{
    return bf_leaf_cache_flush(digest->cache) ? io_failed(digest, "write", err) : 0;
}

int bf_digest_sync(const struct bf_digest *digest, struct bf_error *err)
{
    if (flush(digest, err))
        return -1;
    if (fdatasync(digest->fd))
        return io_failed(digest, "sync", err);
    return 0;
}

/* Fold the nodes of one block of leaves into the root. */
static void fold(XXH3_state_t *root, uint64_t node, const unsigned char *leaves, size_t length)
{
    for (size_t at = 0; at < length; at += NODE_BYTES, node++) {
        size_t n = length - at < NODE_BYTES ? length - at : NODE_BYTES;
        if (bf_all_zero(leaves + at, n))
            continue;
        XXH128_canonical_t canonical;
        unsigned char index[8];
        XXH128_canonicalFromHash(&canonical, XXH3_128bits(leaves + at, n));
        for (unsigned i = 0; i < sizeof(index); i++)
            index[i] = (unsigned char)(node >> (8 * i));
        XXH3_128bits_update(root, index, sizeof(index));
        XXH3_128bits_update(root, canonical.digest, sizeof(canonical.digest));
    }
}

static int fold_all(const struct bf_digest *digest, XXH3_state_t *root, unsigned char *block,
                    struct bf_error *err)
{
    uint64_t end = digest->leaves * BF_HASH_BYTES;

    for (uint64_t leaf = 0; leaf < digest->leaves;) {
        leaf = bf_digest_next(digest, leaf) & ~(uint64_t)(BF_NODE_LEAVES - 1);
        uint64_t at = leaf * BF_HASH_BYTES;
        if (at >= end)
            break;
        size_t n = end - at < COPY_BYTES ? (size_t)(end - at) : COPY_BYTES;
        if (read_at(digest, block, n, at, err))
            return -1;
        fold(root, leaf / BF_NODE_LEAVES, block, n);
        leaf += COPY_BYTES / BF_HASH_BYTES;
    }
    return 0;
}

int bf_digest_root(const struct bf_digest *digest, char ret_hex[BF_ROOT_HEX_LENGTH + 1],
                   struct bf_error *err)
{
    bf_auto_free unsigned char *block = bf_xcalloc(1, COPY_BYTES);
    unsigned char size[8];

    if (flush(digest, err))
        return -1;
    XXH3_state_t *root = XXH3_createState();
    if (!root)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "no memory for a digest");
    XXH3_128bits_reset(root);
    for (unsigned i = 0; i < sizeof(size); i++)
        size[i] = (unsigned char)(digest->size >> (8 * i));
    XXH3_128bits_update(root, size, sizeof(size));
    int rc = fold_all(digest, root, block, err);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(root));
    XXH3_freeState(root);
    if (rc)
        return -1;
    for (unsigned i = 0; i < sizeof(canonical.digest); i++)
        snprintf(ret_hex + 2 * i, 3, "%02x", canonical.digest[i]);
    return 0;
}

/* Copy only what is not a hole. */
static int copy_leaves(const struct bf_digest *from, struct bf_digest *to, struct bf_error *err)
{
    bf_auto_free unsigned char *block = bf_xcalloc(1, COPY_BYTES);
    uint64_t end = from->leaves * BF_HASH_BYTES;

    for (uint64_t leaf = bf_digest_next(from, 0); leaf < from->leaves;
         leaf = bf_digest_next(from, leaf)) {
        uint64_t at = leaf * BF_HASH_BYTES;
        size_t n = end - at < COPY_BYTES ? (size_t)(end - at) : COPY_BYTES;
        if (read_at(from, block, n, at, err))
            return -1;
        if (bf_write_at(to->fd, block, n, at))
            return io_failed(to, "write", err);
        leaf += n / BF_HASH_BYTES;
    }
    return 0;
}

static int open_nameless(struct bf_digest *digest, struct bf_error *err)
{
    const char *directory = getenv("TMPDIR");

    if (!directory)
        directory = "/var/tmp";
    digest->fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (digest->fd < 0)
        digest->fd = memfd_create("digest", MFD_CLOEXEC);
    return digest->fd < 0 ? io_failed(digest, "create", err) : 0;
}

static int open_part(struct bf_digest *digest, const struct bf_digest_spec *spec,
                     struct bf_error *err)
{
    int flags = O_RDWR | O_CLOEXEC | (spec->resume ? 0 : O_CREAT | O_TRUNC);

    digest->fd = open(digest->part, flags, 0600);
    if (digest->fd < 0 && errno == ENOENT && spec->resume && spec->complete && digest->path) {
        /* It died between the renaming and the removal of the journal. */
        digest->fd = open(digest->path, O_RDONLY | O_CLOEXEC);
        free(digest->part);
        digest->part = NULL;
    }
    if (digest->fd < 0 && errno == ENOENT && spec->resume)
        return bf_fail(err, BF_E_JOURNAL, 0, "the digest \"%s\" that belongs to it is missing",
                       name_of(digest));
    return digest->fd < 0 ? io_failed(digest, "create", err) : 0;
}

static int check_length(const struct bf_digest *digest, enum bf_error_code code,
                        struct bf_error *err)
{
    uint64_t want = digest->leaves * BF_HASH_BYTES;
    struct stat st;

    if (fstat(digest->fd, &st))
        return io_failed(digest, "look at", err);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != want)
        return bf_fail(err, code, 0,
                       "digest \"%s\" is not of a disk of %" PRIu64
                       " bytes (it has %jd bytes and should have %" PRIu64 ")",
                       name_of(digest), digest->size, (intmax_t)st.st_size, want);
    return 0;
}

static int fill_new(struct bf_digest *digest, const struct bf_digest_spec *spec,
                    struct bf_error *err)
{
    struct bf_digest *from = NULL;

    if (spec->resume)
        return check_length(digest, BF_E_JOURNAL, err);
    if (ftruncate(digest->fd, (off_t)(digest->leaves * BF_HASH_BYTES)))
        return io_failed(digest, "size", err);
    if (!spec->from)
        return 0;
    if (bf_digest_open(spec->from, spec->size, &from, err))
        return -1;
    int rc = copy_leaves(from, digest, err);
    bf_digest_free(from);
    return rc;
}

static void start_cache(struct bf_digest *digest, uint64_t holes_from)
{
    bf_leaf_cache_init(digest->cache, digest->fd, digest->leaves * BF_HASH_BYTES, holes_from);
}

static struct bf_digest *digest_alloc(uint64_t size)
{
    struct bf_digest *digest = bf_xcalloc(1, sizeof(*digest));

    digest->fd = -1;
    digest->size = size;
    digest->leaves = bf_leaves_of(size);
    digest->cache = bf_xcalloc(1, sizeof(*digest->cache));
    return digest;
}

int bf_digest_new(const struct bf_digest_spec *spec, struct bf_digest **ret_digest,
                  struct bf_error *err)
{
    struct bf_digest *digest = digest_alloc(spec->size);
    int rc;

    if (spec->path) {
        digest->path = bf_xstrdup(spec->path);
        digest->part = bf_xasprintf("%s.part", spec->path);
    } else if (spec->beside) {
        digest->part = bf_xstrdup(spec->beside);
        digest->temporary = true;
    }
    rc = digest->part ? open_part(digest, spec, err) : open_nameless(digest, err);
    if (!rc)
        rc = fill_new(digest, spec, err);
    start_cache(digest, spec->resume || spec->from ? digest->leaves * BF_HASH_BYTES : 0);
    if (rc) {
        bf_digest_free(digest);
        return -1;
    }
    *ret_digest = digest;
    return 0;
}

int bf_digest_open(const char *path, uint64_t size, struct bf_digest **ret_digest,
                   struct bf_error *err)
{
    struct bf_digest *digest = digest_alloc(size);

    digest->path = bf_xstrdup(path);
    digest->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (digest->fd < 0)
        bf_fail(err, errno == ENOENT ? BF_E_BAD_INPUT : BF_E_SYSTEM, errno,
                "cannot open the digest \"%s\"", path);
    else
        check_length(digest, BF_E_BAD_INPUT, err);
    start_cache(digest, digest->leaves * BF_HASH_BYTES);
    if (bf_error_is_set(err)) {
        bf_digest_free(digest);
        return -1;
    }
    *ret_digest = digest;
    return 0;
}

int bf_digest_commit(struct bf_digest *digest, struct bf_error *err)
{
    if (flush(digest, err))
        return -1;
    if (digest->temporary && unlink(digest->part) && errno != ENOENT)
        return io_failed(digest, "remove", err);
    if (!digest->path || !digest->part)
        return 0;
    if (fsync(digest->fd) || rename(digest->part, digest->path) ||
        bf_sync_directory_of(digest->path))
        return io_failed(digest, "complete", err);
    free(digest->part);
    digest->part = NULL;
    return 0;
}

void bf_digest_free(struct bf_digest *digest)
{
    if (!digest)
        return;
    if (digest->fd >= 0) {
        (void)bf_leaf_cache_flush(digest->cache); /* what is to last was synced before */
        close(digest->fd);
    }
    free(digest->cache);
    free(digest->path);
    free(digest->part);
    free(digest);
}
