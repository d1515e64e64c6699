/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"

#define OUTPUT_KEEP 32768
#define LINE_MAX_LENGTH 4096
#define GROUP_END_MS 10000
#define LIMIT_ARGS 60
/* Address space of each process of the group.  The appliance's qemu needs its 1.25 GiB of memory,
 * up to 1 GiB of translated code and its libraries; 8 GiB stops only a runaway. */
#define MEMORY_LIMIT_BYTES ((uint64_t)8 << 30)

/* Processor seconds of each process for each second until the deadline: the appliance's qemu runs
 * its processors and its disks in threads. */
#define CPU_FACTOR 4

struct output {
    struct bf_buf kept; /* the last output */
    struct bf_buf line; /* an unfinished line */
};

static void give_line(const struct bf_guest_child *child, struct output *output)
{
    if (output->line.length > 0 && child->line)
        child->line(output->line.text, child->user);
    bf_buf_done(&output->line);
}

static void take(const struct bf_guest_child *child, struct output *output, const char *data,
                 size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (data[i] == '\n' || output->line.length >= LINE_MAX_LENGTH)
            give_line(child, output);
        /* A NUL would end the text early. */
        if (data[i] != '\n' && data[i] != '\0')
            bf_buf_add(&output->line, &data[i], 1);
    }
    bf_buf_add(&output->kept, data, length);
    for (char *at = output->kept.text + output->kept.length - length; length > 0; at++, length--)
        if (*at == '\0')
            *at = ' ';
    if (output->kept.length > (size_t)2 * OUTPUT_KEEP) {
        size_t drop = output->kept.length - OUTPUT_KEEP;

        memmove(output->kept.text, output->kept.text + drop, OUTPUT_KEEP + 1);
        output->kept.length = OUTPUT_KEEP;
    }
}

/* False at the end of the output. */
static bool drain(const struct bf_guest_child *child, struct output *output, int fd)
{
    for (;;) {
        char block[4096];
        ssize_t got = read(fd, block, sizeof(block));

        if (got > 0)
            take(child, output, block, (size_t)got);
        else if (got < 0 && errno == EINTR)
            continue;
        else
            return got < 0 && errno == EAGAIN;
    }
}

static int converse(const struct bf_guest_child *child, struct bf_process *process,
                    struct output *output, struct bf_error *err)
{
    struct pollfd fds[3] = {{.fd = bf_process_pidfd(process), .events = POLLIN},
                            {.fd = child->cancel_fd, .events = POLLIN},
                            {.fd = bf_process_stdout(process), .events = POLLIN}};

    while (!fds[0].revents) {
        if (poll(fds, 3, bf_deadline_left(child->deadline)) < 0) {
            if (errno != EINTR)
                return bf_fail(err, BF_E_SYSTEM, errno, "cannot wait for %s", child->argv[0]);
            fds[0].revents = 0;
            continue;
        }
        if (fds[2].revents && !drain(child, output, fds[2].fd))
            fds[2].fd = -1;
        if (fds[1].revents)
            return bf_fail(err, BF_E_CANCELLED, 0, "%s was cancelled", child->argv[0]);
        if (!fds[0].revents && bf_deadline_passed(child->deadline))
            return bf_fail(err, BF_E_DEADLINE, 0, "%s did not end in time", child->argv[0]);
    }
    if (fds[2].fd >= 0)
        drain(child, output, fds[2].fd);
    give_line(child, output);
    return 0;
}

/* Kill what is left of the group, whose leader is reaped, and wait until nothing is.  While a
 * member lives the kernel gives the group's number to no new process: a process of this number
 * means that the group is gone, and it is a stranger's. */
static int end_group(pid_t group, struct bf_error *err)
{
    bf_auto_free char *stranger = bf_xasprintf("/proc/%d", (int)group);
    struct bf_deadline end = bf_deadline_in(GROUP_END_MS);

    while (access(stranger, F_OK) < 0 && kill(-group, SIGKILL) == 0) {
        if (bf_deadline_passed(end))
            return bf_fail(err, BF_E_SYSTEM, 0,
                           "processes of the conversion (group %d) cannot be ended", (int)group);
        bf_sleep_ms(20);
    }
    return 0;
}

static int feed(const struct bf_guest_child *child, struct bf_process *process,
                struct bf_error *err)
{
    if (!child->input)
        return 0;
    if (bf_fd_write_all(bf_process_stdin(process), child->input, strlen(child->input), err) < 0)
        return -1;
    bf_process_close_stdin(process);
    return 0;
}

static int run(const struct bf_guest_child *child, struct bf_process *process,
               struct output *output, int *ret_status, struct bf_error *err)
{
    int fd = bf_process_stdout(process);

    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot read from %s", child->argv[0]);
    if (feed(child, process, err) < 0 || converse(child, process, output, err) < 0)
        return -1;
    return bf_process_wait(process, bf_deadline_in(GROUP_END_MS), -1, ret_status, err);
}

/* The deadline ends the program; this ends what would outlive it or spin beside it. */
static uint64_t cpu_limit(struct bf_deadline deadline)
{
    int left_ms = bf_deadline_left(deadline);

    return left_ms < 0 ? 0 : ((uint64_t)left_ms / 1000 + 1) * CPU_FACTOR;
}

int bf_guest_child_run(const struct bf_guest_child *child, int *ret_status, char **ret_output,
                       struct bf_error *err)
{
    /* One pipe for both outputs, in their order, drained while it runs. */
    const char *argv[LIMIT_ARGS + 8] = {"sh", "-c", "exec \"$@\" 2>&1", "sh"};
    struct bf_process_spec spec = {.argv = argv,
                                   .env = child->env,
                                   .stdin_pipe = child->input != NULL,
                                   .stdout_pipe = true,
                                   .memory_limit_bytes = MEMORY_LIMIT_BYTES,
                                   .cpu_limit_seconds = cpu_limit(child->deadline)};
    struct bf_process *process = NULL;
    struct output output = {0};
    int status = 0, result;
    pid_t group;

    for (size_t i = 0; child->argv[i]; i++) {
        if (i >= LIMIT_ARGS)
            return bf_fail(err, BF_E_TOO_LARGE, 0, "%s: too many arguments", child->argv[0]);
        argv[4 + i] = child->argv[i];
    }
    if (bf_process_start(&spec, &process, err) < 0)
        return -1;
    group = bf_process_pid(process);
    result = run(child, process, &output, &status, err);
    if (result < 0 && output.kept.text)
        bf_error_evidence(err, output.kept.text);
    bf_process_signal(process, SIGKILL);
    bf_process_free(process);
    {
        bf_auto_error left = BF_ERROR_INIT;

        if (end_group(group, &left) < 0 && result == 0) {
            bf_error_move(err, &left);
            result = -1;
        }
    }
    bf_buf_done(&output.line);
    if (result == 0) {
        *ret_status = status;
        *ret_output = output.kept.text ? bf_steal(output.kept.text) : bf_xstrdup("");
    }
    bf_buf_done(&output.kept);
    return result;
}
