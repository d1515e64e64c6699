/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/nbd_uri.h"
#include "guest/session.h"
#include "nbd/uri.h"

static int add_nbd(struct bf_session *session, const char *uri, struct bf_error *err)
{
    bf_cleanup(bf_nbd_uri_done) struct bf_nbd_uri parts = {0};
    bf_auto_free char *server = NULL;
    char *servers[2] = {NULL, NULL};

    if (bf_nbd_uri_parse(uri, &parts, err) < 0)
        return -1;
    if (parts.tls)
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the appliance cannot open %s", uri);
    server = parts.socket ? bf_xasprintf("unix:%s", parts.socket)
                          : bf_xasprintf("%s:%u", parts.host, parts.port);
    servers[0] = server;
    if (guestfs_add_drive_opts(session->g, parts.export_name, GUESTFS_ADD_DRIVE_OPTS_FORMAT, "raw",
                               GUESTFS_ADD_DRIVE_OPTS_READONLY, session->read_only ? 1 : 0,
                               GUESTFS_ADD_DRIVE_OPTS_PROTOCOL, "nbd",
                               GUESTFS_ADD_DRIVE_OPTS_SERVER, servers, -1) < 0)
        return bf_session_fail(session, uri, err);
    return 0;
}

/* Without a user name libguestfs would switch Ceph's authentication off.  Which cluster: the
 * environment's CEPH_CONF (appliance.c), as there is no option for it. */
static int add_rbd(struct bf_session *session, const char *text, struct bf_error *err)
{
    bf_cleanup(bf_uri_done) struct bf_uri uri = {0};
    bf_auto_free char *name = NULL;

    if (bf_uri_parse(text, &uri, err) < 0)
        return -1;
    name = bf_xasprintf("%s/%s%s%s%s%s", uri.rbd_pool, uri.rbd_namespace ? uri.rbd_namespace : "",
                        uri.rbd_namespace ? "/" : "", uri.rbd_image, uri.rbd_snapshot ? "@" : "",
                        uri.rbd_snapshot ? uri.rbd_snapshot : "");
    if (guestfs_add_drive_opts(
            session->g, name, GUESTFS_ADD_DRIVE_OPTS_FORMAT, "raw", GUESTFS_ADD_DRIVE_OPTS_READONLY,
            session->read_only ? 1 : 0, GUESTFS_ADD_DRIVE_OPTS_PROTOCOL, "rbd",
            GUESTFS_ADD_DRIVE_OPTS_USERNAME, uri.rbd_id ? uri.rbd_id : "admin", -1) < 0)
        return bf_session_fail(session, text, err);
    return 0;
}

int bf_session_add_disk(struct bf_session *session, const char *uri, const char *format,
                        struct bf_error *err)
{
    if (bf_starts_with(uri, "nbd"))
        return add_nbd(session, uri, err);
    if (bf_starts_with(uri, "rbd:"))
        return add_rbd(session, uri, err);
    if (guestfs_add_drive_opts(session->g, uri, GUESTFS_ADD_DRIVE_OPTS_READONLY,
                               session->read_only ? 1 : 0, GUESTFS_ADD_DRIVE_OPTS_FORMAT, format,
                               -1) < 0)
        return bf_session_fail(session, uri, err);
    return 0;
}
