/* SPDX-License-Identifier: Apache-2.0 */
/* A map from a server that is always faster than we are: it says all it has to say in advance. */
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "nbd/nbd_map.h"
#include "nbd/nbd_wire.h"
#include "tests/unit/tap.h"

#define PAGE_BYTES ((uint64_t)0xfff00000) /* asked for at a time */
#define PAGES 600u
#define REPLY_BYTES 20u
#define CHUNK_BYTES 20u
#define DEADLINE_MS 100u
#define DRIPS 30u

static unsigned char words[64 << 10];
static size_t length;

static void say(const void *data, size_t n)
{
    memcpy(words + length, data, n);
    length += n;
}

static void reply(uint32_t option, uint32_t kind, const void *data, uint32_t n)
{
    unsigned char head[REPLY_BYTES];

    (void)bf_nbd_put64(head, 0x3e889045565a9ull);
    (void)bf_nbd_put32(head + 8, option);
    (void)bf_nbd_put32(head + 12, kind);
    (void)bf_nbd_put32(head + 16, n);
    say(head, sizeof(head));
    say(data, n);
}

static void greet(uint64_t size)
{
    unsigned char hello[18] = "NBDMAGICIHAVEOPT\0\3", context[4 + sizeof(BF_NBD_ALLOCATION) - 1];
    unsigned char export[12] = {0};

    say(hello, sizeof(hello));
    reply(8, 1, "", 0);
    (void)bf_nbd_put32(context, 7);
    memcpy(context + 4, BF_NBD_ALLOCATION, sizeof(BF_NBD_ALLOCATION) - 1);
    reply(10, 4, context, sizeof(context));
    reply(10, 1, "", 0);
    (void)bf_nbd_put64(export + 2, size);
    (void)bf_nbd_put16(export + 10, 1);
    reply(7, 3, export, sizeof(export));
    reply(7, 1, "", 0);
}

/* "All of it reads as zero", to the question of this number. */
static void tell(uint64_t cookie)
{
    unsigned char chunk[CHUNK_BYTES + 12];

    (void)bf_nbd_put32(chunk, 0x668e33ef);
    (void)bf_nbd_put16(chunk + 4, 1);
    (void)bf_nbd_put16(chunk + 6, 5);
    (void)bf_nbd_put64(chunk + 8, cookie);
    (void)bf_nbd_put32(chunk + 16, 12);
    (void)bf_nbd_put32(chunk + 20, 7);
    (void)bf_nbd_put32(chunk + 24, (uint32_t)PAGE_BYTES);
    (void)bf_nbd_put32(chunk + 28, 3);
    say(chunk, sizeof(chunk));
}

enum way { AT_ONCE, CANCELLED, BIT_BY_BIT };

/* The last bytes come one by one, each before a deadline. */
static void drip(int server)
{
    for (size_t at = length - DRIPS; at < length; at++) {
        bf_sleep_ms(DEADLINE_MS / 5);
        if (send(server, words + at, 1, MSG_NOSIGNAL) < 0)
            break;
    }
    _exit(0);
}

static int get_map(int listener, const struct bf_uri *uri, enum way way,
                   struct bf_extent_list *list, struct bf_error *err)
{
    size_t at_once = way == BIT_BY_BIT ? length - DRIPS : length;
    pid_t child = -1;
    bool told = false;
    struct bf_nbd_params params = {.uri = uri,
                                   .cipher_told = &told,
                                   .context = BF_NBD_ALLOCATION,
                                   .deadline_ms = way == BIT_BY_BIT ? DEADLINE_MS : 10000,
                                   .cancel_fd = eventfd(0, EFD_CLOEXEC)};
    struct bf_nbd_link *link = NULL;
    uint64_t one = 1;
    int rc = bf_nbd_link_begin(&params, &link, err);
    int server = accept(listener, NULL, NULL), size = 1 << 20;

    setsockopt(server, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    ok(write(server, words, at_once) == (ssize_t)at_once, "the server says what it has to say");
    if (way == BIT_BY_BIT && (child = fork()) == 0)
        drip(server);
    while (!rc && !bf_nbd_link_ready(link))
        rc = bf_nbd_link_drive(link, POLLIN | POLLOUT, err);
    if (way == CANCELLED)
        ok(write(params.cancel_fd, &one, sizeof(one)) == sizeof(one), "cancelled");
    if (!rc)
        rc = bf_nbd_map(&link, &params, 0, PAGES * PAGE_BYTES, list, err);
    bf_nbd_link_close(link);
    close(server);
    if (child > 0)
        waitpid(child, NULL, 0);
    close(params.cancel_fd);
    return rc;
}

int main(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct bf_extent_list list = {0};
    struct bf_error err = BF_ERROR_INIT;
    struct bf_uri uri;

    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/test-nbd-map.%d", (int)getpid());
    char *text = bf_xasprintf("nbd+unix:///?socket=%s", address.sun_path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ok(bf_uri_parse(text, &uri, &err) == 0 &&
           bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
           listen(listener, 1) == 0,
       "a server");
    greet(PAGES * PAGE_BYTES);
    for (uint64_t cookie = 1; cookie <= PAGES; cookie++)
        tell(cookie);

    ok(get_map(listener, &uri, AT_ONCE, &list, &err) == 0 && list.count == 1 &&
           list.items[0].type == BF_EXTENT_ZERO && list.items[0].length == PAGES * PAGE_BYTES,
       "a map of many pages");
    is_error(&err, BF_OK, "without an error");
    bf_extent_list_done(&list);
    ok(get_map(listener, &uri, CANCELLED, &list, &err) == -1, "a cancelled one ends");
    is_error(&err, BF_E_CANCELLED, "and says so");
    bf_extent_list_done(&list);
    ok(get_map(listener, &uri, BIT_BY_BIT, &list, &err) == -1, "an answer that drips has an end");
    is_error(&err, BF_E_DEADLINE, "by its deadline");
    bf_extent_list_done(&list);

    close(listener);
    unlink(address.sun_path);
    bf_uri_done(&uri);
    free(text);
    return done();
}
