/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/kvm_probe.h"

#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/text.h"

#define LIMIT_MS 20000
#define CONSOLE_MAX 65536
/* The kernel has run all its own code by then; what is missing is a root file system. */
#define MARKER "Unable to mount root fs"

/* A whole word in a "flags" line. */
static bool cpu_can(const char *cpuinfo, const char *flag)
{
    size_t length = strlen(flag);

    for (const char *at = strstr(cpuinfo, flag); at; at = strstr(at + 1, flag))
        if (at > cpuinfo && at[-1] == ' ' && (at[length] == ' ' || at[length] == '\n'))
            return true;
    return false;
}

static bool quick_no(const struct bf_kvm_probe *probe, const char **ret_reason)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_free char *cpuinfo = NULL;

    if (bf_file_read(probe->cpuinfo ? probe->cpuinfo : "/proc/cpuinfo", 16 << 20, &cpuinfo, NULL,
                     &ignored) < 0 ||
        (!cpu_can(cpuinfo, "vmx") && !cpu_can(cpuinfo, "svm"))) {
        *ret_reason = "the processor shows neither vmx nor svm";
        return true;
    }
    if (!probe->accel && bf_file_access("/dev/kvm", R_OK | W_OK) < 0) {
        *ret_reason = "there is no /dev/kvm for us";
        return true;
    }
    return false;
}

static char *boot_id(void)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    char *text = NULL;

    if (bf_file_read("/proc/sys/kernel/random/boot_id", 4096, &text, NULL, &ignored) < 0)
        return bf_xstrdup("");
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static bool recall(const char *cache_file, bool *ret_usable)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_json *value = NULL;
    bf_auto_free char *now = boot_id();
    const char *then = NULL;
    bool usable = false;

    if (!*now || bf_json_read_file(cache_file, &value, &ignored) < 0 ||
        bf_json_get_string(value, "", "boot_id", &then, &ignored) < 0 || !bf_streq(then, now) ||
        bf_json_get_bool(value, "", "kvm", &usable, &ignored) < 0)
        return false;
    *ret_usable = usable;
    return true;
}

/* Without a kept answer the next conversion probes again: not worth a failure. */
static void remember(const char *cache_file, bool usable)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_json *value = json_object_new_object();
    bf_auto_free char *now = boot_id();
    const char *text;

    bf_json_add_string(value, "boot_id", now);
    bf_json_add_bool(value, "kvm", usable);
    text = bf_json_text(value);
    bf_file_replace(cache_file, text, strlen(text), 0600, &ignored);
}

static char *newest_kernel(void)
{
    glob_t found = {0};
    char *path = NULL;

    if (glob("/boot/vmlinuz-*", 0, NULL, &found) == 0 && found.gl_pathc > 0)
        path = bf_xstrdup(found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    return path;
}

/* Read the serial line until the marker, the end or the limit. */
static int watch(struct bf_process *qemu, struct bf_deadline limit, struct bf_deadline deadline,
                 int cancel_fd, bool *ret_seen, struct bf_error *err)
{
    bf_auto_buf console = {0};
    struct pollfd fds[2] = {{.fd = bf_process_stdout(qemu), .events = POLLIN},
                            {.fd = cancel_fd, .events = POLLIN}};

    while (console.length < CONSOLE_MAX) {
        char block[4096];
        int left = bf_deadline_left(limit), allowed = bf_deadline_left(deadline);
        ssize_t got;

        if (poll(fds, 2, allowed >= 0 && allowed < left ? allowed : left) < 0 && errno != EINTR)
            return bf_fail(err, BF_E_SYSTEM, errno, "cannot wait for qemu");
        if (fds[1].revents)
            return bf_fail(err, BF_E_CANCELLED, 0, "cancelled while trying KVM");
        if (bf_deadline_passed(deadline))
            return bf_fail(err, BF_E_DEADLINE, 0, "no time was left for trying KVM");
        if (bf_deadline_passed(limit))
            break;
        if (!fds[0].revents)
            continue;
        got = read(fds[0].fd, block, sizeof(block));
        if (got <= 0)
            break;
        bf_buf_add(&console, block, (size_t)got);
        if (memmem(console.text, console.length, MARKER, strlen(MARKER))) {
            *ret_seen = true;
            return 0;
        }
    }
    *ret_seen = false;
    return 0;
}

static int boot(const struct bf_kvm_probe *probe, const char *kernel, struct bf_deadline deadline,
                int cancel_fd, bool *ret_seen, struct bf_error *err)
{
    const char *const argv[] = {probe->qemu ? probe->qemu : "qemu-system-x86_64",
                                "-nodefaults",
                                "-no-user-config",
                                "-no-reboot",
                                "-display",
                                "none",
                                "-machine",
                                "q35",
                                "-accel",
                                probe->accel ? probe->accel : "kvm",
                                "-cpu",
                                "max",
                                "-m",
                                "256",
                                "-serial",
                                "stdio",
                                "-kernel",
                                kernel,
                                "-append",
                                "console=ttyS0 panic=-1 root=/dev/none",
                                NULL};
    bf_auto_process *qemu = NULL;
    struct bf_deadline limit = bf_deadline_in(probe->limit_ms ? probe->limit_ms : LIMIT_MS);

    if (bf_process_start(&(struct bf_process_spec){.argv = argv, .stdout_pipe = true}, &qemu, err) <
        0) {
        if (err->code != BF_E_CHILD_MISSING)
            return -1;
        bf_error_clear(err);
        *ret_seen = false;
        return 0;
    }
    return watch(qemu, limit, deadline, cancel_fd, ret_seen, err);
}

int bf_kvm_probe_run(const struct bf_kvm_probe *probe, struct bf_deadline deadline, int cancel_fd,
                     bool *ret_usable, const char **ret_reason, struct bf_error *err)
{
    bf_auto_free char *found = NULL;
    const char *kernel = probe->kernel;
    const char *reason = "kept from the last trial";
    bool usable = false;

    if (!quick_no(probe, &reason) && !(probe->cache_file && recall(probe->cache_file, &usable))) {
        if (!kernel)
            kernel = found = newest_kernel();
        if (!kernel) {
            reason = "there is no kernel in /boot to try with";
        } else {
            if (boot(probe, kernel, deadline, cancel_fd, &usable, err) < 0)
                return -1;
            reason = usable ? "a kernel booted" : "a kernel did not boot in time";
            if (probe->cache_file)
                remember(probe->cache_file, usable);
        }
    }
    *ret_usable = usable;
    if (ret_reason)
        *ret_reason = reason;
    return 0;
}
