/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "nbd/die_point.h"
#include "nbd/digest.h"
#include "nbd/durable.h"

#define JOURNAL_MAX ((size_t)256 << 20)
#define FORMAT 2
#define HASH_DIGITS 16

struct bf_journal {
    char *path;
    int fd;
    struct json_object *header; /* the first line, to be written; NULL: it is */
    uint64_t chain;
    uint64_t commits;
};

static uint64_t hash_line(const char *payload, size_t length, uint64_t chain)
{
    return XXH3_64bits_withSeed(payload, length, chain);
}

static void add_line(struct bf_buf *buf, uint64_t *chain, const char *payload)
{
    *chain = hash_line(payload, strlen(payload), *chain);
    bf_buf_addf(buf, "%016" PRIx64 " %s\n", *chain, payload);
}

static struct json_object *header_of(const struct bf_journal_identity *identity)
{
    struct json_object *header = json_object_new_object();

    bf_json_add_u64(header, "journal", FORMAT);
    bf_json_add_string(header, "source", identity->source);
    bf_json_add_string(header, "target", identity->target);
    bf_json_add_u64(header, "size", identity->size);
    bf_json_add_string(header, "map", identity->map);
    bf_json_add_string(header, "mode", identity->mode);
    return header;
}

/* One line, without its newline. */
struct line {
    const char *payload;
    size_t length;
};

static bool parse_hex(const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < HASH_DIGITS; i++) {
        char c = text[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        value = value << 4 | digit;
    }
    *ret_value = value;
    return true;
}

/* Take the next line if it is whole and fits the chain; moves *at behind it. */
static bool next_line(const char *text, size_t length, size_t *at, uint64_t *chain,
                      struct line *ret_line)
{
    const char *start = text + *at;
    const char *newline = memchr(start, '\n', length - *at);
    uint64_t want;

    if (!newline || newline - start < HASH_DIGITS + 1 || start[HASH_DIGITS] != ' ' ||
        !parse_hex(start, &want))
        return false;
    struct line line = {.payload = start + HASH_DIGITS + 1};
    line.length = (size_t)(newline - line.payload);
    if (hash_line(line.payload, line.length, *chain) != want)
        return false;
    *chain = want;
    *at = (size_t)(newline + 1 - text);
    *ret_line = line;
    return true;
}

static int differs(const char *what, const char *has, const char *want, struct bf_error *err)
{
    if (strcmp(has, want) == 0)
        return 0;
    return bf_fail(err, BF_E_JOURNAL, 0, "it is of another copy: %s is \"%.300s\", not \"%.300s\"",
                   what, has, want);
}

static int check_header(const struct line *line, const struct bf_journal_identity *identity,
                        struct bf_error *err)
{
    bf_auto_json *header = NULL;
    bf_auto_error parse_error = BF_ERROR_INIT;
    const char *source, *target, *map, *mode;
    uint64_t format, size;

    if (bf_json_parse(line->payload, line->length, &header, &parse_error) ||
        bf_json_get_u64(header, "", "journal", &format, &parse_error) ||
        bf_json_get_string(header, "", "source", &source, &parse_error) ||
        bf_json_get_string(header, "", "target", &target, &parse_error) ||
        bf_json_get_u64(header, "", "size", &size, &parse_error) ||
        bf_json_get_string(header, "", "map", &map, &parse_error) ||
        bf_json_get_string(header, "", "mode", &mode, &parse_error))
        return bf_fail(err, BF_E_JOURNAL, 0, "its first line is damaged: %s", parse_error.message);
    if (format != FORMAT)
        return bf_fail(err, BF_E_JOURNAL, 0,
                       "it was written by another version of this program: its format is %" PRIu64
                       ", known is %d",
                       format, FORMAT);
    if (size != identity->size)
        return bf_fail(err, BF_E_JOURNAL, 0,
                       "it is of another copy: a disk of %" PRIu64 " bytes, not %" PRIu64, size,
                       identity->size);
    if (!identity->target)
        return bf_fail(err, BF_E_JOURNAL, 0,
                       "the target that it tells of, \"%.300s\", is not there any more", target);
    if (differs("the source", source, identity->source, err) ||
        differs("the target", target, identity->target, err) ||
        differs("the change map", map, identity->map, err) ||
        differs("the mode", mode, identity->mode, err))
        return -1;
    return 0;
}

/* "123" up to a blank or the end; moves *at behind it. */
static bool parse_number(const char **at, const char *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    const char *start = *at;

    for (; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
        unsigned digit = (unsigned)(**at - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return *at > start;
}

static bool parse_done(const struct line *line, uint64_t size, struct bf_range_set *pending)
{
    const char *at = line->payload + strlen("done "), *end = line->payload + line->length;
    uint64_t from, to;

    if (!parse_number(&at, end, &from) || at == end || *at++ != ' ' ||
        !parse_number(&at, end, &to) || at != end || from >= to || to > size)
        return false;
    if (from % BF_LEAF_BYTES || (to % BF_LEAF_BYTES && to != size))
        return false;
    bf_range_set_add(pending, from, to);
    return true;
}

static bool line_is(const struct line *line, const char *prefix)
{
    return line->length >= strlen(prefix) && memcmp(line->payload, prefix, strlen(prefix)) == 0;
}

int bf_journal_parse(const char *text, size_t length, const struct bf_journal_identity *identity,
                     struct bf_journal_content *ret_content, struct bf_error *err)
{
    struct bf_journal_content content = {0};
    struct bf_range_set pending = {0};
    bool complete = false;
    size_t at = 0;
    struct line line;

    if (!next_line(text, length, &at, &content.chain, &line))
        return bf_fail(err, BF_E_JOURNAL, 0, "its first line is damaged");
    if (check_header(&line, identity, err))
        return -1;
    content.valid_bytes = at;
    uint64_t chain = content.chain;
    while (next_line(text, length, &at, &chain, &line)) {
        if (line_is(&line, "commit ")) {
            bf_range_set_add_all(&content.done, &pending);
            bf_range_set_clear(&pending);
            content.complete = complete;
            content.commits++;
            content.valid_bytes = at;
            content.chain = chain;
        } else if (line_is(&line, "complete") && line.length == strlen("complete")) {
            complete = true;
        } else if (!line_is(&line, "done ") || !parse_done(&line, identity->size, &pending)) {
            break;
        }
    }
    bf_range_set_done(&pending);
    *ret_content = content;
    return 0;
}

static int io_failed(const struct bf_journal *journal, const char *doing, struct bf_error *err)
{
    return bf_fail(err, BF_E_SYSTEM, errno, "journal \"%s\": cannot %s", journal->path, doing);
}

static int append(struct bf_journal *journal, const struct bf_buf *lines, struct bf_error *err)
{
    bf_die_point("journal: before the write");
    if (bf_fd_write_all(journal->fd, lines->text, lines->length, err))
        return bf_fail_in(err, "journal \"%s\"", journal->path);
    bf_die_point("journal: before the sync");
    if (fdatasync(journal->fd))
        return io_failed(journal, "sync", err);
    bf_die_point("journal: after the sync");
    return 0;
}

int bf_journal_begin(struct bf_journal *journal, const char *target, struct bf_error *err)
{
    bf_auto_json *header = bf_steal(journal->header);
    bf_auto_buf buf = {0};

    if (!header)
        return 0;
    bf_json_add_string(header, "target", target);
    add_line(&buf, &journal->chain, bf_json_text(header));
    if (append(journal, &buf, err))
        return -1;
    return bf_sync_directory_of(journal->path) ? io_failed(journal, "sync the directory of", err)
                                               : 0;
}

/* Drop what was being written when the last run ended. */
static int cut_tail(struct bf_journal *journal, const struct bf_journal_content *content,
                    struct bf_error *err)
{
    if (ftruncate(journal->fd, (off_t)content->valid_bytes) ||
        lseek(journal->fd, (off_t)content->valid_bytes, SEEK_SET) < 0)
        return io_failed(journal, "cut", err);
    journal->chain = content->chain;
    journal->commits = content->commits;
    return 0;
}

/* Nothing is lost by starting again: it is empty, holds a torn first line, or a first line and no
 * commit.  But a file that is no journal at all is left alone. */
static bool is_unborn(const char *text, size_t length)
{
    static const char start[] = "0123456789abcdef {\"journal\":";
    const char *newline = memchr(text, '\n', length);
    size_t n = 0;

    if (newline && newline + 1 < text + length)
        return false;
    while (n < length && text[n] == '\0')
        n++;
    if (n == length)
        return true; /* also what a power cut leaves of a page that was not written */
    for (size_t i = 0; i < length && i < sizeof(start) - 1; i++)
        if (i < HASH_DIGITS ? !strchr("0123456789abcdef", text[i]) : text[i] != start[i])
            return false;
    return true;
}

static int open_journal(struct bf_journal *journal, const struct bf_journal_identity *identity,
                        struct bf_journal_content *content, struct bf_error *err)
{
    bf_auto_free char *text = NULL;
    size_t length;

    journal->fd = open(journal->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (journal->fd < 0)
        return io_failed(journal, "open", err);
    if (flock(journal->fd, LOCK_EX | LOCK_NB))
        return bf_fail(err, BF_E_IN_USE, 0, "another copy uses the journal \"%s\"", journal->path);
    if (bf_fd_read_all(journal->fd, JOURNAL_MAX, &text, &length, err))
        return bf_fail_in(err, "journal \"%s\"", journal->path);
    if (is_unborn(text, length)) {
        if (ftruncate(journal->fd, 0) || lseek(journal->fd, 0, SEEK_SET) < 0)
            return io_failed(journal, "cut", err);
        journal->header = header_of(identity);
        return 0;
    }
    if (bf_journal_parse(text, length, identity, content, err))
        return bf_fail_in(err, "journal \"%s\"", journal->path);
    return cut_tail(journal, content, err);
}

int bf_journal_open(const char *path, const struct bf_journal_identity *identity,
                    struct bf_journal **ret_journal, struct bf_journal_content *ret_content,
                    struct bf_error *err)
{
    struct bf_journal *journal = bf_xcalloc(1, sizeof(*journal));
    struct bf_journal_content content = {0};

    journal->fd = -1;
    journal->path = bf_xstrdup(path);
    if (open_journal(journal, identity, &content, err)) {
        bf_range_set_done(&content.done);
        bf_journal_close(journal);
        return -1;
    }
    *ret_journal = journal;
    *ret_content = content;
    return 0;
}

int bf_journal_commit(struct bf_journal *journal, const struct bf_range_set *done, bool complete,
                      struct bf_error *err)
{
    bf_auto_buf lines = {0};
    char payload[64];

    assert(!journal->header);
    for (size_t i = 0; i < done->count; i++) {
        snprintf(payload, sizeof(payload), "done %" PRIu64 " %" PRIu64, done->items[i].start,
                 done->items[i].end);
        add_line(&lines, &journal->chain, payload);
    }
    if (complete)
        add_line(&lines, &journal->chain, "complete");
    snprintf(payload, sizeof(payload), "commit %" PRIu64, ++journal->commits);
    add_line(&lines, &journal->chain, payload);
    return append(journal, &lines, err);
}

int bf_journal_remove(struct bf_journal *journal, struct bf_error *err)
{
    /* A journal that came back after a power cut would make the next copy seem done. */
    if ((unlink(journal->path) && errno != ENOENT) || bf_sync_directory_of(journal->path))
        return io_failed(journal, "remove", err);
    return 0;
}

void bf_journal_close(struct bf_journal *journal)
{
    if (!journal)
        return;
    if (journal->fd >= 0)
        close(journal->fd);
    json_object_put(journal->header);
    free(journal->path);
    free(journal);
}
