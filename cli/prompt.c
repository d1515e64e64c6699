/* SPDX-License-Identifier: Apache-2.0 */
/* Questions on the terminal. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"

#define LINE_MAX_BYTES 1024

static int terminal_open(struct bf_error *err)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        bf_fail(err, BF_E_BAD_INPUT, 0,
                "there is no terminal to ask on: give the secret by --password-file or "
                "--password-fd");
    return fd;
}

/* One line, without its end.  Read byte by byte: what follows is not ours. */
static int line_read(int fd, char *line, size_t max, struct bf_error *err)
{
    size_t length = 0;

    for (;;) {
        ssize_t got = read(fd, line + length, 1);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return bf_fail(err, BF_E_SYSTEM, errno, "the terminal");
        if (got == 0 || line[length] == '\n')
            break;
        if (++length == max)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "the line is longer than %zu bytes", max);
    }
    line[length] = '\0';
    return 0;
}

int bf_cli_prompt_secret(const char *prompt, char **ret_text, struct bf_error *err)
{
    bf_auto_fd int fd = terminal_open(err);
    struct termios before, quiet;
    char line[LINE_MAX_BYTES + 1];
    int code;

    if (fd < 0)
        return -1;
    if (tcgetattr(fd, &before) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "the terminal");
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
    quiet.c_lflag |= ECHONL | ICANON;
    if (tcsetattr(fd, TCSAFLUSH, &quiet) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "the terminal");
    dprintf(fd, "%s", prompt);
    code = line_read(fd, line, LINE_MAX_BYTES, err);
    tcsetattr(fd, TCSAFLUSH, &before);
    if (code == 0)
        *ret_text = bf_xstrdup(line);
    explicit_bzero(line, sizeof(line));
    return code;
}

int bf_cli_confirm(const struct bf_cli *cli, const char *question, const char *word,
                   struct bf_error *err)
{
    bf_auto_fd int fd = -1;
    char line[LINE_MAX_BYTES + 1];

    if (bf_cli_has(cli, "yes"))
        return 0;
    if (isatty(STDIN_FILENO))
        fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return bf_fail(err, BF_E_CONFIRM_NEEDED, 0, "%s", question);
    dprintf(fd, "%s\nType %s to go on: ", question, word);
    if (line_read(fd, line, LINE_MAX_BYTES, err) < 0)
        return -1;
    if (!bf_streq(line, word))
        return bf_fail(err, BF_E_CANCELLED, 0, "not confirmed; nothing was done");
    return 0;
}
