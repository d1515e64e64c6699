/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/rbd_claim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "nbd/rbd_link.h"

#define LIVING_CLIENT_MS 5000
#define ANSWER_MS 2000
#define PAUSE_MS 500
#define WATCHERS_MAX 64

/* --- locks taken by hand --- */

/* librbd's own exclusive lock carries this tag; librbd takes it over from a dead client itself. */
#define LIBRBD_TAG "internal"

static int check_locks(const struct bf_rbd_link *link, struct bf_error *err)
{
    char tag[256] = "", clients[1024] = "", cookies[1024] = "", addresses[1024] = "";
    size_t tag_size = sizeof(tag), clients_size = sizeof(clients);
    size_t cookies_size = sizeof(cookies), addresses_size = sizeof(addresses);
    int exclusive = 0;
    ssize_t n =
        bf_ceph.rbd_list_lockers(link->image, &exclusive, tag, &tag_size, clients, &clients_size,
                                 cookies, &cookies_size, addresses, &addresses_size);

    if (n == -ERANGE)
        return bf_fail(err, BF_E_IN_USE, 0, "%s: many clients share a lock on the image",
                       link->name);
    if (n < 0)
        return bf_rbd_link_refused(link, (int)n, "see who holds a lock on the image", err);
    if (n == 0 || bf_streq(tag, LIBRBD_TAG))
        return 0;
    /* The first of each list, which are texts one behind the other. */
    return bf_fail(err, BF_E_IN_USE, 0,
                   "%s: %s at %s holds the lock \"%s\" on the image; its owner or \"rbd lock rm\" "
                   "takes it away",
                   link->name, clients, addresses, cookies);
}

/* --- who has it open --- */

struct other {
    uint64_t id;       /* of the client */
    char address[128]; /* "": nobody */
};

/* One of the clients other than ourselves; 0 or a negative errno. */
static int find_other(const struct bf_rbd_link *link, struct other *ret_other)
{
    rbd_image_watcher_t watchers[WATCHERS_MAX];
    size_t count = WATCHERS_MAX;
    uint64_t me = bf_ceph.rados_get_instance_id(link->cluster);
    int rc = bf_ceph.rbd_watchers_list(link->image, watchers, &count);

    if (rc < 0)
        return rc;
    *ret_other = (struct other){0};
    for (size_t i = 0; i < count; i++) {
        if ((uint64_t)watchers[i].id == me)
            continue;
        ret_other->id = (uint64_t)watchers[i].id;
        snprintf(ret_other->address, sizeof(ret_other->address), "%s", watchers[i].addr);
    }
    bf_ceph.rbd_watchers_list_cleanup(watchers, count);
    return 0;
}

static bool is_among(uint64_t id, char *reply, size_t size)
{
    struct notify_ack_t *acks = NULL;
    struct notify_timeout_t *timeouts = NULL;
    size_t ack_count = 0, timeout_count = 0;
    bool found = false;

    if (bf_ceph.rados_decode_notify_response(reply, size, &acks, &ack_count, &timeouts,
                                             &timeout_count) < 0)
        return false;
    for (size_t i = 0; i < ack_count; i++)
        found = found || acks[i].notifier_id == id;
    bf_ceph.rados_free_notify_response(acks, ack_count, timeouts);
    return found;
}

/* An empty notice is the oldest form of "the header has changed". */
static bool is_alive(const struct bf_rbd_link *link, uint64_t id)
{
    bf_auto_free char *header = bf_xasprintf("rbd_header.%s", link->id);
    char *reply = NULL;
    size_t size = 0;

    /* The answers are there also when some did not answer, which is an error. */
    (void)bf_ceph.rados_notify2(link->io, header, "", 0, ANSWER_MS, &reply, &size);
    if (!reply)
        return false;
    bool alive = is_among(id, reply, size);
    bf_ceph.rados_buffer_free(reply);
    return alive;
}

static int wait_alone(const struct bf_rbd_call *call, struct bf_error *err)
{
    const struct bf_rbd_link *link = call->link;
    struct bf_deadline dead = bf_deadline_in(BF_RBD_DEAD_CLIENT_MS);
    struct bf_deadline living = bf_deadline_in(LIVING_CLIENT_MS);

    for (;;) {
        struct other other;
        int rc = find_other(link, &other);

        if (rc < 0)
            return bf_rbd_link_refused(link, rc, "see who has the image open", err);
        if (!other.address[0])
            return 0;
        if (bf_deadline_passed(dead) || atomic_load(&call->abandoned) ||
            (bf_deadline_passed(living) && is_alive(link, other.id)))
            return bf_fail(err, BF_E_IN_USE, 0, "%s: another client (%s) has the image open",
                           link->name, other.address);
        bf_sleep_ms(PAUSE_MS);
    }
}

int bf_rbd_claim(struct bf_rbd_call *call, struct bf_error *err)
{
    const struct bf_rbd_link *link = call->link;

    if (check_locks(link, err) || wait_alone(call, err))
        return -1;
    /* Without the feature there is no lock: all that can be done was done above. */
    if (!(link->features & RBD_FEATURE_EXCLUSIVE_LOCK))
        return 0;
    int rc = bf_ceph.rbd_lock_acquire(link->image, RBD_LOCK_MODE_EXCLUSIVE);
    return rc < 0 ? bf_rbd_link_refused(link, rc, "take the image's lock", err) : 0;
}
