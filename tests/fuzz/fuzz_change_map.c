/* SPDX-License-Identifier: Apache-2.0 */
/* The extents file, and then the plan over what it says. */
#include <stdio.h>

#include "nbd/change_map.h"
#include "nbd/plan.h"
#include "tests/fuzz/fuzz.h"

#define DISK ((uint64_t)5000000)
#define CHUNKS_MAX 200

static void run_plan(const struct bf_extent_list *map)
{
    struct bf_plan plan = {.map = map,
                           .size = DISK,
                           .block_min = 1,
                           .read_max = DISK,
                           .zero_max = (uint64_t)1 << 20,
                           .whole_leaves = true};
    struct bf_chunk chunk;
    uint64_t at = 0, chunks = 0;

    bf_range_set_add(&plan.todo, 0, DISK);
    while (bf_plan_next(&plan, (uint64_t)256 << 10, &chunk)) {
        FUZZ_CHECK(chunk.span_start == at && chunk.span_end > at && ++chunks < CHUNKS_MAX);
        FUZZ_CHECK(chunk.read_end <= DISK && chunk.read_start <= chunk.read_end);
        at = chunk.span_end;
    }
    FUZZ_CHECK(at == DISK);
    bf_plan_done(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_extent_list list = {0};
    bf_auto_error err = BF_ERROR_INIT;

    if (!size)
        return 0;
    FILE *stream = fmemopen((void *)(uintptr_t)data, size, "r");
    if (!stream)
        return 0;
    if (bf_change_map_from_stream(stream, "map", DISK, &list, &err) == 0) {
        uint64_t end = 0;
        for (size_t i = 0; i < list.count; i++) {
            FUZZ_CHECK(list.items[i].offset >= end && list.items[i].length);
            end = list.items[i].offset + list.items[i].length;
            FUZZ_CHECK(end <= DISK);
        }
        run_plan(&list);
        FUZZ_CHECK(bf_extent_list_align(&list, 4096, DISK, &err) == 0);
        run_plan(&list);
    } else {
        FUZZ_CHECK(err.code == BF_E_CHANGE_MAP);
    }
    fclose(stream);
    bf_extent_list_done(&list);
    return 0;
}
