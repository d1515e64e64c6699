/* SPDX-License-Identifier: Apache-2.0 */
/* Weekly windows.
 *
 * Searching goes by the minute and asks the C library for the local time of each: changes of
 * daylight saving time need no case of their own then.  15 days are 21600 questions, some
 * milliseconds; a search ends as a rule within a day or two.
 */
#include "daemon/window.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

#define DAYS 7
#define DAY_MINUTES (24 * 60)
#define ALL_DAYS 0x7f
#define MINUTE_US INT64_C(60000000)
/* Two weeks and a day: a weekly window may miss one week, when its hour does not exist then. */
#define SEARCH_MINUTES (15 * DAY_MINUTES)
#define WINDOWS_MAX 64

static const char *const day_names[DAYS] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};

/* --- reading --- */

static const char *skip_blanks(const char *at)
{
    while (*at == ' ')
        at++;
    return at;
}

/* Returns what follows the day's name; NULL: none there. */
static const char *read_day(const char *at, unsigned *ret_day)
{
    for (unsigned day = 0; day < DAYS; day++) {
        if (strncasecmp(at, day_names[day], 3) == 0) {
            *ret_day = day;
            return at + 3;
        }
    }
    return NULL;
}

static const char *read_days(const char *at, uint8_t *ret_days)
{
    uint8_t days = 0;

    if (*at == '*') {
        *ret_days = ALL_DAYS;
        return at + 1;
    }
    for (;;) {
        unsigned first = 0;
        at = read_day(at, &first);
        if (!at)
            return NULL;
        unsigned last = first;
        if (*at == '-') {
            at = read_day(at + 1, &last);
            if (!at)
                return NULL;
        }
        for (unsigned day = first;; day = (day + 1) % DAYS) {
            days |= (uint8_t)(1u << day);
            if (day == last)
                break;
        }
        if (*at != ',')
            break;
        at++;
    }
    *ret_days = days;
    return at;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* HH:MM up to 24:00. */
static const char *read_time(const char *at, uint16_t *ret_minute)
{
    if (!is_digit(at[0]) || !is_digit(at[1]) || at[2] != ':' || !is_digit(at[3]) ||
        !is_digit(at[4]))
        return NULL;
    int hour = (at[0] - '0') * 10 + (at[1] - '0');
    int minute = (at[3] - '0') * 10 + (at[4] - '0');
    if (minute > 59 || hour * 60 + minute > DAY_MINUTES)
        return NULL;
    *ret_minute = (uint16_t)(hour * 60 + minute);
    return at + 5;
}

static const char *read_times(const char *at, struct bf_window *window)
{
    at = read_time(at, &window->start_minute);
    if (!at || *at != '-')
        return NULL;
    at = read_time(at + 1, &window->end_minute);
    if (!at || window->start_minute == DAY_MINUTES)
        return NULL;
    return at;
}

static int fail_text(const char *text, struct bf_error *err)
{
    bf_auto_free char *shown = bf_xasprintf("%.60s", text);
    bf_text_clean(shown, false);
    return bf_fail(err, BF_E_BAD_INPUT, 0,
                   "\"%s\" is not a window (such as \"Mon-Fri 20:00-06:00\", \"Sat,Sun\", \"*\")",
                   shown);
}

int bf_window_parse(const char *text, struct bf_window *ret_window, struct bf_error *err)
{
    struct bf_window window = {.days = ALL_DAYS, .end_minute = DAY_MINUTES};
    const char *at = skip_blanks(text);
    bool timed = is_digit(*at);

    if (!timed) {
        at = read_days(at, &window.days);
        if (!at || (*at && *at != ' '))
            return fail_text(text, err);
        at = skip_blanks(at);
        timed = *at != '\0';
    }
    if (timed) {
        at = read_times(at, &window);
        if (!at || *skip_blanks(at))
            return fail_text(text, err);
        if (window.start_minute == window.end_minute)
            return bf_fail(err, BF_E_BAD_INPUT, 0,
                           "window \"%s\" ends when it starts; leave the times out for whole days",
                           text);
        if (window.end_minute == 0) /* the next day's 00:00 is this one's 24:00 */
            window.end_minute = DAY_MINUTES;
    }
    *ret_window = window;
    return 0;
}

char *bf_window_format(const struct bf_window *window)
{
    struct bf_buf buf = {0};

    if (window->days == ALL_DAYS)
        bf_buf_addf(&buf, "*");
    for (unsigned day = 0; day < DAYS && window->days != ALL_DAYS; day++) {
        unsigned last = day;
        if (!(window->days & 1u << day))
            continue;
        while (last + 1 < DAYS && window->days & 1u << (last + 1))
            last++;
        bf_buf_addf(&buf, "%s%s", buf.length ? "," : "", day_names[day]);
        if (last > day)
            bf_buf_addf(&buf, "%s%s", last > day + 1 ? "-" : ",", day_names[last]);
        day = last;
    }
    if (window->start_minute != 0 || window->end_minute != DAY_MINUTES)
        bf_buf_addf(&buf, " %02u:%02u-%02u:%02u", window->start_minute / 60u,
                    window->start_minute % 60u, window->end_minute / 60u, window->end_minute % 60u);
    return buf.text;
}

/* --- asking --- */

struct local {
    unsigned day;    /* 0 = Monday */
    unsigned minute; /* of the day, by the clock on the wall */
};

static struct local local_of(int64_t utc_us)
{
    int64_t seconds = utc_us / 1000000 - (utc_us % 1000000 < 0);
    time_t at = (time_t)seconds;
    struct tm tm = {0};

    localtime_r(&at, &tm);
    return (struct local){.day = ((unsigned)tm.tm_wday + 6) % DAYS,
                          .minute = (unsigned)tm.tm_hour * 60 + (unsigned)tm.tm_min};
}

static bool holds_day(const struct bf_window *window, unsigned day)
{
    return window->days & 1u << day;
}

static bool contains(const struct bf_window *window, struct local at)
{
    if (window->start_minute < window->end_minute)
        return holds_day(window, at.day) && at.minute >= window->start_minute &&
               at.minute < window->end_minute;
    /* Over midnight: today's evening, or the morning after yesterday's. */
    return (holds_day(window, at.day) && at.minute >= window->start_minute) ||
           (holds_day(window, (at.day + DAYS - 1) % DAYS) && at.minute < window->end_minute);
}

static bool any_contains(const struct bf_windows *windows, int64_t utc_us)
{
    struct local at = local_of(utc_us);
    for (size_t i = 0; i < windows->count; i++)
        if (contains(&windows->items[i], at))
            return true;
    return windows->count == 0;
}

bool bf_window_contains(const struct bf_window *window, int64_t utc_us)
{
    tzset(); /* localtime_r() alone does not see a changed /etc/localtime */
    return contains(window, local_of(utc_us));
}

bool bf_windows_contain(const struct bf_windows *windows, int64_t utc_us)
{
    tzset();
    return any_contains(windows, utc_us);
}

/* The first full minute after `from_us` at which the answer is `wanted`. */
static int64_t search(const struct bf_windows *windows, int64_t from_us, bool wanted)
{
    int64_t at = from_us - from_us % MINUTE_US;
    for (unsigned i = 0; i < SEARCH_MINUTES; i++) {
        at += MINUTE_US;
        if (any_contains(windows, at) == wanted)
            return at;
    }
    return 0;
}

int64_t bf_windows_next(const struct bf_windows *windows, int64_t from_us)
{
    if (bf_windows_contain(windows, from_us))
        return from_us;
    return search(windows, from_us, true);
}

int64_t bf_windows_change(const struct bf_windows *windows, int64_t from_us)
{
    if (windows->count == 0)
        return 0;
    return search(windows, from_us, !bf_windows_contain(windows, from_us));
}

/* --- lists --- */

void bf_windows_add(struct bf_windows *windows, struct bf_window window)
{
    struct bf_window *items = bf_xcalloc(windows->count + 1, sizeof(*items));
    if (windows->count)
        memcpy(items, windows->items, windows->count * sizeof(*items));
    items[windows->count] = window;
    free(windows->items);
    windows->items = items;
    windows->count++;
}

void bf_windows_done(struct bf_windows *windows)
{
    free(windows->items);
    *windows = (struct bf_windows){0};
}

static int add_json(struct json_object *item, const char *path, size_t index,
                    struct bf_windows *windows, struct bf_error *err)
{
    struct bf_window window;
    if (!json_object_is_type(item, json_type_string))
        return bf_fail(err, BF_E_BAD_JSON, 0, "%s[%zu]: expected string", path, index);
    if (bf_window_parse(json_object_get_string(item), &window, err) < 0)
        return bf_fail_in(err, "%s[%zu]", path, index);
    bf_windows_add(windows, window);
    return 0;
}

int bf_windows_from_json(struct json_object *array, const char *path,
                         struct bf_windows *ret_windows, struct bf_error *err)
{
    struct bf_windows windows = {0};

    if (array && !json_object_is_type(array, json_type_array))
        return bf_fail(err, BF_E_BAD_JSON, 0, "%s: expected array", path);
    size_t count = array ? json_object_array_length(array) : 0;
    if (count > WINDOWS_MAX)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: %zu windows, at most %d", path, count,
                       WINDOWS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (add_json(json_object_array_get_idx(array, i), path, i, &windows, err) < 0) {
            bf_windows_done(&windows);
            return -1;
        }
    }
    *ret_windows = windows;
    return 0;
}

struct json_object *bf_windows_to_json(const struct bf_windows *windows)
{
    if (windows->count == 0)
        return NULL;
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; i < windows->count; i++) {
        bf_auto_free char *text = bf_window_format(&windows->items[i]);
        json_object_array_add(array, json_object_new_string(text));
    }
    return array;
}
