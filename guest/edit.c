/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/edit.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/names.h"

static size_t word_length(const char *text)
{
    return strcspn(text, " \t\r\n\"'");
}

/* A name by the old host's controller, bus or serial number. */
static bool is_linked_name(const char *text)
{
    static const char directory[] = "/dev/disk/";

    return (bf_starts_with(text, "/dev/disk/by-id/") ||
            bf_starts_with(text, "/dev/disk/by-path/")) &&
           !bf_names_is_stable(text + sizeof(directory) - 1);
}

/* Length of a disk device's name at this place, 0: none, or one that is the same on every host. */
static size_t device_length(const char *text)
{
    static const char *const kinds[] = {"/dev/sd", "/dev/hd", "/dev/xvd"};

    if (is_linked_name(text) || bf_starts_with(text, "/dev/nvme"))
        return word_length(text);
    for (size_t i = 0; i < bf_array_length(kinds); i++) {
        size_t length = strlen(kinds[i]), letters;

        if (!bf_starts_with(text, kinds[i]))
            continue;
        letters = strspn(text + length, "abcdefghijklmnopqrstuvwxyz");
        if (letters == 0)
            return 0;
        length += letters;
        length += strspn(text + length, "0123456789");
        /* A longer word is something else. */
        return length == word_length(text) ? length : 0;
    }
    return 0;
}

/* Start of field n (from 1) of a line, or its end; comments have no fields. */
static const char *field_at(const char *line, unsigned number)
{
    line += strspn(line, " \t");
    if (*line == '#')
        return line + strcspn(line, "\n");
    while (--number > 0) {
        line += strcspn(line, " \t\n");
        line += strspn(line, " \t");
    }
    return line;
}

/* The next place from `at` on where a device name would count; the end of the line if none. */
static const char *boot_word(const char *at)
{
    for (; *at && *at != '\n'; at++) {
        if (bf_starts_with(at, "root=/dev/"))
            return at + strlen("root=");
        if (bf_starts_with(at, "resume=/dev/"))
            return at + strlen("resume=");
    }
    return at;
}

static const char *next_place(const char *at, bool line_start, enum bf_edit_place place)
{
    if (place == BF_EDIT_BOOT_LINE)
        return boot_word(at);
    if (!line_start)
        return at + strcspn(at, "\n");
    return field_at(at, place == BF_EDIT_FIELD_1 ? 1 : 2);
}

char *bf_edit_device_names(const char *text, enum bf_edit_place place,
                           char *(*resolve)(const char *device, void *user), void *user,
                           bool *ret_unresolved)
{
    bf_auto_buf out = {0};
    bool line_start = true, changed = false;

    while (*text) {
        const char *at = next_place(text, line_start, place);
        size_t length = device_length(at);
        bf_auto_free char *device = NULL;
        bf_auto_free char *uuid = NULL;

        bf_buf_add(&out, text, (size_t)(at - text));
        text = at;
        line_start = *text == '\n';
        if (length == 0) {
            if (*text)
                bf_buf_add(&out, text++, 1);
            continue;
        }
        device = bf_xasprintf("%.*s", (int)length, text);
        uuid = resolve(device, user);
        if (uuid) {
            bf_buf_addf(&out, "UUID=%s", uuid);
            changed = true;
        } else {
            bf_buf_add(&out, text, length);
            *ret_unresolved = true;
        }
        text += length;
    }
    return changed ? bf_steal(out.text) : NULL;
}

static bool has_line(const char *text, const char *line)
{
    size_t length = strlen(line);

    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        text += strspn(text, " \t");
        if (strncmp(text, line, length) == 0 && strchr(" \t\n", text[length]))
            return true;
    }
    return false;
}

char *bf_edit_add_lines(const char *text, const char *const *lines)
{
    bf_auto_buf out = {0};
    size_t length = strlen(text);
    bool changed = false;

    bf_buf_add(&out, text, length);
    if (length > 0 && text[length - 1] != '\n')
        bf_buf_add(&out, "\n", 1);
    for (; *lines; lines++) {
        if (has_line(text, *lines))
            continue;
        bf_buf_addf(&out, "%s\n", *lines);
        changed = true;
    }
    return changed ? bf_steal(out.text) : NULL;
}

/* NAME=" or NAME=( at the start of a line; the text behind that. */
static const char *assignment(const char *text, const char *name)
{
    size_t length = strlen(name);

    for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
        if (strncmp(text, name, length) == 0 &&
            (strncmp(text + length, "=\"", 2) == 0 || strncmp(text + length, "=(", 2) == 0))
            return text + length + 2;
    return NULL;
}

static bool has_word(const char *text, size_t length, const char *word)
{
    bf_auto_free char *list = bf_xasprintf(" %.*s ", (int)length, text);
    bf_auto_free char *wanted = bf_xasprintf(" %s ", word);

    return strstr(list, wanted) != NULL;
}

char *bf_edit_add_words(const char *text, const char *name, const char *const *words)
{
    const char *value = assignment(text, name);
    size_t length = value ? strcspn(value, "\")\n") : 0;
    bf_auto_buf out = {0};
    bool changed = false;

    if (!value || value[length] != (value[-1] == '(' ? ')' : '"'))
        return NULL;
    bf_buf_add(&out, text, (size_t)(value - text) + length);
    for (; *words; words++) {
        if (has_word(value, length, *words))
            continue;
        bf_buf_addf(&out, "%s%s", length > 0 || changed ? " " : "", *words);
        changed = true;
    }
    bf_buf_add(&out, value + length, strlen(value + length));
    return changed ? bf_steal(out.text) : NULL;
}

/* --- the serial console --- */

static bool is_kernel_line(const char *line)
{
    static const char *const words[] = {"linux",   "linux16", "linuxefi", "kernel",
                                        "options", "append",  "APPEND",   "kernelopts="};

    line += strspn(line, " \t");
    for (size_t i = 0; i < bf_array_length(words); i++) {
        size_t length = strlen(words[i]);

        if (strncmp(line, words[i], length) == 0 &&
            (words[i][length - 1] == '=' || (line[length] && strchr(" \t", line[length]))))
            return true;
    }
    return false;
}

char *bf_edit_serial_console(const char *text)
{
    bf_auto_buf out = {0};
    bool changed = false;

    while (*text) {
        size_t length = strcspn(text, "\n");
        bf_auto_free char *line = bf_xasprintf("%.*s", (int)length, text);

        bf_buf_add(&out, text, length);
        /* An entry that takes its options from the environment block gets the token there; a
         * BLS file's line "linux PATH" is no command line. */
        if (is_kernel_line(line) && strstr(line, "root=") && !strstr(line, "console=ttyS0")) {
            bf_buf_addf(&out, " " BF_EDIT_SERIAL);
            changed = true;
        }
        text += length;
        if (*text)
            bf_buf_add(&out, text++, 1);
    }
    return changed ? bf_steal(out.text) : NULL;
}

char *bf_edit_environment_fit(const char *text)
{
    size_t length = strlen(text);
    bf_auto_buf out = {0};

    while (length > 0 && text[length - 1] == '#')
        length--;
    if (length > BF_EDIT_ENVIRONMENT)
        return NULL;
    bf_buf_add(&out, text, length);
    while (out.length < BF_EDIT_ENVIRONMENT)
        bf_buf_add(&out, "#", 1);
    return bf_steal(out.text);
}
