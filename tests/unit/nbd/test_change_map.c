/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/change_map.h"

#include "base/cleanup.h"
#include "tests/unit/tap.h"

#define SIZE 1000000

static int parse(const char *text, size_t length, struct bf_extent_list *list, struct bf_error *err)
{
    bf_auto_file FILE *stream = fmemopen((void *)(uintptr_t)text, length, "r");

    return bf_change_map_from_stream(stream, "map", SIZE, list, err);
}

static void refused(const char *text, const char *why)
{
    struct bf_extent_list list = {0};
    bf_auto_error err = BF_ERROR_INIT;

    ok(parse(text, strlen(text), &list, &err) == -1, "%s", why);
    has_string(err.message, "line", "the message names the line");
    is_error(&err, BF_E_CHANGE_MAP, "is refused");
    bf_extent_list_done(&list);
}

static void test_good(void)
{
    static const char text[] = "{\"offset\":0,\"length\":512}\n"
                               "\n"
                               "{\"type\":\"zero\", \"length\":4096, \"offset\":4096}\r\n"
                               "{\"offset\":999999,\"length\":1,\"type\":\"data\"}";
    struct bf_extent_list list = {0};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *printed = NULL;
    size_t length;

    ok(parse(text, strlen(text), &list, &err) == 0, "a good map");
    is_int((int64_t)list.count, 3, "has its extents");
    ok(list.items[1].type == BF_EXTENT_ZERO && list.items[1].offset == 4096, "types and offsets");
    FILE *out = open_memstream(&printed, &length);
    ok(bf_change_map_print(&list, out, &err) == 0, "print");
    fclose(out);
    struct bf_extent_list again = {0};
    char a[BF_HASH_HEX_LENGTH + 1], b[BF_HASH_HEX_LENGTH + 1];
    ok(parse(printed, length, &again, &err) == 0, "what is printed can be read");
    bf_extent_list_hash(&list, a);
    bf_extent_list_hash(&again, b);
    is_string(a, b, "and is the same");
    bf_extent_list_done(&list);
    bf_extent_list_done(&again);
}

int main(void)
{
    struct bf_extent_list list = {0};
    bf_auto_error err = BF_ERROR_INIT;
    char longest[3000];

    test_good();
    refused("{\"offset\":0}\n", "no length");
    refused("{\"length\":5}\n", "no offset");
    refused("{\"offset\":0,\"length\":0}\n", "an empty extent");
    refused("{\"offset\":0,\"length\":1000001}\n", "beyond the end");
    refused("{\"offset\":18446744073709551615,\"length\":2}\n", "one that wraps");
    refused("{\"offset\":-1,\"length\":2}\n", "a negative offset");
    refused("{\"offset\":\"0\",\"length\":2}\n", "a text as offset");
    refused("{\"offset\":1.5,\"length\":2}\n", "half a byte");
    refused("{\"offset\":0,\"length\":2,\"kind\":1}\n", "an unknown field");
    refused("{\"offset\":0,\"length\":2,\"type\":\"dirty\"}\n", "an unknown type");
    refused("{\"offset\":0,\"length\":8}\n{\"offset\":4,\"length\":8}\n", "overlap");
    refused("{\"offset\":8,\"length\":8}\n{\"offset\":0,\"length\":8}\n", "backwards");
    refused("{\"offset\":0,\"length\":8} x\n", "garbage behind it");
    refused("[0,8]\n", "an array");
    refused("hello\n", "no JSON");
    memset(longest, ' ', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    refused(longest, "an endless line");
    ok(parse("{\"offset\":0,\"length\":8}\0x\n", 26, &list, &err) == -1, "a NUL byte");
    bf_error_clear(&err);
    bf_extent_list_done(&list);
    ok(bf_change_map_from_file("/nonexistent/map", SIZE, &list, &err) == -1, "a missing file");
    is_error(&err, BF_E_CHANGE_MAP, "is refused");
    return done();
}
