/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, by libsmartcols: they fit the terminal, and are plain columns in a pipe. */
#include <libsmartcols.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"

struct bf_table {
    struct libscols_table *scols;
    size_t columns;
    size_t rows;
    bool colours;
};

/* A word that says how things stand is coloured wherever it fills a cell. */
static const char *colour_of(const char *text)
{
    static const char *const colours[][2] = {
        {"failed", "red"},    {"blocked", "red"},  {"error", "red"},
        {"block", "red"},     {"warn", "yellow"},  {"warning", "yellow"},
        {"syncing", "cyan"},  {"seeding", "cyan"}, {"cutover", "cyan"},
        {"running", "cyan"},  {"idle", "green"},   {"complete", "green"},
        {"done", "green"},    {"on", "green"},     {"confirm-pending", "yellow"},
        {"paused", "yellow"}, {"booted", "green"}, {"cancelled", "yellow"},
    };

    for (size_t i = 0; i < bf_array_length(colours); i++)
        if (bf_streq(colours[i][0], text))
            return colours[i][1];
    return NULL;
}

struct bf_table *bf_table_new(const struct bf_cli *cli, const char *columns)
{
    struct bf_table *table = bf_xcalloc(1, sizeof(*table));
    bf_auto_free char *copy = bf_xstrdup(columns);
    char *rest = NULL;

    table->colours = cli->terminal;
    table->scols = scols_new_table();
    if (!table->scols)
        abort(); /* out of memory */
    scols_table_enable_colors(table->scols, cli->terminal);
    for (char *name = strtok_r(copy, "|", &rest); name; name = strtok_r(NULL, "|", &rest)) {
        int flags = *name == '>' ? SCOLS_FL_RIGHT : *name == '~' ? SCOLS_FL_TRUNC : 0;
        struct libscols_column *column =
            scols_table_new_column(table->scols, flags ? name + 1 : name, 0, flags);

        if (!column)
            abort();
        scols_cell_set_color(scols_column_get_header(column), "bold");
        table->columns++;
    }
    return table;
}

void bf_table_row(struct bf_table *table, ...)
{
    struct libscols_line *line = scols_table_new_line(table->scols, NULL);
    va_list args;

    if (!line)
        abort();
    va_start(args, table);
    for (size_t i = 0; i < table->columns; i++) {
        char *text = va_arg(args, char *);

        if (!text)
            text = bf_xstrdup("-");
        bf_text_clean(text, false);
        if (table->colours && colour_of(text))
            scols_cell_set_color(scols_line_get_cell(line, i), colour_of(text));
        scols_line_refer_data(line, i, text);
    }
    va_end(args);
    table->rows++;
}

void bf_table_print(struct bf_table *table, const char *if_empty)
{
    if (table->rows)
        scols_print_table(table->scols);
    else
        puts(if_empty);
    scols_unref_table(table->scols);
    free(table);
}
