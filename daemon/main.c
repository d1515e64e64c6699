/* SPDX-License-Identifier: Apache-2.0 */
/* blockferryd: opens what it needs, serves the API, and ends without losing anything. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/log_journal.h"
#include "base/secret.h"
#include "base/text.h"
#include "daemon/api/api.h"
#include "daemon/config.h"
#include "daemon/loop.h"
#include "daemon/service.h"
#include "daemon/store/store.h"

enum { STOP_TIMEOUT_MS = 25 * 1000 };

struct program {
    struct bf_config config;
    struct bf_loop *loop;
    struct bf_store *store;
    struct bf_seal *seal;
    struct bf_service *service;
    struct bf_api *api;
};

/* The key: as told, else systemd's credential, else a file of our own beside the store. */
static int open_seal(struct program *program, struct bf_error *err)
{
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    bf_auto_free char *path = NULL;

    if (program->config.seal_key_path)
        return bf_seal_open(program->config.seal_key_path, 0, &program->seal, err);
    if (credentials) {
        struct stat st;

        path = bf_xasprintf("%s/seal-key", credentials);
        if (stat(path, &st) == 0)
            return bf_seal_open(path, 0, &program->seal, err);
        free(path);
    }
    path = bf_xasprintf("%s/seal.key", program->config.state_directory);
    return bf_seal_open(path, 1, &program->seal, err);
}

/* Whoever could write in the directories could put links or files of their own in the way of ours.
 */
static int check_directory(const char *option, const char *path, struct bf_error *err)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "%s", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s: %s belongs to another user (uid %u)", option,
                       path, st.st_uid);
    if (st.st_mode & S_IWOTH)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s: %s is writable by everybody (mode %04o)",
                       option, path, st.st_mode & 07777);
    return 0;
}

static int open_all(struct program *program, struct bf_error *err)
{
    const struct bf_config *config = &program->config;

    if (bf_directory_make(config->state_directory, 0700, err) != 0 ||
        bf_directory_make(config->run_directory, 0755, err) != 0 ||
        check_directory("state", config->state_directory, err) != 0 ||
        check_directory("run", config->run_directory, err) != 0 ||
        bf_loop_new(&program->loop, err) != 0 ||
        bf_store_open(config->state_directory, &program->store, err) != 0 ||
        open_seal(program, err) != 0)
        return -1;
    return bf_service_new(program->loop, program->store, program->seal, config, &program->service,
                          err);
}

static int serve(struct program *program, struct bf_error *err)
{
    int passed = sd_listen_fds(1);
    int fd = passed > 0 ? SD_LISTEN_FDS_START : -1;

    if (passed > 1)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%d sockets were passed, one is expected", passed);
    /* Who may connect is decided by the socket's file alone: on the network everybody could. */
    if (fd >= 0 && sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) <= 0)
        return bf_fail(
            err, BF_E_BAD_INPUT, 0,
            "what was passed is no listening UNIX socket (ListenStream= has to be a path)");
    if (bf_service_start(program->service, err) != 0 ||
        bf_api_start(program->loop, program->service, fd, program->config.socket_path,
                     program->config.socket_group, &program->api, err) != 0)
        return -1;
    bf_log_notice("blockferryd %s serves %s", BF_VERSION,
                  fd >= 0 ? "the socket it was given" : program->config.socket_path);
    sd_notify(0, "READY=1");
    return bf_loop_run(program->loop, err);
}

static void close_all(struct program *program, int exit_code)
{
    sd_notify(0, "STOPPING=1");
    bf_api_stop(program->api);
    if (program->service && !bf_service_stop(program->service, STOP_TIMEOUT_MS)) {
        /* As after a kill: the store holds what the next start needs. */
        fflush(NULL);
        _exit(exit_code);
    }
    bf_service_free(program->service);
    bf_seal_close(program->seal);
    bf_store_close(program->store);
    bf_loop_free(program->loop);
    bf_config_done(&program->config);
}

int main(int argc, char *argv[])
{
    struct program program = {0};
    enum bf_log_level level = BF_LOG_INFO;
    bf_auto_error err = BF_ERROR_INIT;
    int r;

    if (bf_config_parse(argc, argv, &program.config, &err) != 0 ||
        bf_log_level_parse(program.config.log_level, &level, &err) != 0) {
        fprintf(stderr, "blockferryd: %s\n", err.message);
        bf_config_done(&program.config);
        return bf_kind_exit_code(bf_error_kind(err.code));
    }
    if (program.config.help || program.config.version) {
        if (program.config.help)
            bf_config_help(stdout);
        else
            printf("blockferryd %s\n", BF_VERSION);
        bf_config_done(&program.config);
        return 0;
    }
    bf_log_use_journal();
    bf_log_open("blockferryd", level);
    r = open_all(&program, &err);
    if (r == 0)
        r = serve(&program, &err);
    if (r != 0)
        bf_log_error(BF_LOG_ERROR, &err, "blockferryd ends");
    r = r == 0 ? 0 : bf_kind_exit_code(bf_error_kind(err.code));
    close_all(&program, r);
    return r;
}
