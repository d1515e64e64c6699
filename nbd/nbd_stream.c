/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/nbd_stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/text.h"

/* Room for the requests' data on its way to the server; the kernel's usual 208 KiB wake both sides
 * for every piece of a request. */
#define SEND_BUFFER (1 << 20)

static int refused(const char *where, int number, struct bf_error *err)
{
    return bf_fail(err, BF_E_ENDPOINT_OPEN, number, "cannot connect to %s", where);
}

static int open_unix(const char *path, struct bf_nbd_stream *stream, struct bf_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int size = SEND_BUFFER;

    if (strlen(path) >= sizeof(address.sun_path))
        return bf_fail(err, BF_E_URI, 0, "the socket's path is longer than %zu bytes",
                       sizeof(address.sun_path) - 1);
    strcpy(address.sun_path, path);
    stream->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (stream->fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "no socket");
    (void)setsockopt(stream->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (connect(stream->fd, (struct sockaddr *)&address, sizeof(address)))
        return refused(path, errno, err);
    return 0;
}

/* Try addresses until one is on its way. */
static int try_next(struct bf_nbd_stream *stream, int last_error, struct bf_error *err)
{
    int one = 1;

    for (; stream->next; stream->next = stream->next->ai_next) {
        const struct addrinfo *at = stream->next;
        if (stream->fd >= 0)
            close(stream->fd);
        stream->fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (stream->fd < 0) {
            last_error = errno;
            continue;
        }
        (void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connect(stream->fd, at->ai_addr, at->ai_addrlen) == 0 || errno == EINPROGRESS) {
            stream->next = at->ai_next;
            return 0;
        }
        last_error = errno;
    }
    return refused("it", last_error, err);
}

/* The addresses, when they are there; as bf_nbd_stream_connected(). */
static int on_lookup(struct bf_nbd_stream *stream, struct bf_error *err)
{
    int rc = bf_nbd_names_answer(stream->names, &stream->lookup, &stream->next, err);

    return rc == 1 ? try_next(stream, 0, err) : rc;
}

int bf_nbd_stream_open(const struct bf_uri *uri, struct bf_nbd_names *names,
                       struct bf_nbd_stream *stream, struct bf_error *err)
{
    *stream = (struct bf_nbd_stream){.fd = -1, .names = names};
    if (uri->nbd_socket)
        return open_unix(uri->nbd_socket, stream, err);
    if (bf_nbd_names_ask(names, &stream->lookup, err))
        return -1;
    return on_lookup(stream, err);
}

int bf_nbd_stream_fd(const struct bf_nbd_stream *stream)
{
    return stream->fd < 0 ? bf_nbd_lookup_fd(stream->lookup) : stream->fd;
}

short bf_nbd_stream_connect_event(const struct bf_nbd_stream *stream)
{
    return stream->fd < 0 ? POLLIN : POLLOUT;
}

int bf_nbd_stream_connected(struct bf_nbd_stream *stream, struct bf_error *err)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(int), peer_size = sizeof(peer);
    int error = 0;

    if (stream->fd < 0)
        return on_lookup(stream, err);
    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size))
        error = errno;
    if (error)
        return try_next(stream, error, err);
    if (getpeername(stream->fd, (struct sockaddr *)&peer, &peer_size) == 0)
        return 1;
    return errno == ENOTCONN ? 0 : refused("it", errno, err);
}

void bf_nbd_stream_close(struct bf_nbd_stream *stream)
{
    bf_nbd_tls_free(stream->tls);
    stream->tls = NULL;
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
    bf_nbd_lookup_drop(stream->lookup);
    stream->lookup = NULL;
}

static ssize_t io_result(ssize_t n, const char *doing, struct bf_error *err)
{
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    return bf_fail(err, BF_E_ENDPOINT_OPEN, errno, "cannot %s", doing);
}

/* Records are at most 16 KiB long, so several are taken; `step` must not split what it did. */
static ssize_t by_tls(struct bf_nbd_tls *tls, bool receive, const struct iovec *parts, int count,
                      struct bf_error *err)
{
    ssize_t done = 0;

    for (int i = 0; i < count; i++) {
        char *at = parts[i].iov_base;
        size_t left = parts[i].iov_len;
        while (left) {
            ssize_t n = receive ? bf_nbd_tls_receive(tls, at, left, err)
                                : bf_nbd_tls_send(tls, at, left, err);
            if (n < 0)
                return -1;
            if (n == 0)
                return done;
            done += n;
            at += n;
            left -= (size_t)n;
        }
    }
    return done;
}

ssize_t bf_nbd_stream_receive(struct bf_nbd_stream *stream, const struct iovec *parts, int count,
                              struct bf_error *err)
{
    if (stream->tls)
        return by_tls(stream->tls, true, parts, count, err);
    ssize_t n = readv(stream->fd, parts, count);
    if (n == 0)
        return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "the server closed the connection");
    return io_result(n, "receive", err);
}

ssize_t bf_nbd_stream_send(struct bf_nbd_stream *stream, const struct iovec *parts, int count,
                           struct bf_error *err)
{
    struct msghdr message = {.msg_iovlen = (size_t)count};

    if (stream->tls)
        return by_tls(stream->tls, false, parts, count, err);
    memcpy(&message.msg_iov, &parts, sizeof(parts));
    return io_result(sendmsg(stream->fd, &message, MSG_NOSIGNAL), "send", err);
}
