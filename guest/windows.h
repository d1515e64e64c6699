/* SPDX-License-Identifier: Apache-2.0 */
/* Windows guests: inspection, and our own conversion, in one appliance session.
 *
 * The conversion makes viostor and vioscsi start at boot (registry, driver files), stages netkvm
 * and balloon, and leaves a service that does at the first boot what only a running Windows can:
 * install the packages, give the new adapters their addresses, remove VMware Tools.
 * docs/guest-conversion.md has the list, and what was not proven on a real Windows.
 *
 * The session is launched.  Whatever is mounted in it is unmounted; at the end nothing is.
 * Everything is read and decided on a read-only mount first; only a guest that can be converted is
 * mounted for writing.  No program of the guest is run. */
#pragma once

#include <json-c/json.h>

#include "guest/session.h"

#define BF_FIRST_BOOT_SERVICE "blockferry-firstboot"

struct bf_windows_options {
    const char *virtio_win; /* directory or ISO; NULL: the distribution's places */
    const char *const *macs;
    size_t mac_count;
};

/* Before the launch: the driver ISO, if it is one, becomes a read-only drive of the appliance, so
 * that its file system is not parsed on the host. */
int bf_windows_add_drivers(struct bf_session *session, const char *virtio_win,
                           struct bf_error *err);

/* Adds to a plan (plan.h): os, root, firmware, bootloader, changes, drivers, findings, facts. Fails
 * when there is no Windows to be read: BF_E_GUEST_UNKNOWN, _ENCRYPTED, _UNSUPPORTED, _REGISTRY.  A
 * state that only the conversion refuses (hibernated, dirty registry, no drivers) is a finding. */
int bf_windows_inspect(struct bf_session *session, const struct bf_windows_options *options,
                       struct json_object *plan, struct bf_error *err);

/* ret: {"guest_os", "changes": [text], "warnings": [text], "drivers": [text]} is added to
 * `report`.  BF_E_GUEST_HIBERNATED, _REGISTRY, _REGISTRY_DIRTY, BF_E_CONVERT_NO_DRIVERS and
 * those of inspection: nothing was changed.  The caller closes the session. */
int bf_windows_convert(struct bf_session *session, const struct bf_windows_options *options,
                       struct json_object *report, struct bf_error *err);
