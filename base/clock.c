/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks, deadlines, UTC text. */
#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>

#define US_PER_S INT64_C(1000000)
/* Years 0000 to 9999: what four digits can say. */
#define UTC_FIRST_S INT64_C(-62167219200)
#define UTC_LAST_S INT64_C(253402300799)

uint64_t bf_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int64_t bf_utc_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

struct bf_deadline bf_deadline_in(uint64_t ms)
{
    uint64_t now = bf_now_ms();

    if (ms > UINT64_MAX - now)
        return (struct bf_deadline){0}; /* so far away that it is never */
    return (struct bf_deadline){now + ms ? now + ms : 1};
}

bool bf_deadline_passed(struct bf_deadline deadline)
{
    return deadline.at_ms && bf_now_ms() >= deadline.at_ms;
}

int bf_deadline_left(struct bf_deadline deadline)
{
    uint64_t now = bf_now_ms();

    if (!deadline.at_ms)
        return -1;
    if (now >= deadline.at_ms)
        return 0;
    return deadline.at_ms - now < INT_MAX ? (int)(deadline.at_ms - now) : INT_MAX;
}

void bf_sleep_ms(uint64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

void bf_utc_format(int64_t utc_us, char ret_text[BF_UTC_LENGTH + 1])
{
    int64_t us = utc_us % US_PER_S;
    time_t seconds = utc_us / US_PER_S;
    struct tm tm;

    if (us < 0) {
        us += US_PER_S;
        seconds--;
    }
    if (seconds < UTC_FIRST_S)
        seconds = UTC_FIRST_S;
    if (seconds > UTC_LAST_S)
        seconds = UTC_LAST_S;
    gmtime_r(&seconds, &tm);
    /* The casts tell the compiler the widths that the clamping above ensures. */
    snprintf(ret_text, BF_UTC_LENGTH + 1, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
             (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
             (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
             (unsigned)tm.tm_sec % 100, (unsigned)(us / 1000) % 1000);
}

/* `count` digits, followed by `end`.  NULL stays NULL, so that calls can be chained. */
static const char *read_part(const char *at, unsigned count, char end, int *ret_value)
{
    int value = 0;

    for (; at && count; count--, at++) {
        if (*at < '0' || *at > '9')
            return NULL;
        value = value * 10 + (*at - '0');
    }
    if (!at || (end && *at++ != end))
        return NULL;
    *ret_value = value;
    return at;
}

static const char *read_fraction(const char *at, int64_t *ret_us)
{
    int64_t us = 0, weight = US_PER_S / 10;

    if (!at || *at != '.')
        return at;
    if (*++at < '0' || *at > '9')
        return NULL;
    for (; *at >= '0' && *at <= '9'; at++, weight /= 10)
        us += (*at - '0') * weight; /* beyond microseconds: weight is 0 */
    *ret_us = us;
    return at;
}

int bf_utc_parse(const char *text, int64_t *ret_utc_us, struct bf_error *err)
{
    struct tm tm = {0}, check;
    int64_t us = 0;
    const char *at = text;
    time_t seconds;

    at = read_part(at, 4, '-', &tm.tm_year);
    at = read_part(at, 2, '-', &tm.tm_mon);
    at = read_part(at, 2, 'T', &tm.tm_mday);
    at = read_part(at, 2, ':', &tm.tm_hour);
    at = read_part(at, 2, ':', &tm.tm_min);
    at = read_part(at, 2, '\0', &tm.tm_sec);
    at = read_fraction(at, &us);
    if (!at || at[0] != 'Z' || at[1])
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "\"%.40s\" is not a UTC time like 2026-11-20T13:52:21Z", text ? text : "");
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    check = tm;
    seconds = timegm(&check);
    /* timegm() turns the 30th of February into March: such a date is refused here. */
    if (check.tm_mon != tm.tm_mon || check.tm_mday != tm.tm_mday || check.tm_hour != tm.tm_hour ||
        check.tm_min != tm.tm_min || check.tm_sec != tm.tm_sec)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%.40s\" is not a date of the calendar", text);
    *ret_utc_us = (int64_t)seconds * US_PER_S + us;
    return 0;
}

void bf_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

void bf_cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(cond, lock, &until);
}
