/* SPDX-License-Identifier: Apache-2.0 */
/* The network interface names that a Linux guest's configuration files name. */
#pragma once

#include <stddef.h>

enum bf_interfaces_form {
    BF_INTERFACES_DEBIAN,   /* interfaces(5): iface NAME inet ... */
    BF_INTERFACES_IFCFG,    /* DEVICE=NAME */
    BF_INTERFACES_KEYFILE,  /* NetworkManager: interface-name=NAME */
    BF_INTERFACES_NETPLAN,  /* keys below ethernets: */
    BF_INTERFACES_NETWORKD, /* Name=NAME below [Match] */
};

/* Each name once.  Only what is an Ethernet interface's name: en..., eth..., no pattern. */
struct bf_interfaces {
    char **names;
    size_t count, capacity;
};

void bf_interfaces_collect(const char *text, enum bf_interfaces_form form,
                           struct bf_interfaces *names);
void bf_interfaces_done(struct bf_interfaces *names);
