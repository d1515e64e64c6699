/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/options.h"

#include "tests/unit/tap.h"

#define PARSE(...) parse((const char *[]){"blockferry-copy", __VA_ARGS__, NULL})

static struct bf_copy_options options;
static struct bf_error err;
/* The options point into these until the next parse. */
static char *kept[20];
static int kept_count;

static void forget(void)
{
    for (int i = 0; i < kept_count; i++)
        free(kept[i]);
    kept_count = 0;
}

static int parse(const char **args)
{
    char *argv[20];

    forget();
    /* getopt reorders, so it gets a copy. */
    for (; args[kept_count]; kept_count++)
        argv[kept_count] = kept[kept_count] = strdup(args[kept_count]);
    argv[kept_count] = NULL;
    return bf_copy_options_parse(kept_count, argv, &options, &err);
}

int main(void)
{
    ok(PARSE("a", "b") == 0, "source and target");
    is_string(options.source, "a", "source");
    is_string(options.target, "b", "target");
    is_u64(options.memory_bytes, 0, "memory is what suits the endpoints");
    ok(PARSE("a", "--rate", "10M", "b", "--verify=5%", "--progress", "json", "-v") == 0, "options");
    is_u64(options.rate, 10 << 20, "rate");
    is_int(options.verify_percent, 5, "percent");
    ok(options.progress == BF_PROGRESS_JSON && options.progress_given && options.verbose, "others");
    ok(PARSE("--print-map", "a") == 0 && !options.target, "print-map needs no target");
    ok(PARSE("--help") == 0 && options.help, "help alone");

    static const char *const bad[][8] = {
        {"a"},
        {"a", "b", "c"},
        {"a", "b", "--nonsense"},
        {"a", "b", "-x"},
        {"a", "b", "--rate"},
        {"a", "b", "--rate", "fast"},
        {"a", "b", "--connections", "0"},
        {"a", "b", "--connections", "17"},
        {"a", "b", "--request-size", "100K"},
        {"a", "b", "--request-size", "4K"},
        {"a", "b", "--verify", "0%"},
        {"a", "b", "--verify", "101%"},
        {"a", "b", "--verify", "some"},
        {"a", "b", "--progress", "loud"},
        {"a", "b", "--journal", ""},
        {"a", "b", "--repair"},
        {"a", "b", "--compare", "--map", "x"},
        {"a", "b", "--compare", "--target-is-zero"},
        {"a", "b", "--map", "x", "--digest", "y"},
        {"a", "b", "--digest-from", "y"},
        {"a", "b", "--map", "x", "--verify", "all"},
        {"a", "b", "--compare", "--digest-from", "y", "--digest", "y"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *args[10] = {"blockferry-copy"};
        for (size_t j = 0; j < 8 && bad[i][j]; j++)
            args[j + 1] = bad[i][j];
        ok(parse(args) == -1, "refused: %s %s %s", args[1], args[3] ? args[3] : "",
           args[3] && args[4] ? args[4] : "");
        is_error(&err, BF_E_BAD_INPUT, "as bad input");
    }
    forget();
    return done();
}
