/* SPDX-License-Identifier: Apache-2.0 */
/* All volumes of a server at one point in time.
 *
 *   createImage  where the guest has an agent: Nova freezes the guest, asks Cinder for a snapshot
 * of every volume and thaws when none is being made any more.  The image that comes of it is
 * removed; the snapshots get our metadata. pause        where the option says so and there are
 * several disks: consistent as after a power cut sequential   one request after the other, without
 * waiting in between
 *
 * Cinder's group snapshots are no fourth way: on RBD they are taken one after the other.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/boot_image.h"
#include "connectors/openstack/cinder.h"
#include "connectors/openstack/nova.h"
#include "connectors/openstack/source.h"
#include "connectors/openstack/target.h"

#define PAUSED_KEY "blockferry_paused"
#define PAUSE_MS 60000
#define IMAGE_SNAPSHOT_PREFIX "snapshot for " /* Nova's name, before that of the image */

static size_t count_of(const struct bf_cloud_take *take)
{
    return json_object_array_length(take->volumes);
}

static const char *key_at(const struct bf_cloud_take *take, size_t i)
{
    return bf_cloud_text(json_object_array_get_idx(take->volumes, i), "key");
}

static const char *volume_at(const struct bf_cloud_take *take, size_t i)
{
    return bf_cloud_id(json_object_array_get_idx(take->volumes, i), "volume/id");
}

/* --- what is there already --- */

static bool is_of_tag(struct json_object *snapshot, const char *tag)
{
    const char *name = bf_cloud_text(snapshot, "name");

    if (bf_cloud_is_tagged(snapshot, tag, NULL))
        return true;
    return name && bf_starts_with(name, IMAGE_SNAPSHOT_PREFIX) &&
           bf_streq(name + strlen(IMAGE_SNAPSHOT_PREFIX), tag);
}

static int delete_of_tag(struct bf_cloud *cloud, const char *tag, struct bf_error *err)
{
    bf_auto_json *all = NULL;

    if (bf_cinder_snapshots(cloud, NULL, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *snapshot = json_object_array_get_idx(all, i);
        const char *id = bf_cloud_id(snapshot, "id");

        if (id && is_of_tag(snapshot, tag) && bf_cinder_delete_snapshot(cloud, id, err) < 0)
            return -1;
    }
    return 0;
}

int bf_cloud_resume_paused(struct bf_cloud *cloud, const char *machine_id, struct bf_error *err)
{
    bf_auto_json *server = NULL;
    bf_auto_free char *path = bf_xasprintf("/servers/%s/metadata/" PAUSED_KEY, machine_id);

    if (bf_nova_server(cloud, machine_id, &server, err) < 0)
        return -1;
    if (!bf_cloud_text(server, "metadata/" PAUSED_KEY))
        return 0;
    if (bf_streq(bf_cloud_text(server, "status"), "PAUSED") &&
        (bf_nova_action(cloud, machine_id, "unpause", NULL, NULL, err) < 0 ||
         bf_nova_wait(cloud, machine_id, "ACTIVE", PAUSE_MS, err) < 0))
        return bf_fail_in(err, "server %s was paused for a snapshot", machine_id);
    if (bf_cloud_call(cloud,
                      &(struct bf_cloud_request){.service = BF_CLOUD_COMPUTE,
                                                 .method = "DELETE",
                                                 .path = path,
                                                 .minor = BF_NOVA_MINOR},
                      NULL, err) < 0 &&
        cloud->status != 404)
        return -1;
    bf_error_clear(err);
    return 0;
}

int bf_cloud_remove_snapshots(struct bf_cloud *cloud, const char *machine_id, const char *tag,
                              struct bf_error *err)
{
    if (bf_cloud_resume_paused(cloud, machine_id, err) < 0) {
        if (err->code != BF_E_NO_SUCH_MACHINE)
            return -1;
        bf_error_clear(err); /* snapshots may be left all the same */
    }
    if (bf_cloud_delete_images(cloud, tag, err) < 0)
        return -1;
    return delete_of_tag(cloud, tag, err);
}

/* All disks have their snapshot of this tag: the call before this one made them. */
static int find_whole(struct bf_cloud *cloud, struct bf_cloud_take *take, bool *ret_whole,
                      struct bf_error *err)
{
    size_t found = 0;

    for (size_t i = 0; i < count_of(take); i++) {
        bf_auto_json *snapshot = NULL;

        if (bf_cinder_find_snapshot(cloud, volume_at(take, i), take->tag, &snapshot, err) < 0)
            return -1;
        if (!bf_streq(bf_cloud_text(snapshot, "status"), "available"))
            continue;
        json_object_object_add(take->snapshots, key_at(take, i), bf_steal(snapshot));
        found++;
    }
    *ret_whole = found == count_of(take);
    return 0;
}

/* --- sequential, and paused --- */

static int ask_all(struct bf_cloud *cloud, struct bf_cloud_take *take, struct bf_error *err)
{
    for (size_t i = 0; i < count_of(take); i++) {
        struct json_object *snapshot = NULL;

        if (bf_cinder_ask_snapshot(cloud, volume_at(take, i), take->tag, BF_CLOUD_BASELINE_KIND,
                                   &snapshot, err) < 0)
            return -1;
        json_object_object_add(take->snapshots, key_at(take, i), snapshot);
    }
    return 0;
}

static int await_all(struct bf_cloud *cloud, struct bf_cloud_take *take, struct bf_error *err)
{
    for (size_t i = 0; i < count_of(take); i++) {
        const char *id = bf_cloud_id(bf_cloud_at(take->snapshots, key_at(take, i)), "id");
        struct json_object *snapshot = NULL;

        if (!id)
            return bf_fail(err, BF_E_SNAPSHOT_FAILED, 0, "disk %s has no snapshot",
                           key_at(take, i));
        if (bf_cinder_wait_snapshot(cloud, id, &snapshot, err) < 0)
            return -1;
        json_object_object_add(take->snapshots, key_at(take, i), snapshot);
    }
    return 0;
}

/* The spread is an upper bound: the last one was taken before it was seen to be there. */
static int take_sequential(struct bf_cloud *cloud, struct bf_cloud_take *take, struct bf_error *err)
{
    uint64_t since_ms = bf_now_ms();

    take->taken_us = bf_utc_us();
    if (ask_all(cloud, take, err) < 0 || await_all(cloud, take, err) < 0)
        return -1;
    if (count_of(take) > 1)
        take->spread_us = (bf_now_ms() - since_ms) * 1000;
    return 0;
}

/* The mark first: whoever comes after a crash knows by it who paused the server. */
static int pause_server(struct bf_cloud *cloud, const char *id, const char *tag,
                        struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/servers/%s/metadata", id);
    bf_auto_json *body = json_object_new_object();
    struct json_object *metadata = json_object_new_object();

    json_object_object_add(body, "metadata", metadata);
    bf_json_add_string(metadata, PAUSED_KEY, tag);
    if (bf_cloud_call(cloud,
                      &(struct bf_cloud_request){.service = BF_CLOUD_COMPUTE,
                                                 .method = "POST",
                                                 .path = path,
                                                 .minor = BF_NOVA_MINOR,
                                                 .body = body},
                      NULL, err) < 0 ||
        bf_nova_action(cloud, id, "pause", NULL, NULL, err) < 0)
        return -1;
    return bf_nova_wait(cloud, id, "PAUSED", PAUSE_MS, err);
}

static int take_paused(struct bf_cloud *cloud, struct bf_cloud_take *take, struct bf_error *err)
{
    const char *id = bf_cloud_id(take->server, "id");
    bf_auto_error resume = BF_ERROR_INIT;
    bool removing = atomic_load(&cloud->base.removing);
    int rc = pause_server(cloud, id, take->tag, err);

    if (rc == 0)
        rc = take_sequential(cloud, take, err);
    /* Whatever happened, also after a cancel: the server goes on. */
    atomic_store(&cloud->base.removing, true);
    int resumed = bf_cloud_resume_paused(cloud, id, &resume);
    atomic_store(&cloud->base.removing, removing);
    if (rc == 0 && resumed < 0)
        bf_error_move(err, &resume);
    take->spread_us = 0;
    return rc < 0 || resumed < 0 ? -1 : 0;
}

/* --- by createImage --- */

static int mark(struct bf_cloud *cloud, const char *snapshot_id, const char *tag,
                struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/snapshots/%s", snapshot_id);

    if (bf_cinder_set_metadata(cloud, path, BF_CLOUD_TAG_KEY, tag, err) < 0)
        return -1;
    return bf_cinder_set_metadata(cloud, path, BF_CLOUD_KIND_KEY, BF_CLOUD_BASELINE_KIND, err);
}

static size_t wanted_index(const struct bf_cloud_take *take, const char *volume_id)
{
    size_t i = 0;

    while (i < count_of(take) && !bf_streq(volume_at(take, i), volume_id))
        i++;
    return i;
}

/* Of every volume of the server there is one now; those not wanted go. */
static int adopt(struct bf_cloud *cloud, struct bf_cloud_take *take, struct bf_error *err)
{
    bf_auto_json *all = NULL;

    if (bf_cinder_snapshots(cloud, NULL, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *snapshot = json_object_array_get_idx(all, i);
        const char *id = bf_cloud_id(snapshot, "id");

        if (!id || !is_of_tag(snapshot, take->tag))
            continue;
        size_t at = wanted_index(take, bf_cloud_text(snapshot, "volume_id"));
        if (at == count_of(take)) {
            if (bf_cinder_wait_snapshot(cloud, id, NULL, err) < 0 ||
                bf_cinder_delete_snapshot(cloud, id, err) < 0)
                return -1;
            continue;
        }
        if (mark(cloud, id, take->tag, err) < 0)
            return -1;
        json_object_object_add(take->snapshots, key_at(take, at), json_object_get(snapshot));
    }
    return await_all(cloud, take, err);
}

static int take_by_image(struct bf_cloud *cloud, struct bf_cloud_take *take, struct bf_error *err)
{
    struct json_object *arguments = json_object_new_object();

    bf_json_add_string(arguments, "name", take->tag);
    take->taken_us = bf_utc_us();
    if (bf_nova_action(cloud, bf_cloud_id(take->server, "id"), "createImage", arguments, NULL,
                       err) < 0 ||
        adopt(cloud, take, err) < 0)
        return -1;
    return bf_cloud_delete_images(cloud, take->tag, err);
}

/* --- which way --- */

/* Nova freezes only with the agent's property, and tells that it could not only with the other. */
static int try_quiesced(struct bf_cloud *cloud, struct bf_cloud_take *take, bool *ret_taken,
                        struct bf_error *err)
{
    struct json_object *hardware = take->hardware;
    bool agent = bf_cloud_bool(hardware, "hw_qemu_guest_agent");
    bool sure = bf_cloud_bool(hardware, "os_require_quiesce");

    if (take->quiesce == BF_QUIESCE_REQUIRE && !(agent && sure))
        return bf_fail(err, BF_E_QUIESCE_FAILED, 0,
                       "the boot volume's image metadata lacks %s, by which Nova freezes the guest",
                       agent ? "os_require_quiesce=yes" : "hw_qemu_guest_agent=yes");
    if (!agent) {
        take->note = bf_xstrdup("the boot volume's image metadata names no guest agent");
        return 0;
    }
    if (take_by_image(cloud, take, err) == 0) {
        *ret_taken = true;
        take->quiesced = sure;
        if (!sure)
            take->note = bf_xstrdup("whether the agent froze the guest is not known: Nova tells "
                                    "only with os_require_quiesce=yes in the image metadata");
        return 0;
    }
    if (err->code == BF_E_CANCELLED || take->quiesce == BF_QUIESCE_REQUIRE) {
        if (err->code == BF_E_PLATFORM_ERROR)
            bf_error_recode(err, BF_E_QUIESCE_FAILED);
        return -1;
    }
    take->note = bf_xasprintf("Nova could not: %s", err->message);
    bf_error_clear(err);
    return bf_cloud_remove_snapshots(cloud, bf_cloud_id(take->server, "id"), take->tag, err);
}

static int take_now(struct bf_cloud *cloud, struct bf_cloud_take *take, struct bf_error *err)
{
    bool running = bf_streq(bf_cloud_text(take->server, "status"), "ACTIVE");
    bool taken = false;

    if (running && take->quiesce != BF_QUIESCE_OFF && try_quiesced(cloud, take, &taken, err) < 0)
        return -1;
    if (taken)
        return 0;
    take->quiesced = bf_nova_power_of(take->server) == BF_POWER_OFF; /* nobody writes */
    if (running && cloud->conf.multi_disk == BF_CLOUD_PAUSE && count_of(take) > 1)
        return take_paused(cloud, take, err);
    return take_sequential(cloud, take, err);
}

int bf_cloud_take_snapshots(struct bf_cloud *cloud, struct bf_cloud_take *take,
                            struct bf_error *err)
{
    const char *id = bf_cloud_id(take->server, "id");
    bool whole = false;

    if (bf_cloud_resume_paused(cloud, id, err) < 0 || find_whole(cloud, take, &whole, err) < 0)
        return -1;
    if (whole) {
        take->taken_us = bf_utc_us();
        return 0;
    }
    json_object_put(take->snapshots);
    take->snapshots = json_object_new_object();
    if (bf_cloud_remove_snapshots(cloud, id, take->tag, err) < 0)
        return bf_fail_in(err, "what an earlier try left");
    if (take_now(cloud, take, err) == 0)
        return 0;
    if (err->code == BF_E_PLATFORM_ERROR)
        bf_error_recode(err, BF_E_SNAPSHOT_FAILED);
    return -1;
}
