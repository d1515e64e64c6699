/* SPDX-License-Identifier: Apache-2.0 */
/* An NBD server is found again by its name, and the loop goes on turning while the name server
 * thinks.  getaddrinfo() is ours: for SLOW it waits until it is told to go on; with a limit, so
 * that a loop that waits for it is told from one that does not. */
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "nbd/endpoint.h"
#include "nbd/nbd_wire.h"
#include "tests/unit/tap.h"

#define SLOW "slow.test"
#define BLOCK ((uint64_t)65536)
#define SIZE (16 * BLOCK)
#define HELD_UP_MS 5000u
#define PATIENCE_MS 20000u
#define REQUEST_BYTES 28u

/* --- the name server --- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static struct {
    bool closed; /* it thinks */
    int answer;  /* of getaddrinfo(); 0: the loopback's address */
    unsigned asked, answered;
    bool held_up; /* it was not let go on in time */
} gate;

typedef int getaddrinfo_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    struct bf_deadline deadline = bf_deadline_in(HELD_UP_MS);
    getaddrinfo_fn *real;
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");

    memcpy(&real, &symbol, sizeof(real));
    if (strcmp(name, SLOW) != 0 || (hints->ai_flags & AI_NUMERICHOST))
        return real(name, service, hints, ret);
    pthread_mutex_lock(&lock);
    gate.asked++;
    while (gate.closed && !bf_deadline_passed(deadline))
        bf_cond_wait_ms(&changed, &lock, 100);
    gate.held_up |= gate.closed;
    int answer = gate.answer;
    gate.answered++;
    pthread_mutex_unlock(&lock);
    return answer ? answer : real("127.0.0.1", service, hints, ret);
}

static void set_gate(bool closed, int answer)
{
    pthread_mutex_lock(&lock);
    gate.closed = closed;
    gate.answer = answer;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static unsigned asked(void)
{
    pthread_mutex_lock(&lock);
    unsigned count = gate.asked;
    pthread_mutex_unlock(&lock);
    return count;
}

static bool held_up(void)
{
    pthread_mutex_lock(&lock);
    bool was = gate.held_up;
    pthread_mutex_unlock(&lock);
    return was;
}

/* --- the server: its n-th connection is cut by a read of block n, all else reads as zero --- */

static void say(int fd, const void *data, size_t n)
{
    if (send(fd, data, n, MSG_NOSIGNAL) < 0)
        return; /* the next receive tells */
}

static bool hear(int fd, void *data, size_t n)
{
    return recv(fd, data, n, MSG_WAITALL) == (ssize_t)n;
}

static void reply(int fd, uint32_t kind, const void *data, uint32_t n)
{
    unsigned char head[20];

    (void)bf_nbd_put64(head, 0x3e889045565a9ull);
    (void)bf_nbd_put32(head + 8, 7);
    (void)bf_nbd_put32(head + 12, kind);
    (void)bf_nbd_put32(head + 16, n);
    say(fd, head, sizeof(head));
    say(fd, data, n);
}

static bool greet(int fd)
{
    unsigned char hello[18] = "NBDMAGICIHAVEOPT\0\3", export[12] = {0}, flags[4], option[16];
    unsigned char rest[256];

    say(fd, hello, sizeof(hello));
    if (!hear(fd, flags, sizeof(flags)) || !hear(fd, option, sizeof(option)) ||
        bf_nbd_get32(option + 12) > sizeof(rest) || !hear(fd, rest, bf_nbd_get32(option + 12)))
        return false;
    (void)bf_nbd_put64(export + 2, SIZE);
    (void)bf_nbd_put16(export + 10, 1);
    reply(fd, 3, export, sizeof(export));
    reply(fd, 1, "", 0);
    return true;
}

static void serve(int fd, unsigned number)
{
    static const unsigned char zeroes[BLOCK];
    unsigned char request[REQUEST_BYTES], answer[16];

    while (hear(fd, request, sizeof(request))) {
        uint64_t offset = bf_nbd_get64(request + 16);
        if (request[7] == BF_NBD_CMD_DISCONNECT || offset == number * BLOCK)
            return;
        (void)bf_nbd_put32(answer, 0x67446698u);
        (void)bf_nbd_put32(answer + 4, 0);
        memcpy(answer + 8, request + 8, 8);
        say(fd, answer, sizeof(answer));
        say(fd, zeroes, bf_nbd_get32(request + 24));
    }
}

__attribute__((noreturn)) static void serve_all(int listener)
{
    for (unsigned number = 1;; number++) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            _exit(1);
        if (greet(fd))
            serve(fd, number);
        close(fd);
    }
}

static pid_t start_server(unsigned *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        return -1;
    *ret_port = ntohs(address.sin_port);
    pid_t child = fork();
    if (child == 0)
        serve_all(listener);
    close(listener);
    return child;
}

/* --- the client --- */

static struct bf_uri uri;

static int open_it(uint64_t deadline_ms, int cancel_fd, struct bf_endpoint **ret,
                   struct bf_error *err)
{
    struct bf_endpoint_options options = {.connections = 1,
                                          .requests = 1,
                                          .deadline_ms = deadline_ms,
                                          .reconnect_ms = PATIENCE_MS,
                                          .cancel_fd = cancel_fd};

    return bf_endpoint_open(&uri, &options, ret, err);
}

static void turn(struct bf_endpoint *endpoint, struct bf_error *err)
{
    struct pollfd fds[4];
    uint64_t now_ms = bf_now_ms(), wake_ms = now_ms + 20;
    unsigned count = bf_endpoint_prepare(endpoint, fds, 4, now_ms, &wake_ms);

    (void)poll(fds, count, wake_ms > now_ms ? (int)(wake_ms - now_ms) : 0);
    if (!bf_endpoint_handle(endpoint, fds, count, bf_now_ms(), err))
        bf_endpoint_dispatch(endpoint);
}

static void note(struct bf_request *request)
{
    *(bool *)request->owner = true;
}

struct reading {
    struct bf_request request;
    bool done;
    unsigned char buffer[BLOCK];
};

static void begin(struct bf_endpoint *endpoint, struct reading *reading, unsigned block)
{
    *reading = (struct reading){.request = {.done = note, .owner = &reading->done}};
    bf_endpoint_read(endpoint, &reading->request, block * BLOCK, BLOCK, reading->buffer);
}

static bool turn_until_asked(struct bf_endpoint *endpoint, unsigned count, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(PATIENCE_MS);

    while (asked() < count && !bf_error_is_set(err) && !bf_deadline_passed(deadline))
        turn(endpoint, err);
    return asked() == count;
}

static bool finish(struct bf_endpoint *endpoint, struct reading *reading, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(PATIENCE_MS);

    while (!reading->done && !bf_error_is_set(err) && !bf_deadline_passed(deadline))
        turn(endpoint, err);
    return reading->done && !reading->request.error;
}

static struct reading reading;

/* Connection 1 is cut, and its name takes its time. */
static void test_slow(struct bf_endpoint *endpoint)
{
    bf_auto_error err = BF_ERROR_INIT;

    set_gate(true, 0);
    begin(endpoint, &reading, 1);
    ok(turn_until_asked(endpoint, 2, &err), "the name is looked up anew");
    for (unsigned i = 0; i < 5; i++)
        turn(endpoint, &err);
    ok(!held_up(), "the loop turns meanwhile");
    ok(!reading.done, "and the request waits");
    set_gate(false, 0);
    ok(finish(endpoint, &reading, &err), "it is read by the new connection");
    is_error(&err, BF_OK, "without an error");
}

/* Connection 2: the name is not known any more. */
static void test_forgotten(struct bf_endpoint *endpoint)
{
    bf_auto_error err = BF_ERROR_INIT;

    set_gate(false, EAI_AGAIN);
    begin(endpoint, &reading, 2);
    ok(finish(endpoint, &reading, &err), "the address that was known before is used");
    is_u64(asked(), 3, "after a question");
    is_error(&err, BF_OK, "without an error");
}

/* Connection 3: the name server is silent for longer than a deadline. */
static void test_silent(struct bf_endpoint *endpoint)
{
    struct bf_deadline deadline = bf_deadline_in(1500);
    bf_auto_error err = BF_ERROR_INIT;

    set_gate(true, 0);
    begin(endpoint, &reading, 3);
    ok(turn_until_asked(endpoint, 4, &err), "asked again");
    while (!bf_deadline_passed(deadline) && !bf_error_is_set(&err))
        turn(endpoint, &err);
    is_u64(asked(), 4, "later tries join the lookup under way");
    set_gate(false, 0);
    ok(finish(endpoint, &reading, &err), "and end with it");
    is_error(&err, BF_OK, "without an error");
}

static void test_first(void)
{
    struct bf_endpoint *endpoint = NULL;
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_fd int cancel = eventfd(1, EFD_CLOEXEC);

    set_gate(false, EAI_NONAME);
    ok(open_it(1000, -1, &endpoint, &err) == -1, "a name that nobody knows");
    has_string(err.message, SLOW, "is told");
    is_error(&err, BF_E_ENDPOINT_OPEN, "as an endpoint that cannot be opened");
    set_gate(true, 0);
    ok(open_it(100, -1, &endpoint, &err) == -1, "a name server that is silent");
    is_error(&err, BF_E_DEADLINE, "is waited for until the deadline");
    ok(open_it(10000, cancel, &endpoint, &err) == -1, "or until the copy is cancelled");
    is_error(&err, BF_E_CANCELLED, "and that is said");
    set_gate(false, 0);
}

/* Their memory is theirs, though who asked is gone; valgrind and the sanitizers look at it. */
static void wait_for_lookups(void)
{
    struct bf_deadline deadline = bf_deadline_in(PATIENCE_MS);

    pthread_mutex_lock(&lock);
    while (gate.answered < gate.asked && !bf_deadline_passed(deadline))
        bf_cond_wait_ms(&changed, &lock, 10);
    ok(gate.answered == gate.asked, "no lookup is left");
    pthread_mutex_unlock(&lock);
}

int main(void)
{
    struct bf_endpoint *endpoint = NULL;
    bf_auto_error err = BF_ERROR_INIT;
    unsigned port = 0;

    bf_cond_init(&changed);
    pid_t server = start_server(&port);
    bf_auto_free char *text = bf_xasprintf("nbd://%s:%u/", SLOW, port);
    ok(server > 0 && bf_uri_parse(text, &uri, &err) == 0, "a server");
    ok(open_it(700, -1, &endpoint, &err) == 0, "opened by its name (%s)",
       err.message ? err.message : "ok");
    is_u64(asked(), 1, "which was asked for once");
    if (endpoint) {
        test_slow(endpoint);
        test_forgotten(endpoint);
        test_silent(endpoint);
    }
    bf_endpoint_close(endpoint);
    test_first();
    wait_for_lookups();
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    bf_uri_done(&uri);
    return done();
}
