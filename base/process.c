/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes: start, wait with a deadline, end, the kept tail. */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process_command.h"
#include "base/process_spawn.h"
#include "base/process_watch.h"
#include "base/text.h"

#define TAIL_MAX 8192
#define GRACE_MS 5000 /* between SIGTERM and SIGKILL */
#define KILL_MS 10000 /* for the kernel to end it: longer only in uninterruptible I/O */

struct bf_process {
    char *name; /* argv[0] without directories, for messages */
    pid_t pid;
    int pidfd;
    int stdin_fd;  /* -1: none */
    int stdout_fd; /* -1: none */
    int tail_fd;   /* non-blocking; -1: closed by all writers */
    char tail[TAIL_MAX + 1];
    size_t tail_length;

    pthread_mutex_t lock; /* of `reaped`: a signal must not go to a number in new hands */
    bool reaped;
    int status; /* wait status, once reaped */
};

/* --- descriptors --- */

static int make_pipe(int *ret_read, int *ret_write, struct bf_error *err)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot make a pipe");
    *ret_read = fds[0];
    *ret_write = fds[1];
    return 0;
}

/* A child that survives us must survive the end of its pipe's reader, too: its end is opened for
 * both directions, so that the pipe always has a reader (no SIGPIPE), and non-blocking, so that a
 * pipe nobody empties does not stop it; it loses output instead. */
static int widen(int *fd_io, struct bf_error *err)
{
    char path[32];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd_io);
    fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot open the pipe");
    close(*fd_io);
    *fd_io = fd;
    return 0;
}

/* The child's ends; closed by the caller after the fork. */
struct ends {
    int in, out, error;
};

static void close_ends_at(const struct ends *ends)
{
    bf_close_at(&ends->in);
    bf_close_at(&ends->out);
    bf_close_at(&ends->error);
}

static int make_ends(const struct bf_process_spec *spec, struct bf_process *process,
                     struct ends *ends, struct bf_error *err)
{
    if (spec->stdin_pipe) {
        if (make_pipe(&ends->in, &process->stdin_fd, err) < 0)
            return -1;
    } else {
        ends->in = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (ends->in < 0)
            return bf_fail(err, BF_E_SYSTEM, errno, "cannot open /dev/null");
    }
    if (make_pipe(&process->tail_fd, &ends->error, err) < 0)
        return -1;
    if (fcntl(process->tail_fd, F_SETFL, O_NONBLOCK) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot set up a pipe");
    if (spec->keep_alive && widen(&ends->error, err) < 0)
        return -1;
    if (spec->stdout_pipe)
        return make_pipe(&process->stdout_fd, &ends->out, err);
    ends->out = fcntl(ends->error, F_DUPFD_CLOEXEC, 3);
    if (ends->out < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot set up a pipe");
    return 0;
}

/* --- start --- */

static struct bf_process *process_new(const char *program)
{
    struct bf_process *process = bf_xcalloc(1, sizeof(*process));
    const char *slash = strrchr(program, '/');

    process->name = bf_xstrdup(slash ? slash + 1 : program);
    process->pid = process->pidfd = -1;
    process->stdin_fd = process->stdout_fd = process->tail_fd = -1;
    process->reaped = true; /* until there is one to reap */
    pthread_mutex_init(&process->lock, NULL);
    return process;
}

static int launch(struct bf_process *process, const struct bf_process_spec *spec,
                  struct bf_error *err)
{
    __attribute__((cleanup(close_ends_at))) struct ends ends = {-1, -1, -1};
    bf_cleanup(bf_command_done) struct command command = {0};
    struct spawn spawn = {
        .directory = spec->directory ? spec->directory : "/",
        .pass_fds = spec->pass_fds,
        .pass_fd_count = spec->pass_fd_count,
        .keep_alive = spec->keep_alive,
        .memory_limit_bytes = spec->memory_limit_bytes,
        .cpu_limit_seconds = spec->cpu_limit_seconds,
    };

    if (spec->pass_fd_count > BF_SPAWN_PASS_MAX)
        return bf_fail(err, BF_E_INTERNAL, 0, "%u descriptors to pass, at most %d can be",
                       spec->pass_fd_count, BF_SPAWN_PASS_MAX);
    if (bf_command_make(spec->argv, spec->env, &command, err) < 0 ||
        make_ends(spec, process, &ends, err) < 0)
        return -1;
    spawn.path = command.path;
    spawn.argv = command.argv;
    spawn.envp = command.envp;
    spawn.stdio[0] = ends.in;
    spawn.stdio[1] = ends.out;
    spawn.stdio[2] = ends.error;
    if (bf_spawn(&spawn, &process->pid, err) < 0)
        return -1;
    process->reaped = false;
    process->pidfd = bf_watch_end(process->pid);
    if (process->pidfd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot watch %s", process->name);
    return 0;
}

int bf_process_start(const struct bf_process_spec *spec, struct bf_process **ret_process,
                     struct bf_error *err)
{
    bf_auto_process *process = process_new(spec->argv[0]);

    if (launch(process, spec, err) < 0)
        return -1;
    *ret_process = bf_steal(process);
    return 0;
}

pid_t bf_process_pid(const struct bf_process *process)
{
    return process->pid;
}

int bf_process_pidfd(const struct bf_process *process)
{
    return process->pidfd;
}

int bf_process_stdin(const struct bf_process *process)
{
    return process->stdin_fd;
}

int bf_process_stdout(const struct bf_process *process)
{
    return process->stdout_fd;
}

int bf_process_stderr(const struct bf_process *process)
{
    return process->tail_fd;
}

void bf_process_close_stdin(struct bf_process *process)
{
    bf_close_at(&process->stdin_fd);
    process->stdin_fd = -1;
}

int bf_process_signal(struct bf_process *process, int signal)
{
    int result = -1;

    pthread_mutex_lock(&process->lock);
    if (process->reaped)
        errno = ESRCH;
    else
        result = kill(-process->pid, signal);
    pthread_mutex_unlock(&process->lock);
    return result;
}

/* --- the tail --- */

static void add_to_tail(struct bf_process *process, const char *text, size_t length)
{
    size_t drop;

    if (length > TAIL_MAX) {
        text += length - TAIL_MAX;
        length = TAIL_MAX;
    }
    drop = process->tail_length + length > TAIL_MAX ? process->tail_length + length - TAIL_MAX : 0;
    memmove(process->tail, process->tail + drop, process->tail_length - drop);
    process->tail_length -= drop;
    memcpy(process->tail + process->tail_length, text, length);
    process->tail_length += length;
}

/* One read; false: nothing more now. */
static bool drain_once(struct bf_process *process)
{
    char piece[4096];
    ssize_t got;

    if (process->tail_fd < 0)
        return false;
    do {
        got = read(process->tail_fd, piece, sizeof(piece));
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        for (ssize_t i = 0; i < got; i++)
            if (!piece[i])
                piece[i] = ' '; /* the tail is a text */
        add_to_tail(process, piece, (size_t)got);
        return true;
    }
    if (got == 0 || errno != EAGAIN) {
        close(process->tail_fd);
        process->tail_fd = -1;
    }
    return false;
}

/* Bounded, so that a child which writes without end cannot keep its caller here. */
void bf_process_drain(struct bf_process *process)
{
    for (unsigned i = 0; i < 64 && drain_once(process); i++)
        ;
}

const char *bf_process_tail(struct bf_process *process)
{
    bf_process_drain(process);
    process->tail[process->tail_length] = '\0';
    return process->tail;
}

/* --- the end --- */

enum event { EVENT_ENDED, EVENT_CANCEL, EVENT_DEADLINE, EVENT_OUTPUT, EVENT_FAILED };

/* The end of the child counts more than a cancel that came with it.  EVENT_OUTPUT: `out_fd` (-1:
 * none) can be read. */
static enum event next_event(struct bf_process *process, int out_fd, struct bf_deadline deadline,
                             int cancel_fd)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = process->pidfd, .events = POLLIN},
            {.fd = cancel_fd, .events = POLLIN},
            {.fd = out_fd, .events = POLLIN},
            {.fd = process->tail_fd, .events = POLLIN},
        };
        int ready = poll(fds, bf_array_length(fds), bf_deadline_left(deadline));

        if (ready < 0 && errno != EINTR)
            return EVENT_FAILED;
        if (ready < 0)
            continue;
        if (fds[3].revents)
            bf_process_drain(process);
        if (fds[0].revents)
            return EVENT_ENDED;
        if (fds[1].revents)
            return EVENT_CANCEL;
        if (bf_deadline_passed(deadline))
            return EVENT_DEADLINE;
        if (fds[2].revents)
            return EVENT_OUTPUT;
    }
}

/* Only after the pidfd said that it ended. */
static void reap(struct bf_process *process)
{
    pthread_mutex_lock(&process->lock);
    while (!process->reaped) {
        pid_t got = waitpid(process->pid, &process->status, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            process->status = 0xff00; /* somebody else reaped it: not known to be well */
        process->reaped = true;
    }
    pthread_mutex_unlock(&process->lock);
    bf_process_drain(process);
}

/* End it and its helpers.  false: it is still there, stuck in the kernel. */
static bool put_down(struct bf_process *process, uint64_t grace_ms)
{
    enum event event = EVENT_DEADLINE;

    if (process->reaped)
        return true;
    if (grace_ms) {
        bf_process_signal(process, SIGTERM);
        event = next_event(process, -1, bf_deadline_in(grace_ms), -1);
    }
    /* The number of the group is ours until its leader is reaped: helpers that took no notice of
     * SIGTERM go now. */
    bf_process_signal(process, SIGKILL);
    if (event != EVENT_ENDED)
        event = next_event(process, -1, bf_deadline_in(KILL_MS), -1);
    if (event != EVENT_ENDED)
        return false;
    reap(process);
    return true;
}

static int stop_for(struct bf_process *process, enum event event, struct bf_error *err)
{
    int sys = event == EVENT_FAILED ? errno : 0;
    bool ended = put_down(process, GRACE_MS);

    if (event == EVENT_CANCEL)
        bf_fail(err, BF_E_CANCELLED, 0, "%s was cancelled", process->name);
    else if (event == EVENT_DEADLINE)
        bf_fail(err, BF_E_DEADLINE, 0, "%s did not end in time", process->name);
    else
        bf_fail(err, BF_E_SYSTEM, sys, "cannot wait for %s", process->name);
    if (!ended)
        bf_fail_in(err, "process %d cannot be killed", (int)process->pid);
    bf_error_evidence(err, bf_process_tail(process));
    return -1;
}

int bf_process_wait(struct bf_process *process, struct bf_deadline deadline, int cancel_fd,
                    int *ret_status, struct bf_error *err)
{
    if (!process->reaped) {
        enum event event = next_event(process, -1, deadline, cancel_fd);

        if (event != EVENT_ENDED)
            return stop_for(process, event, err);
        reap(process);
    }
    if (ret_status)
        *ret_status = process->status;
    return 0;
}

static int judge(struct bf_process *process, struct bf_error *err)
{
    int status = process->status;

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFSIGNALED(status))
        bf_fail(err, BF_E_CHILD_FAILED, 0, "%s was ended by signal %d (%s)", process->name,
                WTERMSIG(status), sigabbrev_np(WTERMSIG(status)));
    else
        bf_fail(err, BF_E_CHILD_FAILED, 0, "%s exited with %d", process->name, WEXITSTATUS(status));
    bf_error_evidence(err, bf_process_tail(process));
    return -1;
}

int bf_process_finish(struct bf_process *process, struct bf_deadline deadline, int cancel_fd,
                      struct bf_error *err)
{
    if (bf_process_wait(process, deadline, cancel_fd, NULL, err) < 0)
        return -1;
    return judge(process, err);
}

void bf_process_free(struct bf_process *process)
{
    if (!process)
        return;
    if (!process->reaped && process->pidfd < 0) {
        /* It could not be watched. */
        kill(-process->pid, SIGKILL);
        while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        process->reaped = true;
    }
    put_down(process, 0);
    bf_close_at(&process->pidfd);
    bf_close_at(&process->stdin_fd);
    bf_close_at(&process->stdout_fd);
    bf_close_at(&process->tail_fd);
    pthread_mutex_destroy(&process->lock);
    free(process->name);
    free(process);
}

/* --- run to the end --- */

/* Read what is there.  1: more may come, 0: end of output, -1: error. */
static int read_output(struct bf_process *process, struct bf_buf *output, size_t max,
                       struct bf_error *err)
{
    char piece[16384];

    for (;;) {
        ssize_t got = read(process->stdout_fd, piece, sizeof(piece));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return 1;
        if (got < 0)
            return bf_fail(err, BF_E_SYSTEM, errno, "cannot read from %s", process->name);
        if (got == 0)
            return 0;
        if (output->length + (size_t)got > max)
            return bf_fail(err, BF_E_TOO_LARGE, 0, "%s wrote more than %zu bytes", process->name,
                           max);
        bf_buf_add(output, piece, (size_t)got);
    }
}

static int collect(struct bf_process *process, struct bf_deadline deadline, int cancel_fd,
                   size_t max, struct bf_buf *output, struct bf_error *err)
{
    int more = 1;

    if (fcntl(process->stdout_fd, F_SETFL, O_NONBLOCK) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot read from %s", process->name);
    for (;;) {
        enum event event = next_event(process, more ? process->stdout_fd : -1, deadline, cancel_fd);

        if (event != EVENT_ENDED && event != EVENT_OUTPUT)
            return stop_for(process, event, err);
        if (more)
            more = read_output(process, output, max, err);
        if (more < 0)
            return -1;
        if (event == EVENT_ENDED)
            return 0;
    }
}

int bf_process_run(const char *const *argv, const char *const *env, struct bf_deadline deadline,
                   int cancel_fd, size_t max_output, char **ret_output, struct bf_error *err)
{
    struct bf_process_spec spec = {.argv = argv, .env = env, .stdout_pipe = ret_output != NULL};
    bf_auto_process *process = NULL;
    bf_auto_buf output = {0};

    if (bf_process_start(&spec, &process, err) < 0)
        return -1;
    if (ret_output && collect(process, deadline, cancel_fd, max_output, &output, err) < 0)
        return -1;
    if (bf_process_finish(process, deadline, cancel_fd, err) < 0)
        return -1;
    if (ret_output) {
        bf_buf_add(&output, "", 0); /* an empty output is a text, too */
        *ret_output = bf_steal(output.text);
    }
    return 0;
}
