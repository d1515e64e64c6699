/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of an NBD URI: nbd://HOST[:PORT]/EXPORT, nbds://..., nbd+unix:///EXPORT?socket=PATH. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

struct bf_nbd_uri {
    char *host; /* NULL with a socket */
    unsigned port;
    char *socket;      /* NULL with a host */
    char *export_name; /* "" if none */
    bool tls;
};

int bf_nbd_uri_parse(const char *text, struct bf_nbd_uri *ret_uri, struct bf_error *err);
void bf_nbd_uri_done(struct bf_nbd_uri *uri);
