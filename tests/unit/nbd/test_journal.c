/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "tests/unit/tap.h"

#define LEAF ((uint64_t)65536)

static char directory[] = "/tmp/test-journal-XXXXXX";
static char path[100];
static const struct bf_journal_identity identity = {
    .source = "nbd://a", .target = "/t", .size = 100 * LEAF + 7, .map = "whole", .mode = ""};

static struct bf_journal *open_it(struct bf_journal_content *content)
{
    struct bf_journal *journal = NULL;
    bf_auto_error err = BF_ERROR_INIT;

    ok(bf_journal_open(path, &identity, &journal, content, &err) == 0 &&
           bf_journal_begin(journal, identity.target, &err) == 0,
       "open (%s)", err.message ? err.message : "ok");
    return journal;
}

static void commit(struct bf_journal *journal, uint64_t start, uint64_t end, bool complete)
{
    struct bf_range_set set = {0};
    bf_auto_error err = BF_ERROR_INIT;

    bf_range_set_add(&set, start, end);
    ok(bf_journal_commit(journal, &set, complete, &err) == 0, "commit");
    bf_range_set_done(&set);
}

static void refused(struct bf_journal_identity other, const char *what)
{
    struct bf_journal *journal = NULL;
    struct bf_journal_content content;
    bf_auto_error err = BF_ERROR_INIT;

    ok(bf_journal_open(path, &other, &journal, &content, &err) == -1, "another %s", what);
    has_string(err.message, what, "the message names the %s", what);
    is_error(&err, BF_E_JOURNAL, "is refused");
}

static void test_write(void)
{
    struct bf_journal_content content;
    struct bf_journal *second = NULL, *journal = open_it(&content);
    bf_auto_error err = BF_ERROR_INIT;

    is_u64(content.commits, 0, "new");
    commit(journal, 0, 4 * LEAF, false);
    commit(journal, 10 * LEAF, 100 * LEAF + 7, false);
    ok(bf_journal_open(path, &identity, &second, &content, &err) == -1, "opened twice");
    is_error(&err, BF_E_IN_USE, "is refused");
    bf_journal_close(journal);

    journal = open_it(&content);
    is_u64(content.commits, 2, "two commits are back");
    is_u64(bf_range_set_bytes(&content.done), 94 * LEAF + 7, "with all they hold");
    ok(!content.complete, "not complete");
    bf_range_set_done(&content.done);
    commit(journal, 4 * LEAF, 10 * LEAF, true);
    bf_journal_close(journal);
    journal = open_it(&content);
    ok(content.complete && content.commits == 3 && content.done.count == 1, "complete");
    bf_range_set_done(&content.done);
    bf_journal_close(journal);
}

static void test_identity(void)
{
    struct bf_journal_identity other = identity;

    other.source = "nbd://b";
    refused(other, "source");
    other = identity;
    other.target = "/u";
    refused(other, "target");
    other.target = NULL; /* not there */
    refused(other, "target");
    other = identity;
    other.size = 5;
    refused(other, "disk");
    other = identity;
    other.map = "0123";
    refused(other, "map");
    other = identity;
    other.mode = "x";
    refused(other, "mode");
}

/* The target is made after the journal was opened, and is known by what it is then. */
static void test_late_target(void)
{
    struct bf_journal_identity late = identity;
    struct bf_journal_content content;
    struct bf_journal *journal = NULL;
    bf_auto_error err = BF_ERROR_INIT;
    struct stat st;

    late.target = NULL;
    ok(bf_journal_open(path, &late, &journal, &content, &err) == 0, "open without a target");
    ok(stat(path, &st) == 0 && st.st_size == 0, "nothing is written yet");
    ok(bf_journal_begin(journal, "/t (inode 7)", &err) == 0, "begin with its name");
    commit(journal, 0, LEAF, false);
    bf_journal_close(journal);
    refused(identity, "target");
    late.target = "/t (inode 7)";
    ok(bf_journal_open(path, &late, &journal, &content, &err) == 0, "open with its name");
    is_u64(content.commits, 1, "goes on");
    bf_range_set_done(&content.done);
    ok(bf_journal_remove(journal, &err) == 0, "remove");
    bf_journal_close(journal);
}

/* The first version named files by their paths alone. */
static void test_first_format(void)
{
    static const char payload[] = "{\"journal\":1,\"source\":\"nbd://a\",\"target\":\"/t\","
                                  "\"size\":6553607,\"map\":\"whole\",\"mode\":\"\"}";
    struct bf_journal_content content;
    bf_auto_error err = BF_ERROR_INIT;
    uint64_t hash = XXH3_64bits_withSeed(payload, strlen(payload), 0);
    bf_auto_free char *text = bf_xasprintf("%016" PRIx64 " %s\n", hash, payload);

    ok(bf_journal_parse(text, strlen(text), &identity, &content, &err) == -1, "format 1");
    has_string(err.message, "format is 1, known is 2", "is known for what it is");
    is_error(&err, BF_E_JOURNAL, "and refused");
}

/* Cut at every byte, and with every byte flipped: what is read is a prefix of the commits. */
static void test_damage(void)
{
    bf_auto_free char *text = NULL;
    size_t length, refused_count = 0;
    bf_auto_error err = BF_ERROR_INIT;
    bool right = true;

    ok(bf_file_read(path, 65536, &text, &length, &err) == 0, "read");
    size_t header = (size_t)(strchr(text, '\n') + 1 - text);
    for (size_t i = 0; i < 2 * length; i++) {
        struct bf_journal_content content = {0};
        bool flip = i >= length;
        size_t at = flip ? i - length : i;
        if (flip)
            text[at] ^= 4;
        if (bf_journal_parse(text, flip ? length : at, &identity, &content, &err)) {
            refused_count++;
            right = right && err.code == BF_E_JOURNAL && at < header;
            bf_error_clear(&err);
        } else {
            static const uint64_t bytes[] = {0, 4 * LEAF, 94 * LEAF + 7, 100 * LEAF + 7};
            right = right && at >= header && content.commits < 3u &&
                    bf_range_set_bytes(&content.done) == bytes[content.commits] &&
                    content.valid_bytes <= (flip ? length : at);
        }
        bf_range_set_done(&content.done);
        if (flip)
            text[at] ^= 4;
    }
    ok(right, "cuts and flips lose commits, never invent one");
    is_u64(refused_count, 2 * header, "and a damaged first line is refused");
}

/* What a power cut may leave behind the last commit. */
static void test_torn(void)
{
    struct bf_journal_content content;
    char zeroes[4096] = {0};
    bf_auto_fd int fd = open(path, O_WRONLY | O_APPEND);

    ok(write(fd, zeroes, sizeof(zeroes)) == sizeof(zeroes), "a page of zeroes");
    struct bf_journal *journal = open_it(&content);
    is_u64(content.commits, 3, "is cut off");
    bf_range_set_done(&content.done);
    commit(journal, 0, LEAF, false);
    bf_journal_close(journal);
    journal = open_it(&content);
    is_u64(content.commits, 4, "and overwritten");
    bf_range_set_done(&content.done);
    bf_auto_error err = BF_ERROR_INIT;
    ok(bf_journal_remove(journal, &err) == 0 && access(path, F_OK) != 0, "remove");
    bf_journal_close(journal);

    fd = open(path, O_WRONLY | O_CREAT, 0600);
    ok(write(fd, "0123456789abcdef {\"jour", 23) == 23, "a torn first line");
    journal = open_it(&content);
    is_u64(content.commits, 0, "is started again");
    bf_journal_close(journal);
}

int main(void)
{
    bf_auto_error err = BF_ERROR_INIT;

    if (!mkdtemp(directory))
        return 1;
    snprintf(path, sizeof(path), "%s/journal", directory);
    test_write();
    test_identity();
    test_damage();
    test_torn();
    unlink(path);
    test_late_target();
    test_first_format();
    ok(bf_directory_remove(directory, &err) == 0, "clean up");
    return done();
}
