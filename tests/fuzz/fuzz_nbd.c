/* SPDX-License-Identifier: Apache-2.0 */
/* What a server says: the first byte chooses whether it answers reads or tells a map, the rest is
 * all that ever comes from it. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/text.h"
#include "nbd/nbd_link.h"
#include "nbd/nbd_map.h"
#include "tests/fuzz/fuzz.h"

#define READS 3
#define READ_BYTES 4096u

static int listener = -1;
static char socket_path[64];
static struct bf_uri uri;

static void remove_socket(void)
{
    unlink(socket_path);
    bf_uri_done(&uri);
}

static void listen_once(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bf_auto_error err = BF_ERROR_INIT;

    if (listener >= 0)
        return;
    snprintf(socket_path, sizeof(socket_path), "/tmp/fuzz-nbd.%d", (int)getpid());
    char *text = bf_xasprintf("nbd+unix:///disk?socket=%s", socket_path);
    strcpy(address.sun_path, socket_path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FUZZ_CHECK(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    FUZZ_CHECK(listen(listener, 8) == 0);
    FUZZ_CHECK(bf_uri_parse(text, &uri, &err) == 0);
    free(text);
    atexit(remove_socket);
}

/* Requests until the server's words are at their end. */
static void read_disk(struct bf_nbd_link *link)
{
    static unsigned char buffers[READS][READ_BYTES];
    struct bf_request requests[READS] = {0};
    bf_auto_error err = BF_ERROR_INIT;
    int rc = 0;

    for (unsigned i = 0; i < READS; i++) {
        requests[i] = (struct bf_request){.kind = i == 2 ? BF_REQUEST_FLUSH : BF_REQUEST_READ,
                                          .offset = (uint64_t)i * READ_BYTES,
                                          .length = i == 2 ? 0 : READ_BYTES,
                                          .buffer = buffers[i]};
        bf_nbd_link_submit(link, &requests[i]);
    }
    while (!rc)
        rc = bf_nbd_link_send(link, &err) || bf_nbd_link_drive(link, POLLIN, &err);
    FUZZ_CHECK(err.code == BF_E_PROTOCOL || err.code == BF_E_ENDPOINT_OPEN);
}

static void tell_map(struct bf_nbd_link **link, const struct bf_nbd_params *params)
{
    struct bf_extent_list list = {0};
    bf_auto_error err = BF_ERROR_INIT;
    uint64_t size = bf_nbd_link_export(*link)->size;

    if (bf_nbd_link_export(*link)->has_context && size &&
        bf_nbd_map(link, params, 0, size, &list, &err))
        FUZZ_CHECK(!*link && bf_error_is_set(&err));
    for (size_t i = 0; i < list.count; i++)
        FUZZ_CHECK(list.items[i].length && list.items[i].offset < size &&
                   list.items[i].length <= size - list.items[i].offset);
    bf_extent_list_done(&list);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    bool told = false;
    struct bf_nbd_params params = {
        .uri = &uri, .cipher_told = &told, .deadline_ms = 5000, .cancel_fd = -1};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_nbd_link *link = NULL;
    int rc = 0;

    if (size < 1 || size > 65536)
        return 0;
    listen_once();
    params.context = data[0] & 1 ? BF_NBD_ALLOCATION : NULL;
    FUZZ_CHECK(bf_nbd_link_begin(&params, &link, &err) == 0);
    int server = accept(listener, NULL, NULL);
    FUZZ_CHECK(server >= 0 && write(server, data + 1, size - 1) == (ssize_t)(size - 1));
    shutdown(server, SHUT_WR);
    while (!rc && !bf_nbd_link_ready(link))
        rc = bf_nbd_link_drive(link, POLLIN | POLLOUT, &err);
    if (!rc && params.context)
        tell_map(&link, &params);
    else if (!rc)
        read_disk(link);
    bf_nbd_link_close(link);
    close(server);
    return 0;
}
