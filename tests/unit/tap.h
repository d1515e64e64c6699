/* SPDX-License-Identifier: Apache-2.0 */
/* Test Anything Protocol for C tests: the smallest set that tells what failed.
 *
 *     int main(void)
 *     {
 *         ok(1 + 1 == 2, "sums");
 *         is_string(name, "disk", "name of disk %d", i);
 *         return done();
 *     }
 *
 * A check's last arguments are its name, in printf form.  Every check returns
 * whether it passed, so that a test can stop where going on makes no sense.
 * plan() is optional: without it done() prints the number of checks that ran.
 * Threads: one thread checks at a time.
 */
#pragma once

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

struct tap {
    unsigned planned;
    unsigned count;
    unsigned failed;
};

static inline struct tap *tap_state(void)
{
    static struct tap tap;

    return &tap;
}

__attribute__((format(printf, 1, 2))) static inline void diag(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fputs("# ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

static inline void plan(unsigned count)
{
    tap_state()->planned = count;
    printf("1..%u\n", count);
    fflush(stdout);
}

/* The whole program is skipped, with a reason. */
__attribute__((noreturn)) static inline void skip_all(const char *reason)
{
    printf("1..0 # SKIP %s\n", reason);
    fflush(stdout);
    exit(0);
}

/* `count` checks are skipped, with a reason. */
static inline void skip(unsigned count, const char *reason)
{
    while (count--)
        printf("ok %u # SKIP %s\n", ++tap_state()->count, reason);
    fflush(stdout);
}

/* Ends the test; the result is main()'s. */
static inline int done(void)
{
    struct tap *tap = tap_state();

    if (!tap->planned)
        printf("1..%u\n", tap->count);
    fflush(stdout);
    if (tap->planned && tap->planned != tap->count)
        diag("planned %u checks, ran %u", tap->planned, tap->count);
    return tap->failed || tap->count == 0 || (tap->planned && tap->planned != tap->count);
}

__attribute__((format(printf, 4, 0))) static inline bool
tap_check(bool passed, const char *file, int line, const char *format, va_list args)
{
    struct tap *tap = tap_state();

    printf("%s %u - ", passed ? "ok" : "not ok", ++tap->count);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    if (!passed) {
        tap->failed++;
        diag("failed at %s:%d", file, line);
    }
    return passed;
}

__attribute__((format(printf, 4, 5))) static inline bool tap_ok(bool passed, const char *file,
                                                                int line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tap_check(passed, file, line, format, args);
    va_end(args);
    return passed;
}

__attribute__((format(printf, 5, 6))) static inline bool tap_is_string(const char *got,
                                                                       const char *want,
                                                                       const char *file, int line,
                                                                       const char *format, ...)
{
    bool passed = got && want ? strcmp(got, want) == 0 : got == want;
    va_list args;

    va_start(args, format);
    tap_check(passed, file, line, format, args);
    va_end(args);
    if (!passed)
        diag("got \"%s\", wanted \"%s\"", got ? got : "(null)", want ? want : "(null)");
    return passed;
}

__attribute__((format(printf, 5, 6))) static inline bool tap_has_string(const char *got,
                                                                        const char *part,
                                                                        const char *file, int line,
                                                                        const char *format, ...)
{
    bool passed = got && strstr(got, part);
    va_list args;

    va_start(args, format);
    tap_check(passed, file, line, format, args);
    va_end(args);
    if (!passed)
        diag("\"%s\" does not hold \"%s\"", got ? got : "(null)", part);
    return passed;
}

__attribute__((format(printf, 5, 6))) static inline bool
tap_is_int(int64_t got, int64_t want, const char *file, int line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tap_check(got == want, file, line, format, args);
    va_end(args);
    if (got != want)
        diag("got %" PRId64 ", wanted %" PRId64, got, want);
    return got == want;
}

__attribute__((format(printf, 5, 6))) static inline bool
tap_is_u64(uint64_t got, uint64_t want, const char *file, int line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tap_check(got == want, file, line, format, args);
    va_end(args);
    if (got != want)
        diag("got %" PRIu64 ", wanted %" PRIu64, got, want);
    return got == want;
}

__attribute__((format(printf, 5, 6))) static inline bool tap_is_error(struct bf_error *err,
                                                                      enum bf_error_code want,
                                                                      const char *file, int line,
                                                                      const char *format, ...)
{
    bool passed = err->code == want;
    va_list args;

    va_start(args, format);
    tap_check(passed, file, line, format, args);
    va_end(args);
    if (!passed)
        diag("got error %s (%s), wanted %s", bf_error_id(err->code),
             err->message ? err->message : "-", bf_error_id(want));
    bf_error_clear(err);
    return passed;
}

#define ok(condition, ...) tap_ok(condition, __FILE__, __LINE__, __VA_ARGS__)
/* Equal texts; NULL equals NULL only. */
#define is_string(got, want, ...) tap_is_string(got, want, __FILE__, __LINE__, __VA_ARGS__)
/* `part` occurs in the text. */
#define has_string(got, part, ...) tap_has_string(got, part, __FILE__, __LINE__, __VA_ARGS__)
#define is_int(got, want, ...) tap_is_int(got, want, __FILE__, __LINE__, __VA_ARGS__)
#define is_u64(got, want, ...) tap_is_u64(got, want, __FILE__, __LINE__, __VA_ARGS__)
/* The error has this code (BF_OK: no error); it is cleared for the next step. */
#define is_error(err, want, ...) tap_is_error(err, want, __FILE__, __LINE__, __VA_ARGS__)
