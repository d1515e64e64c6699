/* SPDX-License-Identifier: Apache-2.0 */
/* Help and shell completion, both made of the table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

/* --- help --- */

/* How much of the text goes into a line of so many columns: whole words, one at least. */
static size_t line_length(const char *text, size_t room)
{
    size_t length = strlen(text);

    if (length <= room)
        return length;
    length = room;
    while (length > 0 && text[length] != ' ')
        length--;
    return length ? length : strcspn(text, " ");
}

/* "LEFT  words of the text", and what does not fit below, where the text began. */
static void print_row(const struct bf_cli *cli, const char *left, size_t width, const char *text)
{
    size_t begin = 2 + width + 2;
    size_t room = cli->width > begin + 20 ? cli->width - begin : 20;

    do {
        size_t length = line_length(text, room);

        printf("  %-*s  %.*s\n", (int)width, left, (int)length, text);
        text += length + (text[length] == ' ');
        left = "";
    } while (*text);
}

static void print_text(const struct bf_cli *cli, const char *text)
{
    while (*text) {
        size_t length = line_length(text, cli->width);

        printf("%.*s\n", (int)length, text);
        text += length + (text[length] == ' ');
    }
}

static void print_options(const struct bf_cli *cli, const struct bf_cli_option *options)
{
    size_t width = 0;

    for (const struct bf_cli_option *one = options; one->name; one++) {
        size_t length = 2 + strlen(one->name) + (one->value ? strlen(one->value) + 1 : 0);

        width = length > width ? length : width;
    }
    for (const struct bf_cli_option *one = options; one->name; one++) {
        bf_auto_free char *left = bf_xasprintf("--%s%s%s", one->name, one->value ? " " : "",
                                               one->value ? one->value : "");
        bf_auto_free char *text =
            bf_xasprintf("%s%s", one->help, one->repeat ? " (may be repeated)" : "");

        print_row(cli, left, width, text);
    }
}

/* group NULL: all. */
static void print_commands(const struct bf_cli *cli, const char *group)
{
    size_t length = group ? strlen(group) : 0;
    size_t width = 0;

    for (int print = 0; print < 2; print++)
        for (size_t i = 0; i < bf_cli_command_count; i++) {
            const struct bf_cli_command *command = &bf_cli_commands[i];
            bf_auto_free char *left =
                bf_xasprintf("%s%s%s%s%s", command->name, command->arguments[0] ? " " : "",
                             command->arguments[0] ? command->arguments[0] : "",
                             command->arguments[1] ? " " : "",
                             command->arguments[1] ? command->arguments[1] : "");

            if (group &&
                (strncmp(command->name, group, length) != 0 || command->name[length] != ' '))
                continue;
            if (print)
                print_row(cli, left, width, command->summary);
            else if (strlen(left) > width)
                width = strlen(left);
        }
}

static void help_general(const struct bf_cli *cli, const char *group)
{
    printf("usage: blockferry [--socket PATH] [--json] %s%s[ARGUMENTS]\n\nCommands:\n",
           group ? group : "COMMAND", group ? " COMMAND " : " ");
    print_commands(cli, group);
    puts("\nOptions:");
    print_options(cli, bf_cli_global_options);
    puts("\nblockferry COMMAND --help shows a command's options; see also blockferry(1).");
}

void bf_cli_help(const struct bf_cli *cli, const struct bf_cli_command *command, const char *group)
{
    if (!command) {
        help_general(cli, group);
        return;
    }
    printf("usage: blockferry %s", command->name);
    for (size_t i = 0; i < BF_CLI_ARGUMENTS_MAX && command->arguments[i]; i++)
        printf(" %s", command->arguments[i]);
    printf("%s\n\n%s.\n", command->options->name ? " [OPTIONS]" : "", command->summary);
    print_text(cli, command->help ? command->help : "");
    if (command->options->name) {
        puts("\nOptions:");
        print_options(cli, command->options);
    }
}

/* --- completion: candidates for the shell, one a line --- */

static void complete_names(struct bf_cli *cli, const char *path, const char *key)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_json *answer = NULL;
    struct json_object *list;

    if (bf_cli_call(cli, "GET", path, NULL, 5000, &answer, &ignored) < 0)
        return;
    list = bf_cli_array(answer, key);
    for (size_t i = 0; i < bf_cli_count(list); i++) {
        bf_auto_free char *name =
            bf_cli_shown(bf_cli_text(json_object_array_get_idx(list, i), "name"));

        puts(name);
    }
}

static void complete_word(struct bf_cli *cli, enum bf_cli_word word, const char *platform)
{
    switch (word) {
    case BF_WORD_REPLICATION:
        complete_names(cli, "/v1/replications", "replications");
        break;
    case BF_WORD_PLATFORM:
        complete_names(cli, "/v1/platforms", "platforms");
        break;
    case BF_WORD_MACHINE:
        if (platform) {
            bf_auto_free char *name = bf_cli_encode(platform);
            bf_auto_free char *path = bf_xasprintf("/v1/platforms/%s/machines", name);

            complete_names(cli, path, "machines");
        }
        break;
    case BF_WORD_FILE:
        puts(":file"); /* the shell's own */
        break;
    case BF_WORD_NONE:
        break;
    }
}

static void complete_commands(const char *first)
{
    size_t length = first ? strlen(first) : 0;

    for (size_t i = 0; i < bf_cli_command_count; i++) {
        const char *name = bf_cli_commands[i].name;
        const char *blank = strchr(name, ' ');

        if (first && blank && (size_t)(blank - name) == length && !strncmp(name, first, length))
            puts(blank + 1);
        /* Commands of two words stand together in the table: name their first word once. */
        if (!first && (!blank || i == 0 ||
                       strncmp(name, bf_cli_commands[i - 1].name, (size_t)(blank - name) + 1) != 0))
            printf("%.*s\n", blank ? (int)(blank - name) : (int)strlen(name), name);
    }
}

static const struct bf_cli_option *option_of(const struct bf_cli_command *command, const char *word)
{
    for (int set = 0; set < 2; set++) {
        const struct bf_cli_option *one = set       ? bf_cli_global_options
                                          : command ? command->options
                                                    : NULL;

        for (; one && one->name; one++)
            if (bf_starts_with(word, "--") && bf_streq(one->name, word + 2))
                return one;
    }
    return NULL;
}

static void complete_choices(const char *choices)
{
    bf_auto_free char *copy = bf_xstrdup(choices);
    char *rest = NULL;

    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        puts(word);
}

static void complete_options(const struct bf_cli_command *command)
{
    for (const struct bf_cli_option *one = command ? command->options : NULL; one && one->name;
         one++)
        printf("--%s\n", one->name);
    for (const struct bf_cli_option *one = bf_cli_global_options; one->name; one++)
        printf("--%s\n", one->name);
}

/* What the words before the cursor say. */
struct line {
    const char *words[2 + BF_CLI_ARGUMENTS_MAX]; /* command and arguments */
    unsigned count;
    const char *source;  /* --source's value */
    const char *pending; /* the option whose value is wanted; NULL: none */
};

static struct line line_read(struct bf_cli *cli, int argc, char **argv)
{
    struct line line = {0};

    for (int i = 0; i + 1 < argc; i++) {
        const struct bf_cli_command *command = bf_cli_command_find(line.words[0], line.words[1]);
        const struct bf_cli_option *option = option_of(command, argv[i]);

        if (option && option->value && option->value[0] != '[') {
            if (i + 2 == argc)
                line.pending = argv[i];
            else if (bf_streq(option->name, "source"))
                line.source = argv[i + 1];
            else if (bf_streq(option->name, "socket"))
                cli->socket_path = argv[i + 1];
            i++;
        } else if (argv[i][0] != '-' && line.count < bf_array_length(line.words)) {
            line.words[line.count++] = argv[i];
        }
    }
    return line;
}

/* argv: the words after "blockferry" up to the one being typed, which is the last. */
int bf_cli_complete(struct bf_cli *cli, int argc, char **argv)
{
    const char *typed = argc > 0 ? argv[argc - 1] : "";
    struct line line = line_read(cli, argc, argv);
    const struct bf_cli_command *command = bf_cli_command_find(line.words[0], line.words[1]);
    unsigned used = command ? line.count - (strchr(command->name, ' ') ? 2 : 1) : 0;

    const struct bf_cli_option *before = argc > 1 ? option_of(command, argv[argc - 2]) : NULL;

    if (before && before->value && before->value[0] == '[' && typed[0] != '-') {
        complete_word(cli, before->word, NULL);
    } else if (line.pending) {
        const struct bf_cli_option *option = option_of(command, line.pending);

        if (option->choices)
            complete_choices(option->choices);
        else
            complete_word(cli, option->word, line.source);
    } else if (typed[0] == '-') {
        complete_options(command);
    } else if (!command) {
        complete_commands(line.count ? line.words[0] : NULL);
    } else if (used < BF_CLI_ARGUMENTS_MAX && command->arguments[used]) {
        complete_word(cli, command->words[used],
                      line.source ? line.source
                      : used      ? line.words[line.count - 1]
                                  : NULL);
    }
    return 0;
}
