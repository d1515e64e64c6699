/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "tests/unit/tap.h"

#define SOON bf_deadline_in(60000)

/* Output of a shell script, which must go well. */
static char *output_of(const char *script, const char *const *env)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    bf_auto_error err = BF_ERROR_INIT;
    char *output = NULL;

    if (bf_process_run(argv, env, SOON, -1, 1 << 20, &output, &err) < 0) {
        diag("%s: %s", script, err.message);
        return bf_xstrdup("(failed)");
    }
    return output;
}

static void start(const struct bf_process_spec *spec, struct bf_process **ret_process)
{
    bf_auto_error err = BF_ERROR_INIT;

    if (bf_process_start(spec, ret_process, &err) < 0) {
        ok(false, "start: %s", err.message);
        exit(done());
    }
}

/* Ended, reaped or not. */
static bool is_gone(pid_t pid)
{
    bf_auto_free char *path = bf_xasprintf("/proc/%d/stat", (int)pid);
    bf_auto_free char *text = NULL;
    bf_auto_error err = BF_ERROR_INIT;
    const char *state;

    if (bf_file_read(path, 4096, &text, NULL, &err) < 0)
        return true;
    state = strrchr(text, ')');
    return !state || state[2] == 'Z' || state[2] == 'X';
}

static bool goes_soon(pid_t pid)
{
    struct bf_deadline deadline = SOON;

    while (!is_gone(pid) && !bf_deadline_passed(deadline))
        bf_sleep_ms(10);
    return is_gone(pid);
}

static void test_run(void)
{
    static const char *const env[] = {"A=1", "PATH=/usr/bin:/bin", NULL};
    static const char *const fails[] = {"sh", "-c", "echo out; echo why >&2; exit 3", NULL};
    static const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
    static const char *const missing[] = {"no-such-program", NULL};
    static const char *const missing_path[] = {"/no/such/program", NULL};
    static const char *const talks[] = {"sh", "-c", "yes", NULL};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *hello = output_of("echo hello; echo noise >&2", NULL);
    bf_auto_free char *nothing = output_of(":", NULL);
    bf_auto_free char *variables = NULL;
    bf_auto_free char *added = NULL;
    bf_auto_free char *none = NULL;

    is_string(hello, "hello\n", "standard output");
    is_string(nothing, "", "none is an empty text");
    setenv("BF_TEST_SECRET", "x", 1);
    setenv("TMPDIR", "/tmp", 1);
    setenv("PATH", "/usr/sbin:/usr/bin:/bin", 1);
    variables = output_of("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort", NULL);
    is_string(variables, "LC_ALL=C.UTF-8\nPATH=/usr/sbin:/usr/bin:/bin\nTMPDIR=/tmp\n",
              "the environment is clean");
    unsetenv("TMPDIR");
    added = output_of("echo \"$A $PATH $TMPDIR\"; pwd; tr '\\0' '\\n' </proc/$$/environ | "
                      "grep -c ^PATH=",
                      env);
    is_string(added, "1 /usr/bin:/bin \n/\n1\n", "additions win; the directory is /");

    is_int(bf_process_run(fails, NULL, SOON, -1, 0, NULL, &err), -1, "a failure");
    is_string(err.message, "sh exited with 3", "its status");
    is_string(err.evidence, "out\nwhy", "both outputs are the evidence");
    is_error(&err, BF_E_CHILD_FAILED, "its code");
    is_int(bf_process_run(fails, NULL, SOON, -1, 99, &none, &err), -1, "a failure, output taken");
    is_string(err.evidence, "why", "standard error is the evidence");
    bf_error_clear(&err);
    is_int(bf_process_run(killed, NULL, SOON, -1, 0, NULL, &err), -1, "killed");
    has_string(err.message, "signal 9 (KILL)", "by what");
    is_error(&err, BF_E_CHILD_FAILED, "its code");
    is_int(bf_process_run(missing, NULL, SOON, -1, 0, NULL, &err), -1, "not in PATH");
    has_string(err.message, "no-such-program", "names it");
    is_error(&err, BF_E_CHILD_MISSING, "its code");
    is_int(bf_process_run(missing_path, NULL, SOON, -1, 0, NULL, &err), -1, "no such path");
    is_error(&err, BF_E_CHILD_MISSING, "its code");
    is_int(bf_process_run(talks, NULL, SOON, -1, 100000, &none, &err), -1, "too much output");
    is_error(&err, BF_E_TOO_LARGE, "its code");
    ok(!none, "the output is untouched");
}

/* The child's directory is another one than ours. */
static void test_relative_path(void)
{
    static const char *const argv[] = {"./sh", "-c", "echo $0", NULL};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *output = NULL;

    is_int(chdir("/bin"), 0, "in /bin");
    is_int(bf_process_run(argv, NULL, SOON, -1, 100, &output, &err), 0, "a relative path");
    is_string(output, "./sh\n", "is found from our directory");
    is_int(chdir("/"), 0, "and back");
}

static void test_start_failures(void)
{
    static const char *const directory[] = {"/etc", NULL};
    static const char *const sh[] = {"sh", "-c", ":", NULL};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_process *process = NULL;
    struct bf_process_spec spec = {.argv = sh, .directory = "/no/such/directory"};

    is_int(bf_process_start(&spec, &process, &err), -1, "no such directory");
    has_string(err.message, "enter its directory", "says which step");
    is_error(&err, BF_E_SYSTEM, "its code");
    spec = (struct bf_process_spec){.argv = directory};
    is_int(bf_process_start(&spec, &process, &err), -1, "a directory is no program");
    is_error(&err, BF_E_SYSTEM, "its code");
    ok(!process, "the output is untouched");
}

/* Valgrind cannot go on after an execve() that fails. */
static bool under_valgrind(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *maps = NULL;

    return bf_file_read("/proc/self/maps", 1 << 20, &maps, NULL, &err) == 0 &&
           strstr(maps, "vgpreload");
}

static void test_failed_exec(void)
{
    char script[] = "/tmp/bf-test-process.XXXXXX";
    const char *argv[] = {script, NULL};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_process *process = NULL;
    struct bf_process_spec spec = {.argv = argv};
    bf_auto_fd int fd = -1;

    if (under_valgrind()) {
        diag("valgrind ends a child whose execve() fails: this case runs without it only");
        return;
    }
    fd = mkstemp(script);
    bf_fd_write_all(fd, "#!/no/such/interpreter\n", 23, &err);
    fchmod(fd, 0700);
    close(bf_steal_fd(fd));
    is_int(bf_process_start(&spec, &process, &err), -1, "no interpreter");
    has_string(err.message, "could not execute", "says which step");
    is_error(&err, BF_E_CHILD_MISSING, "its code");
    ok(!process, "the output is untouched");
    unlink(script);
}

static void test_isolation(void)
{
    bf_auto_fd int leak = fcntl(STDERR_FILENO, F_DUPFD, 50); /* without CLOEXEC, on purpose */
    bf_auto_free char *fds = output_of("ls /proc/$$/fd; :", NULL);
    bf_auto_free char *group = NULL;
    bf_auto_free char *signals = NULL;
    sigset_t set, old;

    ok(leak >= 50, "a descriptor is open here");
    is_string(fds, "0\n1\n2\n", "but not in the child");
    group = output_of("test \"$(cut -d' ' -f5 /proc/$$/stat)\" = $$ && echo leader", NULL);
    is_string(group, "leader\n", "it leads a group of its own");
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    /* glibc's posix_spawn() leaves its own signals 32 and 33 ignored in what it starts, and
     * nobody but glibc can change them back: they depend on who runs the tests. */
    signals = output_of("grep -E 'Sig(Blk|Ign):' /proc/self/status | tr -d '\\t ' |"
                        " sed -E 's/[18]([0-7]{7})$/0\\1/; s/1([0-9a-f]{8})$/0\\1/'",
                        NULL);
    is_string(signals, "SigBlk:0000000000000000\nSigIgn:0000000000000000\n",
              "no signal is blocked or ignored in it");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    signal(SIGPIPE, SIG_DFL);
}

/* Descriptors given in an order that needs all of them to be moved out of each other's way. */
static void test_pass_fds(void)
{
    static const char *const argv[] = {"sh", "-c",
                                       "cat <&3; cat <&4; cat <&5; ls /proc/$$/fd; :", NULL};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_process_spec spec = {.argv = argv, .stdout_pipe = true};
    bf_auto_process *process = NULL;
    bf_auto_free char *text = NULL;
    int fds[3], passed[3];

    for (int i = 0; i < 3; i++) {
        char path[] = "/tmp/bf-test-process.XXXXXX";

        fds[i] = mkostemp(path, O_CLOEXEC);
        unlink(path);
        bf_fd_write_all(fds[i], &"abc"[i], 1, &err);
        lseek(fds[i], 0, SEEK_SET);
    }
    passed[0] = fds[2];
    passed[1] = fds[0];
    passed[2] = fds[1];
    spec.pass_fds = passed;
    spec.pass_fd_count = 3;
    start(&spec, &process);
    bf_fd_read_all(bf_process_stdout(process), 1000, &text, NULL, &err);
    is_string(text, "cab0\n1\n2\n3\n4\n5\n", "each is in its place, and there are no others");
    is_int(bf_process_finish(process, SOON, -1, &err), 0, "ended well");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

static void test_pipes(void)
{
    static const char *const cat[] = {"cat", NULL};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_process_spec spec = {.argv = cat, .stdin_pipe = true, .stdout_pipe = true};
    bf_auto_process *process = NULL;
    bf_auto_free char *text = NULL;
    int status = -1;

    start(&spec, &process);
    is_int(bf_fd_write_all(bf_process_stdin(process), "hello", 5, &err), 0, "to its input");
    bf_process_close_stdin(process);
    is_int(bf_process_stdin(process), -1, "closed");
    is_int(bf_fd_read_all(bf_process_stdout(process), 100, &text, NULL, &err), 0, "its output");
    is_string(text, "hello", "comes back");
    is_int(bf_process_wait(process, SOON, -1, &status, &err), 0, "ended");
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "well");
    status = -1;
    is_int(bf_process_wait(process, SOON, -1, &status, &err), 0, "asked again");
    is_int(status, 0, "the same");
    is_int(bf_process_signal(process, SIGTERM), -1, "no signal goes to what was reaped");
    is_int(errno, ESRCH, "its errno");
}

/* More standard error than a pipe holds, while the caller reads standard output. */
static void test_tail(void)
{
    static const char *const argv[] = {
        "sh", "-c",
        "i=0; while [ $i -lt 3000 ]; do echo \"a line of noise, number $i\" >&2; i=$((i+1)); done;"
        "echo done; printf 'last\\0words' >&2; exit 1",
        NULL};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_process_spec spec = {.argv = argv, .stdout_pipe = true};
    bf_auto_process *process = NULL;
    bf_auto_free char *text = NULL;
    struct bf_deadline deadline = SOON;
    bool finished = false;

    start(&spec, &process);
    while (!finished && !bf_deadline_passed(deadline)) {
        struct pollfd fds[] = {{.fd = bf_process_stdout(process), .events = POLLIN},
                               {.fd = bf_process_stderr(process), .events = POLLIN}};

        poll(fds, 2, bf_deadline_left(deadline));
        bf_process_drain(process);
        finished = fds[0].revents != 0;
    }
    ok(finished, "draining lets it go on");
    bf_fd_read_all(bf_process_stdout(process), 100, &text, NULL, &err);
    is_string(text, "done\n", "its output");
    is_int(bf_process_finish(process, SOON, -1, &err), -1, "it failed");
    is_error(&err, BF_E_CHILD_FAILED, "its code");
    ok(bf_ends_with(bf_process_tail(process), "number 2999\nlast words"), "the end is kept");
    is_u64(strlen(bf_process_tail(process)), 8192, "8 KiB of it");
}

/* The same without the caller's help: waiting drains. */
static void test_wait_drains(void)
{
    static const char *const argv[] = {"sh", "-c", "seq 1 50000; seq 1 50000 >&2; exit 2", NULL};
    bf_auto_error err = BF_ERROR_INIT;

    is_int(bf_process_run(argv, NULL, SOON, -1, 0, NULL, &err), -1, "much output of both kinds");
    ok(bf_ends_with(err.evidence, "49999\n50000"), "its end is the evidence");
    is_error(&err, BF_E_CHILD_FAILED, "its code");
}

static void test_deadline(void)
{
    static const char *const argv[] = {"sh", "-c", "echo begun; sleep 1000 & echo $! ; wait", NULL};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_process_spec spec = {.argv = argv};
    bf_auto_process *process = NULL;
    uint64_t before;
    uint64_t helper = 0;
    const char *line;

    start(&spec, &process);
    while (!(line = strchr(bf_process_tail(process), '\n')) || !strchr(line + 1, '\n'))
        bf_sleep_ms(5);
    helper = strtoull(line + 1, NULL, 10);
    before = bf_now_ms();
    is_int(bf_process_wait(process, bf_deadline_in(20), -1, NULL, &err), -1, "not in time");
    has_string(err.evidence, "begun", "the tail is the evidence");
    is_error(&err, BF_E_DEADLINE, "its code");
    ok(bf_now_ms() - before < 4500, "SIGTERM was enough");
    ok(goes_soon((pid_t)helper), "its helper went along");
}

static void test_stubborn(void)
{
    static const char *const argv[] = {"sh", "-c",
                                       "trap '' TERM; echo begun; sleep 1000 & wait; wait", NULL};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_process_spec spec = {.argv = argv};
    bf_auto_process *process = NULL;
    uint64_t before;
    pid_t pid;

    start(&spec, &process);
    pid = bf_process_pid(process);
    while (!strstr(bf_process_tail(process), "begun"))
        bf_sleep_ms(5);
    before = bf_now_ms();
    is_int(bf_process_wait(process, bf_deadline_in(10), -1, NULL, &err), -1, "not in time");
    ok(bf_now_ms() - before >= 5000, "it had five seconds after SIGTERM");
    ok(is_gone(pid), "then it was killed");
    is_error(&err, BF_E_DEADLINE, "its code");
}

static void *signal_later(void *fd)
{
    uint64_t one = 1;
    ssize_t ignored;

    bf_sleep_ms(50);
    ignored = write(*(int *)fd, &one, sizeof(one));
    (void)ignored;
    return NULL;
}

static void test_cancel(void)
{
    static const char *const argv[] = {"sleep", "1000", NULL};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_fd int cancel = eventfd(0, EFD_CLOEXEC);
    bf_auto_free char *output = NULL;
    uint64_t before = bf_now_ms();
    pthread_t thread;

    pthread_create(&thread, NULL, signal_later, &cancel);
    is_int(bf_process_run(argv, NULL, SOON, cancel, 10, &output, &err), -1, "cancelled");
    is_error(&err, BF_E_CANCELLED, "its code");
    ok(bf_now_ms() - before < 4500, "at once");
    pthread_join(thread, NULL);
    is_int(bf_process_run(argv, NULL, SOON, cancel, 0, NULL, &err), -1, "it stays cancelled");
    is_error(&err, BF_E_CANCELLED, "its code");
}

static void test_free_kills(void)
{
    static const char *const argv[] = {"sleep", "1000", NULL};
    struct bf_process_spec spec = {.argv = argv};
    struct bf_process *process = NULL;
    pid_t pid;

    start(&spec, &process);
    pid = bf_process_pid(process);
    bf_process_free(process);
    ok(kill(pid, 0) < 0 && errno == ESRCH, "free kills and reaps");
    bf_process_free(NULL);
}

static void test_limits(void)
{
    static const char *const argv[] = {"sh", "-c", "ulimit -v; ulimit -t", NULL};
    struct bf_process_spec spec = {.argv = argv,
                                   .stdout_pipe = true,
                                   .memory_limit_bytes = UINT64_C(512) << 20,
                                   .cpu_limit_seconds = 77};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_process *process = NULL;
    bf_auto_free char *text = NULL;

    start(&spec, &process);
    bf_fd_read_all(bf_process_stdout(process), 100, &text, NULL, &err);
    is_string(text, "524288\n77\n", "memory and processor time are limited");
}

static void *start_many(void *unused)
{
    static const char *const argv[] = {"sh", "-c", "echo x", NULL};
    intptr_t good = 0;

    (void)unused;
    for (int i = 0; i < 10; i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_free char *output = NULL;

        good +=
            bf_process_run(argv, NULL, SOON, -1, 10, &output, &err) == 0 && bf_streq(output, "x\n");
    }
    return (void *)good; /* NOLINT(performance-no-int-to-ptr) */
}

static void test_threads(void)
{
    pthread_t threads[4];
    intptr_t good = 0;

    for (unsigned i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, start_many, NULL);
    for (unsigned i = 0; i < 4; i++) {
        void *result = NULL;

        pthread_join(threads[i], &result);
        good += (intptr_t)result;
    }
    is_int(good, 40, "forty children of four threads at once");
}

static void test_after_fork(void)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        char *text = output_of("echo x", NULL);
        bool good = bf_streq(text, "x\n");

        free(text);
        /* Not by _exit(): valgrind would blame it for what its parent's threads had in hand. */
        execl("/bin/sh", "sh", "-c", good ? "exit 0" : "exit 1", (char *)NULL);
        _exit(2);
    }
    waitpid(pid, &status, 0);
    is_int(status, 0, "a forked program starts children, too");
}

/* --- the death of the parent: this program again, with an argument --- */

static void *start_sleeper(void *user)
{
    /* Only the kept one talks: the other would be ended by its first word already. */
    static const char *const kept[] = {"sh", "-c", "while :; do echo noise; sleep 0.05; done",
                                       NULL};
    static const char *const bound[] = {"sleep", "1000", NULL};
    bool keep = *(bool *)user;
    struct bf_process_spec spec = {.argv = keep ? kept : bound, .keep_alive = keep};
    struct bf_process *process = NULL;

    start(&spec, &process);
    return process;
}

/* A child started by a thread that ends; then this process ends, too, without a word. */
static int be_parent(const char *kind)
{
    bool keep = bf_streq(kind, "keep");
    void *process = NULL;
    pthread_t thread;

    pthread_create(&thread, NULL, start_sleeper, &keep);
    pthread_join(thread, &process);
    bf_sleep_ms(100);
    if (is_gone(bf_process_pid(process)))
        return 1;
    printf("%d\n", (int)bf_process_pid(process));
    fflush(stdout);
    kill(getpid(), SIGKILL);
    return 1;
}

static pid_t orphan_of(const char *kind)
{
    const char *const argv[] = {"/proc/self/exe", "parent", kind, NULL};
    struct bf_process_spec spec = {.argv = argv, .stdout_pipe = true, .keep_alive = false};
    char self[4096] = "";
    const char *const real[] = {self, "parent", kind, NULL};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_process *process = NULL;
    bf_auto_free char *text = NULL;

    if (readlink("/proc/self/exe", self, sizeof(self) - 1) > 0)
        spec.argv = real;
    start(&spec, &process);
    bf_fd_read_all(bf_process_stdout(process), 100, &text, NULL, &err);
    bf_process_wait(process, SOON, -1, NULL, &err);
    return text ? (pid_t)strtol(text, NULL, 10) : 0;
}

static void test_death_of_parent(void)
{
    pid_t bound = orphan_of("bind");
    pid_t kept = orphan_of("keep");

    ok(bound > 0, "a child outlives the thread that started it");
    ok(bound > 0 && goes_soon(bound), "but not our end");
    ok(kept > 0, "a kept child");
    bf_sleep_ms(300);
    ok(kept > 0 && !is_gone(kept), "outlives our end, and writing into the void");
    if (kept > 0)
        kill(-kept, SIGKILL);
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return be_parent(argv[2]);
    test_run();
    test_relative_path();
    test_start_failures();
    test_failed_exec();
    test_isolation();
    test_pass_fds();
    test_pipes();
    test_tail();
    test_wait_drains();
    test_deadline();
    test_stubborn();
    test_cancel();
    test_free_kills();
    test_limits();
    test_threads();
    test_after_fork();
    test_death_of_parent();
    return done();
}
