/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a guest's conversion, as "check" shows it. */
#include <stdio.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

/* The items of a list as "a, b"; NULL: none. */
static char *words_of(struct json_object *list)
{
    bf_auto_buf words = {0};

    for (size_t i = 0; i < bf_cli_count(list); i++)
        bf_buf_addf(&words, "%s%s", i ? ", " : "",
                    json_object_get_string(json_object_array_get_idx(list, i)));
    return words.text ? bf_cli_shown(words.text) : NULL;
}

static void pair_words(const char *label, struct json_object *list)
{
    bf_auto_free char *words = words_of(list);

    if (words)
        bf_cli_pair(label, "%s", words);
}

static const char *explain(const char *method)
{
    static const struct {
        const char *method;
        const char *text;
    } methods[] = {{"none", "nothing to do: the guest has virtio"},
                   {"fast", "the fast way, without running guest code"},
                   {"v2v", "virt-v2v-in-place"},
                   {"windows", "our own way for Windows"}};

    for (size_t i = 0; i < bf_array_length(methods); i++)
        if (bf_streq(method, methods[i].method))
            return methods[i].text;
    return method ? method : "-";
}

static void print_kernels(struct json_object *kernels)
{
    for (size_t i = 0; i < bf_cli_count(kernels); i++) {
        struct json_object *one = json_object_array_get_idx(kernels, i);
        bf_auto_free char *version = bf_cli_shown(bf_cli_text(one, "version"));

        bf_cli_pair("kernel", "%s, virtio: %s", version, bf_cli_text_or(one, "virtio", "-"));
    }
}

static void print_changes(const struct bf_cli *cli, struct json_object *changes)
{
    struct bf_table *table;

    if (!bf_cli_count(changes))
        return;
    table = bf_table_new(cli, "CHANGE|FILE|~WHY");
    for (size_t i = 0; i < bf_cli_count(changes); i++) {
        struct json_object *one = json_object_array_get_idx(changes, i);

        bf_table_row(table, bf_cli_shown(bf_cli_text(one, "what")),
                     bf_cli_shown(bf_cli_text(one, "path")), bf_cli_shown(bf_cli_text(one, "why")));
    }
    putchar('\n');
    bf_table_print(table, "");
}

void bf_cli_print_plan(const struct bf_cli *cli, struct json_object *answer)
{
    struct json_object *plan = bf_cli_object(answer, "plan");
    struct json_object *facts = bf_cli_object(plan, "facts");
    bf_auto_free char *product =
        bf_cli_shown(bf_cli_text_or(bf_cli_object(plan, "os"), "product", "not known"));
    bf_auto_free char *took = NULL;

    putchar('\n');
    if (!plan) {
        bf_cli_heading(cli, "Conversion: not planned yet (blockferry check --inspect looks now)");
        return;
    }
    if (bf_cli_bool(plan, "failed")) {
        bf_cli_heading(cli, "Conversion: not planned, the inspection failed (a finding says why)");
        return;
    }
    bf_cli_heading(cli, "Conversion: %s", explain(bf_cli_text(plan, "method")));
    bf_cli_pair("guest", "%s", product);
    if (bf_cli_text(plan, "bootloader"))
        bf_cli_pair("boots by", "%s, %s", bf_cli_text(plan, "bootloader"),
                    bf_cli_text_or(plan, "firmware", "-"));
    print_kernels(bf_cli_array(facts, "kernels"));
    pair_words("network", bf_cli_array(facts, "network"));
    pair_words("interfaces", bf_cli_array(facts, "interfaces"));
    pair_words("lvm", bf_cli_array(facts, "lvm"));
    took = bf_cli_seconds((double)bf_cli_u64(plan, "expected_seconds"));
    bf_cli_pair("takes", "about %s", took);
    if (!bf_cli_bool(answer, "current"))
        bf_cli_pair("outdated", "machine or policy changed since; the next round looks again");
    print_changes(cli, bf_cli_array(plan, "changes"));
}
