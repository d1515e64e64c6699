/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody may have meant who mistyped a command or an option. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"

#define WORD_MAX 40

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned small = a < b ? a : b;

    return small < c ? small : c;
}

/* How many letters have to be put in, taken out, changed or swapped with their neighbour. */
static unsigned distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    unsigned rows[WORD_MAX + 1][WORD_MAX + 1];

    if (la > WORD_MAX || lb > WORD_MAX)
        return WORD_MAX;
    for (size_t i = 0; i <= la; i++)
        rows[i][0] = (unsigned)i;
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++)
        for (size_t j = 1; j <= lb; j++) {
            rows[i][j] = least(rows[i - 1][j] + 1, rows[i][j - 1] + 1,
                               rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                rows[i][j] = least(rows[i][j], rows[i - 2][j - 2] + 1, WORD_MAX);
        }
    return rows[la][lb];
}

/* Short words are near to each other by chance. */
static bool near(const char *typed, const char *name, unsigned *best_io)
{
    unsigned steps = distance(typed, name);

    if (steps >= *best_io || steps > (strlen(typed) < 5 ? 1u : 2u))
        return false;
    *best_io = steps;
    return true;
}

char *bf_cli_near_command(const char *typed)
{
    char *found = NULL;
    unsigned best = WORD_MAX;

    for (size_t i = 0; i < bf_cli_command_count; i++) {
        const char *name = bf_cli_commands[i].name;
        bf_auto_free char *first = bf_xasprintf("%.*s", (int)strcspn(name, " "), name);
        const char *nearer = near(typed, name, &best)    ? name
                             : near(typed, first, &best) ? first
                                                         : NULL;

        if (nearer) {
            free(found);
            found = bf_xstrdup(nearer);
        }
    }
    return found;
}

const char *bf_cli_near_option(const struct bf_cli_command *command, const char *typed)
{
    const char *found = NULL;
    unsigned best = WORD_MAX;

    for (const struct bf_cli_option *one = bf_cli_global_options; one->name; one++)
        if (near(typed, one->name, &best))
            found = one->name;
    for (const struct bf_cli_option *one = command ? command->options : NULL; one && one->name;
         one++)
        if (near(typed, one->name, &best))
            found = one->name;
    return found;
}

char *bf_cli_group(const char *word)
{
    bf_auto_buf names = {0};
    size_t length = strlen(word);

    for (size_t i = 0; i < bf_cli_command_count; i++) {
        const char *name = bf_cli_commands[i].name;

        if (!strncmp(name, word, length) && name[length] == ' ')
            bf_buf_addf(&names, "%s%s", names.length ? ", " : "", name + length + 1);
    }
    return bf_steal(names.text);
}
