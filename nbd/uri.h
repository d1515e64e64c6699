/* SPDX-License-Identifier: Apache-2.0 */
/* What a SOURCE or TARGET argument names.
 *
 *   nbd://HOST[:PORT]/[EXPORT]   nbd+unix:///[EXPORT]?socket=PATH
 *   nbds://[USER@]HOST...        nbds+unix://[USER@]/...   (TLS; also ?tls-psk-file=FILE)
 *   rbd:POOL/[NAMESPACE/]IMAGE[@SNAP][?conf=FILE&id=USER]
 *   null:
 *   PATH or file:PATH            a regular file or a block device
 *
 * A relative path with a colon before its first slash must be written ./PATH, so that a mistyped
 * scheme is never taken for the name of a file to be created.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

enum bf_uri_kind {
    BF_URI_NBD,
    BF_URI_RBD,
    BF_URI_FILE,
    BF_URI_NULL,
};

struct bf_uri {
    enum bf_uri_kind kind;
    char *text;       /* as given */
    char *path;       /* file: its path */
    bool tls;         /* nbds: TLS is required */
    char *nbd_socket; /* of a UNIX socket, or: */
    char *nbd_host;   /* without the brackets of an IPv6 address */
    char *nbd_port;
    char *nbd_export;   /* "": the default one */
    char *nbd_user;     /* NULL: none */
    char *nbd_psk_file; /* NULL: none */
    char *rbd_pool;
    char *rbd_namespace; /* NULL: none */
    char *rbd_image;
    char *rbd_snapshot; /* NULL: none */
    char *rbd_conf;     /* NULL: Ceph's default */
    char *rbd_id;       /* NULL: Ceph's default (admin) */
};

/* Malformed: BF_E_URI. */
int bf_uri_parse(const char *text, struct bf_uri *ret_uri, struct bf_error *err)
    __attribute__((nonnull, warn_unused_result));
void bf_uri_done(struct bf_uri *uri);
