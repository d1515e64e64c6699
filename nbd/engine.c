/* SPDX-License-Identifier: Apache-2.0 */
/* The loop, flush and journal.  See engine.h for what is kept true. */
#include "nbd/engine.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "nbd/die_point.h"
#include "nbd/engine_internal.h"

#define FDS_MAX 48
#define PROGRESS_MS 500
/* Flush and commit this often: a crash costs at most about twice as much. */
#define FLUSH_MS 2000
#define FLUSH_BYTES ((uint64_t)32 << 20)
/* Without a journal only a server's own failure can cost what is not flushed. */
#define FLUSH_BYTES_LAZY ((uint64_t)1 << 30)
#define DRAIN_MS 5000
/* A target that always takes some, and is lost before a flush, would be written to for ever. */
#define LOST_IN_ROW_MAX 32
#define HURRY_MAX 16
#define ZERO_CHUNK_MAX ((uint64_t)32 << 20)
#define GRAIN ((uint64_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)

void bf_engine_fail(struct bf_engine *engine, struct bf_error *why)
{
    if (bf_error_is_set(&engine->error))
        bf_error_clear(why);
    else
        bf_error_move(&engine->error, why);
    engine->stopping = true;
}

/* --- slots --- */

static void free_slot(struct bf_engine *engine, struct slot *slot)
{
    slot->state = SLOT_FREE;
    slot->retry_ms = 0;
    engine->slots_used--;
    engine->bytes_used -= slot->charged;
    engine->free_slots[engine->free_count++] = slot;
}

void bf_engine_chunk_done(struct bf_engine *engine, struct slot *slot)
{
    const struct bf_chunk *chunk = &slot->chunk;
    uint64_t data =
        bf_extent_list_bytes(engine->plan.map, chunk->start, chunk->end, BF_EXTENT_DATA);

    if (engine->pass == PASS_COPY && slot->tainted) {
        bf_plan_again(&engine->plan, chunk->span_start, chunk->span_end);
    } else if (engine->pass == PASS_COPY) {
        engine->stats.done += data;
        engine->fresh_bytes += data;
        engine->flush_ok = false;
        bf_range_set_add(&engine->fresh, chunk->span_start, chunk->span_end);
    }
    free_slot(engine, slot);
}

static uint64_t window_now(const struct bf_engine *engine)
{
    uint64_t limit = bf_budget_chunk(&engine->budget);

    return limit < engine->spec.window ? limit : engine->spec.window;
}

/* Give free slots work; *wake_ns is lowered to when the rate limit allows more. */
static void start_chunks(struct bf_engine *engine, uint64_t *wake_ns)
{
    struct bf_chunk chunk;

    while (!engine->stopping && engine->slots_used < engine->slots_limit &&
           engine->bytes_used < engine->bytes_limit) {
        uint64_t now_ns = engine->budget.bytes_per_s ? bf_budget_now_ns() : 0;
        uint64_t wait_ns = bf_budget_wait_ns(&engine->budget, now_ns);
        if (wait_ns && !bf_plan_empty(&engine->plan)) {
            if (now_ns + wait_ns < *wake_ns)
                *wake_ns = now_ns + wait_ns;
            return;
        }
        if (!bf_plan_next(&engine->plan, window_now(engine), &chunk))
            return;
        if (chunk.kind == BF_CHUNK_EMPTY) {
            bf_range_set_add(&engine->fresh, chunk.span_start, chunk.span_end);
            continue;
        }
        bf_budget_charge(&engine->budget, chunk.read_end - chunk.read_start, now_ns);
        struct slot *slot = engine->free_slots[--engine->free_count];
        engine->slots_used++;
        slot->charged = chunk.kind == BF_CHUNK_COPY ? chunk.end - chunk.start : 0;
        engine->bytes_used += slot->charged;
        bf_slot_start(engine, slot, &chunk);
    }
}

static void retry_slots(struct bf_engine *engine, uint64_t *wake_ms)
{
    for (unsigned i = 0; i < engine->slot_count && !engine->stopping; i++) {
        struct slot *slot = &engine->slots[i];
        if (!slot->retry_ms)
            continue;
        if (slot->retry_ms <= engine->now_ms)
            bf_slot_retry(slot);
        else if (slot->retry_ms < *wake_ms)
            *wake_ms = slot->retry_ms;
    }
}

/* --- flush and journal --- */

static int commit(struct bf_engine *engine, bool complete, struct bf_error *err)
{
    if (engine->spec.digest && engine->spec.journal && bf_digest_sync(engine->spec.digest, err))
        return -1;
    bf_die_point("engine: after the digest's sync");
    if (engine->spec.journal &&
        bf_journal_commit(engine->spec.journal, &engine->flushing, complete, err))
        return -1;
    bf_range_set_clear(&engine->flushing);
    return 0;
}

static bool all_copied(const struct bf_engine *engine)
{
    return bf_plan_empty(&engine->plan) && !engine->slots_used;
}

static void on_flush(struct bf_request *request)
{
    struct bf_engine *engine = request->owner;
    struct bf_error why = BF_ERROR_INIT;

    engine->flush_running = false;
    bf_die_point("engine: after the flush");
    if (request->error) {
        engine->flush_failed = true;
        bool full = request->error == ENOSPC || request->error == EDQUOT;
        bf_fail(&why, full ? BF_E_TARGET_FULL : BF_E_WRITE_ERROR, request->error,
                "%s: flush failed, what was written since the last one may be lost",
                engine->spec.target->name);
        bf_engine_fail(engine, &why);
        return;
    }
    if (engine->flush_resets != engine->spec.target->resets)
        return; /* what it was to cover is being written again */
    engine->flush_ok = !engine->fresh.count;
    engine->flushed_ms = engine->now_ms;
    engine->lost_in_row = 0;
    engine->hurry -= engine->hurry != 0;
    bool complete = engine->flush_ok && all_copied(engine) && !engine->stopping;
    if (commit(engine, complete, &why))
        bf_engine_fail(engine, &why);
}

static void start_flush(struct bf_engine *engine)
{
    assert(!engine->flush_running);
    bf_die_point("engine: before the flush");
    bf_range_set_add_all(&engine->flushing, &engine->fresh);
    bf_range_set_clear(&engine->fresh);
    engine->fresh_bytes = 0;
    engine->flush_running = true;
    /* Not the target's own count: what it has lost and nobody has looked at yet is in here, too. */
    engine->flush_resets = engine->resets_seen;
    engine->flush_request.done = on_flush;
    engine->flush_request.owner = engine;
    bf_endpoint_flush(engine->spec.target, &engine->flush_request);
}

static void flush_if_due(struct bf_engine *engine, uint64_t *wake_ms)
{
    bool eager = engine->spec.journal || engine->lossy;
    uint64_t enough = bf_hook_flush_bytes(eager ? FLUSH_BYTES : FLUSH_BYTES_LAZY) >> engine->hurry;

    if (engine->pass != PASS_COPY || engine->flush_running || engine->stopping)
        return;
    if (all_copied(engine)) {
        if (!engine->flush_ok)
            start_flush(engine);
        return;
    }
    if ((!eager && !engine->spec.target->volatile_cache) || !engine->fresh.count)
        return;
    uint64_t due_ms = engine->flushed_ms + (FLUSH_MS >> engine->hurry);
    if (engine->fresh_bytes >= enough || (eager && engine->now_ms >= due_ms))
        start_flush(engine);
    else if (eager && due_ms < *wake_ms)
        *wake_ms = due_ms;
}

static void give_back(struct bf_engine *engine, struct bf_range_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        engine->stats.done -= bf_extent_list_bytes(engine->plan.map, set->items[i].start,
                                                   set->items[i].end, BF_EXTENT_DATA);
        bf_plan_again(&engine->plan, set->items[i].start, set->items[i].end);
    }
    bf_range_set_clear(set);
}

static void count_loss(struct bf_engine *engine)
{
    struct bf_error why = BF_ERROR_INIT;

    if (engine->parts_done == engine->parts_then)
        return; /* how long it is not there, the endpoint knows */
    engine->parts_then = engine->parts_done;
    engine->lossy = true;
    engine->hurry += engine->hurry < HURRY_MAX;
    if (++engine->lost_in_row < LOST_IN_ROW_MAX)
        return;
    bf_fail(&why, BF_E_ENDPOINT_OPEN, 0,
            "%s: lost %u times in a row before what was written could be flushed",
            engine->spec.target->name, engine->lost_in_row);
    bf_engine_fail(engine, &why);
}

/* A connection to the target was lost; what was written to it since the last flush may be, too. */
static void check_resets(struct bf_engine *engine)
{
    if (engine->pass != PASS_COPY || engine->resets_seen == engine->spec.target->resets)
        return;
    engine->resets_seen = engine->spec.target->resets;
    bf_log_debug("%s: writing again what was not flushed", engine->spec.target->name);
    give_back(engine, &engine->flushing);
    give_back(engine, &engine->fresh);
    engine->fresh_bytes = 0;
    engine->flush_ok = false;
    for (unsigned i = 0; i < engine->slot_count; i++)
        bf_slot_taint(&engine->slots[i]);
    count_loss(engine);
}

/* --- the loop --- */

struct turn {
    struct pollfd fds[FDS_MAX];
    unsigned source_count;
    unsigned target_count;
    unsigned extra; /* cancel, control */
    uint64_t wake_ms;
    uint64_t wake_ns; /* of the rate limit */
};

static void wait_turn(struct bf_engine *engine, struct turn *turn)
{
    struct timespec timeout = {0};
    uint64_t now_ns = bf_budget_now_ns(), now_ms = now_ns / 1000000;
    uint64_t until_ns = turn->wake_ms > UINT64_MAX / 1000000 ? UINT64_MAX : turn->wake_ms * 1000000;

    if (turn->wake_ms <= now_ms)
        until_ns = now_ns;
    if (turn->wake_ns < until_ns)
        until_ns = turn->wake_ns;
    if (until_ns > now_ns) {
        timeout.tv_sec = (time_t)((until_ns - now_ns) / 1000000000);
        timeout.tv_nsec = (long)((until_ns - now_ns) % 1000000000);
    }
    if (ppoll(turn->fds, turn->extra + turn->source_count + turn->target_count, &timeout, NULL) < 0)
        for (unsigned i = 0; i < FDS_MAX; i++)
            turn->fds[i].revents = 0; /* EINTR */
    engine->now_ms = bf_now_ms();
}

static void prepare_turn(struct bf_engine *engine, struct turn *turn)
{
    turn->extra = 2;
    turn->fds[0] = (struct pollfd){.fd = engine->spec.cancel_fd, .events = POLLIN};
    turn->fds[1] = (struct pollfd){.fd = engine->spec.control_fd, .events = POLLIN};
    turn->source_count =
        bf_endpoint_prepare(engine->spec.source, turn->fds + turn->extra,
                            (FDS_MAX - turn->extra) / 2, engine->now_ms, &turn->wake_ms);
    turn->target_count =
        bf_endpoint_prepare(engine->spec.target, turn->fds + turn->extra + turn->source_count,
                            (FDS_MAX - turn->extra) / 2, engine->now_ms, &turn->wake_ms);
}

/* -1: an endpoint is lost for good; *err says which. */
static int handle_endpoints(struct bf_engine *engine, struct turn *turn, struct bf_error *err)
{
    const struct pollfd *fds = turn->fds + turn->extra;

    if (bf_endpoint_handle(engine->spec.source, fds, turn->source_count, engine->now_ms, err) ||
        bf_endpoint_handle(engine->spec.target, fds + turn->source_count, turn->target_count,
                           engine->now_ms, err))
        return -1;
    check_resets(engine);
    bf_endpoint_dispatch(engine->spec.source);
    bf_endpoint_dispatch(engine->spec.target);
    return 0;
}

static void report(struct bf_engine *engine, uint64_t *wake_ms)
{
    if (engine->now_ms >= engine->progress_ms) {
        engine->progress_ms = engine->now_ms + PROGRESS_MS;
        if (engine->spec.progress)
            engine->spec.progress(&engine->stats, engine->spec.user);
    }
    if (engine->progress_ms < *wake_ms)
        *wake_ms = engine->progress_ms;
}

static void one_turn(struct bf_engine *engine)
{
    struct turn turn = {.wake_ms = UINT64_MAX, .wake_ns = UINT64_MAX};
    struct bf_error why = BF_ERROR_INIT;

    retry_slots(engine, &turn.wake_ms);
    start_chunks(engine, &turn.wake_ns);
    flush_if_due(engine, &turn.wake_ms);
    bf_engine_grow(engine);
    report(engine, &turn.wake_ms);
    prepare_turn(engine, &turn);
    wait_turn(engine, &turn);
    if (turn.fds[0].revents)
        bf_fail(&why, BF_E_CANCELLED, 0, "cancelled");
    else if (!handle_endpoints(engine, &turn, &why) && turn.fds[1].revents)
        bf_engine_control(engine);
    if (bf_error_is_set(&why))
        bf_engine_fail(engine, &why);
}

static bool finished(const struct bf_engine *engine)
{
    return all_copied(engine) &&
           (engine->pass != PASS_COPY || (engine->flush_ok && !engine->flush_running));
}

/* Let what is under way come to its end: a server like nbdkit does not bear a client that leaves
 * with requests open, and the kernel may still write into our buffers. */
static void drain(struct bf_engine *engine)
{
    uint64_t until_ms = engine->now_ms + DRAIN_MS;
    struct bf_error ignored = BF_ERROR_INIT;

    engine->stopping = true;
    for (;;) {
        struct turn turn = {.wake_ms = until_ms, .wake_ns = UINT64_MAX};
        bf_endpoint_drop_waiting(engine->spec.source);
        bf_endpoint_drop_waiting(engine->spec.target);
        if ((bf_endpoint_idle(engine->spec.source) && bf_endpoint_idle(engine->spec.target)) ||
            engine->now_ms >= until_ms)
            return;
        prepare_turn(engine, &turn);
        turn.fds[0].fd = turn.fds[1].fd = -1;
        wait_turn(engine, &turn);
        if (handle_endpoints(engine, &turn, &ignored)) {
            bf_error_clear(&ignored);
            return;
        }
    }
}

/* After a failure that is not the target's own, what it has taken is worth keeping. */
static void save_what_is_done(struct bf_engine *engine)
{
    enum bf_error_code code = engine->error.code;
    bool sound = code == BF_E_CANCELLED || code == BF_E_READ_ERROR || code == BF_E_TARGET_FULL ||
                 code == BF_E_ENDPOINT_OPEN || code == BF_E_DEADLINE || code == BF_E_PROTOCOL;

    if (engine->pass != PASS_COPY || !engine->spec.journal || !sound || engine->flush_running ||
        engine->flush_failed || !bf_endpoint_idle(engine->spec.target) ||
        engine->resets_seen != engine->spec.target->resets)
        return;
    start_flush(engine);
    drain(engine);
}

static int run(struct bf_engine *engine, struct bf_error *err)
{
    engine->stopping = false;
    engine->now_ms = bf_now_ms();
    engine->flushed_ms = engine->now_ms;
    while (!engine->stopping && !finished(engine))
        one_turn(engine);
    if (!engine->stopping)
        return 0;
    drain(engine);
    save_what_is_done(engine);
    bf_error_move(err, &engine->error);
    return -1;
}

/* --- passes --- */

static void begin_pass(struct bf_engine *engine, enum pass pass, const struct bf_extent_list *map)
{
    struct bf_endpoint *from =
        bf_pass_reads_source(pass) ? engine->spec.source : engine->spec.target;

    engine->pass = pass;
    bf_plan_done(&engine->plan);
    engine->plan = (struct bf_plan){
        .map = map,
        .size = engine->spec.size,
        .block_min = from->block_min,
        .read_max = from->size,
        .zero_max = engine->spec.target->can_zero ? ZERO_CHUNK_MAX : engine->spec.window,
        .whole_leaves = engine->spec.digest != NULL,
    };
    bf_range_set_clear(&engine->fresh);
    bf_range_set_clear(&engine->flushing);
    engine->fresh_bytes = 0;
    engine->flush_ok = false;
    engine->resets_seen = engine->spec.target->resets;
    engine->parts_then = engine->parts_done;
    engine->lost_in_row = engine->hurry = 0;
    engine->lossy = false;
}

int bf_engine_copy(struct bf_engine *engine, const struct bf_extent_list *map,
                   const struct bf_range_set *done, struct bf_error *err)
{
    static const struct bf_range_set nothing;

    begin_pass(engine, PASS_COPY, map);
    bf_range_set_invert(done ? done : &nothing, engine->spec.size, &engine->plan.todo);
    engine->stats.to_send = bf_extent_list_bytes(map, 0, engine->spec.size, BF_EXTENT_DATA);
    engine->stats.done = engine->stats.to_send;
    for (size_t i = 0; i < engine->plan.todo.count; i++)
        engine->stats.done -= bf_extent_list_bytes(map, engine->plan.todo.items[i].start,
                                                   engine->plan.todo.items[i].end, BF_EXTENT_DATA);
    return run(engine, err);
}

int bf_engine_repair(struct bf_engine *engine, const struct bf_extent_list *map,
                     struct bf_error *err)
{
    engine->repairing = true;
    return bf_engine_copy(engine, map, NULL, err);
}

/* Leaves against the digest. */
static int check_leaves(struct bf_engine *engine, enum pass pass, const struct bf_extent_list *map,
                        struct bf_range_set *ret_bad, struct bf_error *err)
{
    assert(engine->spec.digest);
    begin_pass(engine, pass, map);
    bf_range_set_add(&engine->plan.todo, 0, engine->spec.size);
    bf_range_set_clear(&engine->bad);
    if (run(engine, err))
        return -1;
    *ret_bad = engine->bad;
    engine->bad = (struct bf_range_set){0};
    return 0;
}

int bf_engine_verify(struct bf_engine *engine, const struct bf_extent_list *map,
                     struct bf_range_set *ret_bad, struct bf_error *err)
{
    engine->stats.to_verify += bf_extent_list_bytes(map, 0, engine->spec.size, BF_EXTENT_DATA);
    return check_leaves(engine, PASS_VERIFY, map, ret_bad, err);
}

int bf_engine_prove(struct bf_engine *engine, const struct bf_extent_list *map,
                    struct bf_range_set *ret_bad, struct bf_error *err)
{
    return check_leaves(engine, PASS_PROVE, map, ret_bad, err);
}

int bf_engine_audit(struct bf_engine *engine, const struct bf_extent_list *map,
                    char ret_hex[BF_SHA256_HEX_LENGTH + 1], struct bf_error *err)
{
    char hex[BF_SHA256_HEX_LENGTH + 1];

    begin_pass(engine, PASS_AUDIT, map);
    bf_range_set_add(&engine->plan.todo, 0, engine->spec.size);
    engine->stats.to_verify += bf_extent_list_bytes(map, 0, engine->spec.size, BF_EXTENT_DATA);
    if (bf_audit_begin(engine, err))
        return -1;
    int rc = run(engine, err);
    assert(rc || engine->audited == engine->spec.size);
    bf_audit_end(engine, hex);
    if (!rc)
        memcpy(ret_hex, hex, sizeof(hex));
    return rc;
}

const struct bf_copy_stats *bf_engine_stats(const struct bf_engine *engine)
{
    return &engine->stats;
}

/* --- making --- */

static int map_arena(struct bf_engine *engine, size_t length, struct bf_error *err)
{
    engine->mapped_length = ((length + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1)) + HUGE_PAGE;
    engine->mapped = mmap(NULL, engine->mapped_length, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (engine->mapped == MAP_FAILED) {
        engine->mapped = NULL;
        return bf_fail(err, BF_E_NO_MEMORY, errno, "no memory for buffers of %zu bytes",
                       engine->mapped_length);
    }
    uintptr_t at = ((uintptr_t)engine->mapped + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    engine->arena = (unsigned char *)at;
    /* A write is one piece for the device then, and not one for each page. */
    (void)madvise(engine->arena, engine->mapped_length - HUGE_PAGE, MADV_HUGEPAGE);
    return 0;
}

static int make_slots(struct bf_engine *engine, struct bf_error *err)
{
    bool compare = engine->spec.compare == BF_COMPARE_TARGET;
    size_t bytes = (size_t)engine->spec.window * (compare ? 2 : 1);
    uint64_t count = engine->spec.memory / bytes;

    if (count < 2)
        count = 2;
    if (count > 1024)
        count = 1024;
    engine->slot_count = (unsigned)count;
    engine->slots = bf_xcalloc(count, sizeof(*engine->slots));
    engine->free_slots = bf_xcalloc(count, sizeof(struct slot *));
    if (map_arena(engine, count * bytes, err))
        return -1;
    for (unsigned i = 0; i < count; i++) {
        struct slot *slot = &engine->slots[i];
        slot->engine = engine;
        slot->buffer = engine->arena + i * bytes;
        slot->other = compare ? slot->buffer + engine->spec.window : NULL;
        engine->free_slots[count - 1 - i] = slot;
    }
    engine->free_count = engine->slot_count;
    bf_engine_set_depth(engine, engine->spec.requests);
    /* Registering pins the memory, so only what is used from the start; the rest works without. */
    size_t pinned =
        (size_t)bf_min_u64(engine->slots_limit * bytes, bf_max_u64(engine->bytes_limit, bytes));
    bf_endpoint_set_arena(engine->spec.source, engine->arena, pinned);
    bf_endpoint_set_arena(engine->spec.target, engine->arena, pinned);
    return 0;
}

int bf_engine_new(const struct bf_engine_spec *spec, struct bf_engine **ret_engine,
                  struct bf_error *err)
{
    struct bf_engine *engine = bf_xcalloc(1, sizeof(*engine));

    engine->spec = *spec;
    engine->stats.size = spec->size;
    engine->grain = spec->target->block_min > GRAIN ? spec->target->block_min : GRAIN;
    engine->grower.on = spec->grow;
    if (make_slots(engine, err)) {
        bf_engine_free(engine, false);
        return -1;
    }
    bf_budget_set(&engine->budget, spec->rate, bf_budget_now_ns());
    *ret_engine = engine;
    return 0;
}

void bf_engine_free(struct bf_engine *engine, bool busy)
{
    if (!engine)
        return;
    free(engine->free_slots);
    bf_plan_done(&engine->plan);
    bf_range_set_done(&engine->fresh);
    bf_range_set_done(&engine->flushing);
    bf_range_set_done(&engine->bad);
    bf_error_clear(&engine->error);
    if (busy)
        return; /* the kernel may still write into the arena */
    if (engine->mapped)
        munmap(engine->mapped, engine->mapped_length);
    for (unsigned i = 0; i < engine->slot_count; i++)
        free(engine->slots[i].parts);
    free(engine->slots);
    free(engine);
}
