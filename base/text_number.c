/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, sizes and durations as text, read strictly. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* Digits at the start of the text; the rest is left to the caller. */
static int read_digits(const char *text, uint64_t *ret_value, const char **ret_rest,
                       const char *what, struct bf_error *err)
{
    const char *at = text;
    uint64_t value = 0;

    if (!text)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s is missing", what);
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');

        if (value > (UINT64_MAX - digit) / 10)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%.40s\" is too large", text);
        value = value * 10 + digit;
    }
    if (at == text)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%.40s\" is not %s", text, what);
    *ret_value = value;
    *ret_rest = at;
    return 0;
}

static int scale(const char *text, uint64_t value, uint64_t factor, uint64_t *ret_value,
                 struct bf_error *err)
{
    if (value > UINT64_MAX / factor)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%.40s\" is too large", text);
    *ret_value = value * factor;
    return 0;
}

int bf_parse_u64(const char *text, uint64_t *ret_value, struct bf_error *err)
{
    const char *rest = "";
    uint64_t value;

    if (read_digits(text, &value, &rest, "a whole number", err) < 0)
        return -1;
    if (*rest)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%.40s\" is not a whole number", text);
    *ret_value = value;
    return 0;
}

int bf_parse_bytes(const char *text, uint64_t *ret_bytes, struct bf_error *err)
{
    static const char suffixes[] = "KMGT";
    const char *rest = "";
    uint64_t value, factor = 1;

    if (read_digits(text, &value, &rest, "a size", err) < 0)
        return -1;
    if (*rest) {
        const char *at = strchr(suffixes, *rest >= 'a' && *rest <= 'z' ? *rest - 'a' + 'A' : *rest);

        if (!at || (rest[1] && strcmp(rest + 1, "iB") != 0))
            return bf_fail(err, BF_E_BAD_INPUT, 0,
                           "\"%.40s\" is not a size (bytes, or a number with K, M, G or T)", text);
        factor = UINT64_C(1024) << (10 * (at - suffixes));
    }
    return scale(text, value, factor, ret_bytes, err);
}

int bf_parse_duration(const char *text, uint64_t *ret_seconds, struct bf_error *err)
{
    const char *rest = "";
    uint64_t value, factor;

    if (read_digits(text, &value, &rest, "a duration", err) < 0)
        return -1;
    if (bf_streq(rest, "") || bf_streq(rest, "s"))
        factor = 1;
    else if (bf_streq(rest, "m"))
        factor = 60;
    else if (bf_streq(rest, "h"))
        factor = 3600;
    else if (bf_streq(rest, "d"))
        factor = 86400;
    else
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "\"%.40s\" is not a duration (seconds, or a number with s, m, h or d)",
                       text);
    return scale(text, value, factor, ret_seconds, err);
}

/* Tenths by integers, rounded half up; a value that rounds to 1024 goes to the next unit. */
char *bf_format_bytes(uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    uint64_t whole = 0, tenths = 0;
    unsigned unit = 0;

    if (bytes < 1024)
        return bf_xasprintf("%u B", (unsigned)bytes);
    for (;; unit++) {
        unsigned shift = 10 * (unit + 1);
        uint64_t rest = (bytes & ((UINT64_C(1) << shift) - 1)) >> (shift - 10);

        whole = bytes >> shift;
        tenths = (rest * 10 + 512) / 1024;
        if (tenths == 10) {
            whole++;
            tenths = 0;
        }
        if (whole < 1024)
            break;
    }
    if (!tenths)
        return bf_xasprintf("%u %s", (unsigned)whole, units[unit]);
    return bf_xasprintf("%u.%u %s", (unsigned)whole, (unsigned)tenths, units[unit]);
}

char *bf_format_duration(uint64_t seconds)
{
    unsigned long long days = seconds / 86400;
    unsigned hours = (unsigned)(seconds / 3600 % 24);
    unsigned minutes = (unsigned)(seconds / 60 % 60);

    if (days)
        return bf_xasprintf("%llu d %02u h", days, hours);
    if (hours)
        return bf_xasprintf("%u h %02u min", hours, minutes);
    if (minutes)
        return bf_xasprintf("%u min %02u s", minutes, (unsigned)(seconds % 60));
    return bf_xasprintf("%u s", (unsigned)seconds);
}
