/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP client on libcurl's multi interface, which can wait for a cancel as well. */
#include "base/http.h"

#include <curl/curl.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#define CONNECT_MS 10000
#define REQUEST_MS 60000
#define BODY_MAX ((size_t)64 * 1024 * 1024)
#define HEADERS_MAX ((size_t)256 * 1024)
#define PIN_BYTES 32

struct bf_http {
    CURLM *multi; /* keeps connections between requests */
    CURL *easy;
    char *unix_socket;
    char *ca_file;
    char *pin; /* "sha256//BASE64" */
    char *user_agent;
    uint64_t connect_timeout_ms;
    size_t max_body;
    int cancel_fd;
};

/* One request under way. */
struct transfer {
    struct bf_http *http;
    const struct bf_http_request *request;
    char *body;
    size_t body_length, body_capacity;
    char *headers;
    size_t headers_length, headers_capacity;
    struct curl_slist *header_list;
    char curl_text[CURL_ERROR_SIZE];
    char where[256]; /* "GET https://host/path" without query */
    bool stopped;    /* by the caller's on_data */
    bool too_large;
    bool no_memory;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_started;

static void start_curl(void)
{
    curl_started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* --- the client --- */

/* A pin that is not a SHA-256 would only ever mismatch, and one with ';' would be several. */
static int check_pin(const char *pin, struct bf_error *err)
{
    unsigned char bytes[PIN_BYTES + 1];
    const char *end = NULL;
    size_t length = 0;

    if (sodium_base642bin(bytes, sizeof(bytes), pin, strlen(pin), NULL, &length, &end,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        *end || length != PIN_BYTES)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "\"%.60s\" is not a fingerprint (base64 of the public key's SHA-256)", pin);
    return 0;
}

int bf_http_new(const struct bf_http_conf *conf, struct bf_http **ret_http, struct bf_error *err)
{
    struct bf_http *http;

    pthread_once(&curl_once, start_curl);
    if (curl_started != CURLE_OK)
        return bf_fail(err, BF_E_INTERNAL, 0, "libcurl does not start: %s",
                       curl_easy_strerror(curl_started));
    if (conf->pin_sha256 && check_pin(conf->pin_sha256, err) < 0)
        return -1;
    http = bf_xcalloc(1, sizeof(*http));
    http->multi = curl_multi_init();
    http->easy = curl_easy_init();
    http->unix_socket = bf_xstrdup(conf->unix_socket);
    http->ca_file = bf_xstrdup(conf->ca_file);
    http->pin = conf->pin_sha256 ? bf_xasprintf("sha256//%s", conf->pin_sha256) : NULL;
    http->user_agent = bf_xstrdup(conf->user_agent ? conf->user_agent : "blockferry/" BF_VERSION);
    http->connect_timeout_ms = conf->connect_timeout_ms ? conf->connect_timeout_ms : CONNECT_MS;
    http->max_body = conf->max_body ? conf->max_body : BODY_MAX;
    http->cancel_fd = conf->cancel_fd;
    if (!http->multi || !http->easy) {
        bf_http_free(http);
        return bf_fail(err, BF_E_NO_MEMORY, 0, "cannot make an HTTP client");
    }
    *ret_http = http;
    return 0;
}

void bf_http_free(struct bf_http *http)
{
    if (!http)
        return;
    curl_easy_cleanup(http->easy);
    curl_multi_cleanup(http->multi);
    free(http->unix_socket);
    free(http->ca_file);
    free(http->pin);
    free(http->user_agent);
    free(http);
}

void bf_http_set_cancel_fd(struct bf_http *http, int cancel_fd)
{
    http->cancel_fd = cancel_fd;
}

/* --- what comes in --- */

/* The peer chooses the size: no abort when memory is out. */
static bool append(char **text, size_t *length, size_t *capacity, const char *data, size_t more)
{
    if (*length + more >= *capacity) {
        size_t size = (*length + more + 1) / 2 * 3 + 1024;
        char *grown = realloc(*text, size);

        if (!grown)
            return false;
        *text = grown;
        *capacity = size;
    }
    memcpy(*text + *length, data, more);
    *length += more;
    (*text)[*length] = '\0';
    return true;
}

/* A result other than the number of bytes ends the transfer with CURLE_WRITE_ERROR. */
static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    size_t length = size * count;
    long status = 0;

    curl_easy_getinfo(transfer->http->easy, CURLINFO_RESPONSE_CODE, &status);
    if (transfer->request->on_data && status >= 200 && status < 300) {
        transfer->stopped = transfer->request->on_data(data, length, transfer->request->user) != 0;
        return transfer->stopped ? 0 : length;
    }
    if (length > transfer->http->max_body - transfer->body_length) {
        transfer->too_large = true;
        return 0;
    }
    transfer->no_memory =
        !append(&transfer->body, &transfer->body_length, &transfer->body_capacity, data, length);
    return transfer->no_memory ? 0 : length;
}

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    size_t length = size * count;

    /* Each answer begins anew: what came with "100 Continue" is not of the last one. */
    if (length > 5 && memcmp(data, "HTTP/", 5) == 0)
        transfer->headers_length = 0;
    if (length > HEADERS_MAX - transfer->headers_length) {
        transfer->too_large = true;
        return 0;
    }
    transfer->no_memory = !append(&transfer->headers, &transfer->headers_length,
                                  &transfer->headers_capacity, data, length);
    return transfer->no_memory ? 0 : length;
}

/* --- what goes out --- */

static bool has_header(const struct bf_http_request *request, const char *name)
{
    size_t length = strlen(name);

    for (const char *const *at = request->headers; at && *at; at++)
        if (strncasecmp(*at, name, length) == 0 && (*at)[length] == ':')
            return true;
    return false;
}

/* The URL for messages: without query and without a password that should not be there. */
static void set_where(struct transfer *transfer)
{
    const char *url = transfer->request->url;
    const char *host = strstr(url, "://");
    size_t scheme, authority, user = 0;

    host = host ? host + 3 : url;
    scheme = (size_t)(host - url);
    authority = strcspn(host, "/?#");
    for (size_t i = 0; i < authority; i++)
        if (host[i] == '@')
            user = i + 1;
    host += user;
    snprintf(transfer->where, sizeof(transfer->where), "%.10s %.*s%.*s", transfer->request->method,
             (int)scheme, url, (int)strcspn(host, "?#"), host);
}

static int check_request(struct transfer *transfer, struct bf_error *err)
{
    const struct bf_http_request *request = transfer->request;
    const char *method = request->method;
    bool tls = strncasecmp(request->url, "https://", 8) == 0;

    if (!method || !*method || strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(method))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%.40s\" is not an HTTP method",
                       method ? method : "");
    for (const char *const *at = request->headers; at && *at; at++)
        if (strpbrk(*at, "\r\n") || !strchr(*at, ':')) /* its value may be a secret */
            return bf_fail(err, BF_E_BAD_INPUT, 0, "malformed HTTP header \"%.*s\"",
                           (int)strcspn(*at, ":\r\n"), *at);
    set_where(transfer);
    if (!tls && strncasecmp(request->url, "http://", 7) != 0)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "%s: not an http or https URL", transfer->where);
    if (!tls && (transfer->http->pin || transfer->http->ca_file))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "%s: a certificate or fingerprint is given, but the URL is not https",
                       transfer->where);
    return 0;
}

static void add_header(struct transfer *transfer, const char *line)
{
    struct curl_slist *list = curl_slist_append(transfer->header_list, line);

    if (list)
        transfer->header_list = list;
    else
        transfer->no_memory = true;
}

static void set_headers(struct transfer *transfer)
{
    const struct bf_http_request *request = transfer->request;

    for (const char *const *at = request->headers; at && *at; at++)
        add_header(transfer, *at);
    add_header(transfer, "Expect:"); /* no round trip to ask whether the body is welcome */
    if (!has_header(request, "Content-Type"))
        add_header(transfer, "Content-Type:"); /* libcurl would call it a web form */
    curl_easy_setopt(transfer->http->easy, CURLOPT_HTTPHEADER, transfer->header_list);
}

static void set_body(struct transfer *transfer)
{
    const struct bf_http_request *request = transfer->request;
    CURL *easy = transfer->http->easy;
    bool wants_body = bf_streq(request->method, "POST") || bf_streq(request->method, "PUT") ||
                      bf_streq(request->method, "PATCH");

    if (bf_streq(request->method, "HEAD")) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (request->body || wants_body) { /* an empty one: Content-Length: 0 */
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)(request->body ? request->body_length : 0));
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body ? request->body : "");
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static void set_tls(struct bf_http *http)
{
    curl_easy_setopt(http->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (http->pin) {
        curl_easy_setopt(http->easy, CURLOPT_PINNEDPUBLICKEY, http->pin);
        curl_easy_setopt(http->easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(http->easy, CURLOPT_SSL_VERIFYHOST, 0L);
        return;
    }
    curl_easy_setopt(http->easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(http->easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (http->ca_file)
        curl_easy_setopt(http->easy, CURLOPT_CAINFO, http->ca_file);
}

static void set_options(struct transfer *transfer)
{
    struct bf_http *http = transfer->http;
    CURL *easy = http->easy;

    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, transfer->request->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L); /* a name ".." is no step upwards */
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* not what the environment happens to say */
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* a cancel does not wait for the resolver */
    curl_easy_setopt(easy, CURLOPT_USERAGENT, http->user_agent);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)http->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, transfer->request->once ? 1L : 0L);
    if (transfer->request->stall_s) {
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)transfer->request->stall_s);
    }
    if (http->unix_socket)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, http->unix_socket);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->curl_text);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    set_tls(http);
    set_body(transfer);
    set_headers(transfer);
}

/* --- the way --- */

static enum bf_error_code code_of(CURLcode result)
{
    switch ((int)result) {
    case CURLE_URL_MALFORMAT:
    case CURLE_LOGIN_DENIED: /* a user in the URL */
        return BF_E_BAD_INPUT;
    case CURLE_OUT_OF_MEMORY:
        return BF_E_NO_MEMORY;
    case CURLE_OPERATION_TIMEDOUT:
        return BF_E_DEADLINE;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
        return BF_E_PLATFORM_UNREACHABLE;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return BF_E_TLS;
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_UNKNOWN_OPTION:
    case CURLE_FAILED_INIT:
        return BF_E_INTERNAL;
    default:
        return BF_E_PROTOCOL;
    }
}

static int fail_transfer(struct transfer *transfer, CURLcode result, struct bf_error *err)
{
    const char *text = *transfer->curl_text ? transfer->curl_text : curl_easy_strerror(result);
    double connected = 0;

    if (transfer->no_memory)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "%s: cannot hold the answer", transfer->where);
    if (transfer->too_large)
        return bf_fail(err, BF_E_TOO_LARGE, 0, "%s: the answer is larger than %zu bytes",
                       transfer->where, transfer->http->max_body);
    curl_easy_getinfo(transfer->http->easy, CURLINFO_CONNECT_TIME, &connected);
    if (result == CURLE_OPERATION_TIMEDOUT && connected <= 0)
        return bf_fail(err, BF_E_PLATFORM_UNREACHABLE, 0, "%s: %s", transfer->where, text);
    return bf_fail(err, code_of(result), 0, "%s: %s", transfer->where, text);
}

/* The result of the transfer, if it has one now. */
static bool is_finished(CURLM *multi, CURLcode *ret_result)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(multi, &left))) {
        if (message->msg == CURLMSG_DONE) {
            *ret_result = message->data.result;
            return true;
        }
    }
    return false;
}

static bool is_cancelled(const struct bf_http *http)
{
    struct pollfd pollfd = {.fd = http->cancel_fd, .events = POLLIN};

    return http->cancel_fd >= 0 && poll(&pollfd, 1, 0) > 0;
}

static int drive(struct transfer *transfer, struct bf_deadline deadline, struct bf_error *err)
{
    struct bf_http *http = transfer->http;
    CURLcode result;

    for (;;) {
        struct curl_waitfd cancel = {.fd = http->cancel_fd, .events = CURL_WAIT_POLLIN};
        int running, left = bf_deadline_left(deadline);
        CURLMcode code = curl_multi_perform(http->multi, &running);

        if (code == CURLM_OK && is_finished(http->multi, &result))
            break;
        if (left == 0)
            return bf_fail(err, BF_E_DEADLINE, 0, "%s: no answer in time", transfer->where);
        if (code == CURLM_OK)
            code = curl_multi_poll(http->multi, &cancel, http->cancel_fd >= 0 ? 1 : 0,
                                   left < 0 || left > 60000 ? 60000 : left, NULL);
        if (code != CURLM_OK)
            return bf_fail(err, BF_E_INTERNAL, 0, "%s: %s", transfer->where,
                           curl_multi_strerror(code));
        if (cancel.revents)
            return bf_fail(err, BF_E_CANCELLED, 0, "%s was cancelled", transfer->where);
    }
    if (result == CURLE_OK || transfer->stopped)
        return 0;
    return fail_transfer(transfer, result, err);
}

static int run(struct transfer *transfer, struct bf_error *err)
{
    struct bf_http *http = transfer->http;
    uint64_t timeout_ms = transfer->request->timeout_ms;
    CURLMcode code;
    int result;

    if (is_cancelled(http)) /* before anything is sent */
        return bf_fail(err, BF_E_CANCELLED, 0, "%s was cancelled", transfer->where);
    set_options(transfer);
    if (transfer->no_memory)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "%s", transfer->where);
    code = curl_multi_add_handle(http->multi, http->easy);
    if (code != CURLM_OK)
        return bf_fail(err, BF_E_INTERNAL, 0, "%s: %s", transfer->where, curl_multi_strerror(code));
    result = drive(transfer, bf_deadline_in(timeout_ms ? timeout_ms : REQUEST_MS), err);
    curl_multi_remove_handle(http->multi, http->easy);
    return result;
}

static void transfer_done(struct transfer *transfer)
{
    for (struct curl_slist *at = transfer->header_list; at; at = at->next)
        sodium_memzero(at->data, strlen(at->data)); /* tokens */
    curl_slist_free_all(transfer->header_list);
    free(transfer->body);
    free(transfer->headers);
    curl_easy_reset(transfer->http->easy); /* it points into the transfer */
}

int bf_http_perform(struct bf_http *http, const struct bf_http_request *request,
                    struct bf_http_response *ret_response, struct bf_error *err)
{
    __attribute__((cleanup(transfer_done))) struct transfer transfer = {.http = http,
                                                                        .request = request};
    long status = 0;

    if (check_request(&transfer, err) < 0 || run(&transfer, err) < 0)
        return -1;
    curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 100 || !transfer.headers)
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: no HTTP answer", transfer.where);
    ret_response->status = (int)status;
    ret_response->body = transfer.body ? bf_steal(transfer.body) : bf_xcalloc(1, 1);
    ret_response->body_length = transfer.body_length;
    ret_response->headers = bf_steal(transfer.headers);
    return 0;
}

char *bf_http_header(const struct bf_http_response *response, const char *name)
{
    size_t length = strlen(name);
    const char *at = response->headers;

    while (at && *at) {
        size_t line = strcspn(at, "\r\n");

        if (line > length && strncasecmp(at, name, length) == 0 && at[length] == ':') {
            const char *value = at + length + 1;
            const char *end = at + line;

            while (value < end && (*value == ' ' || *value == '\t'))
                value++;
            while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
            return bf_xasprintf("%.*s", (int)(end - value), value);
        }
        at += line;
        at += strspn(at, "\r\n");
    }
    return NULL;
}

void bf_http_response_done(struct bf_http_response *response)
{
    free(response->body);
    free(response->headers);
    *response = (struct bf_http_response){0};
}
