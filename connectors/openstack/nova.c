/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/openstack/nova.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define MIB (UINT64_C(1) << 20)
#define DELETE_MS (UINT64_C(5) * 60 * 1000)
#define STOP_MS (UINT64_C(5) * 60 * 1000)
#define START_MS (UINT64_C(5) * 60 * 1000)

static struct bf_cloud_request request_of(const char *method, const char *path,
                                          struct json_object *body)
{
    return (struct bf_cloud_request){.service = BF_CLOUD_COMPUTE,
                                     .method = method,
                                     .path = path,
                                     .minor = BF_NOVA_MINOR,
                                     .body = body,
                                     .missing = BF_E_NO_SUCH_MACHINE};
}

/* --- servers --- */

int bf_nova_server(struct bf_cloud *cloud, const char *id, struct json_object **ret_server,
                   struct bf_error *err)
{
    bf_auto_free char *escaped = bf_cloud_escape(id);
    bf_auto_free char *path = bf_xasprintf("/servers/%s", escaped);
    struct bf_cloud_request request = request_of(NULL, path, NULL);
    bf_auto_json *body = NULL;

    if (bf_cloud_call(cloud, &request, &body, err) < 0)
        return -1;
    if (!bf_cloud_text(body, "server/status"))
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: the answer has no status", path);
    *ret_server = json_object_get(bf_cloud_at(body, "server"));
    return 0;
}

int bf_nova_list(struct bf_cloud *cloud, bf_cloud_item_fn *fn, void *user, struct bf_error *err)
{
    struct bf_cloud_request request = request_of(NULL, "/servers/detail", NULL);

    return bf_cloud_list(cloud, &request, "servers", fn, user, err);
}

/* By its metadata, or by Nova's own tag: of a machine that was handed over in part that is left.
 * Both are looked for here, as a cloud may not know the filter. */
static bool is_of_tag(struct json_object *server, const char *tag)
{
    struct json_object *tags = bf_cloud_at(server, "tags");

    if (bf_cloud_is_tagged(server, tag, NULL))
        return true;
    for (size_t i = 0;
         json_object_is_type(tags, json_type_array) && i < json_object_array_length(tags); i++)
        if (bf_streq(json_object_get_string(json_object_array_get_idx(tags, i)), tag))
            return true;
    return false;
}

int bf_nova_tagged(struct bf_cloud *cloud, const char *tag, struct json_object **ret_servers,
                   struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("/servers/detail?tags=%s", tag);
    struct bf_cloud_request request = request_of(NULL, path, NULL);
    bf_auto_json *all = NULL;
    bf_auto_json *ours = json_object_new_array();

    if (bf_cloud_collect(cloud, &request, "servers", &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *server = json_object_array_get_idx(all, i);

        if (is_of_tag(server, tag) && bf_cloud_id(server, "id"))
            json_object_array_add(ours, json_object_get(server));
    }
    *ret_servers = bf_steal(ours);
    return 0;
}

int bf_nova_action(struct bf_cloud *cloud, const char *id, const char *name,
                   struct json_object *arguments, struct json_object **ret_json,
                   struct bf_error *err)
{
    bf_auto_free char *escaped = bf_cloud_escape(id);
    bf_auto_free char *path = bf_xasprintf("/servers/%s/action", escaped);
    bf_auto_json *body = json_object_new_object();

    json_object_object_add(body, name, arguments);
    struct bf_cloud_request request = request_of("POST", path, body);
    if (bf_cloud_call(cloud, &request, ret_json, err) < 0)
        return bf_fail_in(err, "%s", name);
    return 0;
}

enum bf_power bf_nova_power_of(struct json_object *server)
{
    static const struct {
        const char *status;
        enum bf_power power;
    } states[] = {
        {"ACTIVE", BF_POWER_ON},        {"REBOOT", BF_POWER_ON},
        {"HARD_REBOOT", BF_POWER_ON},   {"PASSWORD", BF_POWER_ON},
        {"MIGRATING", BF_POWER_ON},     {"PAUSED", BF_POWER_PAUSED},
        {"SUSPENDED", BF_POWER_PAUSED}, {"SHUTOFF", BF_POWER_OFF},
        {"SHELVED", BF_POWER_OFF},      {"SHELVED_OFFLOADED", BF_POWER_OFF},
    };

    for (size_t i = 0; i < bf_array_length(states); i++)
        if (bf_streq(states[i].status, bf_cloud_text(server, "status")))
            return states[i].power;
    return BF_POWER_UNKNOWN;
}

int bf_nova_wait(struct bf_cloud *cloud, const char *id, const char *wanted, uint64_t ms,
                 struct bf_error *err)
{
    const char *words[] = {wanted, NULL};
    bf_auto_free char *path = bf_xasprintf("/servers/%s", id);
    bf_auto_free char *what = bf_xasprintf("server %s", id);

    return bf_cloud_wait(cloud,
                         &(struct bf_cloud_wait){.request = request_of(NULL, path, NULL),
                                                 .object = "server",
                                                 .what = what,
                                                 .wanted = words,
                                                 .deadline_ms = ms},
                         NULL, err);
}

int bf_nova_delete(struct bf_cloud *cloud, const char *id, struct bf_error *err)
{
    static const char *const never[] = {NULL};
    bf_auto_free char *path = bf_xasprintf("/servers/%s", id);
    bf_auto_free char *what = bf_xasprintf("server %s", id);
    struct bf_cloud_request request = request_of("DELETE", path, NULL);

    if (bf_cloud_call(cloud, &request, NULL, err) < 0) {
        if (cloud->status != 404)
            return -1;
        bf_error_clear(err);
        return 0;
    }
    request.method = NULL;
    return bf_cloud_wait(cloud,
                         &(struct bf_cloud_wait){.request = request,
                                                 .object = "server",
                                                 .what = what,
                                                 .wanted = never,
                                                 .gone = true,
                                                 .deadline_ms = DELETE_MS},
                         NULL, err);
}

/* --- flavors --- */

static bool is_better(struct json_object *flavor, struct json_object *than)
{
    if (!than)
        return true;
    if (bf_cloud_number(flavor, "ram") != bf_cloud_number(than, "ram"))
        return bf_cloud_number(flavor, "ram") < bf_cloud_number(than, "ram");
    if (bf_cloud_number(flavor, "vcpus") != bf_cloud_number(than, "vcpus"))
        return bf_cloud_number(flavor, "vcpus") < bf_cloud_number(than, "vcpus");
    return bf_cloud_number(flavor, "disk") < bf_cloud_number(than, "disk");
}

int bf_nova_flavor(struct bf_cloud *cloud, const char *name, const struct bf_nova_size *size,
                   struct json_object **ret_flavor, struct bf_error *err)
{
    uint64_t ram = (size->memory_bytes + MIB - 1) / MIB;
    struct bf_cloud_request request = request_of(NULL, "/flavors/detail", NULL);
    bf_auto_json *all = NULL;
    struct json_object *best = NULL;

    if (bf_cloud_collect(cloud, &request, "flavors", &all, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *flavor = json_object_array_get_idx(all, i);
        bool fits = name ? bf_streq(bf_cloud_text(flavor, "name"), name) ||
                               bf_streq(bf_cloud_text(flavor, "id"), name)
                         : bf_cloud_number(flavor, "ram") >= ram &&
                               bf_cloud_number(flavor, "vcpus") >= size->cpus;

        fits = fits && bf_cloud_number(flavor, "disk") >= size->disk_gib;

        if (bf_cloud_id(flavor, "id") && fits && is_better(flavor, best))
            best = flavor;
    }
    if (!best && name)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "the cloud has no flavor \"%s\" with a local disk of %llu GiB or more", name,
                       (unsigned long long)size->disk_gib);
    if (!best)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "the cloud has no flavor of at least %u cpus, %llu MiB and a local disk of "
                       "%llu GiB",
                       size->cpus, (unsigned long long)ram, (unsigned long long)size->disk_gib);
    *ret_flavor = json_object_get(best);
    return 0;
}

/* --- power --- */

static bool is_launch(const char *machine_id)
{
    return machine_id[0] == '{';
}

/* NULL: a launch that was not started. */
static int find_server(struct bf_cloud *cloud, const char *machine_id, char **ret_id,
                       struct json_object **ret_server, struct bf_error *err)
{
    bf_auto_free char *id = NULL;

    if (!is_launch(machine_id))
        id = bf_xstrdup(machine_id);
    else if (bf_cloud_launch_server(cloud, machine_id, &id, err) < 0)
        return -1;
    if (id && bf_nova_server(cloud, id, ret_server, err) < 0)
        return -1;
    *ret_id = bf_steal(id);
    return 0;
}

int bf_cloud_power(struct bf_platform *platform, const char *machine_id, enum bf_power *ret_power,
                   struct bf_error *err)
{
    bf_auto_free char *id = NULL;
    bf_auto_json *server = NULL;

    if (find_server(bf_cloud_of(platform), machine_id, &id, &server, err) < 0)
        return -1;
    *ret_power = server ? bf_nova_power_of(server) : BF_POWER_OFF;
    return 0;
}

/* Nova asks the guest, and switches off what has not shut down after its own patience. */
static int stop(struct bf_cloud *cloud, const char *machine_id, uint64_t ms, struct bf_error *err)
{
    bf_auto_free char *id = NULL;
    bf_auto_json *server = NULL;

    if (find_server(cloud, machine_id, &id, &server, err) < 0)
        return -1;
    if (!server || bf_nova_power_of(server) == BF_POWER_OFF)
        return 0;
    if (bf_streq(bf_cloud_text(server, "status"), "PAUSED") &&
        (bf_nova_action(cloud, id, "unpause", NULL, NULL, err) < 0 ||
         bf_nova_wait(cloud, id, "ACTIVE", START_MS, err) < 0))
        return -1;
    /* Asked for already (409): the wait below tells. */
    if (bf_nova_action(cloud, id, "os-stop", NULL, NULL, err) < 0) {
        if (cloud->status != 409)
            return -1;
        bf_error_clear(err);
    }
    return bf_nova_wait(cloud, id, "SHUTOFF", ms, err);
}

int bf_cloud_shut_down(struct bf_platform *platform, const char *machine_id,
                       struct bf_deadline deadline, struct bf_error *err)
{
    int left = bf_deadline_left(deadline);

    if (stop(bf_cloud_of(platform), machine_id, left < 0 ? STOP_MS : (uint64_t)left, err) == 0)
        return 0;
    if (err->code == BF_E_DEADLINE)
        bf_error_recode(err, BF_E_SHUTDOWN_REFUSED);
    return -1;
}

int bf_cloud_power_off(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    return stop(bf_cloud_of(platform), machine_id, STOP_MS, err);
}

int bf_cloud_power_on(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);
    bf_auto_free char *id = NULL;
    bf_auto_json *server = NULL;

    if (find_server(cloud, machine_id, &id, &server, err) < 0)
        return -1;
    if (!server || (is_launch(machine_id) && !bf_streq(bf_cloud_text(server, "status"), "SHUTOFF")))
        return is_launch(machine_id) ? bf_cloud_launch_start(cloud, machine_id, err) : 0;
    /* A stop that was not waited for to the end: Nova switches it off after all. */
    if (bf_streq(bf_cloud_text(server, "OS-EXT-STS:task_state"), "powering-off")) {
        if (bf_nova_wait(cloud, id, "SHUTOFF", STOP_MS, err) < 0)
            return -1;
    } else if (bf_nova_power_of(server) == BF_POWER_ON)
        return 0;
    bool paused = bf_streq(bf_cloud_text(server, "status"), "PAUSED");
    bool suspended = bf_streq(bf_cloud_text(server, "status"), "SUSPENDED");
    if (bf_nova_action(cloud, id,
                       paused      ? "unpause"
                       : suspended ? "resume"
                                   : "os-start",
                       NULL, NULL, err) < 0) {
        if (cloud->status != 409)
            return -1;
        bf_error_clear(err);
    }
    return bf_nova_wait(cloud, id, "ACTIVE", START_MS, err);
}
