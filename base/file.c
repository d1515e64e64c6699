/* SPDX-License-Identifier: Apache-2.0 */
/* Small files, directories, helper programs. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#define DEPTH_MAX 64 /* levels of a directory that is removed; a descriptor each */

int bf_fd_read_all(int fd, size_t max, char **ret_text, size_t *ret_length, struct bf_error *err)
{
    bf_auto_free char *text = NULL;
    size_t length = 0, capacity = 0;

    for (;;) {
        ssize_t got;

        if (length + 1 >= capacity) {
            size_t more = capacity ? capacity * 2 : 4096;
            char *grown = realloc(text, more);

            if (!grown)
                return bf_fail(err, BF_E_NO_MEMORY, 0, "cannot hold %zu bytes", more);
            text = grown;
            capacity = more;
        }
        got = read(fd, text + length, capacity - length - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return bf_fail(err, BF_E_SYSTEM, errno, "cannot read");
        if (got == 0)
            break;
        length += (size_t)got;
        if (length > max)
            return bf_fail(err, BF_E_TOO_LARGE, 0, "more than %zu bytes", max);
    }
    text[length] = '\0';
    *ret_text = bf_steal(text);
    if (ret_length)
        *ret_length = length;
    return 0;
}

int bf_file_read(const char *path, size_t max, char **ret_text, size_t *ret_length,
                 struct bf_error *err)
{
    bf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot open %s", path);
    if (bf_fd_read_all(fd, max, ret_text, ret_length, err) < 0)
        return bf_fail_in(err, "%s", path);
    return 0;
}

/* write() without the SIGPIPE that a vanished reader would send to the whole process: the signal
 * is blocked for this thread and, if it came from this write, taken away. */
static ssize_t write_quietly(int fd, const void *data, size_t length)
{
    static const struct timespec at_once = {0, 0};
    sigset_t pipe_set, old_set, pending;
    int saved;
    bool was_pending;
    ssize_t done;

    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_set, &old_set);
    done = write(fd, data, length);
    saved = errno;
    if (done < 0 && saved == EPIPE && !was_pending)
        while (sigtimedwait(&pipe_set, NULL, &at_once) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &old_set, NULL);
    errno = saved;
    return done;
}

int bf_fd_write_all(int fd, const void *data, size_t length, struct bf_error *err)
{
    const char *at = data;

    while (length) {
        ssize_t done = write_quietly(fd, at, length);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return bf_fail(err, BF_E_SYSTEM, errno, "cannot write");
        at += done;
        length -= (size_t)done;
    }
    return 0;
}

/* Open the directory that holds `path`; ret_name is the last part, inside `path`. */
static int open_parent(const char *path, const char **ret_name, struct bf_error *err)
{
    const char *slash = strrchr(path, '/');
    bf_auto_free char *parent =
        slash ? bf_xasprintf("%.*s", (int)(slash == path ? 1 : slash - path), path)
              : bf_xstrdup(".");
    const char *name = slash ? slash + 1 : path;
    int fd;

    if (!*name || bf_streq(name, ".") || bf_streq(name, ".."))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%s\" is not the name of a file", path);
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot open directory %s", parent);
    *ret_name = name;
    return fd;
}

static int write_new(int dir, const char *name, const void *data, size_t length, mode_t mode,
                     struct bf_error *err)
{
    bf_auto_fd int fd =
        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot create %s", name);
    if (bf_fd_write_all(fd, data, length, err) < 0)
        return -1;
    if (fchmod(fd, mode) < 0) /* not left to the umask */
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot set the mode");
    if (fsync(fd) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot flush");
    return 0;
}

/* rename_flags: 0 or RENAME_NOREPLACE. */
static int place(const char *path, const void *data, size_t length, mode_t mode,
                 unsigned rename_flags, struct bf_error *err)
{
    const char *name = NULL;
    bf_auto_fd int dir = open_parent(path, &name, err);
    char random[9];
    bf_auto_free char *temporary = NULL;

    if (dir < 0)
        return -1;
    bf_random_hex(random, 8);
    temporary = bf_xasprintf(".%.200s.%s.tmp", name, random);
    if (write_new(dir, temporary, data, length, mode, err) < 0)
        goto undo;
    if (renameat2(dir, temporary, dir, name, rename_flags) < 0) {
        bf_fail(err, errno == EEXIST ? BF_E_EXISTS : BF_E_SYSTEM, errno, "cannot rename");
        goto undo;
    }
    /* The rename is durable only when the directory is. */
    if (fsync(dir) < 0) {
        bf_fail(err, BF_E_SYSTEM, errno, "cannot flush its directory");
        return bf_fail_in(err, "%s", path);
    }
    return 0;
undo:
    unlinkat(dir, temporary, 0);
    return bf_fail_in(err, "%s", path);
}

int bf_file_replace(const char *path, const void *data, size_t length, mode_t mode,
                    struct bf_error *err)
{
    return place(path, data, length, mode, 0, err);
}

int bf_file_create(const char *path, const void *data, size_t length, mode_t mode,
                   struct bf_error *err)
{
    return place(path, data, length, mode, RENAME_NOREPLACE, err);
}

static int make_one(const char *path, mode_t mode, struct bf_error *err)
{
    struct stat st;

    if (mkdir(path, mode) == 0) {
        if (chmod(path, mode) < 0) /* not left to the umask */
            return bf_fail(err, BF_E_SYSTEM, errno, "cannot set the mode of %s", path);
        return 0;
    }
    if (errno != EEXIST)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot make directory %s", path);
    if (stat(path, &st) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot look at %s", path);
    if (!S_ISDIR(st.st_mode))
        return bf_fail(err, BF_E_SYSTEM, ENOTDIR, "cannot make directory %s", path);
    return 0;
}

int bf_directory_make(const char *path, mode_t mode, struct bf_error *err)
{
    bf_auto_free char *part = bf_xstrdup(path);

    if (!*path)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "the name of a directory is empty");
    for (char *at = part + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (make_one(part, mode, err) < 0)
            return -1;
        *at = '/';
    }
    return make_one(part, mode, err);
}

static int remove_below(int dir_fd, dev_t device, unsigned depth, struct bf_error *err);

/* Links are removed, never followed; another file system mounted inside is not ours. */
static int remove_entry(int parent, const char *name, dev_t device, unsigned depth,
                        struct bf_error *err)
{
    bf_auto_fd int fd = -1;
    struct stat st;

    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : bf_fail(err, BF_E_SYSTEM, errno, "cannot look at %s", name);
    if (!S_ISDIR(st.st_mode)) {
        if (unlinkat(parent, name, 0) < 0 && errno != ENOENT)
            return bf_fail(err, BF_E_SYSTEM, errno, "cannot remove %s", name);
        return 0;
    }
    if (st.st_dev != device)
        return bf_fail(err, BF_E_SYSTEM, EBUSY, "%s is a mount point", name);
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot open %s", name);
    if (remove_below(fd, device, depth + 1, err) < 0)
        return bf_fail_in(err, "%s", name);
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot remove %s", name);
    return 0;
}

static int remove_below(int dir_fd, dev_t device, unsigned depth, struct bf_error *err)
{
    int copy = depth > DEPTH_MAX ? -1 : fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
    struct dirent *entry;
    int result = 0;
    DIR *dir;

    if (depth > DEPTH_MAX)
        return bf_fail(err, BF_E_SYSTEM, ELOOP, "more than %d levels", DEPTH_MAX);
    dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        bf_fail(err, BF_E_SYSTEM, errno, "cannot list");
        bf_close_at(&copy);
        return -1;
    }
    while (result == 0 && (errno = 0, entry = readdir(dir))) {
        if (!bf_streq(entry->d_name, ".") && !bf_streq(entry->d_name, ".."))
            result = remove_entry(dir_fd, entry->d_name, device, depth, err);
    }
    if (result == 0 && errno)
        result = bf_fail(err, BF_E_SYSTEM, errno, "cannot list");
    closedir(dir);
    return result;
}

int bf_directory_remove(const char *path, struct bf_error *err)
{
    bf_auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? 0 : bf_fail(err, BF_E_SYSTEM, errno, "cannot open %s", path);
    if (fstat(fd, &st) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot look at %s", path);
    if (remove_below(fd, st.st_dev, 0, err) < 0)
        return bf_fail_in(err, "%s", path);
    if (rmdir(path) < 0 && errno != ENOENT)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot remove %s", path);
    return 0;
}

int bf_file_remove(const char *path, struct bf_error *err)
{
    if (unlink(path) < 0 && errno != ENOENT)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot remove %s", path);
    return 0;
}

int bf_file_access(const char *path, int mode)
{
    return faccessat(AT_FDCWD, path, mode, AT_EACCESS);
}

static char *program_in(const char *directory, size_t length, const char *name)
{
    bf_auto_free char *path = NULL;
    struct stat st;

    if (!length)
        return NULL;
    path = bf_xasprintf("%.*s/%s", (int)length, directory, name);
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || bf_file_access(path, X_OK) < 0)
        return NULL;
    return bf_steal(path);
}

/* `search`: directories with colons between; NULL: none. */
static char *program_along(const char *search, const char *name)
{
    char *path = NULL;

    while (!path && search && *search) {
        size_t length = strcspn(search, ":");

        path = program_in(search, length, name);
        search += length + (search[length] == ':');
    }
    return path;
}

int bf_program_find(const char *name, char **ret_path, struct bf_error *err)
{
    char *path;

    if (!*name || strchr(name, '/'))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%s\" is not the name of a program", name);
    path = program_along(getenv("BLOCKFERRY_LIBEXEC"), name);
    if (!path)
        path = program_in(BF_LIBEXEC_DIR, strlen(BF_LIBEXEC_DIR), name);
    if (!path)
        path = program_along(getenv("PATH"), name);
    if (!path)
        return bf_fail(err, BF_E_CHILD_MISSING, 0, "%s is not installed", name);
    *ret_path = path;
    return 0;
}
