/* SPDX-License-Identifier: Apache-2.0 */
/* Live events over HTTP (Server-Sent Events).
 *
 * A stream is in one of two modes.  Replay: what is stored after the last event sent is
 * read page by page as the client takes it.  Live: events are queued as they come.  A
 * client that is too slow for the queue goes back to replay, so that no stored event is
 * lost and memory stays bounded; live progress, which the next one replaces, is left out.
 *
 * The connection is suspended while there is nothing to send.  A client that is gone is
 * noticed by the next write, at the latest by the keep-alive comment.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/api/api_private.h"
#include "daemon/service.h"

#define QUEUE_MAX (256 * 1024)
#define PROGRESS_QUEUE_MAX (32 * 1024) /* beyond it progress is left out */
#define PAGE 100

struct bf_stream {
    struct bf_request *request;
    char *replication; /* NULL: all */
    bool replay;
    uint64_t queued_id; /* id of the newest event queued or sent; 0: none */
    struct bf_buf queue;
    size_t taken; /* bytes of the queue that are sent */
    uint64_t sent_ms;
    struct bf_stream *next;
    struct bf_stream **link;
};

static size_t queue_length(const struct bf_stream *stream)
{
    return stream->queue.length - stream->taken;
}

static void queue_event(struct bf_stream *stream, uint64_t id, struct json_object *event)
{
    const char *text = json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE);

    if (id)
        bf_buf_addf(&stream->queue, "id: %llu\nevent: event\ndata: ", (unsigned long long)id);
    else
        bf_buf_addf(&stream->queue, "event: progress\ndata: ");
    bf_buf_add(&stream->queue, text, strlen(text)); /* JSON escapes line ends */
    bf_buf_add(&stream->queue, "\n\n", 2);
}

static uint64_t event_id(struct json_object *event)
{
    struct json_object *id = json_object_object_get(event, "id");

    return json_object_get_type(id) == json_type_int ? json_object_get_uint64(id) : 0;
}

static bool event_wanted(const struct bf_stream *stream, struct json_object *event)
{
    struct json_object *of = json_object_object_get(event, "replication");

    return !stream->replication || (json_object_get_type(of) == json_type_string &&
                                    bf_streq(json_object_get_string(of), stream->replication));
}

/* The next page of stored events into the queue; an empty page ends the replay. */
static int replay(struct bf_stream *stream)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *answer = NULL;
    struct json_object *list;

    if (bf_service_events(stream->request->api->service, stream->replication, stream->queued_id,
                          PAGE, &answer, &err) < 0) {
        bf_log_error(BF_LOG_WARNING, &err, "api: event stream");
        return -1;
    }
    list = answer;
    if (json_object_get_type(answer) == json_type_object)
        list = json_object_object_get(answer, "events");
    size_t count = json_object_array_length(list);
    for (size_t i = 0; i < count; i++) {
        struct json_object *event = json_object_array_get_idx(list, i);

        stream->queued_id = event_id(event);
        queue_event(stream, stream->queued_id, event);
    }
    stream->replay = count == PAGE;
    return 0;
}

static void on_event(struct json_object *event, void *user)
{
    struct bf_api *api = user;
    uint64_t id = event_id(event);

    for (struct bf_stream *stream = api->streams; stream; stream = stream->next) {
        if (stream->replay || !event_wanted(stream, event))
            continue;
        if (id == 0 && queue_length(stream) > PROGRESS_QUEUE_MAX)
            continue;
        if (id != 0 && queue_length(stream) > QUEUE_MAX) {
            stream->replay = true; /* after what is queued, from the store */
            continue;
        }
        if (id != 0 && id <= stream->queued_id)
            continue;
        if (id != 0)
            stream->queued_id = id;
        queue_event(stream, id, event);
        bf_request_resume(stream->request);
    }
}

/* libmicrohttpd asks for the next piece. */
static ssize_t reader(void *user, uint64_t position, char *buffer, size_t max)
{
    struct bf_stream *stream = user;
    size_t length;

    (void)position;
    if (queue_length(stream) == 0) {
        bf_buf_done(&stream->queue);
        stream->queue = (struct bf_buf){0};
        stream->taken = 0;
        if (stream->replay && replay(stream) < 0)
            return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    length = queue_length(stream) < max ? queue_length(stream) : max;
    if (length == 0) {
        stream->request->suspended = true;
        MHD_suspend_connection(stream->request->connection);
        bf_connection_due(stream->request->connection, 0);
        return 0;
    }
    memcpy(buffer, stream->queue.text + stream->taken, length);
    stream->taken += length;
    stream->sent_ms = bf_now_ms();
    bf_connection_due(stream->request->connection, BF_API_REPLY_MS);
    return (ssize_t)length;
}

static int stream_send(struct bf_stream *stream, struct bf_error *err)
{
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, reader, stream, NULL);
    enum MHD_Result result;

    if (!response)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "event stream");
    bf_reply_headers(response, "text/event-stream; charset=utf-8");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    result = MHD_queue_response(stream->request->connection, 200, response);
    MHD_destroy_response(response);
    stream->request->api->replies[2]++;
    return result == MHD_YES ? 0 : bf_fail(err, BF_E_INTERNAL, 0, "event stream not accepted");
}

int bf_stream_open(struct bf_request *request, const char *replication, bool resume, uint64_t after,
                   struct bf_error *err)
{
    struct bf_api *api = request->api;
    struct bf_stream *stream;

    if (api->stream_count >= BF_API_STREAMS_MAX)
        return bf_fail(err, BF_E_BUSY, 0, "%d event streams are open already", BF_API_STREAMS_MAX);
    stream = bf_xcalloc(1, sizeof(*stream));
    stream->request = request;
    stream->replication = bf_xstrdup(replication);
    stream->replay = resume;
    stream->queued_id = after;
    stream->sent_ms = bf_now_ms();
    bf_buf_addf(&stream->queue, "retry: 2000\n\n"); /* makes the header go out at once, too */
    stream->next = api->streams;
    stream->link = &api->streams;
    if (stream->next)
        stream->next->link = &stream->next;
    api->streams = stream;
    api->stream_count++;
    request->stream = stream;
    if (api->stream_count == 1)
        api->subscription = bf_service_subscribe(api->service, on_event, api);
    return stream_send(stream, err);
}

void bf_stream_close(struct bf_stream *stream)
{
    if (!stream)
        return;
    struct bf_api *api = stream->request->api;

    *stream->link = stream->next;
    if (stream->next)
        stream->next->link = stream->link;
    if (--api->stream_count == 0)
        bf_service_unsubscribe(api->service, api->subscription);
    bf_buf_done(&stream->queue);
    free(stream->replication);
    free(stream);
}

void bf_streams_tick(struct bf_api *api)
{
    uint64_t now = bf_now_ms();

    for (struct bf_stream *stream = api->streams; stream; stream = stream->next)
        if (queue_length(stream) == 0 && now - stream->sent_ms >= BF_API_KEEP_ALIVE_MS) {
            bf_buf_addf(&stream->queue, ": keep-alive\n\n");
            bf_request_resume(stream->request);
        }
}
