/* SPDX-License-Identifier: Apache-2.0 */
/* Invariants: a mover's flag `busy` is held around every call of attach and detach and around the
 * listing that precedes it; only the first of the queue may attach; `lock` is never held while a
 * platform is called.  Mover records live as long as the process: there are few. */
#include "connectors/mover.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#define SLICE_MS 100       /* how soon a cancel is noticed */
#define LOOK_AGAIN_MS 1000 /* somebody else may have freed a slot */
#define DEVICE_PAUSE_MS 100
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

/* Wait for the flag.  first NULL: a detach, which need not be first in the queue. */
static int take(struct bf_platform *platform, struct mover *mover, const struct waiter *first,
                struct bf_deadline deadline, struct bf_error *err)
{
    int rc = 0;

    while (rc == 0 && (mover->busy || (first && mover->queue != first))) {
        bf_cond_wait_ms(&changed, &lock, SLICE_MS);
        rc = bf_platform_check_cancel(platform, err);
        if (rc == 0 && bf_deadline_passed(deadline))
            rc = bf_fail(err, first ? BF_E_MOVER_FULL : BF_E_DEADLINE, 0,
                         "mover %s: it is not this disk's turn", mover->id);
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

char *bf_mover_export_name(const char *id)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t length = strlen(id);

    while (length > 0 && strchr(" \t\n\r\f\v", id[0])) {
        id++;
        length--;
    }
    while (length > 0 && strchr(" \t\n\r\f\v", id[length - 1]))
        length--;
    if (length == 0)
        return NULL;
    char *name = bf_xasprintf("%.*s", (int)length, id);
    for (size_t i = 0; i < length; i++) {
        if (!strchr(plain, name[i]) && !(name[i] == '.' && i > 0))
            name[i] = '_';
    }
    return name;
}

/* "virtio-SERIAL", "scsi-0QEMU_QEMU_HARDDISK_SERIAL": the serial is what fits of the id. */
static bool is_device(const char *name, const char *serial)
{
    return strstr(name, serial) && !strstr(name, "-part");
}

static char *find_device(const char *directory, const char *serial)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    char *path = NULL;

    while (dir && !path && (entry = readdir(dir))) {
        if (is_device(entry->d_name, serial))
            path = bf_xasprintf("file:%s/%s", directory, entry->d_name);
    }
    if (dir)
        closedir(dir);
    return path;
}

/* Attached to this very machine: its kernel and udev take a moment. */
static int await_device(struct bf_platform *platform, const struct bf_mover_conf *conf,
                        const char *serial, struct bf_deadline deadline, char **ret_uri,
                        struct bf_error *err)
{
    while (!(*ret_uri = find_device(conf->devices, serial))) {
        if (bf_deadline_passed(deadline))
            return bf_fail(
                err, BF_E_MOVER_NOT_SERVING, 0,
                "no disk with the serial %s appeared in %s; does this service run on %s?", serial,
                conf->devices, conf->id);
        if (bf_platform_pause(platform, DEVICE_PAUSE_MS, deadline, err) < 0)
            return -1;
    }
    return 0;
}

static int fill_spec(struct bf_platform *platform, const struct bf_mover_conf *conf,
                     const struct bf_mover_request *request, const char *export_name,
                     struct bf_deadline deadline, struct bf_endpoint_spec *spec,
                     struct bf_error *err)
{
    bf_auto_free char *clean = export_name ? bf_mover_export_name(export_name) : NULL;
    bf_auto_free char *uri = NULL;

    if (!clean || !bf_streq(clean, export_name))
        return bf_fail(err, BF_E_MOVER_NOT_SERVING, 0, "disk %s has no name that a mover can serve",
                       request->disk);
    if (!conf->devices)
        uri = bf_xasprintf("nbds://%s/%s", conf->address, export_name);
    else if (await_device(platform, conf, export_name, deadline, &uri, err) < 0)
        return -1;
    *spec = (struct bf_endpoint_spec){
        .uri = bf_steal(uri),
        .format = bf_xstrdup("raw"),
        .tls_directory = bf_xstrdup(conf->tls_directory),
        .size_bytes = request->size_bytes,
    };
    return 0;
}

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

static int no_slot(const struct bf_mover_conf *conf, struct bf_error *err)
{
    return bf_fail(err, BF_E_MOVER_FULL, 0, "all %u slots of mover %s are in use", conf->slots,
                   conf->id);
}

/* First in the queue and full: until something was detached here, or it is time to look again. */
static int wait_for_slot(struct bf_platform *platform, const struct bf_mover_conf *conf,
                         struct mover *mover, uint64_t seen, struct bf_deadline deadline,
                         struct bf_error *err)
{
    struct bf_deadline again = bf_deadline_in(LOOK_AGAIN_MS);
    int rc = 0;

    pthread_mutex_lock(&lock);
    while (rc == 0 && mover->changes == seen && !bf_deadline_passed(again)) {
        bf_cond_wait_ms(&changed, &lock, SLICE_MS);
        rc = bf_platform_check_cancel(platform, err);
        if (rc == 0 && bf_deadline_passed(deadline))
            rc = no_slot(conf, err);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int attach_in_turn(struct bf_platform *platform, const struct bf_mover_conf *conf,
                          const struct bf_mover_request *request, struct mover *mover,
                          const struct waiter *self, struct bf_deadline deadline, char **ret_export,
                          struct bf_error *err)
{
    bool full;

    for (;;) {
        pthread_mutex_lock(&lock);
        int rc = take(platform, mover, self, deadline, err);
        uint64_t seen = mover->changes;
        pthread_mutex_unlock(&lock);
        if (rc < 0)
            return -1;
        rc = try_attach(platform, conf, request, ret_export, &full, err);
        give(mover, rc == 0 && !full);
        if (rc < 0 || !full)
            return rc;
        if (request->holding)
            return no_slot(conf, err);
        if (wait_for_slot(platform, conf, mover, seen, deadline, err) < 0)
            return -1;
    }
}

static int attach_queued(struct bf_platform *platform, const struct bf_mover_conf *conf,
                         const struct bf_mover_request *request, struct bf_deadline deadline,
                         char **ret_export, struct bf_error *err)
{
    struct waiter self;
    struct mover *mover;

    pthread_once(&once, make_condition);
    pthread_mutex_lock(&lock);
    mover = find(conf->id);
    if (!request->holding)
        enqueue(mover, &self);
    pthread_mutex_unlock(&lock);
    int rc = attach_in_turn(platform, conf, request, mover, request->holding ? NULL : &self,
                            deadline, ret_export, err);
    if (request->holding)
        return rc;
    pthread_mutex_lock(&lock);
    dequeue(mover, &self);
    pthread_mutex_unlock(&lock);
    return rc;
}

int bf_mover_attach(struct bf_platform *platform, const struct bf_mover_conf *conf,
                    const struct bf_mover_request *request, struct bf_deadline deadline,
                    struct bf_endpoint_spec *ret_spec, struct bf_error *err)
{
    struct bf_endpoint_spec spec = {0};
    bf_auto_free char *export_name = NULL;
    int rc;

    if (check_request(conf, request, err) < 0 ||
        attach_queued(platform, conf, request, deadline, &export_name, err) < 0)
        return -1;
    struct bf_deadline served = bf_deadline_in(conf->served_ms ? conf->served_ms : SERVED_MS);
    rc = fill_spec(platform, conf, request, export_name, served, &spec, err);
    if (rc == 0) {
        rc = (conf->ops->probe ? conf->ops->probe : bf_mover_probe)(platform, &spec, served, err);
    }
    if (rc < 0) {
        bf_auto_error second = BF_ERROR_INIT;

        bf_endpoint_spec_done(&spec);
        if (bf_mover_detach(platform, conf, request->disk, request->tag, &second) < 0)
            return bf_fail_in(err, "mover %s (it stays attached: %s)", conf->id, second.message);
        return bf_fail_in(err, "mover %s", conf->id);
    }
    *ret_spec = spec;
    return 0;
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
    int rc = take(platform, mover, NULL, deadline, err);
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
