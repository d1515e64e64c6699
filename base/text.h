/* SPDX-License-Identifier: Apache-2.0 */
/* Small text and allocation helpers.
 *
 * The bf_x* allocators abort when memory is out: they are for small things
 * whose size we choose.  What a disk, a request or a reply sizes is allocated
 * by calloc() with an error path.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

void *bf_xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
char *bf_xstrdup(const char *text) __attribute__((malloc)); /* NULL stays NULL */
char *bf_xasprintf(const char *format, ...)
    __attribute__((format(printf, 1, 2), malloc, returns_nonnull));
char *bf_xvasprintf(const char *format, va_list args)
    __attribute__((format(printf, 1, 0), malloc, returns_nonnull));

/* Make *array hold at least `need` elements of `size` bytes: amortised growth, new part zeroed. */
void bf_xgrow(void *array, size_t *capacity, size_t need, size_t size) __attribute__((nonnull));

/* A growing text. text is NUL-terminated; NULL while empty. */
struct bf_buf {
    char *text;
    size_t length;
    size_t capacity;
};
void bf_buf_add(struct bf_buf *buf, const char *text, size_t length);
void bf_buf_addf(struct bf_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bf_buf_done(struct bf_buf *buf);
#define bf_auto_buf __attribute__((cleanup(bf_buf_done))) struct bf_buf

bool bf_streq(const char *a, const char *b); /* NULL equals NULL only */
bool bf_starts_with(const char *text, const char *prefix);
bool bf_ends_with(const char *text, const char *suffix);

/* Strict numbers: the whole text, no sign, no blanks, range checked. */
int bf_parse_u64(const char *text, uint64_t *ret_value, struct bf_error *err);
/* A size with an optional suffix K, M, G, T (powers of 1024; KiB etc. accepted). */
int bf_parse_bytes(const char *text, uint64_t *ret_bytes, struct bf_error *err);
/* "90s", "15m", "6h", "2d" -> seconds; a plain number is seconds. */
int bf_parse_duration(const char *text, uint64_t *ret_seconds, struct bf_error *err);
/* "1.5 GiB"; caller frees. */
char *bf_format_bytes(uint64_t bytes);
char *bf_format_duration(uint64_t seconds); /* "2 h 05 min" */

bool bf_utf8_valid(const char *text, size_t length);
/* Bytes of the character at `text` (1 to 4); 0: not valid UTF-8 there, or length is 0. */
size_t bf_utf8_next(const char *text, size_t length);
/* Make foreign text safe to show, in place: control characters become blanks (line ends too unless
 * `keep_lines`), bytes that are not UTF-8 become '?'. */
void bf_text_clean(char *text, bool keep_lines);
/* For a URL: letters, digits, "-._~" and what is in `also` stay, other bytes become %XX.  Caller
 * frees. */
char *bf_url_escape(const char *text, const char *also);
/* A platform-safe name piece: [a-z0-9-], at most `max` bytes; never empty. */
char *bf_slug(const char *text, size_t max);
/* Random lower-case hex text of `length` characters (from the kernel). */
void bf_random_hex(char *ret_text, size_t length);

/* RFC 4122 version 4 text. */
#define BF_UUID_LENGTH 36
void bf_uuid_new(char ret_text[BF_UUID_LENGTH + 1]);
