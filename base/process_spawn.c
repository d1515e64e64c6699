/* SPDX-License-Identifier: Apache-2.0 */
/* The spawner thread, and the child's way from fork to exec. */
#include "base/process_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define FIRST_PASSED 3
#define EXEC_MS 30000 /* a program on a dead network file system */

/* One request; on the stack of the caller, who waits until `forked`. */
struct request {
    const struct spawn *spawn;
    struct request *next;
    int report_fd; /* the child writes here why it could not exec */
    pid_t pid;     /* -1: fork failed, `sys` says why */
    int sys;
    bool forked;
};

/* All members under `lock`. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;   /* the queue is not empty */
    pthread_cond_t answer; /* some request is forked */
    struct request *queue;
    bool running;
} spawner = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .work = PTHREAD_COND_INITIALIZER,
    .answer = PTHREAD_COND_INITIALIZER,
};

#define EXEC_STEP "execute"

/* Why the child could not exec; one write to a pipe, so it comes whole. */
struct report {
    int sys;
    char step[24];
};

__attribute__((noreturn)) static void give_up(int report_fd, const char *step)
{
    struct report report = {.sys = errno};
    ssize_t ignored;

    for (unsigned i = 0; step[i] && i < sizeof(report.step) - 1; i++)
        report.step[i] = step[i];
    ignored = write(report_fd, &report, sizeof(report));
    (void)ignored;
    _exit(127);
}

/* Put the descriptors in their places and close all others.  A source may have the number of
 * another's place, so all are first moved above the places.  Returns the report pipe's number. */
static int place_fds(const struct spawn *spawn, int report_fd)
{
    int moved[FIRST_PASSED + BF_SPAWN_PASS_MAX];
    int count = FIRST_PASSED + (int)spawn->pass_fd_count;
    int report_place = count;

    report_fd = fcntl(report_fd, F_DUPFD_CLOEXEC, count + 1);
    if (report_fd < 0)
        _exit(127); /* seen as an end without report */
    for (int i = 0; i < count; i++) {
        int source = i < FIRST_PASSED ? spawn->stdio[i] : spawn->pass_fds[i - FIRST_PASSED];

        moved[i] = fcntl(source, F_DUPFD_CLOEXEC, count + 1);
        if (moved[i] < 0)
            give_up(report_fd, "take descriptors");
    }
    for (int i = 0; i < count; i++)
        if (dup2(moved[i], i) < 0)
            give_up(report_fd, "place descriptors");
    if (dup3(report_fd, report_place, O_CLOEXEC) < 0)
        give_up(report_fd, "place descriptors");
    if (close_range((unsigned)report_place + 1, ~0U, 0) < 0)
        give_up(report_place, "close descriptors");
    return report_place;
}

static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    /* An ignored signal stays ignored over exec, SIGPIPE above all. */
    for (int signal = 1; signal < NSIG; signal++)
        sigaction(signal, &action, NULL); /* fails for SIGKILL and the like: no matter */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void limit(int report_fd, int resource, uint64_t value)
{
    struct rlimit rlimit = {value, value};

    if (value && setrlimit((__rlimit_resource_t)resource, &rlimit) < 0)
        give_up(report_fd, "set a limit");
}

__attribute__((noreturn)) static void become(const struct spawn *spawn, int report_fd, pid_t parent)
{
    report_fd = place_fds(spawn, report_fd);
    if (setpgid(0, 0) < 0)
        give_up(report_fd, "make a process group");
    if (!spawn->keep_alive) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
            give_up(report_fd, "bind to its parent");
        if (getppid() != parent)
            _exit(127); /* it died before prctl() */
    }
    limit(report_fd, RLIMIT_AS, spawn->memory_limit_bytes);
    limit(report_fd, RLIMIT_CPU, spawn->cpu_limit_seconds);
    if (chdir(spawn->directory) < 0)
        give_up(report_fd, "enter its directory");
    reset_signals();
    execve(spawn->path, spawn->argv, spawn->envp);
    give_up(report_fd, EXEC_STEP);
}

static void fork_for(struct request *request, pid_t self)
{
    pid_t pid = fork();

    if (pid == 0)
        become(request->spawn, request->report_fd, self);
    request->sys = pid < 0 ? errno : 0;
    request->pid = pid;
}

static void *spawn_loop(void *unused)
{
    pid_t self = getpid();

    (void)unused;
    pthread_mutex_lock(&spawner.lock);
    for (;;) {
        struct request *request;

        while (!spawner.queue)
            pthread_cond_wait(&spawner.work, &spawner.lock);
        request = spawner.queue;
        spawner.queue = request->next;
        pthread_mutex_unlock(&spawner.lock);
        fork_for(request, self);
        pthread_mutex_lock(&spawner.lock);
        request->forked = true;
        pthread_cond_broadcast(&spawner.answer);
    }
    return NULL;
}

/* A program that forks itself (a daemon, a test) has no spawner thread in the child. */
static void forget_spawner(void)
{
    pthread_mutex_init(&spawner.lock, NULL);
    pthread_cond_init(&spawner.work, NULL);
    pthread_cond_init(&spawner.answer, NULL);
    spawner.queue = NULL;
    spawner.running = false;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_spawner);
}

/* All signals are blocked in the thread: no handler of the program runs in it or, before exec,
 * in a child. */
static int start_spawner(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sigset_t all, old;
    pthread_t thread;
    int sys;

    pthread_once(&once, watch_forks);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    sys = pthread_create(&thread, NULL, spawn_loop, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (sys == 0)
        pthread_detach(thread);
    return sys;
}

static void submit(struct request *request)
{
    struct request **at = &spawner.queue;

    pthread_mutex_lock(&spawner.lock);
    if (!spawner.running) {
        request->sys = start_spawner();
        if (request->sys) {
            request->pid = -1;
            pthread_mutex_unlock(&spawner.lock);
            return;
        }
        spawner.running = true;
    }
    while (*at)
        at = &(*at)->next;
    *at = request;
    pthread_cond_signal(&spawner.work);
    while (!request->forked)
        pthread_cond_wait(&spawner.answer, &spawner.lock);
    pthread_mutex_unlock(&spawner.lock);
}

/* 0: the pipe closed by exec; 1: a report; -1: neither in time. */
static int read_report(int fd, struct report *ret_report)
{
    struct bf_deadline deadline = bf_deadline_in(EXEC_MS);
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};

    for (;;) {
        int ready = poll(&pollfd, 1, bf_deadline_left(deadline));
        ssize_t got;

        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return -1;
        got = read(fd, ret_report, sizeof(*ret_report));
        if (got < 0 && errno == EINTR)
            continue;
        return got == (ssize_t)sizeof(*ret_report) ? 1 : got == 0 ? 0 : -1;
    }
}

static void reap(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int bf_spawn(const struct spawn *spawn, pid_t *ret_pid, struct bf_error *err)
{
    bf_auto_fd int report_in = -1;
    bf_auto_fd int report_out = -1;
    struct request request = {.spawn = spawn};
    struct report report = {0};
    bool missing;
    int fds[2], got;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot start %s", spawn->path);
    report_in = fds[0];
    report_out = fds[1];
    request.report_fd = report_out;
    submit(&request);
    if (request.pid < 0)
        return bf_fail(err, BF_E_SYSTEM, request.sys, "cannot start %s", spawn->path);
    close(report_out);
    report_out = -1;
    got = read_report(report_in, &report);
    if (got == 0) {
        *ret_pid = request.pid;
        return 0;
    }
    reap(request.pid);
    if (got < 0)
        return bf_fail(err, BF_E_DEADLINE, 0, "%s did not start in %d s", spawn->path,
                       EXEC_MS / 1000);
    /* The program was there a moment ago: ENOENT is its interpreter. */
    missing = report.sys == ENOENT && strcmp(report.step, EXEC_STEP) == 0;
    return bf_fail(err, missing ? BF_E_CHILD_MISSING : BF_E_SYSTEM, report.sys, "%s could not %s",
                   spawn->path, report.step);
}
