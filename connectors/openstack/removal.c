/* SPDX-License-Identifier: Apache-2.0 */
/* What Cinder is asked to remove, and when it is gone.
 *
 * Who asked may have been killed since, and Cinder goes on without him: a thing may be on its way
 * out before it is asked for.  Cinder refuses (400) to hear the request twice, as it does for a
 * thing that is still being made or in use, and does not say which; so after a refusal the thing
 * itself is looked at.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cinder.h"

#define MADE_MS (UINT64_C(30) * 1000)

#define ON_ITS_WAY_OUT "deleting", "unmanaging", "error_managing_deleting"

static bool is_on_its_way_out(struct json_object *thing)
{
    static const char *const statuses[] = {ON_ITS_WAY_OUT};
    const char *status = bf_cloud_text(thing, "status");

    for (size_t i = 0; i < bf_array_length(statuses); i++)
        if (bf_streq(statuses[i], status))
            return true;
    return false;
}

static struct bf_cloud_wait wait_of(const struct bf_cinder_removal *removal)
{
    return (struct bf_cloud_wait){
        .request = {.service = BF_CLOUD_VOLUME, .path = removal->path, .minor = BF_CINDER_MINOR},
        .object = removal->object,
        .what = removal->path,
        .gone = true};
}

enum finding { STUCK, AT_REST, ON_ITS_WAY };

/* After a refusal.  What is being made comes to rest within half a minute, or is stuck. */
static enum finding look(struct bf_cloud *cloud, const struct bf_cinder_removal *removal)
{
    static const char *const wanted[] = {"available", "error", "in-use", ON_ITS_WAY_OUT, NULL};
    static const char *const going[] = {"creating", "downloading", "uploading", NULL};
    struct bf_cloud_wait wait = wait_of(removal);
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_json *thing = NULL;

    wait.wanted = wanted;
    wait.going = going;
    wait.deadline_ms = MADE_MS;
    if (bf_cloud_wait(cloud, &wait, &thing, &ignored) < 0)
        return STUCK;
    return !thing || is_on_its_way_out(thing) ? ON_ITS_WAY : AT_REST;
}

static int ask_once(struct bf_cloud *cloud, const struct bf_cinder_removal *removal,
                    struct bf_error *err)
{
    bf_auto_free char *action = bf_xasprintf("%s/action", removal->path);
    bf_auto_json *body = NULL;
    struct bf_cloud_request request = {.service = BF_CLOUD_VOLUME,
                                       .method = removal->action ? "POST" : "DELETE",
                                       .path = removal->action ? action : removal->path,
                                       .minor = BF_CINDER_MINOR};

    if (removal->action) {
        body = json_object_new_object();
        json_object_object_add(body, removal->action, json_object_new_object());
        request.body = body;
    }
    return bf_cloud_call(cloud, &request, NULL, err);
}

static int ask(struct bf_cloud *cloud, const struct bf_cinder_removal *removal,
               struct bf_error *err)
{
    for (unsigned try = 0;; try++) {
        if (ask_once(cloud, removal, err) == 0)
            return 0;
        if (cloud->status == 404) {
            bf_error_clear(err);
            return 0;
        }
        if (cloud->status != 400)
            return -1;
        enum finding found = look(cloud, removal);
        if (found == ON_ITS_WAY) {
            bf_error_clear(err);
            return 0;
        }
        if (found == STUCK || try > 0) {
            bf_error_recode(err, BF_E_IN_USE); /* it has snapshots or clones, or it is stuck */
            return -1;
        }
        bf_error_clear(err);
    }
}

int bf_cinder_remove(struct bf_cloud *cloud, const struct bf_cinder_removal *removal,
                     bool *ret_stays, struct bf_error *err)
{
    static const char *const going[] = {ON_ITS_WAY_OUT, NULL};
    const char *const stays[] = {removal->stays, NULL};
    struct bf_cloud_wait wait = wait_of(removal);
    bf_auto_json *left = NULL;

    if (ask(cloud, removal, err) < 0)
        return -1;
    wait.wanted = stays;
    wait.going = going;
    wait.deadline_ms = removal->deadline_ms;
    if (bf_cloud_wait(cloud, &wait, &left, err) < 0)
        return -1;
    *ret_stays = left != NULL;
    return 0;
}
