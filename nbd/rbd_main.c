/* SPDX-License-Identifier: Apache-2.0 */
/* blockferry-rbd VERB URI [NAME]: what the service needs of an RBD image besides its bytes.
 *
 *   info URI            {"size", "fsid", "parent", "fast_diff", "snapshots"}
 *   settle URI          nobody has it open, or had to be waited for; else it is in use
 *   rollback URI@SNAP   the image becomes what the snapshot holds; nobody else may have it open or
 *                       locked, and who has is named within seconds (nbd/rbd_claim.h)
 *   flatten URI         the image no longer needs its parent; a machine may be running on it
 *   rename URI NAME     the image is called NAME, also when an earlier call made it so; nobody else
 *                       may have it open
 *
 * A program of its own, so that librbd never runs in the service.  Its answer is one line of JSON
 * on standard output, {"code", "message"} when it failed; the exit status is 0 if there is an
 * answer.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "nbd/rbd_link.h"

#define DEADLINE_MS 30000

static void uri_done_at(struct bf_uri *uri)
{
    bf_uri_done(uri);
}

static void link_close_at(struct bf_rbd_link **at)
{
    bf_rbd_link_close(*at);
}
#define auto_link __attribute__((cleanup(link_close_at))) struct bf_rbd_link

static int fail(const struct bf_rbd_link *link, int rc, const char *doing, struct bf_error *err)
{
    return bf_fail(err, rc == -EROFS || rc == -EBUSY ? BF_E_IN_USE : BF_E_WRITE_ERROR, -rc,
                   "%s: cannot %s", link->name, doing);
}

/* Asked for one more than there is room for, librbd says how many there would have to be. */
static int count_snapshots(const struct bf_rbd_link *link)
{
    rbd_snap_info_t room[1];
    int max = bf_array_length(room);

    return bf_ceph.rbd_snap_list(link->image, room, &max) == -ERANGE ? max - 1 : 0;
}

static int do_info(struct bf_uri *uri, struct json_object *answer, struct bf_error *err)
{
    auto_link *link = NULL;
    uint64_t overlap = 0, flags = 0;
    char fsid[64] = "";

    if (bf_rbd_link_open(uri, false, DEADLINE_MS, -1, &link, err))
        return -1;
    int rc = bf_ceph.rbd_get_overlap(link->image, &overlap);
    if (rc >= 0)
        rc = bf_ceph.rbd_get_flags(link->image, &flags);
    if (rc >= 0)
        rc = bf_ceph.rados_cluster_fsid(link->cluster, fsid, sizeof(fsid));
    if (rc < 0)
        return fail(link, rc, "look at the image", err);
    bf_json_add_u64(answer, "size", link->size);
    bf_json_add_i64(answer, "snapshots", count_snapshots(link));
    bf_json_add_string(answer, "fsid", fsid);
    bf_json_add_bool(answer, "parent", overlap > 0);
    bf_json_add_bool(answer, "fast_diff",
                     (link->features & RBD_FEATURE_FAST_DIFF) &&
                         !(flags & (RBD_FLAG_OBJECT_MAP_INVALID | RBD_FLAG_FAST_DIFF_INVALID)));
    return 0;
}

/* A client that died is known to the cluster for 30 s. */
static int do_settle(struct bf_uri *uri, struct json_object *answer, struct bf_error *err)
{
    auto_link *link = NULL;

    (void)answer;
    return bf_rbd_link_open(uri, true, DEADLINE_MS, -1, &link, err);
}

static int do_rollback(struct bf_uri *uri, struct json_object *answer, struct bf_error *err)
{
    auto_link *link = NULL;
    bf_auto_free char *snapshot = bf_steal(uri->rbd_snapshot);

    (void)answer;
    if (!snapshot)
        return bf_fail(err, BF_E_URI, 0, "%s names no snapshot", uri->text);
    /* Claimed first: a rollback under the feet of another client would be taken for granted. */
    if (bf_rbd_link_open(uri, true, DEADLINE_MS, -1, &link, err))
        return -1;
    int rc = bf_ceph.rbd_snap_rollback(link->image, snapshot);
    return rc < 0 ? fail(link, rc, "roll back", err) : 0;
}

static int do_flatten(struct bf_uri *uri, struct json_object *answer, struct bf_error *err)
{
    auto_link *link = NULL;
    uint64_t overlap = 0;

    (void)answer;
    /* Not claimed: a machine has it open, and does the work for us. */
    if (bf_rbd_link_open_beside(uri, DEADLINE_MS, -1, &link, err))
        return -1;
    int rc = bf_ceph.rbd_get_overlap(link->image, &overlap);
    if (rc >= 0 && overlap > 0)
        rc = bf_ceph.rbd_flatten(link->image);
    return rc < 0 ? fail(link, rc, "flatten", err) : 0;
}

/* Does the pool's directory have this name? */
static int is_listed(const struct bf_rbd_link *link, const char *name, bool *ret_listed)
{
    size_t count = 1024;
    bf_auto_free rbd_image_spec_t *images = bf_xcalloc(count, sizeof(*images));
    int rc;

    while ((rc = bf_ceph.rbd_list2(link->io, images, &count)) == -ERANGE) { /* which sets count */
        free(images);
        images = bf_xcalloc(count, sizeof(*images));
    }
    *ret_listed = false;
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++)
        *ret_listed = *ret_listed || bf_streq(images[i].name, name);
    bf_ceph.rbd_image_spec_list_cleanup(images, count);
    return 0;
}

static bool is_same_image(const struct bf_rbd_link *link, const char *name)
{
    char id[sizeof(link->id)] = "";
    rbd_image_t image;

    if (bf_ceph.rbd_open_read_only(link->io, name, &image, NULL) < 0)
        return false;
    int rc = bf_ceph.rbd_get_id(image, id, sizeof(id));
    bf_ceph.rbd_close(image);
    return rc >= 0 && bf_streq(id, link->id);
}

/* librbd makes the object of the new name, then changes the directory, then removes the object of
 * the old name.  Killed in between, both names lead to the image, and it refuses to begin again. */
static int rename_image(const struct bf_rbd_link *link, const char *old, const char *name)
{
    int rc = bf_ceph.rbd_rename(link->io, old, name);
    bool listed;

    if (rc != -EEXIST || !is_same_image(link, name))
        return rc;
    rc = is_listed(link, name, &listed);
    if (rc < 0)
        return rc;
    bf_auto_free char *object = bf_xasprintf("rbd_id.%s", listed ? old : name);
    rc = bf_ceph.rados_remove(link->io, object);
    return rc < 0 || listed ? rc : bf_ceph.rbd_rename(link->io, old, name);
}

/* The image is claimed under its old name first, so that it is not taken away from somebody who
 * writes to it.  When there is none of that name, it must have the new one already. */
static int do_rename(struct bf_uri *uri, const char *name, struct bf_error *err)
{
    auto_link *link = NULL;
    auto_link *renamed = NULL;
    bf_auto_error absent = BF_ERROR_INIT;

    if (uri->rbd_snapshot || name[0] == '\0' || strpbrk(name, "/@?"))
        return bf_fail(err, BF_E_URI, 0, "\"%s\" cannot be the name of an image", name);
    if (bf_rbd_link_open(uri, true, DEADLINE_MS, -1, &link, &absent) == 0) {
        int rc = rename_image(link, uri->rbd_image, name);

        return rc < 0 ? fail(link, rc, "rename the image", err) : 0;
    }
    free(uri->rbd_image);
    uri->rbd_image = bf_xstrdup(name);
    if (absent.code == BF_E_ENDPOINT_OPEN &&
        bf_rbd_link_open(uri, false, DEADLINE_MS, -1, &renamed, err) == 0)
        return 0;
    bf_error_clear(err);
    bf_error_move(err, &absent);
    return -1;
}

static const struct {
    const char *name;
    int (*run)(struct bf_uri *uri, struct json_object *answer, struct bf_error *err);
} verbs[] = {
    {"info", do_info},
    {"settle", do_settle},
    {"rollback", do_rollback},
    {"flatten", do_flatten},
};

static int run(const char *verb, const char *text, const char *name, struct json_object *answer,
               struct bf_error *err)
{
    __attribute__((cleanup(uri_done_at))) struct bf_uri uri = {0};

    if (bf_uri_parse(text, &uri, err))
        return -1;
    if (uri.kind != BF_URI_RBD)
        return bf_fail(err, BF_E_URI, 0, "%s is not the URI of an RBD image", text);
    if (bf_ceph_load(err))
        return -1;
    if (name)
        return bf_streq(verb, "rename") ? do_rename(&uri, name, err)
                                        : bf_fail(err, BF_E_BAD_INPUT, 0, "%s takes no name", verb);
    for (size_t i = 0; i < bf_array_length(verbs); i++)
        if (bf_streq(verbs[i].name, verb))
            return verbs[i].run(&uri, answer, err);
    return bf_fail(err, BF_E_BAD_INPUT, 0, "%s is no verb", verb);
}

int main(int argc, char *argv[])
{
    bf_auto_json *answer = json_object_new_object();
    bf_auto_error err = BF_ERROR_INIT;

    bf_log_open("blockferry-rbd", BF_LOG_NOTICE);
    if (argc != 3 && argc != 4) {
        fputs("usage: blockferry-rbd info|settle|rollback|flatten URI\n"
              "       blockferry-rbd rename URI NAME\n",
              stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (run(argv[1], argv[2], argv[3], answer, &err)) {
        bf_json_add_string(answer, "code", bf_error_id(err.code));
        bf_json_add_string(answer, "message", err.message);
    }
    puts(bf_json_text(answer));
    fflush(stdout);
    /* An abandoned call's thread may be in librbd still. */
    _exit(0);
}
