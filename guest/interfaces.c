/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/interfaces.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define NAME_MAX_LENGTH 15 /* the kernel's IFNAMSIZ without its NUL */
#define NAMES_MAX 64
#define MAC_LENGTH 17

/* "00-0C-29-AA-BB-CC" -> "00:0c:29:aa:bb:cc"; NULL: no MAC address. */
static char *plain_mac(const char *text)
{
    char *mac;

    text += strspn(text, " \t\"'");
    if (strspn(text, "0123456789abcdefABCDEF:-") != MAC_LENGTH)
        return NULL;
    mac = bf_xasprintf("%.*s", MAC_LENGTH, text);
    for (size_t i = 0; i < MAC_LENGTH; i++)
        mac[i] = mac[i] == '-' ? ':' : (char)tolower((unsigned char)mac[i]);
    return mac;
}

static bool is_interface_name(const char *name)
{
    size_t length = strlen(name);

    if (length < 3 || length > NAME_MAX_LENGTH ||
        (!bf_starts_with(name, "en") && !bf_starts_with(name, "eth")))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]))
            return false;
    return true;
}

/* Quotes go. */
static char *plain_word(const char *text, const char *ends)
{
    size_t length;

    text += strspn(text, " \t\"'");
    length = strcspn(text, ends);
    while (length > 0 && strchr(" \t\"'", text[length - 1]))
        length--;
    return bf_xasprintf("%.*s", (int)length, text);
}

void bf_interfaces_add(struct bf_interfaces *names, const char *name, const char *mac)
{
    if (!name || !is_interface_name(name) || names->count >= NAMES_MAX)
        return;
    for (size_t i = 0; i < names->count; i++)
        if (bf_streq(names->names[i], name)) {
            if (!names->macs[i])
                names->macs[i] = mac ? plain_mac(mac) : NULL;
            return;
        }
    bf_xgrow(&names->names, &names->capacity, names->count + 1, sizeof(*names->names));
    bf_xgrow(&names->macs, &names->mac_capacity, names->count + 1, sizeof(*names->macs));
    names->names[names->count] = bf_xstrdup(name);
    names->macs[names->count] = mac ? plain_mac(mac) : NULL;
    names->count++;
}

void bf_interfaces_done(struct bf_interfaces *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->names[i]);
        free(names->macs[i]);
    }
    free(names->names);
    free(names->macs);
    *names = (struct bf_interfaces){0};
}

/* --- forms of one interface a file --- */

/* KEY=VALUE of a section ("" before the first; NULL: any); caller frees, NULL: none. */
static char *find_value(const char *text, const char *section, const char *key)
{
    size_t length = strlen(key);
    bf_auto_free char *now = bf_xstrdup("");

    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        const char *line = text + strspn(text, " \t");

        if (*line == '[') {
            free(now);
            now = bf_xasprintf("%.*s", (int)strcspn(line + 1, "]\n"), line + 1);
        } else if (strncmp(line, key, length) == 0 &&
                   line[length + strspn(line + length, " \t")] == '=' &&
                   (!section || bf_streq(now, section))) {
            return plain_word(strchr(line, '=') + 1, "\r\n");
        }
    }
    return NULL;
}

static void take_values(const char *text, const char *section, const char *name_section,
                        const char *name_key, const char *mac_key, struct bf_interfaces *names)
{
    bf_auto_free char *name = find_value(text, name_section, name_key);
    bf_auto_free char *mac = find_value(text, section, mac_key);

    bf_interfaces_add(names, name, mac);
}

/* --- forms of a line each --- */

static void take_debian(const char *line, struct bf_interfaces *names)
{
    bf_auto_free char *name = NULL;

    line += strspn(line, " \t");
    if (!bf_starts_with(line, "iface") || !strchr(" \t", line[5]))
        return;
    line += 5 + strspn(line + 5, " \t");
    name = plain_word(line, " \t\r\n");
    bf_interfaces_add(names, name, NULL);
}

/* What stands in quotes behind the key; NULL: the key is not there. */
static char *quoted(const char *line, const char *key)
{
    const char *at = strstr(line, key);

    return at ? plain_word(at + strlen(key), "\"\n") : NULL;
}

/* A rule that asks for a driver or a place is none that will match again. */
static void take_rule(const char *line, struct bf_interfaces *kept)
{
    bf_auto_free char *rule = bf_xasprintf("%.*s", (int)strcspn(line, "\n"), line);
    bf_auto_free char *mac = quoted(rule, "ATTR{address}==\"");
    bf_auto_free char *old_mac = quoted(rule, "SYSFS{address}==\"");
    bf_auto_free char *driver = quoted(rule, "DRIVERS==\"");
    bf_auto_free char *name = quoted(rule, " NAME=\"");

    if (rule[0] == '#' || strstr(rule, "KERNELS==\"") ||
        (driver && !bf_streq(driver, "?*") && !bf_starts_with(driver, "virtio")))
        return;
    if (mac || old_mac)
        bf_interfaces_add(kept, name, mac ? mac : old_mac);
}

/* --- netplan --- */

/* Enough of YAML for netplan's block form: the keys one level below "ethernets:" and what each
 * interface is matched by. */
struct netplan {
    size_t ethernets; /* indentation of "ethernets:" + 1; 0: not in it */
    size_t keys;      /* indentation of its keys; 0: none seen yet */
    char *key, *match_name, *mac, *set_name;
    bool match;
};

static void end_interface(struct netplan *state, struct bf_interfaces *pinned,
                          struct bf_interfaces *kept)
{
    const char *name = state->match ? state->match_name : state->key;

    if (state->key && state->set_name && state->mac)
        bf_interfaces_add(kept ? kept : pinned, state->set_name, state->mac);
    else if (state->key && !(state->match && state->mac))
        bf_interfaces_add(pinned, name, NULL);
    free(state->key);
    free(state->match_name);
    free(state->mac);
    free(state->set_name);
    *state = (struct netplan){.ethernets = state->ethernets, .keys = state->keys};
}

static void take_member(struct netplan *state, const char *key)
{
    const char *value = strchr(key, ':');

    if (!value)
        return;
    value++;
    if (bf_starts_with(key, "match:")) {
        state->match = true;
    } else if (bf_starts_with(key, "name:") && !state->match_name) {
        state->match_name = plain_word(value, "#\r\n");
    } else if (bf_starts_with(key, "macaddress:") && state->match && !state->mac) {
        state->mac = plain_word(value, "#\r\n");
    } else if (bf_starts_with(key, "set-name:") && !state->set_name) {
        state->set_name = plain_word(value, "#\r\n");
    }
}

static void take_netplan(const char *line, struct netplan *state, struct bf_interfaces *pinned,
                         struct bf_interfaces *kept)
{
    size_t indent = strspn(line, " ");
    const char *key = line + indent;

    if (*key == '#' || *key == '\r' || *key == '\n' || *key == '\0')
        return;
    if (state->ethernets > 0 && indent < state->ethernets) {
        end_interface(state, pinned, kept);
        *state = (struct netplan){0};
    }
    if (state->ethernets == 0 && bf_starts_with(key, "ethernets:")) {
        *state = (struct netplan){.ethernets = indent + 1};
        return;
    }
    if (state->ethernets == 0)
        return;
    if (state->keys == 0)
        state->keys = indent;
    if (indent > state->keys) {
        take_member(state, key);
        return;
    }
    end_interface(state, pinned, kept);
    state->key = plain_word(key, ":\n");
}

static void collect_netplan(const char *text, struct bf_interfaces *pinned,
                            struct bf_interfaces *kept)
{
    struct netplan state = {0};

    for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
        take_netplan(text, &state, pinned, kept);
    end_interface(&state, pinned, kept);
}

void bf_interfaces_collect(const char *text, enum bf_interfaces_form form,
                           struct bf_interfaces *pinned, struct bf_interfaces *kept)
{
    switch (form) {
    case BF_INTERFACES_DEBIAN:
    case BF_INTERFACES_RULES:
        for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
            if (form == BF_INTERFACES_DEBIAN)
                take_debian(text, pinned);
            else if (kept)
                take_rule(text, kept);
        }
        break;
    case BF_INTERFACES_IFCFG:
        take_values(text, NULL, NULL, "DEVICE", "HWADDR", pinned);
        break;
    case BF_INTERFACES_KEYFILE:
        take_values(text, NULL, "connection", "interface-name", "mac-address", pinned);
        break;
    case BF_INTERFACES_NETPLAN:
        collect_netplan(text, pinned, kept);
        break;
    case BF_INTERFACES_NETWORKD:
        take_values(text, "Match", "Match", "Name", "MACAddress", pinned);
        break;
    case BF_INTERFACES_LINK:
        if (kept && !bf_interfaces_match_hardware(text, form))
            take_values(text, "Match", "Link", "Name", "MACAddress", kept);
        break;
    default:
        break;
    }
}

bool bf_interfaces_match_hardware(const char *text, enum bf_interfaces_form form)
{
    bf_auto_free char *driver = NULL;
    bf_auto_free char *path = NULL;

    if (form == BF_INTERFACES_NETPLAN)
        return strstr(text, " driver:") != NULL;
    driver = find_value(text, "Match", "Driver");
    path = find_value(text, "Match", "Path");
    return (driver && !bf_starts_with(driver, "virtio")) || path;
}

/* --- which card --- */

/* A name's number, by which its kind is ordered: ens160 before ens1024. */
static bool comes_before(const char *a, const char *b)
{
    return strlen(a) != strlen(b) ? strlen(a) < strlen(b) : strcmp(a, b) < 0;
}

static bool has_mac(const struct bf_interfaces *names, const char *mac)
{
    for (size_t i = 0; i < names->count; i++)
        if (bf_streq(names->macs[i], mac))
            return true;
    return false;
}

static bool has_name(const struct bf_interfaces *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (bf_streq(names->names[i], name))
            return true;
    return false;
}

/* Of the names without a MAC that nobody keeps, the n-th in order; NULL: there are fewer. */
static const char *free_name(const struct bf_interfaces *pinned, const struct bf_interfaces *kept,
                             size_t number)
{
    const char *last = NULL;

    for (size_t n = 0; n <= number; n++) {
        const char *next = NULL;

        for (size_t i = 0; i < pinned->count; i++) {
            const char *name = pinned->names[i];

            if (!pinned->macs[i] && !has_name(kept, name) && (!last || comes_before(last, name)) &&
                (!next || comes_before(name, next)))
                next = name;
        }
        if (!next)
            return NULL;
        last = next;
    }
    return last;
}

enum bf_interfaces_answer bf_interfaces_assign(const struct bf_interfaces *pinned,
                                               const struct bf_interfaces *kept,
                                               const char *const *macs, size_t mac_count,
                                               struct bf_interfaces *ret_assigned)
{
    size_t names = 0, cards = 0;

    for (size_t i = 0; i < mac_count; i++) {
        bf_auto_free char *mac = plain_mac(macs[i]);

        if (!mac || has_mac(kept, mac))
            continue;
        for (size_t j = 0; j < pinned->count; j++)
            if (bf_streq(pinned->macs[j], mac) && !has_name(kept, pinned->names[j]))
                bf_interfaces_add(ret_assigned, pinned->names[j], mac);
        cards += !has_mac(ret_assigned, mac);
    }
    while (free_name(pinned, kept, names))
        names++;
    if (names == 0)
        return BF_INTERFACES_CLEAR;
    if (names != cards)
        return BF_INTERFACES_UNCLEAR;
    for (size_t i = 0, number = 0; i < mac_count; i++) {
        bf_auto_free char *mac = plain_mac(macs[i]);

        if (mac && !has_mac(kept, mac) && !has_mac(ret_assigned, mac))
            bf_interfaces_add(ret_assigned, free_name(pinned, kept, number++), mac);
    }
    return names == 1 ? BF_INTERFACES_CLEAR : BF_INTERFACES_BY_ORDER;
}
