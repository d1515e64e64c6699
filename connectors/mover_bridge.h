/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that a mover serves (nbds://, mover.h), shown on a socket of this host by a
 * qemu-storage-daemon: libguestfs, which inspects and converts, knows nothing of certificates.
 *
 * Threads, deadlines and cancel: as connectors/server.h.
 */
#pragma once

#include "connectors/server.h"

/* Returns when it answers; bf_server_uri() is the disk then, raw.  A connection to the mover that
 * breaks is made again.  `serial`: connectors/server.h.  `spec` has a URI nbds://ADDRESS/EXPORT and
 * a directory of certificates. */
int bf_mover_bridge(struct bf_platform *platform, const char *work_directory, unsigned serial,
                    const struct bf_endpoint_spec *spec, bool read_only,
                    struct bf_server **ret_server, struct bf_error *err);
