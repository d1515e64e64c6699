/* SPDX-License-Identifier: Apache-2.0 */
/* Invariants: a mover's flag `busy` is held around every call of attach and detach and around the
 * listing that precedes it; only the first of the queue may attach; `lock` is never held while a
 * platform is called.  Mover records live as long as the process: there are few. */
#include "connectors/mover.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "connectors/mover_private.h"

#define SLICE_MS 100       /* how soon a cancel is noticed */
#define LOOK_AGAIN_MS 1000 /* somebody else may have freed a slot */
#define SERVED_MS 30000
#define DETACH_MS (UINT64_C(10) * 60 * 1000)

struct waiter {
    struct waiter *next;
};

struct mover {
    struct mover *next;
    char *id;
    struct waiter *queue; /* who wants to attach, in order */
    bool busy;
    uint64_t changes; /* of what is attached, by this process */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct mover *movers;

static void make_condition(void)
{
    bf_cond_init(&changed);
}

/* --- the queue; `lock` is held --- */

static struct mover *find(const char *id)
{
    struct mover *mover = movers;

    while (mover && !bf_streq(mover->id, id))
        mover = mover->next;
    if (!mover) {
        mover = bf_xcalloc(1, sizeof(*mover));
        mover->id = bf_xstrdup(id);
        mover->next = movers;
        movers = mover;
    }
    return mover;
}

static void enqueue(struct mover *mover, struct waiter *waiter)
{
    struct waiter **at = &mover->queue;

    while (*at)
        at = &(*at)->next;
    waiter->next = NULL;
    *at = waiter;
}

static void dequeue(struct mover *mover, const struct waiter *waiter)
{
    struct waiter **at = &mover->queue;

    while (*at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
    pthread_cond_broadcast(&changed);
}

/* Wait for the flag; for a detach, which has no place in the queue. */
static int take(struct bf_platform *platform, struct mover *mover, struct bf_deadline deadline,
                struct bf_error *err)
{
    int rc = 0;

    while (rc == 0 && mover->busy) {
        bf_cond_wait_ms(&changed, &lock, SLICE_MS);
        rc = bf_platform_check_cancel(platform, err);
        if (rc == 0 && bf_deadline_passed(deadline))
            rc = bf_fail(err, BF_E_DEADLINE, 0, "mover %s: others attach and detach all the time",
                         mover->id);
    }
    if (rc == 0)
        mover->busy = true;
    return rc;
}

static void give(struct mover *mover, bool has_changed)
{
    pthread_mutex_lock(&lock);
    mover->busy = false;
    mover->changes += has_changed;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

unsigned bf_mover_waiting(const char *id)
{
    unsigned count = 0;

    pthread_mutex_lock(&lock);
    for (const struct waiter *waiter = find(id)->queue; waiter; waiter = waiter->next)
        count++;
    pthread_mutex_unlock(&lock);
    return count;
}

/* --- what is attached --- */

struct look {
    const char *disk; /* wanted; NULL: any */
    const char *tag;  /* wanted; NULL: any */
    unsigned count;   /* of all */
    bool there;       /* the disk, for whomever */
    char *attachment; /* of the disk and tag, or the first of the tag */
    char *export_name;
    char *owner; /* tag of the disk that is there */
};

static void look_done(struct look *look)
{
    free(look->attachment);
    free(look->export_name);
    free(look->owner);
}
#define auto_look __attribute__((cleanup(look_done))) struct look

static int see_disk(const struct bf_mover_disk *disk, void *user)
{
    struct look *look = user;

    look->count++;
    if (look->disk && !bf_streq(look->disk, disk->disk))
        return 0;
    look->there = true;
    if (!look->owner)
        look->owner = bf_xstrdup(disk->tag);
    if (look->attachment || !disk->tag || !bf_streq(look->tag, disk->tag))
        return 0;
    look->attachment = bf_xstrdup(disk->attachment);
    look->export_name = bf_xstrdup(disk->export_name);
    return 0;
}

static int look_at(struct bf_platform *platform, const struct bf_mover_conf *conf,
                   struct look *look, struct bf_error *err)
{
    if (conf->ops->list(platform, conf->id, see_disk, look, err) < 0)
        return bf_fail_in(err, "disks of mover %s", conf->id);
    return 0;
}

struct pass {
    bf_mover_disk_fn *fn;
    void *user;
};

static int pass_tagged(const struct bf_mover_disk *disk, void *user)
{
    const struct pass *pass = user;

    return disk->tag && bf_tag_valid(disk->tag) ? pass->fn(disk, pass->user) : 0;
}

int bf_mover_list(struct bf_platform *platform, const struct bf_mover_conf *conf,
                  bf_mover_disk_fn *fn, void *user, struct bf_error *err)
{
    struct pass pass = {.fn = fn, .user = user};

    return conf->ops->list(platform, conf->id, pass_tagged, &pass, err);
}

/* --- attach --- */

static int check_request(const struct bf_mover_conf *conf, const struct bf_mover_request *request,
                         struct bf_error *err)
{
    if (!conf->slots)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "mover %s has no slots", conf->id);
    if (!bf_tag_valid(request->tag))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%s\" is no tag", request->tag);
    if (request->writable && !conf->writable)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "mover %s only reads; disk %s is to be written",
                       conf->id, request->disk);
    return 0;
}

/* One try, with the flag held.  *ret_full: it has to wait for a slot. */
static int try_attach(struct bf_platform *platform, const struct bf_mover_conf *conf,
                      const struct bf_mover_request *request, char **ret_export, bool *ret_full,
                      struct bf_error *err)
{
    auto_look before = {.disk = request->disk, .tag = request->tag};
    auto_look after = {.disk = request->disk, .tag = request->tag};

    *ret_full = false;
    if (look_at(platform, conf, &before, err) < 0)
        return -1;
    if (before.attachment) {
        *ret_export = bf_steal(before.export_name);
        return 0;
    }
    if (before.there)
        return bf_fail(err, BF_E_IN_USE, 0, "disk %s is attached to mover %s for %s", request->disk,
                       conf->id, before.owner ? before.owner : "somebody else");
    if (before.count >= conf->slots) {
        *ret_full = true;
        return 0;
    }
    if (conf->ops->attach(platform, conf->id, request->disk, request->tag, request->writable, err) <
        0)
        return bf_fail_in(err, "disk %s to mover %s", request->disk, conf->id);
    if (look_at(platform, conf, &after, err) < 0)
        return -1;
    if (!after.attachment)
        return bf_fail(err, BF_E_PLATFORM_ERROR, 0,
                       "disk %s was attached to mover %s, but is not listed", request->disk,
                       conf->id);
    *ret_export = bf_steal(after.export_name);
    return 0;
}

/* --- in turn, at any of several movers --- */

/* A request's place at one mover. */
struct place {
    const struct bf_mover_conf *conf;
    size_t index; /* of the caller's */
    struct mover *mover;
    struct waiter self;
    double load;              /* disks per slot, when it came */
    bool full;                /* when it was looked at last */
    uint64_t seen;            /* changes until then */
    struct bf_deadline again; /* then it is looked at once more */
};

struct wanting {
    struct bf_platform *platform;
    const struct bf_mover_request *request;
    struct bf_deadline deadline;
    struct place *places;
    size_t count;
};

static int no_slot(const struct wanting *wanting, struct bf_error *err)
{
    bf_auto_buf names = {0};
    unsigned slots = 0;

    for (size_t i = 0; i < wanting->count; i++) {
        slots += wanting->places[i].conf->slots;
        bf_buf_addf(&names, "%s%s", i ? ", " : "", wanting->places[i].conf->id);
    }
    return bf_fail(err, BF_E_MOVER_FULL, 0, "all %u slots of mover%s %s are in use", slots,
                   wanting->count > 1 ? "s" : "", names.text);
}

static bool all_full(const struct wanting *wanting)
{
    for (size_t i = 0; i < wanting->count; i++) {
        if (!wanting->places[i].full)
            return false;
    }
    return true;
}

/* `lock` is held.  A mover where it is this request's turn, and where there is reason to look. */
static struct place *free_place(const struct wanting *wanting)
{
    for (size_t i = 0; i < wanting->count; i++) {
        struct place *place = &wanting->places[i];
        bool turn = wanting->request->holding || place->mover->queue == &place->self;
        bool news = !place->full || place->mover->changes != place->seen ||
                    bf_deadline_passed(place->again);

        if (turn && news && !place->mover->busy)
            return place;
    }
    return NULL;
}

/* Until it is this request's turn somewhere, and something was detached there or it is time to look
 * again.  The mover is busy then. */
static int take_place(const struct wanting *wanting, struct place **ret_place, struct bf_error *err)
{
    struct place *place;
    int rc = 0;

    pthread_mutex_lock(&lock);
    while (rc == 0 && !(place = free_place(wanting))) {
        bf_cond_wait_ms(&changed, &lock, SLICE_MS);
        rc = bf_platform_check_cancel(wanting->platform, err);
        if (rc == 0 && bf_deadline_passed(wanting->deadline))
            rc = all_full(wanting)
                     ? no_slot(wanting, err)
                     : bf_fail(err, BF_E_MOVER_FULL, 0, "mover %s: it is not this disk's turn",
                               wanting->places[0].conf->id);
    }
    if (rc == 0) {
        place->mover->busy = true;
        place->seen = place->mover->changes;
        *ret_place = place;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int attach_in_turn(const struct wanting *wanting, struct place **ret_place,
                          char **ret_export, struct bf_error *err)
{
    for (;;) {
        struct place *place = NULL;

        if (take_place(wanting, &place, err) < 0)
            return -1;
        int rc = try_attach(wanting->platform, place->conf, wanting->request, ret_export,
                            &place->full, err);
        give(place->mover, rc == 0 && !place->full);
        if (rc < 0 || !place->full) {
            *ret_place = place;
            return rc;
        }
        place->again = bf_deadline_in(LOOK_AGAIN_MS);
        if (wanting->request->holding && all_full(wanting))
            return no_slot(wanting, err);
    }
}

static int attach_queued(const struct wanting *wanting, struct place **ret_place, char **ret_export,
                         struct bf_error *err)
{
    bool queues = !wanting->request->holding;

    pthread_once(&once, make_condition);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < wanting->count; i++) {
        wanting->places[i].mover = find(wanting->places[i].conf->id);
        if (queues)
            enqueue(wanting->places[i].mover, &wanting->places[i].self);
    }
    pthread_mutex_unlock(&lock);
    int rc = attach_in_turn(wanting, ret_place, ret_export, err);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; queues && i < wanting->count; i++)
        dequeue(wanting->places[i].mover, &wanting->places[i].self);
    pthread_mutex_unlock(&lock);
    return rc;
}

static int by_load(const void *a, const void *b)
{
    const struct place *one = a, *other = b;

    if (one->load != other->load)
        return one->load < other->load ? -1 : 1;
    return one->index < other->index ? -1 : 1;
}

/* The one that has the disk already, for this tag, is the only one to ask; else those with the most
 * room are asked first. */
static int choose(struct wanting *wanting, struct bf_error *err)
{
    for (size_t i = 0; i < wanting->count; i++) {
        struct place *place = &wanting->places[i];
        auto_look look = {.disk = wanting->request->disk, .tag = wanting->request->tag};

        if (look_at(wanting->platform, place->conf, &look, err) < 0)
            return -1;
        place->load = (double)look.count / place->conf->slots;
        if (look.attachment) {
            wanting->places[0] = *place;
            wanting->count = 1;
            return 0;
        }
    }
    qsort(wanting->places, wanting->count, sizeof(*wanting->places), by_load);
    return 0;
}

/* Attached, and served: its endpoint. */
static int see_served(struct bf_platform *platform, const struct bf_mover_conf *conf,
                      const struct bf_mover_request *request, const char *export_name,
                      struct bf_endpoint_spec *ret_spec, struct bf_error *err)
{
    struct bf_deadline served = bf_deadline_in(conf->served_ms ? conf->served_ms : SERVED_MS);
    struct bf_endpoint_spec spec = {0};
    bf_auto_error second = BF_ERROR_INIT;

    if (bf_mover_fill_spec(platform, conf, request, export_name, served, &spec, err) == 0 &&
        (conf->ops->probe ? conf->ops->probe : bf_mover_probe)(platform, &spec, served, err) == 0) {
        *ret_spec = spec;
        return 0;
    }
    bf_endpoint_spec_done(&spec);
    if (bf_mover_detach(platform, conf, request->disk, request->tag, &second) < 0)
        return bf_fail_in(err, "mover %s (it stays attached: %s)", conf->id, second.message);
    return bf_fail_in(err, "mover %s", conf->id);
}

int bf_mover_attach_any(struct bf_platform *platform, const struct bf_mover_conf *confs,
                        size_t count, const struct bf_mover_request *request,
                        struct bf_deadline deadline, size_t *ret_index,
                        struct bf_endpoint_spec *ret_spec, struct bf_error *err)
{
    bf_auto_free struct place *places = bf_xcalloc(count, sizeof(*places));
    bf_auto_free char *export_name = NULL;
    struct wanting wanting = {.platform = platform,
                              .request = request,
                              .deadline = deadline,
                              .places = places,
                              .count = count};
    struct place *place = NULL;

    for (size_t i = 0; i < count; i++) {
        if (check_request(&confs[i], request, err) < 0)
            return -1;
        places[i] = (struct place){.conf = &confs[i], .index = i};
    }
    if ((count > 1 && choose(&wanting, err) < 0) ||
        attach_queued(&wanting, &place, &export_name, err) < 0 ||
        see_served(platform, place->conf, request, export_name, ret_spec, err) < 0)
        return -1;
    *ret_index = place->index;
    return 0;
}

int bf_mover_attach(struct bf_platform *platform, const struct bf_mover_conf *conf,
                    const struct bf_mover_request *request, struct bf_deadline deadline,
                    struct bf_endpoint_spec *ret_spec, struct bf_error *err)
{
    size_t index;

    return bf_mover_attach_any(platform, conf, 1, request, deadline, &index, ret_spec, err);
}

/* --- detach --- */

static int detach(struct bf_platform *platform, const struct bf_mover_conf *conf, const char *disk,
                  const char *tag, bool *ret_any, struct bf_error *err)
{
    auto_look before = {.disk = disk, .tag = tag};

    *ret_any = false;
    if (look_at(platform, conf, &before, err) < 0)
        return -1;
    if (!before.attachment)
        return 0;
    *ret_any = true;
    if (conf->ops->detach(platform, conf->id, before.attachment, err) < 0)
        return bf_fail_in(err, "detaching from mover %s", conf->id);
    return 0;
}

static int detach_all(struct bf_platform *platform, const struct bf_mover_conf *conf,
                      const char *disk, const char *tag, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(DETACH_MS);
    struct mover *mover;
    bool any = true;
    bool has_changed = false;

    pthread_once(&once, make_condition);
    pthread_mutex_lock(&lock);
    mover = find(conf->id);
    int rc = take(platform, mover, deadline, err);
    pthread_mutex_unlock(&lock);
    if (rc < 0)
        return -1;
    while (rc == 0 && any) {
        rc = detach(platform, conf, disk, tag, &any, err);
        has_changed = has_changed || any;
        if (rc == 0 && any && bf_deadline_passed(deadline))
            rc = bf_fail(err, BF_E_DEADLINE, 0, "mover %s does not let go of disks of %s", conf->id,
                         tag);
    }
    give(mover, has_changed);
    return rc;
}

int bf_mover_detach(struct bf_platform *platform, const struct bf_mover_conf *conf,
                    const char *disk, const char *tag, struct bf_error *err)
{
    return detach_all(platform, conf, disk, tag, err);
}

int bf_mover_detach_tag(struct bf_platform *platform, const struct bf_mover_conf *conf,
                        const char *tag, struct bf_error *err)
{
    return detach_all(platform, conf, NULL, tag, err);
}
