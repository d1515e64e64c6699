/* SPDX-License-Identifier: Apache-2.0 */
/* nbdkit plugin "bffolder": a file behind an HTTPS URL, read by ranges.
 *
 * nbdkit's own curl plugin cannot pin a key and takes a cookie as an argument.  What is different
 * from an ordinary download:
 *
 * - Every answer must be exactly the range that was asked for, of a file of exactly this length: a
 *   server that sends the whole file, or another part of it, is an error and never data.
 * - The cookie comes by a descriptor and is in no message.
 * - A request that broke off is made once more; what fails then is an error of the read, and the
 *   copy is taken up again by who started it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS /* a client for each connection */

#define STALL_S 60
#define REQUEST_MS (UINT64_C(10) * 60 * 1000)

static struct {
    char *url, *ca_file, *fingerprint, *cookie;
    int64_t size_bytes;
} conf = {.size_bytes = -1};

static int bffolder_config(const char *key, const char *value)
{
    if (strcmp(key, "url") == 0)
        conf.url = bf_xstrdup(value);
    else if (strcmp(key, "ca_file") == 0)
        conf.ca_file = *value ? bf_xstrdup(value) : NULL;
    else if (strcmp(key, "fingerprint") == 0)
        conf.fingerprint = bf_xstrdup(value);
    else if (strcmp(key, "size") == 0)
        conf.size_bytes = nbdkit_parse_size(value);
    else if (strcmp(key, "cookie") == 0 && value[0] == '-') /* "-FD", never the cookie itself */
        return nbdkit_read_password(value, &conf.cookie);
    else {
        nbdkit_error("unknown parameter %s", key);
        return -1;
    }
    return 0;
}

static int bffolder_config_complete(void)
{
    if (conf.url && conf.cookie && conf.size_bytes >= 0)
        return 0;
    nbdkit_error("url, size and cookie=-FD are needed");
    return -1;
}

static void bffolder_unload(void)
{
    if (conf.cookie)
        explicit_bzero(conf.cookie, strlen(conf.cookie));
    free(conf.cookie);
    free(conf.url);
    free(conf.ca_file);
    free(conf.fingerprint);
}

static void *bffolder_open(int readonly)
{
    struct bf_http_conf http_conf = {
        .ca_file = conf.ca_file, .pin_sha256 = conf.fingerprint, .cancel_fd = -1};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_http *http = NULL;

    (void)readonly;
    if (bf_http_new(&http_conf, &http, &err) < 0) {
        nbdkit_error("%s", err.message);
        return NULL;
    }
    return http;
}

static void bffolder_close(void *handle)
{
    bf_http_free(handle);
}

static int64_t bffolder_get_size(void *handle)
{
    (void)handle;
    return conf.size_bytes;
}

static int bffolder_can_multi_conn(void *handle)
{
    (void)handle;
    return 1; /* nothing is written */
}

static int bffolder_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
                               uint32_t *maximum)
{
    (void)handle;
    *minimum = 1;
    *preferred = 1 << 20; /* each request is a round trip */
    *maximum = 16 << 20;
    return 0;
}

struct piece {
    char *buffer;
    size_t length, taken;
    bool more;
};

static int on_data(const char *data, size_t length, void *user)
{
    struct piece *piece = user;

    if (length > piece->length - piece->taken) {
        piece->more = true;
        return 1;
    }
    memcpy(piece->buffer + piece->taken, data, length);
    piece->taken += length;
    return 0;
}

/* 1: it broke off and may be asked for again. */
static int read_once(struct bf_http *http, struct piece *piece, uint64_t offset)
{
    uint64_t last = offset + piece->length - 1;
    bf_auto_free char *range = bf_xasprintf("Range: bytes=%llu-%llu", (unsigned long long)offset,
                                            (unsigned long long)last);
    bf_auto_free char *want = bf_xasprintf("bytes %llu-%llu/%lld", (unsigned long long)offset,
                                           (unsigned long long)last, (long long)conf.size_bytes);
    const char *headers[] = {conf.cookie, range, NULL};
    struct bf_http_request request = {.method = "GET",
                                      .url = conf.url,
                                      .headers = headers,
                                      .timeout_ms = REQUEST_MS,
                                      .stall_s = STALL_S,
                                      .on_data = on_data,
                                      .user = piece};
    struct bf_http_response response = {0};
    bf_auto_error err = BF_ERROR_INIT;

    piece->taken = 0;
    piece->more = false;
    if (bf_http_perform(http, &request, &response, &err) < 0) {
        nbdkit_error("reading at %llu: %s", (unsigned long long)offset, err.message);
        return err.code == BF_E_PLATFORM_UNREACHABLE ? 1 : -1;
    }
    bf_auto_free char *got = bf_http_header(&response, "Content-Range");
    int status = response.status;
    bf_http_response_done(&response);
    if (status == 206 && !piece->more && piece->taken == piece->length && bf_streq(got, want))
        return 0;
    nbdkit_error("reading at %llu: HTTP status %d, %s instead of %s, %zu of %zu bytes",
                 (unsigned long long)offset, status, got ? got : "no range", want, piece->taken,
                 piece->length);
    return status == 502 || status == 503 ? 1 : -1;
}

static int bffolder_pread(void *handle, void *buffer, uint32_t count, uint64_t offset,
                          uint32_t flags)
{
    struct piece piece = {.buffer = buffer, .length = count};
    int rc = read_once(handle, &piece, offset);

    (void)flags;
    if (rc > 0)
        rc = read_once(handle, &piece, offset);
    if (rc == 0)
        return 0;
    nbdkit_set_error(EIO);
    return -1;
}

static struct nbdkit_plugin plugin = {
    .name = "bffolder",
    .version = BF_VERSION,
    .description = "a file behind an HTTPS URL, read by ranges",
    .config = bffolder_config,
    .config_complete = bffolder_config_complete,
    .config_help = "url=URL size=BYTES cookie=-FD [ca_file=FILE|fingerprint=BASE64]",
    .unload = bffolder_unload,
    .open = bffolder_open,
    .close = bffolder_close,
    .get_size = bffolder_get_size,
    .can_multi_conn = bffolder_can_multi_conn,
    .block_size = bffolder_block_size,
    .pread = bffolder_pread,
};

struct nbdkit_plugin *plugin_init(void); /* defined by the macro */
NBDKIT_REGISTER_PLUGIN(plugin)
