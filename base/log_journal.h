/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines with their fields in systemd's journal.
 *
 * Only a program that calls bf_log_use_journal() is linked with libsystemd, which brings five more
 * libraries: too much for a copy that is started for each disk.  The journal takes the lines of the
 * others from their standard error, by priority and without fields.
 */
#pragma once

#include "base/log.h"

#define BF_LOG_ENTRIES 14

/* One line of the log, before it is known where it goes. */
struct bf_log_line {
    enum bf_log_level level;
    const char *message;
    const char *names[BF_LOG_ENTRIES];
    const char *values[BF_LOG_ENTRIES];
    unsigned count;
};

/* Negative: not sent. */
typedef int bf_log_sender(const char *program, const struct bf_log_line *line);

/* Before bf_log_open(), in the main thread. */
void bf_log_use_journal(void);

/* For log_journal.c: log.c itself must not name what needs libsystemd. */
void bf_log_set_journal(bf_log_sender *sender);
