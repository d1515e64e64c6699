/* SPDX-License-Identifier: Apache-2.0 */
/* The command line taken apart by the table: global options may stand anywhere. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"

const struct bf_cli_option bf_cli_global_options[] = {
    {"socket", "PATH", "the service's socket (or BLOCKFERRY_SOCKET)", false, BF_WORD_FILE, NULL},
    {"json", NULL, "print the API's JSON", false, BF_WORD_NONE, NULL},
    {"help", NULL, "show help, of a command when one is given", false, BF_WORD_NONE, NULL},
    {"version", NULL, "show the version", false, BF_WORD_NONE, NULL},
    {NULL, NULL, NULL, false, BF_WORD_NONE, NULL}};

const struct bf_cli_command *bf_cli_command_find(const char *first, const char *second)
{
    for (size_t i = 0; first && i < bf_cli_command_count; i++) {
        const char *name = bf_cli_commands[i].name;
        const char *blank = strchr(name, ' ');

        if (!blank && bf_streq(name, first))
            return &bf_cli_commands[i];
        if (blank && second && strlen(first) == (size_t)(blank - name) &&
            !strncmp(name, first, strlen(first)) && bf_streq(blank + 1, second))
            return &bf_cli_commands[i];
    }
    return NULL;
}

static const struct bf_cli_option *option_find(const struct bf_cli_option *options,
                                               const char *name, size_t length)
{
    for (; options && options->name; options++)
        if (strlen(options->name) == length && !strncmp(options->name, name, length))
            return options;
    return NULL;
}

static int unknown_command(const char *first, const char *second, struct bf_error *err)
{
    bf_auto_free char *group = bf_cli_group(first);
    bf_auto_free char *near = group ? NULL : bf_cli_near_command(first);

    if (group && second)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "unknown command: %s %s (%s can be followed by: %s)",
                       first, second, first, group);
    if (group)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "unknown command: %s alone (it is followed by: %s)",
                       first, group);
    return bf_fail(err, BF_E_BAD_INPUT, 0, "unknown command: %s (%s%s%s)", first,
                   near ? "did you mean " : "see blockferry --help", near ? near : "",
                   near ? "?" : "");
}

/* The first words that are no options; a wrong guess at what is an option's value does not matter,
 * as it comes after the command's name. */
static void first_words(int argc, char **argv, const char *ret_words[2], bool *ret_help)
{
    int count = 0;
    bool plain = false;

    for (int i = 1; i < argc; i++) {
        if (plain || argv[i][0] != '-') {
            if (count == 0 && bf_streq(argv[i], "help") && !*ret_help)
                *ret_help = true;
            else if (count < 2)
                ret_words[count++] = argv[i];
        } else if (bf_streq(argv[i], "--socket")) {
            i++;
        } else if (bf_streq(argv[i], "--help") || bf_streq(argv[i], "-h")) {
            *ret_help = true;
        } else if (bf_streq(argv[i], "--")) {
            plain = true;
        } else if (count == 1 && bf_cli_command_find(ret_words[0], NULL)) {
            count = 2; /* an option of a command of one word */
        }
    }
}

/* Find the command first: options before it may be anything, and only it knows its own. */
static int command_of(struct bf_cli *cli, int argc, char **argv, int *ret_words,
                      struct bf_error *err)
{
    const char *words[2] = {NULL, NULL};
    bool help = false;
    bf_auto_free char *group = NULL;

    first_words(argc, argv, words, &help);
    cli->command = bf_cli_command_find(words[0], words[1]);
    *ret_words = cli->command && strchr(cli->command->name, ' ') ? 2 : cli->command ? 1 : 0;
    if (cli->command || !words[0])
        return 0;
    group = bf_cli_group(words[0]);
    if (!help || !group || words[1])
        return unknown_command(words[0], words[1], err);
    cli->help_group = words[0];
    return 0;
}

static int unknown_option(const struct bf_cli *cli, const char *word, struct bf_error *err)
{
    bf_auto_free char *name = bf_xasprintf("%.*s", (int)strcspn(word + 2, "="), word + 2);
    const char *near = bf_cli_near_option(cli->command, name);

    return bf_fail(err, BF_E_BAD_INPUT, 0, "unknown option: --%s%s%s%s%s%s", name,
                   cli->command ? " for blockferry " : "", cli->command ? cli->command->name : "",
                   near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

/* `full`: every argument is there, so that a word after an option like --html is its value. */
static int take_option(struct bf_cli *cli, int argc, char **argv, int *at, bool full,
                       struct bf_error *err)
{
    const char *name = argv[*at] + 2;
    size_t length = strcspn(name, "=");
    const char *value = name[length] ? name + length + 1 : NULL;
    const struct bf_cli_option *option = option_find(bf_cli_global_options, name, length);

    if (!option && cli->command)
        option = option_find(cli->command->options, name, length);
    if (!option)
        return unknown_option(cli, argv[*at], err);
    if (!option->value && value)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s takes no value", option->name);
    if (option->value && option->value[0] != '[' && !value) {
        if (*at + 1 >= argc)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s needs a value: %s", option->name,
                           option->value);
        value = argv[++*at];
    }
    if (option->value && option->value[0] == '[' && !value && full && *at + 1 < argc &&
        (argv[*at + 1][0] != '-' || !argv[*at + 1][1]))
        value = argv[++*at];
    if (!option->repeat && bf_cli_has(cli, option->name))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s is given twice", option->name);
    cli->given[cli->given_count++] = (struct bf_cli_given){option, value};
    return 0;
}

static bool arguments_full(const struct bf_cli *cli, unsigned count)
{
    return cli->command && (count == BF_CLI_ARGUMENTS_MAX || !cli->command->arguments[count]);
}

static int arguments_check(const struct bf_cli *cli, unsigned count, const char *extra,
                           struct bf_error *err)
{
    unsigned wanted = 0;

    while (wanted < BF_CLI_ARGUMENTS_MAX && cli->command->arguments[wanted])
        wanted++;
    if (extra)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "blockferry %s: unexpected argument %s",
                       cli->command->name, extra);
    if (count < wanted)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "blockferry %s: %s is missing", cli->command->name,
                       cli->command->arguments[count]);
    for (unsigned i = 0; i < wanted; i++)
        if (!*cli->arguments[i])
            return bf_fail(err, BF_E_BAD_INPUT, 0, "blockferry %s: %s is empty", cli->command->name,
                           cli->command->arguments[i]);
    return 0;
}

/* Names of files may be any bytes; what goes to the service would be another name there. */
static int utf8_check(const struct bf_cli *cli, unsigned count, struct bf_error *err)
{
    for (unsigned i = 0; i < count; i++)
        if (!bf_utf8_valid(cli->arguments[i], strlen(cli->arguments[i])))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "blockferry %s: %s is not UTF-8",
                           cli->command->name, cli->command->arguments[i]);
    for (size_t i = 0; i < cli->given_count; i++) {
        const struct bf_cli_given *given = &cli->given[i];

        if (given->value && given->option->word != BF_WORD_FILE &&
            !bf_utf8_valid(given->value, strlen(given->value)))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s is not UTF-8", given->option->name);
    }
    return 0;
}

int bf_cli_parse(struct bf_cli *cli, int argc, char **argv, struct bf_error *err)
{
    int skip = 0;
    unsigned count = 0;
    const char *extra = NULL;
    bool plain = false;
    bool help_word = false, any_word = false;

    cli->given = bf_xcalloc((size_t)argc, sizeof(*cli->given));
    if (command_of(cli, argc, argv, &skip, err) < 0)
        return -1;
    for (int i = 1; i < argc; i++) {
        if (!plain && bf_streq(argv[i], "--")) {
            plain = true;
        } else if (!plain && bf_streq(argv[i], "-h")) {
            cli->given[cli->given_count++] = (struct bf_cli_given){&bf_cli_global_options[2], NULL};
        } else if (!plain && bf_starts_with(argv[i], "--")) {
            if (take_option(cli, argc, argv, &i, arguments_full(cli, count), err) < 0)
                return -1;
        } else if (!plain && argv[i][0] == '-' && argv[i][1]) {
            return bf_fail(err, BF_E_BAD_INPUT, 0, "unknown option: %s", argv[i]);
        } else if (!any_word && bf_streq(argv[i], "help")) {
            help_word = any_word = true; /* "blockferry help COMMAND" */
        } else if (skip > 0) {
            any_word = true;
            skip--;
        } else if (cli->command && count < BF_CLI_ARGUMENTS_MAX && cli->command->arguments[count]) {
            cli->arguments[count++] = argv[i];
        } else if (!extra && !cli->help_group) {
            extra = argv[i];
        }
    }
    if (utf8_check(cli, count, err) < 0)
        return -1;
    cli->json = bf_cli_has(cli, "json");
    if (bf_cli_option(cli, "socket"))
        cli->socket_path = bf_cli_option(cli, "socket");
    if (help_word || bf_cli_has(cli, "help") || bf_cli_has(cli, "version") || !cli->command) {
        cli->help = cli->command;
        cli->command = NULL;
        return 0;
    }
    return arguments_check(cli, count, extra, err);
}

const char *bf_cli_option_at(const struct bf_cli *cli, const char *name, size_t index)
{
    for (size_t i = 0; i < cli->given_count; i++)
        if (bf_streq(cli->given[i].option->name, name) && index-- == 0)
            return cli->given[i].value ? cli->given[i].value : "";
    return NULL;
}

const char *bf_cli_option(const struct bf_cli *cli, const char *name)
{
    return bf_cli_option_at(cli, name, 0);
}

const char *bf_cli_choices(const struct bf_cli *cli, const char *name)
{
    const struct bf_cli_option *option = option_find(cli->command->options, name, strlen(name));

    return option && option->choices ? option->choices : "";
}

bool bf_cli_is_choice(const struct bf_cli *cli, const char *name, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = bf_cli_choices(cli, name); *at; at += strspn(at, " ")) {
        size_t span = strcspn(at, " ");

        if (span == length && !strncmp(at, word, length))
            return true;
        at += span;
    }
    return false;
}

bool bf_cli_has(const struct bf_cli *cli, const char *name)
{
    return bf_cli_option_at(cli, name, 0) != NULL;
}
