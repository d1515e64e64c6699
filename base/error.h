/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: one struct, one catalogue.
 *
 * A function that can fail takes a `struct bf_error *err` as its last
 * parameter and returns 0 / -1 or a pointer / NULL.  The lowest layer that
 * knows the reason sets the error once, by bf_fail(); layers above only return
 * -1 or add what they were doing, by bf_fail_in().  "ret_" outputs are left
 * untouched on failure.  Nobody decides by `message`: decisions are made by
 * `code` (which error of the catalogue) and by the code's kind (which class).
 *
 * The catalogue (error_catalogue.h) holds for each code: kind, one line of
 * cause, the fix an admin can carry out, and whether a retry is safe.
 * docs/errors.md is made from it.
 *
 * Threads:   a bf_error belongs to one thread at a time; no shared state.
 * Ownership: the strings belong to the error; bf_error_done() frees them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error_catalogue.h"

/* What class of trouble it is.  HTTP status, exit code and retry policy are
 * tables over this. */
enum bf_kind {
    BF_KIND_NONE = 0,
    BF_KIND_TRANSIENT,   /* may go away by itself: network, busy, timeout */
    BF_KIND_INPUT,       /* the caller asked for something malformed */
    BF_KIND_AUTH,        /* credentials or privileges */
    BF_KIND_NOT_FOUND,   /* the named thing is not there */
    BF_KIND_CONFLICT,    /* the state forbids it now */
    BF_KIND_UNSUPPORTED, /* the platform or the build cannot do it */
    BF_KIND_CAPACITY,    /* space, quota */
    BF_KIND_DATA,        /* bytes are not what they should be */
    BF_KIND_CANCELLED,
    BF_KIND_SYSTEM, /* everything else: I/O, memory, a bug */
    BF_KIND_MAX,
};

enum bf_error_code {
    BF_OK = 0,
#define X(id, kind, retry, cause, fix) BF_E_##id,
    BF_ERROR_CATALOGUE(X)
#undef X
        BF_E_MAX,
};

struct bf_error {
    enum bf_error_code code; /* BF_OK: no error */
    int sys;                 /* errno, 0: none */
    char *message;           /* what happened, with names and numbers; one line */
    char *evidence;          /* NULL or the words of the platform or of a child (may be lines) */
};

#define BF_ERROR_INIT ((struct bf_error){.code = BF_OK})

/* Set *err (which must be clear) and return -1.  `sys` 0 or an errno, whose text
 * is appended.  The message is one line without a final dot. */
int bf_fail(struct bf_error *err, enum bf_error_code code, int sys, const char *format, ...)
    __attribute__((format(printf, 4, 5), nonnull(1, 4)));

/* Prefix the message of a set error: "CONTEXT: message".  Returns -1. */
int bf_fail_in(struct bf_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3), nonnull(1, 2)));

/* Attach evidence (copied; control characters replaced, kept to 4 KiB from the end). */
void bf_error_evidence(struct bf_error *err, const char *text) __attribute__((nonnull(1)));

/* Change the code of a set error, where an upper layer knows better what it means. */
void bf_error_recode(struct bf_error *err, enum bf_error_code code) __attribute__((nonnull));

bool bf_error_is_set(const struct bf_error *err) __attribute__((nonnull));
void bf_error_clear(struct bf_error *err) __attribute__((nonnull)); /* free content, back to INIT */
void bf_error_move(struct bf_error *to, struct bf_error *from) __attribute__((nonnull));
void bf_error_copy(struct bf_error *to, const struct bf_error *from) __attribute__((nonnull));

/* The catalogue.  The text id is "disk-changed" for BF_E_DISK_CHANGED. */
const char *bf_error_id(enum bf_error_code code);
enum bf_error_code bf_error_from_id(const char *id); /* BF_E_INTERNAL if unknown */
enum bf_kind bf_error_kind(enum bf_error_code code);
bool bf_error_retry_safe(enum bf_error_code code);
const char *bf_error_cause(enum bf_error_code code);
const char *bf_error_fix(enum bf_error_code code);
const char *bf_kind_to_string(enum bf_kind kind);
int bf_kind_http_status(enum bf_kind kind);
int bf_kind_exit_code(enum bf_kind kind); /* of our programs; documented in the man pages */

#define bf_auto_error __attribute__((cleanup(bf_error_clear))) struct bf_error
