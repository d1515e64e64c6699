/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/api/listen.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

static int address_of(const char *path, struct sockaddr_un *ret_address, struct bf_error *err)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret_address->sun_path))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "socket path %s is longer than %zu bytes", path,
                       sizeof(ret_address->sun_path) - 1);
    strcpy(ret_address->sun_path, path);
    return 0;
}

static int group_of(const char *name, gid_t *ret_gid, struct bf_error *err)
{
    char buffer[16384];
    struct group entry;
    struct group *found = NULL;
    int code = getgrnam_r(name, &entry, buffer, sizeof(buffer), &found);

    if (!found)
        return bf_fail(err, BF_E_BAD_INPUT, code, "socket group %s does not exist", name);
    *ret_gid = found->gr_gid;
    return 0;
}

/* What lies at the path may be the socket of a daemon that was killed.  Only a refused connection
 * proves that: any other answer, a full backlog (EAGAIN) too, means somebody is there. */
static int clear_stale(const struct sockaddr_un *address, struct bf_error *err)
{
    struct stat st;
    bf_auto_fd int fd = -1;

    if (lstat(address->sun_path, &st) < 0)
        return errno == ENOENT
                   ? 0
                   : bf_fail(err, BF_E_SYSTEM, errno, "socket path %s", address->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return bf_fail(err, BF_E_EXISTS, 0, "%s is in the way of the socket and is none",
                       address->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "socket");
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
        errno != ECONNREFUSED)
        return bf_fail(err, BF_E_EXISTS, 0, "another process answers on %s", address->sun_path);
    if (unlink(address->sun_path) < 0 && errno != ENOENT)
        return bf_fail(err, BF_E_SYSTEM, errno, "remove the stale socket %s", address->sun_path);
    return 0;
}

int bf_listen_unix(const char *path, const char *group, int *ret_fd, struct bf_error *err)
{
    struct sockaddr_un address;
    gid_t gid = (gid_t)-1;
    bf_auto_fd int fd = -1;

    if (address_of(path, &address, err) < 0)
        return -1;
    if (group && group_of(group, &gid, err) < 0)
        return -1;
    if (clear_stale(&address, err) < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "socket");
    /* A socket file gets the socket's own mode less the umask: closed to others from its birth. */
    if (fchmod(fd, 0600) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "mode of the socket");
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "bind to %s", path);
    if ((group && chown(path, (uid_t)-1, gid) < 0) || chmod(path, group ? 0660 : 0600) < 0 ||
        listen(fd, SOMAXCONN) < 0) {
        bf_fail(err, BF_E_SYSTEM, errno, "socket %s%s%s", path, group ? " for group " : "",
                group ? group : "");
        unlink(path);
        return -1;
    }
    *ret_fd = bf_steal_fd(fd);
    return 0;
}
