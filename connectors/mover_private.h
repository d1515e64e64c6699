/* SPDX-License-Identifier: Apache-2.0 */
/* Within connectors/mover*.c. */
#pragma once

#include "connectors/mover.h"

/* The endpoint of a disk that is attached: its URI at the mover, or, of a mover that is this
 * machine, its device, waited for until the deadline. */
int bf_mover_fill_spec(struct bf_platform *platform, const struct bf_mover_conf *conf,
                       const struct bf_mover_request *request, const char *export_name,
                       struct bf_deadline deadline, struct bf_endpoint_spec *spec,
                       struct bf_error *err);
