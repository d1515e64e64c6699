/* SPDX-License-Identifier: Apache-2.0 */
/* What a program of a conversion is given, and what is left of it: shells in its place. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/child.h"
#include "tests/unit/tap.h"

static int run(const char *script, unsigned seconds, int cancel_fd, char **ret_output,
               struct bf_error *err)
{
    static const char *const env[] = {"GIVEN=yes", NULL};
    const char *argv[] = {"sh", "-c", script, NULL};
    struct bf_guest_child child = {.argv = argv,
                                   .env = env,
                                   .deadline = bf_deadline_in((uint64_t)seconds * 1000),
                                   .cancel_fd = cancel_fd};
    int status = -1;

    return bf_guest_child_run(&child, &status, ret_output, err) < 0 ? -1 : status;
}

static char *said(const char *script)
{
    bf_auto_error err = BF_ERROR_INIT;
    char *output = NULL;

    if (run(script, 20, -1, &output, &err) != 0)
        ok(false, "%s: %s", script, err.message ? err.message : "status");
    return output ? output : bf_xstrdup("");
}

/* Its output becomes a text, which a NUL of the guest's would end early. */
static void test_whole_output(void)
{
    bf_auto_free char *output = said("printf 'a\\0b'");

    is_string(output, "a b", "a NUL does not end the output");
}

/* Nothing of ours reaches it: no variable, no descriptor, no terminal to ask at. */
static void test_no_secrets(void)
{
    bf_auto_free char *variables = NULL;
    bf_auto_free char *descriptors = NULL;
    bf_auto_free char *input = NULL;
    int secret = open("/etc/passwd", O_RDONLY);

    setenv("BLOCKFERRY_PASSWORD", "hunter2", 1);
    ok(secret > 2, "a descriptor that is not close-on-exec");
    variables = said("env");
    ok(!strstr(variables, "hunter2") && strstr(variables, "GIVEN=yes"), "its own variables only");
    descriptors = said("cd /proc/self/fd && for n in *; do [ -e $n ] && echo $n; done; true");
    is_string(descriptors, "0\n1\n2\n", "its descriptors");
    input = said("cat; echo end");
    is_string(input, "end\n", "its input ends");
    close(secret);
}

static void test_limits(void)
{
    bf_auto_free char *limits = said("ulimit -v; ulimit -t");
    bf_auto_free char *refused =
        said("dd if=/dev/zero of=/dev/null bs=9G count=1 2>/dev/null || echo refused");
    unsigned long memory_kib = 0, seconds = 0;

    ok(sscanf(limits, "%lu %lu", &memory_kib, &seconds) == 2, "limits: %s", limits);
    ok(memory_kib == (unsigned long)8 << 20, "8 GiB of address space");
    ok(seconds > 20 && seconds <= 84, "processor time goes by the deadline: %lu s", seconds);
    is_string(refused, "refused\n", "more memory is refused");
}

static bool is_gone(const char *pid_text)
{
    pid_t pid = (pid_t)strtol(pid_text, NULL, 10);

    return pid > 1 && kill(pid, 0) < 0 && errno == ESRCH;
}

/* The error keeps the end of what it said, and no helper outlives it. */
static void test_deadline(void)
{
    static const char script[] =
        "sleep 100 & seq 20000; echo helper $!; echo last words >&2; while :; do :; done";
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *output = NULL;
    uint64_t began_ms = bf_now_ms();
    const char *helper;

    ok(run(script, 1, -1, &output, &err) < 0, "it does not end by itself");
    is_int(err.code, BF_E_DEADLINE, "its error");
    ok(bf_now_ms() - began_ms < 5000, "in time");
    ok(err.evidence && bf_ends_with(err.evidence, "last words") && !strstr(err.evidence, "\n1\n"),
       "the end of the output is the evidence");
    helper = err.evidence ? strstr(err.evidence, "helper ") : NULL;
    ok(helper && is_gone(helper + strlen("helper ")), "its helper is gone");
}

static void test_cancel(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *output = NULL;
    int fds[2];

    ok(pipe(fds) == 0 && write(fds[1], "x", 1) == 1, "cancelled");
    ok(run("sleep 100", 20, fds[0], &output, &err) < 0, "it ends");
    is_int(err.code, BF_E_CANCELLED, "its error");
    close(fds[0]);
    close(fds[1]);
}

/* It ends, and leaves a helper behind. */
static void test_helper_left(void)
{
    bf_auto_free char *pid = said("sleep 100 >/dev/null 2>&1 & echo $!");

    ok(is_gone(pid), "a helper of one that ended well is gone");
}

static void test_status(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *output = NULL;
    int status = run("echo no; exit 3", 20, -1, &output, &err);

    ok(status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 3, "its status");
    is_string(output, "no\n", "and what it said");
}

int main(void)
{
    test_whole_output();
    test_no_secrets();
    test_limits();
    test_deadline();
    test_cancel();
    test_helper_left();
    test_status();
    return done();
}
