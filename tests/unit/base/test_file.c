/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "tests/unit/tap.h"

static char *directory; /* of this test */

static char *in_directory(const char *name)
{
    return bf_xasprintf("%s/%s", directory, name);
}

static unsigned mode_of(const char *path)
{
    struct stat st = {0};

    return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

static void test_replace_and_read(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *path = in_directory("file");
    bf_auto_free char *text = NULL;
    size_t length = 0;

    umask(077);
    is_int(bf_file_replace(path, "first", 5, 0644, &err), 0, "a new file");
    is_int(mode_of(path), 0644, "has the mode asked for, whatever the umask");
    is_int(bf_file_replace(path, "a\0b", 3, 0600, &err), 0, "replaced");
    is_int(mode_of(path), 0600, "with the new mode");
    is_int(bf_file_read(path, 3, &text, &length, &err), 0, "read, as large as allowed");
    ok(length == 3 && memcmp(text, "a\0b", 4) == 0, "content and the NUL behind it");
    free(bf_steal(text));
    is_int(bf_file_read(path, 2, &text, &length, &err), -1, "larger than allowed");
    has_string(err.message, path, "names the file");
    is_error(&err, BF_E_TOO_LARGE, "too large");
    ok(!text, "the output is untouched");

    is_int(bf_file_create(path, "x", 1, 0600, &err), -1, "create leaves an existing file");
    is_error(&err, BF_E_EXISTS, "exists");
    is_int(bf_file_read(path, 3, &text, NULL, &err), 0, "it is there");
    is_string(text, "a", "with its old content");
    free(bf_steal(text));
    is_int(bf_file_remove(path, &err), 0, "removed");
    is_int(bf_file_remove(path, &err), 0, "removing what is not there is fine");
    is_int(bf_file_create(path, "x", 1, 0600, &err), 0, "created");
    is_int(bf_file_replace("/nonexistent/x", "x", 1, 0600, &err), -1, "no directory");
    is_int(err.sys, ENOENT, "its errno");
    is_error(&err, BF_E_SYSTEM, "is a system error");
    is_int(bf_file_replace(directory, "x", 1, 0600, &err), -1, "a directory is not replaced");
    is_error(&err, BF_E_SYSTEM, "by a file");
    is_int(bf_file_read("/nonexistent", 10, &text, NULL, &err), -1, "nothing to read");
    is_int(err.sys, ENOENT, "its errno");
    bf_error_clear(&err);
    is_int(bf_file_replace("x/", "x", 1, 0600, &err), -1, "no name");
    is_error(&err, BF_E_BAD_INPUT, "bad input");
}

/* A failed replace leaves neither a half file nor its temporary one. */
static void test_replace_leaves_nothing(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *sub = in_directory("full");
    bf_auto_free char *blocked = bf_xasprintf("%s/name", sub);

    bf_directory_make(blocked, 0700, &err); /* a directory where the file should be */
    is_int(bf_file_replace(blocked, "x", 1, 0600, &err), -1, "cannot rename over a directory");
    is_error(&err, BF_E_SYSTEM, "a system error");
    is_int(rmdir(blocked), 0, "the directory is there");
    is_int(rmdir(sub), 0, "and nothing is beside it");
}

static void test_directories(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *deep = in_directory("a/b/c");
    bf_auto_free char *top = in_directory("a");
    bf_auto_free char *file = in_directory("a/b/file");
    bf_auto_free char *link = in_directory("a/b/link");
    bf_auto_free char *other_link = in_directory("a/b/other-link");
    bf_auto_free char *kept = in_directory("kept");
    bf_auto_free char *below = in_directory("a/b/file/x");

    is_int(bf_directory_make(deep, 0750, &err), 0, "made with its parents");
    is_int(mode_of(top), 0750, "with the mode asked for");
    is_int(bf_directory_make(deep, 0700, &err), 0, "again is fine");
    is_int(mode_of(deep), 0750, "and leaves the mode");
    bf_file_replace(file, "x", 1, 0600, &err);
    is_int(bf_directory_make(below, 0700, &err), -1, "not below a file");
    is_int(err.sys, ENOTDIR, "its errno");
    bf_error_clear(&err);
    bf_file_replace(kept, "x", 1, 0600, &err);
    is_int(symlink(kept, link), 0, "a link out of it");
    is_int(symlink(directory, other_link), 0, "and one to a directory");
    is_int(bf_directory_remove(link, &err), -1, "a link is not removed as a directory");
    bf_error_clear(&err);
    is_int(bf_directory_remove(top, &err), 0, "removed with content");
    is_int(access(top, F_OK), -1, "it is gone");
    is_int(access(kept, F_OK), 0, "what the link led to is not");
    is_int(bf_directory_remove(top, &err), 0, "removing what is not there is fine");
}

static void test_descriptors(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *text = NULL;
    bf_auto_free char *large = bf_xcalloc(1, 50001);
    size_t length = 0;
    int fds[2];

    memset(large, 'y', 50000);
    ok(pipe2(fds, O_CLOEXEC) == 0, "a pipe");
    is_int(bf_fd_write_all(fds[1], large, 50000, &err), 0, "written");
    close(fds[1]);
    is_int(bf_fd_read_all(fds[0], 50000, &text, &length, &err), 0, "read");
    ok(length == 50000 && bf_streq(text, large), "all of it");
    close(fds[0]);

    ok(pipe2(fds, O_CLOEXEC) == 0, "a pipe without reader");
    close(fds[0]);
    is_int(bf_fd_write_all(fds[1], "x", 1, &err), -1, "no SIGPIPE ends us");
    is_int(err.sys, EPIPE, "its errno");
    is_error(&err, BF_E_SYSTEM, "a system error");
    close(fds[1]);
}

static void test_program_find(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *own = in_directory("sh");
    bf_auto_free char *found = NULL;

    unsetenv("BLOCKFERRY_LIBEXEC");
    is_int(bf_program_find("sh", &found, &err), 0, "found in PATH");
    ok(bf_ends_with(found, "/sh"), "sh");
    free(bf_steal(found));
    setenv("BLOCKFERRY_LIBEXEC", directory, 1);
    is_int(bf_program_find("sh", &found, &err), 0, "with a directory in front");
    ok(!bf_starts_with(found, directory), "which does not have it");
    free(bf_steal(found));
    bf_file_replace(own, "#!/bin/true\n", 12, 0600, &err);
    is_int(bf_program_find("sh", &found, &err), 0, "or has it");
    ok(!bf_starts_with(found, directory), "but not executable");
    free(bf_steal(found));
    ok(chmod(own, 0700) == 0, "executable");
    is_int(bf_program_find("sh", &found, &err), 0, "or has it");
    is_string(found, own, "and wins");
    free(bf_steal(found));
    bf_auto_free char *two = bf_xasprintf("/nonexistent:%s", directory);
    setenv("BLOCKFERRY_LIBEXEC", two, 1);
    is_int(bf_program_find("sh", &found, &err), 0, "in the second of two directories");
    is_string(found, own, "is found");
    is_int(bf_program_find("no-such-program", &found, &err), -1, "not there");
    has_string(err.message, "no-such-program", "is named");
    is_error(&err, BF_E_CHILD_MISSING, "a missing helper");
    is_int(bf_program_find("../sh", &found, &err), -1, "a path is not a name");
    is_error(&err, BF_E_BAD_INPUT, "bad input");
}

int main(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    char template[] = "/tmp/bf-test-file.XXXXXX";

    directory = mkdtemp(template);
    if (!ok(directory != NULL, "a directory to work in"))
        return done();
    test_replace_and_read();
    test_replace_leaves_nothing();
    test_directories();
    test_descriptors();
    test_program_find();
    is_int(bf_directory_remove(directory, &err), 0, "cleaned up");
    return done();
}
