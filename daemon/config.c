/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config.h"

#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { RUN_DIRECTORY_MAX = 60 }; /* UNIX socket paths end at 107 bytes */

enum option_type { TEXT, NUMBER, FLAG };

struct option_row {
    const char *name;
    enum option_type type;
    size_t offset;
    const char *argument;
    const char *value; /* the default; NULL: none */
    uint64_t min;
    uint64_t max;
    const char *help;
};

#define AT(member) offsetof(struct bf_config, member)

/* clang-format off */
static const struct option_row rows[] = {
    {"state",        TEXT,   AT(state_directory), "DIR",   BF_STATE_DIR, 0, 0, "where the state is kept"},
    {"run",          TEXT,   AT(run_directory),   "DIR",   BF_RUN_DIR,   0, 0, "sockets and scratch files; a short path"},
    {"socket",       TEXT,   AT(socket_path),     "PATH",  NULL,         0, 0, "socket of the API [RUN/api.sock]"},
    {"socket-group", TEXT,   AT(socket_group),    "NAME",  NULL,         0, 0, "group that may connect [nobody but the owner]"},
    {"seal-key",     TEXT,   AT(seal_key_path),   "FILE",  NULL,         0, 0, "key that seals secrets [credential seal-key, else STATE/seal.key]"},
    {"virtio-win",   TEXT,   AT(virtio_win),      "PATH",  NULL,         0, 0, "directory or ISO of Windows drivers"},
    {"cache",        TEXT,   AT(cache_directory), "DIR",   NULL,         0, 0, "what can be made again, 700 MiB [STATE/cache]"},
    {"max-rounds",   NUMBER, AT(max_rounds),      "N",     "4",          1, 1000, "rounds at the same time"},
    {"max-launches", NUMBER, AT(max_launches),    "N",     "2",          1, 1000, "launches at the same time"},
    {"log-level",    TEXT,   AT(log_level),       "LEVEL", "info",       0, 0, "error, warning, notice, info or debug"},
    {"help",         FLAG,   AT(help),            NULL,    NULL,         0, 0, "print this help"},
    {"version",      FLAG,   AT(version),         NULL,    NULL,         0, 0, "print the version"},
};
/* clang-format on */

static void *member(struct bf_config *config, const struct option_row *row)
{
    return (char *)config + row->offset;
}

static int set(struct bf_config *config, const struct option_row *row, const char *text,
               struct bf_error *err)
{
    char **place = member(config, row);
    uint64_t *number = member(config, row);

    switch (row->type) {
    case TEXT:
        if (!*text)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s: empty", row->name);
        free(*place);
        *place = bf_xstrdup(text);
        return 0;
    case NUMBER:
        if (bf_parse_u64(text, number, err) != 0)
            return bf_fail_in(err, "--%s", row->name);
        if (*number < row->min || *number > row->max)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s: %llu to %llu", row->name,
                           (unsigned long long)row->min, (unsigned long long)row->max);
        return 0;
    case FLAG:
        *(bool *)member(config, row) = true;
        return 0;
    }
    return 0;
}

static int check(struct bf_config *config, struct bf_error *err)
{
    if (config->state_directory[0] != '/' || config->run_directory[0] != '/')
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--state and --run: absolute paths are needed");
    if (strlen(config->run_directory) > RUN_DIRECTORY_MAX)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--run: at most %d bytes, as it holds UNIX sockets",
                       RUN_DIRECTORY_MAX);
    if (!config->cache_directory)
        config->cache_directory = bf_xasprintf("%s/cache", config->state_directory);
    if (!config->socket_path)
        config->socket_path = bf_xasprintf("%s/api.sock", config->run_directory);
    return 0;
}

static int parse(int argc, char *argv[], struct bf_config *config, struct bf_error *err)
{
    struct option options[bf_array_length(rows) + 1] = {0};
    int index, c;

    for (size_t i = 0; i < bf_array_length(rows); i++) {
        options[i].name = rows[i].name;
        options[i].has_arg = rows[i].type == FLAG ? no_argument : required_argument;
        if (rows[i].value && set(config, &rows[i], rows[i].value, err) != 0)
            return -1;
    }
    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, ":", options, &index)) != -1) {
        if (c == ':')
            return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: a value is missing", argv[optind - 1]);
        if (c != 0)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: no such option", argv[optind - 1]);
        if (set(config, &rows[index], optarg ? optarg : "", err) != 0)
            return -1;
    }
    if (optind < argc)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: no arguments are taken", argv[optind]);
    return check(config, err);
}

int bf_config_parse(int argc, char *argv[], struct bf_config *ret_config, struct bf_error *err)
{
    struct bf_config config = {0};

    if (parse(argc, argv, &config, err) != 0) {
        bf_config_done(&config);
        return -1;
    }
    *ret_config = config;
    return 0;
}

void bf_config_help(FILE *stream)
{
    fprintf(stream, "usage: blockferryd [OPTION]...\n\n"
                    "Replicates and migrates virtual machines; see blockferryd(8).\n\n");
    for (size_t i = 0; i < bf_array_length(rows); i++) {
        char name[40];

        snprintf(name, sizeof(name), "--%s%s%s", rows[i].name, rows[i].argument ? " " : "",
                 rows[i].argument ? rows[i].argument : "");
        fprintf(stream, "  %-22s %s", name, rows[i].help);
        if (rows[i].value)
            fprintf(stream, " [%s]", rows[i].value);
        fputc('\n', stream);
    }
}

void bf_config_done(struct bf_config *config)
{
    for (size_t i = 0; i < bf_array_length(rows); i++) {
        if (rows[i].type == TEXT)
            free(*(char **)member(config, &rows[i]));
    }
    *config = (struct bf_config){0};
}
