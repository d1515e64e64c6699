/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "nbd/copy.h"

/* SIGTERM and SIGINT become readable on the descriptor. */
static int open_signals(struct bf_error *err, int *ret_fd)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, 0, "no signalfd");
    *ret_fd = fd;
    return 0;
}

static int run(struct bf_copy_options *options, struct bf_error *err)
{
    bf_auto_fd int signals = -1;

    if (!options->progress_given)
        options->progress = isatty(STDERR_FILENO) ? BF_PROGRESS_BAR : BF_PROGRESS_NONE;
    if (open_signals(err, &signals))
        return -1;
    /* A terminal is for the user; a pipe is for whoever steers us. */
    return bf_copy_run(options, signals, isatty(STDIN_FILENO) ? -1 : STDIN_FILENO, err);
}

int main(int argc, char *argv[])
{
    struct bf_copy_options options;
    bf_auto_error err = BF_ERROR_INIT;

    bf_log_open("blockferry-copy", BF_LOG_NOTICE);
    int rc = bf_copy_options_parse(argc, argv, &options, &err);
    if (!rc && options.help) {
        bf_copy_options_help(stdout);
        return 0;
    }
    if (!rc && options.version) {
        printf("blockferry-copy %s\n", BF_VERSION);
        return 0;
    }
    if (!rc && options.verbose)
        bf_log_open("blockferry-copy", BF_LOG_DEBUG);
    if (!rc)
        rc = run(&options, &err);
    if (!rc)
        return 0;
    bf_log_error(BF_LOG_ERROR, &err, "blockferry-copy");
    return bf_kind_exit_code(bf_error_kind(err.code));
}
