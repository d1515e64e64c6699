/* SPDX-License-Identifier: Apache-2.0 */
/* A poll() loop over two tables: descriptors and timeouts.  libvirt asks of an implementation
 * (virEventRegisterImpl) that all functions may be called from any thread, also from callbacks,
 * and that a removed entry's free function is called later, from the loop, without a lock held.
 */
#include "connectors/libvirt/events.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

struct handle {
    int id;
    int fd;
    int events; /* VIR_EVENT_HANDLE_*; 0: not watched now */
    bool removed;
    virEventHandleCallback cb;
    void *opaque;
    virFreeCallback free_cb;
};

struct timeout {
    int id;
    int interval_ms; /* -1: not armed */
    uint64_t at_ms;
    bool removed;
    virEventTimeoutCallback cb;
    void *opaque;
    virFreeCallback free_cb;
};

static struct {
    pthread_once_t once;
    int wake_fd; /* written once at the start */
    pthread_mutex_t lock;
    /* under lock: */
    struct handle *handles;
    size_t handle_count, handle_capacity;
    struct timeout *timeouts;
    size_t timeout_count, timeout_capacity;
    int next_id;
} loop = {.once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER, .next_id = 1};

static _Thread_local struct {
    bf_libvirt_fd_fn *fn;
    void *user;
} watcher;

static void wake(void)
{
    uint64_t one = 1;

    (void)!write(loop.wake_fd, &one, sizeof(one));
}

static int add_handle(int fd, int events, virEventHandleCallback cb, void *opaque,
                      virFreeCallback free_cb)
{
    pthread_mutex_lock(&loop.lock);
    bf_xgrow(&loop.handles, &loop.handle_capacity, loop.handle_count + 1, sizeof(*loop.handles));
    int id = loop.next_id++;
    loop.handles[loop.handle_count++] = (struct handle){
        .id = id, .fd = fd, .events = events, .cb = cb, .opaque = opaque, .free_cb = free_cb};
    pthread_mutex_unlock(&loop.lock);
    if (watcher.fn)
        watcher.fn(fd, watcher.user);
    wake();
    return id;
}

static void update_handle(int id, int events)
{
    pthread_mutex_lock(&loop.lock);
    for (size_t i = 0; i < loop.handle_count; i++) {
        if (loop.handles[i].id == id)
            loop.handles[i].events = events;
    }
    pthread_mutex_unlock(&loop.lock);
    wake();
}

static int remove_handle(int id)
{
    int rc = -1;

    pthread_mutex_lock(&loop.lock);
    for (size_t i = 0; i < loop.handle_count; i++) {
        if (loop.handles[i].id == id && !loop.handles[i].removed) {
            loop.handles[i].removed = true;
            rc = 0;
        }
    }
    pthread_mutex_unlock(&loop.lock);
    wake();
    return rc;
}

static int add_timeout(int interval_ms, virEventTimeoutCallback cb, void *opaque,
                       virFreeCallback free_cb)
{
    pthread_mutex_lock(&loop.lock);
    bf_xgrow(&loop.timeouts, &loop.timeout_capacity, loop.timeout_count + 1,
             sizeof(*loop.timeouts));
    int id = loop.next_id++;
    loop.timeouts[loop.timeout_count++] = (struct timeout){
        .id = id,
        .interval_ms = interval_ms,
        .at_ms = bf_now_ms() + (interval_ms > 0 ? (uint64_t)interval_ms : 0),
        .cb = cb,
        .opaque = opaque,
        .free_cb = free_cb,
    };
    pthread_mutex_unlock(&loop.lock);
    wake();
    return id;
}

static void update_timeout(int id, int interval_ms)
{
    pthread_mutex_lock(&loop.lock);
    for (size_t i = 0; i < loop.timeout_count; i++) {
        if (loop.timeouts[i].id == id) {
            loop.timeouts[i].interval_ms = interval_ms;
            loop.timeouts[i].at_ms = bf_now_ms() + (interval_ms > 0 ? (uint64_t)interval_ms : 0);
        }
    }
    pthread_mutex_unlock(&loop.lock);
    wake();
}

static int remove_timeout(int id)
{
    int rc = -1;

    pthread_mutex_lock(&loop.lock);
    for (size_t i = 0; i < loop.timeout_count; i++) {
        if (loop.timeouts[i].id == id && !loop.timeouts[i].removed) {
            loop.timeouts[i].removed = true;
            rc = 0;
        }
    }
    pthread_mutex_unlock(&loop.lock);
    wake();
    return rc;
}

/* Drop what was removed; its free function may call back into us, so it runs without the lock. */
static void sweep(void)
{
    bool again = true;

    while (again) {
        virFreeCallback free_cb = NULL;
        void *opaque = NULL;
        again = false;
        pthread_mutex_lock(&loop.lock);
        for (size_t i = 0; i < loop.handle_count && !again; i++) {
            if (!loop.handles[i].removed)
                continue;
            free_cb = loop.handles[i].free_cb;
            opaque = loop.handles[i].opaque;
            loop.handles[i] = loop.handles[--loop.handle_count];
            again = true;
        }
        for (size_t i = 0; i < loop.timeout_count && !again; i++) {
            if (!loop.timeouts[i].removed)
                continue;
            free_cb = loop.timeouts[i].free_cb;
            opaque = loop.timeouts[i].opaque;
            loop.timeouts[i] = loop.timeouts[--loop.timeout_count];
            again = true;
        }
        pthread_mutex_unlock(&loop.lock);
        if (free_cb)
            free_cb(opaque);
    }
}

static short to_poll(int events)
{
    int out = 0;

    if (events & VIR_EVENT_HANDLE_READABLE)
        out |= POLLIN;
    if (events & VIR_EVENT_HANDLE_WRITABLE)
        out |= POLLOUT;
    return (short)out;
}

static int from_poll(int events)
{
    int out = 0;

    if (events & POLLIN)
        out |= VIR_EVENT_HANDLE_READABLE;
    if (events & POLLOUT)
        out |= VIR_EVENT_HANDLE_WRITABLE;
    if (events & POLLERR)
        out |= VIR_EVENT_HANDLE_ERROR;
    if (events & (POLLHUP | POLLNVAL))
        out |= VIR_EVENT_HANDLE_HANGUP;
    return out;
}

/* Call one due timeout; false: none is due. */
static bool run_timeout(void)
{
    virEventTimeoutCallback cb = NULL;
    void *opaque = NULL;
    int id = 0;
    uint64_t now = bf_now_ms();

    pthread_mutex_lock(&loop.lock);
    for (size_t i = 0; i < loop.timeout_count && !cb; i++) {
        struct timeout *timeout = &loop.timeouts[i];
        if (timeout->removed || timeout->interval_ms < 0 || timeout->at_ms > now)
            continue;
        timeout->at_ms = now + (timeout->interval_ms > 0 ? (uint64_t)timeout->interval_ms : 1);
        cb = timeout->cb;
        opaque = timeout->opaque;
        id = timeout->id;
    }
    pthread_mutex_unlock(&loop.lock);
    if (cb)
        cb(id, opaque);
    return cb;
}

static void run_handle(int id, int fd, int revents)
{
    virEventHandleCallback cb = NULL;
    void *opaque = NULL;

    pthread_mutex_lock(&loop.lock);
    for (size_t i = 0; i < loop.handle_count; i++) {
        const struct handle *handle = &loop.handles[i];
        if (handle->id == id && !handle->removed && handle->events) {
            cb = handle->cb;
            opaque = handle->opaque;
        }
    }
    pthread_mutex_unlock(&loop.lock);
    if (cb)
        cb(id, fd, from_poll(revents), opaque);
}

struct round {
    struct pollfd *fds; /* [0] is the wake descriptor */
    int *ids;
    size_t count, capacity, id_capacity;
};

/* Copy what is to be watched; returns poll()'s timeout. */
static int collect(struct round *round)
{
    uint64_t now = bf_now_ms();
    int wait_ms = -1;

    pthread_mutex_lock(&loop.lock);
    bf_xgrow(&round->fds, &round->capacity, loop.handle_count + 1, sizeof(*round->fds));
    bf_xgrow(&round->ids, &round->id_capacity, loop.handle_count + 1, sizeof(*round->ids));
    round->fds[0] = (struct pollfd){.fd = loop.wake_fd, .events = POLLIN};
    round->count = 1;
    for (size_t i = 0; i < loop.handle_count; i++) {
        const struct handle *handle = &loop.handles[i];
        if (handle->removed || !handle->events)
            continue;
        round->ids[round->count] = handle->id;
        round->fds[round->count++] =
            (struct pollfd){.fd = handle->fd, .events = to_poll(handle->events)};
    }
    for (size_t i = 0; i < loop.timeout_count; i++) {
        const struct timeout *timeout = &loop.timeouts[i];
        if (timeout->removed || timeout->interval_ms < 0)
            continue;
        uint64_t left = timeout->at_ms > now ? timeout->at_ms - now : 0;
        if (wait_ms < 0 || left < (uint64_t)wait_ms)
            wait_ms = left > 60000 ? 60000 : (int)left;
    }
    pthread_mutex_unlock(&loop.lock);
    return wait_ms;
}

static void *run(void *unused)
{
    struct round round = {0};
    (void)unused;

    for (;;) {
        sweep();
        int wait_ms = collect(&round);
        int ready = poll(round.fds, round.count, wait_ms);
        if (ready < 0 && errno != EINTR)
            bf_sleep_ms(100); /* out of kernel memory: it may pass */
        if (ready > 0 && round.fds[0].revents) {
            uint64_t count;
            (void)!read(loop.wake_fd, &count, sizeof(count));
        }
        while (run_timeout())
            ;
        for (size_t i = 1; ready > 0 && i < round.count; i++) {
            if (round.fds[i].revents)
                run_handle(round.ids[i], round.fds[i].fd, round.fds[i].revents);
        }
    }
    return NULL;
}

static void silent(void *user, virErrorPtr error)
{
    (void)user;
    (void)error;
}

static void start(void)
{
    pthread_t thread;
    pthread_attr_t attr;

    loop.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop.wake_fd < 0)
        abort();
    virSetErrorFunc(NULL, silent);
    virEventRegisterImpl(add_handle, update_handle, remove_handle, add_timeout, update_timeout,
                         remove_timeout);
    if (virInitialize() < 0)
        abort();
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, run, NULL) != 0)
        abort();
    pthread_attr_destroy(&attr);
}

void bf_libvirt_events_start(void)
{
    pthread_once(&loop.once, start);
}

void bf_libvirt_events_watch(bf_libvirt_fd_fn *fn, void *user)
{
    watcher.fn = fn;
    watcher.user = user;
}

int bf_libvirt_alarm_set(uint64_t ms, bf_libvirt_alarm_fn *fn, void *user)
{
    return add_timeout(ms > INT32_MAX ? INT32_MAX : (int)ms, fn, user, NULL);
}

void bf_libvirt_alarm_remove(int id)
{
    (void)remove_timeout(id);
}
