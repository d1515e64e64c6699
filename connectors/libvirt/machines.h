/* SPDX-License-Identifier: Apache-2.0 */
/* Domains of a connection: found, described, switched. */
#pragma once

#include "connectors/libvirt/domain_xml.h"
#include "connectors/libvirt/session.h"

/* By UUID; `gone` is the error for one that is not there. */
int bf_libvirt_lookup(struct bf_libvirt *lv, const char *uuid, enum bf_error_code gone,
                      virDomainPtr *ret_domain, struct bf_error *err);
/* As lookup, but a domain that is not there is success with *ret_domain NULL. */
int bf_libvirt_lookup_maybe(struct bf_libvirt *lv, const char *uuid, virDomainPtr *ret_domain,
                            struct bf_error *err);
/* Live description (of a machine that is off: the persistent one), with power, and the sizes and
 * paths of disks. */
int bf_libvirt_describe(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_domain *ret,
                        struct bf_error *err);
int bf_libvirt_is_active(struct bf_libvirt *lv, virDomainPtr vir, bool *ret_active,
                         struct bf_error *err);
/* Pull the plug; one that is off is success. */
int bf_libvirt_destroy(struct bf_libvirt *lv, virDomainPtr vir, struct bf_error *err);

/* Members of bf_connector_ops. */
int bf_libvirt_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                        struct bf_error *err);
int bf_libvirt_machine(struct bf_platform *platform, const char *id_or_name,
                       struct bf_machine **ret_machine, struct bf_error *err);
int bf_libvirt_power(struct bf_platform *platform, const char *machine_id, enum bf_power *ret_power,
                     struct bf_error *err);
int bf_libvirt_shut_down(struct bf_platform *platform, const char *machine_id,
                         struct bf_deadline deadline, struct bf_error *err);
int bf_libvirt_power_off(struct bf_platform *platform, const char *machine_id,
                         struct bf_error *err);
int bf_libvirt_power_on(struct bf_platform *platform, const char *machine_id, struct bf_error *err);
