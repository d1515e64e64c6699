/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/v2v_log.h"

#include <ctype.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

/* A guest could make thousands of warnings; people read the first few. */
#define WARNINGS_MAX 32
#define MESSAGE_MAX 400

/* Known texts, the first match wins: a more telling one stands before a general one. */
static const struct known_text {
    const char *text;
    enum bf_error_code code;
    const char *meaning;
} known_texts[] = {
    {"could not read key from user", BF_E_GUEST_ENCRYPTED, "a disk of the guest is encrypted"},
    {"could not find key to open LUKS", BF_E_GUEST_ENCRYPTED, "a disk of the guest is encrypted"},
    {"encrypted with BitLocker", BF_E_GUEST_ENCRYPTED, "a disk of the guest is encrypted"},
    {"using Windows Hibernation or Fast Restart", BF_E_GUEST_HIBERNATED,
     "the guest's file system cannot be written: hibernated, Fast Startup, or still running"},
    {"mounted read-only, even though we asked", BF_E_GUEST_HIBERNATED,
     "the guest's file system cannot be written: it was not cleanly unmounted"},
    {"inspection could not detect the source guest", BF_E_GUEST_UNKNOWN,
     "no operating system was found on the disks"},
    {"unable to convert this guest type", BF_E_GUEST_UNSUPPORTED, NULL},
    {"multi-boot operating systems are not supported", BF_E_GUEST_UNSUPPORTED, NULL},
    {"multiboot operating systems are not supported", BF_E_GUEST_UNSUPPORTED, NULL},
    {"no bootloader detected", BF_E_GUEST_UNSUPPORTED,
     "no boot loader was found where virt-v2v looks for one (UEFI: EFI/*/grub.cfg on the system "
     "partition; BIOS: below /boot)"},
    {"no installed kernel packages were found", BF_E_GUEST_UNSUPPORTED,
     "the guest has no kernel that its package manager knows"},
    {"no virtio drivers", BF_E_CONVERT_NO_DRIVERS, "there are no virtio drivers for this guest"},
    {"rhsrvany.exe", BF_E_CHILD_MISSING,
     "virt-v2v lacks rhsrvany.exe in /usr/share/virt-tools, which Windows guests need"},
    {"not enough free space", BF_E_CONVERT_FAILED, NULL},
};

static void add_warning(struct bf_v2v_log *log, const char *text)
{
    if (!log->warnings)
        log->warnings = json_object_new_array();
    if (json_object_array_length(log->warnings) < WARNINGS_MAX)
        json_object_array_add(log->warnings, json_object_new_string(text));
}

static void note_message(struct bf_v2v_log *log, const char *text)
{
    static const char head[] = "Converting ";
    static const char tail[] = " to run on KVM";

    if (bf_streq(text, "This guest has virtio drivers installed.")) {
        log->drivers = BF_V2V_DRIVERS_PRESENT;
    } else if (bf_streq(text, "This guest does not have virtio drivers installed.")) {
        log->drivers = BF_V2V_DRIVERS_MISSING;
    } else if (bf_starts_with(text, head) && bf_ends_with(text, tail)) {
        size_t length = strlen(text) - (sizeof(head) - 1) - (sizeof(tail) - 1);

        free(log->guest_os);
        text += sizeof(head) - 1;
        /* Of some systems libguestfs knows the version only: "12.15". */
        log->guest_os = bf_xasprintf("%s%.*s", isdigit((unsigned char)*text) ? "Linux " : "",
                                     (int)(length < 200 ? length : 200), text);
    }
}

static void note_line(struct bf_v2v_log *log, const char *line, size_t length)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_json *value = NULL;
    const char *type = NULL, *message = NULL;

    if (bf_json_parse(line, length, &value, &ignored) < 0 ||
        bf_json_get_string(value, "", "type", &type, &ignored) < 0 ||
        bf_json_get_string(value, "", "message", &message, &ignored) < 0)
        return;
    if (bf_streq(type, "error")) {
        free(log->error);
        log->error = bf_xstrdup(message);
    } else if (bf_streq(type, "warning")) {
        add_warning(log, message);
    } else if (bf_streq(type, "message") || bf_streq(type, "info")) {
        note_message(log, message);
    }
}

void bf_v2v_log_parse(const char *text, size_t length, struct bf_v2v_log *ret_log)
{
    *ret_log = (struct bf_v2v_log){0};
    while (length > 0) {
        const char *end = memchr(text, '\n', length);
        size_t line = end ? (size_t)(end - text) : length;

        note_line(ret_log, text, line);
        line += end ? 1 : 0;
        text += line;
        length -= line;
    }
}

void bf_v2v_log_done(struct bf_v2v_log *log)
{
    free(log->guest_os);
    free(log->error);
    json_object_put(log->warnings);
    *log = (struct bf_v2v_log){0};
}

/* The first paragraph on one line: what follows it is advice about bug reports. */
static char *first_paragraph(const char *text)
{
    const char *end = strstr(text, "\n\n");
    size_t length = end ? (size_t)(end - text) : strlen(text);
    char *line = bf_xasprintf("%.*s", (int)(length < MESSAGE_MAX ? length : MESSAGE_MAX), text);

    length = strlen(line);
    while (length > 0 && (line[length - 1] == '.' || line[length - 1] == '\n'))
        line[--length] = '\0';
    for (char *at = line; *at; at++)
        if ((unsigned char)*at < ' ')
            *at = ' ';
    return line;
}

static int fail_by_text(const char *text, struct bf_error *err)
{
    bf_auto_free char *said = first_paragraph(text);

    for (size_t i = 0; i < bf_array_length(known_texts); i++) {
        const struct known_text *known = &known_texts[i];

        if (!strstr(text, known->text))
            continue;
        return bf_fail(err, known->code, 0, "%s", known->meaning ? known->meaning : said);
    }
    return bf_fail(err, BF_E_CONVERT_FAILED, 0, "virt-v2v-in-place: %s", said);
}

/* A few last words never become a message: those after a question that nobody could answer. */
static char *last_words(const char *output)
{
    static const char prefix[] = "virt-v2v-in-place: ";
    const char *found = NULL;

    for (const char *at = output; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (bf_starts_with(at, prefix))
            found = at + sizeof(prefix) - 1;
    }
    return found ? bf_xasprintf("%.*s", (int)strcspn(found, "\n"), found) : NULL;
}

static int fail_missing_drivers(const struct bf_v2v_log *log, struct bf_error *err)
{
    const char *system = log->guest_os ? log->guest_os : "this guest";

    return bf_fail(err, BF_E_CONVERT_NO_DRIVERS, 0, "no virtio drivers were found for %s", system);
}

int bf_v2v_verdict(const struct bf_v2v_log *log, int wait_status, const char *output,
                   struct bf_error *err)
{
    bool ended_well = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
    bf_auto_free char *words = ended_well || !output ? NULL : last_words(output);
    int result = 0;

    if (log->error)
        result = fail_by_text(log->error, err);
    else if (words)
        result = fail_by_text(words, err);
    else if (WIFSIGNALED(wait_status))
        result = bf_fail(err, BF_E_CONVERT_FAILED, 0, "virt-v2v-in-place was ended by signal %d",
                         WTERMSIG(wait_status));
    else if (!ended_well)
        result = bf_fail(err, BF_E_CONVERT_FAILED, 0,
                         "virt-v2v-in-place ended with status %d and gave no reason",
                         WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1);
    else if (log->drivers == BF_V2V_DRIVERS_MISSING)
        result = fail_missing_drivers(log, err);
    else if (log->drivers == BF_V2V_DRIVERS_UNSAID)
        result = bf_fail(err, BF_E_CONVERT_FAILED, 0,
                         "virt-v2v-in-place did not say whether the guest has virtio drivers");
    if (result < 0 && output && *output)
        bf_error_evidence(err, output);
    return result;
}
