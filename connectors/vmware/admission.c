/* SPDX-License-Identifier: Apache-2.0 */
/* Invariants: `tickets` and `queue` are touched under `lock` only; a ticket in the queue is not in
 * `tickets`; one that is granted is taken out of the queue by its own thread. */
#include "connectors/vmware/admission.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#define SLICE_MS 100 /* how soon a cancel is noticed */

struct bf_vmware_ticket {
    struct bf_vmware_ticket *next;
    char *server, *host;
    unsigned per_host, in_all;
    bool may_go; /* scratch of may_go() */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct bf_vmware_ticket *tickets; /* given out */
static struct bf_vmware_ticket *queue;   /* waiting, in order */

static void make_condition(void)
{
    bf_cond_init(&changed);
}

/* --- lists; `lock` is held --- */

static void append(struct bf_vmware_ticket **list, struct bf_vmware_ticket *ticket)
{
    while (*list)
        list = &(*list)->next;
    ticket->next = NULL;
    *list = ticket;
}

static void take_out(struct bf_vmware_ticket **list, const struct bf_vmware_ticket *ticket)
{
    while (*list != ticket)
        list = &(*list)->next;
    *list = ticket->next;
}

struct use {
    unsigned of_host, in_all;
};

static void add_use(struct use *use, const struct bf_vmware_ticket *of,
                    const struct bf_vmware_ticket *ticket)
{
    if (!bf_streq(of->server, ticket->server))
        return;
    use->in_all++;
    use->of_host += bf_streq(of->host, ticket->host);
}

/* Is there one for this ticket, when all that came before and can go have theirs?  A ticket that is
 * not in the queue comes last. */
static bool may_go(const struct bf_vmware_ticket *wanted)
{
    struct bf_vmware_ticket *at = queue;

    for (;; at = at->next) {
        const struct bf_vmware_ticket *ticket = at ? at : wanted;
        struct use use = {0};

        for (const struct bf_vmware_ticket *given = tickets; given; given = given->next)
            add_use(&use, ticket, given);
        for (const struct bf_vmware_ticket *before = queue; before != at; before = before->next) {
            if (before->may_go)
                add_use(&use, ticket, before);
        }
        bool may = use.of_host < ticket->per_host && use.in_all < ticket->in_all;
        if (ticket == wanted)
            return may;
        at->may_go = may;
    }
}

/* --- tickets --- */

static int fail_full(const struct bf_vmware_ticket *ticket, const char *what, struct bf_error *err)
{
    return bf_fail(err, BF_E_SOURCE_FULL, 0,
                   "%s: all %u connections of host %s, or %u of the vCenter, are in use", what,
                   ticket->per_host, ticket->host, ticket->in_all);
}

static void ticket_free(struct bf_vmware_ticket *ticket)
{
    free(ticket->server);
    free(ticket->host);
    free(ticket);
}

/* `lock` is held. */
static int queue_up(struct bf_platform *platform, struct bf_vmware_ticket *ticket,
                    struct bf_deadline deadline, struct bf_error *err)
{
    int rc = 0;

    append(&queue, ticket);
    while (rc == 0 && !may_go(ticket)) {
        bf_cond_wait_ms(&changed, &lock, SLICE_MS);
        rc = bf_platform_check_cancel(platform, err);
        if (rc == 0 && bf_deadline_passed(deadline) && !may_go(ticket))
            rc = fail_full(ticket, "waited in vain", err);
    }
    take_out(&queue, ticket);
    pthread_cond_broadcast(&changed); /* others may have come nearer */
    return rc;
}

int bf_vmware_admit(struct bf_platform *platform, const struct bf_vmware_admission *admission,
                    struct bf_vmware_ticket **ret_ticket, struct bf_error *err)
{
    struct bf_vmware_ticket *ticket = bf_xcalloc(1, sizeof(*ticket));
    struct bf_deadline deadline = bf_deadline_in(admission->wait_ms);
    int rc = 0;

    pthread_once(&once, make_condition);
    ticket->server = bf_xstrdup(admission->server);
    ticket->host = bf_xstrdup(admission->host ? admission->host : "?");
    ticket->per_host = admission->per_host;
    ticket->in_all = admission->in_all;
    pthread_mutex_lock(&lock);
    if (!admission->holding)
        rc = queue_up(platform, ticket, deadline, err);
    else if (!may_go(ticket))
        rc = fail_full(ticket, "no more for now", err);
    if (rc == 0)
        append(&tickets, ticket);
    pthread_mutex_unlock(&lock);
    if (rc < 0) {
        ticket_free(ticket);
        return -1;
    }
    *ret_ticket = ticket;
    return 0;
}

void bf_vmware_ticket_free(struct bf_vmware_ticket *ticket)
{
    if (!ticket)
        return;
    pthread_mutex_lock(&lock);
    take_out(&tickets, ticket);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    ticket_free(ticket);
}

unsigned bf_vmware_admission_waiting(void)
{
    unsigned count = 0;

    pthread_mutex_lock(&lock);
    for (const struct bf_vmware_ticket *at = queue; at; at = at->next)
        count++;
    pthread_mutex_unlock(&lock);
    return count;
}
