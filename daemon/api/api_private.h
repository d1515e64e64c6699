/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the API's server share. */
#pragma once

#include <microhttpd.h>
#include <stdint.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "daemon/api/request.h"

struct bf_metrics;

#define BF_API_BODY_MAX (1024 * 1024)
/* A body that is too large is read to its end and thrown away, so that the client is not cut
 * off in mid-sentence and sees the answer; above this the connection is closed. */
#define BF_API_DRAIN_MAX (16 * 1024 * 1024)
#define BF_API_CONNECTIONS_MAX 256
#define BF_API_STREAMS_MAX 128
#define BF_API_TIMEOUT_MS 10000 /* header, then body */
#define BF_API_IDLE_MS 20000    /* after a reply, until the next request's header is complete */
#define BF_API_REPLY_MS                                                                            \
    60000 /* a client may take so long to read a reply, or a stream's next piece */
#define BF_API_QUESTION_MS 150000 /* a platform may take so long to answer */
#define BF_API_KEEP_ALIVE_MS 15000

struct bf_connection {
    struct ucred peer;
    int fd;                 /* MHD's */
    struct bf_deadline due; /* shut down when it passes; 0: never */
    struct bf_connection *next;
    struct bf_connection **link;
};

struct bf_api {
    struct bf_service *service;
    sd_event *event;
    struct MHD_Daemon *daemon;
    char *socket_path; /* NULL: not ours to remove */
    sd_event_source *io;
    sd_event_source *timer; /* MHD's own timeouts */
    sd_event_source *sweep; /* ours, once a second while there is a connection */
    uint64_t swept_ms;      /* when it last ran */
    struct bf_connection *connections;
    struct bf_request *requests;
    struct bf_stream *streams;
    unsigned stream_count;
    unsigned subscription; /* of the service's live events; 0: no stream is open */
    struct bf_metrics *metrics;
    uint64_t replies[6]; /* sent, by first digit of the status */
};

/* server.c: the client's next step is due within so long; 0: it is our turn. */
void bf_connection_due(struct MHD_Connection *mhd, uint64_t ms);
/* A connection was resumed; else its reply would wait for the next event of another. */
void bf_api_run_soon(struct bf_api *api);

/* stream.c */
int bf_stream_open(struct bf_request *request, const char *replication, bool resume, uint64_t after,
                   struct bf_error *err);
void bf_stream_close(struct bf_stream *stream);
void bf_streams_tick(struct bf_api *api); /* once a second: keep-alive comments */

/* metrics.c */
struct bf_metrics *bf_metrics_new(void);
void bf_metrics_free(struct bf_metrics *metrics);

/* request.c */
struct bf_request *bf_request_new(struct bf_api *api, struct MHD_Connection *connection,
                                  const struct ucred *peer);
void bf_request_free(struct bf_request *request);
/* The headers every reply carries. */
void bf_reply_headers(struct MHD_Response *response, const char *content_type);
enum MHD_Result bf_reply_send(struct bf_request *request);
void bf_requests_tick(struct bf_api *api); /* once a second: questions that took too long */
