/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/serve.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "connectors/vmware/vddk-plugin/vddk.h"

#define PLUGIN "nbdkit-bfvddk-plugin.so"
#define START_MS 120000 /* connecting to a busy vCenter and opening the disk take their time */

struct bf_vmware_server {
    struct bf_vmware *vw;
    struct bf_process *process;
    char *socket_path;
    char *uri;
};

char *bf_vmware_vddk_missing(const struct bf_vmware_conf *conf)
{
    static const char *const versions[] = BF_VDDK_VERSIONS;

    if (!conf->library_directory)
        return bf_xstrdup("the option library_directory is not set");
    for (size_t i = 0; i < bf_array_length(versions); i++) {
        bf_auto_free char *path =
            bf_xasprintf("%s/lib64/libvixDiskLib.so.%s", conf->library_directory, versions[i]);

        if (access(path, R_OK) == 0)
            return NULL;
    }
    return bf_xasprintf("there is no libvixDiskLib.so.8, .7 or .6 in %s/lib64",
                        conf->library_directory);
}

/* An anonymous file in memory: a pipe would need somebody to write into it. */
static int secret_fd(const struct bf_secret *secret, int *ret_fd, struct bf_error *err)
{
    const char *text = bf_secret_text(secret);
    bf_auto_fd int fd = memfd_create("secret", MFD_CLOEXEC);

    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "memfd_create");
    if (bf_fd_write_all(fd, text, strlen(text), err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "lseek");
    *ret_fd = bf_steal_fd(fd);
    return 0;
}

/* One connection that reads the greeting.  1: it answers, 0: not yet. */
static int answers(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bf_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char greeting[8];

    strncpy(address.sun_path, socket_path, sizeof(address.sun_path) - 1);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return 0;
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    if (poll(&pfd, 1, 1000) != 1)
        return 0;
    return recv(fd, greeting, sizeof(greeting), MSG_WAITALL) == (ssize_t)sizeof(greeting) &&
           memcmp(greeting, "NBDMAGIC", sizeof(greeting)) == 0;
}

/* What the plugin said first is the reason; nbdkit only repeats that something failed. */
static int fail_start(struct bf_vmware_server *server, struct bf_error *err)
{
    const char *tail = bf_process_tail(server->process);
    bool refused = strstr(tail, "password") || strstr(tail, "login") || strstr(tail, "ertificate");

    bf_error_clear(err);
    bf_fail(err, refused ? BF_E_PLATFORM_AUTH : BF_E_CHILD_FAILED, 0,
            "nbdkit with VDDK could not open the disk");
    bf_error_evidence(err, tail);
    return -1;
}

static int wait_ready(struct bf_vmware_server *server, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(START_MS);

    while (!answers(server->socket_path)) {
        struct pollfd pfd = {.fd = bf_process_pidfd(server->process), .events = POLLIN};
        int status;

        bf_process_drain(server->process);
        if (poll(&pfd, 1, 0) == 1) {
            if (bf_process_wait(server->process, deadline, -1, &status, err) < 0)
                return -1;
            return fail_start(server, err);
        }
        if (bf_platform_pause(&server->vw->base, 20, deadline, err) < 0)
            return bf_fail_in(err, "nbdkit");
    }
    return 0;
}

static int start(struct bf_vmware_server *server, const struct bf_vmware_moment *moment,
                 const struct bf_vmware_ref_disk *disk, struct bf_error *err)
{
    const struct bf_vmware_conf *conf = &server->vw->conf;
    bf_auto_free char *plugin = NULL;
    bf_auto_fd int fd = -1;

    if (bf_vmware_thumbprint(server->vw, err) < 0 || bf_program_find(PLUGIN, &plugin, err) < 0 ||
        secret_fd(conf->password, &fd, err) < 0)
        return -1;
    bf_auto_free char *libdir = bf_xasprintf("libdir=%s", conf->library_directory);
    bf_auto_free char *host = bf_xasprintf("server=%s", conf->host);
    bf_auto_free char *port = bf_xasprintf("port=%llu", (unsigned long long)conf->port);
    bf_auto_free char *user = bf_xasprintf("user=%s", conf->user);
    bf_auto_free char *thumbprint = bf_xasprintf("thumbprint=%s", conf->thumbprint);
    bf_auto_free char *vm = bf_xasprintf("vm=moref=%s", moment->machine);
    bf_auto_free char *snapshot = bf_xasprintf("snapshot=%s", moment->snapshot);
    bf_auto_free char *file = bf_xasprintf("file=%s", disk->file);
    bf_auto_free char *transports = bf_xasprintf("transports=%s", conf->transports);
    bf_auto_free char *config =
        conf->library_config ? bf_xasprintf("config=%s", conf->library_config) : NULL;
    bf_auto_free char *path = bf_xasprintf("LD_LIBRARY_PATH=%s/lib64", conf->library_directory);
    const char *argv[] = {"nbdkit",     "--foreground",
                          "--readonly", "--exit-with-parent",
                          "--unix",     server->socket_path,
                          plugin,       libdir,
                          host,         port,
                          user,         "password=-3",
                          vm,           snapshot,
                          file,         transports,
                          thumbprint,   config,
                          NULL};
    const char *env[] = {path, NULL};
    struct bf_process_spec spec = {.argv = argv, .env = env, .pass_fds = &fd, .pass_fd_count = 1};

    if (bf_process_start(&spec, &server->process, err) < 0)
        return -1;
    return wait_ready(server, err);
}

int bf_vmware_serve(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                    const struct bf_vmware_ref_disk *disk, struct bf_vmware_server **ret_server,
                    struct bf_error *err)
{
    bf_auto_free char *path =
        bf_xasprintf("%s/vddk-%d-%u", vw->conf.work_directory, (int)gettid(), vw->serial++);

    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "the work directory's path is too long: %s", path);
    if (!disk->file)
        return bf_fail(err, BF_E_DISK_UNSUPPORTED, 0, "disk %s has no file", disk->key);
    if (bf_file_remove(path, err) < 0)
        return -1;
    struct bf_vmware_server *server = bf_xcalloc(1, sizeof(*server));
    server->vw = vw;
    server->socket_path = bf_steal(path);
    server->uri = bf_xasprintf("nbd+unix:///?socket=%s", server->socket_path);
    if (start(server, moment, disk, err) < 0) {
        bf_fail_in(err, "%s", disk->file);
        bf_vmware_server_stop(server);
        return -1;
    }
    *ret_server = server;
    return 0;
}

const char *bf_vmware_server_uri(const struct bf_vmware_server *server)
{
    return server->uri;
}

void bf_vmware_server_stop(struct bf_vmware_server *server)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    if (!server)
        return;
    if (server->process) {
        int status;

        /* In order: it closes the disk, so that no session of the library stays at the host. */
        (void)bf_process_signal(server->process, SIGTERM);
        (void)bf_process_wait(server->process, bf_deadline_in(10000), -1, &status, &ignored);
        bf_process_free(server->process);
    }
    bf_error_clear(&ignored);
    (void)bf_file_remove(server->socket_path, &ignored);
    free(server->socket_path);
    free(server->uri);
    free(server);
}
