/* SPDX-License-Identifier: Apache-2.0 */
/* blockferry: the command line. */
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"

/* Names are UTF-8 whatever the locale says; without this they would be shown as escapes. */
static void locale_open(struct bf_cli *cli)
{
    setlocale(LC_ALL, "");
    cli->utf8 = bf_streq(nl_langinfo(CODESET), "UTF-8");
    if (!cli->utf8)
        setlocale(LC_CTYPE, "C.UTF-8");
}

static void terminal_look(struct bf_cli *cli)
{
    struct winsize size = {0};
    const char *type = getenv("TERM");

    cli->terminal = isatty(STDOUT_FILENO) && type && !bf_streq(type, "dumb");
    cli->width = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static int run(struct bf_cli *cli, int argc, char **argv, struct bf_error *err)
{
    if (bf_cli_parse(cli, argc, argv, err) < 0)
        return -1;
    if (bf_cli_has(cli, "version")) {
        puts("blockferry " BF_VERSION);
        return 0;
    }
    if (!cli->command) {
        bf_cli_help(cli, cli->help, cli->help_group);
        return 0;
    }
    return cli->command->run(cli, err);
}

/* What could not be taken apart may have asked for JSON all the same. */
static bool wants_json(const struct bf_cli *cli, int argc, char **argv)
{
    for (int i = 1; i < argc && !bf_streq(argv[i], "--"); i++)
        if (bf_streq(argv[i], "--json"))
            return true;
    return cli->json;
}

int main(int argc, char **argv)
{
    const char *socket_path = getenv("BLOCKFERRY_SOCKET");
    struct bf_cli cli = {.socket_path =
                             socket_path && *socket_path ? socket_path : BF_RUN_DIR "/api.sock"};
    bf_auto_error err = BF_ERROR_INIT;
    int code = 0;

    signal(SIGPIPE, SIG_IGN);
    bf_log_open("blockferry", BF_LOG_WARNING);
    locale_open(&cli);
    terminal_look(&cli);
    if (argc > 1 && bf_streq(argv[1], "--complete")) {
        bf_cli_complete(&cli, argc - 2, argv + 2);
    } else if (run(&cli, argc, argv, &err) < 0) {
        bf_cli_print_error(&err, wants_json(&cli, argc, argv));
        code = bf_kind_exit_code(bf_error_kind(err.code));
    }
    bf_http_free(cli.http);
    free(cli.given);
    if (fflush(stdout) != 0 && code == 0)
        code = bf_kind_exit_code(BF_KIND_SYSTEM);
    return code;
}
