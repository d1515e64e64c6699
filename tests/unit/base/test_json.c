/* SPDX-License-Identifier: Apache-2.0 */
/* Each trap of json-c 0.16 that base/json closes is held here by a case. */
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "tests/unit/tap.h"

/* The document is ours: it must parse. */
static struct json_object *parse(const char *text)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct json_object *value = NULL;

    if (bf_json_parse(text, strlen(text), &value, &err) < 0) {
        ok(false, "parse %s: %s", text, err.message);
        exit(done());
    }
    return value;
}

static void test_good(void)
{
    static const char *const good[] = {
        "{}",
        "[]",
        " [1, 2]\n",
        "0",
        "-0",
        "-1.5e+10",
        "\"\"",
        "true",
        "null",
        "{\"a\":{\"b\":[true,false,null]}}",
        "\"it's /* not */ a comment\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u20ac\"",
        "18446744073709551615",
        "-9223372036854775808",
    };

    for (size_t i = 0; i < bf_array_length(good); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_json *value = NULL;

        ok(bf_json_parse(good[i], strlen(good[i]), &value, &err) == 0, "%s", good[i]);
        if (err.message)
            diag("%s", err.message);
    }
}

static void test_refused(void)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[1",
        "\"a",
        "{'a':1}",
        "['a']",
        "{\"a\":1}x",
        "{\"a\":1}{}",
        "1 2",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "/* c */ {}",
        "{} // c",
        "[NaN]",
        "[nan]",
        "[Infinity]",
        "[-Infinity]",
        "[True]",
        "[NULL]",
        "[nullx]",
        "[01]",
        "[1.]",
        "[.5]",
        "[+1]",
        "[1e]",
        "[-]",
        "[0x10]",
        "[18446744073709551616]",
        "[-9223372036854775809]",
        "[\"a\nb\"]",
        "[\"\\x41\"]",
        "[\"\\u12\"]",
        "{\"a\\u0000b\":1}",
        "{\"a\\u0000b\" :1}",
        "[\"\xff\"]",
        "[\"\xc3\"]",
        "[\"\xed\xa0\x80\"]",
        "\xef\xbb\xbf{}",
    };

    for (size_t i = 0; i < bf_array_length(bad); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_json *value = NULL;

        ok(bf_json_parse(bad[i], strlen(bad[i]), &value, &err) == -1 && !value &&
               err.code == BF_E_BAD_JSON && *err.message,
           "case %zu is refused", i);
        if (err.code != BF_E_BAD_JSON)
            diag("case %zu: %s -> %s", i, bad[i], bf_json_text(value));
    }
}

static void test_limits(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *value = NULL;
    bf_auto_buf deep = {0};

    for (int i = 0; i < 60; i++)
        bf_buf_add(&deep, "[", 1);
    for (int i = 0; i < 60; i++)
        bf_buf_add(&deep, "]", 1);
    is_int(bf_json_parse(deep.text, deep.length, &value, &err), 0, "60 levels");
    json_object_put(bf_steal(value));
    deep.length = 0;
    for (int i = 0; i < 100000; i++)
        bf_buf_add(&deep, "[", 1);
    is_int(bf_json_parse(deep.text, deep.length, &value, &err), -1, "100000 levels are refused");
    is_error(&err, BF_E_BAD_JSON, "as bad JSON");
    is_int(bf_json_parse("[1]\0 ", 5, &value, &err), -1, "a NUL byte behind the value is refused");
    is_error(&err, BF_E_BAD_JSON, "as bad JSON");
    is_int(bf_json_parse("[]", SIZE_MAX, &value, &err), -1, "a huge text is refused unread");
    is_error(&err, BF_E_TOO_LARGE, "as too large");
    is_int(bf_json_parse("[1]garbage", 3, &value, &err), 0, "only `length` bytes count");
    json_object_put(bf_steal(value));
    is_int(bf_json_parse("123", 2, &value, &err), 0, "of a number, too");
    is_string(bf_json_text(value), "12", "12");
}

static void test_strings(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *doc = parse("{\"s\":\"x\",\"n\":1,\"o\":{},\"z\":null,\"nul\":\"a\\u0000b\","
                              "\"twice\":1,\"twice\":\"last\"}");
    const char *text = "before";

    is_int(bf_json_get_string(doc, "", "s", &text, &err), 0, "a string");
    is_string(text, "x", "its text");
    text = "before";
    is_int(bf_json_get_string(doc, "disks[1]", "n", &text, &err), -1, "a number is no string");
    is_string(err.message, "disks[1].n: expected string, found integer", "message");
    is_error(&err, BF_E_BAD_JSON, "code");
    is_int(bf_json_get_string(doc, "", "o", &text, &err), -1, "an object is no string");
    bf_error_clear(&err);
    is_int(bf_json_get_string(doc, "", "z", &text, &err), -1, "null is missing");
    is_string(err.message, "z: missing", "message");
    bf_error_clear(&err);
    is_int(bf_json_get_string(doc, NULL, "q", &text, &err), -1, "absent is missing");
    bf_error_clear(&err);
    is_int(bf_json_get_string(doc, "", "nul", &text, &err), -1, "a string is not cut at NUL");
    is_error(&err, BF_E_BAD_JSON, "but refused");
    is_string(text, "before", "outputs are untouched");
    is_int(bf_json_get_string(doc, "", "twice", &text, &err), 0, "of two equal names");
    is_string(text, "last", "the last one counts");

    text = "default";
    is_int(bf_json_opt_string(doc, "", "q", &text, &err), 0, "optional and absent");
    is_int(bf_json_opt_string(doc, "", "z", &text, &err), 0, "optional and null");
    is_string(text, "default", "leave the default");
    is_int(bf_json_opt_string(doc, "", "n", &text, &err), -1, "optional of a wrong type");
    is_error(&err, BF_E_BAD_JSON, "is an error");
    is_int(bf_json_get_string(NULL, "", "n", &text, &err), -1, "null is no object");
    is_string(err.message, "document: expected object, found null", "message");
    bf_error_clear(&err);
}

static void test_numbers(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *doc = parse("{\"max\":18446744073709551615,\"i\":9223372036854775808,\"z\":0,"
                              "\"neg\":-1,\"frac\":1.9,\"whole\":1.0,\"text\":\"12abc\","
                              "\"digits\":\"12\",\"t\":true}");
    static const char *const bad[] = {"neg", "frac", "whole", "text", "digits", "t", "absent"};
    uint64_t value = 7;

    is_int(bf_json_get_u64(doc, "", "max", &value, &err), 0, "2^64-1");
    is_u64(value, UINT64_MAX, "is not saturated");
    is_int(bf_json_get_u64(doc, "", "i", &value, &err), 0, "2^63");
    is_u64(value, UINT64_C(1) << 63, "neither");
    is_int(bf_json_get_u64(doc, "", "z", &value, &err), 0, "0");
    is_u64(value, 0, "is 0");
    for (size_t i = 0; i < bf_array_length(bad); i++) {
        value = 7;
        is_int(bf_json_get_u64(doc, "", bad[i], &value, &err), -1, "%s is refused", bad[i]);
        is_u64(value, 7, "and the output untouched");
        has_string(err.message, bad[i], "the field is named");
        is_error(&err, BF_E_BAD_JSON, "as bad JSON");
    }
    is_int(bf_json_opt_u64(doc, "", "absent", &value, &err), 0, "optional");
    is_u64(value, 7, "keeps the default");
    is_int(bf_json_opt_u64(doc, "", "neg", &value, &err), -1, "optional, but not negative");
    is_error(&err, BF_E_BAD_JSON, "as bad JSON");
}

static void test_other_types(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *doc = parse("{\"t\":true,\"f\":\"false\",\"one\":1,\"o\":{\"k\":1},\"a\":[1]}");
    struct json_object *node = NULL;
    bool value = false;

    is_int(bf_json_get_bool(doc, "", "t", &value, &err), 0, "true");
    ok(value, "is true");
    value = false;
    is_int(bf_json_get_bool(doc, "", "f", &value, &err), -1, "\"false\" is no boolean");
    is_error(&err, BF_E_BAD_JSON, "but an error");
    is_int(bf_json_get_bool(doc, "", "one", &value, &err), -1, "nor is 1");
    is_error(&err, BF_E_BAD_JSON, "but an error");
    ok(!value, "the output is untouched");
    is_int(bf_json_opt_bool(doc, "", "absent", &value, &err), 0, "an optional boolean");
    is_int(bf_json_get_object(doc, "", "o", &node, &err), 0, "object");
    ok(json_object_object_length(node) == 1, "is the one");
    is_int(bf_json_get_object(doc, "", "a", &node, &err), -1, "an array is no object");
    is_error(&err, BF_E_BAD_JSON, "but an error");
    is_int(bf_json_get_array(doc, "", "a", &node, &err), 0, "array");
    ok(json_object_array_length(node) == 1, "is the one");
    is_int(bf_json_get_array(doc, "", "o", &node, &err), -1, "an object is no array");
    is_error(&err, BF_E_BAD_JSON, "but an error");
    node = NULL;
    is_int(bf_json_opt_object(doc, "", "absent", &node, &err), 0, "optional object");
    is_int(bf_json_opt_array(doc, "", "absent", &node, &err), 0, "optional array");
    ok(!node, "leave the default");
    is_int(bf_json_opt_array(doc, "", "o", &node, &err), -1, "optional array of a wrong type");
    is_error(&err, BF_E_BAD_JSON, "is an error");
}

static void test_check_fields(void)
{
    static const char *const known[] = {"a", "b", NULL};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *good = parse("{\"a\":1}");
    bf_auto_json *bad = parse("{\"a\":1,\"c\":2}");

    is_int(bf_json_check_fields(good, "", known, &err), 0, "known fields");
    is_int(bf_json_check_fields(bad, "policy", known, &err), -1, "an unknown field");
    is_string(err.message, "policy.c: unknown field", "is named");
    is_error(&err, BF_E_BAD_JSON, "as bad JSON");
    is_int(bf_json_check_fields(NULL, "", known, &err), -1, "null has no fields");
    is_error(&err, BF_E_BAD_JSON, "but is no object");
}

static void test_writers(void)
{
    bf_auto_json *doc = json_object_new_object();

    bf_json_add_string(doc, "s", "a/b\"c");
    bf_json_add_string(doc, "n", NULL);
    bf_json_add_string(doc, "bad", "x\xffy");
    bf_json_add_u64(doc, "u", UINT64_MAX);
    bf_json_add_i64(doc, "i", -1);
    bf_json_add_bool(doc, "b", true);
    bf_json_add_utc(doc, "t", INT64_C(1795182741123456));
    bf_json_add_utc(doc, "never", 0);
    is_string(bf_json_text(doc),
              "{\"s\":\"a/b\\\"c\",\"n\":null,\"bad\":\"x?y\",\"u\":18446744073709551615,\"i\":-1,"
              "\"b\":true,\"t\":\"2026-11-20T13:52:21.123Z\",\"never\":null}",
              "compact text");
}

static void test_errors(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_error back = BF_ERROR_INIT;
    bf_auto_json *doc = NULL;
    bf_auto_json *odd = parse("{\"code\":\"from-the-future\",\"message\":\"m\"}");
    bf_auto_json *none = parse("{\"code\":\"ok\"}");
    const char *text = NULL;

    bf_fail(&err, BF_E_QUOTA, 0, "8 of 8 volumes");
    bf_error_evidence(&err, "Quota exceeded");
    doc = bf_json_error(&err);
    bf_json_get_string(doc, "", "code", &text, &back);
    is_string(text, "quota", "code");
    bf_json_get_string(doc, "", "kind", &text, &back);
    is_string(text, "capacity", "kind");
    ok(json_object_object_length(doc) == 7, "all seven fields");
    is_int(bf_json_to_error(doc, &back), 0, "read back");
    ok(back.code == BF_E_QUOTA && bf_streq(back.message, err.message) &&
           bf_streq(back.evidence, err.evidence),
       "is the same");
    is_int(bf_json_to_error(odd, &back), 0, "an unknown code is taken");
    is_int(back.code, BF_E_INTERNAL, "as internal");
    is_int(bf_json_to_error(none, &back), -1, "\"ok\" is no error");
    is_int(bf_json_to_error(NULL, &back), -1, "nor is nothing");
    is_string(back.message, "m", "and the output is untouched");
}

static void test_read_file(void)
{
    char path[] = "/tmp/bf-test-json.XXXXXX";
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *value = NULL;
    bf_auto_fd int fd = mkstemp(path);

    ok(fd >= 0 && bf_fd_write_all(fd, "{\"a\":tru}", 9, &err) == 0, "a file");
    is_int(bf_json_read_file(path, &value, &err), -1, "with an error in it");
    ok(bf_starts_with(err.message, path), "the message begins with its name");
    is_error(&err, BF_E_BAD_JSON, "bad JSON");
    bf_file_replace(path, "[1]\n", 4, 0600, &err);
    is_int(bf_json_read_file(path, &value, &err), 0, "without");
    is_string(bf_json_text(value), "[1]", "is read");
    unlink(path);
}

int main(void)
{
    test_good();
    test_refused();
    test_limits();
    test_strings();
    test_numbers();
    test_other_types();
    test_check_fields();
    test_writers();
    test_errors();
    test_read_file();
    return done();
}
