/* SPDX-License-Identifier: Apache-2.0 */
/* The copy engine: one event loop that moves what a change map names from source to target.
 *
 * It knows endpoints and change maps; never a platform, a daemon or JSON.
 *
 * Memory is a fixed number of slots of one window each.  A slot carries one chunk from the read to
 * its last write; its buffer goes from the source's answer straight into the target's request.
 *
 * What is kept true:
 *  1. A range is "done" only after every write to it was acknowledged and a flush that was
 * submitted later succeeded.
 *  2. The journal says done only what is done, and only after the digest's leaves of it are synced.
 *  3. When the target may have lost unflushed writes (a reconnect), all that was written since the
 *     last flush is written again; a chunk under way then is done again, too.
 *  4. A flush that failed is never repeated: after it nobody knows what the target has.
 *  5. No buffer is reused while the kernel or a connection may still write into it.
 *
 * Threads: all in the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "nbd/digest.h"
#include "nbd/endpoint.h"
#include "nbd/extent.h"
#include "nbd/journal.h"

#define BF_SHA256_HEX_LENGTH 64u

struct bf_copy_stats {
    uint64_t size;
    uint64_t to_send;  /* bytes of the map's data */
    uint64_t done;     /* of these: on the target (perhaps not flushed) */
    uint64_t read;     /* bytes read from the source */
    uint64_t sent;     /* bytes of data written */
    uint64_t zero;     /* bytes zeroed, or left as they read as zero already */
    uint64_t verified; /* bytes read back from the target */
    uint64_t to_verify;
};

enum bf_compare {
    BF_COMPARE_NOT,    /* write all of the map */
    BF_COMPARE_TARGET, /* read both sides, write what differs */
    BF_COMPARE_DIGEST, /* write the leaves whose hash is not the old digest's */
};

struct bf_engine_spec {
    struct bf_endpoint *source;
    struct bf_endpoint *target;
    uint64_t size;
    uint64_t window;     /* bytes of a slot: a power of two, 64 KiB to 4 MiB */
    uint64_t memory;     /* bytes of all slots together */
    unsigned requests;   /* per connection, to begin with */
    bool grow;           /* raise this while the rate rises */
    uint64_t rate;       /* bytes per second; 0: no limit */
    bool target_is_zero; /* proven: zeroes need not be written */
    enum bf_compare compare;
    struct bf_digest *digest;     /* NULL: none is kept */
    struct bf_digest *old_digest; /* BF_COMPARE_DIGEST: of the target as it is */
    struct bf_journal *journal;   /* NULL: none */
    int cancel_fd;                /* readable: stop */
    int control_fd;               /* lines "rate BYTES"; -1: none */
    void (*progress)(const struct bf_copy_stats *stats, void *user); /* twice a second */
    void *user;
};

struct bf_engine; /* opaque */

int bf_engine_new(const struct bf_engine_spec *spec, struct bf_engine **ret_engine,
                  struct bf_error *err) __attribute__((nonnull, warn_unused_result));
/* After its endpoints were closed.  busy: one of them had requests in the kernel, so the memory of
 * the buffers is left alone until the process ends. */
void bf_engine_free(struct bf_engine *engine, bool busy);

/* Bring the map's extents to the target and flush it.  `done` (may be NULL): ranges that are there
 * already.  On failure what can still be flushed and journalled is. */
int bf_engine_copy(struct bf_engine *engine, const struct bf_extent_list *map,
                   const struct bf_range_set *done, struct bf_error *err);

/* Copy these leaves again, whatever was known of the target. */
int bf_engine_repair(struct bf_engine *engine, const struct bf_extent_list *map,
                     struct bf_error *err);

/* Read the map's extents (whole leaves) back from the target and compare them with the digest.
 * ret_bad: the leaves that differ; the caller frees it. */
int bf_engine_verify(struct bf_engine *engine, const struct bf_extent_list *map,
                     struct bf_range_set *ret_bad, struct bf_error *err);

/* The same of the source, before anything is copied. */
int bf_engine_prove(struct bf_engine *engine, const struct bf_extent_list *map,
                    struct bf_range_set *ret_bad, struct bf_error *err);

/* SHA-256 of the target's first `size` bytes.  The map covers them; its zero extents are not read.
 */
int bf_engine_audit(struct bf_engine *engine, const struct bf_extent_list *map,
                    char ret_hex[BF_SHA256_HEX_LENGTH + 1], struct bf_error *err);

const struct bf_copy_stats *bf_engine_stats(const struct bf_engine *engine);
