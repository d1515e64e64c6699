/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/windows_steps.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "guest/windows_facts.h"

#define CARDS_MAX 64
#define INSTALL_S 600
#define REMOVE_S 900
#define FIRST_ADD_DRIVER 14393

static bool is_ipv4(const char *text)
{
    struct in_addr address;

    return text && inet_pton(AF_INET, text, &address) == 1;
}

/* A card's MAC as the 12 hex digits that a registry has. */
static bool hex_of(const char *mac, char ret_hex[13])
{
    unsigned bytes[6];
    char more;

    if (!mac || sscanf(mac, "%2x%*1[:-]%2x%*1[:-]%2x%*1[:-]%2x%*1[:-]%2x%*1[:-]%2x%c", &bytes[0],
                       &bytes[1], &bytes[2], &bytes[3], &bytes[4], &bytes[5], &more) != 6)
        return false;
    for (size_t i = 0; i < 6; i++)
        snprintf(ret_hex + 2 * i, 3, "%02X", bytes[i] & 0xff);
    return true;
}

/* The device's serial number is the MAC as an EUI-64, in the order of bytes or against it; vendors
 * put FFFF or FFFE in its middle. */
static bool instance_has(const char *instance, const char *hex)
{
    static const char *const middles[] = {"FFFF", "FFFE"};
    const char *serial = instance ? strrchr(instance, '\\') : NULL;

    for (size_t i = 0; serial && i < bf_array_length(middles); i++) {
        bf_auto_free char *forward = bf_xasprintf("%.6s%s%s", hex, middles[i], hex + 6);
        char backward[17] = "";

        for (size_t j = 0; j < 8; j++)
            memcpy(backward + 2 * j, forward + 14 - 2 * j, 2);
        if (strcasestr(serial, forward) || strcasestr(serial, backward))
            return true;
    }
    return false;
}

static bool is_card_of(struct json_object *adapter, const char *hex)
{
    const char *mac = bf_facts_text(adapter, "mac");
    char digits[13];
    size_t length = 0;

    for (; mac && *mac && length < 12; mac++)
        if (*mac != '-' && *mac != ':')
            digits[length++] = *mac;
    digits[length] = '\0';
    return strcasecmp(digits, hex) == 0 || instance_has(bf_facts_text(adapter, "instance"), hex);
}

/* An adapter with something that DHCP would not bring back. */
static bool is_static(struct json_object *adapter)
{
    return bf_facts_count(adapter, "addresses") > 0 || bf_facts_count(adapter, "dns") > 0;
}

/* owner[i]: the card of adapter i, or -1. */
static void match(struct json_object *facts, const struct bf_windows_cards *cards, int *owner)
{
    size_t count = bf_facts_count(facts, "adapters"), free_adapters = 0, free_cards = 0;
    bool taken[CARDS_MAX] = {0};

    for (size_t i = 0; i < count; i++) {
        owner[i] = -1;
        for (size_t j = 0; j < cards->count && owner[i] < 0; j++) {
            char hex[13];

            if (!taken[j] && hex_of(cards->macs[j], hex) &&
                is_card_of(bf_facts_item(facts, "adapters", i), hex))
                owner[i] = (int)j;
        }
        if (owner[i] >= 0)
            taken[owner[i]] = true;
        else
            free_adapters++;
    }
    for (size_t j = 0; j < cards->count; j++)
        free_cards += !taken[j];
    if (free_adapters != free_cards)
        return;
    for (size_t i = 0, j = 0; i < count; i++) {
        if (owner[i] >= 0)
            continue;
        while (taken[j])
            j++;
        taken[j] = true;
        owner[i] = (int)j;
    }
}

static char *describe(struct json_object *adapter)
{
    bf_auto_buf text = {0};
    const char *name = bf_facts_text(adapter, "name");

    bf_buf_addf(&text, "%s:", name ? name : "an adapter");
    for (size_t i = 0; i < bf_facts_count(adapter, "addresses"); i++) {
        struct json_object *pair = bf_facts_item(adapter, "addresses", i);

        bf_buf_addf(&text, " %s/%s", bf_facts_text(pair, "address"), bf_facts_text(pair, "mask"));
    }
    for (size_t i = 0; i < bf_facts_count(adapter, "gateways"); i++)
        bf_buf_addf(&text, " gateway %s",
                    json_object_get_string(bf_facts_item(adapter, "gateways", i)));
    for (size_t i = 0; i < bf_facts_count(adapter, "dns"); i++)
        bf_buf_addf(&text, " dns %s", json_object_get_string(bf_facts_item(adapter, "dns", i)));
    return bf_steal(text.text);
}

static void warn_unknown(struct json_object *adapter, struct json_object *warnings)
{
    bf_auto_free char *what = describe(adapter);
    bf_auto_free char *text = bf_xasprintf(
        "which card of the machine the guest's adapter is, cannot be told; set it by hand: %s",
        what);

    json_object_array_add(warnings, json_object_new_string(text));
}

static void add_lines(struct json_object *adapter, const char *mac, const char *kind,
                      const char *list, struct bf_buf *steps)
{
    for (size_t i = 0; i < bf_facts_count(adapter, list); i++) {
        const char *text = json_object_get_string(bf_facts_item(adapter, list, i));

        if (is_ipv4(text))
            bf_buf_addf(steps, "%s %s %s\r\n", kind, mac, text);
    }
}

static void add_adapter(struct json_object *adapter, const char *mac, struct bf_buf *steps)
{
    char hex[13], colons[18] = "";

    if (!hex_of(mac, hex))
        return;
    for (size_t i = 0; i < 6; i++)
        snprintf(colons + 3 * i, 4, i < 5 ? "%.2s:" : "%.2s", hex + 2 * i);
    for (size_t i = 0; i < bf_facts_count(adapter, "addresses"); i++) {
        struct json_object *pair = bf_facts_item(adapter, "addresses", i);
        const char *address = bf_facts_text(pair, "address"), *mask = bf_facts_text(pair, "mask");

        if (is_ipv4(address) && is_ipv4(mask))
            bf_buf_addf(steps, "address %s %s %s\r\n", colons, address, mask);
    }
    add_lines(adapter, colons, "gateway", "gateways", steps);
    add_lines(adapter, colons, "dns", "dns", steps);
}

static void add_addresses(struct json_object *facts, const struct bf_windows_cards *cards,
                          struct bf_buf *steps, struct json_object *warnings)
{
    int owner[CARDS_MAX];
    struct bf_windows_cards some = *cards;
    size_t count = bf_facts_count(facts, "adapters");

    if (some.count > CARDS_MAX)
        some.count = CARDS_MAX;
    if (count > CARDS_MAX)
        return;
    match(facts, &some, owner);
    for (size_t i = 0; i < count; i++) {
        struct json_object *adapter = bf_facts_item(facts, "adapters", i);

        if (!is_static(adapter))
            continue;
        if (owner[i] >= 0) {
            add_adapter(adapter, some.macs[owner[i]], steps);
            continue;
        }
        warn_unknown(adapter, warnings);
    }
}

/* pnputil learned /add-driver with Windows 10 1607 and Server 2016. */
static void add_install(struct json_object *facts, struct bf_buf *steps)
{
    const char *options = bf_facts_number(facts, "build") >= FIRST_ADD_DRIVER
                              ? "/add-driver \"%SystemRoot%\\Drivers\\VirtIO\\*.inf\" /install"
                              : "-i -a \"%SystemRoot%\\Drivers\\VirtIO\\*.inf\"";

    bf_buf_addf(steps, "run %d \"%%SystemRoot%%\\System32\\pnputil.exe\" %s\r\n", INSTALL_S,
                options);
}

char *bf_windows_steps(struct json_object *facts, const struct bf_windows_cards *cards,
                       bool drivers, struct json_object *warnings)
{
    bf_auto_buf steps = {0};

    if (drivers)
        add_install(facts, &steps);
    add_addresses(facts, cards, &steps, warnings);
    /* Last: it can take long, and what the network needs is done. */
    for (size_t i = 0; i < bf_facts_count(facts, "vmware_tools"); i++)
        bf_buf_addf(&steps,
                    "run %d \"%%SystemRoot%%\\System32\\msiexec.exe\" /x %s /qn /norestart\r\n",
                    REMOVE_S, json_object_get_string(bf_facts_item(facts, "vmware_tools", i)));
    return steps.text ? bf_xasprintf("blockferry-firstboot 1\r\n%s", steps.text) : NULL;
}
