/* SPDX-License-Identifier: Apache-2.0 */
/* Helper processes: qemu-storage-daemon that serves one image over NBD, and qemu-img.
 *
 * QEMU's own code reads and writes qcow2, and its image locks keep a machine that is
 * started meanwhile out (and us, while it runs): such a refusal is BF_E_IN_USE.
 */
#pragma once

#include "connectors/libvirt/session.h"
#include "connectors/server.h"

struct bf_libvirt_serve_request {
    const char *path; /* of a qcow2 image; its backing files are opened as its header says */
    bool writable;
    const char *name;   /* of the export, and of the socket file */
    const char *bitmap; /* a bitmap of the image to offer; NULL: none */
};

/* Returns when it answers; bf_server_stop() flushes and closes the image. */
int bf_libvirt_serve(struct bf_libvirt *lv, const struct bf_libvirt_serve_request *request,
                     struct bf_server **ret_server, struct bf_error *err);

/* Run a tool to its end.  Standard output (at most 1 MiB) to *ret_output, or into the error's
 * evidence if ret_output is NULL. */
int bf_libvirt_tool(struct bf_libvirt *lv, const char *const *argv, struct bf_deadline deadline,
                    char **ret_output, struct bf_error *err);
