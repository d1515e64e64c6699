/* SPDX-License-Identifier: Apache-2.0 */
/* Evidence of a boot on a console, by a pattern that comes from an API client.
 *
 * The C library's regcomp() unrolls "a{1000}" into a thousand copies and nests that, and its
 * back references take exponential time; a client must not be able to stop the service with either.
 */
#include <inttypes.h>
#include <regex.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/policy.h"

#define PATTERN_MAX 256
#define REPEAT_MAX 1000
#define FLAGS (REG_EXTENDED | REG_NOSUB | REG_NEWLINE)

/* Early targets are reached inside the initramfs already: only the late ones count.  systemd paints
 * the name, so anything may stand between. */
static const char usual[] = "login:|^BOOTMARK|Reached target .*(multi-user|Multi-User|graphical|"
                            "Graphical|getty\\.target|Login Prompts)";

/* Skip a bracket expression: in it "{" and "\" mean themselves. */
static const char *skip_bracket(const char *at)
{
    at++;
    if (*at == '^')
        at++;
    if (*at == ']')
        at++;
    while (*at && *at != ']')
        at++;
    return at;
}

/* The largest number of a bound "{n}", "{n,}", "{n,m}". */
static uint64_t read_bound(const char *at)
{
    uint64_t largest = 1;
    uint64_t number = 0;
    for (at++; *at && *at != '}'; at++) {
        number = *at >= '0' && *at <= '9' ? number * 10 + (uint64_t)(*at - '0') : 0;
        if (number > largest)
            largest = number;
        if (largest > REPEAT_MAX)
            break;
    }
    return largest;
}

/* The product of all bounds is what nesting them could at most unroll. */
static int check_cost(const char *pattern, const char *field, struct bf_error *err)
{
    uint64_t product = 1;
    for (const char *at = pattern; *at; at++) {
        if (*at == '[') {
            at = skip_bracket(at);
        } else if (*at == '\\') {
            at++;
            if (*at >= '1' && *at <= '9')
                return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: back references are not taken", field);
        } else if (*at == '{') {
            product *= read_bound(at);
        }
        if (product > REPEAT_MAX)
            return bf_fail(err, BF_E_BAD_INPUT, 0,
                           "%s: repeats more than %d times (its bounds multiplied)", field,
                           REPEAT_MAX);
        if (!*at)
            break;
    }
    return 0;
}

int bf_boot_pattern_check(const char *pattern, const char *field, struct bf_error *err)
{
    regex_t regex;
    char why[120];

    if (!*pattern || strlen(pattern) > PATTERN_MAX)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: a pattern has 1 to %d bytes", field,
                       PATTERN_MAX);
    if (check_cost(pattern, field, err) < 0)
        return -1;
    int rc = regcomp(&regex, pattern, FLAGS);
    if (rc != 0) {
        regerror(rc, &regex, why, sizeof(why));
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: %s", field, why);
    }
    /* It would match any console. */
    bool empty = regexec(&regex, "", 0, NULL, 0) == 0;
    regfree(&regex);
    if (empty)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: matches the empty text, so it shows nothing",
                       field);
    return 0;
}

char *bf_boot_pattern_line(const char *pattern, const char *console)
{
    bf_auto_free char *text = bf_xstrdup(console);
    char *found = NULL, *save = NULL;
    regex_t regex;

    if (!text || regcomp(&regex, pattern ? pattern : usual, FLAGS) != 0)
        return NULL;
    for (char *line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save))
        if (regexec(&regex, line, 0, NULL, 0) == 0)
            found = line;
    regfree(&regex);
    if (!found)
        return NULL;
    found = bf_xasprintf("%.200s", found);
    bf_text_clean(found, false);
    return found;
}

bool bf_boot_pattern_matches(const char *pattern, const char *console)
{
    regex_t regex;

    if (!console || regcomp(&regex, pattern ? pattern : usual, FLAGS) != 0)
        return false;
    bool found = regexec(&regex, console, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}
