/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/interfaces.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define NAME_MAX_LENGTH 15 /* the kernel's IFNAMSIZ without its NUL */
#define NAMES_MAX 64

static void add_name(struct bf_interfaces *names, const char *text, size_t length)
{
    if (length > 0 && strchr("\"'", text[0]) && text[length - 1] == text[0] && length > 1) {
        text++;
        length -= 2;
    }
    if (length < 3 || length > NAME_MAX_LENGTH || names->count >= NAMES_MAX ||
        (strncmp(text, "en", 2) != 0 && strncmp(text, "eth", 3) != 0))
        return;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]))
            return;
    for (size_t i = 0; i < names->count; i++)
        if (strlen(names->names[i]) == length && memcmp(names->names[i], text, length) == 0)
            return;
    bf_xgrow(&names->names, &names->capacity, names->count + 1, sizeof(*names->names));
    names->names[names->count++] = bf_xasprintf("%.*s", (int)length, text);
}

static size_t word_length(const char *text)
{
    return strcspn(text, " \t\r\n");
}

/* KEY=VALUE at the start of a line. */
static void take_assignment(const char *line, const char *key, struct bf_interfaces *names)
{
    size_t length = strlen(key);

    if (strncmp(line, key, length) == 0 && line[length] == '=')
        add_name(names, line + length + 1, word_length(line + length + 1));
}

static void take_debian(const char *line, struct bf_interfaces *names)
{
    line += strspn(line, " \t");
    if (!bf_starts_with(line, "iface") || !strchr(" \t", line[5]))
        return;
    line += 5 + strspn(line + 5, " \t");
    add_name(names, line, word_length(line));
}

/* Enough of YAML for netplan's block form: the keys one level below "ethernets:". */
struct netplan {
    size_t ethernets; /* indentation of "ethernets:" + 1; 0: not in it */
    size_t keys;      /* indentation of its keys; 0: none seen yet */
};

static void take_netplan(const char *line, struct netplan *state, struct bf_interfaces *names)
{
    size_t indent = strspn(line, " ");
    const char *key = line + indent;
    size_t length = strcspn(key, ":\n");

    if (*key == '#' || *key == '\n' || *key == '\0')
        return;
    if (bf_starts_with(key, "ethernets:")) {
        *state = (struct netplan){.ethernets = indent + 1};
        return;
    }
    if (state->ethernets == 0)
        return;
    if (indent < state->ethernets) {
        *state = (struct netplan){0};
        return;
    }
    if (state->keys == 0)
        state->keys = indent;
    if (indent == state->keys && key[length] == ':')
        add_name(names, key, length);
}

void bf_interfaces_collect(const char *text, enum bf_interfaces_form form,
                           struct bf_interfaces *names)
{
    struct netplan netplan = {0};
    bool match = false;

    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        switch (form) {
        case BF_INTERFACES_DEBIAN:
            take_debian(text, names);
            break;
        case BF_INTERFACES_IFCFG:
            take_assignment(text, "DEVICE", names);
            break;
        case BF_INTERFACES_KEYFILE:
            take_assignment(text, "interface-name", names);
            break;
        case BF_INTERFACES_NETPLAN:
            take_netplan(text, &netplan, names);
            break;
        case BF_INTERFACES_NETWORKD:
            if (*text == '[')
                match = bf_starts_with(text, "[Match]");
            if (match)
                take_assignment(text, "Name", names);
            break;
        default:
            break;
        }
    }
}

void bf_interfaces_done(struct bf_interfaces *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
    *names = (struct bf_interfaces){0};
}
