/* SPDX-License-Identifier: Apache-2.0 */
/* What is printed beside tables: pairs, headings, errors, findings, JSON. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

#define KEY_WIDTH 14

void bf_cli_print_json(struct json_object *value)
{
    puts(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                   JSON_C_TO_STRING_NOSLASHESCAPE));
}

void bf_cli_pair(const char *key, const char *format, ...)
{
    bf_auto_free char *text = NULL;
    va_list args;

    va_start(args, format);
    text = bf_xvasprintf(format, args);
    va_end(args);
    bf_text_clean(text, false);
    printf("  %-*s %s\n", KEY_WIDTH, key, text);
}

void bf_cli_heading(const struct bf_cli *cli, const char *format, ...)
{
    bf_auto_free char *text = NULL;
    va_list args;

    va_start(args, format);
    text = bf_xvasprintf(format, args);
    va_end(args);
    bf_text_clean(text, false);
    printf("%s%s%s\n", bf_cli_style(cli, "bold"), text, bf_cli_style(cli, "plain"));
}

static void print_lines(FILE *file, const char *indent, const char *text)
{
    bf_auto_free char *copy = bf_xstrdup(text);
    char *rest = NULL;

    bf_text_clean(copy, true);
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        fprintf(file, "%s%s\n", indent, line);
}

static void print_error_json(const struct bf_error *error)
{
    bf_auto_json *json = json_object_new_object();

    json_object_object_add(json, "error", bf_json_error(error));
    fprintf(stderr, "%s\n", bf_json_text(json));
}

void bf_cli_print_error(const struct bf_error *error, bool json)
{
    bf_auto_free char *message = bf_cli_shown(error->message ? error->message : "unknown error");

    fflush(stdout);
    if (json) {
        print_error_json(error);
        return;
    }
    fprintf(stderr, "blockferry: %s\n", message);
    if (error->code != BF_E_CANCELLED) { /* the user's own wish needs no explanation */
        fprintf(stderr, "  cause: %s\n", bf_error_cause(error->code));
        fprintf(stderr, "  fix: %s\n", bf_error_fix(error->code));
    }
    if (error->evidence)
        print_lines(stderr, "    ", error->evidence);
}

void bf_cli_print_stored_error(const struct bf_cli *cli, struct json_object *error)
{
    bf_auto_free char *message = bf_cli_shown(bf_cli_text_or(error, "message", "unknown error"));

    printf("\n%serror: %s%s\n", bf_cli_style(cli, "red"), message, bf_cli_style(cli, "plain"));
    if (bf_cli_text(error, "cause"))
        printf("  cause: %s\n", bf_cli_text(error, "cause"));
    if (bf_cli_text(error, "fix"))
        printf("  fix: %s\n", bf_cli_text(error, "fix"));
    if (bf_cli_text(error, "evidence"))
        print_lines(stdout, "    ", bf_cli_text(error, "evidence"));
}

static void print_finding(const struct bf_cli *cli, struct json_object *finding)
{
    static const char *const more[] = {"needed", "why", "fix"};
    const char *severity = bf_cli_text_or(finding, "severity", "?");
    const char *style = bf_streq(severity, "block")  ? "red"
                        : bf_streq(severity, "warn") ? "yellow"
                                                     : "green";
    bf_auto_free char *id = bf_cli_shown(bf_cli_text(finding, "id"));
    bf_auto_free char *found = bf_cli_shown(bf_cli_text(finding, "found"));
    bf_auto_free char *subject = bf_cli_shown(bf_cli_text_or(finding, "subject", ""));

    printf("%s %s%s%s%s: %s%s%s\n", id, bf_cli_style(cli, style), severity,
           bf_cli_style(cli, "plain"), bf_cli_bool(finding, "waived") ? " (waived)" : "", subject,
           *subject ? ": " : "", found);
    for (size_t i = 0; i < bf_array_length(more); i++) {
        bf_auto_free char *text = bf_cli_shown(bf_cli_text_or(finding, more[i], ""));

        if (*text)
            printf("  %-7s %s\n", more[i], text);
    }
}

void bf_cli_print_findings(const struct bf_cli *cli, struct json_object *findings)
{
    static const char *const order[] = {"block", "warn", "info"};

    for (size_t o = 0; o < bf_array_length(order); o++)
        for (size_t i = 0; i < bf_cli_count(findings); i++) {
            struct json_object *finding = json_object_array_get_idx(findings, i);

            if (bf_streq(bf_cli_text(finding, "severity"), order[o]))
                print_finding(cli, finding);
        }
}

/* "memory_bytes" as "memory", "created_at" as "created": the value shows what it is. */
static char *label_of(const char *key)
{
    char *label = bf_xstrdup(key);
    static const char *const endings[] = {"_bytes", "_at", "_s"};

    for (size_t i = 0; i < bf_array_length(endings); i++)
        if (bf_ends_with(label, endings[i])) {
            label[strlen(label) - strlen(endings[i])] = '\0';
            break;
        }
    for (char *c = label; *c; c++)
        if (*c == '_')
            *c = ' ';
    return label;
}

static char *list_text(struct json_object *list)
{
    bf_auto_buf words = {0};

    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);

        bf_buf_addf(&words, "%s%s", i ? ", " : "",
                    bf_cli_text_or(one, "name", one ? json_object_get_string(one) : "-"));
    }
    return words.text ? bf_steal(words.text) : bf_xstrdup("-");
}

/* Counts by what is counted, those that are not zero; other fields as K=V. */
static char *object_text(struct json_object *object)
{
    bf_auto_buf words = {0};

    json_object_object_foreach(object, key, one)
    {
        const char *comma = words.length ? ", " : "";

        if (json_object_get_type(one) != json_type_int)
            bf_buf_addf(&words, "%s%s=%s", comma, key, one ? json_object_get_string(one) : "-");
        else if (json_object_get_int64(one) != 0)
            bf_buf_addf(&words, "%s%s %s", comma, json_object_get_string(one), key);
    }
    return words.text ? bf_steal(words.text) : bf_xstrdup("-");
}

static char *plain_text(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_array:
        return list_text(value);
    case json_type_object:
        return object_text(value);
    case json_type_boolean:
        return bf_xstrdup(json_object_get_boolean(value) ? "yes" : "no");
    case json_type_null:
    case json_type_double:
    case json_type_int:
    case json_type_string:
        break;
    }
    return bf_xstrdup(value ? json_object_get_string(value) : "-");
}

void bf_cli_print_object(struct json_object *object)
{
    json_object_object_foreach(object, key, value)
    {
        bf_auto_free char *label = label_of(key);
        bf_auto_free char *text = bf_ends_with(key, "_bytes") ? bf_cli_size(object, key)
                                  : bf_ends_with(key, "_at")  ? bf_cli_when_ago(object, key)
                                                              : plain_text(value);

        bf_cli_pair(label, "%s", text);
    }
}
