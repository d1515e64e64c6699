/* SPDX-License-Identifier: Apache-2.0 */
/* The engine against a target that loses what was not flushed, once or twice, at every moment at
 * which an endpoint may: while a request is handed to it, before and after it is carried out, and
 * while nothing happens.  The real endpoints lose connections at few of them; the contract
 * (nbd/endpoint.h) allows all.
 *
 * Looked at all the time: what the journal calls done is on stable storage. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "nbd/engine.h"
#include "tests/unit/tap.h"

#define LEAVES 6
#define ZERO_LEAF 2 /* by the map */
#define DISK_BYTES (LEAVES * BF_LEAF_BYTES + 777)
#define DEPTH 4
#define LOSSES 2
#define PAIRS 250
#define JOURNAL_BYTES_MAX 65536

struct loss {
    unsigned at; /* moment; 0: never */
    bool crash;  /* not the connection alone is lost, but the server with its cache */
};

struct disk {
    struct bf_endpoint base;
    unsigned char stable[DISK_BYTES];
    unsigned char cache[DISK_BYTES]; /* what it shows */
    struct bf_request *running[DEPTH];
    unsigned count;
    unsigned moments; /* passed */
    struct loss losses[LOSSES];
    off_t journal_seen;
    bool journal_lies;
};

static struct disk source, target;
static uint32_t dice;
static char journal_path[64];

static unsigned roll(unsigned sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 17;
    dice ^= dice << 5;
    return dice % sides;
}

static struct disk *self(struct bf_endpoint *endpoint)
{
    return (struct disk *)(void *)endpoint;
}

static void lose(struct disk *disk, bool crash)
{
    for (unsigned i = 0; i < disk->count; i++)
        bf_endpoint_restart(&disk->base, disk->running[i]);
    disk->count = 0;
    disk->base.resets++;
    if (crash)
        memcpy(disk->cache, disk->stable, sizeof(disk->cache));
}

static void moment(struct disk *disk)
{
    disk->moments++;
    for (unsigned i = 0; i < LOSSES; i++)
        if (disk->losses[i].at == disk->moments)
            lose(disk, disk->losses[i].crash);
}

static void carry_out(struct disk *disk, const struct bf_request *request)
{
    unsigned char *at = disk->cache + request->offset;

    switch (request->kind) {
    case BF_REQUEST_READ:
        memcpy(request->buffer, at, request->length);
        break;
    case BF_REQUEST_WRITE:
        memcpy(at, request->buffer, request->length);
        break;
    case BF_REQUEST_ZERO:
        memset(at, 0, request->length);
        break;
    case BF_REQUEST_FLUSH:
        memcpy(disk->stable, disk->cache, sizeof(disk->stable));
        break;
    }
}

/* --- the journal, as somebody finds it who comes after a power cut --- */

static const struct bf_journal_identity identity = {
    .source = "source", .target = "target", .size = DISK_BYTES, .map = "map", .mode = ""};

static size_t read_journal(char text[JOURNAL_BYTES_MAX])
{
    bf_auto_fd int fd = open(journal_path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, JOURNAL_BYTES_MAX);

    return n > 0 ? (size_t)n : 0;
}

static void look_at_journal(struct disk *disk)
{
    char text[JOURNAL_BYTES_MAX];
    struct bf_journal_content content = {0};
    bf_auto_error err = BF_ERROR_INIT;
    struct stat st;

    if (stat(journal_path, &st) || st.st_size == disk->journal_seen)
        return;
    disk->journal_seen = st.st_size;
    if (bf_journal_parse(text, read_journal(text), &identity, &content, &err)) {
        disk->journal_lies = true;
        return;
    }
    for (size_t i = 0; i < content.done.count; i++) {
        const struct bf_range *done = &content.done.items[i];
        if (memcmp(disk->stable + done->start, source.stable + done->start,
                   done->end - done->start) != 0)
            disk->journal_lies = true;
    }
    bf_range_set_done(&content.done);
}

/* A commit that says nothing is one of a flush that was begun when all was lost already. */
static bool has_empty_commit(void)
{
    char text[JOURNAL_BYTES_MAX];
    size_t length = read_journal(text);
    bool something = false;

    for (size_t at = 0; at < length; at++) {
        const char *line = text + at;
        const char *end = memchr(line, '\n', length - at);
        if (!end)
            break;
        if (strncmp(line + 17, "commit ", 7) != 0)
            something = true;
        else if (!something)
            return true;
        else
            something = false;
        at = (size_t)(end - text);
    }
    return false;
}

/* --- the endpoint --- */

static void disk_close(struct bf_endpoint *endpoint)
{
    (void)endpoint;
}

static bool disk_start(struct bf_endpoint *endpoint, struct bf_request *request)
{
    struct disk *disk = self(endpoint);

    moment(disk);
    if (disk->count == DEPTH)
        return false;
    disk->running[disk->count++] = request;
    return true;
}

static unsigned disk_prepare(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                             uint64_t now_ms, uint64_t *wake_ms)
{
    struct disk *disk = self(endpoint);

    (void)fds, (void)max;
    moment(disk);
    if (disk->count || endpoint->waiting.head)
        *wake_ms = now_ms;
    return 0;
}

static int disk_handle(struct bf_endpoint *endpoint, const struct pollfd *fds, unsigned count,
                       uint64_t now_ms, struct bf_error *err)
{
    struct disk *disk = self(endpoint);

    (void)fds, (void)count, (void)now_ms, (void)err;
    for (unsigned n = roll(DEPTH + 1); n && disk->count; n--) {
        unsigned i = roll(disk->count);
        struct bf_request *request = disk->running[i];
        moment(disk);
        if (i >= disk->count || disk->running[i] != request)
            break;
        carry_out(disk, request);
        moment(disk); /* done, and the answer is lost */
        if (i >= disk->count || disk->running[i] != request)
            break;
        disk->running[i] = disk->running[--disk->count];
        bf_endpoint_finish(endpoint, request, 0);
    }
    moment(disk); /* answered, and lost afterwards */
    if (endpoint->options.write)
        look_at_journal(disk);
    return 0;
}

static const struct bf_endpoint_ops disk_ops = {
    .name = "test",
    .close = disk_close,
    .start = disk_start,
    .prepare = disk_prepare,
    .handle = disk_handle,
};

static void reset_disk(struct disk *disk, bool write)
{
    memset(&disk->base, 0, sizeof(disk->base));
    disk->base.ops = &disk_ops;
    disk->base.name = (char *)(uintptr_t) "test";
    disk->base.options.write = write;
    disk->base.size = DISK_BYTES;
    disk->base.block_min = 1;
    disk->base.connections = 1;
    disk->base.can_zero = true;
    disk->base.volatile_cache = true;
    disk->count = disk->moments = 0;
    memset(disk->losses, 0, sizeof(disk->losses));
    disk->journal_seen = 0;
    disk->journal_lies = false;
}

/* Data, half of it zero, and a leaf that the map knows to be zero. */
static void fill_source(void)
{
    for (size_t i = 0; i < DISK_BYTES; i++) {
        size_t leaf = i / BF_LEAF_BYTES;
        bool zero = leaf == ZERO_LEAF || i / 8192 % 2;
        source.stable[i] = zero ? 0 : (unsigned char)(1 + roll(255));
    }
    memcpy(source.cache, source.stable, sizeof(source.cache));
}

/* Something else; but some of it was written before, and not flushed. */
static void fill_target(void)
{
    memset(target.stable, 0x5a, sizeof(target.stable));
    memcpy(target.cache, target.stable, sizeof(target.cache));
    for (size_t leaf = 0; leaf < LEAVES; leaf += 3)
        memcpy(target.cache + leaf * BF_LEAF_BYTES, source.stable + leaf * BF_LEAF_BYTES,
               BF_LEAF_BYTES);
}

/* --- one copy --- */

static int copy_with(enum bf_compare compare, struct bf_journal *journal, struct bf_digest *digest,
                     struct bf_error *err)
{
    struct bf_extent_list map = {0};
    struct bf_engine_spec spec = {
        .source = &source.base,
        .target = &target.base,
        .size = DISK_BYTES,
        .window = BF_LEAF_BYTES,
        .memory = (uint64_t)8 * BF_LEAF_BYTES,
        .requests = 2,
        .compare = compare,
        .digest = digest,
        .journal = journal,
        .cancel_fd = -1,
        .control_fd = -1,
    };
    struct bf_engine *engine = NULL;
    uint64_t zero = ZERO_LEAF * BF_LEAF_BYTES, behind = zero + BF_LEAF_BYTES;
    int rc = -1;

    if (!bf_extent_list_add(&map, 0, zero, BF_EXTENT_DATA, err) &&
        !bf_extent_list_add(&map, zero, behind - zero, BF_EXTENT_ZERO, err) &&
        !bf_extent_list_add(&map, behind, DISK_BYTES - behind, BF_EXTENT_DATA, err) &&
        !bf_engine_new(&spec, &engine, err))
        rc = bf_engine_copy(engine, &map, NULL, err);
    bf_engine_free(engine, false);
    bf_extent_list_done(&map);
    return rc;
}

/* NULL: all is well; else what is wrong. */
static const char *copy(enum bf_compare compare, const struct loss losses[LOSSES])
{
    static char clean_root[BF_ROOT_HEX_LENGTH + 1];
    char root[BF_ROOT_HEX_LENGTH + 1] = "";
    struct bf_digest_spec spec = {.size = DISK_BYTES};
    struct bf_journal_content content;
    struct bf_journal *journal = NULL;
    struct bf_digest *digest = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    reset_disk(&source, false);
    reset_disk(&target, true);
    fill_target();
    memcpy(target.losses, losses, sizeof(target.losses));
    unlink(journal_path);
    int rc = bf_journal_open(journal_path, &identity, &journal, &content, &err);
    if (!rc)
        rc = bf_journal_begin(journal, identity.target, &err);
    if (!rc)
        rc = bf_digest_new(&spec, &digest, &err);
    if (!rc)
        rc = copy_with(compare, journal, digest, &err);
    if (!rc)
        rc = bf_digest_root(digest, root, &err);
    bf_journal_close(journal);
    bf_digest_free(digest);
    if (rc)
        return "it failed";
    if (!clean_root[0])
        memcpy(clean_root, root, sizeof(root));
    if (memcmp(target.stable, source.stable, DISK_BYTES) != 0)
        return "bytes were lost";
    if (target.journal_lies)
        return "the journal called done what was not";
    if (has_empty_commit())
        return "a flush was counted that was begun after the loss";
    return strcmp(root, clean_root) == 0 ? NULL : "the digest is wrong";
}

static void sweep(enum bf_compare compare, bool crash, const char *name)
{
    struct loss losses[LOSSES] = {{0}};
    unsigned passed = 0;
    const char *wrong = copy(compare, losses);

    if (!ok(!wrong && target.moments > 50, "%s: nothing lost", name))
        return;
    while (!wrong && losses[0].at <= target.moments) {
        losses[0] = (struct loss){.at = ++passed, .crash = crash};
        dice = 2463534242u;
        wrong = copy(compare, losses);
    }
    ok(!wrong, "%s: lost at any of %u moments", name, passed);
    if (wrong)
        diag("moment %u: %s", passed, wrong);
}

static void sweep_pairs(enum bf_compare compare, const char *name)
{
    const char *wrong = NULL;
    uint32_t seed = 0;

    while (!wrong && seed < PAIRS) {
        struct loss losses[LOSSES];
        dice = ++seed;
        for (unsigned i = 0; i < 8; i++)
            (void)roll(2); /* a small seed is a poor one */
        losses[0] = (struct loss){.at = 1 + roll(120), .crash = roll(2)};
        losses[1] = (struct loss){.at = losses[0].at + roll(40), .crash = true};
        wrong = copy(compare, losses);
    }
    ok(!wrong, "%s: lost twice, %u times", name, seed);
    if (wrong)
        diag("seed %u: %s", seed, wrong);
}

int main(void)
{
    /* Thousands of small files, synced. */
    const char *directory = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";

    setenv("TMPDIR", directory, 1);
    setenv("BLOCKFERRY_FLUSH_BYTES", "65536", 1);
    snprintf(journal_path, sizeof(journal_path), "%s/test-engine-%d", directory, (int)getpid());
    dice = 88172645u;
    fill_source();
    sweep(BF_COMPARE_NOT, false, "connection, copy");
    sweep(BF_COMPARE_NOT, true, "server, copy");
    sweep(BF_COMPARE_TARGET, false, "connection, compare");
    sweep(BF_COMPARE_TARGET, true, "server, compare");
    sweep_pairs(BF_COMPARE_NOT, "copy");
    sweep_pairs(BF_COMPARE_TARGET, "compare");
    unlink(journal_path);
    return done();
}
