/* SPDX-License-Identifier: Apache-2.0 */
/* Watching the end of a child by descriptor. */
#include "base/process_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

struct watch {
    pid_t pid;
    int fd; /* of its own: the other one may be closed at any time */
};

/* WNOWAIT leaves the child to be reaped, so its number stays its own until after the signal. */
static void *watch_loop(void *user)
{
    struct watch *watch = user;
    siginfo_t info;

    while (waitid(P_PID, (id_t)watch->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    eventfd_write(watch->fd, 1);
    close(watch->fd);
    free(watch);
    return NULL;
}

/* Takes over `watch`, unless it fails with the error number that it returns. */
static int start_watch(struct watch *watch)
{
    sigset_t all, old;
    pthread_t thread;
    int sys;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* no handler of the program runs in the thread */
    sys = pthread_create(&thread, NULL, watch_loop, watch);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (sys == 0)
        pthread_detach(thread);
    return sys;
}

static int watch_by_thread(pid_t pid)
{
    bf_auto_fd int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bf_auto_fd int own = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    struct watch *watch;
    int sys;

    if (own < 0)
        return -1;
    watch = bf_xcalloc(1, sizeof(*watch));
    *watch = (struct watch){pid, own};
    sys = start_watch(watch);
    if (sys) {
        free(watch);
        errno = sys;
        return -1;
    }
    own = -1; /* the thread's */
    return bf_steal_fd(fd);
}

int bf_watch_end(pid_t pid)
{
    static atomic_bool refused;
    int fd = refused ? -1 : pidfd_open(pid, 0);

    if (fd >= 0)
        return fd;
    if (!refused && errno != ENOSYS && errno != EPERM)
        return -1;
    refused = true;
    return watch_by_thread(pid);
}
