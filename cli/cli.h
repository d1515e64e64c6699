/* SPDX-License-Identifier: Apache-2.0 */
/* The command line `blockferry`: what its files share.
 *
 * It speaks the API over the UNIX socket and knows nothing else of the service.  One
 * table of commands (commands.c) drives dispatch, checks, help, completion and the check of
 * the man page.
 *
 * Threads: one.  A command's errors go up to main.c, which prints them and makes the
 * exit code of the error's kind.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bf_cli;
struct bf_http;

/* What completion offers for a word. */
enum bf_cli_word {
    BF_WORD_NONE = 0,
    BF_WORD_REPLICATION,
    BF_WORD_PLATFORM,
    BF_WORD_MACHINE, /* of the platform named by --source or by the word before */
    BF_WORD_FILE,
};

struct bf_cli_option {
    const char *name;  /* "interval"; NULL ends a list */
    const char *value; /* "DURATION"; NULL: a switch; "[FILE]": a value only by --html=FILE */
    const char *help;
    bool repeat;
    enum bf_cli_word word;
    const char *choices; /* "try require off": what completion offers; NULL: anything */
};

#define BF_CLI_ARGUMENTS_MAX 2

struct bf_cli_command {
    const char *name;                            /* "platform add" */
    const char *arguments[BF_CLI_ARGUMENTS_MAX]; /* names as in the synopsis, all required */
    enum bf_cli_word words[BF_CLI_ARGUMENTS_MAX];
    const struct bf_cli_option *options;
    const char *summary; /* one line */
    const char *help;    /* more; NULL: nothing */
    int (*run)(struct bf_cli *cli, struct bf_error *err);
};

extern const struct bf_cli_command bf_cli_commands[];
extern const size_t bf_cli_command_count;
extern const struct bf_cli_option bf_cli_global_options[];

struct bf_cli_given {
    const struct bf_cli_option *option;
    const char *value;
};

struct bf_cli {
    const char *socket_path;
    bool json;
    bool quiet;    /* a wait says nothing when it is over: the command will */
    bool terminal; /* standard output is one */
    unsigned width;
    bool utf8;
    const struct bf_cli_command *command;
    const struct bf_cli_command *help; /* what help is wanted of */
    const char *help_group;
    const char *arguments[BF_CLI_ARGUMENTS_MAX];
    struct bf_cli_given *given;
    size_t given_count;
    struct bf_http *http; /* opened by the first request */
};

/* --- options.c --- */
/* Take argv apart.  Command NULL and no error: help is wanted, of `help` or `help_group`; both
 * NULL: general. */
int bf_cli_parse(struct bf_cli *cli, int argc, char **argv, struct bf_error *err);
const char *bf_cli_option(const struct bf_cli *cli, const char *name); /* NULL: not given */
bool bf_cli_has(const struct bf_cli *cli, const char *name);
/* The `index`th value of a repeated option; NULL: no more. */
const char *bf_cli_option_at(const struct bf_cli *cli, const char *name, size_t index);
/* The words that an option of the command takes, with blanks between; "": any. */
const char *bf_cli_choices(const struct bf_cli *cli, const char *name);
bool bf_cli_is_choice(const struct bf_cli *cli, const char *name, const char *word);
const struct bf_cli_command *bf_cli_command_find(const char *first, const char *second);

/* --- suggest.c --- */
/* What is spelt nearly so; NULL: nothing.  A command is the caller's to free, an option borrowed.
 */
char *bf_cli_near_command(const char *typed);
const char *bf_cli_near_option(const struct bf_cli_command *command, const char *typed);
/* The second words of the commands that begin with this one, "add, list"; NULL: none do.  Caller
 * frees. */
char *bf_cli_group(const char *word);

/* --- help.c --- */
/* command and group NULL: general.  `group`: the first word of commands of two. */
void bf_cli_help(const struct bf_cli *cli, const struct bf_cli_command *command, const char *group);
/* For the shell: prints candidates, one a line.  kind: "commands", "options COMMAND", ... */
int bf_cli_complete(struct bf_cli *cli, int argc, char **argv);

/* --- request.c --- */
/* Whether the service is there, before something else is asked for. */
int bf_cli_reach(struct bf_cli *cli, struct bf_error *err);
/* One call of the API.  `body` is borrowed, NULL: none.  An API error becomes *err with its
 * message and evidence.  ret may be NULL.  timeout_ms 0: one minute. */
int bf_cli_call(struct bf_cli *cli, const char *method, const char *path, struct json_object *body,
                uint64_t timeout_ms, struct json_object **ret, struct bf_error *err);
/* As above for GET; printf-formed path. */
int bf_cli_get(struct bf_cli *cli, struct json_object **ret, struct bf_error *err,
               const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A body that is not JSON (a page).  Caller frees. */
int bf_cli_get_text(struct bf_cli *cli, const char *path, char **ret_text, size_t *ret_length,
                    struct bf_error *err);
/* Follow the event stream until `fn` returns non-zero (then 0) or the stream ends (-1). `after` as
 * in the API; NULL: live only. */
typedef int bf_cli_event_fn(struct json_object *event, void *user);
int bf_cli_follow(struct bf_cli *cli, const char *replication, const char *after,
                  bf_cli_event_fn *fn, void *user, struct bf_error *err);
char *bf_cli_encode(const char *name); /* percent-encoded; caller frees */

/* --- value.c: reading answers without trusting them --- */
const char *bf_cli_text(struct json_object *object, const char *key); /* NULL: not there */
const char *bf_cli_text_or(struct json_object *object, const char *key, const char *other);
bool bf_cli_number(struct json_object *object, const char *key, double *ret_value);
uint64_t bf_cli_u64(struct json_object *object, const char *key); /* 0: not there */
bool bf_cli_bool(struct json_object *object, const char *key);
struct json_object *bf_cli_object(struct json_object *object, const char *key);
struct json_object *bf_cli_array(struct json_object *object, const char *key); /* NULL: none */
size_t bf_cli_count(struct json_object *array);                                /* NULL: 0 */

/* --- format.c: for people; all texts are the caller's to free --- */
char *bf_cli_size(struct json_object *object, const char *key);     /* "1.5 GiB"; "-" */
char *bf_cli_seconds(double seconds);                               /* "11 s", "2 min 05 s" */
char *bf_cli_when(struct json_object *object, const char *key);     /* local time */
char *bf_cli_ago(struct json_object *object, const char *key);      /* "5 min ago", "in 12 min" */
char *bf_cli_when_ago(struct json_object *object, const char *key); /* both */
char *bf_cli_shown(const char *text); /* foreign text made safe for a terminal, one line */
const char *bf_cli_style(const struct bf_cli *cli, const char *name); /* "bold", "red", "" ... */

/* --- output.c --- */
void bf_cli_print_json(struct json_object *value);
/* "  key:  value" lines with keys aligned. */
void bf_cli_pair(const char *key, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bf_cli_heading(const struct bf_cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* To standard error; as JSON in one line, as the API tells it. */
void bf_cli_print_error(const struct bf_error *error, bool json);
/* An error object of the API's inside an answer, indented. */
void bf_cli_print_stored_error(const struct bf_cli *cli, struct json_object *error);
/* The answer of .../plan; says so if there is none. */
void bf_cli_print_plan(const struct bf_cli *cli, struct json_object *answer);
void bf_cli_print_launch(const struct bf_cli *cli, struct json_object *launch);
void bf_cli_print_object(struct json_object *object); /* any, field by field */
void bf_cli_print_report(const struct bf_cli *cli, struct json_object *report);
void bf_cli_print_findings(const struct bf_cli *cli, struct json_object *findings);

/* --- table.c --- */
struct bf_table;
/* Columns "NAME|>SIZE|~TEXT": > right-aligned, ~ may be cut or wrapped on a narrow terminal. */
struct bf_table *bf_table_new(const struct bf_cli *cli, const char *columns);
/* One row: as many cells as there are columns, each malloc'ed and taken over; NULL: "-". */
void bf_table_row(struct bf_table *table, ...);
void bf_table_print(struct bf_table *table, const char *if_empty); /* and frees */

/* --- prompt.c --- */
/* Without echo, from the terminal, never from standard input. */
int bf_cli_prompt_secret(const char *prompt, char **ret_text, struct bf_error *err);
/* The word must be typed; no terminal or --yes given: see the function's error. */
int bf_cli_confirm(const struct bf_cli *cli, const char *question, const char *word,
                   struct bf_error *err);

/* --- wait.c --- */
/* Wait for a job of a replication, showing its progress.  Its failure becomes *err. */
int bf_cli_wait_job(struct bf_cli *cli, const char *replication, const char *job,
                    bool ends_replication, struct bf_error *err);
/* Wait until a new replication has its first point. */
int bf_cli_wait_seeded(struct bf_cli *cli, const char *replication, struct bf_error *err);
/* POST a verb, then say what was started, or wait for it. */
int bf_cli_verb(struct bf_cli *cli, const char *verb, struct json_object *body, bool wait,
                struct bf_error *err);

/* --- progress.c --- */
struct bf_progress;
struct bf_progress *bf_progress_new(const struct bf_cli *cli);
void bf_progress_show(struct bf_progress *progress, struct json_object *job);
void bf_progress_done(struct bf_progress *progress); /* clears the bar and frees */

/* --- the commands --- */
typedef int bf_cli_run_fn(struct bf_cli *cli, struct bf_error *err);
bf_cli_run_fn bf_cli_limit_list, bf_cli_limit_set;
bf_cli_run_fn bf_cli_platform_add, bf_cli_platform_list, bf_cli_platform_show, bf_cli_platform_test,
    bf_cli_platform_set, bf_cli_platform_resources, bf_cli_platform_remove, bf_cli_machine_list,
    bf_cli_machine_show, bf_cli_check, bf_cli_replicate, bf_cli_list, bf_cli_show, bf_cli_set,
    bf_cli_rounds, bf_cli_points, bf_cli_sync, bf_cli_pause, bf_cli_resume, bf_cli_cancel,
    bf_cli_drill, bf_cli_drill_end, bf_cli_cutover, bf_cli_confirm_launch, bf_cli_rollback,
    bf_cli_remove, bf_cli_events, bf_cli_ledger, bf_cli_reconcile, bf_cli_report, bf_cli_status;
