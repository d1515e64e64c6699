/* SPDX-License-Identifier: Apache-2.0 */
/* The seam between the service and a platform, part 1: the platform itself.
 * Part 2 is source.h, part 3 is target.h.
 *
 * A platform handle is one logged-in endpoint.  The service calls the front
 * functions of these three headers; only connector.c, source.c and target.c
 * touch a connector's ops table (ops.h), assert the preconditions and that
 * failure always carries an error.  Optional operations that a connector does not have take the
 * fallback documented at the function.
 *
 * Threads:   one thread at a time per handle; each job opens its own.
 *            bf_platform_cancel() alone may come from any thread.
 * Blocking:  every call may block on the network, so none is made on the main
 *            loop.  Every wait inside has a deadline and ends soon after cancel.
 * Ownership: "ret_" results belong to the caller; untouched on failure.
 * Tags:      a tag is "bf-" and a ledger row's id.  An operation that makes
 *            something is given the tag of the row that announced it, puts it
 *            into the thing's name or metadata, and, called again with
 *            the same tag, finds what the first call made; it makes nothing twice.
 * Refs:      what an operation made is described by a ref: JSON text only its
 *            connector reads, stored by the service, valid across restarts.
 * Removal:   removing what is gone already is success.
 * Retries:   made above this seam.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/secret.h"
#include "connectors/finding.h"
#include "connectors/machine.h"

struct bf_platform; /* opaque; each connector embeds it first */

struct bf_platform_conf {
    const char *name;                 /* the admin's name for it */
    const char *type;                 /* connector: "libvirt", ... */
    const char *url;                  /* where it answers; its form is the connector's */
    const char *user;                 /* NULL: none */
    const struct bf_secret *password; /* NULL: none */
    struct json_object *options;      /* connector's own settings; NULL: none */
    const char *work_directory;       /* for sockets and scratch files, short, exists, mode 0700 */
};

int bf_platform_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                     struct bf_error *err) __attribute__((warn_unused_result));
/* What is wrong with options by themselves, before a platform is opened: names, values, what goes
 * together.  Asks nobody and blocks on nothing: any thread.  options NULL: none. */
int bf_platform_check_options(const char *type, struct json_object *options, struct bf_error *err)
    __attribute__((warn_unused_result));
void bf_platform_close(struct bf_platform *platform); /* NULL allowed */
/* Make the call in progress, and all later ones but removals, end with BF_E_CANCELLED. */
void bf_platform_cancel(struct bf_platform *platform);
/* Undo a cancel, before cleaning up with the same handle. */
void bf_platform_uncancel(struct bf_platform *platform);

struct bf_platform_info {
    char *version; /* "libvirt 9.0.0, QEMU 7.2.22" */
    bool can_source;
    bool can_target;
    struct bf_findings findings; /* privileges, capabilities */
};
int bf_platform_info(struct bf_platform *platform, struct bf_platform_info *ret_info,
                     struct bf_error *err);
void bf_platform_info_done(struct bf_platform_info *info);

/* Called per machine, which it borrows; non-zero stops the listing with success. */
typedef int bf_machine_fn(const struct bf_machine *machine, void *user);
int bf_platform_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                         struct bf_error *err);
/* By id, else by name (ambiguous name: BF_E_BAD_INPUT). */
int bf_platform_machine(struct bf_platform *platform, const char *id_or_name,
                        struct bf_machine **ret_machine, struct bf_error *err);

/* What a mapping can name, a network also by its "id" where it has one.
 * {"networks":[{"name","id","isolated"}],"storages":[{"name","free_bytes",
 * "size_bytes"}]} */
int bf_platform_resources(struct bf_platform *platform, struct json_object **ret_resources,
                          struct bf_error *err);

/* Power, on either side.  All are idempotent. */
int bf_platform_power(struct bf_platform *platform, const char *machine_id,
                      enum bf_power *ret_power, struct bf_error *err);
/* Ask the guest to shut down and wait; not off by the deadline: BF_E_SHUTDOWN_REFUSED. */
int bf_platform_shut_down(struct bf_platform *platform, const char *machine_id,
                          struct bf_deadline deadline, struct bf_error *err);
int bf_platform_power_off(struct bf_platform *platform, const char *machine_id,
                          struct bf_error *err);
int bf_platform_power_on(struct bf_platform *platform, const char *machine_id,
                         struct bf_error *err);

/* Janitor: everything on the platform that carries a tag of ours.  `kind` is a ledger kind,
 * `ref` what the matching remove operation takes. */
typedef int bf_tagged_fn(const char *kind, const char *tag, const char *ref, const char *name,
                         void *user);
int bf_platform_tagged(struct bf_platform *platform, bf_tagged_fn *fn, void *user,
                       struct bf_error *err);

/* The registry: one table of the connectors built in. */
const char *const *bf_platform_types(void); /* NULL-terminated */

static inline void bf_platform_close_at(struct bf_platform **at)
{
    bf_platform_close(*at);
}
#define bf_auto_platform __attribute__((cleanup(bf_platform_close_at))) struct bf_platform
