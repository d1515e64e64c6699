/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/hive_box.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <iconv.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/hive_file.h"

#define NOBODY 65534
#define ANSWER_MAX ((size_t)8 << 20)
#define RUN_MS 60000
#define RUN_S 60

/* The user nobody must be able to read and write the hives. */
static int hand_over(const char *directory, struct bf_error *err)
{
    DIR *entries;
    int result = 0;

    if (geteuid() != 0)
        return 0;
    entries = opendir(directory);
    if (!entries || fchown(dirfd(entries), NOBODY, NOBODY) < 0)
        result = bf_fail(err, BF_E_SYSTEM, errno, "%s", directory);
    for (struct dirent *entry; result == 0 && (entry = readdir(entries));)
        if (entry->d_name[0] != '.' &&
            fchownat(dirfd(entries), entry->d_name, NOBODY, NOBODY, AT_SYMLINK_NOFOLLOW) < 0)
            result = bf_fail(err, BF_E_SYSTEM, errno, "%s/%s", directory, entry->d_name);
    if (entries)
        closedir(entries);
    return result;
}

static int limit(int resource, rlim_t value)
{
    struct rlimit limits = {value, value};

    return setrlimit((__rlimit_resource_t)resource, &limits);
}

/* hivex converts texts by iconv, which would not find its tables in the empty root directory; a
 * table that is open stays loaded.  Never closed: the process ends soon. */
static int load_tables(void)
{
    static const char *const pairs[][2] = {
        {"UTF-8", "UTF-16LE"}, {"UTF-16LE", "UTF-8"}, {"UTF-8", "LATIN1"}, {"LATIN1", "UTF-8"}};

    for (size_t i = 0; i < bf_array_length(pairs); i++)
        if ((intptr_t)iconv_open(pairs[i][0], pairs[i][1]) == -1)
            return -1;
    return 0;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return (int)syscall(SYS_capset, &header, none);
}

/* The working directory becomes the root.  Who is not root needs a user namespace for that, and
 * does without where the host forbids those. */
static int close_root(void)
{
    if (geteuid() != 0)
        return unshare(CLONE_NEWUSER) < 0 ? 0 : chroot(".");
    if (chroot(".") < 0 || setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0)
        return -1;
    return setresuid(NOBODY, NOBODY, NOBODY);
}

/* In the child: give everything away. */
static int put_away(const char *directory)
{
    /* A grown hive is below the limit of what is taken at all. */
    if (load_tables() < 0 || chdir(directory) < 0 || limit(RLIMIT_CPU, RUN_S) < 0 ||
        limit(RLIMIT_FSIZE, 2 * (rlim_t)BF_HIVE_MAX) < 0 || limit(RLIMIT_CORE, 0) < 0)
        return -1;
    if (close_root() < 0 || drop_capabilities() < 0)
        return -1;
    if (limit(RLIMIT_NPROC, 0) < 0 || limit(RLIMIT_NOFILE, 16) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Descriptor 3 is the answer's; the others are closed, the appliance's among them. */
__attribute__((noreturn)) static void child(int answer, const char *directory, bf_hive_job job,
                                            struct json_object *input)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_error ignored = BF_ERROR_INIT;
    struct json_object *result = json_object_new_object();
    struct json_object *output = json_object_new_object();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const char *text;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int fd = 0; fd < 3; fd++)
        if (null < 0 || dup2(null, fd) < 0)
            _exit(1);
    if (answer != 3 && dup2(answer, 3) < 0)
        _exit(1);
    close_range(4, ~0U, 0);
    if (put_away(directory) < 0)
        bf_fail(&err, BF_E_SYSTEM, errno, "the registry's process cannot be confined");
    else if (job(input, output, &err) == 0)
        json_object_object_add(result, "output", output);
    if (bf_error_is_set(&err))
        json_object_object_add(result, "error", bf_json_error(&err));
    text = bf_json_text(result);
    /* No exit handlers: libguestfs's would end the appliance. */
    _exit(bf_fd_write_all(3, text, strlen(text), &ignored) < 0 ? 1 : 0);
}

static int read_answer(int fd, struct bf_buf *answer, struct bf_error *err)
{
    struct bf_deadline end = bf_deadline_in(RUN_MS);

    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        char block[65536];
        ssize_t got;

        if (poll(&wait, 1, bf_deadline_left(end)) < 0 && errno != EINTR)
            return bf_fail(err, BF_E_SYSTEM, errno, "cannot wait for the registry's process");
        if (!wait.revents) {
            if (bf_deadline_passed(end))
                return bf_fail(err, BF_E_GUEST_REGISTRY, 0,
                               "the guest's registry could not be read in %d s", RUN_S);
            continue;
        }
        got = read(fd, block, sizeof(block));
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return bf_fail(err, BF_E_SYSTEM, errno, "cannot read from the registry's process");
        if (got > 0)
            bf_buf_add(answer, block, (size_t)got);
        if (answer->length > ANSWER_MAX)
            return bf_fail(err, BF_E_GUEST_REGISTRY, 0,
                           "the guest's registry tells more than %zu bytes", ANSWER_MAX);
    }
}

static int judge(const struct bf_buf *answer, int status, struct json_object **ret_output,
                 struct bf_error *err)
{
    bf_auto_error unreadable = BF_ERROR_INIT;
    bf_auto_json *result = NULL;
    struct json_object *error = NULL, *output = NULL;

    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !answer->text ||
        bf_json_parse(answer->text, answer->length, &result, &unreadable) < 0)
        return bf_fail(err, BF_E_GUEST_REGISTRY, 0, "reading the guest's registry ended with %s %d",
                       WIFSIGNALED(status) ? "signal" : "status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (json_object_object_get_ex(result, "error", &error))
        return bf_json_to_error(error, err) < 0
                   ? bf_fail(err, BF_E_INTERNAL, 0, "the registry's process told no readable error")
                   : -1;
    if (bf_json_get_object(result, "", "output", &output, err) < 0)
        return -1;
    *ret_output = json_object_get(output);
    return 0;
}

int bf_hive_box_run(const char *directory, bf_hive_job job, struct json_object *input,
                    struct json_object **ret_output, struct bf_error *err)
{
    bf_auto_buf answer = {0};
    bf_auto_fd int reading = -1;
    int ends[2], status = 0, result;
    pid_t pid;

    if (hand_over(directory, err) < 0)
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "the registry's process");
    reading = ends[0];
    pid = fork();
    if (pid == 0)
        child(ends[1], directory, job, input);
    close(ends[1]);
    if (pid < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "the registry's process");
    result = read_answer(reading, &answer, err);
    if (result < 0)
        kill(pid, SIGKILL);
    /* It closed the pipe: it is at its end, or killed. */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return result < 0 ? -1 : judge(&answer, status, ret_output, err);
}
