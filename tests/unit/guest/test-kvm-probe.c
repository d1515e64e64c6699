/* SPDX-License-Identifier: Apache-2.0 */
/* The probe with programs in qemu's place: what is said on the serial line decides, and only that.
 */
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/kvm_probe.h"
#include "tests/unit/tap.h"

static char directory[] = "/tmp/bf-kvm-XXXXXX";

static char *make_file(const char *name, const char *text, mode_t mode)
{
    bf_auto_error err = BF_ERROR_INIT;
    char *path = bf_xasprintf("%s/%s", directory, name);

    ok(bf_file_replace(path, text, strlen(text), mode, &err) == 0, "%s made", name);
    return path;
}

static void probe(const char *cpuinfo_text, const char *script, bool want, const char *reason)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *cpuinfo = make_file("cpuinfo", cpuinfo_text, 0600);
    bf_auto_free char *qemu = make_file("qemu", script, 0700);
    struct bf_kvm_probe probe = {
        .cpuinfo = cpuinfo, .qemu = qemu, .kernel = "/k", .accel = "x", .limit_ms = 500};
    const char *said = NULL;
    bool usable = !want;

    ok(bf_kvm_probe_run(&probe, bf_deadline_in(20000), -1, &usable, &said, &err) == 0, "probed");
    is_int(usable, want, "usable: %s", reason);
    has_string(said, reason, "reason");
}

static const char vmx[] = "processor : 0\nflags : fpu vmx sse\n";
static const char boots[] = "#!/bin/sh\necho 'Kernel panic: VFS: Unable to mount root fs on x'\n"
                            "exec sleep 100\n";
static const char hangs[] = "#!/bin/sh\necho SeaBIOS; exec sleep 100\n";

static void cache(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *cpuinfo = make_file("cpuinfo", vmx, 0600);
    bf_auto_free char *good = make_file("good", boots, 0700);
    bf_auto_free char *bad = make_file("bad", hangs, 0700);
    bf_auto_free char *file = bf_xasprintf("%s/kvm.json", directory);
    struct bf_kvm_probe probe = {.cpuinfo = cpuinfo,
                                 .qemu = good,
                                 .kernel = "/k",
                                 .accel = "x",
                                 .cache_file = file,
                                 .limit_ms = 500};
    const char *said = NULL;
    bool usable = false;

    ok(bf_kvm_probe_run(&probe, bf_deadline_in(20000), -1, &usable, &said, &err) == 0, "first");
    ok(usable, "the kernel booted");
    probe.qemu = bad;
    ok(bf_kvm_probe_run(&probe, bf_deadline_in(20000), -1, &usable, &said, &err) == 0, "second");
    ok(usable, "the answer is kept");
    has_string(said, "kept", "and said so");
    free(make_file("kvm.json", "{\"boot_id\":\"another\",\"kvm\":true}", 0600));
    ok(bf_kvm_probe_run(&probe, bf_deadline_in(20000), -1, &usable, &said, &err) == 0, "third");
    ok(!usable, "after a reboot it is tried again");
    free(make_file("kvm.json", "rubbish", 0600));
    ok(bf_kvm_probe_run(&probe, bf_deadline_in(20000), -1, &usable, &said, &err) == 0, "fourth");
    ok(!usable, "a damaged file is no answer");
}

static void deadline(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *cpuinfo = make_file("cpuinfo", vmx, 0600);
    bf_auto_free char *qemu = make_file("qemu", hangs, 0700);
    struct bf_kvm_probe probe = {.cpuinfo = cpuinfo, .qemu = qemu, .kernel = "/k", .accel = "x"};
    bool usable = false;

    ok(bf_kvm_probe_run(&probe, bf_deadline_in(300), -1, &usable, NULL, &err) == -1, "ends");
    is_error(&err, BF_E_DEADLINE, "at the deadline");
}

int main(void)
{
    bf_auto_error err = BF_ERROR_INIT;

    if (!ok(mkdtemp(directory) != NULL, "scratch directory"))
        return done();
    probe("flags : fpu sse\n", boots, false, "neither vmx nor svm");
    probe("flags : fpu vmxoff svmx\n", boots, false, "neither vmx nor svm");
    probe(vmx, boots, true, "booted");
    probe("flags : svm\n", boots, true, "booted");
    probe(vmx, hangs, false, "did not boot");
    probe(vmx, "#!/bin/sh\necho no such accelerator >&2; exit 1\n", false, "did not boot");
    cache();
    deadline();
    bf_directory_remove(directory, &err);
    return done();
}
