/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of functions, an eventfd that wakes the loop, and one condition for those who wait.
 *
 * A call is a post whose caller waits: it lies on the caller's stack, a post on the heap.
 */
#include "daemon/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

enum { WORKERS_MAX = 64 };

struct call {
    struct call *next;
    bf_loop_fn *fn;
    void *user;
    bool waited; /* somebody waits: not freed here */
    bool done;
};

struct bf_loop {
    sd_event *event;
    int wake_fd;
    atomic_bool stop;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ran;
    struct call *first;
    struct call *last;
    unsigned workers;
};

/* The loop thread; known once bf_loop_new() has been called. */
static pthread_t main_thread;
static atomic_bool main_known;

void bf_assert_main(void)
{
    assert(!atomic_load(&main_known) || pthread_equal(pthread_self(), main_thread));
}

static void wake(struct bf_loop *loop)
{
    uint64_t one = 1;
    ssize_t n = write(loop->wake_fd, &one, sizeof(one));

    (void)n; /* EAGAIN: the counter is full, so the loop will wake anyway */
}

static void enqueue(struct bf_loop *loop, struct call *call)
{
    if (loop->last)
        loop->last->next = call;
    else
        loop->first = call;
    loop->last = call;
}

/* Runs what is queued now; what those functions queue in turn waits for the next turn. */
static void run_queue(struct bf_loop *loop)
{
    struct call *call;

    pthread_mutex_lock(&loop->lock);
    call = loop->first;
    loop->first = loop->last = NULL;
    pthread_mutex_unlock(&loop->lock);

    while (call) {
        struct call *next = call->next;

        call->fn(call->user);
        if (call->waited) {
            pthread_mutex_lock(&loop->lock);
            call->done = true;
            pthread_cond_broadcast(&loop->ran);
            pthread_mutex_unlock(&loop->lock);
        } else {
            free(call);
        }
        call = next;
    }
}

static int on_wake(sd_event_source *source, int fd, uint32_t revents, void *user)
{
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof(count));

    (void)source;
    (void)revents;
    (void)n;
    run_queue(user);
    return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *user)
{
    (void)source;
    bf_log_info("stopping: signal %u", info->ssi_signo);
    bf_loop_stop(user);
    return 0;
}

static int loop_setup(struct bf_loop *loop)
{
    sigset_t mask;
    int r = sd_event_default(&loop->event);

    if (r < 0)
        return r;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0)
        return -errno;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &mask, NULL) != 0)
        return -EINVAL;
    if ((r = sd_event_add_signal(loop->event, NULL, SIGTERM, on_signal, loop)) < 0 ||
        (r = sd_event_add_signal(loop->event, NULL, SIGINT, on_signal, loop)) < 0 ||
        (r = sd_event_add_io(loop->event, NULL, loop->wake_fd, EPOLLIN, on_wake, loop)) < 0)
        return r;
    /* Answers the watchdog by itself as long as the loop turns; nothing without WATCHDOG_USEC. */
    return sd_event_set_watchdog(loop->event, true);
}

int bf_loop_new(struct bf_loop **ret_loop, struct bf_error *err)
{
    struct bf_loop *loop = bf_xcalloc(1, sizeof(*loop));
    int r;

    loop->wake_fd = -1;
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->ran, NULL);
    signal(SIGPIPE, SIG_IGN);
    main_thread = pthread_self();
    atomic_store(&main_known, true);
    r = loop_setup(loop);
    if (r < 0) {
        bf_fail(err, BF_E_SYSTEM, -r, "main loop");
        bf_loop_free(loop);
        return -1;
    }
    *ret_loop = loop;
    return 0;
}

void bf_loop_free(struct bf_loop *loop)
{
    if (!loop)
        return;
    sd_event_unref(loop->event);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    pthread_cond_destroy(&loop->ran);
    pthread_mutex_destroy(&loop->lock);
    atomic_store(&main_known, false);
    free(loop);
}

int bf_loop_run(struct bf_loop *loop, struct bf_error *err)
{
    bf_assert_main();
    while (!atomic_load(&loop->stop)) {
        int r = sd_event_run(loop->event, UINT64_MAX);

        if (r < 0)
            return bf_fail(err, BF_E_SYSTEM, -r, "main loop");
    }
    return 0;
}

void bf_loop_turn(struct bf_loop *loop, uint64_t timeout_ms)
{
    bf_assert_main();
    if (sd_event_run(loop->event, timeout_ms * 1000) < 0)
        run_queue(loop);
}

void bf_loop_stop(struct bf_loop *loop)
{
    atomic_store(&loop->stop, true);
    wake(loop);
}

void bf_loop_drain(struct bf_loop *loop)
{
    bool empty = false;

    bf_assert_main();
    while (!empty) {
        run_queue(loop);
        pthread_mutex_lock(&loop->lock);
        empty = !loop->first;
        pthread_mutex_unlock(&loop->lock);
    }
}

sd_event *bf_loop_event(struct bf_loop *loop)
{
    return loop->event;
}

void bf_loop_post(struct bf_loop *loop, bf_loop_fn *fn, void *user)
{
    struct call *call = bf_xcalloc(1, sizeof(*call));

    call->fn = fn;
    call->user = user;
    pthread_mutex_lock(&loop->lock);
    enqueue(loop, call);
    pthread_mutex_unlock(&loop->lock);
    wake(loop);
}

void bf_loop_call(struct bf_loop *loop, bf_loop_fn *fn, void *user)
{
    struct call call = {.fn = fn, .user = user, .waited = true};

    assert(!pthread_equal(pthread_self(), main_thread));
    pthread_mutex_lock(&loop->lock);
    enqueue(loop, &call);
    wake(loop);
    while (!call.done)
        pthread_cond_wait(&loop->ran, &loop->lock);
    pthread_mutex_unlock(&loop->lock);
}

/* --- work --- */

struct work {
    struct bf_loop *loop;
    bf_loop_fn *work;
    bf_loop_fn *done;
    void *user;
};

static void work_done(void *user)
{
    struct work *work = user;

    pthread_mutex_lock(&work->loop->lock);
    work->loop->workers--;
    pthread_mutex_unlock(&work->loop->lock);
    work->done(work->user);
    free(work);
}

static void *work_thread(void *user)
{
    struct work *work = user;

    work->work(work->user);
    bf_loop_post(work->loop, work_done, work);
    return NULL;
}

int bf_loop_work(struct bf_loop *loop, bf_loop_fn *work_fn, bf_loop_fn *done, void *user,
                 struct bf_error *err)
{
    bf_auto_free struct work *work = bf_xcalloc(1, sizeof(*work));
    pthread_t thread;
    bool full;
    int r;

    *work = (struct work){.loop = loop, .work = work_fn, .done = done, .user = user};
    pthread_mutex_lock(&loop->lock);
    full = loop->workers >= WORKERS_MAX;
    if (!full)
        loop->workers++;
    pthread_mutex_unlock(&loop->lock);
    if (full)
        return bf_fail(err, BF_E_BUSY, 0, "%d questions are being answered already", WORKERS_MAX);
    r = pthread_create(&thread, NULL, work_thread, work);
    if (r != 0) {
        pthread_mutex_lock(&loop->lock);
        loop->workers--;
        pthread_mutex_unlock(&loop->lock);
        return bf_fail(err, BF_E_SYSTEM, r, "thread");
    }
    pthread_detach(thread);
    (void)bf_steal(work);
    return 0;
}
