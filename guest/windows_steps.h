/* SPDX-License-Identifier: Apache-2.0 */
/* What the first boot of a converted Windows has to do: the text that firstboot.exe reads
 * (guest/firstboot/steps.h has its form).
 *
 * Addresses: the guest's registry binds them to adapters by a number that a new adapter gets anew.
 * Which old adapter is which card of the machine, is known
 * - by its MAC address, where the registry has it: set by hand (NetworkAddress), or as part of the
 * device's instance name, where cards with a PCI Express serial number (e1000e, vmxnet3) have it;
 * - else by order, and only if exactly as many adapters as cards are left.
 * An adapter that cannot be told keeps nothing: a warning has its addresses.
 *
 * Pure functions; texts of the guest go into the steps only when they are IPv4 addresses or product
 * codes. */
#pragma once

#include <json-c/json.h>
#include <stddef.h>

#include "base/text.h"

struct bf_windows_cards {
    const char *const *macs;
    size_t count;
};

/* The whole file; NULL: nothing is to be done.  Warnings (texts) are added to the array.  Caller
 * frees.  `drivers`: are packages staged, which are to be installed. */
char *bf_windows_steps(struct json_object *facts, const struct bf_windows_cards *cards,
                       bool drivers, struct json_object *warnings);
