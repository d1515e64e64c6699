/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines to the journal or to standard error.
 *
 * A line is one write(), so that lines of several threads do not mix.  The
 * fields of a thread are in thread-local storage of fixed size: nothing has to
 * be freed when a thread ends.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log_journal.h"
#include "base/text.h"

#define FIELD_MAX 8

enum sink { SINK_PLAIN, SINK_PREFIX, SINK_JOURNAL };

struct field {
    char name[24];
    char value[128];
};

static _Thread_local struct field fields[FIELD_MAX];
static _Thread_local unsigned field_count;

static char program_name[64] = "blockferry";
static _Atomic int max_level_now = BF_LOG_INFO;
static _Atomic int sink_now = SINK_PLAIN;
static bf_log_sender *journal; /* set before there are threads */

/* systemd.exec(5): JOURNAL_STREAM is "device:inode" of the stream given to the service; a
 * redirected standard error has other numbers. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void bf_log_open(const char *program, enum bf_log_level max_level)
{
    snprintf(program_name, sizeof(program_name), "%s", program);
    max_level_now = (int)max_level;
    if (stderr_is_journal())
        sink_now = journal ? SINK_JOURNAL : SINK_PREFIX;
    else
        sink_now = getenv("INVOCATION_ID") ? SINK_PREFIX : SINK_PLAIN;
}

void bf_log_set_journal(bf_log_sender *sender)
{
    journal = sender;
}

static const char *level_text(enum bf_log_level level)
{
    switch (level) {
    case BF_LOG_ERROR:
        return "error";
    case BF_LOG_WARNING:
        return "warning";
    case BF_LOG_NOTICE:
        return "notice";
    case BF_LOG_INFO:
        return "info";
    case BF_LOG_DEBUG:
        return "debug";
    default:
        return NULL;
    }
}

int bf_log_level_parse(const char *text, enum bf_log_level *ret_level, struct bf_error *err)
{
    for (int level = BF_LOG_ERROR; level <= BF_LOG_DEBUG; level++) {
        if (bf_streq(level_text((enum bf_log_level)level), text)) {
            *ret_level = (enum bf_log_level)level;
            return 0;
        }
    }
    return bf_fail(err, BF_E_BAD_INPUT, 0,
                   "\"%.40s\" is not a log level (error, warning, notice, info, debug)",
                   text ? text : "");
}

static void remove_field(unsigned at)
{
    memmove(&fields[at], &fields[at + 1], (field_count - at - 1) * sizeof(fields[0]));
    field_count--;
}

/* As much of a value as fits, cut where a character begins. */
static void set_value(struct field *field, const char *value)
{
    size_t length = strnlen(value, sizeof(field->value) - 1);

    if (value[length])
        while (length && ((unsigned char)value[length] & 0xc0) == 0x80)
            length--;
    memcpy(field->value, value, length);
    field->value[length] = '\0';
}

void bf_log_field(const char *name, const char *value)
{
    unsigned at = 0;

    while (at < field_count && strcmp(fields[at].name, name) != 0)
        at++;
    if (!value) {
        if (at < field_count)
            remove_field(at);
        return;
    }
    if (at == FIELD_MAX || strlen(name) >= sizeof(fields[0].name))
        return; /* a line with a field less is better than none */
    if (at == field_count)
        strcpy(fields[field_count++].name, name);
    set_value(&fields[at], value);
}

static void add_entry(struct bf_log_line *line, const char *name, const char *value)
{
    if (!value || line->count == BF_LOG_ENTRIES)
        return;
    line->names[line->count] = name;
    line->values[line->count++] = value;
}

/* k=v with quotes where a reader or a program would lose the end of the value. */
static void add_pair(struct bf_buf *buf, const char *name, const char *value)
{
    bf_buf_addf(buf, " %s=", name);
    if (*value && !strpbrk(value, " \t\r\n\"\\=")) {
        bf_buf_add(buf, value, strlen(value));
        return;
    }
    bf_buf_add(buf, "\"", 1);
    for (; *value; value++) {
        if (*value == '\n')
            bf_buf_add(buf, "\\n", 2);
        else if (*value == '"' || *value == '\\')
            bf_buf_addf(buf, "\\%c", *value);
        else
            bf_buf_add(buf, value, 1);
    }
    bf_buf_add(buf, "\"", 1);
}

static void write_line(const struct bf_log_line *line, enum sink sink)
{
    bf_auto_buf buf = {0};
    size_t done = 0;

    if (sink == SINK_PREFIX)
        bf_buf_addf(&buf, "<%d>%s", (int)line->level, line->message);
    else
        bf_buf_addf(&buf, "%s: %s: %s", program_name, level_text(line->level), line->message);
    for (unsigned i = 0; i < line->count; i++)
        add_pair(&buf, line->names[i], line->values[i]);
    bf_text_clean(buf.text, false);
    bf_buf_add(&buf, "\n", 1);
    while (done < buf.length) {
        ssize_t wrote = write(STDERR_FILENO, buf.text + done, buf.length - done);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return; /* there is nowhere to complain */
        done += (size_t)wrote;
    }
}

static void put_line(struct bf_log_line *line)
{
    int saved = errno;
    enum sink sink = (enum sink)sink_now;

    for (unsigned i = 0; i < field_count; i++)
        add_entry(line, fields[i].name, fields[i].value);
    if (sink != SINK_JOURNAL || journal(program_name, line) < 0)
        write_line(line, sink == SINK_JOURNAL ? SINK_PREFIX : sink);
    errno = saved;
}

void bf_log(enum bf_log_level level, const char *format, ...)
{
    bf_auto_free char *message = NULL;
    struct bf_log_line line = {.level = level};
    va_list args;

    if ((int)level > max_level_now)
        return;
    va_start(args, format);
    message = bf_xvasprintf(format, args);
    va_end(args);
    bf_text_clean(message, false);
    line.message = message;
    put_line(&line);
}

void bf_log_error(enum bf_log_level level, const struct bf_error *error, const char *format, ...)
{
    bf_auto_free char *what = NULL;
    bf_auto_free char *message = NULL;
    struct bf_log_line line = {.level = level};
    va_list args;

    if ((int)level > max_level_now)
        return;
    va_start(args, format);
    what = bf_xvasprintf(format, args);
    va_end(args);
    message = bf_xasprintf("%s: %s", what, error->message ? error->message : "no error");
    bf_text_clean(message, false);
    line.message = message;
    add_entry(&line, "code", bf_error_id(error->code));
    add_entry(&line, "fix", bf_error_fix(error->code));
    add_entry(&line, "evidence", error->evidence);
    put_line(&line);
}
