/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation, the growing text, comparison, characters, names. */
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* Nothing useful can be done without memory for small things, and a half-done answer would be
 * worse: the service is restarted and goes on from its store. */
static void *checked(void *memory)
{
    if (!memory) {
        static const char text[] = "out of memory\n";
        ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);

        (void)ignored;
        abort();
    }
    return memory;
}

void *bf_xcalloc(size_t count, size_t size)
{
    return checked(calloc(count ? count : 1, size ? size : 1));
}

char *bf_xstrdup(const char *text)
{
    return text ? checked(strdup(text)) : NULL;
}

char *bf_xvasprintf(const char *format, va_list args)
{
    char *text = NULL;

    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    return checked(text);
}

char *bf_xasprintf(const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = bf_xvasprintf(format, args);
    va_end(args);
    return text;
}

void bf_xgrow(void *array, size_t *capacity, size_t need, size_t size)
{
    void **at = array;
    size_t more = *capacity + *capacity / 2 + 8;
    char *grown;

    if (need <= *capacity)
        return;
    if (more < need)
        more = need;
    grown = checked(reallocarray(*at, more, size));
    memset(grown + *capacity * size, 0, (more - *capacity) * size);
    *at = grown;
    *capacity = more;
}

void bf_buf_add(struct bf_buf *buf, const char *text, size_t length)
{
    assert(length < SIZE_MAX - buf->length);
    if (buf->length + length >= buf->capacity) {
        size_t more = (buf->length + length + 1) / 2 * 3 + 64;

        buf->text = checked(realloc(buf->text, more));
        buf->capacity = more;
    }
    if (length)
        memcpy(buf->text + buf->length, text, length);
    buf->length += length;
    buf->text[buf->length] = '\0';
}

void bf_buf_addf(struct bf_buf *buf, const char *format, ...)
{
    char small[256];
    va_list args, again;
    int length;

    va_start(args, format);
    va_copy(again, args);
    length = vsnprintf(small, sizeof(small), format, args);
    if (length >= 0 && (size_t)length < sizeof(small)) {
        bf_buf_add(buf, small, (size_t)length);
    } else {
        char *text = bf_xvasprintf(format, again);

        bf_buf_add(buf, text, strlen(text));
        free(text);
    }
    va_end(again);
    va_end(args);
}

void bf_buf_done(struct bf_buf *buf)
{
    free(buf->text);
    *buf = (struct bf_buf){0};
}

bool bf_streq(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool bf_starts_with(const char *text, const char *prefix)
{
    return text && prefix && strncmp(text, prefix, strlen(prefix)) == 0;
}

bool bf_ends_with(const char *text, const char *suffix)
{
    size_t length = text ? strlen(text) : 0;
    size_t tail = suffix ? strlen(suffix) : 0;

    return text && suffix && length >= tail && strcmp(text + length - tail, suffix) == 0;
}

/* Unicode 15.0, table 3-7: the lead byte sets the length and the range of the second byte, which
 * is how overlong forms, surrogates and values above 10FFFF are excluded. */
size_t bf_utf8_next(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xbf;
    size_t need;

    if (!length)
        return 0;
    if (at[0] < 0x80)
        return 1;
    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    need = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] == 0xe0)
        low = 0xa0;
    else if (at[0] == 0xed)
        high = 0x9f;
    else if (at[0] == 0xf0)
        low = 0x90;
    else if (at[0] == 0xf4)
        high = 0x8f;
    if (length < need || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return need;
}

bool bf_utf8_valid(const char *text, size_t length)
{
    while (length) {
        size_t step = bf_utf8_next(text, length);

        if (!step)
            return false;
        text += step;
        length -= step;
    }
    return true;
}

void bf_text_clean(char *text, bool keep_lines)
{
    size_t length = strlen(text);

    while (length) {
        size_t step = bf_utf8_next(text, length);
        unsigned char first = (unsigned char)text[0];

        if (!step) {
            *text = '?';
            step = 1;
        } else if (first < 0x20 || first == 0x7f) {
            if (!keep_lines || (first != '\n' && first != '\t'))
                *text = ' ';
        } else if (first == 0xc2 && (unsigned char)text[1] < 0xa0) {
            memset(text, ' ', 2); /* C1 controls: terminals obey them too */
        }
        text += step;
        length -= step;
    }
}

char *bf_url_escape(const char *text, const char *also)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    struct bf_buf buf = {0};

    for (const char *at = text; *at; at++) {
        if (strchr(plain, *at) || strchr(also, *at))
            bf_buf_add(&buf, at, 1);
        else
            bf_buf_addf(&buf, "%%%02X", (unsigned)(unsigned char)*at);
    }
    return buf.text ? buf.text : bf_xstrdup("");
}

char *bf_slug(const char *text, size_t max)
{
    char *slug = bf_xcalloc(max + 1, 1);
    size_t length = 0;

    assert(max > 0);
    for (; text && *text && length < max; text++) {
        char c = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;

        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            slug[length++] = c;
        else if (length && slug[length - 1] != '-')
            slug[length++] = '-';
    }
    while (length && slug[length - 1] == '-')
        slug[--length] = '\0';
    if (!length)
        slug[0] = 'x';
    return slug;
}

static void random_bytes(void *bytes, size_t length)
{
    char *at = bytes;

    while (length) {
        ssize_t got = getrandom(at, length, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort(); /* names and ids would collide without it */
        at += got;
        length -= (size_t)got;
    }
}

void bf_random_hex(char *ret_text, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[32];

    for (size_t i = 0; i < length; i++) {
        if (i % (2 * sizeof(bytes)) == 0)
            random_bytes(bytes, sizeof(bytes));
        ret_text[i] = digits[(bytes[i / 2 % sizeof(bytes)] >> (i % 2 * 4)) & 15];
    }
    ret_text[length] = '\0';
}

void bf_uuid_new(char ret_text[BF_UUID_LENGTH + 1])
{
    char hex[33];

    bf_random_hex(hex, 32);
    hex[12] = '4';
    hex[16] = "89ab"[(hex[16] <= '9' ? hex[16] - '0' : hex[16] - 'a' + 10) & 3];
    snprintf(ret_text, BF_UUID_LENGTH + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
             hex + 16, hex + 20);
}
