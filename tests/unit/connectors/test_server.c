/* SPDX-License-Identifier: Apache-2.0 */
/* Helper processes that serve a disk; this program plays them itself. */
#include <limits.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/server.h"
#include "tests/unit/connectors/skeleton.h"
#include "tests/unit/tap.h"

/* --- the helper: "serve" greets, "deaf" takes connections and says nothing --- */

static int play(const char *role, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (bf_streq(role, "end")) {
        fprintf(stderr, "no such image\n");
        return 3;
    }
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 5) < 0)
        return 4;
    for (;;) {
        int peer = accept(fd, NULL, NULL);

        if (bf_streq(role, "serve") && write(peer, "NBDMAGICIHAVEOPT", 16) != 16)
            return 5;
        if (bf_streq(role, "serve"))
            close(peer);
    }
}

static char self[PATH_MAX];
static struct bf_platform *platform;

static struct bf_server *start(const char *role, const char *path, uint64_t ms,
                               struct bf_error *err)
{
    const char *argv[] = {self, role, path, NULL};
    struct bf_server_spec spec = {
        .argv = argv, .socket_path = path, .export_name = "disk 1", .start_ms = ms};
    struct bf_server *server = NULL;

    return bf_server_start(platform, &spec, &server, err) < 0 ? NULL : server;
}

static void test_names(void)
{
    struct bf_error err = BF_ERROR_INIT;
    bf_auto_free char *path = NULL;
    bf_auto_free char *uri = bf_server_uri_of("/run/a b/c&d", "sda/1?x");
    bf_auto_free char *none = bf_server_uri_of("/s", NULL);
    char long_name[200];

    is_string(uri, "nbd+unix:///sda/1%3Fx?socket=/run/a%20b/c%26d", "a URI is escaped");
    is_string(none, "nbd+unix:///?socket=/s", "the default export");
    ok(bf_server_socket("/run", "nbd", 7, &path, &err) == 0 && bf_starts_with(path, "/run/nbd-") &&
           bf_ends_with(path, "-7"),
       "a socket's name: %s", path);
    memset(long_name, 'x', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    ok(bf_server_socket(long_name, "nbd", 7, &path, &err) < 0, "too long for a socket");
    is_error(&err, BF_E_BAD_INPUT, "is said");
}

static void test_life(const char *path)
{
    struct bf_error err = BF_ERROR_INIT;
    struct bf_server *server = start("serve", path, 5000, &err);

    if (!ok(server != NULL, "a server that greets: %s", err.message ? err.message : "ready"))
        return;
    ok(bf_server_runs(server), "it runs");
    has_string(bf_server_uri(server), "nbd+unix:///disk%201?socket=/", "its URI");
    ok(access(path, F_OK) == 0, "its socket is there");
    ok(bf_server_stop(server, 5000, &err) < 0 && bf_error_is_set(&err),
       "ended by the signal is no end in order: %s", err.message);
    bf_error_clear(&err);
    ok(access(path, F_OK) != 0, "its socket is gone");
    ok(bf_server_stop(NULL, 1, &err) == 0, "none is fine");
}

static void test_trouble(const char *path)
{
    struct bf_error err = BF_ERROR_INIT;

    ok(!start("end", path, 5000, &err), "one that ends");
    has_string(err.evidence, "no such image", "its last words are kept");
    is_error(&err, BF_E_CHILD_FAILED, "failed");
    ok(!start("deaf", path, 300, &err), "one that does not greet");
    is_error(&err, BF_E_DEADLINE, "has a deadline");
    ok(access(path, F_OK) != 0, "no socket is left");
    bf_platform_cancel(platform);
    ok(!start("deaf", path, 60000, &err), "one that is not waited for");
    is_error(&err, BF_E_CANCELLED, "cancelled");
}

int main(int argc, char **argv)
{
    struct bf_error err = BF_ERROR_INIT;
    char directory[] = "/tmp/bf-server-XXXXXX";
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (argc == 3)
        return play(argv[1], argv[2]);
    if (length < 0 || !mkdtemp(directory))
        return 2;
    const struct bf_platform_conf conf = {
        .name = "p", .type = "skeleton", .url = directory, .work_directory = directory};
    if (bf_platform_open_with(&skeleton_ops, &conf, &platform, &err) < 0)
        return 2;
    bf_auto_free char *path = bf_xasprintf("%s/socket", directory);
    test_names();
    test_life(path);
    test_trouble(path);
    bf_platform_close(platform);
    rmdir(directory);
    return done();
}
