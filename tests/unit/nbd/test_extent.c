/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/extent.h"

#include "tests/unit/tap.h"

#define D BF_EXTENT_DATA
#define Z BF_EXTENT_ZERO

static void add(struct bf_extent_list *list, uint64_t offset, uint64_t length,
                enum bf_extent_type type)
{
    bf_auto_error err = BF_ERROR_INIT;

    ok(bf_extent_list_add(list, offset, length, type, &err) == 0, "add %" PRIu64, offset);
}

static void test_add(void)
{
    struct bf_extent_list list = {0};
    bf_auto_error err = BF_ERROR_INIT;

    add(&list, 0, 10, D);
    add(&list, 10, 5, D);
    is_int((int64_t)list.count, 1, "touching extents of one type are one");
    add(&list, 15, 5, Z);
    add(&list, 30, 5, Z);
    is_int((int64_t)list.count, 3, "others are not");
    ok(bf_extent_list_add(&list, 34, 5, D, &err) == -1, "a call that must fail");
    is_error(&err, BF_E_CHANGE_MAP, "overlap is refused");
    ok(bf_extent_list_add(&list, 0, 5, D, &err) == -1, "a call that must fail");
    is_error(&err, BF_E_CHANGE_MAP, "going backwards is refused");
    ok(bf_extent_list_add(&list, 100, 0, D, &err) == -1, "a call that must fail");
    is_error(&err, BF_E_CHANGE_MAP, "an empty extent is refused");
    ok(bf_extent_list_add(&list, UINT64_MAX - 3, 10, D, &err) == -1, "a call that must fail");
    is_error(&err, BF_E_CHANGE_MAP, "one that wraps is refused");
    ok(bf_extent_list_add(&list, 100, INT64_MAX, D, &err) == -1, "a call that must fail");
    is_error(&err, BF_E_CHANGE_MAP, "one that off_t cannot say is refused");
    is_int((int64_t)list.count, 3, "failures left the list alone");
    is_int((int64_t)bf_extent_list_find(&list, 0), 0, "find the first");
    is_int((int64_t)bf_extent_list_find(&list, 15), 1, "find by a border");
    is_int((int64_t)bf_extent_list_find(&list, 22), 2, "find from a gap");
    is_int((int64_t)bf_extent_list_find(&list, 35), 3, "find behind the end");
    is_u64(bf_extent_list_bytes(&list, 5, 18, D), 10, "bytes of data in a range");
    is_u64(bf_extent_list_bytes(&list, 0, 100, Z), 10, "bytes of zeroes");
    bf_extent_list_done(&list);
}

static void is_extent(const struct bf_extent_list *list, size_t i, uint64_t offset, uint64_t length,
                      enum bf_extent_type type)
{
    ok(i < list->count && list->items[i].offset == offset && list->items[i].length == length &&
           list->items[i].type == type,
       "extent %zu is %" PRIu64 "+%" PRIu64 " of type %d", i, offset, length, (int)type);
}

static void test_align(void)
{
    struct bf_extent_list list = {0};
    bf_auto_error err = BF_ERROR_INIT;

    add(&list, 100, 100, D);
    add(&list, 1000, 3000, Z);
    add(&list, 4100, 10, Z);
    add(&list, 9000, 1001, Z);
    ok(bf_extent_list_align(&list, 512, 10001, &err) == 0, "align");
    is_int((int64_t)list.count, 5, "number of extents");
    is_extent(&list, 0, 0, 1024, D); /* with the zero extent's head, which touches it */
    is_extent(&list, 1, 1024, 2560, Z);
    is_extent(&list, 2, 3584, 1024, D); /* tail of the zeroes, and a zero run below one block */
    is_extent(&list, 3, 8704, 512, D);
    is_extent(&list, 4, 9216, 785, Z); /* up to the odd end of the disk */
    bf_extent_list_done(&list);

    add(&list, 0, 700, Z);
    add(&list, 700, 300, D);
    ok(bf_extent_list_align(&list, 4096, 1000, &err) == 0, "align a disk below one block");
    is_int((int64_t)list.count, 1, "it is one extent");
    is_extent(&list, 0, 0, 1000, D);
    bf_extent_list_done(&list);
}

static void test_hash(void)
{
    struct bf_extent_list a = {0}, b = {0};
    char hex_a[BF_HASH_HEX_LENGTH + 1], hex_b[BF_HASH_HEX_LENGTH + 1];

    add(&a, 0, 10, D);
    add(&b, 0, 10, D);
    bf_extent_list_hash(&a, hex_a);
    bf_extent_list_hash(&b, hex_b);
    is_string(hex_a, hex_b, "equal maps have one hash");
    is_int((int64_t)strlen(hex_a), BF_HASH_HEX_LENGTH, "its length");
    add(&b, 20, 1, Z);
    bf_extent_list_hash(&b, hex_b);
    ok(strcmp(hex_a, hex_b) != 0, "another map has another");
    bf_extent_list_done(&a);
    bf_extent_list_done(&b);
}

/* Against a plain array of bytes. */
static void test_range_set(void)
{
    static unsigned char model[500];
    struct bf_range_set set = {0}, rest;
    unsigned seed = 1;
    bool same = true;

    for (int round = 0; round < 200; round++) {
        unsigned start = (seed = seed * 1103515245 + 12345) / 65536 % 490;
        unsigned length = (seed = seed * 1103515245 + 12345) / 65536 % 10;
        bf_range_set_add(&set, start, start + length);
        memset(model + start, 1, length);
        uint64_t covered = 0;
        for (size_t i = 0; i < set.count; i++) {
            same = same && set.items[i].start < set.items[i].end &&
                   (!i || set.items[i - 1].end < set.items[i].start);
            for (uint64_t at = set.items[i].start; at < set.items[i].end; at++, covered++)
                same = same && model[at];
        }
        uint64_t want = 0;
        for (size_t i = 0; i < sizeof(model); i++)
            want += model[i];
        same = same && want == covered && bf_range_set_bytes(&set) == want;
    }
    ok(same, "a range set agrees with its model");
    bf_range_set_invert(&set, sizeof(model), &rest);
    is_u64(bf_range_set_bytes(&rest) + bf_range_set_bytes(&set), sizeof(model),
           "set and rest are the whole");
    bf_range_set_add_all(&rest, &set);
    is_int((int64_t)rest.count, 1, "together they are one range");
    struct bf_range range;
    ok(bf_range_set_pop(&rest, &range) && range.start == 0 && range.end == sizeof(model), "pop");
    ok(!bf_range_set_pop(&rest, &range), "an empty set pops nothing");
    bf_range_set_done(&set);
    bf_range_set_done(&rest);
}

int main(void)
{
    test_add();
    test_align();
    test_hash();
    test_range_set();
    return done();
}
