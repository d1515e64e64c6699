/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/nbd_hello.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "nbd/extent.h"
#include "nbd/nbd_wire.h"

#define MAGIC 0x4e42444d41474943ull /* "NBDMAGIC" */
#define I_HAVE_OPT 0x49484156454f5054ull
#define REPLY_MAGIC 0x3e889045565a9ull
#define GREETING_BYTES 18u
#define REPLY_BYTES 20u
#define PAYLOAD_MAX 8192u /* longer than any name or message that the protocol allows */
#define REPLIES_MAX 256u  /* a handshake has about ten */

#define FIXED_NEWSTYLE 1u
#define NO_ZEROES 2u

enum option {
    OPT_NONE = 0,
    OPT_STARTTLS = 5,
    OPT_GO = 7,
    OPT_STRUCTURED = 8,
    OPT_SET_CONTEXT = 10
};

enum reply { REP_ACK = 1, REP_INFO = 3, REP_CONTEXT = 4 };
#define REP_ERROR 0x80000000u
#define REP_ERR_POLICY (REP_ERROR + 2)
#define REP_ERR_TLS_REQUIRED (REP_ERROR + 5)
#define REP_ERR_UNKNOWN (REP_ERROR + 6)

enum info { INFO_EXPORT = 0, INFO_BLOCK_SIZE = 3 };

enum step { CONNECTING, GREETING, TLS, REPLY, PAYLOAD };

struct bf_nbd_hello {
    const struct bf_nbd_params *params;
    enum step step;
    enum option option;  /* asked last */
    bool has_export;     /* INFO_EXPORT came */
    uint32_t reply;      /* whose payload is read */
    unsigned replies;    /* so far */
    size_t have, need;   /* of `in` */
    size_t sent, length; /* of `out` */
    unsigned char in[PAYLOAD_MAX];
    unsigned char out[2 * PAYLOAD_MAX];
};

struct bf_nbd_hello *bf_nbd_hello_new(const struct bf_nbd_params *params)
{
    struct bf_nbd_hello *hello = bf_xcalloc(1, sizeof(*hello));

    hello->params = params;
    return hello;
}

void bf_nbd_hello_free(struct bf_nbd_hello *hello)
{
    free(hello);
}

static int breach(const char *what, struct bf_error *err)
{
    return bf_fail(err, BF_E_PROTOCOL, 0, "the server broke the protocol: %s", what);
}

static void expect(struct bf_nbd_hello *hello, enum step step, size_t bytes)
{
    hello->step = step;
    hello->have = 0;
    hello->need = bytes;
}

/* --- what we say --- */

static unsigned char *put_text(unsigned char *at, const char *text)
{
    size_t length = strlen(text);

    at = bf_nbd_put32(at, (uint32_t)length);
    memcpy(at, text, length);
    return at + length;
}

static void ask(struct bf_nbd_hello *hello, enum option option)
{
    unsigned char *start = hello->out + hello->length, *data = start + 16, *at = data;

    if (option == OPT_GO) {
        at = put_text(at, hello->params->uri->nbd_export);
        at = bf_nbd_put16(at, 1);
        at = bf_nbd_put16(at, INFO_BLOCK_SIZE);
    } else if (option == OPT_SET_CONTEXT) {
        at = put_text(at, hello->params->uri->nbd_export);
        at = bf_nbd_put32(at, 1);
        at = put_text(at, hello->params->context);
    }
    (void)bf_nbd_put64(start, I_HAVE_OPT);
    (void)bf_nbd_put32(start + 8, (uint32_t)option);
    (void)bf_nbd_put32(start + 12, (uint32_t)(at - data));
    hello->length = (size_t)(at - hello->out);
    hello->option = option;
    expect(hello, REPLY, REPLY_BYTES);
}

static void ask_for_export(struct bf_nbd_hello *hello)
{
    ask(hello, hello->params->context ? OPT_STRUCTURED : OPT_GO);
}

/* --- what the server says --- */

static int on_greeting(struct bf_nbd_hello *hello, struct bf_error *err)
{
    uint16_t flags = bf_nbd_get16(hello->in + 16);

    if (bf_nbd_get64(hello->in) != MAGIC)
        return breach("it is no NBD server", err);
    if (bf_nbd_get64(hello->in + 8) != I_HAVE_OPT || !(flags & FIXED_NEWSTYLE))
        return bf_fail(err, BF_E_ENDPOINT_OPEN, 0,
                       "the server speaks only an old form of the protocol");
    (void)bf_nbd_put32(hello->out, FIXED_NEWSTYLE | (flags & NO_ZEROES));
    hello->length = 4;
    if (hello->params->uri->tls)
        ask(hello, OPT_STARTTLS);
    else
        ask_for_export(hello);
    return 0;
}

static int refused(const struct bf_nbd_hello *hello, struct bf_error *err)
{
    const char *export = hello->params->uri->nbd_export;
    char text[256];
    size_t length = bf_min_u64(hello->have, sizeof(text) - 1);

    memcpy(text, hello->in, length);
    text[length] = '\0';
    bf_text_clean(text, false);
    if (hello->option == OPT_STARTTLS)
        return bf_fail(err, BF_E_TLS, 0, "the server does not offer TLS: %s", text);
    if (hello->reply == REP_ERR_TLS_REQUIRED)
        return bf_fail(err, BF_E_TLS, 0, "the server demands TLS (nbds): %s", text);
    if (hello->reply == REP_ERR_UNKNOWN)
        return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "the server has no export \"%s\": %s", export,
                       text);
    return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "the server refuses the export \"%s\"%s: %s", export,
                   hello->reply == REP_ERR_POLICY ? " by its policy" : "", text);
}

static int start_tls(struct bf_nbd_hello *hello, struct bf_nbd_stream *stream, struct bf_error *err)
{
    const struct bf_uri *uri = hello->params->uri;
    struct bf_nbd_tls_params params = {
        .certificates = hello->params->tls_certificates,
        .psk_file = hello->params->tls_psk ? hello->params->tls_psk : uri->nbd_psk_file,
        .user = uri->nbd_user,
        .host = uri->nbd_host,
    };

    hello->step = TLS;
    return bf_nbd_tls_new(&params, stream->fd, &stream->tls, err);
}

static int on_info(struct bf_nbd_hello *hello, struct bf_nbd_export *export, struct bf_error *err)
{
    const unsigned char *in = hello->in;

    if (hello->have < 2)
        return breach("information without a type", err);
    uint16_t type = bf_nbd_get16(in);
    if (type == INFO_EXPORT) {
        if (hello->have != 12)
            return breach("the export's description has another length", err);
        export->size = bf_nbd_get64(in + 2);
        export->flags = bf_nbd_get16(in + 10);
        hello->has_export = true;
        if (export->size > INT64_MAX)
            return bf_fail(err, BF_E_ENDPOINT_OPEN, 0,
                           "an export of %" PRIu64 " bytes is too large", export->size);
    } else if (type == INFO_BLOCK_SIZE) {
        if (hello->have != 14)
            return breach("the block sizes have another length", err);
        export->block_min = bf_nbd_get32(in + 2);
        export->block_max = bf_nbd_get32(in + 10);
    }
    return 0; /* what else there is may be ignored */
}

static int on_context(const struct bf_nbd_hello *hello, struct bf_nbd_export *export,
                      struct bf_error *err)
{
    const char *want = hello->params->context;

    if (hello->have < 4)
        return breach("a meta context without an id", err);
    if (hello->have - 4 == strlen(want) && memcmp(hello->in + 4, want, strlen(want)) == 0) {
        export->has_context = true;
        export->context_id = bf_nbd_get32(hello->in);
    }
    return 0;
}

/* A whole reply is there.  1: the handshake is done. */
static int on_reply(struct bf_nbd_hello *hello, struct bf_nbd_stream *stream, struct bf_error *err)
{
    bool optional = hello->option == OPT_STRUCTURED || hello->option == OPT_SET_CONTEXT;

    expect(hello, REPLY, REPLY_BYTES);
    if (hello->reply & REP_ERROR && hello->reply != REP_ERR_TLS_REQUIRED && optional) {
        ask(hello, OPT_GO); /* without a map, then */
        return 0;
    }
    if (hello->reply != REP_ACK)
        return breach("an answer of an unknown kind", err);
    switch (hello->option) {
    case OPT_STARTTLS:
        return start_tls(hello, stream, err);
    case OPT_STRUCTURED:
        ask(hello, OPT_SET_CONTEXT);
        return 0;
    case OPT_SET_CONTEXT:
        ask(hello, OPT_GO);
        return 0;
    case OPT_GO:
        return hello->has_export ? 1 : breach("the export is not described", err);
    case OPT_NONE:
        break;
    }
    return breach("an answer to nothing", err);
}

static int on_payload(struct bf_nbd_hello *hello, struct bf_nbd_stream *stream,
                      struct bf_nbd_export *export, struct bf_error *err)
{
    int rc = 0;

    if (hello->reply == REP_INFO && hello->option == OPT_GO)
        rc = on_info(hello, export, err);
    else if (hello->reply == REP_CONTEXT && hello->option == OPT_SET_CONTEXT)
        rc = on_context(hello, export, err);
    else if (hello->reply & REP_ERROR && (hello->reply == REP_ERR_TLS_REQUIRED ||
                                          hello->option == OPT_GO || hello->option == OPT_STARTTLS))
        rc = refused(hello, err);
    else
        return on_reply(hello, stream, err);
    expect(hello, REPLY, REPLY_BYTES);
    return rc;
}

static int on_header(struct bf_nbd_hello *hello, struct bf_error *err)
{
    uint32_t length = bf_nbd_get32(hello->in + 16);

    if (bf_nbd_get64(hello->in) != REPLY_MAGIC)
        return breach("an answer without its mark", err);
    if (bf_nbd_get32(hello->in + 8) != (uint32_t)hello->option)
        return breach("an answer to another question", err);
    if (length > PAYLOAD_MAX)
        return breach("an answer that is too long", err);
    /* They are not waited for while more is there, so no deadline would end this. */
    if (++hello->replies > REPLIES_MAX)
        return breach("a handshake without an end", err);
    hello->reply = bf_nbd_get32(hello->in + 12);
    expect(hello, PAYLOAD, length);
    return 0;
}

static void tell_cipher(const struct bf_nbd_params *params, const struct bf_nbd_tls *tls)
{
    char text[128];

    bf_nbd_tls_describe(tls, text, sizeof(text));
    bf_log(*params->cipher_told ? BF_LOG_DEBUG : BF_LOG_NOTICE,
           "%s: connection is using TLS: cipher %s", params->uri->text, text);
    *params->cipher_told = true;
}

/* --- the machine --- */

/* What we have to say is said: 1; not yet: 0. */
static int say(struct bf_nbd_hello *hello, struct bf_nbd_stream *stream, struct bf_error *err)
{
    while (hello->sent < hello->length) {
        struct iovec part = {hello->out + hello->sent, hello->length - hello->sent};
        ssize_t n = bf_nbd_stream_send(stream, &part, 1, err);
        if (n <= 0)
            return (int)n;
        hello->sent += (size_t)n;
    }
    hello->sent = hello->length = 0;
    return 1;
}

/* What is to be heard is there: 1; not yet: 0. */
static int hear(struct bf_nbd_hello *hello, struct bf_nbd_stream *stream, struct bf_error *err)
{
    while (hello->have < hello->need) {
        struct iovec part = {hello->in + hello->have, hello->need - hello->have};
        ssize_t n = bf_nbd_stream_receive(stream, &part, 1, err);
        if (n <= 0)
            return (int)n;
        hello->have += (size_t)n;
    }
    return 1;
}

static int one_step(struct bf_nbd_hello *hello, struct bf_nbd_stream *stream,
                    struct bf_nbd_export *export, struct bf_error *err)
{
    switch (hello->step) {
    case GREETING:
        return on_greeting(hello, err);
    case REPLY:
        return on_header(hello, err);
    case PAYLOAD:
        return on_payload(hello, stream, export, err);
    case CONNECTING:
    case TLS:
        break;
    }
    return breach("lost", err);
}

int bf_nbd_hello_step(struct bf_nbd_hello *hello, struct bf_nbd_stream *stream,
                      struct bf_nbd_export *export, struct bf_error *err)
{
    int rc;

    if (hello->step == CONNECTING) {
        if ((rc = bf_nbd_stream_connected(stream, err)) != 1)
            return rc;
        expect(hello, GREETING, GREETING_BYTES);
    }
    for (;;) {
        if (hello->step == TLS) {
            if ((rc = bf_nbd_tls_handshake(stream->tls, err)) != 1)
                return rc;
            tell_cipher(hello->params, stream->tls);
            ask_for_export(hello);
        }
        if ((rc = say(hello, stream, err)) != 1 || (rc = hear(hello, stream, err)) != 1 ||
            (rc = one_step(hello, stream, export, err)))
            return rc;
    }
}

short bf_nbd_hello_events(const struct bf_nbd_hello *hello, const struct bf_nbd_stream *stream)
{
    bool write =
        hello->step == TLS ? bf_nbd_tls_wants_write(stream->tls) : hello->sent < hello->length;

    if (hello->step == CONNECTING)
        return bf_nbd_stream_connect_event(stream);
    return (short)(POLLIN | (write ? POLLOUT : 0));
}
