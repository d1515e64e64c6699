/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nbd_uri.h"

#include <libxml/uri.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define NBD_PORT 10809

/* The value of one key of an URI's query, decoded; NULL: not there. */
static char *query_value(const char *query, const char *key)
{
    size_t length = strlen(key);

    for (const char *at = query; at; at = strchr(at, '&')) {
        at += *at == '&';
        if (strncmp(at, key, length) == 0 && at[length] == '=') {
            const char *value = at + length + 1;
            char *plain = xmlURIUnescapeString(value, (int)strcspn(value, "&"), NULL);
            char *copy = bf_xstrdup(plain);

            xmlFree(plain);
            return copy;
        }
    }
    return NULL;
}

void bf_nbd_uri_done(struct bf_nbd_uri *uri)
{
    free(uri->host);
    free(uri->socket);
    free(uri->export_name);
    *uri = (struct bf_nbd_uri){0};
}

static bool is_nbd(const char *scheme)
{
    return bf_streq(scheme, "nbd") || bf_streq(scheme, "nbds") || bf_streq(scheme, "nbd+unix") ||
           bf_streq(scheme, "nbds+unix");
}

int bf_nbd_uri_parse(const char *text, struct bf_nbd_uri *ret_uri, struct bf_error *err)
{
    xmlURIPtr uri = xmlParseURI(text);
    bf_cleanup(bf_nbd_uri_done) struct bf_nbd_uri parts = {0};

    if (!uri || !uri->scheme || !is_nbd(uri->scheme)) {
        xmlFreeURI(uri);
        return bf_fail(err, BF_E_URI, 0, "%s is not an nbd URI", text);
    }
    parts.tls = bf_starts_with(uri->scheme, "nbds");
    if (bf_ends_with(uri->scheme, "+unix"))
        parts.socket = query_value(uri->query_raw, "socket");
    else
        parts.host = bf_xstrdup(uri->server);
    parts.port = uri->port > 0 ? (unsigned)uri->port : NBD_PORT;
    parts.export_name = bf_xstrdup(uri->path && uri->path[0] == '/' ? uri->path + 1 : "");
    xmlFreeURI(uri);
    if (!parts.socket && !(parts.host && *parts.host))
        return bf_fail(err, BF_E_URI, 0, "%s names neither a host nor a socket", text);
    *ret_uri = parts;
    parts = (struct bf_nbd_uri){0};
    return 0;
}
