/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/uri.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define URI_MAX 4096

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Percent-decode `length` bytes; what decodes to a control character is refused. */
static int decode(const char *text, size_t length, char **ret_text, struct bf_error *err)
{
    bf_auto_free char *out = bf_xcalloc(length + 1, 1);
    size_t n = 0;

    for (size_t i = 0; i < length; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            if (length - i < 3 || hex_value(text[i + 1]) < 0 || hex_value(text[i + 2]) < 0)
                return bf_fail(err, BF_E_URI, 0, "\"%%\" is not followed by two hex digits");
            c = hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]);
            i += 2;
            if (c < 0x20 || c == 0x7f)
                return bf_fail(err, BF_E_URI, 0, "\"%%%02x\" stands for a control character",
                               (unsigned)c);
        }
        out[n++] = (char)c;
    }
    *ret_text = bf_steal(out);
    return 0;
}

static int decode_piece(const char *what, const char *text, size_t length, char **ret_text,
                        struct bf_error *err)
{
    if (!length)
        return bf_fail(err, BF_E_URI, 0, "the %s is empty", what);
    return decode(text, length, ret_text, err);
}

/* "conf=FILE&id=USER" */
static int parse_rbd_query(const char *query, struct bf_uri *uri, struct bf_error *err)
{
    while (*query) {
        size_t length = strcspn(query, "&");
        char **into = NULL;
        size_t skip = 0;
        if (bf_starts_with(query, "conf=")) {
            into = &uri->rbd_conf;
            skip = 5;
        } else if (bf_starts_with(query, "id=")) {
            into = &uri->rbd_id;
            skip = 3;
        }
        if (!into)
            return bf_fail(err, BF_E_URI, 0, "\"%.*s\" is not conf=FILE or id=USER", (int)length,
                           query);
        if (*into)
            return bf_fail(err, BF_E_URI, 0, "\"%.*s\" is given twice", (int)skip, query);
        if (decode_piece("value", query + skip, length - skip, into, err))
            return -1;
        query += length;
        if (*query == '&')
            query++;
    }
    return 0;
}

static int parse_rbd(const char *text, struct bf_uri *uri, struct bf_error *err)
{
    const char *rest = text + strlen("rbd:");
    const char *query = strchr(rest, '?');
    size_t length = query ? (size_t)(query - rest) : strlen(rest);
    const char *at = memchr(rest, '@', length);
    size_t path_length = at ? (size_t)(at - rest) : length;
    const char *slash = memchr(rest, '/', path_length);

    if (!slash)
        return bf_fail(err, BF_E_URI, 0, "no \"/\" between pool and image");
    const char *image = slash + 1;
    const char *end = rest + path_length;
    const char *second = memchr(image, '/', (size_t)(end - image));
    if (decode_piece("pool", rest, (size_t)(slash - rest), &uri->rbd_pool, err))
        return -1;
    if (second) {
        if (decode_piece("namespace", image, (size_t)(second - image), &uri->rbd_namespace, err))
            return -1;
        image = second + 1;
        if (memchr(image, '/', (size_t)(end - image)))
            return bf_fail(err, BF_E_URI, 0, "more than POOL/NAMESPACE/IMAGE");
    }
    if (decode_piece("image", image, (size_t)(end - image), &uri->rbd_image, err))
        return -1;
    if (at && decode_piece("snapshot", at + 1, length - path_length - 1, &uri->rbd_snapshot, err))
        return -1;
    return query ? parse_rbd_query(query + 1, uri, err) : 0;
}

/* "socket=PATH&tls-psk-file=FILE" */
static int parse_nbd_query(const char *query, struct bf_uri *uri, struct bf_error *err)
{
    const struct {
        const char *name;
        char **into;
    } known[] = {{"socket=", &uri->nbd_socket}, {"tls-psk-file=", &uri->nbd_psk_file}};

    while (*query) {
        size_t length = strcspn(query, "&"), i = 0;
        while (i < bf_array_length(known) && !bf_starts_with(query, known[i].name))
            i++;
        if (i == bf_array_length(known) && bf_starts_with(query, "tls-"))
            return bf_fail(err, BF_E_URI, 0, "certificates are given by --tls-certificates only");
        if (i == bf_array_length(known))
            return bf_fail(err, BF_E_URI, 0, "\"%.*s\" is not socket=PATH or tls-psk-file=FILE",
                           (int)length, query);
        size_t skip = strlen(known[i].name);
        if (*known[i].into)
            return bf_fail(err, BF_E_URI, 0, "\"%s\" is given twice", known[i].name);
        if (decode_piece("value", query + skip, length - skip, known[i].into, err))
            return -1;
        query += length;
        if (*query == '&')
            query++;
    }
    return 0;
}

/* "HOST", "HOST:PORT", "[ADDRESS]:PORT" */
static int parse_host(const char *text, size_t length, struct bf_uri *uri, struct bf_error *err)
{
    const char *end = text + length, *host = text, *host_end, *port;

    if (length && *text == '[') {
        host++;
        host_end = memchr(text, ']', length);
        if (!host_end)
            return bf_fail(err, BF_E_URI, 0, "\"[\" without \"]\"");
        port = host_end + 1;
    } else {
        host_end = memchr(text, ':', length);
        if (!host_end)
            host_end = end;
        port = host_end;
    }
    if (port != end && *port != ':')
        return bf_fail(err, BF_E_URI, 0, "no port behind the host");
    if (decode_piece("host name", host, (size_t)(host_end - host), &uri->nbd_host, err))
        return -1;
    if (port == end) {
        uri->nbd_port = bf_xstrdup("10809");
        return 0;
    }
    port++;
    size_t digits = strspn(port, "0123456789");
    if (!digits || digits > 5 || port + digits != end || strtoul(port, NULL, 10) > 65535)
        return bf_fail(err, BF_E_URI, 0, "the port is no number up to 65535");
    return decode(port, digits, &uri->nbd_port, err);
}

/* [USER@][HOST[:PORT]][/EXPORT][?QUERY] */
static int parse_nbd(const char *text, struct bf_uri *uri, struct bf_error *err)
{
    const char *rest = strstr(text, "://") + 3;
    bool unix_socket = strncmp(text, "nbd+unix", 8) == 0 || strncmp(text, "nbds+unix", 9) == 0;
    size_t authority = strcspn(rest, "/?");
    const char *path = rest + authority;
    size_t path_length = strcspn(path, "?");
    const char *at = memchr(rest, '@', authority);

    uri->kind = BF_URI_NBD;
    uri->tls = bf_starts_with(text, "nbds");
    if (at) {
        if (decode_piece("user", rest, (size_t)(at - rest), &uri->nbd_user, err))
            return -1;
        authority -= (size_t)(at + 1 - rest);
        rest = at + 1;
    }
    size_t skip = *path == '/';
    if (decode(path + skip, path_length - skip, &uri->nbd_export, err))
        return -1;
    if (path[path_length] && parse_nbd_query(path + path_length + 1, uri, err))
        return -1;
    if (unix_socket && !uri->nbd_socket)
        return bf_fail(err, BF_E_URI, 0, "a +unix URI needs ?socket=PATH");
    if (unix_socket)
        return authority ? bf_fail(err, BF_E_URI, 0, "a +unix URI has no host") : 0;
    if (uri->nbd_socket)
        return bf_fail(err, BF_E_URI, 0, "socket= is for +unix URIs");
    if (!authority || *rest == ':')
        return bf_fail(err, BF_E_URI, 0, "no host name");
    return parse_host(rest, authority, uri, err);
}

static bool is_nbd(const char *text)
{
    static const char *const schemes[] = {"nbd://", "nbd+unix://", "nbds://", "nbds+unix://"};

    for (size_t i = 0; i < bf_array_length(schemes); i++)
        if (bf_starts_with(text, schemes[i]))
            return true;
    return false;
}

static int parse(const char *text, struct bf_uri *uri, struct bf_error *err)
{
    size_t length = strlen(text);

    if (!length)
        return bf_fail(err, BF_E_URI, 0, "it is empty");
    if (length > URI_MAX)
        return bf_fail(err, BF_E_URI, 0, "it is longer than %d bytes", URI_MAX);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return bf_fail(err, BF_E_URI, 0, "it has a control character");
    uri->text = bf_xstrdup(text);
    if (is_nbd(text))
        return parse_nbd(text, uri, err);
    if (bf_starts_with(text, "rbd:")) {
        uri->kind = BF_URI_RBD;
        return parse_rbd(text, uri, err);
    }
    if (strcmp(text, "null:") == 0) {
        uri->kind = BF_URI_NULL;
        return 0;
    }
    uri->kind = BF_URI_FILE;
    if (bf_starts_with(text, "file:")) {
        if (!text[5])
            return bf_fail(err, BF_E_URI, 0, "the path is empty");
        uri->path = bf_xstrdup(bf_starts_with(text, "file:///") ? text + 7 : text + 5);
        return 0;
    }
    size_t colon = strcspn(text, ":"), slash = strcspn(text, "/");
    if (colon < slash && text[colon])
        return bf_fail(err, BF_E_URI, 0,
                       "\"%.*s:\" is not a known scheme (a file of this name is written ./NAME)",
                       (int)colon, text);
    uri->path = bf_xstrdup(text);
    return 0;
}

int bf_uri_parse(const char *text, struct bf_uri *ret_uri, struct bf_error *err)
{
    struct bf_uri uri = {0};

    if (parse(text, &uri, err)) {
        bf_uri_done(&uri);
        return bf_fail_in(err, "endpoint \"%.200s\"", text);
    }
    *ret_uri = uri;
    return 0;
}

void bf_uri_done(struct bf_uri *uri)
{
    free(uri->text);
    free(uri->path);
    free(uri->nbd_socket);
    free(uri->nbd_host);
    free(uri->nbd_port);
    free(uri->nbd_export);
    free(uri->nbd_user);
    free(uri->nbd_psk_file);
    free(uri->rbd_pool);
    free(uri->rbd_namespace);
    free(uri->rbd_image);
    free(uri->rbd_snapshot);
    free(uri->rbd_conf);
    free(uri->rbd_id);
    *uri = (struct bf_uri){0};
}
