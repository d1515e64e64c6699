/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/nbd_lookup.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

struct bf_nbd_lookup {
    char *host; /* of its own: the thread may outlive who asked */
    char *port;
    int fd; /* readable when it has ended */

    pthread_mutex_t lock; /* for all that follows */
    unsigned holders;     /* the thread is one */
    bool ended;
    int result; /* of getaddrinfo() */
    int error;  /* errno, if that is EAI_SYSTEM */
    struct addrinfo *addresses;
};

static struct bf_nbd_lookup *lookup_new(const struct bf_nbd_names *names)
{
    struct bf_nbd_lookup *lookup = bf_xcalloc(1, sizeof(*lookup));

    lookup->host = bf_xstrdup(names->host);
    lookup->port = bf_xstrdup(names->port);
    lookup->fd = -1;
    lookup->holders = 1;
    pthread_mutex_init(&lookup->lock, NULL);
    return lookup;
}

static struct bf_nbd_lookup *hold(struct bf_nbd_lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    lookup->holders++;
    pthread_mutex_unlock(&lookup->lock);
    return lookup;
}

void bf_nbd_lookup_drop(struct bf_nbd_lookup *lookup)
{
    if (!lookup)
        return;
    pthread_mutex_lock(&lookup->lock);
    unsigned left = --lookup->holders;
    pthread_mutex_unlock(&lookup->lock);
    if (left)
        return;
    pthread_mutex_destroy(&lookup->lock);
    if (lookup->addresses)
        freeaddrinfo(lookup->addresses);
    if (lookup->fd >= 0)
        close(lookup->fd);
    free(lookup->host);
    free(lookup->port);
    free(lookup);
}

int bf_nbd_lookup_fd(const struct bf_nbd_lookup *lookup)
{
    return lookup->fd;
}

/* Waits, unless `flags` forbid it. */
static void look_up(struct bf_nbd_lookup *lookup, int flags)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    struct addrinfo *addresses = NULL;
    int result = getaddrinfo(lookup->host, lookup->port, &hints, &addresses), error = errno;

    pthread_mutex_lock(&lookup->lock);
    lookup->result = result;
    lookup->error = error;
    lookup->addresses = addresses;
    lookup->ended = true;
    pthread_mutex_unlock(&lookup->lock);
}

static void *run(void *user)
{
    struct bf_nbd_lookup *lookup = user;

    look_up(lookup, 0);
    (void)eventfd_write(lookup->fd, 1); /* the first: it cannot fail */
    bf_nbd_lookup_drop(lookup);
    return NULL;
}

static int start_thread(struct bf_nbd_lookup *lookup, struct bf_error *err)
{
    pthread_attr_t attributes;
    pthread_t thread;

    lookup->ended = false;
    lookup->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lookup->fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "no eventfd");
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attributes, run, hold(lookup));
    pthread_attr_destroy(&attributes);
    if (!rc)
        return 0;
    bf_fail(err, BF_E_SYSTEM, rc, "no thread to look up \"%s\"", lookup->host);
    bf_nbd_lookup_drop(lookup); /* the thread's */
    return -1;
}

static int begin(struct bf_nbd_names *names, struct bf_error *err)
{
    struct bf_nbd_lookup *lookup = lookup_new(names);

    look_up(lookup, AI_NUMERICHOST);
    if (lookup->result && start_thread(lookup, err)) {
        bf_nbd_lookup_drop(lookup);
        return -1;
    }
    names->latest = lookup;
    return 0;
}

static bool has_ended(struct bf_nbd_lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    bool ended = lookup->ended;
    pthread_mutex_unlock(&lookup->lock);
    return ended;
}

static void keep_good(struct bf_nbd_names *names, struct bf_nbd_lookup *lookup)
{
    if (lookup->result || lookup == names->good)
        return;
    bf_nbd_lookup_drop(names->good);
    names->good = hold(lookup);
}

int bf_nbd_names_ask(struct bf_nbd_names *names, struct bf_nbd_lookup **ret_lookup,
                     struct bf_error *err)
{
    if (names->latest && has_ended(names->latest)) {
        keep_good(names, names->latest);
        bf_nbd_lookup_drop(bf_steal(names->latest));
    }
    if (!names->latest && begin(names, err))
        return -1;
    *ret_lookup = hold(names->latest);
    return 0;
}

static const char *reason(const struct bf_nbd_lookup *lookup)
{
    return lookup->result == EAI_SYSTEM ? strerrordesc_np(lookup->error)
                                        : gai_strerror(lookup->result);
}

int bf_nbd_names_answer(struct bf_nbd_names *names, struct bf_nbd_lookup **lookup,
                        const struct addrinfo **ret_addresses, struct bf_error *err)
{
    if (!has_ended(*lookup))
        return 0;
    /* From here on the thread changes nothing any more. */
    keep_good(names, *lookup);
    if ((*lookup)->result && !names->good)
        return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "no address of \"%s\": %s", names->host,
                       reason(*lookup));
    if ((*lookup)->result) {
        bf_log_debug("no address of \"%s\" (%s), trying those of before", names->host,
                     reason(*lookup));
        struct bf_nbd_lookup *good = hold(names->good);
        bf_nbd_lookup_drop(*lookup);
        *lookup = good;
    }
    *ret_addresses = (*lookup)->addresses;
    return 1;
}

void bf_nbd_names_done(struct bf_nbd_names *names)
{
    bf_nbd_lookup_drop(bf_steal(names->latest));
    bf_nbd_lookup_drop(bf_steal(names->good));
}
