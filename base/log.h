/* SPDX-License-Identifier: Apache-2.0 */
/* The log.  A function is either a logging or a non-logging one: libraries
 * return errors and log at debug only; whoever handles an error logs it once.
 *
 * Output: journald with fields when standard error is the journal (a program that called
 * bf_log_use_journal(), see log_journal.h), else lines on
 * standard error with a <n> priority prefix (when asked) and fields as k=v.
 * Threads: any.  Fields are set per thread (a job thread sets its own).
 */
#pragma once

#include "base/error.h"

enum bf_log_level {
    BF_LOG_ERROR = 3,
    BF_LOG_WARNING = 4,
    BF_LOG_NOTICE = 5,
    BF_LOG_INFO = 6,
    BF_LOG_DEBUG = 7
};

void bf_log_open(const char *program, enum bf_log_level max_level);
int bf_log_level_parse(const char *text, enum bf_log_level *ret_level, struct bf_error *err);

/* Fields of every line of this thread: job, replication, round, disk.  NULL value removes it. */
void bf_log_field(const char *name, const char *value);

void bf_log(enum bf_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Log an error with its code, evidence and fix as fields. */
void bf_log_error(enum bf_log_level level, const struct bf_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define bf_log_debug(...) bf_log(BF_LOG_DEBUG, __VA_ARGS__)
#define bf_log_info(...) bf_log(BF_LOG_INFO, __VA_ARGS__)
#define bf_log_notice(...) bf_log(BF_LOG_NOTICE, __VA_ARGS__)
#define bf_log_warning(...) bf_log(BF_LOG_WARNING, __VA_ARGS__)
