/* SPDX-License-Identifier: Apache-2.0 */
/* The inspecting half of blockferry-convert (plan.h): what the one system on the disks is and what
 * its conversion will change.  The session is launched, with read-only disks.
 *
 * A guest that no conversion can do is described by findings; only what keeps us from looking
 * is a failure. */
#pragma once

#include <json-c/json.h>

#include "guest/session.h"

/* What the conversion will be asked for. */
struct bf_inspect_wishes {
    const char *const *macs;
    size_t mac_count;
    const char *virtio_win;    /* drivers for a Windows guest, or NULL */
    bool grow, serial_console; /* of a Linux guest */
};

int bf_inspect_guest(struct bf_session *session, const struct bf_inspect_wishes *wishes,
                     struct json_object *plan, struct bf_error *err);

/* inspect_linux.c; the guest is mounted. */
int bf_inspect_linux(struct bf_session *session, const struct bf_inspect_wishes *wishes,
                     struct json_object *plan, struct bf_error *err);
/* The last KEY=VALUE of a shell-like text, without quotes; NULL: none.  Caller frees. */
char *bf_inspect_value(const char *text, const char *key);
/* inspect_facts.c; the guest is mounted. */
void bf_inspect_linux_facts(struct bf_session *session, struct json_object *plan);
void bf_inspect_mounts(struct bf_session *session, struct json_object *facts);

/* plan_open.c: open the Linux guest as its plan knows it, without inspection; the session is one
 * of a conversion.  False: it is not as planned, *ret_why (caller frees) says what differs, and
 * nothing is mounted. */
bool bf_plan_open(struct bf_session *session, struct json_object *plan, char **ret_why);
/* A digest of a file, as the plan keeps it; NULL: no such file.  Caller frees. */
char *bf_plan_digest(struct bf_session *session, const char *path);
