/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's files share: engine.c (the loop, flush and journal), slot.c (the way of one
 * chunk), parts.c (its parts), audit.c (SHA-256), steer.c (rate, growth, control lines). */
#pragma once

#include "nbd/budget.h"
#include "nbd/engine.h"
#include "nbd/plan.h"

enum slot_state {
    SLOT_FREE,
    SLOT_READING,   /* from the source; after the copy from the target */
    SLOT_COMPARING, /* the target's bytes of the chunk are being read */
    SLOT_WRITING,
    SLOT_HELD, /* PASS_AUDIT: read before its turn */
};

enum part_type { PART_WRITE, PART_ZERO, PART_SKIP };

/* A run of a chunk that is treated in one way. */
struct part {
    enum part_type type;
    uint64_t offset;
    uint64_t length;
    unsigned tries;
    bool paused; /* to be written again at the slot's retry_ms */
    struct bf_request request;
};

struct slot {
    struct bf_engine *engine;
    enum slot_state state;
    unsigned char *buffer; /* one window */
    unsigned char *other;  /* BF_COMPARE_TARGET: what the target has; else NULL */
    uint64_t base;         /* disk offset that buffer[0] stands for */
    struct bf_chunk chunk;
    uint64_t charged;          /* of engine->bytes_used */
    struct bf_request request; /* of the reads */
    uint64_t read_at;          /* the next read begins here */
    uint64_t piece;            /* longest read; shrinks while a bad range is searched */
    uint64_t bad_start;        /* UINT64_MAX, or where the range that cannot be read begins */
    int bad_error;
    unsigned tries;
    uint64_t retry_ms; /* 0, or when what failed is tried again */
    struct part *parts;
    size_t part_count;
    size_t part_capacity;
    size_t parts_left; /* not done */
    bool tainted;      /* the target may have lost a part of it: do it again */
};

enum pass { PASS_COPY, PASS_VERIFY, PASS_AUDIT, PASS_PROVE };

/* The others read the target. */
static inline bool bf_pass_reads_source(enum pass pass)
{
    return pass == PASS_COPY || pass == PASS_PROVE;
}

/* Looks every second whether more requests under way would help. */
struct grower {
    bool on;
    uint64_t since_ms;   /* of this measurement */
    uint64_t bytes_then; /* moved until then */
    double rate_before;  /* bytes per ms before the last raise; 0: no raise to judge */
    unsigned rest;       /* measurements to wait before the next try */
};

struct bf_engine {
    struct bf_engine_spec spec;
    struct bf_copy_stats stats;
    enum pass pass;
    struct bf_error error; /* the first; set: stopping */
    bool stopping;
    bool repairing; /* what is known of the target before the copy does not hold */
    struct bf_plan plan;
    struct bf_budget budget;
    uint64_t grain; /* zero detection, and borders of parts */

    unsigned char *arena; /* of whole huge pages, within what is mapped */
    void *mapped;
    size_t mapped_length;
    struct slot *slots;
    unsigned slot_count;
    unsigned slots_used;      /* not FREE */
    unsigned slots_limit;     /* use at most so many */
    uint64_t bytes_used;      /* of the chunks in the slots */
    uint64_t bytes_limit;     /* start no chunk beyond this */
    struct slot **free_slots; /* a stack: few slots used means little memory touched */
    unsigned free_count;
    unsigned depth; /* requests per connection now */
    struct grower grower;

    /* Ranges written and not yet flushed; ranges that the flush under way covers; all that is done.
     */
    struct bf_range_set fresh;
    struct bf_range_set flushing;
    uint64_t fresh_bytes;
    bool flush_running;
    bool flush_ok;         /* the last thing that happened on the target was a good flush */
    bool flush_failed;     /* once: a later one may succeed and prove nothing */
    unsigned flush_resets; /* resets_seen when the flush was submitted */
    uint64_t flushed_ms;
    struct bf_request flush_request;
    unsigned resets_seen;
    uint64_t parts_done;  /* answered by the target, over all */
    uint64_t parts_then;  /* when it was lost last */
    unsigned lost_in_row; /* times that it was lost with such parts, since the last good flush */
    bool lossy;           /* it was lost in this pass: flush, lest all be written again ... */
    unsigned hurry;       /* ... and so much sooner, in powers of two */

    struct bf_range_set bad; /* PASS_VERIFY, PASS_PROVE */
    void *sha256;            /* PASS_AUDIT; else NULL */
    uint64_t audited;        /* up to here it has taken the disk */

    uint64_t now_ms;
    uint64_t progress_ms;
    char control[256]; /* an unfinished line */
    size_t control_length;
};

/* slot.c */
void bf_slot_start(struct bf_engine *engine, struct slot *slot, const struct bf_chunk *chunk);
void bf_slot_retry(struct slot *slot); /* its retry_ms has come */
/* The target lost unflushed writes. */
void bf_slot_taint(struct slot *slot);

/* parts.c */
/* Put the zeroes that the map knows of into the buffer beside what was read. */
void bf_slot_fill(const struct slot *slot);
/* Append; joins the last one if it can. */
void bf_slot_add_part(struct slot *slot, enum part_type type, uint64_t from, uint64_t to);
/* Cut the chunk in the buffer into what is to be written, zeroed and left alone.  skip_leaves: NULL
 * or a flag per leaf of the window: the target has it already. */
void bf_slot_cut(struct slot *slot, const unsigned char *skip_leaves);

/* audit.c */
int bf_audit_begin(struct bf_engine *engine, struct bf_error *err);
/* The chunk's bytes are there (or are zeroes). */
void bf_audit_slot(struct slot *slot);
void bf_audit_end(struct bf_engine *engine, char ret_hex[BF_SHA256_HEX_LENGTH + 1]);

/* engine.c */
/* The slot's chunk is through; the slot is free afterwards. */
void bf_engine_chunk_done(struct bf_engine *engine, struct slot *slot);
/* Stop for this reason unless there is one already. */
void bf_engine_fail(struct bf_engine *engine, struct bf_error *why);

/* steer.c */
void bf_engine_control(struct bf_engine *engine);
void bf_engine_grow(struct bf_engine *engine);
void bf_engine_set_depth(struct bf_engine *engine, unsigned depth);
