/* SPDX-License-Identifier: Apache-2.0 */
/* A pass over the tokens of a JSON text, before json-c builds the tree.
 *
 * json-c 0.16 in strict mode still takes names in single quotes, NaN and
 * Infinity, raw control characters in strings, cuts a name at \u0000, and makes
 * 2^64-1 of any larger number.  The nesting of tokens is left to json-c.  Strings here are skipped
 * bytewise: UTF-8 is checked by the tokener.
 */
#include "base/json_lex.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct lex {
    const char *at;
    const char *end;
};

static bool is_digit(const struct lex *lex)
{
    return lex->at < lex->end && *lex->at >= '0' && *lex->at <= '9';
}

static bool take(struct lex *lex, char c)
{
    if (lex->at == lex->end || *lex->at != c)
        return false;
    lex->at++;
    return true;
}

static bool take_digits(struct lex *lex)
{
    if (!is_digit(lex))
        return false;
    while (is_digit(lex))
        lex->at++;
    return true;
}

static void skip_blanks(struct lex *lex)
{
    while (lex->at < lex->end && strchr(" \t\r\n", *lex->at) && *lex->at)
        lex->at++;
}

/* json-c takes an integer that is out of range for the nearest one in it. */
static bool is_in_range(const char *start, const char *end)
{
    bool negative = *start == '-';
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : UINT64_MAX;
    uint64_t value = 0;

    for (const char *at = start + negative; at < end; at++) {
        uint64_t digit = (uint64_t)(*at - '0');

        if (value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    return true;
}

static const char *lex_number(struct lex *lex)
{
    const char *start = lex->at;

    take(lex, '-');
    if (take(lex, '0')) {
        if (is_digit(lex))
            return "a number with a leading zero";
    } else if (!take_digits(lex)) {
        return "malformed number";
    }
    if (lex->at == lex->end || !strchr(".eE", *lex->at))
        return is_in_range(start, lex->at) ? NULL : "an integer out of range";
    if (take(lex, '.') && !take_digits(lex))
        return "malformed number";
    if (take(lex, 'e') || take(lex, 'E')) {
        if (!take(lex, '+'))
            take(lex, '-');
        if (!take_digits(lex))
            return "malformed number";
    }
    return NULL;
}

static const char *lex_string(struct lex *lex)
{
    bool has_nul = false;

    for (lex->at++; lex->at < lex->end && *lex->at != '"'; lex->at++) {
        if ((unsigned char)*lex->at < 0x20)
            return "control character in a string";
        if (*lex->at != '\\')
            continue;
        if (lex->end - lex->at < 2 || !lex->at[1] || !strchr("\"\\/bfnrtu", lex->at[1]))
            return "malformed escape";
        if (lex->end - lex->at >= 6 && memcmp(lex->at, "\\u0000", 6) == 0)
            has_nul = true;
        lex->at++;
    }
    if (!take(lex, '"'))
        return "unterminated string";
    if (has_nul) {
        skip_blanks(lex);
        if (lex->at < lex->end && *lex->at == ':')
            return "NUL character in a name";
    }
    return NULL;
}

static const char *lex_word(struct lex *lex)
{
    static const char *const words[] = {"true", "false", "null"};

    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t length = strlen(words[i]);

        if ((size_t)(lex->end - lex->at) >= length && memcmp(lex->at, words[i], length) == 0) {
            lex->at += length;
            return NULL;
        }
    }
    return "unexpected character";
}

const char *bf_json_lex(const char *text, size_t length, size_t *ret_at)
{
    struct lex lex = {text, text + length};
    const char *wrong = NULL;

    while (!wrong) {
        skip_blanks(&lex);
        if (lex.at == lex.end)
            return NULL;
        if (*lex.at == '"')
            wrong = lex_string(&lex);
        else if (*lex.at == '-' || is_digit(&lex))
            wrong = lex_number(&lex);
        else if (*lex.at && strchr("{}[]:,", *lex.at))
            lex.at++;
        else
            wrong = lex_word(&lex);
    }
    *ret_at = (size_t)(lex.at - text);
    return wrong;
}
