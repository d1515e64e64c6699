/* SPDX-License-Identifier: Apache-2.0 */
/* argv[1]: python3, argv[2]: tls_peer.py */
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/http.h"
#include "base/process.h"
#include "base/text.h"
#include "tests/unit/base/http_peer.h"
#include "tests/unit/tap.h"

static struct http_peer *peer;

static void free_http_at(struct bf_http **at)
{
    bf_http_free(*at);
}
#define auto_http bf_cleanup(free_http_at) struct bf_http
#define auto_response bf_cleanup(bf_http_response_done) struct bf_http_response

static struct bf_http *client(const struct bf_http_conf *conf)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_http *http = NULL;

    if (bf_http_new(conf, &http, &err) < 0) {
        ok(false, "client: %s", err.message);
        exit(done());
    }
    return http;
}

static char *url_of(const char *path)
{
    return bf_xasprintf("http://127.0.0.1:%u%s", http_peer_port(peer), path);
}

static int get(struct bf_http *http, const char *path, struct bf_http_response *ret_response,
               struct bf_error *err)
{
    bf_auto_free char *url = url_of(path);

    return bf_http_perform(http, &(struct bf_http_request){.method = "GET", .url = url},
                           ret_response, err);
}

static void test_get(struct bf_http *http)
{
    bf_auto_error err = BF_ERROR_INIT;
    auto_response response = {0};
    auto_response second = {0};
    auto_response missing = {0};
    auto_response moved = {0};
    auto_response later = {0};
    bf_auto_free char *value = NULL;
    bf_auto_free char *early = NULL;

    is_int(get(http, "/ok?a=b", &response, &err), 0, "an answer");
    is_int(response.status, 200, "its status");
    is_string(response.body, "hello", "its body");
    is_u64(response.body_length, 5, "and length");
    value = bf_http_header(&response, "x-TWO");
    is_string(value, "a b", "a header: the first, without case, without blanks");
    ok(!bf_http_header(&response, "X-Tw"), "not by the beginning of its name");
    has_string(http_peer_request(peer), "GET /ok?a=b HTTP/1.1\r\n", "the request");
    has_string(http_peer_request(peer), "User-Agent: blockferry/", "says who asks");
    is_int(get(http, "/ok", &second, &err), 0, "once more");
    is_int(http_peer_connections(peer), 1, "over the same connection");
    is_int(get(http, "/missing", &missing, &err), 0, "404 is an answer, too");
    is_int(missing.status, 404, "its status");
    is_string(missing.body, "no such thing", "its body");
    is_int(get(http, "/moved", &moved, &err), 0, "a redirect");
    is_int(moved.status, 302, "is not followed");
    is_int(get(http, "/continue", &later, &err), 0, "after 100 Continue");
    is_int(later.status, 200, "the last status counts");
    early = bf_http_header(&later, "X-Early");
    ok(!early, "and its headers");
}

static void test_bodies(struct bf_http *http)
{
    static const char *const headers[] = {"X-Auth-Token: s3cret", "Content-Type: application/json",
                                          NULL};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *url = url_of("/ok");
    struct bf_http_request request = {
        .method = "POST", .url = url, .headers = headers, .body = "{\"a\":1}", .body_length = 7};
    auto_response post = {0};
    auto_response empty = {0};
    auto_response delete = {0};
    auto_response head = {0};

    is_int(bf_http_perform(http, &request, &post, &err), 0, "POST");
    has_string(http_peer_request(peer), "POST /ok HTTP/1.1\r\n", "its method");
    has_string(http_peer_request(peer), "X-Auth-Token: s3cret\r\n", "its headers");
    has_string(http_peer_request(peer), "Content-Type: application/json\r\n", "its type");
    has_string(http_peer_request(peer), "\r\n\r\n{\"a\":1}", "its body");
    request = (struct bf_http_request){.method = "PUT", .url = url};
    is_int(bf_http_perform(http, &request, &empty, &err), 0, "PUT without body");
    has_string(http_peer_request(peer), "Content-Length: 0\r\n", "says that there is none");
    ok(!strcasestr(http_peer_request(peer), "content-type"), "and gives it no type");
    request.method = "DELETE";
    is_int(bf_http_perform(http, &request, &delete, &err), 0, "DELETE");
    has_string(http_peer_request(peer), "DELETE /ok HTTP/1.1\r\n", "its method");
    request.method = "HEAD";
    is_int(bf_http_perform(http, &request, &head, &err), 0, "HEAD");
    is_u64(head.body_length, 0, "has no body");
    is_string(head.body, "", "but a text");
}

static void test_bad_requests(struct bf_http *http)
{
    static const char *const split[] = {"X-A: b\r\nX-Evil: 1", NULL};
    static const char *const colonless[] = {"nonsense", NULL};
    bf_auto_free char *url = url_of("/ok");
    const struct bf_http_request bad[] = {
        {.method = "GET", .url = url, .headers = split},
        {.method = "GET", .url = url, .headers = colonless},
        {.method = "GET /x", .url = url},
        {.method = "", .url = url},
        {.method = "GET", .url = "ftp://127.0.0.1/x"},
        {.method = "GET", .url = "file:///etc/passwd"},
        {.method = "GET", .url = "http://user:word@127.0.0.1/"},
        {.method = "GET", .url = "http://127.0.0.1/a b"},
        {.method = "GET", .url = ""},
    };
    unsigned before = http_peer_connections(peer);

    for (size_t i = 0; i < bf_array_length(bad); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        struct bf_http_response response = {.status = 7};

        is_int(bf_http_perform(http, &bad[i], &response, &err), -1, "bad request %zu", i);
        ok(!strstr(err.message, "word@"), "no password in the message");
        is_error(&err, BF_E_BAD_INPUT, "is refused");
        is_int(response.status, 7, "the output is untouched");
    }
    is_int(http_peer_connections(peer), before, "none of them was sent");
}

static void check_fails(const char *path, enum bf_error_code code, const char *name)
{
    auto_http *http = client(&(struct bf_http_conf){.cancel_fd = -1, .max_body = 1 << 20});
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_http_response response = {0};

    is_int(get(http, path, &response, &err), -1, "%s", name);
    has_string(err.message, path, "%s: names the URL", name);
    is_error(&err, code, "%s: code", name);
}

static void test_bad_answers(struct bf_http *http)
{
    bf_auto_error err = BF_ERROR_INIT;
    auto_response response = {0};
    bf_auto_free char *secret_url = url_of("/close?token=s3cret");
    const struct bf_http_request request = {.method = "GET", .url = secret_url};
    const struct bf_http_request nobody = {.method = "GET", .url = "http://127.0.0.1:1/"};

    check_fails("/cut", BF_E_PLATFORM_UNREACHABLE, "a cut body");
    check_fails("/close", BF_E_PLATFORM_UNREACHABLE, "no answer");
    check_fails("/garbage", BF_E_PROTOCOL, "not HTTP");
    check_fails("/much", BF_E_TOO_LARGE, "a large body");
    check_fails("/headers", BF_E_TOO_LARGE, "many headers");
    is_int(bf_http_perform(http, &request, &response, &err), -1, "a failure");
    ok(!strstr(err.message, "s3cret"), "does not show the query");
    bf_error_clear(&err);
    is_int(bf_http_perform(http, &nobody, &response, &err), -1, "nobody listens");
    is_error(&err, BF_E_PLATFORM_UNREACHABLE, "code");
    is_int(get(http, "/ok", &response, &err), 0, "the client goes on after failures");
}

static void *signal_later(void *fd)
{
    bf_sleep_ms(50);
    eventfd_write(*(int *)fd, 1);
    return NULL;
}

static void test_waits(void)
{
    bf_auto_fd int cancel = eventfd(0, EFD_CLOEXEC);
    auto_http *http = client(&(struct bf_http_conf){.cancel_fd = cancel});
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *url = url_of("/silent");
    struct bf_http_request request = {.method = "GET", .url = url, .timeout_ms = 50};
    struct bf_http_response response = {0};
    uint64_t before = bf_now_ms();
    pthread_t thread;

    is_int(bf_http_perform(http, &request, &response, &err), -1, "a silent peer");
    is_error(&err, BF_E_DEADLINE, "is left at the deadline");
    ok(bf_now_ms() - before < 5000, "in time");
    http_peer_stop(peer); /* it still waits for that one */
    peer = http_peer_start(NULL);
    free(bf_steal(url));
    url = url_of("/silent");
    request = (struct bf_http_request){.method = "GET", .url = url, .timeout_ms = UINT64_MAX};
    before = bf_now_ms();
    pthread_create(&thread, NULL, signal_later, &cancel);
    is_int(bf_http_perform(http, &request, &response, &err), -1, "a cancelled request");
    is_error(&err, BF_E_CANCELLED, "code");
    ok(bf_now_ms() - before < 5000, "at once");
    pthread_join(thread, NULL);
    http_peer_stop(peer);
    peer = http_peer_start(NULL);
    is_int(get(http, "/ok", &response, &err), -1, "it stays cancelled");
    is_error(&err, BF_E_CANCELLED, "code");
    is_int(http_peer_connections(peer), 0, "and nothing is sent");
}

struct seen {
    struct bf_buf text;
    bool stop;
};

static int on_data(const char *data, size_t length, void *user)
{
    struct seen *seen = user;

    bf_buf_add(&seen->text, data, length);
    return seen->stop && strstr(seen->text.text, "data: 3\n");
}

static void test_stream(struct bf_http *http)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *stream = url_of("/stream");
    bf_auto_free char *missing = url_of("/missing");
    struct seen seen = {.stop = true};
    struct bf_http_request request = {.method = "GET",
                                      .url = stream,
                                      .timeout_ms = UINT64_MAX,
                                      .on_data = on_data,
                                      .user = &seen};
    auto_response response = {0};
    auto_response refused = {0};

    is_int(bf_http_perform(http, &request, &response, &err), 0, "stopping is no error");
    is_int(response.status, 200, "the status");
    ok(bf_starts_with(seen.text.text, "data: 0\n\ndata: 1\n\n"), "pieces came as they were sent");
    ok(!strstr(seen.text.text, "data: 50"), "until it was stopped");
    is_string(response.body, "", "nothing is collected");
    bf_buf_done(&seen.text);
    request.url = missing;
    is_int(bf_http_perform(http, &request, &refused, &err), 0, "a refusal");
    ok(!seen.text.text, "is no data");
    is_string(refused.body, "no such thing", "but collected");
}

static void test_unix(const char *directory)
{
    bf_auto_free char *path = bf_xasprintf("%s/socket", directory);
    auto_http *http = client(&(struct bf_http_conf){.unix_socket = path, .cancel_fd = -1});
    struct http_peer *unix_peer = http_peer_start(path);
    bf_auto_error err = BF_ERROR_INIT;
    auto_response response = {0};
    auto_response none = {0};
    struct bf_http_request request = {.method = "GET", .url = "http://localhost/ok"};

    is_int(bf_http_perform(http, &request, &response, &err), 0, "over a UNIX socket");
    is_string(response.body, "hello", "an answer");
    http_peer_stop(unix_peer);
    is_int(bf_http_perform(http, &request, &none, &err), -1, "nobody behind it");
    is_error(&err, BF_E_PLATFORM_UNREACHABLE, "code");
}

/* --- TLS --- */

struct tls {
    struct bf_process *process;
    unsigned port;
    char *certificate;
    char *pin;
};

static char *shell(const char *script)
{
    const char *const argv[] = {"sh", "-ec", script, NULL};
    bf_auto_error err = BF_ERROR_INIT;
    char *output = NULL;

    if (bf_process_run(argv, NULL, bf_deadline_in(60000), -1, 65536, &output, &err) < 0) {
        ok(false, "%s: %s", err.message, err.evidence ? err.evidence : "");
        exit(done());
    }
    output[strcspn(output, "\n")] = '\0';
    return output;
}

/* A certificate of its own for 127.0.0.1, and its public key's fingerprint. */
static void tls_start(const char *directory, char **argv, struct tls *tls)
{
    bf_auto_free char *script = bf_xasprintf(
        "cd %s; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=peer -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem; "
        "openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin -outform der | "
        "openssl dgst -sha256 -binary | base64",
        directory);
    bf_auto_free char *key = bf_xasprintf("%s/key.pem", directory);
    bf_auto_error err = BF_ERROR_INIT;
    char port[16] = "";

    tls->pin = shell(script);
    tls->certificate = bf_xasprintf("%s/cert.pem", directory);
    {
        const char *const command[] = {argv[1], argv[2], tls->certificate, key, NULL};
        struct bf_process_spec spec = {.argv = command, .stdin_pipe = true, .stdout_pipe = true};

        if (bf_process_start(&spec, &tls->process, &err) < 0 ||
            read(bf_process_stdout(tls->process), port, sizeof(port) - 1) <= 0) {
            ok(false, "the TLS server starts: %s", err.message ? err.message : "no port");
            exit(done());
        }
    }
    tls->port = (unsigned)strtoul(port, NULL, 10);
}

static void check_tls(const struct tls *tls, const char *ca_file, const char *pin, const char *host,
                      enum bf_error_code code, const char *name)
{
    bf_auto_free char *url = bf_xasprintf("https://%s:%u/", host, tls->port);
    auto_http *http =
        client(&(struct bf_http_conf){.ca_file = ca_file, .pin_sha256 = pin, .cancel_fd = -1});
    struct bf_http_request request = {.method = "GET", .url = url};
    bf_auto_error err = BF_ERROR_INIT;
    auto_response response = {0};
    int result = bf_http_perform(http, &request, &response, &err);

    if (code == BF_OK && err.message)
        diag("%s", err.message);
    ok(result == (code ? -1 : 0), "%s", name);
    if (code == BF_OK)
        is_string(response.body, "secure", "%s: the answer", name);
    is_error(&err, code, "%s: code", name);
}

static void test_tls(const char *directory, char **argv)
{
    static const char *const other_pin = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    static const char *const bad_pins[] = {"", "AAAA", "not base64!",
                                           "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=;sha256//A",
                                           "/etc/passwd"};
    bf_auto_free char *plain = url_of("/ok");
    struct bf_http_request request = {.method = "GET", .url = plain};
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_http_response response = {0};
    struct tls tls = {0};

    tls_start(directory, argv, &tls);
    check_tls(&tls, NULL, NULL, "127.0.0.1", BF_E_TLS, "an unknown certificate");
    check_tls(&tls, tls.certificate, NULL, "127.0.0.1", BF_OK, "its CA");
    check_tls(&tls, tls.certificate, NULL, "localhost", BF_E_TLS, "another host's name");
    check_tls(&tls, NULL, tls.pin, "127.0.0.1", BF_OK, "its fingerprint");
    check_tls(&tls, NULL, tls.pin, "localhost", BF_OK, "its fingerprint, whatever the name");
    check_tls(&tls, NULL, other_pin, "127.0.0.1", BF_E_TLS, "another fingerprint");
    check_tls(&tls, tls.certificate, other_pin, "127.0.0.1", BF_E_TLS,
              "another fingerprint beside the right CA");
    check_tls(&tls, "/no/such/file", NULL, "127.0.0.1", BF_E_TLS, "no such CA file");
    for (size_t i = 0; i < bf_array_length(bad_pins); i++) {
        struct bf_http *http = NULL;

        is_int(bf_http_new(&(struct bf_http_conf){.pin_sha256 = bad_pins[i], .cancel_fd = -1},
                           &http, &err),
               -1, "no fingerprint: \"%s\"", bad_pins[i]);
        is_error(&err, BF_E_BAD_INPUT, "is refused");
    }
    {
        auto_http *http = client(&(struct bf_http_conf){.pin_sha256 = tls.pin, .cancel_fd = -1});

        is_int(bf_http_perform(http, &request, &response, &err), -1, "a fingerprint, but no TLS");
        is_error(&err, BF_E_BAD_INPUT, "is refused");
    }
    bf_process_free(tls.process);
    free(tls.certificate);
    free(tls.pin);
}

int main(int argc, char **argv)
{
    char template[] = "/tmp/bf-test-http.XXXXXX";
    const char *directory = mkdtemp(template);
    bf_auto_error err = BF_ERROR_INIT;

    if (!ok(argc == 3 && directory, "called with python3 and tls_peer.py"))
        return done();
    peer = http_peer_start(NULL);
    {
        auto_http *http = client(&(struct bf_http_conf){.cancel_fd = -1});

        test_get(http);
        test_bodies(http);
        test_bad_requests(http);
    }
    test_waits();
    {
        auto_http *http = client(&(struct bf_http_conf){.cancel_fd = -1});

        test_stream(http);
    }
    {
        auto_http *http = client(&(struct bf_http_conf){.cancel_fd = -1});

        test_bad_answers(http);
    }
    test_unix(directory);
    test_tls(directory, argv);
    http_peer_stop(peer);
    is_int(bf_directory_remove(directory, &err), 0, "cleaned up");
    return done();
}
