/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that QEMU makes in a directory of ours.
 *
 * A backup job's NBD server is part of the machine's QEMU, which on most hosts runs as a user of
 * its own (libvirt-qemu).  The service's run directory is closed to others, so that user is let in
 * by an access control list, and nobody else.  Blocking for as long as a few system calls; any
 * thread.
 */
#pragma once

#include <sys/types.h>

#include "base/error.h"

/* Let this user make files in the directory and reach it from the one above, where they are
 * ours; what it makes there can be opened by us.  BF_E_SYSTEM with the advice to set the option
 * socket_directory when the file system has no access control lists. */
int bf_libvirt_socket_share(const char *directory, uid_t qemu, struct bf_error *err);
