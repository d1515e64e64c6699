/* SPDX-License-Identifier: Apache-2.0 */
/* Steering a running copy: control lines, and how many requests are under way. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "nbd/engine_internal.h"

#define MEASURE_MS 1000
#define GAIN 1.05
#define DEPTH_MAX 64
/* Long chunks share the slots' room, so that what is under way stays near the processor. */
#define SLOT_BYTES_USUAL ((uint64_t)256 << 10)
#define REST_AFTER_FAILURE 20 /* measurements */

/* As many slots again as reads, so that reading goes on while the others are written. */
static unsigned slots_for(const struct bf_engine *engine, unsigned depth)
{
    unsigned streams = engine->spec.source->connections > engine->spec.target->connections
                           ? engine->spec.source->connections
                           : engine->spec.target->connections;
    unsigned slots = 2 * streams * depth;

    return slots < engine->slot_count ? slots : engine->slot_count;
}

void bf_engine_set_depth(struct bf_engine *engine, unsigned depth)
{
    engine->depth = depth;
    engine->slots_limit = slots_for(engine, depth);
    engine->bytes_limit = engine->spec.grow ? engine->slots_limit * SLOT_BYTES_USUAL : UINT64_MAX;
    bf_endpoint_set_depth(engine->spec.source, depth);
    bf_endpoint_set_depth(engine->spec.target, depth);
}

/* Double the depth, keep it if the rate rose by 5 %, else go back and rest. */
void bf_engine_grow(struct bf_engine *engine)
{
    struct grower *g = &engine->grower;
    uint64_t moved = engine->stats.read + engine->stats.verified;

    if (!g->on || engine->budget.bytes_per_s)
        return;
    if (!g->since_ms) {
        g->since_ms = engine->now_ms;
        g->bytes_then = moved;
    }
    uint64_t elapsed = engine->now_ms - g->since_ms;
    if (elapsed < MEASURE_MS)
        return;
    double rate = (double)(moved - g->bytes_then) / (double)elapsed;
    g->since_ms = engine->now_ms;
    g->bytes_then = moved;
    if (g->rate_before > 0) {
        if (rate < g->rate_before * GAIN) {
            bf_engine_set_depth(engine, engine->depth / 2);
            g->rest = REST_AFTER_FAILURE;
        }
        g->rate_before = 0;
    }
    if (g->rest) {
        g->rest--;
        return;
    }
    /* Only if all that is allowed was in use, and more is possible. */
    if ((engine->slots_used < engine->slots_limit && engine->bytes_used < engine->bytes_limit) ||
        engine->depth * 2 > DEPTH_MAX ||
        slots_for(engine, engine->depth * 2) == engine->slots_limit)
        return;
    g->rate_before = rate;
    bf_engine_set_depth(engine, engine->depth * 2);
    bf_log_debug("%u requests per connection, at %.1f MB/s", engine->depth, rate / 1000);
}

static void obey(struct bf_engine *engine, const char *line)
{
    bf_auto_error why = BF_ERROR_INIT;
    uint64_t rate;

    if (!bf_starts_with(line, "rate ") || bf_parse_bytes(line + 5, &rate, &why)) {
        bf_log_warning("control line not understood: \"%s\"", line);
        return;
    }
    bf_budget_set(&engine->budget, rate, bf_budget_now_ns());
    bf_log_debug("rate limit is %" PRIu64 " bytes per second", rate);
}

static void obey_lines(struct bf_engine *engine)
{
    char *newline;

    while ((newline = memchr(engine->control, '\n', engine->control_length))) {
        size_t used = (size_t)(newline + 1 - engine->control);
        *newline = '\0';
        obey(engine, engine->control);
        memmove(engine->control, newline + 1, engine->control_length - used);
        engine->control_length -= used;
    }
    if (engine->control_length == sizeof(engine->control))
        engine->control_length = 0; /* no line of ours is so long */
}

void bf_engine_control(struct bf_engine *engine)
{
    ssize_t n = read(engine->spec.control_fd, engine->control + engine->control_length,
                     sizeof(engine->control) - engine->control_length);

    if (n > 0) {
        engine->control_length += (size_t)n;
        obey_lines(engine);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        engine->spec.control_fd = -1; /* nobody steers any more; the copy goes on */
    }
}
