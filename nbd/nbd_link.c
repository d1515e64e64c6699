/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/nbd_link.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "nbd/nbd_wire.h"

#define ANSWER_BYTES 16u
#define SIMPLE_REPLY 0x67446698u
#define NAME_MAX_BYTES 4096u
#define PARTS_MAX 32
#define AHEAD_BYTES ((size_t)16 << 10)

/* A request's place. */
struct place {
    struct bf_request *request; /* NULL: free */
    uint64_t cookie;
    size_t sent; /* bytes of head and data */
    unsigned char head[BF_NBD_REQUEST_BYTES];
};

struct bf_nbd_link {
    const struct bf_nbd_params *params;
    struct bf_nbd_stream stream;
    struct bf_nbd_hello *hello; /* NULL: ready */
    struct bf_nbd_export export;

    struct place places[BF_NBD_LINK_REQUESTS];
    uint64_t next_number;
    unsigned under_way;

    unsigned char queue[BF_NBD_LINK_REQUESTS]; /* places to be sent, a ring */
    unsigned queue_first, queue_count;

    unsigned char answer[ANSWER_BYTES];
    size_t answer_have;
    unsigned char *ahead; /* for get(): AHEAD_BYTES, or NULL */
    size_t ahead_from, ahead_to;
    struct place *reading; /* whose data is being received; NULL: none */
    size_t reading_have;
};

static int failed(const struct bf_nbd_link *link, struct bf_error *err)
{
    return bf_fail_in(err, "%s", link->params->uri->text);
}

static int breach(const struct bf_nbd_link *link, const char *what, struct bf_error *err)
{
    bf_fail(err, BF_E_PROTOCOL, 0, "the server broke the protocol: %s", what);
    return failed(link, err);
}

int bf_nbd_errno(uint32_t error)
{
    /* The protocol's numbers are those of Linux; what it does not know counts as EINVAL. */
    static const int known[] = {EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN};

    for (size_t i = 0; i < bf_array_length(known); i++)
        if (error == (uint32_t)known[i])
            return known[i];
    return error ? EINVAL : 0;
}

/* --- connecting --- */

int bf_nbd_link_begin(const struct bf_nbd_params *params, struct bf_nbd_link **ret_link,
                      struct bf_error *err)
{
    if (strlen(params->uri->nbd_export) > NAME_MAX_BYTES)
        return bf_fail(err, BF_E_URI, 0, "the export's name is longer than %u bytes",
                       NAME_MAX_BYTES);
    if (params->context && strlen(params->context) > NAME_MAX_BYTES)
        return bf_fail(err, BF_E_NO_BITMAP, 0, "the bitmap's name is longer than %u bytes",
                       NAME_MAX_BYTES);
    struct bf_nbd_link *link = bf_xcalloc(1, sizeof(*link));
    link->params = params;
    if (bf_nbd_stream_open(params->uri, params->names, &link->stream, err)) {
        failed(link, err);
        bf_nbd_link_close(link);
        return -1;
    }
    link->hello = bf_nbd_hello_new(params);
    *ret_link = link;
    return 0;
}

/* Wait for the socket; -1 with *err. */
static int wait_for(const struct bf_nbd_link *link, short events, struct bf_deadline deadline,
                    short *ret_revents, struct bf_error *err)
{
    struct pollfd fds[2] = {{.fd = bf_nbd_link_fd(link), .events = events},
                            {.fd = link->params->cancel_fd, .events = POLLIN}};
    int n = poll(fds, 2, bf_deadline_left(deadline));

    if (n < 0 && errno != EINTR)
        return bf_fail(err, BF_E_SYSTEM, errno, "poll");
    if (n > 0 && fds[1].revents)
        return bf_fail(err, BF_E_CANCELLED, 0, "cancelled");
    if (bf_deadline_passed(deadline))
        return bf_fail(err, BF_E_DEADLINE, 0, "%s: no answer in %" PRIu64 " s",
                       link->params->uri->text, link->params->deadline_ms / 1000);
    *ret_revents = n > 0 ? fds[0].revents : 0;
    return 0;
}

int bf_nbd_link_connect(const struct bf_nbd_params *params, uint64_t patience_ms,
                        struct bf_nbd_link **ret_link, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(patience_ms);
    struct bf_nbd_link *link;
    short revents = POLLIN | POLLOUT; /* a UNIX socket is connected at once */

    if (bf_nbd_link_begin(params, &link, err))
        return -1;
    while (!bf_nbd_link_ready(link)) {
        if ((revents && bf_nbd_link_drive(link, revents, err)) ||
            (!bf_nbd_link_ready(link) &&
             wait_for(link, bf_nbd_link_events(link), deadline, &revents, err))) {
            bf_nbd_link_close(link);
            return -1;
        }
    }
    *ret_link = link;
    return 0;
}

bool bf_nbd_link_ready(const struct bf_nbd_link *link)
{
    return !link->hello;
}

const struct bf_nbd_export *bf_nbd_link_export(const struct bf_nbd_link *link)
{
    return &link->export;
}

static int go_on_connecting(struct bf_nbd_link *link, struct bf_error *err)
{
    int rc = bf_nbd_hello_step(link->hello, &link->stream, &link->export, err);

    if (rc < 0)
        return failed(link, err);
    if (rc == 1) {
        bf_nbd_hello_free(link->hello);
        link->hello = NULL;
    }
    return 0;
}

void bf_nbd_link_close(struct bf_nbd_link *link)
{
    unsigned char goodbye[BF_NBD_REQUEST_BYTES];
    struct iovec part = {goodbye, sizeof(goodbye)};
    bf_auto_error ignored = BF_ERROR_INIT;

    if (!link)
        return;
    if (link->stream.fd >= 0 && !link->hello && !link->under_way) {
        bf_nbd_put_request(goodbye, BF_NBD_CMD_DISCONNECT, 0, 0, 0);
        if (bf_nbd_stream_send(&link->stream, &part, 1, &ignored) > 0 && link->stream.tls)
            bf_nbd_tls_bye(link->stream.tls);
    }
    bf_nbd_stream_close(&link->stream);
    bf_nbd_hello_free(link->hello);
    free(link->ahead);
    free(link);
}

/* --- sending --- */

static enum bf_nbd_command command_of(const struct bf_request *request)
{
    switch (request->kind) {
    case BF_REQUEST_READ:
        return BF_NBD_CMD_READ;
    case BF_REQUEST_WRITE:
        return BF_NBD_CMD_WRITE;
    case BF_REQUEST_ZERO:
        return BF_NBD_CMD_WRITE_ZEROES;
    case BF_REQUEST_FLUSH:
        return BF_NBD_CMD_FLUSH;
    }
    return BF_NBD_CMD_FLUSH;
}

static size_t bytes_to_send(const struct place *place)
{
    const struct bf_request *request = place->request;

    return sizeof(place->head) + (request->kind == BF_REQUEST_WRITE ? (size_t)request->length : 0);
}

void bf_nbd_link_submit(struct bf_nbd_link *link, struct bf_request *request)
{
    unsigned at = 0;

    while (at < BF_NBD_LINK_REQUESTS && link->places[at].request)
        at++;
    assert(at < BF_NBD_LINK_REQUESTS && !link->hello);
    struct place *place = &link->places[at];
    place->request = request;
    place->cookie = ++link->next_number * BF_NBD_LINK_REQUESTS + at;
    place->sent = 0;
    bf_nbd_put_request(place->head, command_of(request), place->cookie, request->offset,
                       (uint32_t)request->length);
    link->queue[(link->queue_first + link->queue_count++) % BF_NBD_LINK_REQUESTS] =
        (unsigned char)at;
    link->under_way++;
}

/* What is left of the queued requests. */
static int gather(struct bf_nbd_link *link, struct iovec parts[PARTS_MAX], size_t *ret_total)
{
    int count = 0;

    *ret_total = 0;
    for (unsigned i = 0; i < link->queue_count && count + 2 <= PARTS_MAX; i++) {
        struct place *place =
            &link->places[link->queue[(link->queue_first + i) % BF_NBD_LINK_REQUESTS]];
        size_t head = sizeof(place->head), end = bytes_to_send(place);
        *ret_total += end - place->sent;
        if (place->sent < head)
            parts[count++] = (struct iovec){place->head + place->sent, head - place->sent};
        size_t from = place->sent < head ? head : place->sent;
        if (from < end)
            parts[count++] = (struct iovec){place->request->buffer + (from - head), end - from};
    }
    return count;
}

static void mark_sent(struct bf_nbd_link *link, size_t bytes)
{
    while (bytes) {
        struct place *place = &link->places[link->queue[link->queue_first]];
        size_t left = bytes_to_send(place) - place->sent;
        if (bytes < left) {
            place->sent += bytes;
            return;
        }
        place->sent += left;
        bytes -= left;
        link->queue_first = (link->queue_first + 1) % BF_NBD_LINK_REQUESTS;
        link->queue_count--;
    }
}

int bf_nbd_link_send(struct bf_nbd_link *link, struct bf_error *err)
{
    struct iovec parts[PARTS_MAX];
    size_t total;

    while (link->queue_count) {
        int count = gather(link, parts, &total);
        ssize_t n = bf_nbd_stream_send(&link->stream, parts, count, err);
        if (n < 0)
            return failed(link, err);
        mark_sent(link, (size_t)n);
        if ((size_t)n < total)
            return 0;
    }
    return 0;
}

/* --- receiving --- */

static void answered(struct bf_nbd_link *link, struct place *place, int error)
{
    place->request->answered = true;
    place->request->answer = error;
    place->request = NULL;
    link->under_way--;
}

/* The head of an answer is there. */
static int on_answer(struct bf_nbd_link *link, struct bf_error *err)
{
    uint32_t magic = bf_nbd_get32(link->answer), error = bf_nbd_get32(link->answer + 4);
    uint64_t cookie = bf_nbd_get64(link->answer + 8);
    struct place *place = &link->places[cookie % BF_NBD_LINK_REQUESTS];

    link->answer_have = 0;
    if (magic != SIMPLE_REPLY)
        return breach(link, "this is no answer of the kind that was agreed on", err);
    if (!place->request || place->cookie != cookie)
        return breach(link, "an answer to a request that was not made", err);
    if (place->sent < bytes_to_send(place))
        return breach(link, "an answer to a request that was not sent yet", err);
    if (place->request->kind == BF_REQUEST_READ && !error) {
        link->reading = place;
        link->reading_have = 0;
        return 0;
    }
    answered(link, place, bf_nbd_errno(error));
    return 0;
}

/* Take in so many bytes of what was asked for: data first, then the next head. */
static int take(struct bf_nbd_link *link, size_t bytes, struct bf_error *err)
{
    if (link->reading) {
        size_t left = (size_t)link->reading->request->length - link->reading_have;
        size_t n = bytes < left ? bytes : left;
        link->reading_have += n;
        bytes -= n;
        if (n == left) {
            answered(link, link->reading, 0);
            link->reading = NULL;
        }
    }
    link->answer_have += bytes;
    return link->answer_have == ANSWER_BYTES ? on_answer(link, err) : 0;
}

static int receive(struct bf_nbd_link *link, struct bf_error *err)
{
    for (;;) {
        struct iovec parts[2];
        size_t asked = ANSWER_BYTES - link->answer_have;
        int count = 0;
        if (link->reading) {
            size_t left = (size_t)link->reading->request->length - link->reading_have;
            parts[count++] =
                (struct iovec){link->reading->request->buffer + link->reading_have, left};
            asked += left;
        }
        parts[count++] =
            (struct iovec){link->answer + link->answer_have, ANSWER_BYTES - link->answer_have};
        ssize_t n = bf_nbd_stream_receive(&link->stream, parts, count, err);
        if (n < 0)
            return failed(link, err);
        if (n > 0 && take(link, (size_t)n, err))
            return -1;
        /* The next wait tells when there is more. */
        if ((size_t)n < asked)
            return 0;
    }
}

int bf_nbd_link_fd(const struct bf_nbd_link *link)
{
    return bf_nbd_stream_fd(&link->stream);
}

short bf_nbd_link_events(const struct bf_nbd_link *link)
{
    if (link->hello)
        return bf_nbd_hello_events(link->hello, &link->stream);
    return (short)(POLLIN | (link->queue_count ? POLLOUT : 0));
}

int bf_nbd_link_drive(struct bf_nbd_link *link, short revents, struct bf_error *err)
{
    if (link->hello)
        return go_on_connecting(link, err);
    if ((revents & POLLOUT) && bf_nbd_link_send(link, err))
        return -1;
    return revents & (POLLIN | POLLHUP | POLLERR) ? receive(link, err) : 0;
}

/* --- for the map --- */

int bf_nbd_link_put(struct bf_nbd_link *link, const void *data, size_t length,
                    struct bf_deadline deadline, struct bf_error *err)
{
    struct iovec part = {.iov_len = length};
    short revents;

    memcpy(&part.iov_base, &data, sizeof(data));
    while (part.iov_len) {
        ssize_t n = bf_nbd_stream_send(&link->stream, &part, 1, err);
        if (n < 0)
            return failed(link, err);
        part.iov_base = (char *)part.iov_base + n;
        part.iov_len -= (size_t)n;
        if (n == 0 && wait_for(link, POLLOUT, deadline, &revents, err))
            return -1;
    }
    return 0;
}

/* Something to read ahead; waits for it. */
static int fill_ahead(struct bf_nbd_link *link, struct bf_deadline deadline, struct bf_error *err)
{
    short revents;

    if (!link->ahead)
        link->ahead = bf_xcalloc(1, AHEAD_BYTES);
    struct iovec part = {link->ahead, AHEAD_BYTES};
    for (;;) {
        ssize_t n = bf_nbd_stream_receive(&link->stream, &part, 1, err);
        if (n < 0)
            return failed(link, err);
        if (n > 0) {
            link->ahead_from = 0;
            link->ahead_to = (size_t)n;
            return 0;
        }
        if (wait_for(link, POLLIN, deadline, &revents, err))
            return -1;
    }
}

int bf_nbd_link_get(struct bf_nbd_link *link, void *data, size_t length,
                    struct bf_deadline deadline, struct bf_error *err)
{
    unsigned char *to = data;

    while (length) {
        if (link->ahead_from == link->ahead_to && fill_ahead(link, deadline, err))
            return -1;
        size_t n = link->ahead_to - link->ahead_from;
        if (n > length)
            n = length;
        memcpy(to, link->ahead + link->ahead_from, n);
        link->ahead_from += n;
        to += n;
        length -= n;
    }
    return 0;
}
