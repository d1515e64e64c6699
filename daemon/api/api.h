/* SPDX-License-Identifier: Apache-2.0 */
/* The API's server: JSON over HTTP on a UNIX socket, live events by SSE, metrics.
 *
 * Routes, fields and limits are described in docs/openapi.yaml.  The server runs on
 * the main loop (libmicrohttpd's epoll descriptor is one of its event sources) and calls
 * daemon/service.h; it never waits on a platform: a request that asks one is suspended
 * until the service answers.
 *
 * Who may connect is decided by the socket file's mode: 0660 with a group, else
 * 0600.  The peer's credentials (SO_PEERCRED) are logged with every change it asks for.
 *
 * Threads:   the main loop thread only.
 * Ownership: `listen_fd` stays the caller's and must stay open until bf_api_stop(); `loop`
 *            and `service` are borrowed and must outlive the server.
 */
#pragma once

#include "base/error.h"

struct bf_api;
struct bf_loop;
struct bf_service;

/* Serve on `listen_fd` (a listening UNIX socket, from systemd for instance), or when it is -1 on a
 * new socket at `socket_path`.  A socket file left by a process that is gone is replaced; one that
 * somebody answers on is BF_E_EXISTS.  `socket_group` NULL: only the owner (and root) may connect.
 * Returns 0, or -1 with BF_E_BAD_INPUT (path too long, no such group), BF_E_EXISTS, BF_E_SYSTEM. */
int bf_api_start(struct bf_loop *loop, struct bf_service *service, int listen_fd,
                 const char *socket_path, const char *socket_group, struct bf_api **ret_api,
                 struct bf_error *err);

/* Ends every connection, drops what is still being asked, and removes the socket file it made.
 * Call it before the service is freed.  NULL is fine. */
void bf_api_stop(struct bf_api *api);
