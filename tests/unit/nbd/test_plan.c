/* SPDX-License-Identifier: Apache-2.0 */
/* The plan, against a model: every dirty byte in exactly one chunk, every dirty leaf in one chunk,
 * reads that hold all the data, spans that tile the disk. */
#include "nbd/plan.h"

#include "tests/unit/tap.h"

#define LEAF ((uint64_t)65536)
#define SIZE (70 * LEAF + 12345)
#define WINDOW (4 * LEAF)

static unsigned seed = 7;

static unsigned dice(unsigned sides)
{
    seed = seed * 1103515245 + 12345;
    return seed / 65536 % sides;
}

static void random_map(struct bf_extent_list *map)
{
    bf_auto_error err = BF_ERROR_INIT;
    uint64_t at = 0;

    while (at < SIZE) {
        uint64_t length = dice(3) ? (1 + dice(40)) * 4096 : (1 + dice(100)) * 512;
        if (dice(10) == 0)
            length = (1 + dice(12)) * LEAF;
        if (length > SIZE - at)
            length = SIZE - at;
        unsigned what = dice(3);
        if (what < 2 &&
            bf_extent_list_add(map, at, length, what ? BF_EXTENT_ZERO : BF_EXTENT_DATA, &err))
            ok(false, "random map");
        at += length;
    }
}

static const char *check_chunk(const struct bf_plan *plan, const struct bf_chunk *chunk,
                               uint64_t *span_at)
{
    if (chunk->span_start != *span_at || chunk->span_end <= chunk->span_start)
        return "spans do not tile";
    *span_at = chunk->span_end;
    if (chunk->kind == BF_CHUNK_EMPTY) {
        return bf_plan_coverage(plan, 0, chunk->span_start, chunk->span_end).dirty
                   ? "an empty chunk is dirty"
                   : NULL;
    }
    if (chunk->start % LEAF || (chunk->end % LEAF && chunk->end != SIZE))
        return "not whole leaves";
    if (chunk->start < chunk->span_start || chunk->end != chunk->span_end)
        return "the chunk is not at the end of its span";
    if (chunk->start > chunk->span_start &&
        bf_plan_coverage(plan, 0, chunk->span_start, chunk->start).dirty)
        return "something dirty before the chunk";
    struct bf_coverage all = bf_plan_coverage(plan, 0, chunk->start, chunk->end);
    if (chunk->kind == BF_CHUNK_ZERO)
        return !all.zero ? "a zero chunk is not zero"
               : chunk->start / plan->zero_max != (chunk->end - 1) / plan->zero_max
                   ? "a zero chunk is too long"
                   : NULL;
    if (chunk->start / WINDOW != (chunk->end - 1) / WINDOW)
        return "a copy chunk crosses a window";
    if (all.data_start < all.data_end &&
        (chunk->read_start > all.data_start || chunk->read_end < all.data_end))
        return "data is not read";
    if (chunk->read_start < chunk->read_end &&
        (chunk->read_start < chunk->start || chunk->read_end > chunk->end))
        return "read outside of the chunk";
    for (uint64_t at = chunk->start; plan->whole_leaves && at < chunk->end; at += LEAF) {
        uint64_t end = at + LEAF < SIZE ? at + LEAF : SIZE;
        struct bf_coverage leaf = bf_plan_coverage(plan, 0, at, end);
        if (leaf.dirty && !leaf.full && (chunk->read_start > at || chunk->read_end < end))
            return "a leaf that is covered in part is not read whole";
    }
    return NULL;
}

static const char *run_plan(struct bf_plan *plan, uint64_t start, uint64_t end)
{
    struct bf_chunk chunk;
    uint64_t span_at = start;
    const char *wrong = NULL;

    while (!wrong && bf_plan_next(plan, WINDOW, &chunk))
        wrong = check_chunk(plan, &chunk, &span_at);
    if (!wrong && span_at != end)
        wrong = "the spans do not reach the end";
    return wrong;
}

static void test_random(void)
{
    const char *wrong = NULL;

    for (int round = 0; round < 300 && !wrong; round++) {
        struct bf_extent_list map = {0};
        random_map(&map);
        struct bf_plan plan = {.map = &map,
                               .size = SIZE,
                               .block_min = round % 3 ? 1 : 512,
                               .read_max = SIZE,
                               .zero_max = 8 * LEAF,
                               .whole_leaves = round % 2};
        bf_range_set_add(&plan.todo, 0, SIZE);
        wrong = run_plan(&plan, 0, SIZE);
        /* Some of it again. */
        bf_plan_again(&plan, 10 * LEAF, 20 * LEAF);
        if (!wrong)
            wrong = run_plan(&plan, 10 * LEAF, 20 * LEAF);
        bf_plan_done(&plan);
        bf_extent_list_done(&map);
    }
    is_string(wrong, NULL, "300 random maps");
}

static void test_gap(void)
{
    struct bf_extent_list map = {0};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_chunk chunk;

    ok(bf_extent_list_add(&map, 0, 4096, BF_EXTENT_DATA, &err) == 0 &&
           bf_extent_list_add(&map, 2 * LEAF, 4096, BF_EXTENT_DATA, &err) == 0 &&
           bf_extent_list_add(&map, 5 * LEAF, LEAF, BF_EXTENT_DATA, &err) == 0,
       "a map with gaps");
    struct bf_plan plan = {
        .map = &map, .size = SIZE, .block_min = 1, .read_max = SIZE, .zero_max = LEAF};
    bf_range_set_add(&plan.todo, 0, SIZE);
    ok(bf_plan_next(&plan, WINDOW, &chunk) && chunk.read_end == 2 * LEAF + 4096,
       "a gap of one leaf is read along");
    ok(bf_plan_next(&plan, WINDOW, &chunk) && chunk.start == 5 * LEAF, "a longer one is not");
    ok(bf_plan_next(&plan, WINDOW, &chunk) && chunk.kind == BF_CHUNK_EMPTY, "the rest is empty");
    ok(!bf_plan_next(&plan, WINDOW, &chunk) && bf_plan_empty(&plan), "the end");
    bf_plan_done(&plan);
    bf_extent_list_done(&map);
}

int main(void)
{
    test_random();
    test_gap();
    return done();
}
