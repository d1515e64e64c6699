/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/rbd_link.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "nbd/rbd_claim.h"

#define GOODBYE_MS 10000

/* --- connecting, in the call's thread --- */

int bf_rbd_link_refused(const struct bf_rbd_link *link, int rc, const char *doing,
                        struct bf_error *err)
{
    enum bf_error_code code = BF_E_ENDPOINT_OPEN;

    if (rc == -EACCES || rc == -EPERM || rc == -ENOTSUP)
        code = BF_E_PLATFORM_AUTH;
    else if (rc == -ETIMEDOUT)
        code = BF_E_DEADLINE;
    else if (rc == -ENOMEM)
        code = BF_E_NO_MEMORY;
    else if (link->write && rc == -EROFS)
        code = BF_E_IN_USE;
    return bf_fail(err, code, -rc, "%s: cannot %s", link->name, doing);
}

/* What Ceph's own configuration may change (before it is read), and what it may not (after). */
static void set_options(rados_t cluster, const char *const (*pairs)[2], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bf_ceph.rados_conf_set(cluster, pairs[i][0], pairs[i][1]))
            bf_log_debug("librados does not know %s", pairs[i][0]);
}

/* Ceph gathers debug messages for a crash dump, which is work for every request; and its clients
 * print on standard error, which is ours. */
static const char *const quiet[][2] = {
    {"debug_ms", "0/0"},        {"debug_rbd", "0/0"},          {"debug_rados", "0/0"},
    {"debug_objecter", "0/0"},  {"debug_objectcacher", "0/0"}, {"debug_monc", "0/0"},
    {"debug_auth", "0/0"},      {"debug_tp", "0/0"},           {"debug_crush", "0/0"},
    {"debug_bluestore", "0/0"}, {"debug_context", "0/0"},      {"log_to_stderr", "false"},
    {"err_to_stderr", "false"},
};

/* No cache: the engine merges and keeps requests under way itself, and what is done is durable.
 * Zero copy: our buffers do not change while they are written.  One thread for the network and one
 * for what it brings: more only wake each other (6 % of the CPU time). */
static const char *const ours[][2] = {
    {"rbd_cache", "false"},         {"rbd_disable_zero_copy_writes", "false"},
    {"rbd_io_scheduler", "none"},   {"ms_async_op_threads", "1"},
    {"librados_thread_count", "1"},
};

static int connect_cluster(struct bf_rbd_link *link, struct bf_error *err)
{
    char seconds[24];
    int rc = bf_ceph.rados_create(&link->cluster, link->user);

    if (rc < 0) {
        link->cluster = NULL;
        return bf_rbd_link_refused(link, rc, "use librados", err);
    }
    set_options(link->cluster, quiet, bf_array_length(quiet));
    rc = bf_ceph.rados_conf_read_file(link->cluster, link->conf);
    if (rc < 0)
        return bf_fail(err, BF_E_ENDPOINT_OPEN, -rc, "%s: cannot read Ceph's configuration \"%s\"",
                       link->name, link->conf ? link->conf : "ceph.conf");
    set_options(link->cluster, ours, bf_array_length(ours));
    snprintf(seconds, sizeof(seconds), "%" PRIu64, link->deadline_ms / 1000 + 1);
    if (bf_ceph.rados_conf_set(link->cluster, "client_mount_timeout", seconds))
        bf_log_debug("librados does not know client_mount_timeout");
    rc = bf_ceph.rados_connect(link->cluster);
    if (rc < 0)
        return bf_rbd_link_refused(link, rc, "connect to the cluster (monitors, user, keyring)",
                                   err);
    rc = bf_ceph.rados_ioctx_create(link->cluster, link->pool, &link->io);
    if (rc < 0) {
        link->io = NULL;
        bf_auto_free char *doing = bf_xasprintf("open the pool \"%s\"", link->pool);
        return bf_rbd_link_refused(link, rc, doing, err);
    }
    if (link->pool_namespace)
        bf_ceph.rados_ioctx_set_namespace(link->io, link->pool_namespace);
    /* A full pool is to say so; by default writes wait until there is room. */
    bf_ceph.rados_set_pool_full_try(link->io);
    return 0;
}

static int list_snapshots(rbd_image_t image, rbd_snap_info_t **ret_infos, int *ret_count)
{
    int max = 64, rc;

    for (;;) {
        rbd_snap_info_t *infos = bf_xcalloc((size_t)max, sizeof(*infos));
        rc = bf_ceph.rbd_snap_list(image, infos, &max);
        if (rc >= 0) {
            *ret_infos = infos;
            *ret_count = rc;
            return 0;
        }
        free(infos);
        if (rc != -ERANGE) /* which sets max */
            return rc;
    }
}

static void free_snapshots(rbd_snap_info_t *infos, int count)
{
    if (count)
        bf_ceph.rbd_snap_list_end(infos);
    free(infos);
}

/* -1: none; -2: the text is the name of one and the id of another. */
static int find_snapshot(const rbd_snap_info_t *infos, int count, const char *text)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    uint64_t id = 0;
    int found = -1;

    if (bf_parse_u64(text, &id, &ignored))
        id = 0;
    for (int i = 0; i < count; i++) {
        if (strcmp(infos[i].name, text) != 0 && (!id || infos[i].id != id))
            continue;
        if (found >= 0)
            return -2;
        found = i;
    }
    return found;
}

static int look_up(const struct bf_rbd_link *link, const char *text, enum bf_error_code code,
                   struct bf_rbd_snapshot *snapshot, struct bf_error *err)
{
    rbd_snap_info_t *infos = NULL;
    int count = 0, rc = list_snapshots(link->image, &infos, &count);

    if (rc < 0)
        return bf_rbd_link_refused(link, rc, "list the snapshots", err);
    int found = find_snapshot(infos, count, text);
    if (found >= 0) {
        snapshot->id = infos[found].id;
        snapshot->size = infos[found].size;
        snapshot->name = bf_xstrdup(infos[found].name);
    }
    free_snapshots(infos, count);
    if (found == -1)
        return bf_fail(err, code, 0, "%s: the image has no snapshot \"%s\"", link->name, text);
    if (found == -2)
        return bf_fail(err, code, 0, "%s: \"%s\" is the name of one snapshot and the id of another",
                       link->name, text);
    return 0;
}

static int choose_snapshot(struct bf_rbd_link *link, struct bf_error *err)
{
    struct bf_rbd_snapshot snapshot;

    if (look_up(link, link->snapshot, BF_E_ENDPOINT_OPEN, &snapshot, err))
        return -1;
    free(snapshot.name);
    link->snapshot_id = snapshot.id;
    int rc = bf_ceph.rbd_snap_set_by_id(link->image, snapshot.id);
    return rc < 0 ? bf_rbd_link_refused(link, rc, "open the snapshot", err) : 0;
}

static int learn(struct bf_rbd_link *link, struct bf_error *err)
{
    char fsid[40] = "";
    rbd_image_info_t info;
    int rc = bf_ceph.rbd_get_id(link->image, link->id, sizeof(link->id));

    if (rc >= 0)
        rc = bf_ceph.rbd_stat(link->image, &info, sizeof(info));
    if (rc >= 0)
        rc = bf_ceph.rbd_get_features(link->image, &link->features);
    if (rc >= 0)
        rc = bf_ceph.rados_cluster_fsid(link->cluster, fsid, sizeof(fsid));
    if (rc < 0)
        return bf_rbd_link_refused(link, rc, "look at the image", err);
    link->size = info.size;
    link->object_size = info.obj_size;
    link->identity = bf_xasprintf(
        "rbd:%s/%" PRId64 "/%s/%s@%" PRIu64, fsid, bf_ceph.rados_ioctx_get_id(link->io),
        link->pool_namespace ? link->pool_namespace : "", link->id, link->snapshot_id);
    return 0;
}

static int run_open(struct bf_rbd_call *call, struct bf_error *err)
{
    struct bf_rbd_link *link = call->link;

    if (connect_cluster(link, err))
        return -1;
    int rc = link->write
                 ? bf_ceph.rbd_open(link->io, link->image_name, &link->image, NULL)
                 : bf_ceph.rbd_open_read_only(link->io, link->image_name, &link->image, NULL);
    if (rc < 0) {
        link->image = NULL;
        if (rc == -ENOENT)
            return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "%s: the pool \"%s\" has no image \"%s\"",
                           link->name, link->pool, link->image_name);
        return bf_rbd_link_refused(link, rc, "open the image", err);
    }
    if (link->snapshot && choose_snapshot(link, err))
        return -1;
    return learn(link, err);
}

/* --- the link --- */

static struct bf_rbd_call *new_call(struct bf_rbd_link *link,
                                    int (*run)(struct bf_rbd_call *, struct bf_error *))
{
    struct bf_rbd_call *call = bf_xcalloc(1, sizeof(*call));

    call->link = link;
    call->run = run;
    return call;
}

static int call_and_free(struct bf_rbd_call *call, uint64_t deadline_ms, const char *doing,
                         struct bf_error *err)
{
    int rc = bf_rbd_call(call, deadline_ms, doing, err);

    bf_rbd_call_free(call);
    return rc;
}

static int open_link(const struct bf_uri *uri, bool write, bool claim, uint64_t deadline_ms,
                     int cancel_fd, struct bf_rbd_link **ret_link, struct bf_error *err)
{
    struct bf_rbd_link *link = bf_xcalloc(1, sizeof(*link));

    link->name = bf_xstrdup(uri->text);
    link->conf = bf_xstrdup(uri->rbd_conf);
    link->user = bf_xstrdup(uri->rbd_id);
    link->pool = bf_xstrdup(uri->rbd_pool);
    link->pool_namespace = bf_xstrdup(uri->rbd_namespace);
    link->image_name = bf_xstrdup(uri->rbd_image);
    link->snapshot = bf_xstrdup(uri->rbd_snapshot);
    link->write = write;
    link->deadline_ms = deadline_ms;
    link->cancel_fd = cancel_fd;
    /* librados' own limit on connecting is to come first: it knows more. */
    if (call_and_free(new_call(link, run_open), deadline_ms + 2000, "open it", err) ||
        (claim && call_and_free(new_call(link, bf_rbd_claim), deadline_ms + BF_RBD_DEAD_CLIENT_MS,
                                "make it ours", err))) {
        bf_rbd_link_close(link);
        return -1;
    }
    *ret_link = link;
    return 0;
}

int bf_rbd_link_open(const struct bf_uri *uri, bool write, uint64_t deadline_ms, int cancel_fd,
                     struct bf_rbd_link **ret_link, struct bf_error *err)
{
    return open_link(uri, write, write, deadline_ms, cancel_fd, ret_link, err);
}

int bf_rbd_link_open_beside(const struct bf_uri *uri, uint64_t deadline_ms, int cancel_fd,
                            struct bf_rbd_link **ret_link, struct bf_error *err)
{
    return open_link(uri, true, false, deadline_ms, cancel_fd, ret_link, err);
}

static int run_close(struct bf_rbd_call *call, struct bf_error *err)
{
    struct bf_rbd_link *link = call->link;

    (void)err;
    if (link->image)
        bf_ceph.rbd_close(link->image); /* gives the lock back */
    if (link->io)
        bf_ceph.rados_ioctx_destroy(link->io);
    if (link->cluster)
        bf_ceph.rados_shutdown(link->cluster);
    return 0;
}

void bf_rbd_link_close(struct bf_rbd_link *link)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    if (!link || link->stuck)
        return;
    link->cancel_fd = -1; /* a cancelled copy says goodbye, too */
    if (call_and_free(new_call(link, run_close), GOODBYE_MS, "close it", &ignored))
        return;
    free(link->name);
    free(link->conf);
    free(link->user);
    free(link->pool);
    free(link->pool_namespace);
    free(link->image_name);
    free(link->snapshot);
    free(link->identity);
    free(link);
}

struct snapshot_call {
    struct bf_rbd_call call;
    char *text;
    struct bf_rbd_snapshot snapshot;
};

static int run_snapshot(struct bf_rbd_call *call, struct bf_error *err)
{
    struct snapshot_call *own = (struct snapshot_call *)(void *)call;

    return look_up(call->link, own->text, BF_E_BASELINE_LOST, &own->snapshot, err);
}

int bf_rbd_link_snapshot(struct bf_rbd_link *link, const char *text,
                         struct bf_rbd_snapshot *ret_snapshot, struct bf_error *err)
{
    struct snapshot_call *own = bf_xcalloc(1, sizeof(*own));

    own->call.link = link;
    own->call.run = run_snapshot;
    own->text = bf_xstrdup(text);
    int rc = bf_rbd_call(&own->call, link->deadline_ms, "list the snapshots", err);
    if (!rc)
        *ret_snapshot = own->snapshot;
    if (!link->stuck)
        free(own->text);
    bf_rbd_call_free(&own->call);
    return rc;
}

struct confirm_call {
    struct bf_rbd_call call;
    uint64_t also;
};

static bool has_id(const rbd_snap_info_t *infos, int count, uint64_t id)
{
    for (int i = 0; i < count; i++)
        if (infos[i].id == id)
            return true;
    return !id;
}

/* By a new handle: what an open one knows may be old. */
static int run_confirm(struct bf_rbd_call *call, struct bf_error *err)
{
    const struct confirm_call *own = (const struct confirm_call *)(const void *)call;
    const struct bf_rbd_link *link = call->link;
    rbd_snap_info_t *infos = NULL;
    rbd_image_t image;
    int count = 0, rc = bf_ceph.rbd_open_by_id_read_only(link->io, link->id, &image, NULL);

    if (rc == -ENOENT)
        return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "%s: the image was deleted meanwhile",
                       link->name);
    if (rc < 0)
        return bf_rbd_link_refused(link, rc, "look at the image again", err);
    rc = list_snapshots(image, &infos, &count);
    bool there = !rc && has_id(infos, count, link->snapshot_id) && has_id(infos, count, own->also);
    if (!rc)
        free_snapshots(infos, count);
    bf_ceph.rbd_close(image);
    if (rc < 0)
        return bf_rbd_link_refused(link, rc, "list the snapshots again", err);
    if (!there)
        return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "%s: the snapshot was deleted meanwhile",
                       link->name);
    return 0;
}

struct bf_rbd_call *bf_rbd_link_confirm_call(struct bf_rbd_link *link, uint64_t also)
{
    struct confirm_call *own = bf_xcalloc(1, sizeof(*own));

    own->call.link = link;
    own->call.run = run_confirm;
    own->also = also;
    return &own->call;
}

int bf_rbd_link_confirm(struct bf_rbd_link *link, uint64_t also, struct bf_error *err)
{
    return call_and_free(bf_rbd_link_confirm_call(link, also), link->deadline_ms,
                         "look at it again", err);
}
