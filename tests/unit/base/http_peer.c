/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/base/http_peer.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

struct http_peer {
    int listener;
    int stop; /* eventfd */
    uint16_t port;
    pthread_t thread;

    pthread_mutex_t lock; /* of what follows */
    char *request;
    unsigned connections;
};

/* false: stopped, or nothing in time. */
static bool wait_for(struct http_peer *peer, int fd, int ms)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = peer->stop, .events = POLLIN}};

    return poll(fds, 2, ms) > 0 && !fds[1].revents;
}

/* false: the client has gone. */
static bool say(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t done = send(fd, text, length, MSG_NOSIGNAL);

        if (done <= 0)
            return false;
        text += done;
        length -= (size_t)done;
    }
    return true;
}

static void answer(int fd, const char *head, const char *body)
{
    bf_auto_buf buf = {0};

    bf_buf_addf(&buf, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", head, strlen(body), body);
    say(fd, buf.text, buf.length);
}

static void stream(struct http_peer *peer, int fd)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

    say(fd, head, sizeof(head) - 1);
    for (int i = 0; i < 100; i++) {
        char text[32];

        snprintf(text, sizeof(text), "data: %d\n\n", i);
        if (!say(fd, text, strlen(text)) ||
            poll(&(struct pollfd){.fd = peer->stop, .events = POLLIN}, 1, 20) > 0)
            return;
    }
}

static void say_much(int fd)
{
    static char block[65536];

    memset(block, 'x', sizeof(block));
    say(fd, "HTTP/1.1 200 OK\r\n\r\n", 19);
    for (int i = 0; i < 64; i++)
        say(fd, block, sizeof(block));
}

static void say_many_headers(int fd)
{
    char line[1024];

    memset(line, 'x', sizeof(line));
    memcpy(line, "X-Much: ", 8);
    memcpy(line + sizeof(line) - 2, "\r\n", 2);
    say(fd, "HTTP/1.1 200 OK\r\n", 17);
    for (int i = 0; i < 400; i++)
        say(fd, line, sizeof(line));
    say(fd, "\r\n", 2);
}

/* true: the connection is kept. */
static bool respond(struct http_peer *peer, int fd, const char *path, bool head_only)
{
    if (bf_starts_with(path, "/ok")) {
        if (head_only)
            say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 38);
        else
            answer(fd, "200 OK\r\nX-Two:  a b \r\nx-two: second", "hello");
        return true;
    }
    if (bf_starts_with(path, "/missing")) {
        answer(fd, "404 Not Found", "no such thing");
        return true;
    }
    if (bf_starts_with(path, "/moved")) {
        answer(fd, "302 Found\r\nLocation: /ok", "");
        return true;
    }
    if (bf_starts_with(path, "/continue"))
        answer(fd, "100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 200 OK", "later");
    else if (bf_starts_with(path, "/silent"))
        wait_for(peer, peer->stop, 30000);
    else if (bf_starts_with(path, "/cut"))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", 44);
    else if (bf_starts_with(path, "/garbage"))
        say(fd, "SSH-2.0-OpenSSH\r\n", 17);
    else if (bf_starts_with(path, "/much"))
        say_much(fd);
    else if (bf_starts_with(path, "/headers"))
        say_many_headers(fd);
    else if (bf_starts_with(path, "/stream"))
        stream(peer, fd);
    return false; /* "/close": without a word */
}

static size_t body_length(const char *head)
{
    const char *at = strcasestr(head, "\r\ncontent-length:");

    return at ? strtoul(at + 17, NULL, 10) : 0;
}

/* Head and body of one request; NULL: none came. */
static char *read_request(struct http_peer *peer, int fd)
{
    bf_auto_buf buf = {0};

    for (;;) {
        char piece[4096];
        const char *end = buf.text ? strstr(buf.text, "\r\n\r\n") : NULL;
        ssize_t got;

        if (end && buf.length >= (size_t)(end + 4 - buf.text) + body_length(buf.text))
            return bf_steal(buf.text);
        if (!wait_for(peer, fd, 30000))
            return NULL;
        got = recv(fd, piece, sizeof(piece), 0);
        if (got <= 0)
            return NULL;
        bf_buf_add(&buf, piece, (size_t)got);
    }
}

static void serve(struct http_peer *peer, int fd)
{
    bool keep = true;

    while (keep) {
        char *request = read_request(peer, fd);
        bf_auto_free char *path = NULL;
        const char *blank;
        bool head_only;

        if (!request)
            return;
        blank = strchr(request, ' ');
        path = bf_xasprintf("%.*s", blank ? (int)strcspn(blank + 1, " \r\n") : 0,
                            blank ? blank + 1 : "");
        head_only = bf_starts_with(request, "HEAD ");
        pthread_mutex_lock(&peer->lock);
        free(peer->request);
        peer->request = request;
        pthread_mutex_unlock(&peer->lock);
        keep = respond(peer, fd, path, head_only);
    }
}

static void *peer_loop(void *user)
{
    struct http_peer *peer = user;

    while (wait_for(peer, peer->listener, -1)) {
        bf_auto_fd int fd = accept4(peer->listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            continue;
        pthread_mutex_lock(&peer->lock);
        peer->connections++;
        pthread_mutex_unlock(&peer->lock);
        serve(peer, fd);
    }
    return NULL;
}

static int listen_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 5) < 0)
        abort();
    return fd;
}

static int listen_tcp(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 5) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        abort();
    *ret_port = ntohs(address.sin_port);
    return fd;
}

struct http_peer *http_peer_start(const char *unix_path)
{
    struct http_peer *peer = bf_xcalloc(1, sizeof(*peer));

    peer->stop = eventfd(0, EFD_CLOEXEC);
    peer->listener = unix_path ? listen_unix(unix_path) : listen_tcp(&peer->port);
    pthread_mutex_init(&peer->lock, NULL);
    if (peer->stop < 0 || pthread_create(&peer->thread, NULL, peer_loop, peer) != 0)
        abort();
    return peer;
}

uint16_t http_peer_port(const struct http_peer *peer)
{
    return peer->port;
}

const char *http_peer_request(struct http_peer *peer)
{
    const char *request;

    pthread_mutex_lock(&peer->lock);
    request = peer->request;
    pthread_mutex_unlock(&peer->lock);
    return request;
}

unsigned http_peer_connections(struct http_peer *peer)
{
    unsigned connections;

    pthread_mutex_lock(&peer->lock);
    connections = peer->connections;
    pthread_mutex_unlock(&peer->lock);
    return connections;
}

void http_peer_stop(struct http_peer *peer)
{
    eventfd_write(peer->stop, 1);
    pthread_join(peer->thread, NULL);
    close(peer->listener);
    close(peer->stop);
    pthread_mutex_destroy(&peer->lock);
    free(peer->request);
    free(peer);
}
