/* SPDX-License-Identifier: Apache-2.0 */
/* For connectors: a helper process that serves one disk over NBD on a UNIX socket of ours.
 *
 * The program (qemu-storage-daemon, nbdkit) is the connector's; what is here is what all have in
 * common: a socket of a name of its own, waiting until it answers, its URI, and an end in order.
 * The process dies with us.
 *
 * Threads: as the platform handle it belongs to.  Blocking: bf_server_start() until the server
 * answers, bf_server_stop() until it has ended; both have deadlines, and the start watches the
 * platform's cancel.
 */
#pragma once

#include "connectors/ops.h"

struct bf_server;

/* "DIRECTORY/PREFIX-THREAD-SERIAL": a name that no other server of this process has.  Caller frees.
 * Longer than a socket's address may be: BF_E_BAD_INPUT. */
int bf_server_socket(const char *directory, const char *prefix, unsigned serial, char **ret_path,
                     struct bf_error *err);

struct bf_server_spec {
    const char *const *argv; /* as of bf_process_start(); the name of the socket is in it */
    const char *const *env;  /* additions, or NULL */
    const int *pass_fds;
    unsigned pass_fd_count;
    const char *socket_path; /* what is in its place is removed, and the socket at the end */
    const char *export_name; /* NULL: the default export */
    uint64_t start_ms;       /* until it must answer */
};

/* Returns when it answers.  Ended instead: BF_E_CHILD_FAILED with its last output as evidence. */
int bf_server_start(struct bf_platform *platform, const struct bf_server_spec *spec,
                    struct bf_server **ret_server, struct bf_error *err);
/* "nbd+unix:///EXPORT?socket=PATH", escaped; lives as long as the server. */
const char *bf_server_uri(const struct bf_server *server);
/* Its last output, as bf_process_tail(). */
const char *bf_server_tail(struct bf_server *server);
bool bf_server_runs(const struct bf_server *server);
/* Ask it to end, which closes what it serves, and wait.  Frees the handle also on failure: then
 * what it serves may lack what was written and not flushed.  NULL is allowed. */
int bf_server_stop(struct bf_server *server, uint64_t timeout_ms, struct bf_error *err);
#define BF_SERVER_FLUSH_MS 120000 /* for one that writes: a large cache back to a slow disk */

/* The URI of an export on a socket.  Caller frees. */
char *bf_server_uri_of(const char *socket_path, const char *export_name);

/* For a qemu-storage-daemon that shows its node "image" on that socket: the values of --nbd-server
 * (caller frees) and of --export.  JSON, so that no path can be taken for an option. */
char *bf_server_qemu_listen(const char *socket_path);
const char *bf_server_qemu_export(bool read_only);
#define BF_SERVER_QEMU_EXPORT "disk"
/* The value of --object for the certificates of a client, as "tls".  Caller frees. */
char *bf_server_qemu_tls(const char *directory);
