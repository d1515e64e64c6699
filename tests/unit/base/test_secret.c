/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "tests/unit/tap.h"

static char *directory; /* of this test */

static int file_of(const void *data, size_t length)
{
    char path[] = "/tmp/bf-test-secret.XXXXXX";
    bf_auto_error err = BF_ERROR_INIT;
    int fd = mkstemp(path);

    unlink(path);
    if (fd < 0 || bf_fd_write_all(fd, data, length, &err) < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        ok(false, "cannot make a file");
        exit(done());
    }
    return fd;
}

static void test_memory(void)
{
    bf_auto_secret *secret = bf_secret_new("hunter2xyz", 7);
    bf_auto_secret *copy = bf_secret_copy(secret);
    bf_auto_secret *empty = bf_secret_new("", 0);

    is_string(bf_secret_text(secret), "hunter2", "the text, of the length given");
    ok(bf_secret_text(copy) != bf_secret_text(secret), "a copy has memory of its own");
    is_string(bf_secret_text(copy), "hunter2", "with the same text");
    is_string(bf_secret_text(empty), "", "an empty one");
    ok(bf_secret_copy(NULL) == NULL, "NULL stays NULL");
    bf_secret_free(NULL);
}

static void check_read(const char *name, const void *data, size_t length, const char *want,
                       enum bf_error_code code)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_secret *secret = NULL;
    bf_auto_fd int fd = file_of(data, length);
    int result = bf_secret_read_fd(fd, &secret, &err);

    is_int(result, want ? 0 : -1, "%s", name);
    if (secret && want)
        ok(bf_streq(bf_secret_text(secret), want), "%s: the text", name);
    is_error(&err, code, "%s: the error", name);
}

static void test_read(void)
{
    bf_auto_free char *large = bf_xcalloc(1, 65539);
    bf_auto_free char *longest = NULL;

    check_read("a line", "pass word\n", 10, "pass word", BF_OK);
    check_read("without line end", "pass", 4, "pass", BF_OK);
    check_read("only one line end goes", "pass\n\n", 6, "pass\n", BF_OK);
    check_read("empty", "", 0, "", BF_OK);
    check_read("a NUL inside", "a\0b", 3, NULL, BF_E_BAD_INPUT);
    memset(large, 'x', 65536);
    check_read("the longest", large, 65536, large, BF_OK);
    longest = bf_xstrdup(large);
    large[65536] = '\n';
    check_read("the longest and a line end", large, 65537, longest, BF_OK);
    large[65536] = 'x';
    check_read("too long", large, 65537, NULL, BF_E_TOO_LARGE);
    large[65537] = '\n';
    check_read("too long with a line end", large, 65538, NULL, BF_E_TOO_LARGE);
}

static void test_key_file(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *path = bf_xasprintf("%s/key", directory);
    struct bf_seal *seal = NULL;
    struct stat st = {0};

    is_int(bf_seal_open(path, 0, &seal, &err), -1, "no key");
    is_error(&err, BF_E_SEAL_KEY, "is an error");
    is_int(bf_seal_open(path, 1, &seal, &err), 0, "unless it may be made");
    ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600 && st.st_size == 32,
       "32 bytes, mode 0600");
    bf_seal_close(seal);
    seal = NULL;
    ok(chmod(path, 0440) == 0, "as a systemd credential");
    is_int(bf_seal_open(path, 0, &seal, &err), 0, "it is taken");
    bf_seal_close(seal);
    seal = NULL;
    ok(chmod(path, 0604) == 0, "readable by others");
    is_int(bf_seal_open(path, 0, &seal, &err), -1, "it is refused");
    is_error(&err, BF_E_SEAL_KEY, "by its own code");
    bf_file_replace(path, "short", 5, 0600, &err);
    is_int(bf_seal_open(path, 1, &seal, &err), -1, "a short key is refused and not replaced");
    is_error(&err, BF_E_SEAL_KEY, "by its own code");
    is_int(bf_seal_open(directory, 1, &seal, &err), -1, "a directory is no key");
    is_error(&err, BF_E_SEAL_KEY, "by its own code");
    bf_seal_close(NULL);
}

static void refused(const struct bf_seal *seal, const char *owner, const char *sealed,
                    const char *name)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_secret *secret = NULL;

    is_int(bf_seal_unwrap(seal, owner, sealed, &secret, &err), -1, "%s", name);
    ok(!secret, "%s: nothing comes out", name);
    is_error(&err, BF_E_SEAL_KEY, "%s: code", name);
}

static void test_seal(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *path = bf_xasprintf("%s/seal", directory);
    bf_auto_free char *other_path = bf_xasprintf("%s/other", directory);
    bf_auto_secret *secret = bf_secret_new("hunter2", 7);
    bf_auto_secret *back = NULL;
    bf_auto_free char *sealed = NULL;
    bf_auto_free char *again = NULL;
    bf_auto_free char *damaged = NULL;
    bf_auto_free char *longer = NULL;
    struct bf_seal *seal = NULL, *other = NULL;

    if (bf_seal_open(path, 1, &seal, &err) < 0 || bf_seal_open(other_path, 1, &other, &err) < 0) {
        ok(false, "keys: %s", err.message);
        return;
    }
    is_int(bf_seal_wrap(seal, "platform 7", secret, &sealed, &err), 0, "sealed");
    ok(!strstr(sealed, "hunter2"), "not in clear");
    is_int(bf_seal_wrap(seal, "platform 7", secret, &again, &err), 0, "sealed again");
    ok(!bf_streq(sealed, again), "differs, by its nonce");
    is_int(bf_seal_unwrap(seal, "platform 7", sealed, &back, &err), 0, "opened");
    is_string(bf_secret_text(back), "hunter2", "is what was sealed");
    refused(seal, "platform 8", sealed, "another owner");
    refused(other, "platform 7", sealed, "another key");
    damaged = bf_xstrdup(sealed);
    damaged[40] = damaged[40] == 'A' ? 'B' : 'A';
    refused(seal, "platform 7", damaged, "a changed byte");
    damaged[20] = '\0';
    refused(seal, "platform 7", damaged, "a cut text");
    refused(seal, "platform 7", "", "an empty text");
    longer = bf_xasprintf("%s\n", sealed);
    refused(seal, "platform 7", longer, "a longer text");
    refused(seal, "platform 7", "!!!!", "no base64");
    bf_seal_close(seal);
    bf_seal_close(other);
}

int main(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    char template[] = "/tmp/bf-test-secret.XXXXXX";

    directory = mkdtemp(template);
    if (!ok(directory != NULL, "a directory to work in"))
        return done();
    test_memory();
    test_read();
    test_key_file();
    test_seal();
    is_int(bf_directory_remove(directory, &err), 0, "cleaned up");
    return done();
}
