/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/text.h"
#include "tests/unit/tap.h"

static void test_grow_and_buf(void)
{
    uint32_t *array = NULL;
    size_t capacity = 0;
    bf_auto_buf buf = {0};
    bf_auto_free char *large = bf_xcalloc(1, 1001);

    bf_xgrow(&array, &capacity, 5, sizeof(*array));
    ok(capacity >= 5 && array[0] == 0 && array[capacity - 1] == 0, "grown and zeroed");
    array[4] = 7;
    bf_xgrow(&array, &capacity, 1000, sizeof(*array));
    ok(capacity >= 1000 && array[4] == 7 && array[999] == 0, "grown again: old kept, new zeroed");
    free(array);

    ok(buf.text == NULL, "an empty text is NULL");
    bf_buf_add(&buf, "", 0);
    is_string(buf.text, "", "adding nothing makes it a text");
    bf_buf_addf(&buf, "%s-%d", "a", 1);
    memset(large, 'x', 1000);
    bf_buf_addf(&buf, "%s", large);
    is_u64(buf.length, 1003, "a long piece is added whole");
    is_u64(strlen(buf.text), 1003, "and terminated");
    bf_buf_done(&buf);
    ok(!buf.text && !buf.length && !buf.capacity, "done");
}

static void test_compare(void)
{
    ok(bf_streq("a", "a") && !bf_streq("a", "b"), "streq");
    ok(bf_streq(NULL, NULL) && !bf_streq(NULL, "") && !bf_streq("", NULL), "streq and NULL");
    ok(bf_starts_with("abc", "ab") && !bf_starts_with("abc", "bc") && bf_starts_with("a", ""),
       "starts_with");
    ok(bf_ends_with("abc", "bc") && !bf_ends_with("abc", "ab") && !bf_ends_with("c", "bc"),
       "ends_with");
    ok(!bf_starts_with(NULL, "") && !bf_ends_with(NULL, ""), "NULL has neither");
}

struct number {
    const char *text;
    uint64_t value;
    bool good;
};

static void check_numbers(const char *what, const struct number *numbers, size_t count,
                          int (*parse)(const char *, uint64_t *, struct bf_error *))
{
    for (size_t i = 0; i < count; i++) {
        bf_auto_error err = BF_ERROR_INIT;
        uint64_t value = 4711;
        int result = parse(numbers[i].text, &value, &err);

        if (numbers[i].good)
            ok(result == 0 && value == numbers[i].value, "%s \"%s\"", what, numbers[i].text);
        else
            ok(result == -1 && value == 4711 && err.code == BF_E_BAD_INPUT, "%s \"%s\" is refused",
               what, numbers[i].text ? numbers[i].text : "(null)");
    }
}

static void test_numbers(void)
{
    static const struct number u64s[] = {
        {"0", 0, true},
        {"18446744073709551615", UINT64_MAX, true},
        {"007", 7, true},
        {"18446744073709551616", 0, false},
        {"99999999999999999999999", 0, false},
        {"", 0, false},
        {"-1", 0, false},
        {"+1", 0, false},
        {" 1", 0, false},
        {"1 ", 0, false},
        {"0x10", 0, false},
        {"1.5", 0, false},
        {NULL, 0, false},
    };
    static const struct number sizes[] = {
        {"0", 0, true},
        {"512", 512, true},
        {"1K", 1024, true},
        {"2k", 2048, true},
        {"3M", 3 << 20, true},
        {"10G", UINT64_C(10) << 30, true},
        {"1T", UINT64_C(1) << 40, true},
        {"4KiB", 4096, true},
        {"2GiB", UINT64_C(2) << 30, true},
        {"16777215T", UINT64_C(16777215) << 40, true},
        {"16777216T", 0, false},
        {"1KB", 0, false},
        {"1 K", 0, false},
        {"1.5G", 0, false},
        {"K", 0, false},
        {"1X", 0, false},
        {"1Ki", 0, false},
        {"1KiBx", 0, false},
        {"", 0, false},
        {NULL, 0, false},
    };
    static const struct number durations[] = {
        {"45", 45, true},
        {"90s", 90, true},
        {"15m", 900, true},
        {"6h", 21600, true},
        {"2d", 172800, true},
        {"1w", 0, false},
        {"1mm", 0, false},
        {"m", 0, false},
        {"", 0, false},
        {"-1s", 0, false},
        {"1 h", 0, false},
        {NULL, 0, false},
        {"18446744073709551615d", 0, false},
    };

    check_numbers("number", u64s, bf_array_length(u64s), bf_parse_u64);
    check_numbers("size", sizes, bf_array_length(sizes), bf_parse_bytes);
    check_numbers("duration", durations, bf_array_length(durations), bf_parse_duration);
}

static void test_formats(void)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1 KiB"},
        {1536, "1.5 KiB"},
        {1024 * 1024 - 1, "1 MiB"},
        {UINT64_C(3) << 29, "1.5 GiB"},
        {UINT64_C(20) << 30, "20 GiB"},
        {(UINT64_C(20) << 30) + 1, "20 GiB"},
        {UINT64_MAX, "16 EiB"},
        {UINT64_C(1) << 63, "8 EiB"},
    };
    static const struct {
        uint64_t seconds;
        const char *text;
    } durations[] = {
        {0, "0 s"},
        {59, "59 s"},
        {65, "1 min 05 s"},
        {7500, "2 h 05 min"},
        {86400 * 3 + 3600 * 4, "3 d 04 h"},
    };

    for (size_t i = 0; i < bf_array_length(sizes); i++) {
        bf_auto_free char *text = bf_format_bytes(sizes[i].bytes);

        is_string(text, sizes[i].text, "%" PRIu64 " bytes", sizes[i].bytes);
    }
    for (size_t i = 0; i < bf_array_length(durations); i++) {
        bf_auto_free char *text = bf_format_duration(durations[i].seconds);

        is_string(text, durations[i].text, "%" PRIu64 " seconds", durations[i].seconds);
    }
}

static void test_utf8(void)
{
    static const struct {
        const char *text;
        size_t length;
        bool valid;
    } cases[] = {
        {"", 0, true},
        {"plain", 5, true},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, true},
        {"\xf4\x8f\xbf\xbf", 4, true},         /* 10FFFF */
        {"\xf4\x90\x80\x80", 4, false},        /* 110000 */
        {"\xc0\x80", 2, false},                /* overlong NUL */
        {"\xe0\x80\xaf", 3, false},            /* overlong */
        {"\xf0\x80\x80\xaf", 4, false},        /* overlong */
        {"\xed\xa0\x80", 3, false},            /* surrogate */
        {"\xed\x9f\xbf\xee\x80\x80", 6, true}, /* around the surrogates */
        {"\x80", 1, false},
        {"\xc3", 1, false},
        {"\xe2\x82", 2, false},
        {"\xe2\x82x", 3, false},
        {"\xff", 1, false},
    };
    char text[] = "a\tb\nc\x1b[2J\x7f\xc2\x85 \xe2\x82\xac \xe2\x82 \xc3";

    for (size_t i = 0; i < bf_array_length(cases); i++)
        ok(bf_utf8_valid(cases[i].text, cases[i].length) == cases[i].valid, "UTF-8 case %zu", i);
    bf_text_clean(text, true);
    is_string(text, "a\tb\nc [2J    \xe2\x82\xac ?? ?", "cleaned, with lines");
    bf_text_clean(text, false);
    is_string(text, "a b c [2J    \xe2\x82\xac ?? ?", "cleaned to one line");
}

static void test_names(void)
{
    static const struct {
        const char *text;
        size_t max;
        const char *slug;
    } cases[] = {
        {"web-01", 20, "web-01"},
        {"Web Server (new)", 20, "web-server-new"},
        {"--a__b--", 20, "a-b"},
        {"abcdef", 3, "abc"},
        {"ab cdef", 3, "ab"},
        {"", 5, "x"},
        {"\xc3\xa9\xc3\xa9", 5, "x"},
        {NULL, 5, "x"},
        {"../../etc/passwd", 64, "etc-passwd"},
    };
    char a[40], b[40], uuid[BF_UUID_LENGTH + 1];

    for (size_t i = 0; i < bf_array_length(cases); i++) {
        bf_auto_free char *slug = bf_slug(cases[i].text, cases[i].max);

        is_string(slug, cases[i].slug, "slug of \"%s\"", cases[i].text ? cases[i].text : "(null)");
    }
    bf_random_hex(a, 33);
    bf_random_hex(b, 33);
    ok(strlen(a) == 33 && strspn(a, "0123456789abcdef") == 33, "random text is hex");
    ok(strcmp(a, b) != 0, "and differs");
    bf_uuid_new(uuid);
    ok(strlen(uuid) == 36 && uuid[8] == '-' && uuid[13] == '-' && uuid[18] == '-' &&
           uuid[23] == '-',
       "form of a UUID");
    ok(uuid[14] == '4' && strchr("89ab", uuid[19]), "version and variant");
}

int main(void)
{
    test_grow_and_buf();
    test_compare();
    test_numbers();
    test_formats();
    test_utf8();
    test_names();
    return done();
}
