/* SPDX-License-Identifier: Apache-2.0 */
/* The movers that a platform's options name. */
#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "connectors/mover_option.h"
#include "tests/unit/tap.h"

static const char *const extra[] = {"_folder", NULL};

static int parse(const char *text, struct bf_mover_options *ret, struct bf_error *err)
{
    bf_auto_json *options = json_tokener_parse(text);

    return bf_mover_options_parse(options, 20, 45, ret, err);
}

static void is_bad(const char *text, const char *word)
{
    struct bf_mover_options options = {0};
    bf_auto_error err = BF_ERROR_INIT;

    ok(parse(text, &options, &err) < 0 && err.code == BF_E_BAD_INPUT && strstr(err.message, word),
       "%s: %s", word, err.message ? err.message : "");
    bf_mover_options_done(&options);
}

int main(void)
{
    struct bf_mover_options options = {0};
    bf_auto_error err = BF_ERROR_INIT;

    ok(parse("{\"other\": \"x\"}", &options, &err) == 0 && options.count == 0, "none");
    ok(parse(
           "{\"mover\": \"a\", \"mover_address\": \"h\", \"mover_certificates\": \"/c\","
           " \"mover3\": \"b\", \"mover3_address\": \"[::1]:99\", \"mover3_certificates\": \"/d\","
           " \"mover3_slots\": \"7\"}",
           &options, &err) == 0,
       "two");
    ok(options.count == 2 && options.list[0].number == 1 && options.list[1].number == 3,
       "in the order of their numbers");
    is_string(options.list[1].id, "b", "id");
    is_string(options.list[1].address, "[::1]:99", "address");
    is_string(options.list[1].certificates, "/d", "certificates");
    ok(options.list[0].slots == 20 && options.list[1].slots == 7, "slots");
    bf_mover_options_done(&options);
    ok(parse("{\"mover\": \"a\", \"mover_address\": \"h\", \"mover_certificates\": \"/c\","
             " \"mover_slots\": 45}",
             &options, &err) == 0 &&
           options.list[0].slots == 45,
       "slots as a number");
    bf_mover_options_done(&options);

    is_bad("{\"mover2\": \"a\"}", "go together");
    is_bad("{\"mover2_slots\": \"3\"}", "options.mover2 is not set");
    is_bad("{\"mover_folder\": \"3\"}", "options.mover is not set");
    is_bad("{\"mover\": \"a\", \"mover_address\": \"h/x\", \"mover_certificates\": \"/c\"}",
           "mover_address: expected HOST");
    is_bad("{\"mover\": \"a\", \"mover_address\": \"h\", \"mover_certificates\": \"c\"}",
           "mover_certificates: expected an absolute path");
    is_bad("{\"mover9_slots\": \"46\"}", "mover9_slots: expected a number from 1 to 45");
    is_bad("{\"mover\": \"a\", \"mover_address\": \"h\", \"mover_certificates\": \"/c\","
           " \"mover2\": \"a\", \"mover2_address\": \"i\", \"mover2_certificates\": \"/c\"}",
           "another mover already");

    ok(bf_mover_option_is("mover", extra) && bf_mover_option_is("mover9_slots", extra) &&
           bf_mover_option_is("mover2_folder", extra),
       "names of options");
    ok(!bf_mover_option_is("mover1", extra) && !bf_mover_option_is("mover10_slots", extra) &&
           !bf_mover_option_is("mover_size", extra) && !bf_mover_option_is("movers", extra) &&
           !bf_mover_option_is("remover", extra),
       "and of none");
    return done();
}
