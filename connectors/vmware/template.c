/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/template.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define KEY "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

static const struct bf_vmware_template_value *
find(const char *name, size_t length, const struct bf_vmware_template_value *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(values[i].name) == length && strncmp(values[i].name, name, length) == 0)
            return &values[i];
    }
    return NULL;
}

/* One word, filled in; NULL: left out, or `err` set. */
static char *fill_word(const char *word, const struct bf_vmware_template_value *values,
                       size_t count, struct bf_error *err)
{
    bf_auto_buf buf = {0};
    size_t key = strspn(word, KEY);

    if (key == 0 || word[0] == '-' || word[key] != '=') {
        bf_fail(err, BF_E_BAD_INPUT, 0, "\"%s\": expected KEY=VALUE", word);
        return NULL;
    }
    while (*word) {
        size_t plain = strcspn(word, "{}"), length;
        const struct bf_vmware_template_value *value;

        bf_buf_add(&buf, word, plain);
        word += plain;
        if (!*word)
            break;
        length = strcspn(word + 1, "{}");
        value =
            *word == '{' && word[1 + length] == '}' ? find(word + 1, length, values, count) : NULL;
        if (!value) {
            bf_fail(err, BF_E_BAD_INPUT, 0, "\"%s\": no such placeholder%s", word,
                    bf_starts_with(word, "{password}")
                        ? "; the password goes by {password_fd} or {password_file}"
                        : "");
            return NULL;
        }
        if (!value->value)
            return NULL;
        bf_buf_add(&buf, value->value, strlen(value->value));
        word += length + 2;
    }
    return bf_steal(buf.text);
}

static int fill(const char *text, const struct bf_vmware_template_value *values, size_t count,
                char ***ret_words, struct bf_error *err)
{
    bf_auto_free char *copy = bf_xstrdup(text);
    char **words = bf_xcalloc(strlen(text) / 2 + 2, sizeof(*words)), *save = NULL;
    size_t n = 0;

    for (char *word = strtok_r(copy, " \t\n", &save); word && !bf_error_is_set(err);
         word = strtok_r(NULL, " \t\n", &save)) {
        words[n] = fill_word(word, values, count, err);
        n += words[n] != NULL;
    }
    *ret_words = words;
    return bf_error_is_set(err) ? -1 : 0;
}

int bf_vmware_template_check(const char *text, const struct bf_vmware_template_value *values,
                             size_t value_count, struct bf_error *err)
{
    struct bf_vmware_template_value some[32];
    char **words = NULL;
    size_t count = value_count < bf_array_length(some) ? value_count : bf_array_length(some);

    /* With a value for each, so that every word is looked at to its end. */
    for (size_t i = 0; i < count; i++)
        some[i] = (struct bf_vmware_template_value){.name = values[i].name, .value = "x"};
    int rc = fill(text, some, count, &words, err);
    bf_vmware_template_free(words);
    return rc;
}

char **bf_vmware_template_fill(const char *text, const struct bf_vmware_template_value *values,
                               size_t value_count)
{
    bf_auto_error never = BF_ERROR_INIT;
    char **words = NULL;

    (void)fill(text, values, value_count, &words, &never);
    return words;
}

void bf_vmware_template_free(char **words)
{
    for (char **at = words; at && *at; at++)
        free(*at);
    free(words);
}
