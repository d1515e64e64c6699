/* SPDX-License-Identifier: Apache-2.0 */
/* blockferry platform ..., machine ...: what is there to replicate from and to. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/openrc.h"

/* The service waits for a platform at most two and a half minutes. */
#define PLATFORM_TIMEOUT_MS 180000

static int secret_from_fd(int fd, struct json_object *body, struct bf_error *err)
{
    bf_auto_secret *secret = NULL;

    if (bf_secret_read_fd(fd, &secret, err) < 0)
        return -1;
    bf_json_add_string(body, "password", bf_secret_text(secret));
    return 0;
}

static int secret_from_file(const char *path, struct json_object *body, struct bf_error *err)
{
    bf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return bf_fail(err, BF_E_BAD_INPUT, errno, "password file %s", path);
    return secret_from_fd(fd, body, err);
}

/* By descriptor, file, or, when a user is named or `ask`, by asking. */
static int password_add(struct bf_cli *cli, struct json_object *body, bool ask,
                        struct bf_error *err)
{
    const char *descriptor = bf_cli_option(cli, "password-fd");
    const char *path = bf_cli_option(cli, "password-file");
    uint64_t fd = 0;

    if (descriptor && path)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "give --password-file or --password-fd, not both");
    if (descriptor) {
        if (bf_parse_u64(descriptor, &fd, err) < 0 || fd > INT32_MAX)
            return bf_error_is_set(err) ? bf_fail_in(err, "--password-fd")
                                        : bf_fail(err, BF_E_BAD_INPUT, 0, "--password-fd");
        return secret_from_fd((int)fd, body, err);
    }
    if (path)
        return secret_from_file(path, body, err);
    if (!bf_cli_option(cli, "user") && !ask)
        return 0;

    /* Whoever types a password should not learn after it that nobody takes it. */
    if (bf_cli_reach(cli, err) < 0)
        return -1;
    const char *user = bf_cli_option(cli, "user");
    const char *url = bf_cli_option(cli, "url");
    bf_auto_free char *prompt = bf_xasprintf("Password of %s at %s: ", user ? user : "the user",
                                             url ? url : cli->arguments[0]);
    char *typed = NULL;

    if (bf_cli_prompt_secret(prompt, &typed, err) < 0)
        return -1;
    bf_json_add_string(body, "password", typed);
    explicit_bzero(typed, strlen(typed));
    free(typed);
    return 0;
}

/* can_be_empty: "KEY=" is null, which takes the option back. */
static int options_add(const struct bf_cli *cli, struct json_object *body, bool can_be_empty,
                       struct bf_error *err)
{
    struct json_object *options = json_object_new_object();
    const char *text;

    json_object_object_add(body, "options", options);
    for (size_t i = 0; (text = bf_cli_option_at(cli, "option", i)); i++) {
        const char *equals = strchr(text, '=');

        if (!equals || equals == text)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--option %s: expected KEY=VALUE", text);
        bf_auto_free char *key = bf_xasprintf("%.*s", (int)(equals - text), text);

        if (json_object_object_get_ex(options, key, NULL))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--option %s is given twice", key);
        bf_json_add_string(options, key, equals[1] || !can_be_empty ? equals + 1 : NULL);
    }
    return 0;
}

/* --- test --- */

static int ask_test(struct bf_cli *cli, struct json_object **ret_answer, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_free char *path = bf_xasprintf("/v1/platforms/%s/test", name);

    return bf_cli_call(cli, "POST", path, NULL, PLATFORM_TIMEOUT_MS, ret_answer, err);
}

static void print_test(struct bf_cli *cli, struct json_object *answer)
{
    bf_auto_json *findings = json_object_get(bf_cli_array(answer, "findings"));

    bf_cli_heading(cli, "%s answers", cli->arguments[0]);
    json_object_object_del(answer, "findings");
    bf_cli_print_object(answer);
    if (findings)
        bf_cli_print_findings(cli, findings);
}

/* What the service took, and whether the platform answers: above all, a certificate that is not
 * trusted is shown now, to be compared and pinned.  A platform may be told of before it is up, so
 * that it does not answer is no failure. */
static void say_and_test(struct bf_cli *cli, const char *done)
{
    bf_auto_error why = BF_ERROR_INIT;
    bf_auto_json *answer = NULL;

    printf("%s: %s\n", cli->arguments[0], done);
    if (bf_cli_has(cli, "no-test"))
        return;
    fflush(stdout);
    if (ask_test(cli, &answer, &why) == 0) {
        print_test(cli, answer);
        return;
    }
    bf_cli_print_error(&why, false);
    fprintf(stderr,
            "Mend that with blockferry platform set %s, then: blockferry platform test %s\n",
            cli->arguments[0], cli->arguments[0]);
}

int bf_cli_platform_add(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *body = json_object_new_object();
    bf_auto_json *answer = NULL;
    bool by_environment = bf_cli_openrc_given(cli);

    if (!bf_cli_option(cli, "type") || (!bf_cli_option(cli, "url") && !by_environment))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "blockferry platform add: --%s is missing",
                       bf_cli_option(cli, "type") ? "url" : "type");
    bf_json_add_string(body, "name", cli->arguments[0]);
    bf_json_add_string(body, "type", bf_cli_option(cli, "type"));
    if (!by_environment)
        bf_json_add_string(body, "url", bf_cli_option(cli, "url"));
    if (!by_environment || bf_cli_option(cli, "user"))
        bf_json_add_string(body, "user", bf_cli_option(cli, "user"));
    if (options_add(cli, body, false, err) < 0 || password_add(cli, body, false, err) < 0)
        return -1;
    if (by_environment)
        bf_cli_openrc_add(body);
    if (bf_cli_call(cli, "POST", "/v1/platforms", body, 0, &answer, err) < 0)
        return -1;
    if (cli->json)
        bf_cli_print_json(answer);
    else
        say_and_test(cli, "registered");
    return 0;
}

/* Another address may be another platform, of which the service knows nothing. */
static int url_confirm(struct bf_cli *cli, struct json_object *body, struct bf_error *err)
{
    bf_auto_free char *question = NULL;

    if (!bf_cli_has(cli, "yes")) {
        question = bf_xasprintf("%s has to be the platform %s at a new address: what the service "
                                "made there is looked for there.",
                                bf_cli_option(cli, "url"), cli->arguments[0]);
        bf_text_clean(question, false);
        if (bf_cli_confirm(cli, question, cli->arguments[0], err) < 0)
            return -1;
    }
    bf_json_add_bool(body, "yes", true);
    return 0;
}

/* The service sends a password that it has to another address, or by other options, only when it is
 * given again. */
static int password_is_needed(struct bf_cli *cli, const char *name, bool *needed_io,
                              struct bf_error *err)
{
    bf_auto_json *row = NULL;

    if (!bf_cli_has(cli, "url") && !bf_cli_has(cli, "option"))
        return 0;
    if (bf_cli_get(cli, &row, err, "/v1/platforms/%s", name) < 0)
        return -1;
    *needed_io |= bf_cli_bool(row, "has_password");
    return 0;
}

int bf_cli_platform_set(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_free char *path = bf_xasprintf("/v1/platforms/%s", name);
    bf_auto_json *body = json_object_new_object();
    bf_auto_json *answer = NULL;
    bool ask = bf_cli_has(cli, "password");

    if (bf_cli_has(cli, "url"))
        bf_json_add_string(body, "url", bf_cli_option(cli, "url"));
    if (bf_cli_has(cli, "user"))
        bf_json_add_string(body, "user", bf_cli_option(cli, "user"));
    if ((bf_cli_has(cli, "option") && options_add(cli, body, true, err) < 0) ||
        password_is_needed(cli, name, &ask, err) < 0 || password_add(cli, body, ask, err) < 0)
        return -1;
    if (!bf_cli_has(cli, "url") && !bf_cli_has(cli, "user") && !bf_cli_has(cli, "option") &&
        !json_object_object_get_ex(body, "password", NULL))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "nothing to change (see blockferry platform set --help)");
    if (bf_cli_has(cli, "url") && url_confirm(cli, body, err) < 0)
        return -1;
    if (bf_cli_call(cli, "PATCH", path, body, 0, &answer, err) < 0)
        return -1;
    if (cli->json)
        bf_cli_print_json(answer);
    else
        say_and_test(cli, "changed");
    return 0;
}

int bf_cli_platform_list(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *answer = NULL;
    struct json_object *list;
    struct bf_table *table;

    if (bf_cli_get(cli, &answer, err, "/v1/platforms") < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    table = bf_table_new(cli, "NAME|TYPE|~URL|USER|ADDED");
    list = bf_cli_array(answer, "platforms");
    for (size_t i = 0; i < bf_cli_count(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);

        bf_table_row(table, bf_cli_shown(bf_cli_text(one, "name")),
                     bf_cli_shown(bf_cli_text(one, "type")), bf_cli_shown(bf_cli_text(one, "url")),
                     bf_cli_shown(bf_cli_text(one, "user")), bf_cli_ago(one, "created_at"));
    }
    bf_table_print(table, "No platforms yet: see blockferry platform add --help");
    return 0;
}

int bf_cli_platform_show(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_json *answer = NULL;

    if (bf_cli_get(cli, &answer, err, "/v1/platforms/%s", name) < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    bf_cli_heading(cli, "%s", cli->arguments[0]);
    json_object_object_del(answer, "name");
    bf_cli_print_object(answer);
    return 0;
}

int bf_cli_platform_test(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_json *answer = NULL;

    if (ask_test(cli, &answer, err) < 0)
        return -1;
    if (cli->json)
        bf_cli_print_json(answer);
    else
        print_test(cli, answer);
    return 0;
}

int bf_cli_platform_remove(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_free char *path = bf_xasprintf("/v1/platforms/%s", name);

    if (bf_cli_call(cli, "DELETE", path, NULL, 0, NULL, err) < 0)
        return -1;
    if (!cli->json)
        printf("%s: forgotten\n", cli->arguments[0]);
    return 0;
}

static void print_storages(struct bf_cli *cli, struct json_object *list)
{
    struct bf_table *table = bf_table_new(cli, "STORAGE|>FREE|>SIZE");

    for (size_t i = 0; i < bf_cli_count(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);

        bf_table_row(table, bf_cli_shown(bf_cli_text(one, "name")), bf_cli_size(one, "free_bytes"),
                     bf_cli_size(one, "size_bytes"));
    }
    bf_table_print(table, "No storages that a volume can be made on.");
}

static void print_networks(struct bf_cli *cli, struct json_object *list)
{
    struct bf_table *table = bf_table_new(cli, "NETWORK|ISOLATED|ID");

    for (size_t i = 0; i < bf_cli_count(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);

        bf_table_row(table, bf_cli_shown(bf_cli_text(one, "name")),
                     bf_xstrdup(bf_cli_bool(one, "isolated") ? "yes" : "no"),
                     bf_cli_shown(bf_cli_text(one, "id")));
    }
    bf_table_print(table, "No networks.");
}

int bf_cli_platform_resources(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_free char *path = bf_xasprintf("/v1/platforms/%s/resources", name);
    bf_auto_json *answer = NULL;

    if (bf_cli_call(cli, "GET", path, NULL, PLATFORM_TIMEOUT_MS, &answer, err) < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    print_storages(cli, bf_cli_array(answer, "storages"));
    putchar('\n');
    print_networks(cli, bf_cli_array(answer, "networks"));
    return 0;
}

/* "21 GiB in 2" */
static char *disks_text(struct json_object *machine)
{
    struct json_object *disks = bf_cli_array(machine, "disks");
    uint64_t bytes = 0;
    unsigned count = 0;

    for (size_t i = 0; i < bf_cli_count(disks); i++) {
        struct json_object *disk = json_object_array_get_idx(disks, i);

        if (bf_cli_bool(disk, "removable"))
            continue;
        bytes += bf_cli_u64(disk, "size_bytes");
        count++;
    }
    bf_auto_free char *size = bf_format_bytes(bytes);

    return count == 1 ? bf_steal(size) : bf_xasprintf("%u: %s", count, size);
}

int bf_cli_machine_list(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *name = bf_cli_encode(cli->arguments[0]);
    bf_auto_free char *path = bf_xasprintf("/v1/platforms/%s/machines", name);
    bf_auto_json *answer = NULL;
    struct json_object *list;
    struct bf_table *table;

    if (bf_cli_call(cli, "GET", path, NULL, PLATFORM_TIMEOUT_MS, &answer, err) < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    table = bf_table_new(cli, "NAME|POWER|>CPUS|>MEMORY|>DISKS|FIRMWARE|~GUEST|~ID");
    list = bf_cli_array(answer, "machines");
    for (size_t i = 0; i < bf_cli_count(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);

        bf_table_row(
            table, bf_cli_shown(bf_cli_text(one, "name")), bf_cli_shown(bf_cli_text(one, "power")),
            bf_xasprintf("%u", (unsigned)bf_cli_u64(one, "cpus")), bf_cli_size(one, "memory_bytes"),
            disks_text(one), bf_cli_shown(bf_cli_text(one, "firmware")),
            bf_cli_shown(bf_cli_text(one, "guest_os")), bf_cli_shown(bf_cli_text(one, "id")));
    }
    bf_table_print(table, "The platform has no machines.");
    return 0;
}

static void print_disks(struct bf_cli *cli, struct json_object *disks)
{
    struct bf_table *table = bf_table_new(cli, "DISK|>SIZE|BUS|FORMAT|NOTE|~SOURCE");

    for (size_t i = 0; i < bf_cli_count(disks); i++) {
        struct json_object *disk = json_object_array_get_idx(disks, i);
        const char *note = bf_cli_bool(disk, "removable")   ? "removable"
                           : bf_cli_bool(disk, "shared")    ? "shared"
                           : bf_cli_bool(disk, "read_only") ? "read-only"
                                                            : NULL;

        bf_table_row(table, bf_cli_shown(bf_cli_text(disk, "key")), bf_cli_size(disk, "size_bytes"),
                     bf_cli_shown(bf_cli_text(disk, "bus")),
                     bf_cli_shown(bf_cli_text(disk, "format")), bf_cli_shown(note),
                     bf_cli_shown(bf_cli_text(disk, "source")));
    }
    putchar('\n');
    bf_table_print(table, "  no disks");
}

static void print_nics(struct bf_cli *cli, struct json_object *nics)
{
    struct bf_table *table = bf_table_new(cli, "NIC|NETWORK|MODEL|ADDRESSES");

    for (size_t i = 0; i < bf_cli_count(nics); i++) {
        struct json_object *nic = json_object_array_get_idx(nics, i);
        struct json_object *addresses = bf_cli_array(nic, "addresses");
        bf_auto_buf words = {0};

        for (size_t a = 0; a < bf_cli_count(addresses); a++)
            bf_buf_addf(&words, "%s%s", a ? ", " : "",
                        json_object_get_string(json_object_array_get_idx(addresses, a)));
        bf_table_row(table, bf_cli_shown(bf_cli_text(nic, "mac")),
                     bf_cli_shown(bf_cli_text(nic, "network")),
                     bf_cli_shown(bf_cli_text(nic, "model")), bf_cli_shown(words.text));
    }
    putchar('\n');
    bf_table_print(table, "  no nics");
}

int bf_cli_machine_show(struct bf_cli *cli, struct bf_error *err)
{
    bf_auto_free char *platform = bf_cli_encode(cli->arguments[0]);
    bf_auto_free char *machine = bf_cli_encode(cli->arguments[1]);
    bf_auto_free char *path = bf_xasprintf("/v1/platforms/%s/machines/%s", platform, machine);
    bf_auto_json *answer = NULL;
    struct json_object *disks, *nics;

    if (bf_cli_call(cli, "GET", path, NULL, PLATFORM_TIMEOUT_MS, &answer, err) < 0)
        return -1;
    if (cli->json) {
        bf_cli_print_json(answer);
        return 0;
    }
    disks = json_object_get(bf_cli_array(answer, "disks"));
    nics = json_object_get(bf_cli_array(answer, "nics"));
    bf_cli_heading(cli, "%s", bf_cli_text_or(answer, "name", cli->arguments[1]));
    json_object_object_del(answer, "name");
    json_object_object_del(answer, "disks");
    json_object_object_del(answer, "nics");
    bf_cli_print_object(answer);
    print_disks(cli, disks);
    print_nics(cli, nics);
    json_object_put(disks);
    json_object_put(nics);
    return 0;
}
