/* SPDX-License-Identifier: Apache-2.0 */
/* Standard error is redirected to a file; what goes to the journal is caught at libsystemd's door.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/log_journal.h"
#include "base/text.h"
#include "tests/unit/tap.h"

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

static int log_fd = -1;
static int real_stderr = -1;

static void capture(void)
{
    fflush(stderr);
    if (ftruncate(log_fd, 0) < 0 || dup2(log_fd, STDERR_FILENO) < 0)
        abort();
}

/* What was logged since capture(); caller frees. */
static char *captured(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    char *text = NULL;

    dup2(real_stderr, STDERR_FILENO);
    lseek(log_fd, 0, SEEK_SET);
    if (bf_fd_read_all(log_fd, 1 << 20, &text, NULL, &err) < 0)
        abort();
    return text;
}

#define logged(want, name, ...)                                                                    \
    do {                                                                                           \
        capture();                                                                                 \
        __VA_ARGS__;                                                                               \
        bf_auto_free char *text_ = captured();                                                     \
        is_string(text_, want, name);                                                              \
    } while (0)

static void test_lines(void)
{
    bf_log_open("ferry", BF_LOG_INFO);
    logged("ferry: info: hello 1\n", "a line", bf_log_info("hello %d", 1));
    logged("", "debug is above the level", bf_log_debug("hello"));
    logged("ferry: warning: a b [0m?\n", "one line, whatever is in it",
           bf_log_warning("a\nb\x1b[0m\xff"));
    bf_log_field("job", "12");
    bf_log_field("disk", "a \"b\" \\");
    logged("ferry: notice: x job=12 disk=\"a \\\"b\\\" \\\\\"\n", "fields", bf_log_notice("x"));
    bf_log_field("job", "13");
    bf_log_field("disk", "");
    logged("ferry: notice: x job=13 disk=\"\"\n", "changed fields", bf_log_notice("x"));
    bf_log_field("job", NULL);
    bf_log_field("none", NULL);
    bf_log_field("disk", NULL);
    logged("ferry: notice: x\n", "removed fields", bf_log_notice("x"));
}

static void test_field_limits(void)
{
    bf_auto_buf value = {0};
    char name[3] = "f0";

    for (int i = 0; i < 100; i++)
        bf_buf_add(&value, "\xc3\xa9", 2);
    bf_log_field("long", value.text);
    capture();
    bf_log_notice("x");
    {
        bf_auto_free char *text = captured();

        ok(strlen(text) < 160 && !strchr(text, '?'), "a long value is cut between characters");
    }
    for (int i = 0; i < 10; i++) {
        name[1] = (char)('0' + i);
        bf_log_field(name, "v");
    }
    bf_log_field("long", NULL);
    logged("ferry: notice: x f0=v f1=v f2=v f3=v f4=v f5=v f6=v\n", "eight fields at most",
           bf_log_notice("x"));
    for (int i = 0; i < 10; i++) {
        name[1] = (char)('0' + i);
        bf_log_field(name, NULL);
    }
}

static void test_error(void)
{
    bf_auto_error err = BF_ERROR_INIT;

    bf_fail(&err, BF_E_DEADLINE, 0, "no answer");
    bf_error_evidence(&err, "line 1\nline 2");
    logged("ferry: error: round 3: no answer code=deadline fix=\"check load and network of the "
           "platform, then retry\" evidence=\"line 1\\nline 2\"\n",
           "an error with its fields", bf_log_error(BF_LOG_ERROR, &err, "round %d", 3));
}

static void test_prefix(void)
{
    struct stat st = {0};
    char stream[64];

    setenv("INVOCATION_ID", "x", 1);
    bf_log_open("ferry", BF_LOG_DEBUG);
    logged("<7>hello\n", "a priority for the service manager", bf_log_debug("hello"));
    unsetenv("INVOCATION_ID");
    setenv("JOURNAL_STREAM", "1:1", 1);
    bf_log_open("ferry", BF_LOG_INFO);
    logged("ferry: info: hello\n", "another stream than the journal's", bf_log_info("hello"));
    fstat(log_fd, &st);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino + 1);
    setenv("JOURNAL_STREAM", stream, 1);
    logged("ferry: info: hello\n", "another one of the same device",
           bf_log_open("ferry", BF_LOG_INFO);
           bf_log_info("hello"));
    unsetenv("JOURNAL_STREAM");
}

static struct bf_buf sent; /* fields of the last entry, a line each */
static int send_result;

/* In the place of libsystemd's, which cannot be listened to without being the journal. */
int sd_journal_sendv(const struct iovec *parts, int count)
{
    bf_buf_done(&sent);
    for (int i = 0; i < count; i++) {
        bf_buf_add(&sent, parts[i].iov_base, parts[i].iov_len);
        bf_buf_add(&sent, "\n", 1);
    }
    return send_result;
}

static void test_journal(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct stat st = {0};
    char stream[64];

    fstat(log_fd, &st);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    logged("<5>hello\n", "a program without libsystemd writes lines with their priority to it",
           bf_log_open("ferry", BF_LOG_INFO);
           bf_log_notice("hello"));
    bf_log_use_journal();
    bf_fail(&err, BF_E_BUSY, 0, "round 3 runs");
    bf_error_evidence(&err, "two\nlines");
    bf_log_field("job", "12");
    logged("", "where standard error is the journal, nothing is written to it",
           bf_log_open("ferry", BF_LOG_INFO);
           bf_log_error(BF_LOG_ERROR, &err, "no %s", "round"));
    is_string(sent.text,
              "MESSAGE=no round: round 3 runs\nPRIORITY=3\nSYSLOG_IDENTIFIER=ferry\n"
              "BLOCKFERRY_CODE=busy\nBLOCKFERRY_FIX=wait for it or cancel it\n"
              "BLOCKFERRY_EVIDENCE=two\nlines\nBLOCKFERRY_JOB=12\n",
              "but sent with fields");
    bf_log_field("job", NULL);
    send_result = -1;
    logged("<5>hello\n", "what the journal does not take is written",
           bf_log_open("ferry", BF_LOG_INFO);
           bf_log_notice("hello"));
    bf_buf_done(&sent);
    unsetenv("JOURNAL_STREAM");
    bf_log_open("ferry", BF_LOG_INFO);
}

static void test_levels(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    enum bf_log_level level = BF_LOG_INFO;

    is_int(bf_log_level_parse("debug", &level, &err), 0, "a level");
    is_int(level, BF_LOG_DEBUG, "debug");
    is_int(bf_log_level_parse("loud", &level, &err), -1, "no level");
    is_int(level, BF_LOG_DEBUG, "the output is untouched");
    is_error(&err, BF_E_BAD_INPUT, "bad input");
}

static void *log_much(void *name)
{
    bf_log_field("job", name);
    for (int i = 0; i < 200; i++)
        bf_log_info("%s", (const char *)name);
    return NULL;
}

static void test_threads(void)
{
    static char one[] = "one", two[] = "two";
    pthread_t threads[2];
    unsigned lines = 0, good = 0;

    capture();
    pthread_create(&threads[0], NULL, log_much, one);
    pthread_create(&threads[1], NULL, log_much, two);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    {
        bf_auto_free char *text = captured();
        char *rest = NULL;

        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            lines++;
            good += bf_streq(line, "ferry: info: one job=one") ||
                    bf_streq(line, "ferry: info: two job=two");
        }
    }
    is_int(lines, 400, "each line of two threads");
    is_int(good, 400, "is whole and has its thread's field");
}

int main(void)
{
    char path[] = "/tmp/bf-test-log.XXXXXX";

    unsetenv("INVOCATION_ID");
    unsetenv("JOURNAL_STREAM");
    log_fd = mkostemp(path, O_APPEND | O_CLOEXEC);
    real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    unlink(path);
    test_lines();
    test_field_limits();
    test_error();
    test_prefix();
    test_journal();
    test_levels();
    test_threads();
    return done();
}
