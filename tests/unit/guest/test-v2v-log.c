/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict on recorded messages of virt-v2v-in-place 2.2.0 (recorded/NAME.json). */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/v2v.h"
#include "guest/v2v_log.h"
#include "tests/unit/tap.h"

#define EXITED(code) ((code) << 8)

static void parse_file(const char *name, struct bf_v2v_log *ret_log)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *path = bf_xasprintf("%s/%s.json", RECORDED, name);
    bf_auto_free char *text = NULL;
    size_t length = 0;

    *ret_log = (struct bf_v2v_log){0};
    if (!ok(bf_file_read(path, 1 << 20, &text, &length, &err) == 0, "%s is there", name))
        return;
    bf_v2v_log_parse(text, length, ret_log);
}

static void failures(void)
{
    static const struct {
        const char *name;
        enum bf_error_code code;
        const char *message;
        const char *output;
    } cases[] = {
        {"blank", BF_E_GUEST_UNKNOWN, "no operating system", NULL},
        {"luks", BF_E_GUEST_ENCRYPTED, "encrypted",
         "[   1.0] Opening the source\ngetline: Inappropriate ioctl for device\n"
         "virt-v2v-in-place: could not read key from user\n"},
        {"hibernated", BF_E_GUEST_HIBERNATED, "Fast Startup", NULL},
        {"alpine", BF_E_GUEST_UNSUPPORTED, "linux/alpinelinux", NULL},
        {"no-rhsrvany", BF_E_CHILD_MISSING, "rhsrvany.exe", NULL},
    };

    for (size_t i = 0; i < bf_array_length(cases); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_v2v_log log = {0};

        const char *output = cases[i].output ? cases[i].output : "tail";

        parse_file(cases[i].name, &log);
        ok(bf_v2v_verdict(&log, EXITED(1), output, &err) == -1, "%s fails", cases[i].name);
        has_string(err.message, cases[i].message, "%s: the message tells", cases[i].name);
        has_string(err.evidence, cases[i].output ? "getline" : "tail", "%s: the output is kept",
                   cases[i].name);
        is_error(&err, cases[i].code, "%s: its own error", cases[i].name);
    }
}

/* Texts that no disk of ours brings about. */
static void texts(void)
{
    static const struct {
        const char *text;
        enum bf_error_code code;
    } cases[] = {
        {"no bootloader detected", BF_E_GUEST_UNSUPPORTED},
        {"libguestfs error: filesize: /lib/apk/db/installed: No such file or directory",
         BF_E_CONVERT_FAILED},
        {"not enough free space for conversion on filesystem ‘/boot’.  10.0 MB free < 50 MB needed",
         BF_E_CONVERT_FAILED},
        {"multi-boot operating systems are not supported by virt-v2v", BF_E_GUEST_UNSUPPORTED},
        {"no installed kernel packages were found.", BF_E_GUEST_UNSUPPORTED},
    };

    for (size_t i = 0; i < bf_array_length(cases); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        struct bf_v2v_log log = {.error = bf_xstrdup(cases[i].text)};

        ok(bf_v2v_verdict(&log, EXITED(1), NULL, &err) == -1, "fails: %s", cases[i].text);
        is_error(&err, cases[i].code, "its error");
        bf_v2v_log_done(&log);
    }
}

static void good(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_v2v_log log = {0};

    parse_file("debian", &log);
    ok(bf_v2v_verdict(&log, EXITED(0), NULL, &err) == 0, "debian is converted");
    has_string(log.guest_os, "Linux 12", "the system's name is taken");
    ok(log.warnings && json_object_array_length(log.warnings) == 2, "two warnings");
    ok(bf_v2v_verdict(&log, EXITED(1), NULL, &err) == -1, "not with status 1");
    is_error(&err, BF_E_CONVERT_FAILED, "status 1 without an error message");
    ok(bf_v2v_verdict(&log, 9, NULL, &err) == -1, "not when killed");
    has_string(err.message, "signal 9", "the signal is named");
    is_error(&err, BF_E_CONVERT_FAILED, "killed");
}

static void lies(void)
{
    static const char silent[] = "{\"message\":\"Inspecting the source\",\"type\":\"message\"}\n";
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_v2v_log log = {0};
    bf_auto_v2v_log empty = {0};

    parse_file("no-drivers", &log);
    ok(bf_v2v_verdict(&log, EXITED(0), NULL, &err) == -1, "status 0 without drivers fails");
    has_string(err.message, "Windows Server 2012 R2", "the system is named");
    is_error(&err, BF_E_CONVERT_NO_DRIVERS, "status 0 without drivers");
    bf_v2v_log_parse(silent, strlen(silent), &empty);
    ok(bf_v2v_verdict(&empty, EXITED(0), NULL, &err) == -1, "status 0 without a word fails");
    is_error(&err, BF_E_CONVERT_FAILED, "status 0 without a word");
}

static void odd_input(void)
{
    static const char text[] = "not json\n[1]\n{\"type\":\"error\"}\n{\"message\":1,\"type\":2}\n"
                               "{\"message\":\"cut\",\"type\":\"err";
    bf_auto_v2v_log log = {0};

    bf_v2v_log_parse(text, strlen(text), &log);
    ok(!log.error && !log.warnings && !log.guest_os, "lines that are no message are skipped");
    is_int(log.drivers, BF_V2V_DRIVERS_UNSAID, "and say nothing");
}

static void domain_xml(void)
{
    const char *paths[30];
    bf_auto_free char *xml = NULL;

    for (size_t i = 0; i < bf_array_length(paths); i++)
        paths[i] = "/w/a&b";
    xml = bf_v2v_domain_xml("db <1>", true, paths, bf_array_length(paths));
    has_string(xml, "<name>db &lt;1&gt;</name>", "the name is escaped");
    has_string(xml, "file=\"/w/a&amp;b\"", "paths are escaped");
    has_string(xml, "dev=\"sda\"", "first disk");
    has_string(xml, "dev=\"sdz\"", "26th disk");
    has_string(xml, "dev=\"sdad\"", "30th disk");
    has_string(xml, "firmware=\"efi\"", "UEFI");
}

int main(void)
{
    failures();
    texts();
    good();
    lies();
    odd_input();
    domain_xml();
    return done();
}
