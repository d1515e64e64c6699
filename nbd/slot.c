/* SPDX-License-Identifier: Apache-2.0 */
/* The way of one chunk: read, (compare,) cut, write, done.  Verifying: read, compare with the
 * digest. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "nbd/engine_internal.h"

#define TRIES 3
#define RETRY_FIRST_MS 50
/* A bad range is narrowed down to this. */
#define SMALLEST_READ ((uint64_t)4096)
#define WINDOW_LEAVES_MAX 64

static void start_read(struct slot *slot);
static void finish(struct slot *slot);

static unsigned char *at(const struct slot *slot, uint64_t offset)
{
    return slot->buffer + (offset - slot->base);
}

static uint64_t retry_delay_ms(unsigned tries)
{
    return (uint64_t)RETRY_FIRST_MS << (2 * (tries - 1));
}

/* --- reading --- */

static void fail_read(struct slot *slot, uint64_t end)
{
    struct bf_engine *engine = slot->engine;
    const struct bf_endpoint *from =
        !bf_pass_reads_source(engine->pass) || slot->state == SLOT_COMPARING ? engine->spec.target
                                                                             : engine->spec.source;
    struct bf_error why = BF_ERROR_INIT;

    bf_fail(&why, BF_E_READ_ERROR, slot->bad_error,
            "%s: bytes %" PRIu64 " to %" PRIu64 " cannot be read", from->name, slot->bad_start,
            end);
    bf_engine_fail(engine, &why);
}

/* Try again; then in smaller pieces; then the smallest piece that fails begins the bad range, whose
 * end is searched piece by piece. */
static void read_failed(struct slot *slot, int error)
{
    uint64_t length = slot->request.length;

    if (slot->bad_start != UINT64_MAX) {
        slot->read_at += length;
        if (slot->read_at >= slot->chunk.read_end)
            fail_read(slot, slot->read_at);
        else
            start_read(slot);
        return;
    }
    if (++slot->tries < TRIES) {
        slot->retry_ms = slot->engine->now_ms + retry_delay_ms(slot->tries);
        return;
    }
    uint64_t smallest =
        SMALLEST_READ > slot->engine->plan.block_min ? SMALLEST_READ : slot->engine->plan.block_min;
    if (length > smallest) {
        uint64_t half = length / 2 & ~(smallest - 1);
        slot->piece = half < smallest ? smallest : half;
        slot->tries = 0;
    } else {
        slot->bad_start = slot->read_at;
        slot->bad_error = error;
        slot->read_at += length;
        if (slot->read_at >= slot->chunk.read_end) {
            fail_read(slot, slot->read_at);
            return;
        }
    }
    start_read(slot);
}

static void after_read(struct slot *slot);

static void on_read(struct bf_request *request)
{
    struct slot *slot = request->owner;
    struct bf_engine *engine = slot->engine;

    if (engine->stopping)
        return;
    if (request->error) {
        read_failed(slot, request->error);
        return;
    }
    if (slot->bad_start != UINT64_MAX) {
        fail_read(slot, slot->read_at);
        return;
    }
    if (!bf_pass_reads_source(engine->pass))
        engine->stats.verified += request->length;
    else
        engine->stats.read += request->length;
    slot->read_at += request->length;
    slot->tries = 0;
    if (slot->read_at < slot->chunk.read_end)
        start_read(slot);
    else
        after_read(slot);
}

static void start_read(struct slot *slot)
{
    struct bf_engine *engine = slot->engine;
    struct bf_endpoint *from =
        bf_pass_reads_source(engine->pass) ? engine->spec.source : engine->spec.target;
    uint64_t length = bf_min_u64(slot->piece, slot->chunk.read_end - slot->read_at);

    slot->state = SLOT_READING;
    slot->request.done = on_read;
    slot->request.owner = slot;
    bf_endpoint_read(from, &slot->request, slot->read_at, length, at(slot, slot->read_at));
}

/* --- writing --- */

static void on_part(struct bf_request *request);

static void issue_part(struct slot *slot, struct part *part)
{
    struct bf_endpoint *target = slot->engine->spec.target;
    uint64_t end = part->offset + part->length;
    uint64_t whole = (end + target->block_min - 1) & ~(target->block_min - 1);
    uint64_t length = part->length;

    /* A target of larger blocks takes the disk's odd end only padded. */
    if (end == slot->engine->spec.size && whole > end && whole <= target->size) {
        length += whole - end;
        if (part->type == PART_WRITE || !target->can_zero)
            memset(at(slot, end), 0, whole - end);
    }
    part->request.done = on_part;
    part->request.owner = slot;
    if (part->type == PART_ZERO && target->can_zero)
        bf_endpoint_zero(target, &part->request, part->offset, length);
    else
        bf_endpoint_write(target, &part->request, part->offset, length, at(slot, part->offset));
}

static bool hopeless(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG || error == EROFS ||
           error == EPERM || error == EBADF;
}

static void write_failed(struct slot *slot, struct part *part, int error)
{
    struct bf_engine *engine = slot->engine;
    struct bf_error why = BF_ERROR_INIT;

    if (!hopeless(error) && ++part->tries < TRIES) {
        part->paused = true;
        slot->retry_ms = engine->now_ms + retry_delay_ms(part->tries);
        return;
    }
    bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    bf_fail(&why, full ? BF_E_TARGET_FULL : BF_E_WRITE_ERROR, error,
            "%s: bytes %" PRIu64 " to %" PRIu64 " cannot be written", engine->spec.target->name,
            part->offset, part->offset + part->length);
    bf_engine_fail(engine, &why);
}

static void on_part(struct bf_request *request)
{
    struct slot *slot = request->owner;
    struct part *part = (struct part *)(void *)((char *)request - offsetof(struct part, request));

    if (slot->engine->stopping)
        return;
    if (request->error) {
        write_failed(slot, part, request->error);
        return;
    }
    slot->engine->parts_done++;
    if (part->type == PART_WRITE)
        slot->engine->stats.sent += part->length;
    if (--slot->parts_left == 0)
        finish(slot);
}

/* Zeroes need no request where the target is known to read as zero. */
static bool is_work(const struct bf_engine *engine, const struct part *part)
{
    bool zero_known =
        engine->spec.target_is_zero && !engine->repairing && engine->spec.compare == BF_COMPARE_NOT;

    return part->type == PART_WRITE || (part->type == PART_ZERO && !zero_known);
}

static void write_parts(struct slot *slot)
{
    struct bf_engine *engine = slot->engine;

    slot->state = SLOT_WRITING;
    slot->parts_left = 0;
    for (size_t i = 0; i < slot->part_count; i++) {
        if (slot->parts[i].type == PART_ZERO)
            engine->stats.zero += slot->parts[i].length;
        slot->parts_left += is_work(engine, &slot->parts[i]);
    }
    if (!slot->parts_left) {
        finish(slot);
        return;
    }
    for (size_t i = 0; i < slot->part_count; i++)
        if (is_work(engine, &slot->parts[i]))
            issue_part(slot, &slot->parts[i]);
}

static void finish(struct slot *slot)
{
    bf_engine_chunk_done(slot->engine, slot);
}

/* --- between --- */

/* Hash the chunk's dirty leaves into the digest; flag those the old digest has already. */
static int digest_leaves(struct slot *slot, unsigned char *skip, struct bf_error *err)
{
    const struct bf_engine *engine = slot->engine;
    const struct bf_chunk *chunk = &slot->chunk;
    unsigned char hashes[WINDOW_LEAVES_MAX][BF_HASH_BYTES];
    unsigned char old[WINDOW_LEAVES_MAX][BF_HASH_BYTES];
    uint64_t first = chunk->start / BF_LEAF_BYTES;
    size_t count = bf_leaves_of(chunk->end) - first, run = 0;
    bool by_digest = engine->spec.compare == BF_COMPARE_DIGEST && !engine->repairing;

    if (by_digest && bf_digest_get(engine->spec.old_digest, first, old[0], count, err))
        return -1;
    for (size_t i = 0; i <= count; i++) {
        uint64_t from = chunk->start + i * BF_LEAF_BYTES;
        uint64_t to = bf_min_u64(from + BF_LEAF_BYTES, chunk->end);
        bool dirty = i < count && bf_plan_coverage(&engine->plan, chunk->extent, from, to).dirty;
        if (dirty) {
            bf_digest_leaf(at(slot, from), to - from, hashes[i]);
            if (by_digest && memcmp(hashes[i], old[i], BF_HASH_BYTES) == 0)
                skip[(from - slot->base) / BF_LEAF_BYTES] = 1;
            run++;
            continue;
        }
        /* A leaf that was only read along: its hash in the digest holds. */
        if (run && bf_digest_put(engine->spec.digest, first + i - run, hashes[i - run], run, err))
            return -1;
        run = 0;
    }
    return 0;
}

static void cut_and_write(struct slot *slot)
{
    struct bf_engine *engine = slot->engine;
    unsigned char skip[WINDOW_LEAVES_MAX] = {0};
    struct bf_error why = BF_ERROR_INIT;

    if (engine->spec.digest && digest_leaves(slot, skip, &why)) {
        bf_engine_fail(engine, &why);
        return;
    }
    bf_slot_cut(slot, skip);
    write_parts(slot);
}

static void on_compare(struct bf_request *request)
{
    struct slot *slot = request->owner;

    if (slot->engine->stopping)
        return;
    if (!request->error) {
        cut_and_write(slot);
        return;
    }
    if (++slot->tries < TRIES) {
        slot->retry_ms = slot->engine->now_ms + retry_delay_ms(slot->tries);
        return;
    }
    slot->bad_start = request->offset;
    slot->bad_error = request->error;
    fail_read(slot, request->offset + request->length);
}

static void start_compare(struct slot *slot)
{
    struct bf_endpoint *target = slot->engine->spec.target;
    uint64_t start = slot->chunk.start, mask = target->block_min - 1;
    uint64_t end = bf_min_u64((slot->chunk.end + mask) & ~mask, target->size);

    slot->state = SLOT_COMPARING;
    slot->request.done = on_compare;
    bf_endpoint_read(target, &slot->request, start, end - start,
                     slot->other + (start - slot->base));
}

static void verify_leaves(struct slot *slot)
{
    struct bf_engine *engine = slot->engine;
    const struct bf_chunk *chunk = &slot->chunk;
    unsigned char want[WINDOW_LEAVES_MAX][BF_HASH_BYTES], have[BF_HASH_BYTES];
    uint64_t first = chunk->start / BF_LEAF_BYTES;
    size_t count = bf_leaves_of(chunk->end) - first;
    struct bf_error why = BF_ERROR_INIT;

    if (bf_digest_get(engine->spec.digest, first, want[0], count, &why)) {
        bf_engine_fail(engine, &why);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t from = chunk->start + i * BF_LEAF_BYTES;
        uint64_t to = bf_min_u64(from + BF_LEAF_BYTES, chunk->end);
        if (!bf_plan_coverage(&engine->plan, chunk->extent, from, to).dirty)
            continue; /* read along */
        bf_digest_leaf(at(slot, from), to - from, have);
        if (memcmp(have, want[i], BF_HASH_BYTES) != 0)
            bf_range_set_add(&engine->bad, from, to);
    }
    finish(slot);
}

static void after_read(struct slot *slot)
{
    if (slot->engine->pass == PASS_VERIFY || slot->engine->pass == PASS_PROVE) {
        verify_leaves(slot);
        return;
    }
    bf_slot_fill(slot);
    if (slot->engine->pass == PASS_AUDIT) {
        bf_audit_slot(slot);
        return;
    }
    if (slot->other && !slot->engine->repairing)
        start_compare(slot);
    else
        cut_and_write(slot);
}

/* A chunk that needs no reading.  Compared with a digest only the leaves that were not zero are
 * zeroed. */
static int start_zero(struct slot *slot, struct bf_error *err)
{
    struct bf_engine *engine = slot->engine;
    const struct bf_chunk *chunk = &slot->chunk;
    uint64_t first = chunk->start / BF_LEAF_BYTES, end = bf_leaves_of(chunk->end);
    bool by_digest = engine->spec.compare == BF_COMPARE_DIGEST && !engine->repairing;

    slot->part_count = 0;
    if (!engine->spec.target->can_zero)
        memset(slot->buffer, 0, engine->spec.window); /* the chunk is within a window then */
    if (!by_digest) {
        bf_slot_add_part(slot, PART_ZERO, chunk->start, chunk->end);
    } else {
        for (uint64_t leaf = bf_digest_next(engine->spec.old_digest, first); leaf < end;
             leaf = bf_digest_next(engine->spec.old_digest, leaf + 1)) {
            unsigned char old[BF_HASH_BYTES];
            if (leaf < first)
                continue;
            if (bf_digest_get(engine->spec.old_digest, leaf, old, 1, err))
                return -1;
            if (!bf_all_zero(old, sizeof(old)))
                bf_slot_add_part(slot, PART_ZERO, leaf * BF_LEAF_BYTES,
                                 bf_min_u64((leaf + 1) * BF_LEAF_BYTES, chunk->end));
        }
    }
    if (engine->spec.digest && bf_digest_put_zero(engine->spec.digest, first, end - first, err))
        return -1;
    return 0;
}

void bf_slot_start(struct bf_engine *engine, struct slot *slot, const struct bf_chunk *chunk)
{
    struct bf_error why = BF_ERROR_INIT;

    slot->engine = engine;
    slot->chunk = *chunk;
    slot->base = chunk->start & ~(engine->spec.window - 1);
    slot->read_at = chunk->read_start;
    slot->piece = UINT64_MAX;
    slot->bad_start = UINT64_MAX;
    slot->tries = 0;
    slot->retry_ms = 0;
    slot->tainted = false;
    slot->request.owner = slot;
    if (engine->pass == PASS_AUDIT && chunk->kind == BF_CHUNK_ZERO) {
        bf_audit_slot(slot);
    } else if (chunk->kind == BF_CHUNK_ZERO) {
        slot->state = SLOT_WRITING;
        if (start_zero(slot, &why))
            bf_engine_fail(engine, &why);
        else
            write_parts(slot);
    } else if (chunk->read_start == chunk->read_end) {
        slot->state = SLOT_READING;
        after_read(slot);
    } else {
        start_read(slot);
    }
}

void bf_slot_retry(struct slot *slot)
{
    slot->retry_ms = 0;
    if (slot->state == SLOT_READING) {
        start_read(slot);
    } else if (slot->state == SLOT_COMPARING) {
        start_compare(slot);
    } else {
        for (size_t i = 0; i < slot->part_count; i++) {
            if (slot->parts[i].paused) {
                slot->parts[i].paused = false;
                issue_part(slot, &slot->parts[i]);
            }
        }
    }
}

void bf_slot_taint(struct slot *slot)
{
    /* What was compared may be one of the things that are lost. */
    if (slot->state == SLOT_WRITING || slot->state == SLOT_COMPARING)
        slot->tainted = true;
}
