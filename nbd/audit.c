/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 of the whole target.
 *
 * A hash of this kind takes the bytes in disk order only.  Chunks are started in that order and
 * read beside each other as ever; one that is there early is held until its turn has come.  The
 * first of those under way is never held, so there is always one to wait for.
 */
#include <assert.h>
#include <stdio.h>

#include "nbd/engine_internal.h"
#include "nbd/gnutls_api.h"

#define SHA256_BYTES 32

int bf_audit_begin(struct bf_engine *engine, struct bf_error *err)
{
    gnutls_hash_hd_t hash;

    if (bf_gnutls_load(err))
        return bf_fail_in(err, "--sha256");
    if (bf_gnutls.gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0)
        return bf_fail(err, BF_E_SYSTEM, 0, "no SHA-256 in GnuTLS");
    engine->sha256 = hash;
    engine->audited = 0;
    return 0;
}

void bf_audit_end(struct bf_engine *engine, char ret_hex[BF_SHA256_HEX_LENGTH + 1])
{
    unsigned char sum[SHA256_BYTES];

    bf_gnutls.gnutls_hash_deinit(engine->sha256, sum);
    engine->sha256 = NULL;
    for (unsigned i = 0; i < SHA256_BYTES; i++)
        snprintf(ret_hex + (size_t)2 * i, 3, "%02x", sum[i]);
}

static void take(struct bf_engine *engine, const void *data, uint64_t length)
{
    int rc = bf_gnutls.gnutls_hash(engine->sha256, data, length);

    assert(rc == 0); /* plain memory and a valid handle: nothing that could fail */
}

static void take_slot(struct bf_engine *engine, const struct slot *slot)
{
    static const unsigned char zeroes[BF_LEAF_BYTES];
    uint64_t left = slot->chunk.end - slot->chunk.start;

    if (slot->chunk.kind == BF_CHUNK_COPY) {
        take(engine, slot->buffer + (slot->chunk.start - slot->base), left);
        return;
    }
    while (left) {
        uint64_t n = bf_min_u64(left, sizeof(zeroes));
        take(engine, zeroes, n);
        left -= n;
    }
}

static struct slot *next_held(struct bf_engine *engine)
{
    for (unsigned i = 0; i < engine->slot_count; i++)
        if (engine->slots[i].state == SLOT_HELD && engine->slots[i].chunk.start == engine->audited)
            return &engine->slots[i];
    return NULL;
}

void bf_audit_slot(struct slot *slot)
{
    struct bf_engine *engine = slot->engine;

    slot->state = SLOT_HELD;
    while ((slot = next_held(engine))) {
        take_slot(engine, slot);
        engine->audited = slot->chunk.end;
        bf_engine_chunk_done(engine, slot);
    }
}
