/* SPDX-License-Identifier: Apache-2.0 */
/* The seam's power operations. */
#pragma once

#include "connectors/connector.h"

int bf_vmware_power(struct bf_platform *platform, const char *machine_id, enum bf_power *ret_power,
                    struct bf_error *err);
int bf_vmware_shut_down(struct bf_platform *platform, const char *machine_id,
                        struct bf_deadline deadline, struct bf_error *err);
int bf_vmware_power_off(struct bf_platform *platform, const char *machine_id, struct bf_error *err);
int bf_vmware_power_on(struct bf_platform *platform, const char *machine_id, struct bf_error *err);
