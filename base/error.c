/* SPDX-License-Identifier: Apache-2.0 */
/* Errors and the tables over the catalogue. */
#include "base/error.h"

#include <assert.h>
#include <ctype.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

/* A message may quote what a peer sent; it is one line of a log or a screen, so it is bounded. */
#define MESSAGE_MAX 2048
#define EVIDENCE_MAX 4096
#define ID_MAX 32

struct entry {
    const char *name; /* "DISK_CHANGED" */
    enum bf_kind kind;
    bool retry_safe;
    const char *cause;
    const char *fix;
};

static const struct entry entries[BF_E_MAX] = {
    [BF_OK] = {"OK", BF_KIND_NONE, true, "no error", "nothing"},
#define X(id, kind, retry, cause, fix) [BF_E_##id] = {#id, BF_KIND_##kind, retry, cause, fix},
    BF_ERROR_CATALOGUE(X)
#undef X
};

#define X(id, kind, retry, cause, fix)                                                             \
    _Static_assert(sizeof(#id) <= ID_MAX, "the id " #id " is too long");
BF_ERROR_CATALOGUE(X)
#undef X

struct kind_entry {
    const char *text;
    int http_status;
    int exit_code;
};

static const struct kind_entry kinds[BF_KIND_MAX] = {
    [BF_KIND_NONE] = {"none", 200, 0},
    [BF_KIND_TRANSIENT] = {"transient", 503, 9},
    [BF_KIND_INPUT] = {"input", 400, 2},
    [BF_KIND_AUTH] = {"auth", 403, 3},
    [BF_KIND_NOT_FOUND] = {"not-found", 404, 4},
    [BF_KIND_CONFLICT] = {"conflict", 409, 5},
    [BF_KIND_UNSUPPORTED] = {"unsupported", 501, 6},
    [BF_KIND_CAPACITY] = {"capacity", 507, 7},
    [BF_KIND_DATA] = {"data", 500, 8},
    [BF_KIND_CANCELLED] = {"cancelled", 409, 10},
    [BF_KIND_SYSTEM] = {"system", 500, 1},
};

static char ids[BF_E_MAX][ID_MAX];
static pthread_once_t ids_once = PTHREAD_ONCE_INIT;

static void make_ids(void)
{
    for (unsigned code = 0; code < BF_E_MAX; code++)
        for (size_t i = 0; entries[code].name[i]; i++) {
            char c = entries[code].name[i];

            ids[code][i] = c == '_' ? '-' : (char)tolower((unsigned char)c);
        }
}

static const struct entry *entry_of(enum bf_error_code code)
{
    return &entries[(unsigned)code < BF_E_MAX ? code : BF_E_INTERNAL];
}

static const struct kind_entry *kind_of(enum bf_kind kind)
{
    return &kinds[(unsigned)kind < BF_KIND_MAX ? kind : BF_KIND_SYSTEM];
}

/* Cut where a character begins, so that a long message stays UTF-8. */
static void mark_cut(char *text, size_t size)
{
    size_t at = size - sizeof("...");

    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    memcpy(text + at, "...", sizeof("..."));
}

__attribute__((format(printf, 1, 0))) static char *message_of(const char *format, va_list args,
                                                              const char *tail)
{
    char text[MESSAGE_MAX];
    int length = vsnprintf(text, sizeof(text), format, args);

    if (length < 0)
        strcpy(text, "(message could not be made)");
    else if (tail && (size_t)length < sizeof(text))
        length += snprintf(text + length, sizeof(text) - (size_t)length, ": %s", tail);
    if (length >= (int)sizeof(text))
        mark_cut(text, sizeof(text));
    bf_text_clean(text, false);
    return bf_xstrdup(text);
}

int bf_fail(struct bf_error *err, enum bf_error_code code, int sys, const char *format, ...)
{
    char unknown[32];
    const char *reason = NULL;
    va_list args;

    assert(err->code == BF_OK);
    assert(code > BF_OK && code < BF_E_MAX);
    if (sys) {
        reason = strerrordesc_np(sys);
        if (!reason) {
            snprintf(unknown, sizeof(unknown), "errno %d", sys);
            reason = unknown;
        }
    }
    va_start(args, format);
    err->message = message_of(format, args, reason);
    va_end(args);
    err->code = code;
    err->sys = sys;
    return -1;
}

int bf_fail_in(struct bf_error *err, const char *format, ...)
{
    va_list args;
    char *old = err->message;

    assert(err->code != BF_OK);
    va_start(args, format);
    err->message = message_of(format, args, old ? old : "");
    va_end(args);
    free(old);
    return -1;
}

void bf_error_evidence(struct bf_error *err, const char *text)
{
    size_t length = text ? strlen(text) : 0;
    char *copy;

    assert(err->code != BF_OK);
    if (length > EVIDENCE_MAX) {
        text += length - EVIDENCE_MAX;
        while (((unsigned char)*text & 0xc0) == 0x80)
            text++;
    }
    copy = bf_xstrdup(text ? text : "");
    bf_text_clean(copy, true);
    length = strlen(copy);
    while (length && strchr(" \t\n", copy[length - 1]))
        copy[--length] = '\0';
    if (!length) {
        free(copy);
        return;
    }
    free(err->evidence);
    err->evidence = copy;
}

void bf_error_recode(struct bf_error *err, enum bf_error_code code)
{
    assert(err->code != BF_OK);
    assert(code > BF_OK && code < BF_E_MAX);
    err->code = code;
}

bool bf_error_is_set(const struct bf_error *err)
{
    return err->code != BF_OK;
}

void bf_error_clear(struct bf_error *err)
{
    free(err->message);
    free(err->evidence);
    *err = BF_ERROR_INIT;
}

void bf_error_move(struct bf_error *to, struct bf_error *from)
{
    if (to == from)
        return;
    bf_error_clear(to);
    *to = *from;
    *from = BF_ERROR_INIT;
}

void bf_error_copy(struct bf_error *to, const struct bf_error *from)
{
    if (to == from)
        return;
    bf_error_clear(to);
    to->code = from->code;
    to->sys = from->sys;
    to->message = bf_xstrdup(from->message);
    to->evidence = bf_xstrdup(from->evidence);
}

const char *bf_error_id(enum bf_error_code code)
{
    pthread_once(&ids_once, make_ids);
    return ids[(unsigned)code < BF_E_MAX ? code : BF_E_INTERNAL];
}

enum bf_error_code bf_error_from_id(const char *id)
{
    for (unsigned code = 0; id && code < BF_E_MAX; code++)
        if (strcmp(bf_error_id((enum bf_error_code)code), id) == 0)
            return (enum bf_error_code)code;
    return BF_E_INTERNAL;
}

enum bf_kind bf_error_kind(enum bf_error_code code)
{
    return entry_of(code)->kind;
}

bool bf_error_retry_safe(enum bf_error_code code)
{
    return entry_of(code)->retry_safe;
}

const char *bf_error_cause(enum bf_error_code code)
{
    return entry_of(code)->cause;
}

const char *bf_error_fix(enum bf_error_code code)
{
    return entry_of(code)->fix;
}

const char *bf_kind_to_string(enum bf_kind kind)
{
    return kind_of(kind)->text;
}

int bf_kind_http_status(enum bf_kind kind)
{
    return kind_of(kind)->http_status;
}

int bf_kind_exit_code(enum bf_kind kind)
{
    return kind_of(kind)->exit_code;
}
