/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_journal.h"

#include <stdlib.h>
#include <string.h>

/* The place in this file that sends would be the same for all lines. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "base/text.h"

/* "job" becomes BLOCKFERRY_JOB: the journal takes only upper case, digits and '_'. */
static char *journal_entry(const char *name, const char *value)
{
    char *entry = bf_xasprintf("BLOCKFERRY_%s=%s", name, value);

    for (char *at = entry; *at != '='; at++) {
        if (*at >= 'a' && *at <= 'z')
            *at = (char)(*at - 'a' + 'A');
        else if (!(*at >= 'A' && *at <= 'Z') && !(*at >= '0' && *at <= '9'))
            *at = '_';
    }
    return entry;
}

static int send_line(const char *program, const struct bf_log_line *line)
{
    char *entries[BF_LOG_ENTRIES + 3];
    struct iovec parts[BF_LOG_ENTRIES + 3];
    unsigned count = 0;
    int result;

    entries[count++] = bf_xasprintf("MESSAGE=%s", line->message);
    entries[count++] = bf_xasprintf("PRIORITY=%d", (int)line->level);
    entries[count++] = bf_xasprintf("SYSLOG_IDENTIFIER=%s", program);
    for (unsigned i = 0; i < line->count; i++)
        entries[count++] = journal_entry(line->names[i], line->values[i]);
    for (unsigned i = 0; i < count; i++)
        parts[i] = (struct iovec){entries[i], strlen(entries[i])};
    result = sd_journal_sendv(parts, (int)count);
    for (unsigned i = 0; i < count; i++)
        free(entries[i]);
    return result;
}

void bf_log_use_journal(void)
{
    bf_log_set_journal(send_line);
}
