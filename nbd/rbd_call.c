/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/rbd_call.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "nbd/rbd_link.h"

static void *call_main(void *arg)
{
    struct bf_rbd_call *call = arg;
    uint64_t one = 1;

    call->rc = call->run(call, &call->error);
    if (write(call->done_fd, &one, sizeof(one)) != sizeof(one))
        abort(); /* an eventfd takes its first write */
    return NULL;
}

int bf_rbd_call_start(struct bf_rbd_call *call, struct bf_error *err)
{
    sigset_t all, old;
    pthread_t thread;

    atomic_init(&call->abandoned, false);
    call->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (call->done_fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "no eventfd");
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&thread, NULL, call_main, call);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) {
        close(call->done_fd);
        return bf_fail(err, BF_E_SYSTEM, rc, "no thread");
    }
    call->thread = (unsigned long)thread;
    return 0;
}

int bf_rbd_call_end(struct bf_rbd_call *call, struct bf_error *err)
{
    pthread_join((pthread_t)call->thread, NULL);
    close(call->done_fd);
    if (call->rc)
        bf_error_move(err, &call->error);
    return call->rc;
}

void bf_rbd_call_abandon(struct bf_rbd_call *call)
{
    call->link->stuck = true;
    atomic_store(&call->abandoned, true);
    pthread_detach((pthread_t)call->thread);
}

void bf_rbd_call_free(struct bf_rbd_call *call)
{
    if (call && !atomic_load(&call->abandoned))
        free(call);
}

int bf_rbd_call(struct bf_rbd_call *call, uint64_t deadline_ms, const char *doing,
                struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(deadline_ms);

    if (bf_rbd_call_start(call, err))
        return -1;
    for (;;) {
        struct pollfd fds[2] = {{.fd = call->done_fd, .events = POLLIN},
                                {.fd = call->link->cancel_fd, .events = POLLIN}};
        int n = poll(fds, 2, bf_deadline_left(deadline));
        if (n > 0 && fds[0].revents)
            return bf_rbd_call_end(call, err);
        if (n > 0 && fds[1].revents) {
            bf_rbd_call_abandon(call);
            return bf_fail(err, BF_E_CANCELLED, 0, "cancelled");
        }
        if (bf_deadline_passed(deadline)) {
            bf_rbd_call_abandon(call);
            return bf_fail(err, BF_E_DEADLINE, 0,
                           "%s: cannot %s: the cluster did not answer in %" PRIu64 " s",
                           call->link->name, doing, deadline_ms / 1000);
        }
    }
}
