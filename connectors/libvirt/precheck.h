/* SPDX-License-Identifier: Apache-2.0 */
/* Prechecks.  The ids are documented in docs/platforms/libvirt.md. */
#pragma once

#include "connectors/libvirt/machines.h"

void bf_libvirt_finding_no_backup(struct bf_findings *findings, enum bf_severity severity,
                                  const char *version);
int bf_libvirt_target_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                               struct json_object *mapping, struct bf_findings *findings,
                               struct bf_error *err);
