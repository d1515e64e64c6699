/* SPDX-License-Identifier: Apache-2.0 */
/* Weekly windows: "Mon-Fri 20:00-06:00", "Sat,Sun", "*", "22:00-24:00".
 *
 * [DAYS] [HH:MM-HH:MM].  DAYS: "*" (or left out: every day), or a list of days and ranges
 * ("Mon-Thu,Sat"; "Fri-Mon" wraps around).  Without times: the whole day.  An end that is not
 * after the start is on the next day, and the window belongs to the day it starts on: "Fri
 * 20:00-06:00" ends on Saturday.  "24:00" is an end only.
 *
 * Time zone: local time of the process (TZ, /etc/localtime).  A moment is inside if the local
 * clock then shows a time inside; so at a change of daylight saving time an hour that does
 * not exist is no window, and one that comes twice is a window twice.
 *
 * Threads: any.  Ownership: a bf_windows is done by bf_windows_done().
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bf_window {
    uint8_t days;          /* bit 0 = Monday ... bit 6 = Sunday */
    uint16_t start_minute; /* of the local day, 0..1439 */
    uint16_t end_minute;   /* 1..1440; not above start_minute: on the next day */
};

/* BF_E_BAD_INPUT says what is wrong with the text. */
int bf_window_parse(const char *text, struct bf_window *ret_window, struct bf_error *err);
/* Canonical text, read back by parse to the same window.  Caller frees. */
char *bf_window_format(const struct bf_window *window);
bool bf_window_contains(const struct bf_window *window, int64_t utc_us);

/* Several: inside any of them.  None at all: always. */
struct bf_windows {
    struct bf_window *items;
    size_t count;
};
void bf_windows_add(struct bf_windows *windows, struct bf_window window);
void bf_windows_done(struct bf_windows *windows);
/* Array of texts; NULL or empty: none.  `path` names it in errors.  At most 64. */
int bf_windows_from_json(struct json_object *array, const char *path,
                         struct bf_windows *ret_windows, struct bf_error *err);
struct json_object *bf_windows_to_json(const struct bf_windows *windows); /* none: NULL */
bool bf_windows_contain(const struct bf_windows *windows, int64_t utc_us);
/* The first moment at or after `from_us` (milliseconds of work when it is far) that is inside:
 * from_us itself, else the full minute at which a window opens.  0: none within 15 days (a window
 * in an hour that does not exist). */
int64_t bf_windows_next(const struct bf_windows *windows, int64_t from_us);
/* The moment at which inside and outside change next, after `from_us`; 0: not within 15 days. */
int64_t bf_windows_change(const struct bf_windows *windows, int64_t from_us);
