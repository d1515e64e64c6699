/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a first boot: plain text, one step a line, so that an admin can read it in the
 * guest.
 *
 *   blockferry-firstboot 1
 *   run SECONDS COMMAND LINE              with %VARIABLES%; killed when it takes longer
 *   address MAC ADDRESS MASK              IPv4; the adapter is found by its MAC
 *   gateway MAC ADDRESS
 *   dns MAC ADDRESS
 *
 * This half knows no Windows, so that it can be tested anywhere. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define BF_STEP_TEXT 1024
#define BF_STEP_MAC 18

enum bf_step_kind { BF_STEP_NONE = 0, BF_STEP_RUN, BF_STEP_ADDRESS, BF_STEP_GATEWAY, BF_STEP_DNS };

struct bf_step {
    enum bf_step_kind kind;
    unsigned seconds;
    char mac[BF_STEP_MAC];   /* "52:54:00:12:34:56", lower case */
    char text[BF_STEP_TEXT]; /* the command, or the address */
    char mask[16];
};

/* What was set on one adapter so far: netsh sets the first of a kind and adds the others. */
struct bf_step_counts {
    unsigned addresses, gateways, servers;
};

/* Read the next line of *text_io and move behind it; false at the end.  A line that is no step
 * (the head, an empty one, a malformed one) has kind BF_STEP_NONE. */
bool bf_step_next(const char **text_io, struct bf_step *ret_step);
bool bf_step_head(const char *text);
/* The netsh command for a step on the adapter with this interface number; false: too long. */
bool bf_step_netsh(const struct bf_step *step, unsigned long interface_index,
                   struct bf_step_counts *counts, char *ret_command, size_t size);
/* MAC of six bytes as in struct bf_step. */
void bf_step_mac(const unsigned char *bytes, char ret_mac[BF_STEP_MAC]);
