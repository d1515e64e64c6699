/* SPDX-License-Identifier: Apache-2.0 */
/* The network interface names that a Linux guest's configuration files name, and which of the
 * machine's cards each belongs to. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum bf_interfaces_form {
    BF_INTERFACES_DEBIAN,   /* interfaces(5): iface NAME inet ... */
    BF_INTERFACES_IFCFG,    /* Red Hat: DEVICE=NAME, HWADDR=MAC */
    BF_INTERFACES_KEYFILE,  /* NetworkManager: interface-name=NAME, mac-address=MAC */
    BF_INTERFACES_NETPLAN,  /* keys below ethernets:, match: by name or macaddress, set-name */
    BF_INTERFACES_NETWORKD, /* [Match]: Name=NAME, MACAddress=MAC */
    BF_INTERFACES_RULES,    /* udev: ATTR{address}=="MAC", NAME="NAME" */
    BF_INTERFACES_LINK,     /* .link: [Match] MACAddress=MAC, [Link] Name=NAME */
};

/* Each name once.  Only what is an Ethernet interface's name: en..., eth..., no pattern. */
struct bf_interfaces {
    char **names;
    char **macs; /* lower case, with colons; NULL: not told */
    size_t count, capacity, mac_capacity;
};

/* `pinned` gets the names that the file relies on; `kept` (may be NULL) those that it ties to a MAC
 * itself, whatever the card: udev's rules, .link files and netplan's set-name. */
void bf_interfaces_collect(const char *text, enum bf_interfaces_form form,
                           struct bf_interfaces *pinned, struct bf_interfaces *kept);
/* A name that is told by a file's name: wicked's ifcfg-NAME. */
void bf_interfaces_add(struct bf_interfaces *names, const char *name, const char *mac);
void bf_interfaces_done(struct bf_interfaces *names);

enum bf_interfaces_answer {
    BF_INTERFACES_CLEAR = 0, /* every pinned name has its card */
    BF_INTERFACES_BY_ORDER,  /* names without MAC were given to the cards in their order */
    BF_INTERFACES_UNCLEAR,   /* some names have none; they are not in ret_assigned */
};
/* Which name each card is to be given, beyond what the guest does itself.  macs: the machine's, in
 * its order.  ret_assigned is empty at call. */
enum bf_interfaces_answer bf_interfaces_assign(const struct bf_interfaces *pinned,
                                               const struct bf_interfaces *kept,
                                               const char *const *macs, size_t mac_count,
                                               struct bf_interfaces *ret_assigned);

/* Does the text match interfaces by what changes with the card: its driver or its place on the
 * bus? */
bool bf_interfaces_match_hardware(const char *text, enum bf_interfaces_form form);
